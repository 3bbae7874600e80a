//! The jail's file system: the workspace, the home directory, binds, and nothing else of the host.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::backend::{is_container, is_relayed};
use crate::support::{Ended, Jail, skip};

#[test]
fn the_workspace_is_at_its_own_path_and_what_the_job_writes_is_the_operator_s() {
    let jail = Jail::new().file("here.txt", "from outside\n");
    let project = jail.project();
    jail.script("pwd; cat here.txt; echo inside > made.txt; mkdir deep; echo x > deep/er")
        .succeeds()
        .prints_only(&format!("{}\nfrom outside\n", project.display()));
    for made in ["made.txt", "deep", "deep/er"] {
        let owner = fs::metadata(project.join(made)).unwrap().uid();
        assert_eq!(owner, nix::unistd::geteuid().as_raw(), "{made}");
    }
    assert_eq!(fs::read_to_string(project.join("made.txt")).unwrap(), "inside\n");
}

#[test]
fn a_job_started_deeper_in_its_workspace_starts_there() {
    let jail = Jail::new().file("deep/er/here.txt", "x");
    let (project, deep) = (jail.project(), jail.project().join("deep/er"));
    let jail = jail.options(["--workspace".into(), project.into_os_string()]).from(&deep);
    jail.script("pwd; ls").succeeds().prints_only(&format!("{}\nhere.txt\n", deep.display()));
}

#[test]
fn a_read_only_workspace_stays_as_it_is() {
    let jail = Jail::new().file("here.txt", "before\n").options(["--workspace-mode", "ro"]);
    let ended = jail.script("cat here.txt; echo after > here.txt; echo new > made.txt; rm here.txt; ls");
    ended.succeeds().prints("before\nhere.txt\n").says("Read-only file system");
    assert_eq!(fs::read_to_string(jail.project().join("here.txt")).unwrap(), "before\n");
    assert_eq!(fs::read_dir(jail.project()).unwrap().count(), 1);
}

#[test]
fn the_changes_to_an_overlay_are_kept_apart() {
    if is_relayed() {
        skip::report("an engine on another kernel has no place for them");
        return;
    }
    let jail = Jail::new().file("here.txt", "before\n").options(["--workspace-mode", "overlay"]);
    let ended = jail.script("echo after > here.txt; echo new > made.txt; cat here.txt made.txt");
    ended.succeeds().prints_only("after\nnew\n");
    assert_eq!(fs::read_to_string(jail.project().join("here.txt")).unwrap(), "before\n");
    assert!(!jail.project().join("made.txt").exists());
    let layer = jail.state().join("jobs").join(ended.summary["job"].as_str().unwrap()).join("workspace");
    assert_eq!(fs::read_to_string(layer.join("made.txt")).unwrap(), "new\n");
    ended.says(&layer.display().to_string());
    // What the kernel leaves beside it, `rm -r` by its owner could not remove.
    fs::remove_dir_all(layer.parent().unwrap()).unwrap();
}

#[test]
fn without_a_workspace_the_job_starts_in_its_home() {
    let jail = Jail::new().file("here.txt", "x").options(["--workspace", "none"]);
    let project = jail.project();
    let ended = jail.script(&format!("pwd; echo \"$HOME\"; ls {} 2>&1", project.display()));
    ended.fails().prints("/home/agent\n/home/agent\n").prints("No such file");
}

#[test]
fn the_home_is_empty_each_time_or_kept_as_asked() {
    let script = "cat ~/note 2>/dev/null; echo kept > ~/note; ls -A ~";
    let jail = Jail::new();
    for _ in 0..2 {
        jail.script(script).succeeds().prints_only("note\n");
    }
    let jail = Jail::new().options(["--home", "persistent"]);
    jail.script(script).succeeds().prints_only("note\n");
    jail.script(script).succeeds().prints_only("kept\nnote\n");
    assert!(fs::read_dir(jail.home()).unwrap().next().is_none(), "the real home was touched");
    // Another jail has another home.
    let other = Jail::named(
        "other",
        serde_json::json!({"version": 1, "name": "other", "home": "persistent", "programs": ["@shell"]}),
    );
    other.run(["sh", "-c", script]).succeeds().prints_only("note\n");
}

#[test]
fn binds_show_what_they_name_writable_or_not() {
    let jail = Jail::new();
    for name in ["open", "closed"] {
        fs::create_dir(jail.place().join(name)).unwrap();
        fs::write(jail.place().join(name).join("here.txt"), format!("{name}\n")).unwrap();
    }
    let (open, closed) = (jail.place().join("open"), jail.place().join("closed"));
    let jail = jail
        .options(["--bind".into(), open.clone().into_os_string()])
        .options(["--ro-bind", &format!("{}:/opt/closed", closed.display())]);
    let ended = jail.script(&format!(
        "cat {open}/here.txt /opt/closed/here.txt; echo new > {open}/made.txt; echo new > /opt/closed/made.txt",
        open = open.display()
    ));
    ended.fails().prints_only("open\nclosed\n").says("Read-only file system");
    assert!(open.join("made.txt").exists() && !closed.join("made.txt").exists());
}

#[test]
fn files_that_run_later_on_the_host_cannot_be_changed() {
    let jail = Jail::new()
        .file(".git/hooks/pre-commit", "original\n")
        .file(".git/config", "original\n")
        .file(".envrc", "original\n")
        .file(".vscode/tasks.json", "original\n")
        .file("src/main.txt", "original\n");
    let ended = jail.script(
        "for file in .git/hooks/pre-commit .git/config .envrc .vscode/tasks.json src/main.txt; do
            echo changed > $file; rm -f $file; mv $file $file.old
            echo changed > $file.new; mv $file.new $file
        done 2>/dev/null
        mv .git .git.old 2>/dev/null; mv .vscode .vscode.old 2>/dev/null; echo x > .git/hooks/post-merge 2>/dev/null
        echo x > .git/MERGE_MSG && cat .git/config",
    );
    ended.succeeds().prints_only("original\n");
    for file in [".git/hooks/pre-commit", ".git/config", ".envrc", ".vscode/tasks.json"] {
        assert_eq!(fs::read_to_string(jail.project().join(file)).unwrap(), "original\n", "{file}{ended}");
    }
    assert!(!jail.project().join(".git/hooks/post-merge").exists());
    // The rest is the job's.
    assert_eq!(fs::read_to_string(jail.project().join("src/main.txt")).unwrap(), "changed\n");
    assert!(jail.project().join(".git/MERGE_MSG").exists());
}

#[test]
fn files_that_run_later_and_were_made_by_the_job_are_reported() {
    let jail = Jail::new().file("here.txt", "x");
    let changed = |ended: &Ended| -> BTreeSet<String> {
        let files = ended.summary["changedFilesThatRunLater"].as_array().unwrap();
        files.iter().map(|file| file.as_str().unwrap().to_owned()).collect()
    };
    assert!(changed(&jail.script("echo y > here.txt")).is_empty());
    let ended =
        jail.script("echo x > .envrc; mkdir -p .git/hooks; echo x > .git/hooks/pre-commit; mkdir .claude");
    let expected = [".envrc", ".git/hooks", ".claude"].map(str::to_owned);
    assert_eq!(changed(&ended), BTreeSet::from(expected), "{ended}");
    ended.says(&jail.project().join(".envrc").display().to_string()).says("look at it");
}

#[test]
fn nothing_else_of_the_host_is_there() {
    let jail = Jail::new().file("here.txt", "x");
    fs::write(jail.home().join("private.txt"), "private\n").unwrap();
    fs::write(jail.place().join("beside.txt"), "beside\n").unwrap();
    let ended = jail.script(&format!(
        "ls -A /; echo ---; ls -A /home /root /var /run /tmp /sys /mnt /boot /srv /opt /media 2>/dev/null
         echo ---; ls -A {place}; cat {place}/beside.txt {home}/private.txt
         echo ---; cat /etc/passwd; echo ---; cat /etc/shadow /etc/machine-id",
        place = jail.place().display(),
        home = jail.home().display(),
    ));
    let text = ended.fails().text();
    let parts: Vec<&str> = text.split("---\n").collect();
    let mut known: BTreeSet<&str> = [
        "bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "tmp", "usr",
        "var",
    ]
    .into();
    if is_container() {
        // The engine's mark, an empty directory over its /sys, and the program that was pid 1.
        known.extend([".dockerenv", "sys", ".jail"]);
    }
    let top = std::env::temp_dir();
    let top = top.components().nth(1).and_then(|part| part.as_os_str().to_str()).unwrap_or("tmp").to_owned();
    let unknown: Vec<&str> =
        parts[0].lines().filter(|name| !known.contains(name) && **name != *top).collect();
    assert!(unknown.is_empty(), "{unknown:?} at the top of the jail{ended}");
    assert!(!text.contains("private") && !text.contains("beside"), "{ended}");
    assert_eq!(parts[2].trim(), "project", "{ended}");
    assert!(parts[3].contains("agent:") && parts[3].lines().count() <= 4, "{ended}");
    assert_eq!(parts[4].trim(), "", "{ended}");
}

#[test]
fn programs_are_there_only_if_they_were_put_there() {
    needs!("curl");
    let ended = Jail::new().script("command -v curl; command -v su mount sudo gcc; find / -xdev -perm -4000 2>/dev/null; ls /usr/bin | wc -l");
    let count: usize =
        ended.succeeds().text().trim().parse().unwrap_or_else(|_| panic!("more than a number{ended}"));
    assert!(count < 250, "{count} programs{ended}");
    Jail::new().host("curl").script("command -v curl").succeeds().prints("/curl\n");
}

#[test]
fn the_system_of_the_host_is_there_read_only_unless_it_is_left_out() {
    if !fs::metadata("/usr/lib").is_ok_and(|found| found.is_dir()) {
        skip::report("this host has no /usr/lib");
        return;
    }
    let specification = serde_json::json!({
        "version": 1, "name": "tools", "command": ["sh", "-c"], "programs": ["@system"],
    });
    let jail = Jail::named("tools", specification);
    let script = "ls -d /usr/share /usr/include /etc/shadow /root /etc/ssl/private /var/lib 2>/dev/null; \
                  touch /usr/x 2>/dev/null || echo read-only; env -i /usr/bin/sh -c 'echo runs'; cat $JAIL_POLICY | head -1";
    let ended = jail.start([script]).ends();
    ended.succeeds().prints("/usr/share\nread-only\nruns\nThis process runs in a jail");
    ended.never_prints("/etc/shadow").never_prints("/var/lib").never_prints("/root");
    let minimal = jail
        .options(["--minimal"])
        .start(["ls -d /usr/include /usr/share/doc 2>/dev/null; echo done"])
        .ends();
    minimal.succeeds().prints_only("done\n");
}
