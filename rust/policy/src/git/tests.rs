use serde_json::json;

use super::*;
use crate::{
    Action, Authority, Decision, Policy, PushDecision, Reason, Request, RequestPath, Rule, RuleError, RuleId,
    Scheme,
};

fn rule(text: &str) -> Rule {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn policy(rules: &[&str]) -> Policy {
    Policy::new(rules.iter().map(|text| rule(text)).collect()).unwrap()
}

fn with<A>(request: &str, answer: impl FnOnce(&Request<'_>) -> A) -> A {
    let (method, url) = request.split_once(" https://").unwrap();
    let (authority, target) = url.split_at(url.find('/').unwrap());
    let authority = Authority::parse(authority, Some(443)).unwrap();
    let path = RequestPath::of_target(target);
    let query = target.split_once('?').map_or("", |(_, query)| query);
    answer(&Request {
        scheme: Scheme::Https,
        authority: &authority,
        method,
        path: &path,
        query,
        websocket: false,
    })
}

fn decide(policy: &Policy, request: &str) -> Result<&'static str, Reason> {
    match with(request, |request| policy.decide(request)) {
        Decision::Allow { .. } => Ok("allow"),
        Decision::Push { .. } => Ok("push"),
        Decision::Deny { reason, .. } => Err(reason),
    }
}

fn push(policy: &Policy, updates: &[(&str, Change)]) -> Result<usize, Vec<Option<Reason>>> {
    let updates: Vec<RefUpdate> = updates
        .iter()
        .map(|(name, change)| RefUpdate { name: name.parse().unwrap(), change: *change })
        .collect();
    let request = "POST https://git.example/me/repo.git/git-receive-pack";
    match with(request, |request| policy.decide_push(request, &updates)) {
        PushDecision::Allow { rule: RuleId(rule) } => Ok(rule),
        PushDecision::Deny { reasons, .. } => Err(reasons),
    }
}

#[test]
fn a_git_rule_opens_what_git_asks_for_and_nothing_else() {
    let both = policy(&["git git.example/me/repo push=agent/*"]);
    let fetch = policy(&["git git.example/me/repo"]);
    let only_push = policy(&["git git.example/me/repo push=main no-fetch"]);
    for path in ["/me/repo", "/me/repo.git"] {
        let url = format!("https://git.example{path}");
        for (request, expected) in [
            (
                format!("GET {url}/info/refs?service=git-upload-pack"),
                [Ok("allow"), Ok("allow"), Err(Reason::FetchNotAllowed)],
            ),
            (format!("POST {url}/git-upload-pack"), [Ok("allow"), Ok("allow"), Err(Reason::FetchNotAllowed)]),
            (
                format!("GET {url}/info/refs?service=git-receive-pack"),
                [Ok("allow"), Err(Reason::PushNotAllowed), Ok("allow")],
            ),
            (format!("POST {url}/git-receive-pack"), [Ok("push"), Err(Reason::PushNotAllowed), Ok("push")]),
        ] {
            let found = [&both, &fetch, &only_push].map(|policy| decide(policy, &request));
            assert_eq!(found, expected, "{request}");
        }
    }
    for request in [
        "GET https://git.example/me/repo",
        "GET https://git.example/me/repo.git/HEAD",
        "GET https://git.example/me/repo.git/info/refs",
        "GET https://git.example/me/repo.git/info/refs?service=git-receive-pack&x=1",
        "GET https://git.example/me/repo.git/info/refs?service=git-upload-pack&service=git-receive-pack",
        "GET https://git.example/me/repo.git/info/refs?service=git%2dreceive-pack",
        "POST https://git.example/me/repo.git/info/refs?service=git-receive-pack",
        "POST https://git.example/me/repo.git/git-receive-pack?x",
        "PUT https://git.example/me/repo.git/git-receive-pack",
        "GET https://git.example/me/repo.git/git-receive-pack",
        "POST https://git.example/me/repo.git.git/git-receive-pack",
        "POST https://git.example/me/repo.wiki.git/git-receive-pack",
        "POST https://git.example/me/repo/x/git-receive-pack",
        "POST https://git.example/me/other/git-receive-pack",
        "POST https://git.example/ME/repo/git-receive-pack",
        "POST https://git.example/git-receive-pack",
        "POST https://git.example/me/repo;x/git-receive-pack",
        "POST https://git.example/me/repo.git/info/lfs/objects/batch",
        "POST https://git.example/api/v3/repos/me/repo/git/refs",
        "POST https://git.example/graphql",
    ] {
        assert_eq!(decide(&both, request), Err(Reason::PathNotAllowed), "{request}");
    }
    for request in [
        "POST https://git.example/me/x/../repo/git-receive-pack",
        "POST https://git.example/me/x/%2e%2e/repo/git-receive-pack",
        "POST https://git.example/me%2frepo/git-receive-pack",
        "POST https://git.example//me/repo/git-receive-pack",
    ] {
        assert_eq!(decide(&both, request), Err(Reason::AmbiguousPath), "{request}");
    }
    // The same letters, written with escapes.
    assert_eq!(decide(&both, "POST https://git.example/me/%72epo/git-receive-pack"), Ok("push"));
    for request in [
        "POST https://git.example:8443/me/repo/git-receive-pack",
        "POST https://other.example/me/repo/git-receive-pack",
    ] {
        assert!(decide(&both, request).is_err(), "{request}");
    }
}

#[test]
fn behind_a_git_rule_no_other_rule_lets_a_push_through() {
    let policy = policy(&["git git.example/me/repo push=agent/*", "git.example", "POST other.example"]);
    for request in [
        "GET https://git.example/me/other/info/refs?service=git-upload-pack",
        "GET https://git.example/me/repo/issues",
        "POST https://git.example/api%2fx/y",
        "POST https://other.example/me/repo/git-receive-pack",
    ] {
        assert_eq!(decide(&policy, request), Ok("allow"), "{request}");
    }
    for request in [
        "POST https://git.example/ME/Repo/git-receive-pack",
        "POST https://git.example/me/repo/GIT-Receive-Pack",
        "POST https://git.example/me/repo/git-receive-pack/",
        "POST https://git.example/me/repo/git-receive-pack;x",
        "POST https://git.example/me/repo/git-receive-pack?x",
        "POST https://git.example/me/repo/git%2dreceive%2dpack?x",
        "POST https://git.example/me/repo//git%252dreceive-pack",
        "POST https://git.example/me/x/../repo/git-receive-pack",
        "POST https://git.example/old-name/git-receive-pack",
        "GET https://git.example/x/info/refs?service=git%2Dreceive-pack",
        "PUT https://git.example/me/repo/git-receive-pack",
    ] {
        assert!(decide(&policy, request).is_err(), "{request}");
    }
    let first = Policy::new(vec![rule("git.example"), rule("git git.example/me/repo push=main")]);
    assert!(first.unwrap_err().to_string().contains("put the git rule first"));
    for earlier in ["POST git.example/me/**", "*.example", "git.example/*/*.git/**"] {
        assert!(
            Policy::new(vec![rule(earlier), rule("git git.example/me/* push=main")]).is_err(),
            "{earlier}"
        );
    }
    for earlier in [
        "GET git.example",
        "git.example/me/repo.git/*",
        "git.example/api/**",
        "other.example",
        "http://git.example",
    ] {
        assert!(
            Policy::new(vec![rule(earlier), rule("git git.example/me/* push=main")]).is_ok(),
            "{earlier}"
        );
    }
}

#[test]
fn each_ref_is_asked_about() {
    use Change::*;
    use Reason::*;
    let policy = policy(&[
        "git git.example/me/repo push=agent/*,refs/tags/v*",
        "git git.example/me/* push=**,^main,^release/** force delete credential=TOKEN",
        "git git.example/me/repo push=release/next",
    ]);
    for (updates, expected) in [
        (&[("refs/heads/agent/x", Create), ("refs/tags/v1", Create)][..], Ok(0)),
        (&[("refs/heads/agent/x", Advance)], Ok(0)),
        (&[("refs/heads/agent/x", Rewind)], Ok(1)),
        (&[("refs/heads/agent/x/y", Create)], Ok(1)),
        (&[("refs/heads/other", Delete)], Ok(1)),
        (&[("refs/heads/main", Advance)], Err(vec![Some(RefNotAllowed)])),
        (&[("refs/heads/MAIN", Create)], Err(vec![Some(RefNotAllowed)])),
        (&[("refs/heads/Release/x/y", Create)], Err(vec![Some(RefNotAllowed)])),
        (&[("refs/heads/release/next", Advance)], Ok(2)),
        (&[("refs/heads/release/next", Rewind)], Err(vec![Some(RefNotAllowed)])),
        (&[("refs/tags/v1", Delete)], Err(vec![Some(DeleteNotAllowed)])),
        (&[("refs/tags/v1", Rewind)], Err(vec![Some(ForceNotAllowed)])),
        // One rule must allow all of it.
        (&[("refs/heads/other", Create), ("refs/tags/v1", Create)], Err(vec![Some(RefNotAllowed), None])),
        (
            &[("refs/heads/main", Advance), ("refs/heads/agent/x", Create)],
            Err(vec![Some(RefNotAllowed), None]),
        ),
        (&[], Ok(0)),
    ] {
        assert_eq!(push(&policy, updates), expected, "{updates:?}");
    }
}

#[test]
fn the_text_and_the_parts_are_one() {
    for (text, printed) in [
        ("git github.com/me/repo", "git github.com/me/repo"),
        ("allow git https://GitHub.com/me/repo.git/", "git github.com/me/repo"),
        (
            "git github.com/me/* push=main,agent/*,^agent/x force delete credential=T",
            "git github.com/me/* push=refs/heads/main,refs/heads/agent/*,^refs/heads/agent/x force delete credential=T",
        ),
        (
            "git a.example:8443/r push=refs/tags/v* no-fetch",
            "git a.example:8443/r push=refs/tags/v* no-fetch",
        ),
        ("git a.example/r push=x push=y", "git a.example/r push=refs/heads/x,refs/heads/y"),
        ("https://git", "https://git"),
        ("git.example", "git.example"),
    ] {
        assert_eq!(rule(text).to_string(), printed);
        assert_eq!(rule(printed), rule(text));
        let json = serde_json::to_value(rule(text)).unwrap();
        assert_eq!(serde_json::from_value::<Rule>(json).unwrap(), rule(text), "{text}");
    }
    let parts = json!({
        "action": "allow",
        "git": {
            "repos": ["github.com/me/a", "github.com/me/b"], "fetch": true, "push": ["refs/heads/agent/*"],
            "force": false, "delete": false,
        },
        "credential": "GITHUB_TOKEN",
    });
    let rule: Rule = serde_json::from_value(parts).unwrap();
    assert_eq!(
        rule.texts(),
        [
            "git github.com/me/a push=refs/heads/agent/* credential=GITHUB_TOKEN",
            "git github.com/me/b push=refs/heads/agent/* credential=GITHUB_TOKEN"
        ]
    );
}

#[test]
fn what_is_no_git_rule_is_refused_with_the_cure() {
    for (text, cure) in [
        ("git", "names no repository"),
        ("git github.com", "HOST/OWNER/REPO"),
        ("git github.com/", "HOST/OWNER/REPO"),
        ("git github.com/.git", "HOST/OWNER/REPO"),
        ("git git@github.com:me/repo", "HOST/OWNER/REPO"),
        ("git ssh://github.com/me/repo", "HOST/OWNER/REPO"),
        ("git *.example.com/me/repo", "cannot hold"),
        ("git github.com/me/../repo", "`..` segment"),
        ("git github.com/me/repo push", "not part of a git rule"),
        ("git github.com/me/repo pull=x", "not part of a git rule"),
        ("git github.com/me/repo push=", "is not a ref"),
        ("git github.com/me/repo push=a..b", "is not a ref"),
        ("git github.com/me/repo push=a.lock", "is not a ref"),
        ("git github.com/me/repo push=+main", "is not a ref"),
        ("git github.com/me/repo push=^main", "lets nothing be pushed"),
        ("git github.com/me/repo force", "lets nothing be pushed"),
        ("git github.com/me/repo no-fetch", "neither fetch nor push"),
        ("git github.com/me/repo credential=", "name is empty"),
        ("deny git github.com/me/repo", "can only allow"),
    ] {
        let error = text.parse::<Rule>().expect_err(text).to_string();
        assert!(error.contains(cure), "{text}: {error}");
    }
    for parts in [
        json!({ "git": { "repos": [] } }),
        json!({ "git": { "repos": ["a.example/r"] }, "hosts": ["a.example"] }),
        json!({ "git": { "repos": ["a.example/r"] }, "methods": ["GET"] }),
        json!({ "git": { "repos": ["a.example/r"] }, "scheme": "http" }),
        json!({ "git": { "repos": ["a.example/r"] }, "action": "deny" }),
        json!({ "git": { "repos": ["a.example/r"], "pull": true } }),
        json!({ "git": { "repos": ["a.example/r"], "push": ["a,b"] } }),
    ] {
        assert!(serde_json::from_value::<Rule>(parts.clone()).is_err(), "{parts}");
    }
    assert_eq!(Rule::parse(Action::Deny, "git a.example/r"), Err(RuleError::GitDeny));
}

#[test]
fn names_of_refs_are_git_s() {
    for name in ["refs/heads/a", "refs/tags/v1.0", "refs/heads/ü/%2e", "refs/heads/a@b", "refs/x"] {
        assert_eq!(name.parse::<RefName>().unwrap().as_str(), name);
    }
    for name in [
        "HEAD",
        "main",
        "refs",
        "refs/",
        "refs//a",
        "refs/heads/",
        "refs/heads/../main",
        "refs/heads/.a",
        "refs/heads/a.lock",
        "refs/heads/a.lock/b",
        "refs/heads/a.",
        "refs/heads/a b",
        "refs/heads/a\nb",
        "refs/heads/a\0b",
        "refs/heads/*",
        "refs/heads/a?",
        "refs/heads/[a]",
        "refs/heads/a^",
        "refs/heads/a~1",
        "refs/heads/a:b",
        "refs/heads/a\\b",
        "refs/heads/a@{1}",
        "/refs/heads/a",
        "Refs/heads/a",
    ] {
        assert!(name.parse::<RefName>().is_err(), "{name:?}");
    }
}

#[test]
fn behind_a_git_rule_no_other_rule_moves_refs_in_another_way() {
    let policy = policy(&["git git.example/me/repo push=agent/*", "git.example"]);
    let refused = [
        "PUT https://git.example/me/repo.git/refs/heads/main",
        "MOVE https://git.example/me/repo.git/objects/x",
        "PATCH https://git.example/api/v3/repos/me/repo/git/refs/heads/main",
        "POST https://git.example/api/v3/repos/me/repo/git/refs",
        "PUT https://git.example/me/repo.GIT/Refs/heads/main",
        "PUT https://git.example/me/repo%2egit%2frefs%2fheads/main",
        "put https://git.example/me/repo/refs/heads/main",
    ];
    for request in refused {
        assert!(decide(&policy, request).is_err(), "{request}");
    }
    let allowed = [
        "GET https://git.example/api/v3/repos/me/repo/git/refs/heads/main",
        "POST https://git.example/api/v3/repos/me/repo/issues",
        "POST https://git.example/me/repo.git/info/lfs/objects/batch",
        "POST https://git.example/me/other.git/git-upload-pack",
    ];
    for request in allowed {
        assert_eq!(decide(&policy, request), Ok("allow"), "{request}");
    }
}

#[test]
fn the_credential_of_a_git_rule_goes_along_with_git_lfs_for_its_repository() {
    let id = "0123456789abcdef".repeat(4);
    let own = json!({
        "hosts": ["git.example"],
        "methods": ["POST"],
        "paths": ["/me/repo/own/**"],
        "credential": "OWN",
    });
    let policy = Policy::new(vec![
        rule("git git.example/me/repo push=** credential=PUSH"),
        rule("git git.example/me/readable credential=READ"),
        serde_json::from_value(own).unwrap(),
        rule("git.example"),
    ])
    .unwrap();
    let by = |request: &str| {
        with(request, |request| match policy.decide(request) {
            Decision::Allow { rule } => policy.credential_rule(request, rule).0,
            decision => panic!("{decision:?}"),
        })
    };
    for (request, expected) in [
        ("POST https://git.example/me/repo.git/info/lfs/objects/batch".to_owned(), 0),
        ("POST https://git.example/me/repo/info/lfs/locks/verify".to_owned(), 0),
        (format!("PUT https://git.example/me/repo.git/gitlab-lfs/objects/{id}/12"), 0),
        (format!("PUT https://git.example/me/repo/obj/{id}"), 0),
        // Without push only what a download needs.
        ("POST https://git.example/me/readable.git/info/lfs/objects/batch".to_owned(), 1),
        (format!("GET https://git.example/me/readable/obj/{id}"), 1),
        (format!("PUT https://git.example/me/readable/obj/{id}"), 3),
        ("POST https://git.example/me/readable.git/info/lfs/locks".to_owned(), 3),
        // The rule has a credential of its own.
        (format!("POST https://git.example/me/repo/own/{id}"), 2),
        // Of another kind, another repository or another server.
        ("GET https://git.example/me/repo/issues".to_owned(), 3),
        (format!("GET https://git.example/me/repo/{}", &id[1..]), 3),
        (format!("GET https://git.example/me/repo/obj;x/{id}"), 3),
        (format!("GET https://git.example/me/repo/%2e%2e/other/{id}"), 3),
        (format!("GET https://git.example/me/other/obj/{id}"), 3),
        ("POST https://git.example/x/me/repo.git/info/lfs/objects/batch".to_owned(), 3),
    ] {
        assert_eq!(by(&request), expected, "{request}");
    }
    let wide =
        Policy::new(vec![rule("git git.example/*/* push=** credential=PUSH"), rule("git.example")]).unwrap();
    for (request, expected) in [
        ("POST https://git.example/me/repo.git/info/lfs/objects/batch".to_owned(), 0),
        (format!("PUT https://git.example/me/repo.git/gitlab-lfs/objects/{id}/12"), 0),
        (format!("PUT https://git.example/api/v3/repos/me/x/contents/{id}"), 1),
        (format!("PUT https://git.example/api/v4/projects/1/variables/{id}"), 1),
    ] {
        let by = with(&request, |request| wide.credential_rule(request, RuleId(1)));
        assert_eq!(by.0, expected, "{request}");
    }
    for path in ["/me/repo.git/info/lfs/../../packed-refs", "/me/repo.git/info/lfs/%2e%2e/%2e%2e/HEAD"] {
        let request = format!("PUT https://git.example{path}");
        assert_ne!(decide(&wide, &request), Ok("allow"), "{request}");
    }
    let request = format!("GET https://other.example/me/repo/obj/{id}");
    assert_eq!(with(&request, |request| policy.credential_rule(request, RuleId(3))), RuleId(3));
}
