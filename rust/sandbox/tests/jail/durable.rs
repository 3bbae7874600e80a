//! Mounts that last: what the host replaces stays as protected as it was.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::support::{Jail, User, users};

/// Waits until the file at `path` holds `text` and is on a read-only mount, and says what a write to it comes to.
const PROTECTED: &str = "
import os, sys, time
def until(condition):
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end: sys.exit('nothing happened in 30 s')
        time.sleep(.001)
def seen(path, text):
    try: return open(path).read() == text and bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError: return False
def write(path):
    try: open(path, 'a').write('x'); return 'written'
    except OSError as error: return os.strerror(error.errno)
def protected(path, text):
    until(lambda: seen(path, text))
    print(write(path), flush=True)
";

/// A directory like a repository's, in a workspace: `git/config` and `git/hooks` are protected.
fn workspace(user: User) -> (tempfile::TempDir, Jail) {
    let directory = user.directory();
    let path = directory.path().canonicalize().unwrap();
    make_git(&path.join("git"), "one");
    let words = ["git", "git/hooks", "git/config"].map(|name| path.join(name).display().to_string());
    let [git, hooks, config] = &words;
    let jail = Jail::of(user)
        .rw(&path)
        .word(format!("given:{}", path.display()))
        .word(format!("rw:{git}"))
        .word(format!("ro:{hooks}"))
        .word(format!("ro:{config}"));
    let jail = words.iter().fold(jail, |jail, word| jail.word(format!("durable:{word}")));
    (directory, jail)
}

/// Everything belongs to whom the temporary directory belongs.
fn make_git(git: &Path, text: &str) {
    fs::create_dir_all(git.join("hooks")).unwrap();
    fs::write(git.join("config"), text).unwrap();
    fs::write(git.join("hooks/pre-commit"), text).unwrap();
    give(git);
}

fn give(path: &Path) {
    use std::os::unix::fs::{MetadataExt, lchown};
    let owner = fs::metadata(path.parent().unwrap()).unwrap();
    lchown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

/// A job that has printed its first line.
struct Started {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Started {
    fn python(jail: &Jail, script: &str) -> Started {
        let script = format!("{PROTECTED}\nprint('ready', flush=True)\n{script}");
        let mut command = jail.command(["/usr/bin/python3", "-c", &script]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut started = Started { child, lines };
        assert_eq!(started.line(), "ready");
        started
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Its exit code and what it complains of.
    fn ends(mut self) -> (Option<i32>, String) {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// As git and editors do it.
fn save(path: &Path, text: &str) {
    let lock = path.with_extension("lock");
    fs::write(&lock, text).unwrap();
    give(&lock);
    fs::rename(lock, path).unwrap();
}

#[test]
fn a_file_that_the_host_replaces_by_rename_stays_read_only() {
    for user in users() {
        let (directory, jail) = workspace(user);
        let config = directory.path().join("git/config");
        let script = format!("for text in ['two', 'three']: protected('{}', text)", config.display());
        let mut job = Started::python(&jail, &script);
        for text in ["two", "three"] {
            save(&config, text);
            assert_eq!(job.line(), "Read-only file system", "{user:?}");
        }
        assert_eq!(job.ends(), (Some(0), String::new()), "{user:?}");
        assert_eq!(fs::read_to_string(config).unwrap(), "three");
    }
}

#[test]
fn a_file_that_the_host_removes_and_writes_again_stays_read_only() {
    for user in users() {
        let (directory, jail) = workspace(user);
        let config = directory.path().join("git/config");
        let script = format!(
            "until(lambda: not os.path.exists('{0}'))\nprint('gone', flush=True)\nprotected('{0}', 'two')",
            config.display()
        );
        let mut job = Started::python(&jail, &script);
        fs::remove_file(&config).unwrap();
        assert_eq!(job.line(), "gone");
        fs::write(&config, "two").unwrap();
        give(&config);
        assert_eq!(job.line(), "Read-only file system", "{user:?}");
        assert_eq!(job.ends(), (Some(0), String::new()), "{user:?}");
    }
}

#[test]
fn a_whole_directory_that_the_host_replaces_is_protected_as_before() {
    for user in users() {
        let (directory, jail) = workspace(user);
        let git = directory.path().join("git");
        let script = format!(
            "for name in ['config', 'hooks/pre-commit']: protected('{0}/' + name, 'two')\n\
             try: os.rename('{0}', '{0}-old')\n\
             except OSError as error: print(os.strerror(error.errno))\n\
             print(write('{0}/index'))",
            git.display()
        );
        let mut job = Started::python(&jail, &script);
        make_git(&directory.path().join("new"), "two");
        fs::rename(&git, directory.path().join("before")).unwrap();
        fs::rename(directory.path().join("new"), &git).unwrap();
        assert_eq!(job.line(), "Read-only file system", "{user:?}");
        assert_eq!(job.line(), "Read-only file system", "{user:?}");
        assert_eq!(job.line(), "Device or resource busy", "{user:?}");
        assert_eq!(job.line(), "written", "{user:?}");
        assert_eq!(job.ends(), (Some(0), String::new()), "{user:?}");
    }
}

#[test]
fn a_job_that_opens_the_new_file_before_it_is_protected_is_ended() {
    for user in users() {
        let (directory, jail) = workspace(user);
        let config = directory.path().join("git/config");
        // It tries all the time, and says so if it still has the file of that name after a while.
        let script = format!(
            "import threading\nthreading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()\n\
             while True:\n  try: held = os.open('{0}', os.O_WRONLY)\n  except OSError: continue\n  time.sleep(1)\n  \
             if os.path.sameopenfile(held, os.open('{0}', os.O_RDONLY)): print('won', flush=True)",
            config.display()
        );
        let mut job = Started::python(&jail, &script);
        for number in 0..20 {
            save(&config, &number.to_string());
            // Not to wait for anything: time in which the job can find the file unprotected.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        drop(job.child.stdin.take());
        assert_eq!(job.line(), "", "{user:?}");
        let (code, complaint) = job.ends();
        match code {
            Some(125) => {
                assert!(complaint.contains("before it was read-only again"), "{user:?}: {complaint}")
            }
            code => assert_eq!((code, complaint), (Some(0), String::new()), "{user:?}"),
        }
        println!(
            "{user:?}: {}",
            if code == Some(125) { "the job won once, and was ended" } else { "the job never won" }
        );
    }
}

#[test]
fn the_watcher_is_no_process_that_a_job_sees() {
    for user in users() {
        let (_directory, jail) = workspace(user);
        jail.python("import os; print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()))")
            .exits(0)
            .prints("[1, 2]");
    }
}

#[test]
fn what_is_mounted_below_a_given_directory_must_be_there() {
    for user in users() {
        let (directory, beside) = (user.directory(), user.directory());
        let path = directory.path().canonicalize().unwrap();
        fs::create_dir(path.join("there")).unwrap();
        std::os::unix::fs::symlink("there", path.join("link")).unwrap();
        give(&path.join("there"));
        let target = |name: &str| format!("ro:{}:{}/{name}", beside.path().display(), path.display());
        let jail = || Jail::of(user).rw(&path).word(format!("given:{}", path.display()));
        jail().word(target("there")).sh(&format!("touch {}/there/x", path.display())).exits(1);
        for name in ["missing", "link", "missing/deeper"] {
            jail().word(target(name)).sh("true").exits(125).complains("create it on the host");
            assert!(!path.join("missing").exists(), "{name}");
        }
    }
}
