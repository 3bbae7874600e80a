//! Named sets of rules: the requests with which clients of public registries read.
//!
//! A set is data in `rule-sets/NAME.rules`, which has the form of a policy file. `@NAME` stands for its rules wherever a
//! rule that allows may stand: on the command line, in policy files, in specifications.

use std::fmt;

use policy::{Action, Rule};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::{Deserialize, Deserializer, de};

/// Starts the name of a set where a rule may stand.
const MARK: char = '@';

const SETS: &[(&str, &str)] = &[
    ("crates", include_str!("../rule-sets/crates.rules")),
    ("debian", include_str!("../rule-sets/debian.rules")),
    ("github-read", include_str!("../rule-sets/github-read.rules")),
    ("go", include_str!("../rule-sets/go.rules")),
    ("huggingface", include_str!("../rule-sets/huggingface.rules")),
    ("maven", include_str!("../rule-sets/maven.rules")),
    ("nix-cache", include_str!("../rule-sets/nix-cache.rules")),
    ("npm", include_str!("../rule-sets/npm.rules")),
    ("pypi", include_str!("../rule-sets/pypi.rules")),
    ("rubygems", include_str!("../rule-sets/rubygems.rules")),
];

/// Reads a rule, or `@NAME`, and adds it to the rules of a layer. Sets may have rules in common: these are added once.
pub(crate) fn add(rules: &mut Vec<Rule>, action: Action, text: &str) -> Result<(), String> {
    match text.trim().strip_prefix(MARK) {
        None => rules.push(Rule::parse(action, text).map_err(|error| error.to_string())?),
        Some(_) if action == Action::Deny => {
            return Err(format!(
                "{text} allows; to deny, name hosts (jail rules {text} prints those of the set)"
            ));
        }
        Some(name) => extend(rules, find(name)?),
    }
    Ok(())
}

fn extend(rules: &mut Vec<Rule>, set: Vec<Rule>) {
    for rule in set {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
}

/// Reads the rules of a specification, in which texts may be `@NAME`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    let mut rules = Vec::new();
    for entry in Vec::<Entry>::deserialize(deserializer)? {
        match entry {
            Entry::Rule(rule) => rules.push(*rule),
            Entry::Set(set) => extend(&mut rules, set),
        }
    }
    Ok(rules)
}

/// The text of a set, or, without a name, a line for each.
pub(crate) fn listing(name: Option<&str>) -> Result<String, String> {
    match name {
        None => Ok(SETS.iter().map(|(name, text)| format!("@{name:<14} {}\n", description(text))).collect()),
        Some(name) => text(name.strip_prefix(MARK).unwrap_or(name)).map(str::to_owned),
    }
}

enum Entry {
    Rule(Box<Rule>),
    Set(Vec<Rule>),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Entry;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter
                    .write_str("a rule as text or as an object, or @NAME for a set of rules (jail rules)")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
                let name = text.trim().strip_prefix("allow ").unwrap_or(text).trim();
                match name.strip_prefix(MARK) {
                    Some(name) => find(name).map(Entry::Set).map_err(E::custom),
                    None => {
                        Rule::deserialize(StrDeserializer::new(text)).map(|rule| Entry::Rule(Box::new(rule)))
                    }
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                Rule::deserialize(MapAccessDeserializer::new(map)).map(|rule| Entry::Rule(Box::new(rule)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn find(name: &str) -> Result<Vec<Rule>, String> {
    let lines = text(name)?.lines().filter_map(|line| line.strip_prefix("allow "));
    lines.map(|rule| Rule::parse(Action::Allow, rule).map_err(|error| format!("@{name}: {error}"))).collect()
}

fn text(name: &str) -> Result<&'static str, String> {
    let known = || SETS.iter().map(|(name, _)| format!("@{name}")).collect::<Vec<_>>().join(", ");
    match SETS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Ok(text),
        None => Err(format!("there is no rule set @{name}; there are {}", known())),
    }
}

/// The purpose of a set, from its first line.
fn description(text: &str) -> &str {
    text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use policy::{Authority, Decision, HostPattern, Policy, Request, RequestPath, Scheme};

    use super::*;

    fn decide(set: &str, method: &str, url: &str) -> bool {
        let policy = Policy::new(find(set).unwrap()).unwrap();
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        let (scheme, port) = if scheme == "http" { (Scheme::Http, 80) } else { (Scheme::Https, 443) };
        let request = Request {
            scheme,
            authority: &Authority::parse(host, Some(port)).unwrap(),
            method,
            path: &RequestPath::of_target(path),
            query: "",
            websocket: false,
        };
        matches!(policy.decide(&request), Decision::Allow { .. })
    }

    #[test]
    fn every_set_reads_from_exact_hosts() {
        for (name, text) in SETS {
            let lines = text.lines().skip(1);
            assert!(
                lines.clone().count() > 0 && lines.clone().all(|line| line.starts_with("allow ")),
                "{name}"
            );
            assert!(!description(text).is_empty(), "{name}");
            for rule in find(name).unwrap() {
                assert_eq!(rule.action(), Action::Allow, "{name}: {rule}");
                // Debian has mirrors in many countries, all below its own domain.
                let is_known = |host: &HostPattern| {
                    matches!(host, HostPattern::Exact(_))
                        || (*name, &*host.to_string()) == ("debian", "*.debian.org")
                };
                assert!(rule.hosts().iter().all(is_known), "{name}: {rule}");
                let reads = rule.methods().iter().all(|method| ["GET", "HEAD"].contains(&&**method));
                // A POST that reads is one of a few paths.
                assert!(!rule.methods().is_empty() && (reads || !rule.paths().is_empty()), "{name}: {rule}");
            }
        }
    }

    #[test]
    fn all_sets_go_together() {
        let mut rules = Vec::new();
        for (name, _) in SETS.iter().chain(SETS) {
            extend(&mut rules, find(name).unwrap());
        }
        Policy::new(rules).unwrap();
    }

    #[test]
    fn what_clients_read_is_allowed_and_publishing_is_not() {
        for (set, method, url, is_allowed) in [
            ("npm", "GET", "https://registry.npmjs.org/@types%2fnode", true),
            ("npm", "GET", "https://registry.npmjs.org/left-pad/-/left-pad-1.0.0.tgz", true),
            ("npm", "PUT", "https://registry.npmjs.org/left-pad", false),
            ("npm", "PUT", "https://registry.npmjs.org/-/user/org.couchdb.user:me", false),
            ("pypi", "GET", "https://pypi.org/simple/requests/", true),
            ("pypi", "GET", "https://files.pythonhosted.org/packages/a/b/c.whl", true),
            ("pypi", "POST", "https://upload.pypi.org/legacy/", false),
            ("pypi", "POST", "https://pypi.org/legacy/", false),
            ("crates", "GET", "https://index.crates.io/se/rd/serde", true),
            ("crates", "GET", "https://static.crates.io/crates/serde/1.0.0/download", true),
            ("crates", "GET", "https://crates.io/api/v1/crates/serde/1.0.0/download", true),
            ("crates", "PUT", "https://crates.io/api/v1/crates/new", false),
            ("crates", "DELETE", "https://crates.io/api/v1/crates/serde/1.0.0/yank", false),
            ("go", "GET", "https://proxy.golang.org/golang.org/x/net/@v/list", true),
            ("go", "GET", "https://storage.googleapis.com/another-bucket/x", false),
            ("maven", "GET", "https://repo.maven.apache.org/maven2/junit/junit/4.13/junit-4.13.pom", true),
            ("maven", "PUT", "https://repo.maven.apache.org/maven2/a/b", false),
            ("rubygems", "GET", "https://rubygems.org/gems/rake-13.0.0.gem", true),
            ("rubygems", "POST", "https://rubygems.org/api/v1/gems", false),
            ("debian", "GET", "http://ftp.debian.org/debian/dists/stable/InRelease", true),
            ("debian", "POST", "https://bugs.debian.org/cgi-bin/x", false),
            ("debian", "GET", "http://debian.org.example/debian/dists/stable/InRelease", false),
            ("nix-cache", "GET", "https://cache.nixos.org/nix-cache-info", true),
            ("nix-cache", "PUT", "https://cache.nixos.org/a.narinfo", false),
            ("github-read", "GET", "https://github.com/me/x.git/info/refs", true),
            ("github-read", "POST", "https://github.com/me/x.git/git-upload-pack", true),
            ("github-read", "POST", "https://github.com/me/x/git-upload-pack", true),
            ("github-read", "POST", "https://github.com/me/x.git/git-receive-pack", false),
            ("github-read", "POST", "https://api.github.com/repos/me/x/issues", false),
            ("github-read", "POST", "https://api.github.com/graphql", false),
            ("huggingface", "GET", "https://huggingface.co/me/model/resolve/main/config.json", true),
            ("huggingface", "POST", "https://huggingface.co/api/models/me/model/paths-info/main", true),
            ("huggingface", "POST", "https://huggingface.co/api/models/me/model/commit/main", false),
            ("huggingface", "POST", "https://huggingface.co/api/repos/create", false),
            ("huggingface", "POST", "https://huggingface.co/api/models/me/paths-info/commit/main", false),
            ("huggingface", "POST", "https://huggingface.co/api/models/me/paths-info/discussions", false),
            (
                "huggingface",
                "POST",
                "https://huggingface.co/api/datasets/me/paths-info/preupload/main",
                false,
            ),
            ("huggingface", "POST", "https://huggingface.co/api/models/me/x/commit/paths-info/x", false),
            ("rubygems", "GET", "https://rubygems.org/specs.4.8.gz", true),
            ("rubygems", "GET", "https://rubygems.org/info/rake", true),
            ("rubygems", "GET", "https://rubygems.org/api/v1/api_key", false),
        ] {
            assert_eq!(decide(set, method, url), is_allowed, "@{set}: {method} {url}");
        }
    }

    #[test]
    fn a_set_stands_where_a_rule_may_stand() {
        let mut rules = Vec::new();
        add(&mut rules, Action::Allow, "@npm").unwrap();
        assert_eq!(rules, find("npm").unwrap());
        assert!(add(&mut rules, Action::Deny, "@npm").is_err());
        assert!(add(&mut rules, Action::Allow, "@nowhere").unwrap_err().contains("@pypi"));
        let mut json = serde_json::Deserializer::from_str(
            r#"["@npm", "example.com", {"hosts": ["a.example"]}, "allow @npm"]"#,
        );
        assert_eq!(deserialize(&mut json).unwrap().len(), find("npm").unwrap().len() + 2);
        for wrong in [r#"["@"]"#, r#"["deny @npm"]"#, r#"["@NPM"]"#, "[1]"] {
            assert!(deserialize(&mut serde_json::Deserializer::from_str(wrong)).is_err(), "{wrong}");
        }
    }
}
