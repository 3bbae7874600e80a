//! A credential that says where it goes goes there, and nowhere else.

use super::*;

fn job(places: &[&str]) -> Job {
    Job::with(|own| own.places = places.iter().map(|text| place(text)).collect())
}

#[test]
fn a_template_is_kept_to() {
    let job = job(&["header:authorization: Token token=\"{}\""]);
    let (headers, _, swapped) = job.ask(URL, &[("authorization", "token token=\"{D}\"")]).unwrap();
    assert_eq!(headers["authorization"], job.fill("Token token=\"{S}\""));
    assert!(headers["authorization"].is_sensitive());
    assert_eq!(swapped.names, ["OWN"]);
    for value in
        ["Bearer {D}", "{D}", "Token token={D}", "Token token=\"{D}\", x", "Token token=\"{F}\"", "Token {D}"]
    {
        assert_eq!(job.refused(URL, &[("authorization", value)]), Reason::ForeignCredential, "{value}");
    }
    assert_eq!(job.refused(URL, &[("authorization", &job.basic("me:{D}"))]), Reason::ForeignCredential);
    let twice = [("authorization", "Token token=\"{D}\""), ("authorization", "Token token=\"{F}\"")];
    assert_eq!(job.refused(URL, &twice), Reason::ForeignCredential);
}

#[test]
fn a_part_of_basic_is_that_part_only() {
    for (part, right, filled, wrong) in
        [("basic:user", "{D}:", "{S}:", "me:{D}"), ("basic:password", "me:{D}", "me:{S}", "{D}:")]
    {
        let job = job(&[part]);
        let (headers, ..) = job.ask(URL, &[("authorization", &job.basic(right))]).unwrap();
        assert_eq!(headers["authorization"], job.basic(filled));
        for value in [job.basic(wrong), "Bearer {D}".to_owned(), job.basic("{F}:{F}")] {
            assert_eq!(
                job.refused(URL, &[("authorization", &value)]),
                Reason::ForeignCredential,
                "{part} {value}"
            );
        }
    }
}

#[test]
fn user_and_password_may_be_two_credentials() {
    let (mut user, mut password) = (credential("USER", 1, OWN), credential("PASSWORD", 2, OWN));
    (user.places, password.places) = (vec![place("basic:user")], vec![place("basic:password")]);
    let sent = format!("{}:{}", user.dummy, password.dummy);
    let real = format!("{}:{}", user.secret.expose_secret(), password.secret.expose_secret());
    let vault = Vault::new(vec![user, password]).unwrap();
    let mut headers = HeaderMap::new();
    headers
        .insert("authorization", HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(sent))).unwrap());
    let authority = Authority::parse(OWN, Some(443)).unwrap();
    let swapped =
        vault.outgoing(&asking(&authority, None, true), &mut headers, &mut Uri::from_static("/")).unwrap();
    assert_eq!(headers["authorization"], format!("Basic {}", STANDARD.encode(real)));
    assert_eq!(swapped.names, ["PASSWORD", "USER"]);
}

#[test]
fn a_declared_cookie_gets_the_secret() {
    let job = job(&["cookie:session"]);
    for (before, after) in [
        ("session={D}", "session={S}"),
        ("a=b; session={D}; c=d", "a=b; session={S}; c=d"),
        ("a=b;session=\"{D}\"", "a=b;session={S}"),
        ("a={D}; Session={F}", "a={D}; Session={F}"),
        ("a=b; plain", "a=b; plain"),
    ] {
        let (headers, _, swapped) = job.ask(URL, &[("cookie", before), ("cookie", "more=1")]).unwrap();
        let lines: Vec<&HeaderValue> = headers.get_all("cookie").iter().collect();
        assert_eq!(lines, [&job.fill(after), "more=1"], "{before}");
        assert_eq!(swapped.names.is_empty(), before == after);
        assert_eq!(lines[0].is_sensitive(), before != after);
    }
    for value in
        ["session={F}", "session=", "session={D}; session={D}", "session={F}; session={D}", "session={D}x"]
    {
        assert_eq!(job.refused(URL, &[("cookie", value)]), Reason::ForeignCredential, "{value}");
    }
    assert_eq!(
        job.refused(URL, &[("cookie", "session={D}"), ("cookie", "session={D}")]),
        Reason::ForeignCredential
    );
    assert_eq!(job.refused("http://api.own.test/", &[("cookie", "session={D}")]), Reason::StrayCredential);
    // What the header slots carry is not this credential.
    assert_eq!(job.refused(URL, &[("authorization", "Bearer {D}")]), Reason::ForeignCredential);
    let lax = Job::with(|own| {
        own.places = vec![place("cookie:session")];
        own.allow_foreign = true;
    });
    lax.ask(URL, &[("cookie", "session={F}")]).unwrap();
}

#[test]
fn other_places_stay_closed_to_foreign_keys() {
    let job = job(&["query:key"]);
    job.ask("https://api.own.test/?key={D}", &[]).unwrap();
    for name in ["authorization", "x-api-key"] {
        assert_eq!(job.refused(URL, &[(name, "{F}")]), Reason::ForeignCredential);
        assert_eq!(job.refused(URL, &[(name, "{D}")]), Reason::ForeignCredential);
    }
}

#[test]
fn parameters_that_stand_for_the_well_known_headers_are_slots_too() {
    let job = Job::new();
    for name in ["access_token", "oauth_token", "private_token"] {
        let url = |value: &str| format!("https://api.own.test/?a=b&{name}={value}");
        let (_, uri, swapped) = job.ask(&url("{D}"), &[]).unwrap();
        assert_eq!(uri, job.fill(&url("{S}")).as_str());
        assert_eq!(swapped.names, ["OWN"]);
        assert_eq!(job.refused(&url("{F}"), &[]), Reason::ForeignCredential, "{name}");
        assert_eq!(
            job.refused(&url("{F}").to_uppercase().replace("HTTPS", "https"), &[]),
            Reason::ForeignCredential
        );
        // Of whatever place the credential is.
        let elsewhere = Job::with(|own| own.places = vec![place("cookie:session")]);
        assert_eq!(elsewhere.refused(&url("{F}"), &[]), Reason::ForeignCredential, "{name}");
        assert_eq!(elsewhere.refused(&url("{D}"), &[]), Reason::ForeignCredential, "{name}");
        Job::with(|own| own.allow_foreign = true).ask(&url("{F}"), &[]).unwrap();
    }
    job.ask("https://api.third.test/?access_token={F}", &[]).unwrap();
}

#[test]
fn a_key_among_the_subprotocols_of_a_websocket_is_refused() {
    let job = Job::new();
    for protocols in [
        "realtime, openai-insecure-api-key.{F}",
        "openai-insecure-api-key.{D}",
        "v4.channel.k8s.io,base64url.bearer.authorization.k8s.io.{F}",
        "OpenAI-Insecure-API-Key.{F}",
    ] {
        let lines = [("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", protocols)];
        assert_eq!(job.refused(URL, &lines), Reason::ForeignCredential, "{protocols}");
        job.ask("https://api.third.test/", &lines[..1]).unwrap();
    }
    let harmless = [("sec-websocket-protocol", "realtime, graphql-transport-ws, v4.channel.k8s.io")];
    job.ask(URL, &harmless).unwrap();
    let lax = Job::with(|own| own.allow_foreign = true);
    lax.ask(URL, &[("sec-websocket-protocol", "openai-insecure-api-key.{F}")]).unwrap();
}
