//! git in the jail: it sends its dummies unasked, and reaches by https what remotes name by ssh.
//!
//! All of it is configuration in variables. A header that is always sent needs no credential helper, and so no shell in
//! the jail, and saves the round trip of a refusal.

pub(crate) mod identity;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::{Authority, Host, HostPattern, PathGlob, Policy, Rule, Scheme};
use proxy::config::Credential;
use proxy::swap::{BasicPart, CredentialLocation};

/// Hosts whose credentials git can use, without a git rule that says so.
const FORGES: [&str; 4] = ["github.com", "gitlab.com", "codeberg.org", "bitbucket.org"];
const HTTPS: u16 = 443;

/// The configuration of git, as keys and values; empty if nothing of it is for git.
pub(crate) fn configuration(credentials: &[Credential], policy: &Policy) -> Vec<(String, String)> {
    let mut configuration = Vec::new();
    let mut known = BTreeSet::new();
    let git_rules = || policy.rules().iter().filter_map(Rule::git).flat_map(|git| &git.repos);
    let mut hosts: BTreeSet<Authority> =
        git_rules().map(|repository| repository.authority().clone()).collect();
    for credential in credentials.iter().filter(|credential| can_be_password(credential)) {
        for (authority, path) in places(credential, policy) {
            hosts.insert(authority.clone());
            let url = format!("https://{}{path}", written(&authority));
            // Two headers would be refused: of two credentials for one place the first is used.
            if known.insert(url.clone()) {
                let key = format!("http.{url}.extraHeader");
                let user = format!("{}:{}", user(&authority.host), credential.dummy);
                // The empty one takes out what the repository's own configuration says of it, a real token perhaps.
                configuration.push((key.clone(), String::new()));
                configuration.push((key, format!("Authorization: Basic {}", STANDARD.encode(user))));
            }
        }
    }
    for authority in hosts {
        let key = format!("url.https://{}/.insteadOf", written(&authority));
        for ssh in [format!("git@{}:", authority.host), format!("ssh://git@{}/", authority.host)] {
            configuration.push((key.clone(), ssh));
        }
    }
    configuration
}

/// The variables that carry a configuration, after the `count` entries that are there already.
pub(crate) fn variables(configuration: &[(String, String)], count: usize) -> Vec<(String, String)> {
    if configuration.is_empty() {
        return Vec::new();
    }
    let mut variables = vec![("GIT_CONFIG_COUNT".to_owned(), (count + configuration.len()).to_string())];
    for (position, (key, value)) in configuration.iter().enumerate() {
        let number = count + position;
        variables.push((format!("GIT_CONFIG_KEY_{number}"), key.clone()));
        variables.push((format!("GIT_CONFIG_VALUE_{number}"), value.clone()));
    }
    variables
}

/// Whether git's way of sending it is one of the credential's own: in any other the dummy would be refused.
fn can_be_password(credential: &Credential) -> bool {
    credential.places.iter().any(|place| match place {
        CredentialLocation::WellKnown | CredentialLocation::Basic(BasicPart::Password) => true,
        CredentialLocation::Header { name, template: None } => name.as_str() == "authorization",
        CredentialLocation::Header { template: Some(_), .. }
        | CredentialLocation::Basic(BasicPart::User)
        | CredentialLocation::Query(_)
        | CredentialLocation::Cookie(_)
        | CredentialLocation::Aws { .. } => false,
    })
}

/// Where git sends a credential: below these addresses, as git compares them. Where rules name it, nowhere else, since
/// elsewhere it would be refused as a stray one.
fn places(credential: &Credential, policy: &Policy) -> Vec<(Authority, String)> {
    match &credential.rules {
        Some(rules) => rules.iter().filter_map(|id| policy.rule(*id)).flat_map(places_of_rule).collect(),
        None => {
            let repositories = policy.rules().iter().filter_map(Rule::git).flat_map(|git| &git.repos);
            let authorities: BTreeSet<&Authority> =
                repositories.map(|repository| repository.authority()).collect();
            let own = |host: &Host| credential.hosts.iter().any(|pattern| pattern.matches(host));
            let of_rules = authorities.into_iter().filter(|authority| own(&authority.host)).cloned();
            let mut places: BTreeSet<Authority> = of_rules.collect();
            places.extend(credential.hosts.iter().filter_map(forge));
            places.into_iter().map(|authority| (authority, "/".to_owned())).collect()
        }
    }
}

fn places_of_rule(rule: &Rule) -> Vec<(Authority, String)> {
    if let Some(git) = rule.git() {
        let below = |repository: &policy::Repository| {
            let prefixes = prefixes(repository.path());
            let authority = repository.authority().clone();
            prefixes.into_iter().map(move |prefix| (authority.clone(), prefix)).collect::<Vec<_>>()
        };
        return git.repos.iter().flat_map(below).collect();
    }
    if rule.scheme() != Scheme::Https || !rule.ports().contains(&HTTPS) {
        return Vec::new();
    }
    let paths: BTreeSet<String> = rule.paths().iter().map(directory).collect();
    let paths = if paths.is_empty() { BTreeSet::from(["/".to_owned()]) } else { paths };
    let forges = rule.hosts().iter().filter_map(forge);
    forges.flat_map(|authority| paths.iter().map(move |path| (authority.clone(), path.clone()))).collect()
}

/// git compares whole parts of a path: a repository is named with `.git` and without.
fn prefixes(path: &PathGlob) -> Vec<String> {
    match path.as_str().contains('*') {
        true => vec![directory(path)],
        false => vec![path.to_string(), format!("{path}.git")],
    }
}

/// The part of a path that has no wildcards, as far as its last slash.
fn directory(path: &PathGlob) -> String {
    let text = path.as_str();
    let plain = text.find('*').map_or(text, |star| &text[..star]);
    plain[..plain.rfind('/').map_or(0, |slash| slash + 1)].to_owned()
}

fn forge(pattern: &HostPattern) -> Option<Authority> {
    let HostPattern::Exact(host) = pattern else { return None };
    let is_forge = FORGES.contains(&host.to_string().as_str());
    is_forge.then(|| Authority { host: host.clone(), port: HTTPS })
}

fn written(authority: &Authority) -> String {
    match authority.port {
        HTTPS => authority.host.to_string(),
        _ => authority.to_string(),
    }
}

/// The user name beside a token. Servers that look at it at all want one of these.
fn user(host: &Host) -> &'static str {
    let host = host.to_string();
    match () {
        () if host.contains("github") => "x-access-token",
        () if host.contains("bitbucket") => "x-token-auth",
        () => "oauth2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::RuleId;

    fn credential(host: &str, rules: Option<Vec<usize>>) -> Credential {
        Credential {
            name: "T".into(),
            dummy: "the-dummy".into(),
            secret: "the-secret".to_owned().into(),
            hosts: vec![host.parse().unwrap()],
            rules: rules.map(|rules| rules.into_iter().map(RuleId).collect()),
            places: vec![CredentialLocation::WellKnown],
            origin: proxy::config::Origin::Fixed,
            allow_foreign: false,
            redact: true,
        }
    }

    fn headers(credential: Credential, rules: &[&str]) -> Vec<String> {
        let policy = Policy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect()).unwrap();
        let configuration = configuration(&[credential], &policy);
        let headers =
            configuration.iter().filter(|(key, value)| key.starts_with("http.") && !value.is_empty());
        headers.map(|(key, _)| key.clone()).collect()
    }

    #[test]
    fn a_credential_is_sent_below_what_its_rules_name() {
        for (host, named, rules, expected) in [
            ("github.com", None, &["github.com"][..], &["https://github.com/"][..]),
            ("github.com", None, &["git github.com/me/x"], &["https://github.com/"]),
            ("api.github.com", None, &["api.github.com"], &[]),
            ("git.example", None, &["git.example"], &[]),
            ("git.example", None, &["git git.example:8443/x"], &["https://git.example:8443/"]),
            ("*.example", None, &["git git.example/x"], &["https://git.example/"]),
            (
                "git.example",
                Some(vec![0]),
                &["git git.example/a/b"],
                &["https://git.example/a/b", "https://git.example/a/b.git"],
            ),
            (
                "git.example",
                Some(vec![0]),
                &["git git.example/a/x*", "git git.example/b"],
                &["https://git.example/a/"],
            ),
            ("github.com", Some(vec![0]), &["GET,POST github.com/me/**"], &["https://github.com/me/"]),
        ] {
            let expected: Vec<String> =
                expected.iter().map(|url| format!("http.{url}.extraHeader")).collect();
            assert_eq!(headers(credential(host, named), rules), expected, "{rules:?}");
        }
    }

    #[test]
    fn a_credential_that_is_no_password_is_not_sent() {
        for (place, sent) in [
            ("well-known", true),
            ("basic:password", true),
            ("header:authorization", true),
            ("basic:user", false),
            ("header:private-token", false),
            ("query:key", false),
        ] {
            let credential =
                Credential { places: vec![place.parse().unwrap()], ..credential("github.com", None) };
            assert_eq!(!headers(credential, &["github.com"]).is_empty(), sent, "{place}");
        }
    }

    #[test]
    fn the_configuration_follows_what_is_there() {
        let policy = Policy::new(vec!["git github.com/me/x".parse().unwrap()]).unwrap();
        let configuration = configuration(&[credential("github.com", None)], &policy);
        let basic = STANDARD.encode("x-access-token:the-dummy");
        let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            configuration,
            [
                entry("http.https://github.com/.extraHeader", ""),
                entry("http.https://github.com/.extraHeader", &format!("Authorization: Basic {basic}")),
                entry("url.https://github.com/.insteadOf", "git@github.com:"),
                entry("url.https://github.com/.insteadOf", "ssh://git@github.com/"),
            ]
        );
        let variables = variables(&configuration, 2);
        assert_eq!(variables[0], entry("GIT_CONFIG_COUNT", "6"));
        assert_eq!(variables[7], entry("GIT_CONFIG_KEY_5", "url.https://github.com/.insteadOf"));
        assert_eq!(super::variables(&[], 2), []);
    }
}
