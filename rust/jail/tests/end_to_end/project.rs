//! `jail.json` of a project: without effect until the operator trusts its text, and again after each change.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Jail, Server};

const FILE: &str =
    r#"{ "extends": "shell", "rules": ["GET https://docs.test/**", "deny https://docs.test/private/**"] }"#;

fn explain(jail: &Jail, url: &str, code: i32) {
    jail.itself(["explain", "--jail", "shell", "GET", url]).exits(code);
}

#[test]
fn a_project_file_has_no_effect_until_it_is_trusted() {
    let jail = Jail::new().file("jail.json", FILE);
    jail.itself(["explain", "--jail", "shell", "GET", "https://docs.test/x"])
        .exits(1)
        .says("you have not trusted it")
        .says("jail trust");
    // Without a terminal nothing is trusted by accident.
    jail.itself(["trust"]).exits(2).prints("docs.test/private").says("--yes");
    explain(&jail, "https://docs.test/x", 1);
    jail.itself(["trust", "--yes"]).succeeds().prints("docs.test/private");
    explain(&jail, "https://docs.test/x", 0);
    explain(&jail, "https://docs.test/private/x", 1);
    jail.itself(["show", "shell"]).succeeds().prints("docs.test").says("which you trust");
    // It belongs to this directory and to this jail.
    jail.itself(["explain", "--jail", "claude", "GET", "https://docs.test/x"]).exits(1).says("extends shell");
    let copy = jail.place().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(jail.project().join("jail.json"), copy.join("jail.json")).unwrap();
    let elsewhere = Jail::from(jail, &copy);
    explain(&elsewhere, "https://docs.test/x", 1);
}

#[test]
fn a_changed_project_file_is_shown_as_a_difference_and_trusted_anew() {
    let jail = Jail::new().file("jail.json", FILE);
    jail.itself(["trust", "--yes"]).succeeds();
    let changed = FILE.replace("] }", ", \"evil.test\" ], \"description\": \"\u{9b}2J\" }");
    let jail = jail.file("jail.json", changed);
    jail.itself(["explain", "--jail", "shell", "GET", "https://evil.test/"]).exits(1).says("has changed");
    explain(&jail, "https://docs.test/x", 1);
    jail.itself(["trust"]).exits(2).prints("evil.test").never_prints("\u{9b}");
    let jail = jail.file("jail.json", FILE.replace("docs.test", "other.test"));
    jail.itself(["trust", "--yes"]).succeeds().prints("--- trusted").prints("+").prints("other.test");
    explain(&jail, "https://other.test/x", 0);
    explain(&jail, "https://docs.test/x", 1);
    jail.itself(["trust", "--revoke"]).succeeds();
    explain(&jail, "https://other.test/x", 1);
}

#[test]
fn a_job_obeys_the_project_file_and_cannot_change_it() {
    needs!("curl");
    let server = Server::https("docs.test");
    let jail = Jail::new().upstream(&server).file("jail.json", FILE);
    jail.itself(["trust", "--yes"]).succeeds();
    let jail = jail.ready_made("shell");
    let script = "curl -sS -o /dev/null -w '%{http_code}\\n' https://docs.test/echo https://docs.test/private/x; \
                  echo '{}' >jail.json || echo refused";
    let ended = jail.run(["-c", script]);
    ended.succeeds().allowed("docs.test:443", 1).denied("docs.test:443", "denied-by-rule").prints("refused");
    assert_eq!(fs::read_to_string(jail.project().join("jail.json")).unwrap(), FILE);
}

#[test]
fn only_a_regular_file_of_the_workspace_is_read() {
    let jail = Jail::new();
    let path = jail.project().join("jail.json");
    fs::write(jail.place().join("outside.json"), FILE).unwrap();
    symlink("../outside.json", &path).unwrap();
    jail.itself(["trust", "--yes"]).exits(125);
    jail.itself(["explain", "--jail", "shell", "GET", "https://docs.test/x"]).exits(1).says("has no effect");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    jail.itself(["trust", "--yes"]).exits(125);
    jail.itself(["explain", "--jail", "shell", "GET", "https://docs.test/x"]).exits(1).says("has no effect");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "x".repeat(1 << 20)).unwrap();
    jail.itself(["trust", "--yes"]).exits(125);
}

#[test]
fn errors_in_a_project_file_name_the_place() {
    for (text, expected) in [
        (r#"{ "extends": "shell", "rules": ["a.test", "https://"] }"#, "rules[1]"),
        (r#"{ "extends": 1 }"#, "extends"),
        (r#"{ "extends": "shell", "service": {} }"#, "service"),
        (r#"{ "extends": "shell", "colour": 1 }"#, "colour"),
        ("[]", "not a JSON object"),
    ] {
        let jail = Jail::new().file("jail.json", text);
        jail.itself(["trust", "--yes"]).exits(125).says(expected);
    }
}

#[test]
fn a_file_is_run_by_its_path() {
    let jail = Jail::new().file("jail.json", FILE).file("agent.json", FILE);
    jail.itself(["run", "./jail.json", "--", "-c", "echo ran"]).exits(125).says("is not trusted");
    jail.itself(["run", "./agent.json", "--", "-c", "echo ran"]).exits(125).says("a job may have written it");
    jail.itself(["trust", "--yes"]).succeeds();
    jail.ready_made("./jail.json").run(["-c", "echo ran"]).succeeds().prints_only("ran\n");
}

#[test]
fn a_file_of_a_workspace_that_is_not_the_current_directory_is_not_run() {
    let elsewhere = Jail::new();
    let workspace = elsewhere.place().join("workspace");
    fs::create_dir(&workspace).unwrap();
    fs::write(workspace.join("agent.json"), FILE).unwrap();
    // As a job can leave it: a link to a specification of the operator's.
    fs::write(elsewhere.place().join("own.json"), FILE).unwrap();
    symlink("../own.json", workspace.join("link.json")).unwrap();
    for name in ["agent.json", "link.json"] {
        let (path, workspace) = (workspace.join(name), workspace.to_str().unwrap());
        let words = ["run", path.to_str().unwrap(), "--workspace", workspace, "--", "-c", "echo ran"];
        elsewhere.itself(words).exits(125).says("a job may have written it").never_prints("ran");
    }
}

#[test]
fn a_file_that_an_earlier_job_could_write_is_not_run() {
    let jail = Jail::new().file("agent.json", FILE).ready_made("shell");
    jail.run(["-c", "echo ran"]).succeeds();
    let (path, elsewhere) = (jail.project().join("agent.json"), jail.place().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    let words = ["run", path.to_str().unwrap(), "--", "-c", "echo ran"];
    jail.from(&elsewhere).itself(words).exits(125).says("a job may have written it").never_prints("ran");
}

#[test]
fn init_writes_a_project_file_once() {
    let jail = Jail::new();
    fs::write(jail.place().join("rules.txt"), "allow GET https://docs.test/x\n").unwrap();
    jail.itself(["init"]).exits(2).says("--from");
    jail.itself(["init", "--from", "nobody"]).exits(2).says("there is no jail");
    jail.itself(["init", "--from", "shell", "--learn", "../rules.txt"]).succeeds().says("jail trust");
    jail.itself(["init", "--from", "shell"]).exits(2).says("exists already");
    explain(&jail, "https://docs.test/x", 1);
    jail.itself(["trust", "--yes"]).succeeds();
    explain(&jail, "https://docs.test/x", 0);
}
