//! Files as the launcher's standard streams.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::{Jail, users};

/// Runs with these streams; the exit code.
fn run(mut command: Command, stdin: Option<&File>, stdout: &File, stderr: &File) -> Option<i32> {
    let stream = |file: &File| Stdio::from(file.try_clone().unwrap());
    command.stdin(stdin.map_or_else(Stdio::null, stream)).stdout(stream(stdout)).stderr(stream(stderr));
    command.status().unwrap().code()
}

#[test]
fn a_job_can_add_to_its_log_and_nothing_else() {
    for user in users() {
        let directory = user.directory();
        let path = directory.path().join("log");
        fs::write(&path, "earlier\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let script = r#"
import fcntl, os
def tried(what):
    try: what()
    except OSError: pass
os.write(1, b"words\n")
tried(lambda: fcntl.fcntl(1, fcntl.F_SETFL, 0))
for number in (1, 2):
    tried(lambda: os.pwrite(number, b"FORGED", 0))
    tried(lambda: os.ftruncate(number, 2))
    tried(lambda: os.lseek(number, 0, 0))
    tried(lambda: os.fchmod(number, 0o777))
    tried(lambda: os.pwrite(os.open(f"/proc/self/fd/{number}", os.O_RDWR | os.O_TRUNC), b"FORGED", 0))
os.write(2, b"more words\n")
"#;
        for (flags, appends) in [("append", true), ("write", false)] {
            fs::write(&path, "earlier\n").unwrap();
            let mut log = OpenOptions::new().append(appends).read(true).write(true).open(&path).unwrap();
            log.seek(SeekFrom::End(0)).unwrap();
            let command = Jail::of(user).command(["/usr/bin/python3", "-c", script]);
            assert_eq!(run(command, None, &log, &log), Some(0), "{user:?}");
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                "earlier\nwords\nmore words\n",
                "{user:?} {flags}"
            );
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        }
    }
}

#[test]
fn output_and_errors_in_one_file_stay_in_order() {
    for user in users() {
        let directory = user.directory();
        let path = directory.path().join("log");
        let open = || OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let script = "i=0; while [ $i -lt 2000 ]; do echo $i; echo $i >&2; i=$((i+1)); done; exit 7";
        let expected: String = (0..2000).map(|number| format!("{number}\n{number}\n")).collect();
        let one = open();
        // `>> log 2>&1`, `>> log 2>> log`.
        for (stdout, stderr) in [(&one, &one), (&open(), &open())] {
            fs::write(&path, "").unwrap();
            assert_eq!(run(Jail::of(user).command(["sh", "-c", script]), None, stdout, stderr), Some(7));
            assert!(
                fs::read_to_string(&path).unwrap() == expected,
                "{user:?}: lines are lost or out of order"
            );
        }
    }
}

#[test]
fn a_job_reads_its_input_from_where_it_is_and_leaves_the_rest() {
    for user in users() {
        let directory = user.directory();
        let path = directory.path().join("input");
        fs::write(&path, format!("secret\nread\n{}", "left\n".repeat(100_000))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let before = fs::read(&path).unwrap();
        let mut input = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        input.seek(SeekFrom::Start(7)).unwrap();
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let script = r#"
import os
def tried(what):
    try: return what()
    except OSError: return b""
assert os.read(0, 5) == b"read\n"
assert not tried(lambda: os.pread(0, 6, 0))
assert not tried(lambda: os.lseek(0, 1, 0))
tried(lambda: os.pwrite(0, b"FORGED", 0))
# A pipe of its own: what it writes there is its own affair.
tried(lambda: os.write(os.open("/proc/self/fd/0", os.O_WRONLY | os.O_NONBLOCK | os.O_TRUNC), b""))
"#;
        let python = Jail::of(user).command(["/usr/bin/python3", "-c", script]);
        assert_eq!(run(python, Some(&input), &null, &null), Some(0), "{user:?}");
        assert_eq!(input.stream_position().unwrap(), 12, "{user:?}: the rest is for who comes next");
        assert!(fs::read(&path).unwrap() == before, "{user:?}: the input was changed");
        assert_eq!(run(Jail::of(user).command(["true"]), Some(&input), &null, &null), Some(0));
        assert_eq!(input.stream_position().unwrap(), 12, "{user:?}: nothing was read");
    }
}

#[test]
fn what_a_job_writes_into_its_own_input_is_not_unread_input() {
    for user in users() {
        let directory = user.directory();
        let path = directory.path().join("input");
        fs::write(&path, format!("{}read\n", "before\n".repeat(10_000))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let mut input = File::open(&path).unwrap();
        input.seek(SeekFrom::Start(70_000)).unwrap();
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let script = r#"
import os
assert os.read(0, 5) == b"read\n"
os.write(os.open("/proc/self/fd/0", os.O_WRONLY | os.O_NONBLOCK), b"x" * 20000)
"#;
        let python = Jail::of(user).command(["/usr/bin/python3", "-c", script]);
        run(python, Some(&input), &null, &null);
        let position = input.stream_position().unwrap();
        assert!(position >= 70_000, "{user:?}: {position} lies before what the job was given");
    }
}

#[test]
fn large_files_pass_whole() {
    for user in users() {
        let directory = user.directory();
        let contents: Vec<u8> = (0..8_000_000u32).map(|number| (number % 251) as u8).collect();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("input"), &contents).unwrap();
        let (input, output) = (File::open(path("input")).unwrap(), File::create(path("output")).unwrap());
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        assert_eq!(run(Jail::of(user).command(["cat"]), Some(&input), &output, &null), Some(0));
        assert!(fs::read(path("output")).unwrap() == contents, "{user:?}");
    }
}

#[test]
fn a_log_that_takes_no_more_breaks_the_pipe_and_is_named() {
    for user in users() {
        let directory = user.directory();
        let path = directory.path().join("log");
        let log = File::create(&path).unwrap();
        let mut errors = tempfile::tempfile().unwrap();
        // The launcher's limit, as a full disk: no file may be larger than this many blocks.
        let jail = Jail::of(user).wrapped(["bash", "-c", "ulimit -f 256; exec \"$@\"", "bash"]);
        let code =
            run(jail.command(["sh", "-c", "trap '' PIPE; cat /dev/zero; exit 9"]), None, &log, &errors);
        let mut said = String::new();
        errors.flush().unwrap();
        errors.rewind().unwrap();
        std::io::Read::read_to_string(&mut errors, &mut said).unwrap();
        assert_eq!(code, Some(9), "{user:?}: the job goes on: {said}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 256 * 1024);
        assert!(
            said.contains("jail: cannot write the file of the job's standard output"),
            "{user:?}: {said}"
        );
        assert!(said.contains("Broken pipe"), "{user:?}: {said}");
    }
}
