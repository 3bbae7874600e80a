use policy::{Decision, Policy, Request, RequestPath, Scheme};

use super::*;

/// The preset `claude` with the gateway that these variables choose, and the sentence about it.
fn claude(variables: &[(&str, &str)]) -> Result<(JailSpec, Option<String>), String> {
    let mut spec = JailSpec::find("claude", &[]).unwrap();
    let find =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let notice = apply(&mut spec, find)?;
    spec.validate()?;
    Ok((spec, notice))
}

fn is_allowed(spec: &JailSpec, url: &str) -> bool {
    does_allow(spec, "POST", url)
}

/// `/v1/messages` stands for no path.
fn does_allow(spec: &JailSpec, method: &str, url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (scheme, port) = if scheme == "https" { (Scheme::Https, 443) } else { (Scheme::Http, 80) };
    let (authority, path) = rest.find('/').map_or((rest, "/v1/messages"), |slash| rest.split_at(slash));
    let request = Request {
        scheme,
        authority: &Authority::parse(authority, Some(port)).unwrap(),
        method,
        path: &RequestPath::of_target(path),
        query: "",
        websocket: false,
    };
    matches!(Policy::new(spec.rules.clone()).unwrap().decide(&request), Decision::Allow { .. })
}

fn credential<'a>(spec: &'a JailSpec, name: &str) -> &'a CredentialSpec {
    spec.credentials.iter().find(|credential| credential.variable == name).unwrap()
}

#[test]
fn nothing_changes_without_a_variable_that_chooses() {
    for variables in [&[][..], &[("CLAUDE_CODE_USE_BEDROCK", "0")], &[("ANTHROPIC_BASE_URL", "")]] {
        let (spec, notice) = claude(variables).unwrap();
        assert!(notice.is_none() && is_allowed(&spec, "https://api.anthropic.com"), "{variables:?}");
    }
}

#[test]
fn a_base_url_is_the_only_way_out() {
    let (spec, notice) =
        claude(&[("ANTHROPIC_BASE_URL", "https://gateway.example.com:8443/anthropic")]).unwrap();
    assert!(notice.unwrap().contains("gateway.example.com"));
    assert!(is_allowed(&spec, "https://gateway.example.com:8443/anthropic/v1/messages"));
    for url in [
        "https://api.anthropic.com",
        "https://gateway.example.com/anthropic/v1/messages",
        "http://gateway.example.com:8443/anthropic/v1/messages",
        // Others share the host.
        "https://gateway.example.com:8443/v1/messages",
        "https://gateway.example.com:8443/anthropic-of-others/v1/messages",
        "https://gateway.example.com:8443/anthropic/../others/v1/messages",
    ] {
        assert!(!is_allowed(&spec, url), "{url}");
    }
    let token = credential(&spec, "ANTHROPIC_AUTH_TOKEN");
    assert_eq!(token.hosts, ["gateway.example.com".parse().unwrap()]);
    assert!(credential(&spec, "CLAUDE_CODE_OAUTH_TOKEN").hosts.is_empty());
    assert!(spec.pass_environment.contains(&"ANTHROPIC_BASE_URL".to_owned()));
}

#[test]
fn a_gateway_of_this_machine_has_a_name_in_the_jail() {
    for (url, address) in [
        ("http://localhost:4000/v1", "127.0.0.1:4000"),
        ("http://127.0.0.2:4000/v1", "127.0.0.2:4000"),
        ("http://[::1]:4000/v1", "[::1]:4000"),
    ] {
        let (spec, _) = claude(&[("ANTHROPIC_BASE_URL", url)]).unwrap();
        assert_eq!(spec.environment["ANTHROPIC_BASE_URL"], "http://gateway.internal:4000/v1");
        assert!(!spec.pass_environment.contains(&"ANTHROPIC_BASE_URL".to_owned()));
        assert_eq!(spec.upstream.connect_to, [format!("gateway.internal:4000:{address}")]);
        assert!(is_allowed(&spec, "http://gateway.internal:4000/v1/messages"));
        let token = credential(&spec, "ANTHROPIC_AUTH_TOKEN");
        assert!(token.hosts.is_empty() && token.optional, "no token goes out without TLS");
    }
    assert!(
        claude(&[("ANTHROPIC_BASE_URL", "https://localhost:4000")]).unwrap_err().contains("--connect-to")
    );
}

#[test]
fn a_url_brings_no_password_and_no_pattern() {
    for url in [
        "https://user:hunter2@gateway.example.com",
        "https://gateway.example.com/?key=hunter2",
        "https://*.example.com",
        "https://*",
        "https://10.0.0.0/8:443",
        "hunter2",
        "https://",
        "ftp://gateway.example.com",
        "https://gateway.example.com evil.example",
        "https://gateway.example.com/a*b",
        "https://gateway.example.com/a/../b",
        "https://gateway.example.com/a%2e",
        "https://gateway.example.com//a",
    ] {
        match claude(&[("ANTHROPIC_BASE_URL", url)]) {
            Err(error) => assert!(!error.contains("hunter2"), "{error}"),
            // `10.0.0.0/8:443` is an address and a path.
            Ok((spec, _)) => assert!(url.contains("/8") && !is_allowed(&spec, "https://10.0.0.1"), "{url}"),
        }
    }
}

#[test]
fn what_the_jail_denies_stays_denied() {
    let mut spec = JailSpec::find("claude", &[]).unwrap();
    let denied = Rule::parse(Action::Deny, "gateway.example.com/anthropic/admin/**").unwrap();
    spec.rules.insert(0, denied);
    let set = |name: &str| {
        (name == "ANTHROPIC_BASE_URL").then(|| "https://gateway.example.com/anthropic".to_owned())
    };
    apply(&mut spec, set).unwrap().unwrap();
    assert!(is_allowed(&spec, "https://gateway.example.com/anthropic/v1/messages"));
    assert!(!is_allowed(&spec, "https://gateway.example.com/anthropic/admin/keys"));
}

#[test]
fn a_base_url_that_is_the_usual_way_changes_nothing() {
    let (spec, notice) = claude(&[("ANTHROPIC_BASE_URL", "https://api.anthropic.com")]).unwrap();
    assert!(notice.is_none() && is_allowed(&spec, "https://api.anthropic.com"));
    assert!(!is_allowed(&spec, "https://api.anthropic.com/api/oauth/claude_cli/create_api_key"));
}

#[test]
fn bedrock_is_the_server_of_the_region() {
    let on = ("CLAUDE_CODE_USE_BEDROCK", "1");
    let (spec, _) = claude(&[on, ("AWS_REGION", "eu-central-1")]).unwrap();
    assert!(is_allowed(&spec, "https://bedrock-runtime.eu-central-1.amazonaws.com"));
    assert!(!is_allowed(&spec, "https://bedrock-runtime.us-east-1.amazonaws.com"));
    assert!(!is_allowed(&spec, "https://api.anthropic.com"));
    assert!(does_allow(&spec, "GET", "https://bedrock.eu-central-1.amazonaws.com/inference-profiles/x"));
    assert!(!does_allow(&spec, "PUT", "https://bedrock.eu-central-1.amazonaws.com/logging/modelinvocations"));
    let places = credential(&spec, "AWS_SECRET_ACCESS_KEY").places().unwrap();
    assert_eq!(places, ["aws:secret-access-key".parse().unwrap()]);
    let (spec, _) =
        claude(&[on, ("AWS_BEARER_TOKEN_BEDROCK", "token"), ("AWS_REGION", "eu-central-1")]).unwrap();
    assert_eq!(credential(&spec, "AWS_BEARER_TOKEN_BEDROCK").hosts.len(), 2);
    assert!(spec.credentials.iter().all(|credential| credential.variable != "AWS_SECRET_ACCESS_KEY"));
    // A region is one label: it cannot name another domain.
    for region in ["evil.example/", "a.b", "x@evil", "", "-".repeat(64).as_str()] {
        let made = claude(&[on, ("AWS_REGION", region)]);
        assert!(made.is_err() || region.is_empty(), "{region}");
    }
}

#[test]
fn vertex_has_an_access_token_of_the_host() {
    let on = [
        ("CLAUDE_CODE_USE_VERTEX", "1"),
        ("CLOUD_ML_REGION", "europe-west1"),
        ("ANTHROPIC_VERTEX_PROJECT_ID", "mine-1"),
    ];
    let (spec, _) = claude(&on).unwrap();
    let model = "locations/europe-west1/publishers/anthropic/models/claude@1:streamRawPredict";
    for host in ["europe-west1-aiplatform.googleapis.com", "aiplatform.googleapis.com"] {
        assert!(is_allowed(&spec, &format!("https://{host}/v1/projects/mine-1/{model}")));
        // Another tenant's project, and another API than that of the models.
        assert!(!is_allowed(&spec, &format!("https://{host}/v1/projects/others/{model}")));
        assert!(!is_allowed(
            &spec,
            &format!("https://{host}/v1/projects/mine-1/locations/europe-west1/customJobs")
        ));
    }
    assert!(!is_allowed(&spec, "https://oauth2.googleapis.com"));
    assert_eq!(spec.environment["CLAUDE_CODE_SKIP_VERTEX_AUTH"], "1");
    assert!(!credential(&spec, "ANTHROPIC_AUTH_TOKEN").hosts.is_empty());
    assert!(claude(&on[..2]).unwrap_err().contains("ANTHROPIC_VERTEX_PROJECT_ID"));
}
