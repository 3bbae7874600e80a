//! The backend on Linux, with a stand-in for Apple's program: it checks what it is given and becomes the command.
//! Nothing is isolated here; what is proven is everything around the sandbox.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Seatbelt;
use crate::backend::{Backend, Ended, Error, Exhausted, Reach};
use crate::plan::{Access, Entry, Limits, Plan};

/// Refuses what no profile allows (itself) as the real one does, and records the profile.
const STAND_IN: &str = r#"#!/bin/sh
[ "$1" = -f ] || exit 64
grep -q '^(deny default)$' "$2" || { echo "sandbox-exec: no such profile" >&2; exit 65; }
[ "$3" = "$0" ] && { echo "sandbox-exec: execvp() of '$3' failed: Operation not permitted" >&2; exit 71; }
cp "$2" "${0%/*}/profile"
shift 2
exec "$@"
"#;

struct Mac {
    directory: tempfile::TempDir,
}

impl Mac {
    fn new(script: &str) -> Mac {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("sandbox-exec");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Mac { directory }
    }

    fn backend(&self) -> Seatbelt {
        Seatbelt::with_program("secret".to_owned(), self.directory.path().join("sandbox-exec")).unwrap()
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("output")
    }

    /// A plan whose shell script writes to `$OUT`.
    fn plan(&self, script: &str) -> Plan {
        let path = "/usr/local/bin:/usr/bin:/bin";
        Plan {
            command: ["sh", "-c", script].map(OsString::from).to_vec(),
            environment: vec![
                ("PATH".into(), path.into()),
                ("OUT".into(), self.output().into()),
                ("HOME".into(), "/home/agent".into()),
                ("SSL_CERT_FILE".into(), "/etc/ssl/cert.pem".into()),
            ],
            working_directory: "/home/agent".into(),
            tree: vec![
                Entry::Directory { target: "/home/agent".into(), writable: true },
                Entry::File {
                    target: "/etc/ssl/cert.pem".into(),
                    contents: b"the CA\n".to_vec(),
                    mode: 0o444,
                },
                Entry::Bind { source: "/usr".into(), target: "/usr".into(), access: Access::ReadOnly },
                Entry::Bind {
                    source: self.directory.path().to_owned(),
                    target: self.directory.path().to_owned(),
                    access: Access::ReadWrite,
                },
            ],
            ..Plan::default()
        }
    }

    fn run(&self, plan: &Plan) -> Result<Ended, Error> {
        self.backend().prepare(plan)?.run()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.output()).unwrap_or_default()
    }
}

#[test]
fn a_job_finds_its_files_where_its_variables_say() {
    let mac = Mac::new(STAND_IN);
    let plan =
        mac.plan("cat $SSL_CERT_FILE > $OUT; pwd >> $OUT; echo $HOME >> $OUT; touch new; env | sort >> $OUT");
    assert_eq!(mac.run(&plan).unwrap(), Ended::Code(0));
    let said = mac.said();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "the CA");
    assert!(lines[1].ends_with("/root/home/agent") && lines[1] == lines[2], "{said}");
    // The whole environment, beside what the shell adds.
    let names: Vec<&str> =
        lines[3..].iter().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let ours: Vec<&&str> =
        names.iter().filter(|name| !["_", "PWD", "OLDPWD", "SHLVL"].contains(*name)).collect();
    assert_eq!(ours, [&"HOME", &"OUT", &"PATH", &"SSL_CERT_FILE"]);
    assert!(!Path::new(lines[1]).exists(), "the private directory is gone");
    let profile = fs::read_to_string(mac.directory.path().join("profile")).unwrap();
    assert!(profile.starts_with("(version 1)\n(deny default)\n"), "{profile}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "to a socket of its own")]
fn the_profile_names_the_port_that_listens_and_its_twin_is_taken() {
    let mac = Mac::new(STAND_IN);
    let backend = mac.backend();
    let Reach::Port { port, secret } = backend.reach() else { panic!("not a port") };
    assert_eq!(secret, "secret");
    let mut prepared = backend.prepare(&mac.plan("true")).unwrap();
    let listeners = prepared.take_listeners();
    assert_eq!(listeners.tcp[0].1.local_addr().unwrap().port(), port);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(std::net::TcpListener::bind(("::1", port)).is_err(), "another program must not listen there");
    assert!(std::net::TcpStream::connect(("::1", port)).is_err());
    prepared.run().unwrap();
    let profile = fs::read_to_string(mac.directory.path().join("profile")).unwrap();
    assert!(profile.contains(&format!("(remote ip \"localhost:{port}\")")), "{profile}");
}

#[test]
fn ends_are_told_apart() {
    let mac = Mac::new(STAND_IN);
    assert_eq!(mac.run(&mac.plan("exit 7")).unwrap(), Ended::Code(7));
    assert_eq!(mac.run(&mac.plan("kill -USR1 $$")).unwrap(), Ended::Signal(10));
    let missing = Plan { command: vec!["no-such-program".into()], ..mac.plan("") };
    assert_eq!(mac.run(&missing).unwrap(), Ended::Code(127));
    let mut plan = mac.plan("sleep 60");
    plan.limits.timeout = Some(Duration::from_millis(100));
    let begun = Instant::now();
    assert_eq!(mac.run(&plan).unwrap(), Ended::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn nothing_is_left_when_the_command_has_ended() {
    let mac = Mac::new(STAND_IN);
    let plan = mac.plan("setsid sleep 61 & echo $! > $OUT; sleep 1");
    assert_eq!(mac.run(&plan).unwrap(), Ended::Code(0));
    let left = mac.said();
    let state = fs::read_to_string(format!("/proc/{}/stat", left.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn what_takes_more_than_its_limit_is_ended() {
    let mac = Mac::new(STAND_IN);
    let mut plan = mac.plan("sleep 60 & sleep 60 & sleep 60 & wait");
    plan.limits = Limits { pids: Some(2), timeout: Some(Duration::from_secs(50)), ..Limits::default() };
    assert_eq!(mac.run(&plan).unwrap(), Ended::Signal(9));
    let mut plan = mac.plan("head -c 60000000 /dev/zero | tail");
    plan.limits =
        Limits { memory: Some(20_000_000), timeout: Some(Duration::from_secs(50)), ..Limits::default() };
    assert_ne!(mac.run(&plan).unwrap(), Ended::TimedOut);
    let mut plan = mac.plan("head -c 60000000 /dev/urandom >>$OUT; sleep 60");
    plan.limits =
        Limits { disk: Some(20_000_000), timeout: Some(Duration::from_secs(50)), ..Limits::default() };
    assert_eq!(mac.run(&plan).unwrap(), Ended::DiskUsedUp(Exhausted::Space));
}

#[test]
fn a_sandbox_that_is_none_makes_no_job() {
    let lenient = Mac::new("#!/bin/sh\nexit 0\n");
    assert!(matches!(lenient.run(&lenient.plan("echo ran > $OUT")), Err(Error::NotIsolated { .. })));
    let forbidden =
        Mac::new("#!/bin/sh\necho 'sandbox-exec: sandbox_apply: Operation not permitted' >&2\nexit 71\n");
    let error = forbidden.run(&forbidden.plan("echo ran > $OUT")).unwrap_err();
    assert!(
        error.to_string().contains("Operation not permitted") && error.to_string().contains("on Linux"),
        "{error}"
    );
    let absent = Mac::new(STAND_IN);
    fs::remove_file(absent.directory.path().join("sandbox-exec")).unwrap();
    assert!(matches!(absent.run(&absent.plan("echo ran > $OUT")), Err(Error::Seatbelt { .. })));
    assert_eq!(lenient.said() + &forbidden.said() + &absent.said(), "");
}

/// Set in the process of the test below that sits at a terminal: the directory for its output.
const AT_A_TERMINAL: &str = "JAIL_TEST_AT_A_TERMINAL";

#[test]
fn a_job_at_a_terminal_has_one_of_its_own() {
    if let Some(output) = std::env::var_os(AT_A_TERMINAL) {
        let mac = Mac::new(STAND_IN);
        let script = "tty > $OUT; sh -c 'read -r _ _ _ _ group _ _ foreground _ </proc/$$/stat; echo $foreground $group' >> $OUT; \
                      read line; echo \"typed $line\" >> $OUT; printf 'shown\\033]52;c;eA==\\007so\\n'";
        assert_eq!(mac.run(&mac.plan(script)).unwrap(), Ended::Code(0));
        fs::write(PathBuf::from(output).join("said"), mac.said()).unwrap();
        let profile = fs::read_to_string(mac.directory.path().join("profile")).unwrap();
        assert!(profile.contains(&format!("(literal \"{}\")", mac.said().lines().next().unwrap())));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let pair = nix::pty::openpty(None, None).unwrap();
    let ours = nix::unistd::ttyname(&pair.slave).unwrap();
    let stream = || std::process::Stdio::from(pair.slave.try_clone().unwrap());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "backend::seatbelt::on_the_host::a_job_at_a_terminal_has_one_of_its_own",
            "--nocapture",
        ])
        .env(AT_A_TERMINAL, directory.path())
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    drop(pair.slave);
    nix::unistd::write(&pair.master, b"hello\n").unwrap();
    let mut shown = Vec::new();
    // Ends with an error when nobody has the other side any more.
    let _ = std::io::Read::read_to_end(&mut fs::File::from(pair.master), &mut shown);
    let shown = String::from_utf8_lossy(&shown);
    assert!(child.wait().unwrap().success(), "{shown}");
    assert!(shown.contains("shownso"), "what acts on the user's terminal is dropped: {shown}");
    let said = fs::read_to_string(directory.path().join("said")).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("/dev/pts/") && Path::new(lines[0]) != ours, "{said}");
    let [foreground, group] = <[&str; 2]>::try_from(lines[1].split(' ').collect::<Vec<_>>()).unwrap();
    assert_eq!(foreground, group, "the job is in the foreground of its terminal: {said}");
    assert_eq!(lines[2], "typed hello");
}
