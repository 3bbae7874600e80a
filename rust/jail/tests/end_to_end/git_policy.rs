//! Git rules: which repositories, which refs, and how they may move. With the real git and the real `git http-backend`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Ended, GitServer, Jail, random};

/// A repository in the workspace, with one commit more than the server has.
const WORK: &str = "
git clone --quiet https://git.test/project.git work && cd work || exit 10
git config user.name Agent && git config user.email agent@example.com
commit() { echo \"$1\" >> more && git add more && git commit --quiet --message \"$1\" || exit 11; }
commit second
";

fn jail(server: &GitServer) -> Jail {
    Jail::new().host("git").upstream(&server.server)
}

fn git(server: &GitServer, rule: &str) -> Jail {
    jail(server).options(["--git", rule])
}

/// Runs a script in a fresh clone; what git says is on standard output.
#[track_caller]
fn work(jail: &Jail, script: &str) -> Ended {
    jail.script(&format!("exec 2>&1\n{WORK}\n{script}"))
}

/// The lines of git's report about refs, without the spaces that line them up.
fn report(ended: &Ended) -> Vec<String> {
    let text = ended.text();
    let lines = text.lines().filter(|line| line.starts_with(" ! ") || line.starts_with("fatal:"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Pushes that reached the server with something in them.
fn pushes(server: &GitServer) -> usize {
    let is_push = |path: &str| path.ends_with("/git-receive-pack");
    server.server.requests().iter().filter(|seen| is_push(&seen.path) && seen.body > 4).count()
}

#[test]
fn an_allowed_branch_is_pushed_and_another_is_refused_in_git_s_own_form() {
    needs!("git");
    let server = GitServer::https("git.test");
    let jail = git(&server, "git.test/project push=agent/*");
    let ended =
        work(&jail, "git push origin HEAD:agent/x && git fetch -q && git log -1 --format=%s origin/agent/x");
    ended.succeeds().prints("[new branch]").prints("\nsecond\n").denied_nothing();
    assert_eq!(server.subject("agent/x"), "second");
    assert_eq!(pushes(&server), 1);

    // The next job cannot remove this repository: its settings are read-only, as the host's git obeys them.
    std::fs::remove_dir_all(jail.project().join("work")).unwrap();
    let ended = work(&jail, "git push origin HEAD:main");
    ended.fails().denied("git.test:443", "ref-not-allowed");
    assert_eq!(
        report(&ended),
        ["! [remote rejected] HEAD -> main (denied by jail: ref-not-allowed)"],
        "{ended}"
    );
    ended.prints("remote: jail: The job may push to this repository, but not this branch");
    let event = ended.audit.iter().find(|event| event["denied"] == "ref-not-allowed").unwrap();
    assert_eq!(event["refs"], json!(["refs/heads/main: ref-not-allowed"]));
    jail.itself(["log"]).succeeds().prints("DENIED ref-not-allowed (refs/heads/main: ref-not-allowed)");
    assert_eq!((server.subject("main").as_str(), pushes(&server)), ("first", 1));
}

#[test]
fn one_refused_ref_keeps_all_of_them_back() {
    needs!("git");
    let server = GitServer::https("git.test");
    let jail = git(&server, "git.test/project push=agent/*");
    let ended = work(&jail, "git push origin HEAD:agent/x HEAD:main HEAD:refs/tags/v1");
    ended.fails();
    let mut lines = report(&ended);
    lines.sort();
    assert_eq!(
        lines,
        [
            "! [remote rejected] HEAD -> agent/x (denied by jail: nothing of this push was sent)",
            "! [remote rejected] HEAD -> main (denied by jail: ref-not-allowed)",
            "! [remote rejected] HEAD -> v1 (denied by jail: ref-not-allowed)",
        ],
        "{ended}"
    );
    assert_eq!(pushes(&server), 0);
}

#[test]
fn a_branch_moves_on_and_not_back() {
    needs!("git");
    let server = GitServer::https("git.test");
    let jail = git(&server, "git.test/project push=main,agent/*");
    let script = "
commit third; git push --quiet origin HEAD:main || exit 20
for number in 1 2 3 4 5 6 7 8 9; do commit \"the same long subject of a commit, so that its delta is small: $number\"; done
git checkout --quiet -b side HEAD~4 && commit side && git checkout --quiet - || exit 21
git merge --quiet --no-edit --strategy ours side && git push --quiet origin HEAD:main || exit 22
git commit --quiet --amend --message amended
git push --force origin HEAD:main; echo forced=$?
git push origin :main; echo deleted=$?
git push --force origin HEAD~3:main; echo back=$?
git push --quiet origin HEAD:agent/amended || exit 23
git tag v1 && git push origin v1; echo tag=$?
";
    let ended = work(&jail, script);
    ended.succeeds().denied("git.test:443", "force-not-allowed").denied("git.test:443", "delete-not-allowed");
    assert_eq!(
        report(&ended),
        [
            "! [remote rejected] HEAD -> main (denied by jail: force-not-allowed)",
            "! [remote rejected] main (denied by jail: delete-not-allowed)",
            "! [remote rejected] HEAD~3 -> main (denied by jail: force-not-allowed)",
            "! [remote rejected] v1 -> v1 (denied by jail: ref-not-allowed)",
        ],
        "{ended}"
    );
    assert_eq!(server.subject("main"), "Merge branch 'side'");
    assert_eq!(server.subject("agent/amended"), "amended");
}

#[test]
fn force_and_delete_where_they_are_allowed() {
    needs!("git");
    let server = GitServer::https("git.test");
    let jail = git(&server, "git.test/project push=agent/*,refs/tags/v* force delete");
    let script = "
git push --quiet origin HEAD:agent/x && git commit --quiet --amend --message other || exit 20
git push --quiet --force origin HEAD:agent/x HEAD:agent/y || exit 21
git tag --annotate --message one v1 && git push --quiet origin v1 || exit 22
git push --quiet origin :agent/y || exit 23
";
    work(&jail, script).succeeds().denied_nothing();
    assert_eq!(server.subject("agent/x"), "other");
    assert_eq!(server.branches(), ["agent/x", "main"]);
}

#[test]
fn a_repository_without_push_and_another_repository_are_refused_with_the_reason() {
    needs!("git");
    let server = GitServer::https("git.test");
    let jail = git(&server, "git.test/project");
    let ended = work(&jail, "git push origin HEAD:main; git ls-remote https://git.test/other.git");
    ended.denied("git.test:443", "push-not-allowed").denied("git.test:443", "path-not-allowed");
    let report = report(&ended);
    assert_eq!(report.len(), 2, "{ended}");
    assert!(report[0].starts_with("fatal: remote error: denied by jail: push-not-allowed: "), "{ended}");
    assert!(report[1].starts_with("fatal: remote error: denied by jail: path-not-allowed: "), "{ended}");
    assert_eq!(server.subject("main"), "first");
}

#[test]
fn a_repository_is_the_same_with_and_without_its_ending() {
    needs!("git");
    for rule in ["git.test/project push=main", "git.test/project.git push=main"] {
        let server = GitServer::https("git.test");
        let script = "
git push --quiet https://git.test/project HEAD:main || exit 20
commit third; git push --quiet https://git.test/project.git HEAD:main || exit 21
";
        work(&git(&server, rule), script).succeeds().denied_nothing();
        assert_eq!(server.subject("main"), "third");
    }
}

#[test]
fn other_spellings_of_a_push_do_not_pass_a_wide_rule_behind() {
    needs!("git", "curl");
    let server = GitServer::https("git.test");
    let jail = git(&server, "git.test/project push=agent/*").allow("git.test").host("curl");
    let script = "
zero=0000000000000000000000000000000000000000
one=$(git rev-parse HEAD)
printf '00810000000000000000000000000000000000000000 %s refs/heads/evil\\0 report-status0000' \"$one\" > body
for path in PROJECT project.git/ 'project;x' project/../project 'project/%2e%2e/project' '/project' 'project%2fgit' old; do
  for end in git-receive-pack GIT-RECEIVE-PACK 'git%2dreceive%2dpack' 'git%252dreceive-pack' 'git-receive-pack?x' 'git-receive-pack;x'; do
    curl --path-as-is -s -o /dev/null -w '%{http_code} ' --data-binary @body \\
      -H 'content-type: application/x-git-receive-pack-request' \"https://git.test/$path/$end\"
  done
done
curl -s -o /dev/null -w 'issues %{http_code}' https://git.test/project/issues
";
    let ended = work(&jail, script);
    let codes: Vec<String> = ended.text().split_whitespace().map(str::to_owned).collect();
    assert_eq!(codes.iter().filter(|code| *code == "403").count(), 48, "{ended}");
    // The wide rule is there: the server itself knows no such page.
    assert!(!ended.text().contains("issues 403"), "{ended}");
    assert_eq!(pushes(&server), 0);
}

#[test]
fn a_large_push_streams_through_in_chunks_and_a_large_refused_one_still_gets_its_report() {
    needs!("git");
    let server = GitServer::https("git.test");
    let jail = git(&server, "git.test/project push=main");
    let script = "
head -c 20000000 /dev/urandom > big && git add big && git commit --quiet --message big || exit 20
git push origin HEAD:other; echo refused=$?
git -c http.version=HTTP/1.1 push origin HEAD:other; echo refused=$?
git push --quiet origin HEAD:main || exit 21
commit last && git -c http.postBuffer=1000 push --quiet origin HEAD:main || exit 22
";
    let ended = work(&jail, script);
    ended.succeeds();
    let refusal = "! [remote rejected] HEAD -> other (denied by jail: ref-not-allowed)";
    assert_eq!(report(&ended), [refusal, refusal], "{ended}");
    assert_eq!(server.subject("main"), "last");
}

#[test]
fn push_options_signed_and_malformed_pushes_are_refused() {
    needs!("git", "curl");
    let server = GitServer::https("git.test");
    server.config("receive.advertisePushOptions", "true");
    let jail = git(&server, "git.test/project push=**").host("curl");
    let script = r#"
git push -o merge_request.create origin HEAD:a; git push --quiet origin HEAD:b || exit 20
url=https://git.test/project.git/git-receive-pack
zero=0000000000000000000000000000000000000000
one=$(git rev-parse HEAD)
pkt() { printf '%04x%s' $((${#1} + 4)) "$1"; }
push() { curl -s -o /dev/null -w '%{http_code} ' "$@" -H 'content-type: application/x-git-receive-pack-request' --data-binary @body $url; }
{ pkt "$zero $one refs/heads/c"; printf 0000; pkt "$zero $one refs/heads/d"; printf 0000; } > body; push
{ printf 0000; pkt "$zero $one refs/heads/d"; printf 0000; } > body; push
pkt "$zero $one refs/heads/c" > body; push
{ pkt "$zero $one refs/heads/c"; printf 0001; } > body; push
{ pkt "$zero $one refs/heads/../c"; printf 0000; } > body; push
{ pkt "$zero $one HEAD"; printf 0000; } > body; push
{ pkt "push-cert"; pkt "$zero $one refs/heads/c"; printf 0000; } > body; push
{ pkt "$zero $one refs/heads/c"; printf 0000; } > body; push -H 'content-encoding: br'; push -H 'content-encoding: gzip'; push -H 'content-type: text/plain'
printf 0000 > body; push
"#;
    let ended = work(&jail, script);
    assert_eq!(
        report(&ended),
        ["! [remote rejected] HEAD -> a (denied by jail: push-option-not-allowed)"],
        "{ended}"
    );
    // The first is one command and bytes that are no pack, which is the server's to refuse.
    ended.prints("200 400 400 400 400 400 403 400 400 400 200");
    assert_eq!(server.branches(), ["b", "main"]);
}

#[test]
fn the_dummy_goes_along_by_itself_and_ssh_remotes_go_by_https() {
    needs!("git");
    let (server, token) = (GitServer::https("git.test"), random("ghp_"));
    let jail = git(&server, "git.test/project push=agent/* credential=TOKEN")
        .secret("REAL", &token)
        .variable("GIT_CONFIG_COUNT", "1")
        .variable("GIT_CONFIG_KEY_0", "user.name")
        .variable("GIT_CONFIG_VALUE_0", "Operator")
        .options([
            "--pass-env",
            "GIT_CONFIG_COUNT",
            "--pass-env",
            "GIT_CONFIG_KEY_0",
            "--pass-env",
            "GIT_CONFIG_VALUE_0",
        ])
        .credential("TOKEN=env:REAL@git.test");
    let script = "
exec 2>&1
export GIT_AUTHOR_EMAIL=a@b.example GIT_COMMITTER_EMAIL=a@b.example
git config --get-all user.name
for remote in git@git.test:project.git ssh://git@git.test/project; do
  rm -rf work && git clone --quiet $remote work && cd work && git commit --quiet --allow-empty -m ssh &&
  git push --quiet --force origin HEAD:agent/${#remote} && cd .. || exit 20
done
echo prompt=$GIT_TERMINAL_PROMPT
";
    let ended = jail.script(script);
    ended
        .succeeds()
        .denied_nothing()
        .prints("Operator\n")
        .prints("prompt=0")
        .swapped("TOKEN", "git.test:443");
    let basic = format!("Basic {}", STANDARD.encode(format!("oauth2:{token}")));
    let requests = server.server.requests();
    assert!(requests.len() >= 8, "{ended}");
    assert!(requests.iter().all(|seen| seen.header("authorization").as_deref() == Some(&basic)), "{ended}");
    assert_eq!(server.branches().len(), 3);
    ended.never_prints(&token).never_prints(&STANDARD.encode(format!("oauth2:{token}")));
}

#[test]
fn a_credential_of_one_repository_is_not_sent_to_another() {
    needs!("git");
    let (server, token) = (GitServer::https("git.test"), random("ghp_"));
    let specification = json!({
        "version": 1, "name": "two", "command": ["sh", "-c"], "programs": ["@shell", "git"],
        "rules": [
            { "git": { "repos": ["git.test/project"], "push": ["refs/heads/agent/*"] }, "credential": "TOKEN" },
            { "git": { "repos": ["git.test/project2"] } },
        ],
        "credentials": [{ "variable": "TOKEN", "sources": ["env:REAL"] }],
    });
    let jail = Jail::named("two", specification).upstream(&server.server).secret("REAL", &token);
    let ended =
        jail.run(["git ls-remote https://git.test/project; git ls-remote https://git.test/project2; true"]);
    ended.succeeds().denied_nothing();
    let (first, second): (Vec<_>, Vec<_>) =
        server.server.requests().into_iter().partition(|seen| seen.path.starts_with("/project/"));
    assert!(!first.is_empty() && first.iter().all(|seen| seen.header("authorization").is_some()), "{ended}");
    assert!(
        !second.is_empty() && second.iter().all(|seen| seen.header("authorization").is_none()),
        "{ended}"
    );
}

#[test]
fn explain_answers_about_git() {
    let jail = Jail::new();
    let explain = |words: &[&str]| {
        let rule = ["explain", "--git", "git.test/project push=agent/*"];
        jail.itself(rule.iter().chain(words).copied())
    };
    explain(&["fetch", "https://git.test/project"])
        .succeeds()
        .prints("allowed by rule 1: git git.test/project");
    explain(&["push", "git.test/project.git", "agent/x"]).succeeds().prints("allowed by rule 1");
    explain(&["push", "git.test/project"]).succeeds().prints("its refs decide");
    for (refs, reason) in
        [("main", "ref-not-allowed"), ("+agent/x", "force-not-allowed"), (":agent/x", "delete-not-allowed")]
    {
        explain(&["push", "git.test/project", refs]).exits(1).prints(reason);
    }
    explain(&["fetch", "https://git.test/other"]).exits(1).prints("path-not-allowed");
    explain(&["GET", "https://git.test/project/info/refs?service=git-receive-pack"]).succeeds();
    explain(&["GET", "https://git.test/project/issues"]).exits(1);
}

#[test]
fn a_ready_made_jail_has_a_token_for_the_rule_that_asks_for_it() {
    needs!("git");
    let (server, token) = (GitServer::https("github.com"), random("ghp_"));
    let jail = |rule: &str| {
        let jail = Jail::new().ready_made("shell").upstream(&server.server).secret("GITHUB_TOKEN", &token);
        jail.options(["--git", rule])
    };
    let words = ["-c", "echo \"dummy=$GITHUB_TOKEN\"; git ls-remote git@github.com:project.git"];
    let ended = jail("github.com/project credential=GITHUB_TOKEN").run(words);
    ended.succeeds().prints("refs/heads/main").swapped("GITHUB_TOKEN", "github.com:443");
    assert!(ended.value("dummy").starts_with("ghp_"), "{ended}");
    let basic = format!("Basic {}", STANDARD.encode(format!("x-access-token:{token}")));
    assert_eq!(server.server.last().header("authorization").unwrap(), basic);
    // Without being asked for it is not even read.
    let ended = jail("github.com/project").run(words);
    ended.succeeds().swapped_nothing();
    assert_eq!(ended.value("dummy"), "");
    jail("github.com/project credential=OTHER").run(words).exits(2).says("which is not declared");
    let missing = Jail::new().ready_made("shell").variable("PATH", "/usr/bin:/bin");
    let ended = missing.options(["--git", "github.com/project credential=GITHUB_TOKEN"]).run(words);
    ended.exits(125).says("GITHUB_TOKEN");
}
