//! Operations: a full disk, a state directory that is gone, a host program that hangs, no environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, prlimit};

use crate::support::{Jail, Server, find};

#[test]
fn an_exit_code_and_what_was_learnt_do_not_depend_on_the_record() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().upstream(&server).host("curl").options(["--learn", "learnt.rules"]);
    let mut running = jail.start_script("echo ready; read line; curl -sS https://api.test/echo >&2; exit 7");
    running.wait_for("ready\n");
    fs::remove_dir_all(jail.state().join("jobs")).unwrap();
    running.writes(b"go\n");
    running.ends().exits(7).says("the job's record is not complete");
    let learnt = fs::read_to_string(jail.project().join("learnt.rules")).unwrap();
    assert!(learnt.contains("https://api.test/echo"), "{learnt}");
}

#[test]
fn a_full_disk_leaves_whole_lines_in_the_audit_file_and_a_warning() {
    needs!("curl");
    let shell = find("sh").unwrap().into_os_string();
    // A write beyond the limit fails with an error instead of a signal.
    let jail =
        Jail::new().host("curl").under([shell, "-c".into(), "trap '' XFSZ; exec \"$@\"".into(), "sh".into()]);
    let mut running = jail.start_script(
        "requests() { for n in 1 2 3 4 5; do curl -sS https://denied.test/a-path-of-some-length >&2; done; echo done; }
         requests; read line; requests; read line; requests",
    );
    running.wait_for("done\n");
    let job = fs::read_dir(jail.state().join("jobs")).unwrap().next().unwrap().unwrap();
    let audit = job.path().join("audit.jsonl");
    let length = fs::metadata(&audit).unwrap().len();
    let launcher = rustix::process::Pid::from_raw(running.launcher().as_raw());
    let limit = |current| {
        let before = prlimit(launcher, Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
        assert!(before.maximum.is_none(), "the test cannot change a hard limit");
    };
    limit(Some(length + 30));
    running.writes(b"go\n").wait_for("done\n");
    assert_eq!(fs::metadata(&audit).unwrap().len(), length, "a part of a line is in the file");
    limit(None);
    running.writes(b"go\n").wait_for("done\n");
    running.ends().succeeds().says("an event could not be written to the audit file").says("\"unwritten\":5");
    let text = fs::read_to_string(&audit).unwrap();
    for line in text.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    assert_eq!(text.matches("denied.test:443").count(), 10, "{text}");
}

#[test]
fn an_engine_that_hangs_does_not_hang_the_next_command() {
    let jail = Jail::new();
    // What two killed launchers have left behind, and an engine's program that never answers.
    for id in ["shell-00000001", "shell-00000002"] {
        let left = jail.place().join("runtime/nix-jail/containers").join(id);
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("engine"), "docker").unwrap();
    }
    let programs = jail.place().join("programs");
    fs::create_dir(&programs).unwrap();
    let (program, asked) = (programs.join("docker"), jail.place().join("asked"));
    let text = format!("#!/bin/sh\necho asked >>{}\nwhile :; do sleep 1; done\n", asked.display());
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let jail = jail.variable("PATH", path);
    for words in [&["schema"][..], &["check", "/nonexistent.json"]] {
        jail.itself(words);
        assert!(!asked.exists(), "{words:?} removes what others have left");
    }
    // Ends within the test's patience; the engine is asked once, and the rest is left for a later command.
    jail.itself(["ps"]).succeeds();
    assert_eq!(fs::read_to_string(&asked).unwrap(), "asked\n");
    assert_eq!(fs::read_dir(jail.place().join("runtime/nix-jail/containers")).unwrap().count(), 2);
}

#[test]
fn what_needs_no_home_works_without_an_environment() {
    let jail = std::env::var_os("JAIL_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_jail").into());
    for words in [&["schema"][..], &["completions", "bash"]] {
        let output = Command::new(&jail).args(words).env_clear().output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{words:?}: {output:?}");
    }
}
