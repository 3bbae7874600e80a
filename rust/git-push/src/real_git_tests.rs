//! The reader held against the real `git receive-pack`: a push that the reader takes is either refused by git, or git reads
//! the same commands and sees push options only where the reader does.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sha1::{Digest, Sha1};
use tempfile::TempDir;

use super::super::pkt_line::FLUSH;
use super::{Commands, NoPush, Reader};

const CASES: u32 = 1500;
const ZERO: &str = "0000000000000000000000000000000000000000";

/// Writes what git has read, and refuses it, so that every push meets the same repository.
const PRE_RECEIVE: &str = "#!/bin/sh\n\
    { cat; i=0; while [ \"$i\" -lt \"${GIT_PUSH_OPTION_COUNT:-0}\" ]; do echo option; i=$((i+1)); done; } > seen\n\
    exit 1\n";

struct Repository {
    directory: TempDir,
    /// Two commits that the server has, the second on top of the first.
    commits: [String; 2],
}

/// What git has read of a push.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    commands: Vec<String>,
    has_options: bool,
}

impl Repository {
    /// `None` where there is no git.
    fn new() -> Option<Repository> {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        git(path, &["init", "--quiet", "--bare", "--initial-branch=main", "."], b"")?;
        for setting in ["receive.advertisePushOptions", "receive.advertiseAtomic", "receive.shallowUpdate"] {
            git(path, &["config", setting, "true"], b"")?;
        }
        let tree = git(path, &["mktree"], b"")?;
        let first = git(path, &["commit-tree", &tree, "-m", "first"], b"")?;
        let second = git(path, &["commit-tree", &tree, "-p", &first, "-m", "second"], b"")?;
        git(path, &["update-ref", "refs/heads/main", &second], b"")?;
        let hook = path.join("hooks/pre-receive");
        fs::create_dir_all(path.join("hooks")).unwrap();
        fs::write(&hook, PRE_RECEIVE).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Repository { directory, commits: [first, second] })
    }

    /// What the real git makes of a push; `None` if it refuses it before it asks its hook.
    fn receive(&self, push: &[u8]) -> Option<Seen> {
        let path = self.directory.path();
        let seen = path.join("seen");
        let _ = fs::remove_file(&seen);
        git(path, &["receive-pack", "--stateless-rpc", "."], push);
        let text = String::from_utf8_lossy(&fs::read(&seen).ok()?).into_owned();
        let (options, commands) =
            text.lines().map(str::to_owned).partition::<Vec<_>, _>(|line| line == "option");
        Some(Seen { commands, has_options: !options.is_empty() })
    }
}

#[expect(clippy::disallowed_methods, reason = "the git of the machine is what our reader is compared with")]
fn git(directory: &Path, arguments: &[&str], input: &[u8]) -> Option<String> {
    let mut process = Process::new("git")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_DIR", ".")])
        .envs([("GIT_AUTHOR_NAME", "n"), ("GIT_AUTHOR_EMAIL", "e"), ("GIT_AUTHOR_DATE", "@1 +0000")])
        .envs([("GIT_COMMITTER_NAME", "n"), ("GIT_COMMITTER_EMAIL", "e"), ("GIT_COMMITTER_DATE", "@1 +0000")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // git may refuse before it has read everything.
    let _ = process.stdin.take().unwrap().write_all(input);
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success() || !input.is_empty(), "git {arguments:?} failed");
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn read(push: &[u8]) -> Result<Option<Commands>, NoPush> {
    Reader::default().read(push)
}

impl Seen {
    fn of(commands: &Commands) -> Seen {
        let id = |id| format!("{id:?}")[..2 * commands.hash.length()].to_owned();
        let line =
            |command: &super::Command| format!("{} {} {}", id(command.old), id(command.new), command.name);
        Seen { commands: commands.commands.iter().map(line).collect(), has_options: commands.options }
    }
}

/// A pack without objects.
fn empty_pack() -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
    let sum = Sha1::digest(&pack);
    pack.extend_from_slice(&sum);
    pack
}

fn packet(line: &[u8], upper: bool, off: i8) -> Vec<u8> {
    let length = (line.len() + 4).saturating_add_signed(off.into());
    let digits = if upper { format!("{length:04X}") } else { format!("{length:04x}") };
    [digits.as_bytes(), line].concat()
}

fn capabilities() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "report-status",
        "report-status-v2",
        "side-band-64k",
        "quiet",
        "atomic",
        "push-options",
        "object-format",
        "session-id",
        "agent",
        "push-cert",
        "push-option",
        "xpush-options",
        "Push-Options",
    ]);
    let values = prop::sample::select(vec!["=", "=1", "=0", "=sha1", "=sha1", "=sha256"]);
    let value = prop_oneof![2 => Just(""), 1 => values];
    let strange =
        prop::sample::select(vec![&b"  "[..], b"\t", b"\n", b"\r", b",", b"\0", b"\x0b", b"\xc2\xa0"]);
    let space = prop_oneof![12 => Just(&b" "[..]), 1 => strange];
    let word = (space, name, value)
        .prop_map(|(space, name, value)| [space, name.as_bytes(), value.as_bytes()].concat());
    prop::collection::vec(word, 0..4).prop_map(|words| words.concat())
}

fn push(commits: &[String; 2]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let [first, second] = commits.clone();
    let id = prop::sample::select(vec![
        ZERO.to_owned(),
        ZERO.to_owned(),
        ZERO.to_owned(),
        first.clone(),
        first.clone(),
        first.clone(),
        second.clone(),
        second.clone(),
        second.clone(),
        second.to_ascii_uppercase(),
        format!("{second}{}", &ZERO[..24]),
    ]);
    let name = prop_oneof![
        30 => "refs/heads/[a-d]",
        3 => Just("refs/heads/main".to_owned()),
        1 => prop::sample::select(vec![
            "HEAD", "refs/heads/\"a\"", "\"refs/heads/a\"", "refs/heads/a\n", "refs/heads/a ", "refs/heads/a\r",
            "refs//heads/a", "refs/heads/../heads/a", "refs/heads/a.lock", "/refs/heads/a", "refs/@", "refs/heads/@",
            "refs/heads/\u{e4}", "refs/heads/a\\", "refs/heads/a\0 push-options", "refs/stash",
        ]).prop_map(str::to_owned),
    ];
    let space = prop_oneof![30 => Just(" "), 1 => Just("  "), 1 => Just("\t")];
    let end =
        prop_oneof![12 => Just(""), 4 => Just("\n"), 1 => prop::sample::select(vec!["\n\n", "\r\n", " "])];
    let with_capabilities = prop::bool::weighted(0.1);
    let command = (id.clone(), space, id, name, capabilities(), with_capabilities, end)
        .prop_map(|(old, space, new, name, capabilities, has_capabilities, end)| {
            let mut line = format!("{old}{space}{new} {name}").into_bytes();
            if has_capabilities {
                line.push(0);
                line.extend(capabilities);
            }
            line.extend(end.as_bytes());
            line
        })
        .boxed();
    let first_command = (command.clone(), capabilities())
        .prop_map(|(line, capabilities)| [line, vec![0], capabilities].concat());
    let other = prop::sample::select(vec![
        format!("shallow {first}").into_bytes(),
        format!("shallow {first}\n").into_bytes(),
        format!("shallow {first} x").into_bytes(),
        b"push-cert\0 push-options".to_vec(),
        b"ERR no".to_vec(),
        b"version 1".to_vec(),
        Vec::new(),
    ]);
    let line = prop_oneof![20 => command, 1 => other.clone()];
    let lines = (prop::option::weighted(0.05, other), first_command, prop::collection::vec(line, 0..2))
        .prop_map(|(before, first, after)| {
            before.into_iter().chain([first]).chain(after).collect::<Vec<_>>()
        });
    let written = (prop::bool::weighted(0.1), prop_oneof![100 => Just(0i8), 1 => Just(1), 1 => Just(-1)]);
    let separator = prop_oneof![
        30 => Just(FLUSH.to_vec()),
        1 => prop::sample::select(vec![b"0001".to_vec(), b"0002".to_vec(), b"0003".to_vec(), b"0004".to_vec(), b"00000000".to_vec()]),
    ];
    let options =
        prop::collection::vec(prop::sample::select(vec![&b"ci.skip"[..], b"a=b\n", b"\n", b"x\0y"]), 0..2);
    let has_section = any::<bool>();
    (prop::collection::vec(written, 8), lines, separator.clone(), has_section, options, separator).prop_map(
        |(written, lines, end, has_section, options, options_end)| {
            let mut written = written.into_iter().cycle();
            let mut write = |line: &[u8]| {
                let (upper, off) = written.next().unwrap_or_default();
                packet(line, upper, off)
            };
            let mut bytes: Vec<u8> = lines.iter().flat_map(|line| write(line)).collect();
            bytes.extend(end);
            if has_section {
                bytes.extend(options.iter().flat_map(|option| write(option)));
                bytes.extend(options_end);
            }
            bytes.extend(empty_pack());
            bytes
        },
    )
}

#[test]
fn nothing_passes_that_the_real_git_reads_otherwise() {
    let Some(repository) = Repository::new() else {
        crate::skip::report("there is no git here");
        return;
    };
    let [_, second] = &repository.commits;
    // Controls: both read a plain push alike, and both see its options.
    for (capabilities, has_options) in [("report-status", false), ("report-status push-options", true)] {
        let line = format!("{ZERO} {second} refs/heads/a\0 {capabilities} object-format=sha1");
        let mut push = [packet(line.as_bytes(), false, 0), FLUSH.to_vec()].concat();
        if has_options {
            push.extend([packet(b"ci.skip", false, 0), FLUSH.to_vec()].concat());
        }
        push.extend(empty_pack());
        let expected = Seen { commands: vec![format!("{ZERO} {second} refs/heads/a")], has_options };
        assert_eq!(repository.receive(&push), Some(expected));
        assert_eq!(Seen::of(&read(&push).unwrap().unwrap()), repository.receive(&push).unwrap());
    }

    let both = Cell::new(0);
    let config =
        Config { cases: CASES, max_shrink_iters: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&push(&repository.commits), |push| {
        let Ok(Some(commands)) = read(&push) else { return Ok(()) };
        let Some(seen) = repository.receive(&push) else { return Ok(()) };
        both.set(both.get() + 1);
        match Seen::of(&commands) == seen {
            true => Ok(()),
            false => Err(TestCaseError::fail(format!("read as {commands:?}, but git has read {seen:?}"))),
        }
    });
    result.unwrap();
    println!("{} of {CASES} pushes were taken by both", both.get());
    assert!(both.get() > 20, "too few pushes were taken by both to say anything");
}
