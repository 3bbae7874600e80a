//! Jails that an engine makes: what only they can get wrong. Run where `JAIL_TEST_BACKEND` names one; the rest of the
//! suite runs with it too.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use nix::sys::signal::{Signal, kill};

use crate::support::backend::{ask, container, is_relayed};
use crate::support::{Jail, Server, descendants, find, gone, is_root, random, skip};

#[test]
fn nothing_of_a_job_is_left_with_the_engine_nor_told_to_it() {
    needs!("curl");
    let engine = engine!();
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail = Jail::new()
        .host("curl")
        .allow("api.test")
        .upstream(&server)
        .secret("T", &token)
        .credential("T=env:T@api.test");
    let mut running = jail.start_script(r#"curl -sS -H "authorization: Bearer $T" https://api.test/echo; echo; echo "dummy=$T"; echo ready; read line"#);
    running.wait_for("ready\n");
    let launcher = running.launcher();
    let id = container(engine, launcher).unwrap();
    let records = ask(engine, &["inspect", &id]);
    let output = String::from_utf8(running.stdout.so_far()).unwrap();
    let dummy = output.lines().find_map(|line| line.strip_prefix("dummy=")).unwrap();
    for secret in [&token, dummy, "authorization"] {
        assert!(!records.contains(secret), "the engine was told {secret}");
    }
    assert!(records.contains("\"nix-jail.job\"") && records.contains("none"), "{records}");
    assert!(ask(engine, &["logs", &id]).is_empty());
    running.closes_input();
    running.ends().swapped("T", "api.test:443");
    assert_eq!(container(engine, launcher), None);
}

#[test]
fn a_container_that_is_removed_ends_its_job_with_an_error() {
    let engine = engine!();
    let jail = Jail::new();
    let mut running = jail.start_script("echo ready; exec sleep 600");
    running.wait_for("ready\n");
    let processes = descendants(running.launcher());
    let id = container(engine, running.launcher()).unwrap();
    ask(engine, &["rm", "--force", &id]);
    running.ends().exits(125).says("container").says(engine);
    gone(&processes);
}

#[test]
fn an_engine_s_program_that_is_lost_ends_the_job() {
    let engine = engine!();
    let jail = Jail::new();
    let mut running = jail.start_script("echo ready; exec sleep 600");
    running.wait_for("ready\n");
    let processes = descendants(running.launcher());
    // What the launcher sees of an engine that dies is that its program does.
    let program = processes
        .iter()
        .map(|(pid, _)| *pid)
        .find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == engine));
    kill(program.expect("the engine's program is the launcher's child"), Signal::SIGKILL).unwrap();
    running.ends().exits(125).says(engine);
    gone(&processes);
    jail.script("echo fine").succeeds().prints_only("fine\n");
}

#[test]
fn an_engine_that_is_not_there_is_named_with_its_cure() {
    if engine!() != "docker" {
        skip::report("podman has no engine to reach");
        return;
    }
    let jail = Jail::new();
    let nowhere = jail.place().join("no.sock");
    let with = |host: String| {
        let mut command = jail.command(&["sh".into(), "-c".into(), "touch started".into()]);
        command.env("DOCKER_HOST", host);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(!jail.project().join("started").exists());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = with(format!("unix://{}", nowhere.display()));
    assert!(said.contains("no.sock") && said.contains("systemctl start docker"), "{said}");
    // Somebody listened there once.
    drop(UnixListener::bind(&nowhere).unwrap());
    let said = with(format!("unix://{}", nowhere.display()));
    assert!(said.contains("no.sock") && said.contains("start the engine"), "{said}");
    for elsewhere in ["tcp://engine.test:2375", "ssh://me@engine.test"] {
        let said = with(elsewhere.to_owned());
        assert!(said.contains("docker did not make the jail's container"), "{elsewhere}: {said}");
    }
    if is_root() {
        skip::report("in part: root may use every socket");
        return;
    }
    fs::remove_file(&nowhere).unwrap();
    let _listener = UnixListener::bind(&nowhere).unwrap();
    fs::set_permissions(&nowhere, fs::Permissions::from_mode(0o000)).unwrap();
    let said = with(format!("unix://{}", nowhere.display()));
    assert!(said.contains("Permission denied") && said.contains("usermod -aG"), "{said}");
}

#[test]
fn a_program_that_is_not_installed_is_named() {
    let engine = engine!();
    let jail = Jail::new();
    let mut command = jail.command(&["true".into()]);
    let empty = jail.place().join("empty");
    fs::create_dir(&empty).unwrap();
    // The programs for the jail are found by their paths; the engine's is not there.
    let output = command.env("PATH", &empty).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains(&format!("cannot start `{engine}`")) && said.contains("install it"), "{said}");
}

#[test]
fn a_place_that_is_missing_on_the_host_is_not_made_as_root() {
    engine!();
    let jail = Jail::new();
    let [outer, inner] = ["outer", "inner"].map(|name| jail.place().join(name));
    for directory in [&outer, &inner] {
        fs::create_dir(directory).unwrap();
    }
    let jail = jail.options([
        "--ro-bind".to_owned(),
        format!("{}:/data", outer.display()),
        "--ro-bind".to_owned(),
        format!("{}:/data/absent", inner.display()),
    ]);
    jail.script("true").exits(125).says("absent").says("create it");
    assert!(!outer.join("absent").exists());
    fs::create_dir(outer.join("absent")).unwrap();
    jail.script("ls -d /data/absent").succeeds();
}

/// The engine's program, by its name in a directory to put first on `PATH`, which does something before it makes a
/// container.
fn program_that_first(jail: &Jail, engine: &str, script: &str) -> std::ffi::OsString {
    let directory = jail.place().join("bin");
    fs::create_dir(&directory).unwrap();
    let real = find(engine).unwrap();
    let wrapper = directory.join(engine);
    fs::write(
        &wrapper,
        format!("#!/bin/sh\n[ \"$1\" != run ] || {{ {script}; }}\nexec {} \"$@\"\n", real.display()),
    )
    .unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    std::env::join_paths([directory, "/usr/bin".into(), "/bin".into(), "/usr/sbin".into(), "/sbin".into()])
        .unwrap()
}

#[test]
fn a_source_that_vanishes_or_is_replaced_meanwhile_means_no_job() {
    let engine = engine!();
    let secret = random("private-");
    // After the launcher has looked, before the engine does: nothing, a link to somebody's secret, another file.
    for (then, words) in [
        ("rm -f $FILE", &["here.txt"][..]),
        ("ln -sf $PRIVATE $FILE", &["no part of this jail", "was replaced"]),
        ("echo other > $FILE-2; mv -f $FILE-2 $FILE", &["was replaced"]),
    ] {
        let jail = Jail::new().guards(&secret);
        let (shown, private) = (jail.place().join("here.txt"), jail.place().join("private.txt"));
        fs::write(&shown, "here").unwrap();
        fs::write(&private, &secret).unwrap();
        let script =
            then.replace("$FILE", shown.to_str().unwrap()).replace("$PRIVATE", private.to_str().unwrap());
        let path = program_that_first(&jail, engine, &script);
        let jail = jail.options(["--ro-bind".into(), shown.clone().into_os_string()]).variable("PATH", path);
        let ended = jail.script(&format!("echo started; cat {}", shown.display()));
        ended.exits(125).never_prints("started");
        assert!(words.iter().any(|word| ended.stderr.contains(word)), "{ended}");
    }
}

#[test]
fn a_path_that_the_engine_cannot_be_told_is_refused() {
    engine!();
    let odd = |name: &str| {
        let jail = Jail::new();
        let path = jail.place().join(name);
        fs::create_dir(&path).unwrap();
        (jail, std::ffi::OsString::from(path))
    };
    let (jail, path) = odd("a,b");
    jail.options(["--ro-bind".into(), path]).script("true").exits(125).says("rename it");
    // To an overlay that is two directories. (An engine elsewhere is refused overlays as such.)
    if is_relayed() {
        skip::report("in part: an engine on another kernel has no overlays");
        return;
    }
    let (jail, path) = odd("a:b");
    let options = ["--workspace".into(), path, "--workspace-mode".into(), "overlay".into()];
    jail.options(options).script("true").exits(125).says("rename it");
}

#[test]
fn root_s_workspace_is_refused_for_writing_and_may_be_read() {
    engine!();
    if !is_root() {
        skip::report("this is an ordinary user's run");
        return;
    }
    let own = Jail::new();
    let directory = own.place().join("own");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("here.txt"), "here").unwrap();
    let own = own.options(["--workspace".into(), directory.into_os_string()]);
    own.script("true").exits(125).says("belongs to root").says("--workspace-mode");
    let ended =
        own.options(["--workspace-mode", "ro"]).script("cat here.txt; id -u; touch x || echo refused");
    ended.succeeds().prints("here").prints("refused");
    assert!(!ended.text().contains("\n0\n") && !ended.text().contains("here0"), "the job is root{ended}");
}
