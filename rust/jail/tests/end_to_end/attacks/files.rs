//! Paths that change under the launcher's feet, and ways out of the workspace (attacks 22, 23).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::{armed, observed, program};
use crate::support::backend::is_container;
use crate::support::{Jail, random, skip};

#[test]
fn no_path_leads_out_of_the_workspace() {
    needs!("python3");
    let secret = random("private-");
    let jail = armed().guards(&secret).file("here.txt", "here");
    let private = jail.home().join("private.txt");
    fs::write(&private, &secret).unwrap();
    symlink(&private, jail.project().join("file-link")).unwrap();
    symlink(jail.home(), jail.project().join("directory-link")).unwrap();
    symlink("../home/private.txt", jail.project().join("relative-link")).unwrap();
    symlink("here.txt", jail.project().join("inner-link")).unwrap();
    let script = r#"
private, = sys.argv[1:]
def read(path):
    with open(path) as file:
        return file.read(4)
for path in ("file-link", "directory-link/private.txt", "relative-link", private, "../home/private.txt", "/proc/self/cwd/../home/private.txt", "/proc/self/root" + private,
             "/.." + private, "./././../project/../home/private.txt"):
    fact(path.replace(private, "PRIVATE"), tried(read, path))
def hop():
    os.symlink(os.path.dirname(private), "new-link")
    read("new-link/private.txt")
fact("a new link", tried(hop))
fact("a hard link", tried(os.link, private, "hard-link"))
def handle():
    here = os.open("..", os.O_PATH)
    os.close(os.open("home/private.txt", os.O_RDONLY, dir_fd=here))
fact("from a descriptor", tried(handle))
fact("move the workspace", tried(os.rename, os.getcwd(), os.getcwd() + "-moved"))
fact("beside the workspace", sorted(os.listdir("..")))
fact("write beside it", tried(lambda: open("../made.txt", "w").close()))
fact("inner link", read("inner-link"))
fact("here", read("here.txt"))
"#;
    let ended = jail.run(program(script, &[private.to_str().unwrap()]));
    observed(
        &ended,
        &[
            ("file-link", "ENOENT"),
            ("directory-link/private.txt", "ENOENT"),
            ("relative-link", "ENOENT"),
            ("PRIVATE", "ENOENT"),
            ("../home/private.txt", "ENOENT"),
            ("/proc/self/cwd/../home/private.txt", "ENOENT"),
            ("/proc/self/rootPRIVATE", "ENOENT"),
            ("/..PRIVATE", "ENOENT"),
            ("./././../project/../home/private.txt", "ENOENT"),
            ("a new link", "ENOENT"),
            ("a hard link", "ENOENT"),
            ("from a descriptor", "ENOENT"),
            // In a container its parent is root's.
            ("move the workspace", if is_container() { "EACCES" } else { "EBUSY" }),
            ("beside the workspace", "['project']"),
            // A directory of the jail's own, which nobody else sees.
            ("write beside it", if is_container() { "EACCES" } else { "ok" }),
            ("inner link", "here"),
            ("here", "here"),
        ],
    );
    assert_eq!(fs::read_to_string(&private).unwrap(), secret);
    assert!(!jail.place().join("made.txt").exists());
}

/// Swaps the two names, again and again, until it is dropped.
struct Swapping(Arc<AtomicBool>, Option<std::thread::JoinHandle<u64>>);

impl Swapping {
    fn of(one: &Path, other: &Path) -> Swapping {
        let (go_on, one, other) = (Arc::new(AtomicBool::new(true)), one.to_owned(), other.to_owned());
        let flag = go_on.clone();
        let work = move || {
            let mut count = 0;
            while flag.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
                count += 1;
            }
            count
        };
        Swapping(go_on, Some(std::thread::spawn(work)))
    }

    fn times(mut self) -> u64 {
        self.0.store(false, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap()
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_link_that_comes_in_between_is_not_bound() {
    let secret = random("private-");
    let jail = Jail::new().guards(&secret).file(".envrc", "harmless").file(".git/config", "harmless");
    let private = jail.home().join("private.txt");
    fs::write(&private, &secret).unwrap();
    fs::create_dir(jail.home().join("dot-git")).unwrap();
    fs::write(jail.home().join("dot-git/config"), &secret).unwrap();
    let project = jail.project();
    symlink(&private, project.join("link")).unwrap();
    symlink(jail.home().join("dot-git"), project.join("directory-link")).unwrap();
    let read = "cat .envrc .git/config 2>/dev/null; true";
    // The control: left alone, both are there.
    jail.script(read).succeeds().prints_only("harmlessharmless");
    // Another job in the same workspace could do this. Whatever the launcher finds, it never binds what a link shows.
    let file = Swapping::of(&project.join(".envrc"), &project.join("link"));
    let directory = Swapping::of(&project.join(".git"), &project.join("directory-link"));
    let mut started = 0;
    for _ in 0..40 {
        // That no secret is in its output is part of every end.
        let ended = jail.script(read);
        let code = ended.summary["code"].as_i64().unwrap_or(125);
        assert!([0, 125].contains(&code), "{ended}");
        started += usize::from(code == 0);
    }
    assert!(file.times() > 100 && directory.times() > 100, "nothing was swapped in between");
    eprintln!("{started} of 40 jobs started; the others' launchers saw a link");
}

#[test]
fn binds_and_workspaces_that_are_links_are_what_they_lead_to_and_nothing_more() {
    let jail = Jail::new();
    let private = jail.home().join("private");
    fs::create_dir(&private).unwrap();
    fs::write(private.join("key"), "key").unwrap();
    fs::set_permissions(private.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    // A link to the home directory is the home directory: too much for a workspace.
    let link = jail.place().join("link-to-home");
    symlink(jail.home(), &link).unwrap();
    let start = |options: &[&str]| {
        let home = jail.home();
        let jail = Jail::new().variable("HOME", &home).options(options.iter().copied());
        jail.script("echo started")
    };
    start(&["--workspace", link.to_str().unwrap()]).exits(125).says("home directory").prints_only("");
    start(&["--workspace", &format!("{}/..", private.display())]).exits(125).says("home directory");
    start(&["--workspace", &format!("{}/../..", private.display())]).exits(125).says("home directory");
    start(&["--workspace", "/"]).exits(125).says("whole file system");
    start(&["--workspace", "/proc/self/root"]).exits(125).says("whole file system");
    start(&["--workspace", private.to_str().unwrap()]).succeeds().prints_only("started\n");
}

#[test]
fn a_bind_is_not_led_out_of_the_workspace_by_a_link_in_it() {
    let jail = Jail::new();
    let private = jail.home().join("private");
    fs::create_dir(&private).unwrap();
    fs::write(private.join("key"), "key").unwrap();
    // As an earlier job could have made them.
    symlink(&private, jail.project().join("data")).unwrap();
    fs::create_dir(jail.project().join("deep")).unwrap();
    symlink(jail.home(), jail.project().join("deep/er")).unwrap();
    symlink("deep", jail.project().join("inner")).unwrap();
    let start = |bind: &str| {
        let home = jail.home();
        let jail =
            Jail::new().variable("HOME", &home).options(["--workspace", jail.project().to_str().unwrap()]);
        jail.options(["--ro-bind", bind]).script("echo started")
    };
    let project = jail.project();
    for bind in ["data", "data/key", "deep/er/private", "inner/er/private"] {
        let bind = format!("{}/{bind}", project.display());
        start(&bind).exits(125).says("leads out of the workspace").prints_only("");
    }
    // The operator's own word for a place outside is another thing, and a link that stays inside too.
    for bind in [
        private.display().to_string(),
        format!("{}/../home/private", project.display()),
        format!("{}/inner", project.display()),
    ] {
        start(&bind).succeeds().prints_only("started\n");
    }
}

#[test]
fn what_the_next_job_may_do_is_not_this_one_s_to_write() {
    let jail = Jail::new().file("rules.txt", "allow api.test\n").options(["--policy", "rules.txt"]);
    let ended = jail
        .script("exec 2>/dev/null; echo 'allow *' >>rules.txt; rm -f rules.txt; mv rules.txt x; echo fine");
    ended.succeeds().prints_only("fine\n");
    assert_eq!(fs::read_to_string(jail.project().join("rules.txt")).unwrap(), "allow api.test\n");
    // One beside the workspace is none of it.
    fs::write(jail.place().join("beside.txt"), "allow beside.test\n").unwrap();
    jail.options(["--policy", "../beside.txt"]).script("echo fine").succeeds().prints_only("fine\n");
}

#[test]
fn the_learnt_policy_is_not_written_where_a_link_of_the_job_leads() {
    let jail = Jail::new().options(["--learn", "learnt.txt"]);
    let private = jail.home().join("private.txt");
    fs::write(&private, "private").unwrap();
    let learnt = jail.project().join("learnt.txt");
    let link = format!("ln -sf {} learnt.txt", private.display());
    for _ in 0..2 {
        // The second time the link is there before the job, as an earlier one may have left it.
        jail.script(&link).succeeds();
        assert_eq!(fs::read_to_string(&private).unwrap(), "private");
        assert!(fs::read_to_string(&learnt).unwrap().starts_with("# Learnt"));
        fs::remove_file(&learnt).unwrap();
        symlink(&private, &learnt).unwrap();
    }
    // Nor is a directory on the way followed.
    symlink(jail.home(), jail.project().join("out")).unwrap();
    let ended = Jail::new().options(["--workspace", jail.project().to_str().unwrap(), "--learn"]);
    let file = jail.project().join("out/learnt.txt");
    let ended = ended.options([file.to_str().unwrap()]).script("echo started");
    ended.exits(125).says("leads out of the workspace").prints_only("");
    assert!(!jail.home().join("learnt.txt").exists());
}

#[test]
fn names_that_a_job_chose_are_told_without_what_acts_on_a_terminal() {
    let jail = Jail::new();
    let ended = jail.script(
        r#"name=.git/modules/$(printf 'a\033]0;x\007\302\233b\njail: fine \377'); mkdir -p "$name"; echo x >"$name/HEAD"; echo x >"$name/config""#,
    );
    ended.succeeds().says("can run on this host later");
    let told = ended.summary["changedFilesThatRunLater"].to_string();
    assert!(told.contains(".git/modules/a") && told.contains("/config"), "{ended}");
    for line in ended.stderr.lines() {
        assert!(!line.contains(|character: char| character.is_control()), "{line:?}");
        assert!(!line.starts_with("jail: fine"), "{ended}");
    }
}

#[test]
fn what_runs_later_is_protected_also_where_it_is_reached_by_another_name() {
    needs!("python3");
    let jail = armed()
        .file(".git", "gitdir: ../elsewhere/.git/worktrees/project\n")
        .file(".claude/settings.json", "{}")
        .file(".mcp.json", "{}")
        .file(".envrc", "original")
        .file("src/main.txt", "original");
    fs::hard_link(jail.project().join(".envrc"), jail.project().join("second-name")).unwrap();
    let script = r#"
def write(path):
    with open(path, "w") as file:
        file.write("changed")
def refused(action, *arguments):
    # By the mount, or before it by Landlock where the kernel has it.
    result = tried(action, *arguments)
    return "refused" if result in ("EROFS", "EACCES", "EBUSY") else result
for path in (".git", ".claude/settings.json", ".claude/settings.local.json", ".mcp.json", ".envrc", "src/../.envrc", "src/main.txt"):
    fact(path, refused(write, path))
fact("by descriptor", refused(lambda: write(f"/proc/self/fd/{os.open('.envrc', os.O_RDONLY)}")))
fact("truncate", refused(os.truncate, ".envrc", 0))
fact("remove", refused(os.unlink, ".envrc"))
fact("rename over", refused(lambda: (write("new"), os.rename("new", ".envrc"))))
fact("rename away", refused(os.rename, ".claude", ".claude-old"))
fact("exchange", call(316, -100, b".envrc", -100, b"src/main.txt", 2))
fact("mode", refused(os.chmod, ".envrc", 0o777))
fact("times", refused(os.utime, ".envrc", (0, 0)))
os.makedirs(".vscode"); write(".vscode/tasks.json")
os.makedirs(".git-new/hooks")
"#;
    let ended = jail.run(program(script, &[]));
    let refused = [
        ".git",
        ".claude/settings.json",
        ".claude/settings.local.json",
        ".mcp.json",
        ".envrc",
        "src/../.envrc",
        "by descriptor",
        "truncate",
        "remove",
        "rename over",
        "rename away",
        "mode",
        "times",
    ];
    let mut expected: Vec<(&str, &str)> = refused.iter().map(|&name| (name, "refused")).collect();
    expected.insert(6, ("src/main.txt", "ok"));
    expected.insert(expected.len() - 2, ("exchange", "EBUSY"));
    observed(&ended, &expected);
    // What was not there before cannot be covered; it is told.
    assert_eq!(ended.summary["changedFilesThatRunLater"], serde_json::json!([".vscode"]), "{ended}");
    assert_eq!(fs::read_to_string(jail.project().join(".envrc")).unwrap(), "original");

    // By its second name the file can be written; that it changed is told all the same.
    let ended = jail.run(program("open('second-name', 'w').write('changed')", &[]));
    let told = ended.succeeds().summary["changedFilesThatRunLater"].to_string();
    assert!(told.contains(".envrc"), "{ended}");
}

#[test]
fn repositories_in_the_repository_and_behind_links_are_protected_too() {
    let submodule = ".git/modules/libraries/one";
    let jail = Jail::new()
        .file(".git/config", "original\n")
        .file(&format!("{submodule}/HEAD"), "ref: refs/heads/main\n")
        .file(&format!("{submodule}/config"), "original\n")
        .file(&format!("{submodule}/hooks/post-checkout"), "original\n")
        .file(&format!("{submodule}/modules/inner/HEAD"), "ref: refs/heads/main\n")
        .file(&format!("{submodule}/modules/inner/config"), "original\n")
        .file(".git/worktrees/other/HEAD", "ref: refs/heads/other\n")
        .file(".git/worktrees/other/gitdir", "original\n")
        .file("settings/tasks.json", "original\n");
    symlink("settings", jail.project().join(".vscode")).unwrap();
    let protected = [
        format!("{submodule}/config"),
        format!("{submodule}/hooks/post-checkout"),
        format!("{submodule}/modules/inner/config"),
        ".git/worktrees/other/gitdir".to_owned(),
        "settings/tasks.json".to_owned(),
        ".vscode/tasks.json".to_owned(),
    ];
    let attempts: String = protected
        .iter()
        .map(|path| format!("echo changed > {path}; rm -f {path}; mv -f {path} x\n"))
        .collect();
    let renames = ["libraries", "libraries/one", "libraries/one/hooks"]
        .map(|path| format!("mv .git/modules/{path} .git/moved\n"))
        .concat();
    // The control: what git does there every day works.
    let daily = format!(
        "echo ref > {submodule}/HEAD.lock && mv {submodule}/HEAD.lock {submodule}/HEAD && echo x > {submodule}/index && echo fine"
    );
    let ended = jail.script(&format!("exec 2>/dev/null\n{attempts}{renames}mv settings moved\n{daily}"));
    ended.succeeds().prints_only("fine\n");
    for path in &protected {
        assert_eq!(fs::read_to_string(jail.project().join(path)).unwrap(), "original\n", "{path}{ended}");
    }
    assert_eq!(ended.summary["changedFilesThatRunLater"], serde_json::json!([]), "{ended}");

    // A repository that is itself behind a link in the workspace.
    let jail = Jail::new()
        .file("repository/config", "original\n")
        .file("repository/hooks/post-checkout", "original\n");
    symlink("repository", jail.project().join(".git")).unwrap();
    let ended = jail.script(
        "exec 2>/dev/null; for file in config hooks/post-checkout; do echo changed > .git/$file; echo changed > repository/$file; done
         mv repository moved; rm .git; mkdir .git && echo changed > .git/config; echo x > repository/index && echo fine",
    );
    ended.succeeds().prints_only("fine\n");
    for path in ["repository/config", "repository/hooks/post-checkout"] {
        assert_eq!(fs::read_to_string(jail.project().join(path)).unwrap(), "original\n", "{path}{ended}");
    }
    // The link can be replaced by a repository of the job's own: that is told.
    assert!(ended.summary["changedFilesThatRunLater"].to_string().contains(".git/config"), "{ended}");
}

#[test]
fn programs_of_the_workspace_and_of_a_bound_directory_run() {
    let tools = tempfile::tempdir().unwrap();
    let tool = |directory: &Path, says: &str| {
        fs::create_dir_all(directory).unwrap();
        let path = directory.join("tool");
        fs::write(&path, format!("#!/bin/sh\necho {says}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let jail = Jail::new();
    let own = tool(&jail.project().join("node_modules/.bin"), "workspace");
    let bound = tool(&tools.path().join("bin"), "bound");
    let jail = jail
        .host(&own)
        .host(&bound)
        .options(["--ro-bind".to_owned(), tools.path().canonicalize().unwrap().display().to_string()]);
    jail.script(&format!("{own}; {bound}")).succeeds().prints_only("workspace\nbound\n");
}

#[test]
fn binds_below_the_workspace_lie_over_it() {
    let jail = Jail::new()
        .file("data/mine", "original\n")
        .file(".env", "SECRET=1\n")
        .file("node_modules/x", "the host's\n")
        .file(".git/hooks/post-checkout", "original\n")
        .file(".git/config", "");
    let (empty, modules) = (jail.place().join("empty"), jail.place().join("modules"));
    fs::write(&empty, "").unwrap();
    fs::create_dir(&modules).unwrap();
    fs::write(modules.join("x"), "another\n").unwrap();
    let project = jail.project();
    let at = |name: &str| project.join(name).display().to_string();
    let bind = |source: &Path, name: &str| format!("{}:{}", source.display(), at(name));
    let jail = jail
        .options(["--ro-bind".to_owned(), at("data")])
        .options(["--ro-bind".to_owned(), bind(&empty, ".env")])
        .options(["--bind".to_owned(), bind(&modules, "node_modules")])
        .options(["--bind".to_owned(), at(".git")]);
    let ended = jail.script(
        "(echo changed > data/mine) 2>/dev/null; (echo changed > .git/hooks/post-checkout) 2>/dev/null
         cat data/mine .env node_modules/x; echo new > node_modules/y; echo x > .git/index && echo fine",
    );
    ended.succeeds().prints_only("original\nanother\nfine\n");
    assert_eq!(fs::read_to_string(modules.join("y")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(project.join(".git/hooks/post-checkout")).unwrap(), "original\n");

    // A place that is not there is not made on the host, and one behind a job's link is no place.
    for name in ["missing", "link"] {
        let jail = Jail::new();
        symlink("data", jail.project().join("link")).unwrap();
        let target = jail.project().join(name);
        let words = ["--ro-bind".to_owned(), format!("{}:{}", empty.display(), target.display())];
        jail.options(words).script("echo ran").exits(125).says("cannot mount a bind").never_prints("ran");
        assert!(name == "link" || !target.exists());
    }
}

#[test]
fn a_protected_file_that_the_host_replaces_stays_protected() {
    if is_container() {
        skip::report("an engine's container has nobody who could mount");
        return;
    }
    let jail = Jail::new().file(".git/config", "original\n").file(".git/hooks/x", "");
    let config = jail.project().join(".git/config");
    let mut running = jail.start_script(
        "echo ready; i=0; while ! read line <.git/config || [ \"$line\" = original ]; do sleep .05; done
         until ! (echo changed >>.git/config) 2>/dev/null || [ $i -ge 100 ]; do i=$((i+1)); sleep .05; done
         (echo changed >>.git/config) 2>/dev/null || echo refused",
    );
    running.wait_for("ready\n");
    let lock = jail.project().join(".git/config.lock");
    fs::write(&lock, "replaced\n").unwrap();
    fs::rename(&lock, &config).unwrap();
    let ended = running.ends();
    ended.succeeds().prints("refused\n");
    // Who it was that changed it cannot be told.
    assert_eq!(ended.summary["changedFilesThatRunLater"], serde_json::json!([".git/config"]), "{ended}");
}

#[test]
fn a_program_with_rights_of_its_own_never_holds_the_job_s_bytes() {
    needs!("python3");
    let jail = armed();
    let set = |name: &str, mode: u32| {
        let path = jail.project().join(name);
        fs::write(&path, [0; 4096]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let (user, group, plain) = (set("user", 0o4755), set("group", 0o2755), set("plain", 0o755));
    let capable = set("capable", 0o755);
    // cap_net_raw+ep, version 2 of the attribute.
    let capabilities = [[1, 0, 0, 2], [0, 32, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
    let flags = rustix::fs::XattrFlags::empty();
    let has_capabilities =
        rustix::fs::setxattr(&capable, c"security.capability", &capabilities, flags).is_ok();
    let script = r#"
import mmap
def change(name):
    with open(name, "r+b") as file, mmap.mmap(file.fileno(), 4096) as shared:
        shared[0:1] = b"J"
# The mount is read-only, and root's job is not the owner of what is.
refused = {"EROFS": "refused", "EACCES": "refused"}
for name in ("user", "group", "capable", "plain"):
    fact(name, refused.get(tried(change, name), "ok"))
fact("renamed", tried(os.rename, "user", "moved"))
fact("set-user-id", tried(os.chmod, "plain", 0o4755))
"#;
    let ended = jail.run(program(script, &[]));
    let refused = "refused";
    observed(
        &ended,
        &[
            ("user", refused),
            ("group", refused),
            ("capable", if has_capabilities { refused } else { "ok" }),
            ("plain", "ok"),
            ("renamed", "EBUSY"),
            ("set-user-id", "EPERM"),
        ],
    );
    let first = |path: &Path| fs::read(path).unwrap()[0];
    assert_eq!([first(&user), first(&group), first(&plain)], [0, 0, b'J']);
    assert_eq!(first(&capable), if has_capabilities { 0 } else { b'J' });
    assert_eq!(fs::metadata(&user).unwrap().permissions().mode() & 0o7777, 0o4755);
}

#[test]
fn a_default_access_control_list_of_the_job_s_is_reported() {
    needs!("python3");
    let script = r#"
entry = lambda tag: bytes([tag, 0, 7, 0, 255, 255, 255, 255])
acl = bytes([2, 0, 0, 0]) + entry(1) + entry(4) + entry(32)
os.mkdir("open")
fact("set", tried(os.setxattr, "open", "system.posix_acl_default", acl))
"#;
    let ended = armed().run(program(script, &[]));
    let told = ended.succeeds().text();
    if told.contains("EOPNOTSUPP") {
        skip::report("this file system has no access control lists");
        return;
    }
    observed(&ended, &[("set", "ok")]);
    assert_eq!(ended.summary["newDefaultAcls"], serde_json::json!(["open"]), "{ended}");
    ended.says("default access control list");
}
