//! `--learn`: the least policy that allows what a job did.

mod place;

use std::collections::{BTreeMap, BTreeSet};

use policy::{Action, Rule};
use proxy::audit::{Event, What};

pub(crate) use place::Place;

/// Requests that went on, reduced to what a rule can say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    /// Methods by scheme, authority and path.
    seen: BTreeMap<(String, String), BTreeMap<String, BTreeSet<String>>>,
}

/// More paths than this on one host, and the policy names their common directories instead: a policy that nobody can
/// read is one that nobody checks.
const PATHS_PER_HOST: usize = 12;

impl Learnt {
    /// Takes one event; those that were refused teach nothing.
    pub(crate) fn add(&mut self, event: &Event) {
        if let What::Request { scheme, authority, method, path, denied: None, .. } = &event.what {
            let paths = self.seen.entry((scheme.clone(), authority.clone())).or_default();
            paths.entry(path.clone()).or_default().insert(method.clone());
        }
    }

    /// The policy as a text that `--policy` reads.
    pub(crate) fn policy(&self) -> String {
        let mut text =
            String::from("# Learnt from one job. Read it before you use it: jail run --policy FILE …\n");
        for ((scheme, authority), paths) in &self.seen {
            for line in host_rules(scheme, authority, paths) {
                text.push_str(&format!("allow {line}\n"));
            }
        }
        text
    }
}

fn host_rules(scheme: &str, authority: &str, paths: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    if scheme == "tcp" {
        return BTreeSet::from([format!("tcp://{authority}")]);
    }
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let host = authority.strip_suffix(default_port).unwrap_or(authority);
    // From the exact paths to ever shorter directories, until there are few enough.
    (0..)
        .map(|depth| {
            let mut globs: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
            for (path, methods) in paths {
                let glob = glob(path, depth);
                globs.entry(glob).or_default().extend(methods.iter().map(String::as_str));
            }
            globs
        })
        .find(|globs| globs.len() <= PATHS_PER_HOST)
        .into_iter()
        .flatten()
        .map(|(glob, methods)| {
            let methods = methods.into_iter().collect::<Vec<_>>().join(",");
            format!("{methods} {scheme}://{host}{glob}")
        })
        // What the policy itself would not read back is left out, never widened.
        .filter(|line| Rule::parse(Action::Allow, line).is_ok())
        .collect()
}

/// The path itself at depth 0; above that a directory of it, the shorter the greater the depth.
fn glob(path: &str, depth: usize) -> String {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let kept = parts[..parts.len().saturating_sub(depth)].join("/");
    // A `*` of the path itself is no wildcard.
    let kept = kept.replace('*', "%2A");
    match (depth, kept.is_empty()) {
        (0, _) => format!("/{kept}"),
        (_, true) => "/**".to_owned(),
        (_, false) => format!("/{kept}/**"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(requests: &[(&str, &str, &str, &str)]) -> String {
        let mut learnt = Learnt::default();
        for (scheme, authority, method, path) in requests {
            learnt.add(&Event {
                time: 0,
                what: What::Request {
                    scheme: (*scheme).into(),
                    authority: (*authority).into(),
                    method: (*method).into(),
                    path: (*path).into(),
                    query: Vec::new(),
                    denied: None,
                    rule: None,
                    status: None,
                    credentials: Vec::new(),
                    refs: Vec::new(),
                    address: None,
                    milliseconds: 0,
                },
            });
        }
        learnt.policy().lines().skip(1).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn one_rule_per_path_with_its_methods() {
        let requests = [
            ("https", "a.example:443", "GET", "/x"),
            ("https", "a.example:443", "POST", "/x"),
            ("https", "a.example:443", "GET", "/y/z"),
            ("http", "b.example:8080", "GET", "/"),
            ("tcp", "db.example:5432", "", "/"),
        ];
        assert_eq!(
            learnt(&requests),
            "allow GET http://b.example:8080/\nallow GET https://a.example/y/z\nallow GET,POST https://a.example/x\nallow tcp://db.example:5432\n"
        );
    }

    #[test]
    fn many_paths_become_their_directories() {
        let paths: Vec<String> = (0..40).map(|number| format!("/packages/p{number}/index.json")).collect();
        let requests: Vec<_> =
            paths.iter().map(|path| ("https", "r.example:443", "GET", path.as_str())).collect();
        assert_eq!(learnt(&requests), "allow GET https://r.example/packages/**\n");
    }

    #[test]
    fn what_is_learnt_is_a_policy_that_allows_it_and_nothing_beside() {
        let text =
            learnt(&[("https", "a.example:443", "GET", "/x"), ("https", "a.example:443", "GET", "/*/s/***")]);
        let rules = crate::rules::parse(&text, "learnt").unwrap();
        let policy = policy::Policy::new(rules).unwrap();
        let authority = policy::Authority::parse("a.example:443", None).unwrap();
        for (path, allowed) in [("/x", true), ("/*/s/***", true), ("/z", false), ("/*/s/a/b", false)] {
            let path = policy::RequestPath::parse(path).unwrap();
            let request = policy::Request {
                scheme: policy::Scheme::Https,
                authority: &authority,
                method: "GET",
                path: &path,
                query: "",
                websocket: false,
            };
            assert_eq!(
                matches!(policy.decide(&request), policy::Decision::Allow { .. }),
                allowed,
                "{path:?}"
            );
        }
    }
}
