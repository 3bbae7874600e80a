use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::support::{Jail, User, users};

/// What Python says when it writes there: `ok`, or the error's name.
const WRITE: &str = "
import errno
def write(path):
    try:
        with open(path, 'w') as file: file.write('from inside')
        return 'ok'
    except OSError as error: return errno.errorcode[error.errno]
";

#[test]
fn the_job_writes_where_it_may_and_nowhere_else() {
    for user in users() {
        let (writable, readable) = (user.directory(), user.directory());
        fs::write(readable.path().join("there"), "from outside").unwrap();
        let script = format!(
            "{WRITE}
for path in ['{w}/new', '/tmp/new', '/run/new', '/var/tmp/new', '/dev/shm/new', '/dev/null', '/own/new']: assert write(path) == 'ok', path
for path in ['{r}/new', '{r}/there', '/new', '/usr/new', '/usr/bin/new', '/etc/note', '/own/note', '/proc/new']: assert write(path) != 'ok', path
print(open('{r}/there').read(), open('/etc/note').read(), open('/own/note').read())",
            w = writable.path().display(),
            r = readable.path().display(),
        );
        let jail = Jail::of(user).rw(writable.path()).ro(readable.path());
        let jail = jail.word("own:/own").word("file:/etc/note:rooted").word("file:/own/note:floating");
        jail.python(&script).exits(0).prints("from outside rooted floating");
        assert_eq!(fs::read_to_string(writable.path().join("new")).unwrap(), "from inside");
    }
}

#[test]
fn a_file_written_inside_belongs_to_the_workspaces_owner_outside() {
    for user in users() {
        let workspace = user.directory();
        Jail::of(user)
            .rw(workspace.path())
            .sh(&format!("echo > {}/new", workspace.path().display()))
            .exits(0);
        let owner = |path: &Path| fs::metadata(path).map(|of| (of.uid(), of.gid())).unwrap();
        assert_eq!(owner(&workspace.path().join("new")), owner(workspace.path()), "{user:?}");
    }
}

#[test]
fn roots_private_directory_is_readable_to_its_job_and_a_strangers_file_in_it_is_not() {
    for user in users().into_iter().filter(|user| *user == User::Root) {
        let private = user.directory();
        fs::write(private.path().join("mine"), "mine").unwrap();
        fs::write(private.path().join("other"), "other").unwrap();
        fs::set_permissions(private.path(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(private.path().join("mine"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(private.path().join("other"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(private.path().join("other"), Some(4711), Some(4711)).unwrap();
        let script = format!("cd {}; cat mine; cat other", private.path().display());
        Jail::of(user).ro(private.path()).sh(&script).exits(1).prints("mine").complains("Permission denied");
    }
}

#[test]
fn every_bind_is_nosuid_and_nodev() {
    for user in users() {
        let directory = user.directory();
        let script = format!(
            "
for line in open('/proc/self/mountinfo'):
    fields = line.split()
    if fields[4] in ('/usr', '{0}'): print(fields[4] == '/usr', *[flag for flag in ('ro', 'nosuid', 'nodev') if flag in fields[5].split(',')])",
            directory.path().display()
        );
        Jail::of(user)
            .rw(directory.path())
            .python(&script)
            .exits(0)
            .prints("True ro nosuid nodev\nFalse nosuid nodev");
    }
}

#[test]
fn a_source_behind_a_link_is_refused_and_its_real_path_is_not() {
    for user in users() {
        let directory = user.directory();
        fs::create_dir(directory.path().join("real")).unwrap();
        fs::create_dir(directory.path().join("real/below")).unwrap();
        symlink("real", directory.path().join("link")).unwrap();
        for through in ["link", "link/below"] {
            let word = format!("ro:{}:/there", directory.path().join(through).display());
            Jail::of(user).word(word).run(["true"]).exits(125).complains("symbolic link");
        }
        let word = format!("ro:{}:/there", directory.path().join("real/below").display());
        Jail::of(user).word(word).run(["true"]).exits(0);
    }
}

#[test]
fn links_among_the_targets_lead_to_places_in_the_jail_only() {
    for user in users() {
        let (workspace, outside) = (user.directory(), user.directory());
        fs::write(outside.path().join("note"), "bound").unwrap();
        // In the workspace, from an earlier job: a link to a place on the host.
        symlink(outside.path(), workspace.path().join("escape")).unwrap();
        let word =
            format!("ro:{}/note:{}/escape/planted", outside.path().display(), workspace.path().display());
        // The link's path does not exist inside, and is not made on the host.
        Jail::of(user).rw(workspace.path()).word(word).run(["true"]).exits(125);
        assert!(!outside.path().join("planted").exists());
        // Through a link of the plan's own.
        let word = format!("ro:{}/note:/short/note", outside.path().display());
        let jail = Jail::of(user).word("dir:/long/way").word("link:/short:/long/way").word(word);
        jail.run(["cat", "/long/way/note"]).exits(0).prints("bound");
    }
}

#[test]
fn nothing_is_made_on_the_host_below_a_read_only_bind() {
    for user in users() {
        let directory = user.directory();
        let word = format!("ro:/usr/bin:{}/new", directory.path().display());
        Jail::of(user)
            .ro(directory.path())
            .word(word)
            .run(["true"])
            .exits(125)
            .complains("Read-only file system");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_file_inside_a_writable_bind_can_be_protected() {
    for user in users() {
        let workspace = user.directory();
        let protected = workspace.path().join("hooks");
        fs::create_dir(&protected).unwrap();
        let script =
            format!("{WRITE}\nprint(write('{0}/hooks/new'), write('{0}/new'))", workspace.path().display());
        Jail::of(user).rw(workspace.path()).ro(&protected).python(&script).exits(0).prints("EROFS ok");
        let rename = format!("mv {0}/hooks {0}/other", workspace.path().display());
        Jail::of(user).rw(workspace.path()).ro(&protected).sh(&rename).exits(1);
    }
}

#[test]
fn changes_of_an_overlay_go_elsewhere() {
    for user in users() {
        let (lower, changes) = (user.directory(), user.directory());
        fs::write(lower.path().join("kept"), "before\n").unwrap();
        let upper = changes.path().join("up,per\\x");
        fs::create_dir(&upper).unwrap();
        let owner = fs::metadata(changes.path()).unwrap();
        for path in [upper.clone(), lower.path().join("kept")] {
            std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let word = format!("overlay:{}:{}:/project", lower.path().display(), upper.display());
        let script =
            "cat /project/kept; echo after > /project/kept; echo new > /project/new; cat /project/kept";
        Jail::of(user).word(word).sh(script).exits(0).prints("before\nafter");
        assert_eq!(fs::read_to_string(lower.path().join("kept")).unwrap(), "before\n");
        assert!(!lower.path().join("new").exists());
        assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "new\n");
    }
}

#[test]
fn names_that_are_not_utf8_arrive_unchanged() {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    for user in users() {
        let directory = user.directory();
        let name = std::ffi::OsStr::from_bytes(b"na\xffme");
        fs::write(directory.path().join(name), "read").unwrap();
        let mut word = b"ro:".to_vec();
        word.extend(directory.path().join(name).as_os_str().as_bytes());
        word.extend(b":/in\xfeside");
        let jail = Jail::of(user)
            .word(std::ffi::OsString::from_vec(word))
            .word(std::ffi::OsString::from_vec(b"env:VALUE=\xff\xfe".to_vec()));
        let script = "import os; print(open(b'/in\\xfeside').read(), os.environb[b'VALUE'])";
        jail.python(script).exits(0).prints("read b'\\xff\\xfe'");
    }
}

#[test]
fn many_binds_are_made_and_each_is_read_only() {
    const MANY: usize = 1500;
    for user in users() {
        let store = user.directory();
        fs::set_permissions(store.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut jail = Jail::of(user);
        for number in 0..MANY {
            let path = store.path().join(number.to_string());
            fs::create_dir(&path).unwrap();
            jail = jail.word(format!("ro:{}:/nix/store/{number}", path.display()));
        }
        let script = "
import os
mounts = [line.split() for line in open('/proc/self/mountinfo') if ' /nix/store/' in line]
print(len(mounts), all('ro' in fields[5].split(',') for fields in mounts), len(os.listdir('/nix/store')))";
        jail.python(script).exits(0).prints("1500 True 1500");
    }
}

#[test]
fn a_kernel_without_the_new_mount_calls_gives_the_same_tree() {
    // Filtered out for the launcher and all it starts, as an old kernel would.
    let wrapper = include_str!("without_calls.py");
    let (writable, readable) = (User::Ordinary.directory(), User::Ordinary.directory());
    let script = format!(
        "{WRITE}
print(write('{w}/new'), write('{r}/new'), write('/own/note'), open('/own/note').read(), write('/proc/sys/kernel/hostname'))",
        w = writable.path().display(),
        r = readable.path().display(),
    );
    let jail = Jail::of(User::Ordinary).rw(writable.path()).ro(readable.path());
    let jail = jail.word("own:/own").word("file:/own/note:text");
    jail.wrapped(["/usr/bin/python3", "-c", wrapper, "428", "429", "442"])
        .python(&script)
        .exits(0)
        .prints("ok EROFS EROFS text EROFS");
}

#[test]
fn a_missing_source_is_named() {
    for user in users() {
        Jail::of(user).word("ro:/no/such/thing:/x").run(["true"]).exits(125).complains("\"/no/such/thing\"");
    }
}
