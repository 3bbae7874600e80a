//! The job as a process: exit codes, signals, streams, time, and that nothing is left of it.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::{Jail, descendants, files, gone, skip};

#[test]
fn the_command_s_exit_code_is_the_launcher_s() {
    let jail = Jail::new();
    for code in [0, 1, 3, 42, 255] {
        let ended = jail.script(&format!("exit {code}"));
        assert_eq!(ended.exits(code).summary["code"], code, "{ended}");
    }
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        jail.script(&format!("kill -{signal} $$")).exits(code);
    }
}

#[test]
fn a_command_that_cannot_be_run_is_126_and_one_that_is_not_there_127() {
    let jail = Jail::new().file("data.txt", "no program\n").without_program().host("@shell");
    jail.run(["./data.txt"]).exits(126).says("data.txt");
    jail.run(["./nothing"]).exits(127).says("nothing");
    jail.run(["nothing-of-that-name"]).exits(127).says("--host");
    jail.run(["true"]).exits(0);
}

#[test]
fn standard_input_goes_through_to_its_end() {
    let input: Vec<u8> = (0..3_000_000_u32).map(|position| (position % 253) as u8).collect();
    let ended = Jail::new().input(input.clone()).run(["cat"]);
    assert!(ended.succeeds().stdout == input, "{} bytes came back", ended.stdout.len());
    let mut running = Jail::new().start(["cat"]);
    running.writes(b"one\n").wait_for("one\n");
    running.writes(b"two\n").wait_for("two\n");
    running.closes_input();
    running.ends().succeeds();
}

#[test]
fn standard_output_is_intact_and_apart_from_standard_error() {
    let ended = Jail::new().script("head -c 10000000 /dev/zero | tr '\\0' x; echo told >&2");
    assert!(ended.succeeds().stdout.len() == 10_000_000 && ended.stdout.iter().all(|byte| *byte == b'x'));
    ended.says("told\n");
}

#[test]
fn a_signal_to_the_launcher_reaches_the_job() {
    for (signal, name, code) in
        [(Signal::SIGTERM, "TERM", 143), (Signal::SIGINT, "INT", 130), (Signal::SIGHUP, "HUP", 129)]
    {
        let jail = Jail::new();
        let mut running = jail.start_script(&format!(
            "trap 'echo caught; exit 7' {name}; echo ready; while :; do sleep 1; done"
        ));
        running.wait_for("ready\n").signal(signal);
        running.ends().exits(7).prints("caught\n");
        let mut running = jail.start_script("echo ready; exec sleep 600");
        running.wait_for("ready\n").signal(signal);
        running.ends().exits(code);
    }
}

#[test]
fn a_job_whose_time_is_up_is_ended() {
    let jail = Jail::new().options(["--timeout", "1s"]);
    jail.script("sleep 600").exits(124);
    jail.script("exit 5").exits(5);
}

#[test]
fn a_job_that_fills_the_disk_is_ended() {
    // A file without a name counts too.
    let fill = "exec 3>much; rm much; head -c 80M /dev/urandom >&3";
    Jail::new().options(["--disk", "10T"]).script(&format!("{fill}; exit 5")).exits(5);
    let jail = Jail::new().options(["--disk", "32M"]);
    jail.script(&format!("{fill}; exec sleep 600")).exits(124).says("limits.disk");
}

#[test]
fn a_job_on_a_small_disk_leaves_most_of_it() {
    // The limit is a tenth of the disk; what a job takes until it is ended must not be all of it.
    let Some(disk) = SmallDisk::mount("size=400m,nr_inodes=40000,mode=0777") else {
        skip::report("mounting a small disk needs root");
        return;
    };
    let jail = Jail::new().from(disk.path()).options(["--disk", "40M"]);
    let before = disk.free();
    jail.script("exec head -c 400M /dev/zero >big").exits(124).says("free space");
    let after = disk.free();
    assert!(after.0 > 100 << 20 && after.0 < before.0 - (40 << 20), "{before:?}, {after:?}");
    fs::remove_file(disk.path().join("big")).unwrap();
    let many = "i=0; while :; do : >$i; i=$((i + 1)); done";
    jail.script(many).exits(124).says("inodes");
    let after = disk.free();
    assert!(after.1 > 10_000 && after.1 < before.1 - 9_000, "{before:?}, {after:?}");
}

/// A tmpfs in this test's own directory. Only root can mount one where the launcher sees it.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(options: &str) -> Option<SmallDisk> {
        let directory = tempfile::Builder::new().prefix("jail-disk-").tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(directory.path())
            .output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| SmallDisk { directory })
    }

    fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Free bytes and free inodes.
    fn free(&self) -> (u64, u64) {
        let system = nix::sys::statvfs::statvfs(self.path()).unwrap();
        (system.blocks_available() * system.fragment_size(), system.files_available())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_job_that_stops_who_watches_over_it_is_ended_all_the_same() {
    let jail = Jail::new().options(["--timeout", "1s"]);
    // Refused, or of no use.
    jail.script("trap '' TERM; kill -STOP $PPID; kill -STOP 1; sleep 600; sleep 600").exits(124);
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    // The background process holds the streams: `ends` waits until nobody does any more.
    let mut running =
        Jail::new().start_script("(trap '' TERM HUP; echo left; exec sleep 600) & read line; exit 9");
    running.wait_for("left\n");
    let processes = descendants(running.launcher());
    assert!(processes.len() >= 3, "the job's processes are the launcher's descendants: {processes:?}");
    running.writes(b"go\n");
    running.ends().exits(9);
    gone(&processes);
}

#[test]
fn killing_the_launcher_ends_everything() {
    let jail = Jail::new();
    let mut running = jail.start_script(
        "trap '' TERM HUP INT; (trap '' TERM HUP; sleep 600) & setsid sleep 600 & echo ready; wait",
    );
    running.wait_for("ready\n");
    let processes = descendants(running.launcher());
    assert!(processes.len() >= 3, "{processes:?}");
    running.signal(Signal::SIGKILL);
    gone(&processes);
    // What an engine's launcher could not tidy up any more, the next command does.
    jail.itself(["ps"]).succeeds();
    // The way to the user's systemd is the test's own.
    let runtime = jail.place().join("runtime");
    let mut left = files(&runtime);
    left.retain(|path| !path.starts_with(runtime.join("systemd")));
    assert!(left.is_empty(), "a runtime file is left: {left:?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(jail.place().to_str().unwrap()), "a mount is left on the host");
}

#[test]
fn two_jobs_in_one_directory_do_not_disturb_each_other() {
    let jail = Jail::new();
    let mut first = jail.start_script("echo ready; cat; echo first > first.txt");
    first.wait_for("ready\n");
    jail.script("echo second > second.txt").succeeds();
    first.ends().succeeds();
    assert!(jail.project().join("first.txt").exists() && jail.project().join("second.txt").exists());
}

#[test]
fn the_end_is_told_to_people_in_two_lines() {
    let ended = Jail::new().for_people().script("true");
    ended.succeeds().says("0 allowed, 0 denied").says("details: jail log ");
    assert_eq!(
        ended.messages().iter().filter(|line| line.contains("allowed") || line.contains("jail log")).count(),
        2
    );
    let quiet = Jail::new().for_people().options(["--quiet"]).script("echo only this");
    quiet.succeeds().prints_only("only this\n");
    assert_eq!(quiet.stderr, "");
}
