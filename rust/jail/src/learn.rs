//! `--learn`: the least policy that allows what a job did.

mod policy_file;

use std::collections::{BTreeMap, BTreeSet};

use policy::{Action, Rule};
use proxy::audit::{Event, What};

pub(crate) use policy_file::PolicyFile;

/// Requests that went on, reduced to what a rule can say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    /// By scheme and authority.
    seen: BTreeMap<(String, String), Host>,
    /// Bytes of all of it.
    bytes: usize,
    /// Requests that there was no space for.
    left_out: u64,
}

/// The requests to one host.
#[derive(Clone, Debug, Default)]
struct Host {
    /// How many parts at the end of each path are left out already.
    depth: usize,
    /// Methods by path.
    paths: BTreeMap<String, BTreeSet<String>>,
}

/// More paths than this on one host, and the policy names their common directories instead: a policy that nobody can
/// read is one that nobody checks.
const PATHS_PER_HOST: usize = 12;

/// How many paths of one host are kept before they become directories: the job decides how many there are.
const PATHS_KEPT: usize = 256;
/// Bytes of all names, paths and methods.
const BYTES_KEPT: usize = 4 * 1024 * 1024;
/// Bytes for each entry beside its text.
const ENTRY: usize = 128;
/// Bytes of a method; no registered one is longer.
const METHOD: usize = 32;

impl Learnt {
    /// Takes one event. Only a request that a server answered teaches something: neither one that was refused, nor one to a
    /// server that does not exist or cannot be reached.
    pub(crate) fn add(&mut self, event: &Event) {
        let What::Request { scheme, authority, method, path, denied: None, address: Some(_), .. } =
            &event.what
        else {
            return;
        };
        let server = (scheme.clone(), authority.clone());
        let known = self.seen.get(&server);
        let path = shortened(path, known.map_or(0, |host| host.depth));
        if known.and_then(|host| host.paths.get(path)?.get(method)).is_some() {
            return;
        }
        let of_server = if known.is_some() { 0 } else { ENTRY + authority.len() };
        let needs = of_server + bytes_of(path, method);
        if self.bytes + needs > BYTES_KEPT || method.len() > METHOD {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        self.bytes += needs;
        let host = self.seen.entry(server).or_default();
        host.paths.entry(path.to_owned()).or_default().insert(method.clone());
        while host.paths.len() > PATHS_KEPT {
            self.bytes -= host.shorten();
        }
    }

    /// The policy as a text that `--policy` reads.
    pub(crate) fn policy(&self) -> String {
        let mut text =
            String::from("# Learnt from one job. Read it before you use it: jail run --policy FILE …\n");
        if self.left_out > 0 {
            let count = self.left_out;
            text.push_str(&format!(
                "# {count} requests are not in it: they went to more places than are kept.\n"
            ));
        }
        for ((scheme, authority), host) in &self.seen {
            for line in host_rules(scheme, authority, host) {
                text.push_str(&format!("allow {line}\n"));
            }
        }
        text
    }
}

impl Host {
    /// Leaves out one more part of each path, as the policy would for so many; returns how many bytes that saves.
    fn shorten(&mut self) -> usize {
        let before = self.bytes();
        self.depth += 1;
        for (path, methods) in std::mem::take(&mut self.paths) {
            self.paths.entry(shortened(&path, 1).to_owned()).or_default().extend(methods);
        }
        before - self.bytes()
    }

    fn bytes(&self) -> usize {
        let each =
            self.paths.iter().flat_map(|(path, methods)| methods.iter().map(move |method| (path, method)));
        each.map(|(path, method)| bytes_of(path, method)).sum()
    }
}

fn bytes_of(path: &str, method: &str) -> usize {
    2 * ENTRY + path.len() + method.len()
}

/// The path without so many of its last parts.
fn shortened(path: &str, depth: usize) -> &str {
    (0..depth).fold(path, |path, _| path.rfind('/').map_or("", |end| &path[..end]))
}

fn host_rules(scheme: &str, authority: &str, host: &Host) -> BTreeSet<String> {
    if scheme == "tcp" {
        return BTreeSet::from([format!("tcp://{authority}")]);
    }
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let server = authority.strip_suffix(default_port).unwrap_or(authority);
    // From the exact paths to ever shorter directories, until there are few enough.
    (0..)
        .map(|depth| {
            let mut globs: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
            for (path, methods) in &host.paths {
                let glob = glob(shortened(path, depth), host.depth + depth);
                globs.entry(glob).or_default().extend(methods.iter().map(String::as_str));
            }
            globs
        })
        .find(|globs| globs.len() <= PATHS_PER_HOST)
        .into_iter()
        .flatten()
        .map(|(glob, methods)| {
            let methods = methods.into_iter().collect::<Vec<_>>().join(",");
            format!("{methods} {scheme}://{server}{glob}")
        })
        // What the policy itself would not read back is left out, never widened.
        .filter(|line| Rule::parse(Action::Allow, line).is_ok())
        .collect()
}

/// The path itself at depth 0; above that everything below what is left of it.
fn glob(path: &str, depth: usize) -> String {
    // A `*` of the path itself is no wildcard.
    let kept = path.trim_start_matches('/').replace('*', "%2A");
    match (depth, kept.is_empty()) {
        (0, _) => format!("/{kept}"),
        (_, true) => "/**".to_owned(),
        (_, false) => format!("/{kept}/**"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(
        (scheme, authority, method, path): (&str, &str, &str, &str),
        denied: Option<&str>,
        address: Option<&str>,
    ) -> Event {
        Event {
            time: 0,
            what: What::Request {
                scheme: scheme.into(),
                authority: authority.into(),
                method: method.into(),
                path: path.into(),
                query: Vec::new(),
                denied: denied.map(Into::into),
                failed: None,
                rule: None,
                status: None,
                credentials: Vec::new(),
                refs: Vec::new(),
                address: address.map(Into::into),
                milliseconds: 0,
            },
        }
    }

    fn rules(learnt: &Learnt) -> String {
        learnt.policy().lines().skip(1).map(|line| format!("{line}\n")).collect()
    }

    fn learnt(requests: &[(&str, &str, &str, &str)]) -> String {
        let mut learnt = Learnt::default();
        for asked in requests {
            learnt.add(&request(*asked, None, Some("192.0.2.1:443")));
        }
        rules(&learnt)
    }

    #[test]
    fn refused_requests_and_servers_that_do_not_answer_teach_nothing() {
        let mut learnt = Learnt::default();
        let asked = ("https", "no-such-name.example:443", "GET", "/x");
        learnt.add(&request(asked, None, None));
        learnt.add(&request(asked, Some("host-not-allowed"), None));
        learnt.add(&request(asked, Some("protocol-not-allowed"), Some("192.0.2.1:443")));
        assert_eq!(rules(&learnt), "");
    }

    #[test]
    fn any_number_of_requests_is_learnt_in_bounded_memory() {
        let mut learnt = Learnt::default();
        let ask = |learnt: &mut Learnt, host: &str, method: &str, path: &str| {
            learnt.add(&request(("https", host, method, path), None, Some("192.0.2.1:443")));
            assert!(learnt.bytes <= BYTES_KEPT);
        };
        let long = "a".repeat(2000);
        for number in 0..5000 {
            ask(&mut learnt, "one.example:443", "GET", &format!("/p/{number}/{long}"));
            ask(&mut learnt, "one.example:443", &format!("{number}{}", &long[..100]), "/");
            ask(&mut learnt, "one.example:443", &format!("M{number}"), "/m");
        }
        assert!(learnt.bytes < 2 * 1024 * 1024, "{}", learnt.bytes);
        for number in 0..40_000 {
            ask(&mut learnt, &format!("{number}.{}.example:443", &long[..60]), "GET", "/");
        }
        assert!((1000..30_000).contains(&learnt.seen.len()), "{}", learnt.seen.len());
        let text = learnt.policy();
        assert!(text.lines().nth(1).unwrap().contains(" requests are not in it"), "{}", &text[..400]);
        assert!(text.len() <= 2 * BYTES_KEPT);
    }

    #[test]
    fn directories_are_the_same_whenever_the_paths_are_shortened() {
        let paths: Vec<String> = (0..2000).map(|number| format!("/a/b{}/c{number}/d", number % 3)).collect();
        let requests: Vec<_> =
            paths.iter().map(|path| ("https", "a.example:443", "GET", path.as_str())).collect();
        let expected = "allow GET https://a.example/a/b0/**\nallow GET https://a.example/a/b1/**\nallow GET https://a.example/a/b2/**\n";
        assert_eq!(learnt(&requests), expected);
        assert_eq!(learnt(&requests[..PATHS_KEPT]), expected);
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
