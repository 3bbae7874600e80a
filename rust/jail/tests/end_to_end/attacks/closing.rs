//! Ends that come too early, and policies that say nothing: denied, and nothing left behind (attack 25).

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::{armed, observed, program};
use crate::support::{Jail, PATIENCE, Server, descendants, files, gone, random};

#[test]
fn a_launcher_that_is_killed_at_any_moment_leaves_nothing() {
    let server = Server::https("api.test");
    let token = random("sk-");
    let jail = Jail::new()
        .allow("api.test")
        .upstream(&server)
        .secret("REAL", &token)
        .credential("T=env:REAL@api.test");
    let namespaces = || -> std::collections::BTreeSet<_> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes.filter_map(|process| fs::read_link(process.path().join("ns/net")).ok()).collect()
    };
    for wanted in [1, 2, 3, 4, 4, 3, 2] {
        let running = jail.start_script("trap '' TERM HUP INT; (trap '' HUP; sleep 600) & echo ready; wait");
        // Killed as soon as so many of its processes are there: while it makes the jail, and after.
        let mut processes = descendants(running.launcher());
        let deadline = Instant::now() + PATIENCE;
        while processes.len() < wanted {
            assert!(Instant::now() < deadline, "the launcher never had {wanted} processes");
            std::thread::yield_now();
            processes = descendants(running.launcher());
        }
        let inside =
            processes.last().and_then(|(process, _)| fs::read_link(format!("/proc/{process}/ns/net")).ok());
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        nix::sys::signal::kill(running.launcher(), Signal::SIGKILL).unwrap();
        gone(&processes);
        // Nobody is left in its network either: with its last process the sockets in it are gone.
        if let Some(inside) = inside.filter(|inside| *inside != ours) {
            // One that was born meanwhile finds nobody above it a moment later; an engine that has begun with a
            // container goes on, up to its pid 1, which finds no launcher.
            while namespaces().contains(&inside) && Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert!(!namespaces().contains(&inside), "somebody is still in the job's network");
        }
        drop(running);
    }
    // What an engine's launcher could not tidy up any more, the next command does.
    jail.itself(["ps"]).succeeds();
    assert!(files(&jail.place().join("runtime")).is_empty(), "a runtime file is left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(jail.place().to_str().unwrap()), "a mount is left on the host");
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!sockets.contains(jail.place().to_str().unwrap()), "a socket is left on the host");
    // The same jail still starts, and nothing of the killed ones is in its way.
    jail.script("echo fine").succeeds().prints_only("fine\n");
    for file in files(jail.place()) {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(
            !bytes.windows(token.len()).any(|window| window == token.as_bytes()),
            "the token is in {}",
            file.display()
        );
    }
}

#[test]
fn a_job_that_brings_its_jail_down_does_not_hide_what_it_has_made() {
    let jail = Jail::new();
    let mut running = jail.start_script("echo 'touch found' >.envrc; echo ready; exec sleep 600");
    running.wait_for("ready\n");
    // As where memory runs out, and the kernel picks the jail's own processes.
    for (process, _) in descendants(running.launcher()) {
        if process != running.launcher() {
            // With the first the others may be gone.
            let _ = nix::sys::signal::kill(process, Signal::SIGKILL);
        }
    }
    let ended = running.ends();
    ended.exits(125).says(".envrc was made or changed").says("\"changedFilesThatRunLater\":[\".envrc\"]");
}

#[test]
fn a_job_whose_launcher_is_killed_is_reported_by_whoever_comes_next() {
    for next in ["ps", "run", "stop"] {
        let jail = Jail::new();
        let mut running =
            jail.start_script("mkdir .vscode; echo x >.vscode/tasks.json; echo ready; exec sleep 600");
        running.wait_for("ready\n");
        // Nobody tells of a job that runs.
        let ended = jail.itself(["ps"]);
        ended.succeeds();
        assert!(!ended.messages().concat().contains(".vscode"), "{next}{ended}");
        let processes = descendants(running.launcher());
        running.signal(Signal::SIGKILL);
        running.ends();
        gone(&processes);
        let told = match next {
            "run" => jail.run(["true"]),
            "stop" => jail.itself(["stop", "nobody"]),
            next => jail.itself([next]),
        };
        told.says(".vscode was made or changed");
        if next == "run" {
            assert_eq!(told.summary["changedFilesThatRunLater"], serde_json::json!([".vscode"]), "{told}");
        }
        let again = jail.itself(["ps"]);
        assert!(!again.messages().concat().contains(".vscode"), "told twice: {next}{again}");
    }
}

#[test]
fn a_job_that_is_stopped_by_force_is_reported() {
    let jail = Jail::new();
    let mut running = jail.start_script("trap '' TERM; mkdir .vscode; echo ready; while :; do sleep 1; done");
    running.wait_for("ready\n");
    let stopped = jail.itself(["stop", "job", "--timeout", "1s"]);
    stopped.succeeds().says(".vscode was made or changed");
    running.ends();
}

#[test]
fn a_policy_that_is_empty_denies_and_one_that_is_broken_starts_nothing() {
    needs!("python3");
    let server = Server::https("api.test");
    let script = "fact('asked', ask(https('api.test'), request('api.test')))";
    let with = |text: &[u8]| {
        let jail = armed().upstream(&server);
        let policy = jail.place().join("rules.txt");
        fs::write(&policy, text).unwrap();
        jail.options(["--policy".into(), policy.into_os_string()]).run(program(script, &[]))
    };
    for (text, reason) in
        [("deny api.test\n", "403 denied-by-rule"), ("allow other.test\n", "403 host-not-allowed")]
    {
        observed(&with(text.as_bytes()), &[("asked", reason)]);
    }
    // Nothing is not a policy: whoever names a file means something by it.
    let none: [&[u8]; 4] = [b"", b"\n\n", b"# allow api.test\n", b"  \r\n"];
    for text in none {
        with(text).exits(2).says("rules.txt").prints_only("");
    }
    let broken: [&[u8]; 11] = [
        b"allow",
        b"allow \n",
        b"permit api.test",
        b"api.test allow",
        b"allow api.test\nallow [",
        b"allow api.test\n\0",
        b"\xff\xfe",
        b"{}",
        b"allow https://",
        b"allow api.test:99999",
        b"allow GET,,POST https://api.test",
    ];
    for text in broken {
        let ended = with(text);
        ended.exits(2).says("rules.txt").prints_only("");
    }
    // A rule that decides nothing is a mistake too.
    with(b"allow api.test\nallow api.test").exits(2).says("can never decide").prints_only("");
    let ended = armed().options(["--policy", "/nonexistent/rules.txt"]).run(program(script, &[]));
    ended.exits(2).says("/nonexistent/rules.txt").prints_only("");
    assert_eq!(server.connections(), 0);
    // The control.
    observed(&with(b"allow api.test\n"), &[("asked", "200")]);
}

#[test]
fn what_a_job_does_while_it_is_watched_does_not_make_the_learnt_policy_wider() {
    needs!("python3");
    let server = Server::http("plain.test");
    let jail = || armed().upstream(&server);
    let script = r#"
for path in sys.argv[1:]:
    fact(path, ask(dial("plain.test", 80), request("plain.test", path)))
"#;
    // Paths that look like patterns, or like more than one line.
    let done = ["/**", "/a/*", "/{b,c}", "/[d-f]", "/?", "/g%0aallow%20*", "/echo"];
    let learning = jail();
    let learnt = learning.place().join("learnt.txt");
    let learning = learning.options(["--learn".into(), learnt.clone().into_os_string()]);
    learning.run(program(script, &done)).succeeds().allowed("plain.test:80", done.len() as u64);
    let text = fs::read_to_string(&learnt).unwrap();
    let rules = text.lines().filter(|line| !line.starts_with('#'));
    assert!(rules.clone().all(|line| line.starts_with("allow GET http://plain.test/")), "{text}");

    let others = ["/a/x", "/b", "/d", "/x", "/echo/x", "/a/x/y"];
    let jail = jail().options(["--policy".into(), learnt.into_os_string()]);
    let ended = jail.run(program(script, &[&others[..], &["/**", "/a/*", "/echo"]].concat()));
    let mut expected: Vec<(&str, &str)> = others.map(|path| (path, "403 path-not-allowed")).into();
    expected.extend([("/**", "404"), ("/a/*", "404"), ("/echo", "200")]);
    observed(&ended, &expected);
}
