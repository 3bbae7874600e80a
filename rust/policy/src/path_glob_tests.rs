use proptest::prelude::*;

use super::*;

fn fits(glob: &str, path: &str) -> bool {
    let path = RequestPath::parse(path).unwrap();
    glob.parse::<PathGlob>().unwrap().matches(path.as_str())
}

#[test]
fn wildcards() {
    for (glob, yes, no) in [
        ("/", &["/", "/?q"][..], &["/a", "*"][..]),
        ("/repos", &["/repos", "/repos?x=/"], &["/repos/", "/repo", "/reposx", "/Repos"]),
        (
            "/repos/*",
            &["/repos/a", "/repos/", "/repos/a?b/c"],
            &["/repos", "/repos/a/b", "/repos/a/", "/x/repos/a"],
        ),
        ("/repos/**", &["/repos/a", "/repos/a/b/", "/repos/"], &["/repos", "/reposx/a", "/x/repos/a"]),
        ("/**", &["/", "/a", "/a/b/c"], &["*"]),
        ("/a/**/z", &["/a/z", "/a/b/z", "/a/b/c/z"], &["/a/bz", "/az", "/a/b/z/", "/a/z/y"]),
        ("/**/**/", &["/", "/a/", "/a/b/c/"], &["/a"]),
        ("/**/z", &["/z", "/a/z", "/a/b/z"], &["/az", "/z/a"]),
        ("/a**z", &["/az", "/abz", "/a/b/z"], &["/a", "/az/"]),
        ("/*.git", &["/x.git", "/.git"], &["/x/y.git", "/x.git/y"]),
        ("/a*b*c", &["/abc", "/aXbYc", "/abbbc"], &["/ab", "/a/b/c", "/acb"]),
        ("/v*/x/*", &["/v1/x/y"], &["/v1/x/y/z", "/w1/x/y"]),
    ] {
        for path in yes {
            assert!(fits(glob, path), "{glob} should match {path}");
        }
        for path in no {
            assert!(!fits(glob, path), "{glob} should not match {path}");
        }
    }
}

#[test]
fn nothing_else_is_a_wildcard() {
    for literal in ["/[ab]", "/{a,b}", "/a%3F", "/!a", "/a+", "/(a|b)", "/^a$", "/%2A", "/%2A%2a"] {
        assert!(fits(literal, literal), "{literal}");
        for other in ["/a", "/b", "/aa", "/ab", "/"] {
            assert!(!fits(literal, other), "{literal} {other}");
        }
    }
}

#[test]
fn glob_and_path_meet_in_canonical_form() {
    assert!(fits("/%40me/%61", "/@me/a"));
    assert!(fits("/@me/a", "/%40me/%61"));
    assert!(fits("/{id}", "/%7bid%7d"));
    assert_eq!("/%7eme/%c3%a4*".parse::<PathGlob>().unwrap().to_string(), "/~me/%C3%A4*");
}

#[test]
fn a_glob_that_can_never_match_is_refused_with_the_cure() {
    for (glob, cure) in [
        ("", "start it with `/`"),
        ("*", "start it with `/`"),
        ("a/*", "start it with `/`"),
        ("/a//b", "single slashes"),
        ("/a/../b", "write the path that is meant"),
        ("/a/%2e/*", "write the path that is meant"),
        ("/a%2fb", "read it as `/`"),
        ("/a?b=*", "`%3F`"),
        ("/a;x", "leave it out"),
        ("/a%3bx", "leave it out"),
        ("/***", "crosses `/`"),
        ("/a#b", "`%23`"),
        ("/%zz", "`%25`"),
        ("/ä", "percent-escaped"),
    ] {
        let error = glob.parse::<PathGlob>().expect_err(glob).to_string();
        assert!(error.contains(cure), "{glob}: {error}");
    }
}

#[test]
fn a_job_cannot_make_matching_slow() {
    let glob: PathGlob = format!("/{}b", "*a".repeat(50)).parse().unwrap();
    assert!(!glob.matches(&format!("/{}", "a".repeat(20_000))));
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(text in prop_oneof!["/[a-z/*%.0-9;{}@]{0,16}", any::<String>()]) {
        if let Ok(glob) = text.parse::<PathGlob>() {
            prop_assert_eq!(glob.to_string().parse(), Ok(glob));
        }
    }

    #[test]
    fn a_glob_without_stars_matches_itself_only(one in "/[a-c/.%0-9]{0,6}", other in "/[a-c/.%0-9]{0,6}") {
        let (Ok(glob), Ok(one), Ok(other)) =
            (one.parse::<PathGlob>(), RequestPath::parse(&one), RequestPath::parse(&other)) else { return Ok(()) };
        prop_assert!(glob.matches(one.as_str()));
        prop_assert_eq!(glob.matches(other.as_str()), one == other);
    }

    /// Against the obvious definition, by backtracking.
    #[test]
    fn stars_mean_what_they_say(glob in "/([ab]|\\*|\\*\\*|/){0,6}", path in "/[ab/]{0,7}") {
        fn slow(glob: &str, path: &str, behind_slash: bool) -> bool {
            if let Some(rest) = glob.strip_prefix("**/").filter(|_| behind_slash) {
                return slow(rest, path, true)
                    || path.match_indices('/').any(|(slash, _)| slow(rest, &path[slash + 1..], true));
            }
            if let Some(rest) = glob.strip_prefix("**") {
                return (0..=path.len()).any(|skip| slow(rest, &path[skip..], false));
            }
            if let Some(rest) = glob.strip_prefix('*') {
                let most = path.find('/').unwrap_or(path.len());
                return (0..=most).any(|skip| slow(rest, &path[skip..], false));
            }
            match (glob.chars().next(), path.chars().next()) {
                (None, None) => true,
                (Some(wanted), Some(found)) => wanted == found && slow(&glob[1..], &path[1..], wanted == '/'),
                _ => false,
            }
        }
        let (Ok(parsed), Ok(request)) = (glob.parse::<PathGlob>(), RequestPath::parse(&path)) else { return Ok(()) };
        prop_assert_eq!(parsed.matches(request.as_str()), slow(&glob, &path, false), "{} {}", glob, path);
    }
}
