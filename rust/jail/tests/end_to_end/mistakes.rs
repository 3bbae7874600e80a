//! Wrong input: one clear error with its cure, the right exit code, and no job.

use std::fs;

use serde_json::json;

use crate::support::{Ended, Jail, Server, is_root, skip};

/// Ends with this code and says these words, on a few lines, each of the launcher's own; no job was made.
#[track_caller]
fn is_refused(jail: &Jail, ended: &Ended, code: i32, words: &[&str]) {
    ended.exits(code);
    for word in words {
        ended.says(word);
    }
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let by_clap = lines.first().is_some_and(|line| line.starts_with("error: "));
    assert!(
        by_clap || lines.iter().all(|line| line.starts_with("jail: ")),
        "not the launcher's words{ended}"
    );
    assert!((1..=12).contains(&lines.len()), "{} lines{ended}", lines.len());
    assert!(
        !["backtrace", "RUST_", "unwrap", "Error {", "Err("].iter().any(|word| ended.stderr.contains(word)),
        "{ended}"
    );
    assert_eq!(ended.text(), "");
    assert!(!jail.project().join("started").exists(), "the command ran{ended}");
    let jobs = fs::read_dir(jail.state().join("jobs")).into_iter().flatten().count();
    assert_eq!(jobs, 0, "a job is on record{ended}");
}

const START: &str = "touch started";

#[test]
fn the_positive_control_starts_a_job() {
    let jail = Jail::new();
    jail.script(START).succeeds();
    assert!(jail.project().join("started").exists() && jail.state().join("jobs").exists());
}

#[test]
fn an_unknown_flag() {
    let jail = Jail::new().options(["--alow", "api.test"]);
    is_refused(&jail, &jail.script(START), 2, &["--alow", "--allow"]);
}

#[test]
fn an_unknown_field_of_a_specification() {
    for (field, value) in [
        ("alow", json!(["api.test"])),
        ("limits", json!({"memori": "1G"})),
        ("rules", json!([{"hosts": ["a.test"], "path": "/"}])),
    ] {
        let mut specification =
            json!({"version": 1, "name": "mine", "command": ["sh"], "programs": ["@shell"]});
        specification[field] = value;
        let jail = Jail::named("mine", specification);
        is_refused(&jail, &jail.run(["-c", START]), 125, &["mine.json", "unknown field"]);
    }
}

#[test]
fn a_specification_of_another_version_or_none() {
    for specification in [json!({"version": 99, "name": "mine"}), json!({"name": "mine"}), json!("text")] {
        let jail = Jail::named("mine", specification);
        is_refused(&jail, &jail.run(["sh"]), 125, &["mine.json"]);
    }
}

#[test]
fn a_jail_that_is_not_there() {
    let jail = Jail::new().ready_made("nowhere");
    is_refused(&jail, &jail.run(["sh"]), 125, &["nowhere", "claude"]);
    let jail =
        Jail::new().ready_made("../project/evil").file("evil.json", r#"{"version": 1, "name": "evil"}"#);
    is_refused(&jail, &jail.run(["sh"]), 125, &["evil"]);
}

#[test]
fn a_policy_that_cannot_be_read() {
    let mut cases = vec![
        ("missing.txt", None, vec!["missing.txt"]),
        ("empty.txt", Some(""), vec!["empty.txt", "no rules"]),
        ("comments.txt", Some("# nothing\n"), vec!["no rules"]),
        ("broken.txt", Some("allow api.test\nalow other.test\n"), vec!["broken.txt", "line 2"]),
        ("wrong.txt", Some("allow https://user@api.test\n"), vec!["wrong.txt", "line 1"]),
        ("binary.txt", Some("\u{0}\u{1}"), vec!["binary.txt"]),
    ];
    if is_root() {
        skip::report("in part: root may read every file");
    } else {
        cases.push(("closed.txt", Some("allow api.test\n"), vec!["closed.txt", "Permission denied"]));
    }
    for (name, contents, words) in cases {
        let mut jail = Jail::new().options(["--policy", name]);
        if let Some(contents) = contents {
            jail = jail.file(name, contents);
        }
        if name == "closed.txt" {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(jail.project().join(name), fs::Permissions::from_mode(0o000)).unwrap();
        }
        is_refused(&jail, &jail.script(START), 2, &words);
    }
}

#[test]
fn a_rule_that_can_never_match() {
    for rule in [
        "",
        "get https://api.test",
        "CONNECT https://api.test",
        "tcp://api.test",
        "GET tcp://api.test:5432",
        "ftp://api.test",
        "https://",
        "https://api.test/a/../b",
        "https://api.test/%2f",
        "api.*.test",
        "api.test:0",
        "api.test:99999",
        "user@api.test",
        "api.test/ x",
        "API_\u{0}",
        "127.1",
        "0x7f.1",
    ] {
        let jail = Jail::new().options(["--allow".to_owned(), rule.replace('\0', "\u{1}")]);
        is_refused(&jail, &jail.script(START), 2, &["--allow"]);
        let jail = Jail::new().options(["--deny".to_owned(), rule.replace('\0', "\u{1}")]);
        is_refused(&jail, &jail.script(START), 2, &["--deny"]);
    }
}

#[test]
fn a_program_that_is_not_there() {
    let jail = Jail::new().host("no-program-of-that-name");
    is_refused(&jail, &jail.script(START), 125, &["no-program-of-that-name", "install it"]);
    let jail = Jail::new().host("/nonexistent/program");
    is_refused(&jail, &jail.script(START), 125, &["/nonexistent/program"]);
    let jail = Jail::new().without_program();
    is_refused(&jail, &jail.run(["sh", "-c", START]), 127, &["sh", "--host"]);
    let jail = Jail::new();
    is_refused(&jail, &jail.itself(["run"]), 2, &["command"]);
}

#[test]
fn a_credential_that_makes_no_sense() {
    for (credential, code, words) in [
        ("T=env:NOWHERE@api.test", 125, &["T", "env:NOWHERE"][..]),
        ("T=env:NOWHERE", 2, &["--credential"]),
        ("T", 2, &["--credential"]),
        ("1T=env:X@api.test", 2, &["--credential"]),
        ("T=nothing:X@api.test", 2, &["--credential", "env:VAR"]),
        ("T=file:relative@api.test", 2, &["--credential"]),
        ("T=env:X@", 2, &["--credential"]),
        ("T=command:false@api.test", 125, &["T"]),
        ("T=command:no-program-of-that-name@api.test", 125, &["no-program-of-that-name"]),
    ] {
        let jail = Jail::new().allow("api.test").credential(credential);
        is_refused(&jail, &jail.script(START), code, words);
    }
    // One that no rule lets out.
    let jail = Jail::new().variable("X", "a-long-enough-token-of-nobody").credential("T=env:X@api.test");
    is_refused(&jail, &jail.script(START), 2, &["api.test", "--allow"]);
}

#[test]
fn a_workspace_that_is_no_project() {
    for (directory, words) in
        [("/", "whole file system"), ("/etc", "directory of the system"), ("/nonexistent", "cannot be used")]
    {
        let jail = Jail::new().options(["--workspace", directory]);
        is_refused(&jail, &jail.script(START), 125, &[words, "--workspace"]);
    }
    for (directory, words) in [
        ("home", "your home directory"),
        ("", "holds your home directory"),
        ("project/file", "not a directory"),
    ] {
        let jail = Jail::new().file("file", "x");
        let directory = jail.place().join(directory);
        let jail = jail.options(["--workspace".into(), directory.into_os_string()]);
        is_refused(&jail, &jail.script(START), 125, &[words, "--workspace"]);
    }
    // Also when it is only where one happens to be.
    let jail = Jail::new();
    let home = jail.home();
    let jail = jail.from(&home);
    is_refused(&jail, &jail.script(START), 125, &["your home directory", "--workspace-any"]);
    let jail = jail.options(["--workspace-any"]);
    jail.script(START).succeeds();
    assert!(home.join("started").exists());
}

#[test]
fn values_that_are_none() {
    for (options, word) in [
        (&["--timeout", "soon"][..], "--timeout"),
        (&["--timeout", "0"], "--timeout"),
        (&["--memory", "much"], "--memory"),
        (&["--pids=-1"], "--pids"),
        (&["--cpus", "none"], "--cpus"),
        (&["--cpus", "0"], "cpus"),
        (&["--home", "mine"], "--home"),
        (&["--workspace-mode", "open"], "--workspace-mode"),
        (&["--backend", "magic"], "--backend"),
        (&["--env", "NOVALUE"], "--env"),
        (&["--env", "1A=x"], "1A"),
        (&["--pass-env", "A=B"], "A=B"),
        (&["--connect-to", "api.test"], "--connect-to"),
        (&["--upstream-proxy", "socks4://127.0.0.1:1"], "--upstream-proxy"),
        (&["--json", "--quiet"], "--quiet"),
    ] {
        let jail = Jail::new().for_people().options(options.iter().copied());
        is_refused(&jail, &jail.script(START), 2, &[word]);
    }
}

#[test]
fn files_that_are_missing_or_none() {
    // The proxy reads these, for a job that is on record already; its command does not run.
    let jail = Jail::new().options(["--upstream-ca", "missing.pem"]);
    jail.script(START).exits(125).says("missing.pem");
    assert!(!jail.project().join("started").exists());
    let jail = Jail::new().file("text.pem", "no certificate\n").options(["--upstream-ca", "text.pem"]);
    jail.script(START).exits(125).says("text.pem");
    assert!(!jail.project().join("started").exists());
    let jail = Jail::new().options(["--ro-bind", "/nonexistent/file"]);
    is_refused(&jail, &jail.script(START), 125, &["/nonexistent/file", "--ro-bind"]);
    let jail = Jail::new().options(["--bind", "/etc:/proc"]);
    is_refused(&jail, &jail.script(START), 2, &["/proc"]);
}

#[test]
fn a_refused_job_has_reached_nobody() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail =
        Jail::new().host("curl").allow("api.test").upstream(&server).credential("T=env:NOWHERE@api.test");
    is_refused(&jail, &jail.script("curl https://api.test/echo"), 125, &["env:NOWHERE"]);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_state_directory_that_cannot_be_written() {
    let jail = Jail::new();
    fs::remove_dir_all(jail.place().join("state")).unwrap();
    fs::write(jail.place().join("state"), "a file").unwrap();
    jail.script(START).exits(125).says("XDG_STATE_HOME");
    assert!(!jail.project().join("started").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn an_export_of_what_no_image_can_hold() {
    let jail = Jail::new();
    let ended = jail.itself(["export-oci", "no-such-jail"]);
    is_refused(&jail, &ended, 125, &["no-such-jail"]);
    // The program of these tests is not a static one.
    let ended = jail.itself(["export-oci", "shell"]);
    is_refused(&jail, &ended, 125, &["is not a static program", "--program"]);
    let ended = jail.itself(["export-oci", "shell", "--program", "/no/such/program"]);
    is_refused(&jail, &ended, 125, &["/no/such/program"]);
    let unreachable = "T=keyring:somewhere@a.example";
    let ended = jail.itself(["export-oci", "shell", "--allow", "a.example", "--credential", unreachable]);
    is_refused(&jail, &ended, 2, &["keyring:somewhere", "env:T@HOST"]);

    let bound = json!({ "version": 1, "name": "bound", "command": ["sh"], "binds": [{ "source": "/srv" }] });
    let jail = Jail::named("bound", bound);
    is_refused(&jail, &jail.itself(["export-oci", "bound"]), 2, &["/srv", "volume"]);
    assert!(!jail.project().join("bound-oci").exists());
}

#[test]
fn words_in_front_of_the_dashes() {
    let jail = Jail::new();
    let ended = jail.itself(["run", "--allow", "a.test", "curl", "https://a.test/"]);
    is_refused(&jail, &ended, 2, &["there is no jail \"curl\"", "--host curl -- curl https://a.test/"]);
    let ended = jail.itself(["run", "shell", "echo", "hi"]);
    is_refused(&jail, &ended, 2, &["type: jail run shell [OPTIONS] -- echo hi"]);
}
