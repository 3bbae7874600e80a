//! git over HTTPS, in the workspace.

use crate::support::{GitServer, Jail, PROXY_VARIABLES};

const WORK: &str = "
git clone --quiet https://git.test/project.git work && cd work && cat README || exit 10
git config user.name Agent && git config user.email agent@example.com
echo more > more && git add more && git commit --quiet --message second || exit 11
git push --quiet origin main || exit 12
git fetch --quiet && git log --format=%s origin/main
";

fn jail(server: &GitServer) -> Jail {
    Jail::new().host("git").upstream(&server.server)
}

#[test]
fn clone_commit_push_and_fetch() {
    needs!("git");
    for unset in [String::new(), format!("unset {}\n", PROXY_VARIABLES.join(" "))] {
        let server = GitServer::https("git.test");
        let jail = jail(&server).allow("https://git.test/project.git/**");
        assert_eq!(server.subject("main"), "first");
        jail.script(&format!("{unset}{WORK}"))
            .succeeds()
            .prints("the first commit\nsecond\nfirst\n")
            .denied_nothing();
        assert_eq!(server.subject("main"), "second");
        assert!(jail.project().join("work/more").is_file());
    }
}

#[test]
fn a_repository_that_may_be_read_only() {
    needs!("git");
    let server = GitServer::https("git.test");
    let jail = jail(&server).allow("GET https://git.test/project.git/info/refs");
    let jail = jail.allow("POST https://git.test/project.git/git-upload-pack");
    let ended = jail.script(WORK);
    ended.exits(12).prints("the first commit\n").denied("git.test:443", "path-not-allowed");
    assert_eq!(server.subject("main"), "first");
}

#[test]
fn a_server_that_is_not_allowed() {
    needs!("git");
    let server = GitServer::https("git.test");
    let jail = jail(&server).allow("other.test");
    jail.script(WORK).exits(10).denied("git.test:443", "host-not-allowed");
    assert_eq!(server.server.connections(), 0);
}
