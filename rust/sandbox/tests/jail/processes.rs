use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::support::{Jail, launcher, users};

#[test]
fn the_commands_own_end_is_the_launchers() {
    for user in users() {
        let jail = Jail::of(user);
        jail.run(["true"]).exits(0);
        jail.sh("exit 3").exits(3);
        jail.sh("kill -TERM $$").exits(128 + 15);
        jail.sh("kill -KILL $$").exits(128 + 9);
        jail.run(["no-such-program"]).exits(127).complains("no-such-program: not found");
        jail.run(["/no/such/program"]).exits(127).complains("/no/such/program: not found");
        jail.run(["/usr/bin"]).exits(126).complains("/usr/bin: Permission denied");
    }
}

#[test]
fn a_jail_that_cannot_be_made_is_an_error_of_its_own() {
    for user in users() {
        Jail::of(user).word("cd:/no/such").run(["true"]).exits(125).complains("cannot start in \"/no/such\"");
    }
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    for user in users() {
        // The pipe ends when its last holder does: were the sleeper alive, the output would not end.
        let before = Instant::now();
        Jail::of(user).sh("setsid sleep 1000 & echo started").exits(0).prints("started");
        assert!(before.elapsed() < Duration::from_secs(500));
    }
}

#[test]
fn a_killed_launcher_leaves_no_process() {
    for user in users() {
        let mut command =
            Jail::of(user).command(["sh", "-c", "setsid sleep 1000 & echo started; exec sleep 1000"]);
        let mut launcher = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, mut stderr) = (launcher.stdout.take().unwrap(), launcher.stderr.take().unwrap());
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        kill(Pid::from_raw(launcher.id() as i32), Signal::SIGKILL).unwrap();
        launcher.wait().unwrap();
        // Standard output is held by the job's processes, standard error by the stage's too.
        ends(stdout.get_mut());
        ends(&mut stderr);
    }
}

#[test]
fn time_runs_out() {
    for user in users() {
        Jail::of(user).word("timeout:1").run(["sleep", "1000"]).exits(124);
    }
}

#[test]
fn a_job_ends_with_what_it_may_not_be_without() {
    for user in users() {
        let directory = user.directory();
        let pipe = directory.path().join("lifeline");
        mkfifo(&pipe, Mode::from_bits_truncate(0o644)).unwrap();
        let jail = Jail::of(user).word(format!("lifeline:{}", pipe.display()));
        let mut command = jail.command(["sh", "-c", "trap '' TERM; echo started; while :; do sleep 1; done"]);
        let mut launcher = command.stdout(Stdio::piped()).spawn().unwrap();
        let other_end = File::options().write(true).open(&pipe).unwrap();
        let mut stdout = BufReader::new(launcher.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!((line.as_str(), launcher.try_wait().unwrap()), ("started\n", None));
        drop(other_end);
        assert_eq!(launcher.wait().unwrap().code(), Some(125), "{user:?}");
        ends(stdout.get_mut());
    }
}

#[test]
fn a_job_ends_though_its_init_does_nothing() {
    for user in users() {
        let directory = user.directory();
        let pipe = directory.path().join("lifeline");
        mkfifo(&pipe, Mode::from_bits_truncate(0o644)).unwrap();
        let jail = Jail::of(user).word(format!("lifeline:{}", pipe.display()));
        let mut command = jail.command(["sh", "-c", "trap '' TERM USR1; echo started; exec sleep 1000"]);
        let mut launcher = command.stdout(Stdio::piped()).spawn().unwrap();
        let other_end = File::options().write(true).open(&pipe).unwrap();
        let mut stdout = BufReader::new(launcher.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        // A job that makes and ends processes without end keeps its init from everything else; so does this.
        let pid = Pid::from_raw(launcher.id() as i32);
        let init = only_child(only_child(pid));
        kill(init, Signal::SIGSTOP).unwrap();
        // More than the channel to init holds.
        for _ in 0..1000 {
            kill(pid, Signal::SIGUSR1).unwrap();
            kill(pid, Signal::SIGWINCH).unwrap();
        }
        drop(other_end);
        ends(stdout.get_mut());
        assert_eq!(launcher.wait().unwrap().code(), Some(125), "{user:?}");
    }
}

/// The child of a process that has one: the launcher's is the outer stage, whose is init.
fn only_child(parent: Pid) -> Pid {
    let line = format!("PPid:\t{parent}\n");
    let children: Vec<i32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&line))
        })
        .collect();
    let [child] = *children else { panic!("{parent} has the children {children:?}") };
    Pid::from_raw(child)
}

#[test]
fn a_signal_to_the_launcher_reaches_the_job() {
    for user in users() {
        for (signal, name) in [(Signal::SIGTERM, "TERM"), (Signal::SIGINT, "INT"), (Signal::SIGUSR1, "USR1")]
        {
            let script =
                format!("trap 'echo got; exit 5' {name}; echo started; while :; do sleep 0.05; done");
            let mut command = Jail::of(user).command(["sh", "-c", &script]);
            let mut launcher = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(launcher.stdout.take().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "started");
            kill(Pid::from_raw(launcher.id() as i32), signal).unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), "got");
            assert_eq!(launcher.wait().unwrap().code(), Some(5), "{user:?} {name}");
        }
    }
}

#[test]
fn the_number_of_processes_is_limited() {
    for user in users() {
        let script = "
import os, time
made = 0
try:
    while made < 200:
        if os.fork() == 0: time.sleep(1000)
        made += 1
except BlockingIOError: pass
print(10 < made < 60)";
        Jail::of(user).word("pids:50").python(script).exits(0).prints("True");
    }
}

#[test]
fn standard_input_and_error_are_the_jobs() {
    use std::io::Write;
    for user in users() {
        let mut command = Jail::of(user).command(["sh", "-c", "cat; echo error >&2"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut launcher = command.spawn().unwrap();
        launcher.stdin.take().unwrap().write_all(b"typed").unwrap();
        let output = launcher.wait_with_output().unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"typed"[..], &b"error\n"[..]));
    }
}

#[test]
fn the_job_starts_with_default_signals_and_no_core_files() {
    for user in users() {
        let script = "
import resource
for line in open('/proc/self/status'):
    if line.startswith(('SigBlk', 'SigIgn')): print(line.split()[1])
print(resource.getrlimit(resource.RLIMIT_CORE))";
        // Python itself ignores SIGPIPE (13) and SIGXFSZ (25).
        Jail::of(user).python(script).exits(0).prints("0000000000000000\n0000000001001000\n(1, 1)");
    }
}

#[test]
fn the_doctor_finds_what_jails_rest_on() {
    for user in users() {
        let output = user.command(launcher()).arg("doctor").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        // Jails run here, as the other tests show: nothing is missing.
        assert!(text.contains("Ok: user namespaces") && text.contains("Ok: a /proc of its own"), "{text}");
        assert!(!text.contains("Missing"), "{text}");
        // What is less than it could be says what to do.
        assert!(
            text.lines().filter(|line| line.starts_with("Degraded")).all(|line| line.len() > 60),
            "{text}"
        );
    }
}

#[test]
fn limits_that_are_not_enforced_are_said() {
    // Where a group can be made they are enforced, and nothing is said.
    let enforced = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for user in users().into_iter().filter(|_| !enforced) {
        Jail::of(user)
            .word("memory:100000000")
            .run(["true"])
            .exits(0)
            .complains("the memory limit is not enforced");
    }
}

#[test]
fn twenty_jails_at_once() {
    for user in users() {
        let mut all = Vec::new();
        for number in 0..20 {
            let script = format!("echo {number} > /tmp/own; sleep 0.1; cat /tmp/own");
            all.push((
                number,
                Jail::of(user).command(["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap(),
            ));
        }
        for (number, launcher) in all {
            let output = launcher.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{number}\n"));
        }
    }
}

/// Waits for the end of a pipe, for as long as the slowest machine may need.
#[track_caller]
fn ends(pipe: &mut (impl Read + AsFd)) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let mut events = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut events, PollTimeout::try_from(left).unwrap()).unwrap();
        assert_eq!(ready, 1, "a process holds the pipe still");
        if pipe.read(&mut [0; 1024]).unwrap() == 0 {
            return;
        }
    }
}
