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

/// git of the operator, outside of any jail.
fn outside(directory: &std::path::Path, words: &[&str]) -> String {
    let output = std::process::Command::new("git")
        .args([
            "-c",
            "user.name=Operator",
            "-c",
            "user.email=operator@example.com",
            "-c",
            "commit.gpgSign=false",
        ])
        .args(["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"])
        .args(words)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_commit_bears_the_operator_s_name_unless_the_repository_names_another() {
    needs!("git");
    let jail = Jail::new().host("git");
    std::fs::write(
        jail.home().join(".gitconfig"),
        "[user]\n\tname = \"A. \\\"B\\\" Name\"\n\temail = a.name@example.com\n[init]\n\tdefaultBranch = trunk\n[alias]\n\tx = !false\n",
    )
    .unwrap();
    let script = "git init -q one && cd one && git commit -q --allow-empty -m 1 && git log --format='%an <%ae> %D'
        git config user.email own@example.com && git commit -q --allow-empty -m 2 && git log -1 --format=%ae; git config alias.x";
    jail.script(script)
        .exits(1)
        .prints("A. \"B\" Name <a.name@example.com> HEAD -> trunk\nown@example.com\n");
}

#[test]
fn a_linked_worktree_is_a_workspace_like_any_other() {
    needs!("git");
    let jail = Jail::new().host("git");
    let place = jail.place().to_owned();
    outside(&place, &["init", "-q", "repo"]);
    let repository = place.join("repo");
    outside(&repository, &["commit", "-q", "--allow-empty", "-m", "1"]);
    outside(&repository, &["worktree", "add", "-q", "-b", "feat", "../tree"]);
    outside(&repository, &["worktree", "add", "-q", "-b", "other", "../other"]);
    std::fs::write(repository.join("private"), "").unwrap();
    outside(&repository, &["config", "core.hooksPath", ".githooks"]);
    std::fs::create_dir(place.join("tree/.githooks")).unwrap();
    outside(&repository, &["config", "http.extraHeader", "X-Token: hidden-header"]);
    let jail = jail.from(&place.join("tree"));
    let look = "git config --list; cat $(git rev-parse --git-common-dir)/config";
    jail.script(look).succeeds().prints("core.hookspath=.githooks").never_prints("hidden-");
    let script = "git status --short && git -c user.name=n -c user.email=e@example.com commit -q --allow-empty -m 2 && git branch new
        G=$(git rev-parse --git-common-dir)
        for f in $G/config $G/hooks/x $G/worktrees/other/HEAD $G/worktrees/tree/gitdir .git .githooks/x; do (echo x >> $f) 2>/dev/null && echo \"wrote $f\"; done
        ls $G/.. -A; git worktree prune; test -f $G/worktrees/other/HEAD && echo kept";
    let ended = jail.script(script);
    ended.succeeds().prints(".git\nkept\n");
    assert_eq!(outside(&place.join("tree"), &["log", "-1", "--format=%s"]), "2");
    assert_eq!(outside(&repository, &["branch", "--list", "new"]), "new");
    assert_eq!(outside(&place.join("other"), &["status", "--short"]), "");
}

#[test]
fn a_part_of_a_repository_shows_its_history_and_commits_nothing() {
    needs!("git");
    let jail = Jail::new().host("git").for_people();
    let place = jail.place().to_owned();
    outside(&place, &["init", "-q", "repo"]);
    let repository = place.join("repo");
    std::fs::create_dir(repository.join("part")).unwrap();
    std::fs::write(repository.join("part/file"), "1").unwrap();
    std::fs::write(repository.join("top"), "1").unwrap();
    outside(&repository, &["add", "."]);
    outside(&repository, &["commit", "-q", "-m", "1"]);
    std::fs::write(repository.join("private"), "").unwrap();
    outside(&repository, &["config", "http.extraHeader", "X-Token: hidden-header"]);
    outside(&repository, &["remote", "add", "origin", "https://user:hidden-word@host.test/a.git"]);
    let jail = jail.from(&repository.join("part"));
    let look = "git config --list --show-origin; cat $(git rev-parse --git-common-dir)/config";
    let shown = "remote.origin.url=https://host.test/a.git";
    jail.script(look).succeeds().prints(shown).never_prints("hidden-");
    let ended = jail.script(
        "git log --format=%s && echo 2 > file && git diff --stat -- . | tail -n 1 && ls -A ..; git commit -qam 2 2>/dev/null || echo refused",
    );
    ended.succeeds().prints("1\n 1 file changed, 1 insertion(+), 1 deletion(-)\n.git\npart\nrefused\n");
    ended.says("the workspace is a part of the repository");
    assert_eq!(outside(&repository, &["log", "--format=%s"]), "1");
}

#[test]
fn a_pointer_that_a_job_writes_gives_the_next_job_nothing() {
    needs!("git");
    let jail = Jail::new().host("git");
    let place = jail.place().to_owned();
    outside(&place, &["init", "-q", "repo"]);
    let repository = place.join("repo");
    outside(&repository, &["commit", "-q", "--allow-empty", "-m", "1"]);
    // The other side is there, as if a job of the repository had made it.
    let there = repository.join(".git/worktrees/x");
    std::fs::create_dir_all(&there).unwrap();
    std::fs::write(there.join("HEAD"), "ref: refs/heads/x\n").unwrap();
    std::fs::write(there.join("commondir"), "../..\n").unwrap();
    std::fs::write(there.join("gitdir"), format!("{}/.git\n", jail.project().display())).unwrap();
    let write = format!("echo 'gitdir: {}' > .git", there.display());
    jail.script(&write).succeeds();
    let look = format!("test -e {} && echo bound || echo nothing", repository.display());
    jail.script(&look).succeeds().prints("nothing\n");
    // Somebody else has looked at it and changed it.
    let pointer = jail.project().join(".git");
    std::fs::write(&pointer, std::fs::read(&pointer).unwrap()).unwrap();
    jail.script(&look).succeeds().prints("bound\n");
}
