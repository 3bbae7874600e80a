use super::*;

fn of(entries: &[Entry]) -> Result<Layout, Error> {
    super::of(entries, false)
}

fn bind(source: &Path, target: &str, access: Access) -> Entry {
    Entry::Bind { source: source.to_owned(), target: target.into(), access }
}

fn link(target: &str, to: &str) -> Entry {
    Entry::Symlink { target: target.into(), to: to.into() }
}

fn file(target: &str) -> Entry {
    Entry::File { target: target.into(), contents: b"x".to_vec(), mode: 0o444 }
}

fn targets(layout: &Layout) -> Vec<String> {
    let target = |mount: &Mount| match mount {
        Mount::Bind { target, .. }
        | Mount::Own { target, .. }
        | Mount::Overlay { target, .. }
        | Mount::Scratch { target, .. } => target.display().to_string(),
    };
    let mut targets: Vec<String> = layout.mounts.iter().map(target).collect();
    targets.retain(|target| !["/tmp", "/run", "/var/tmp", "/dev/shm"].contains(&target.as_str()));
    targets.sort();
    targets
}

#[test]
fn links_in_the_root_are_the_image_s_and_followed_by_what_comes_after() {
    let host = tempfile::tempdir().unwrap();
    let host = host.path().canonicalize().unwrap();
    let layout = of(&[link("/bin", "usr/bin"), bind(&host, "/bin/tool", Access::ReadOnly)]).unwrap();
    assert_eq!(layout.root_links, [(PathBuf::from("/bin"), PathBuf::from("usr/bin"))]);
    assert!(layout.own.contains(&("/usr/bin/tool".into(), Own::Directory { mode: 0o755 })), "{layout:?}");
    assert_eq!(targets(&layout), ["/usr", "/usr/bin/tool", "/var"]);
    assert_eq!(layout.bound[0].target, Path::new("/usr/bin/tool"));
}

#[test]
fn what_is_mounted_later_covers_what_was_below() {
    let host = tempfile::tempdir().unwrap();
    let host = host.path().canonicalize().unwrap();
    let entries =
        [bind(&host, "/workspace/tool", Access::ReadOnly), bind(&host, "/workspace", Access::ReadWrite)];
    let layout = of(&entries).unwrap();
    assert_eq!(targets(&layout), ["/var", "/workspace"]);
    assert!(layout.writable.contains(&"/workspace".into()));
}

#[test]
fn files_where_the_job_writes_are_bound_and_links_there_made_by_pid_1() {
    let home = Entry::Directory { target: "/home/agent".into(), writable: true };
    let layout = of(&[home, file("/home/agent/.rc"), link("/run/system", "/nix/x")]).unwrap();
    assert_eq!(targets(&layout), ["/home", "/home/agent", "/home/agent/.rc", "/var"]);
    assert_eq!(layout.late, [link("/run/system", "/nix/x")]);
}

#[test]
fn the_engine_s_own_files_are_replaced_by_ours() {
    let layout = of(&[file("/etc/hosts"), file("/etc/passwd"), file("/etc/shells")]).unwrap();
    assert_eq!(targets(&layout), ["/etc", "/etc/hosts", "/etc/passwd", "/var"]);
}

#[test]
fn nothing_is_made_on_the_host() {
    let host = tempfile::tempdir().unwrap();
    let host = host.path().canonicalize().unwrap();
    let work = bind(&host, "/workspace", Access::ReadWrite);
    let inner = bind(&host, "/workspace/inner", Access::ReadOnly);
    let refused = of(&[work.clone(), inner.clone()]).unwrap_err();
    assert_eq!(refused, ContainerError::NoMountPoint { path: host.join("inner") }.into());
    std::fs::create_dir(host.join("inner")).unwrap();
    assert!(of(&[work, inner]).is_ok());
}

#[test]
fn sources_behind_links_and_loops_of_links_are_refused() {
    let host = tempfile::tempdir().unwrap();
    let host = host.path().canonicalize().unwrap();
    std::os::unix::fs::symlink("/etc", host.join("link")).unwrap();
    let refused = of(&[bind(&host.join("link"), "/x", Access::ReadOnly)]).unwrap_err();
    assert_eq!(refused, Error::SymlinkSource { path: host.join("link") });
    assert!(of(&[link("/a", "b"), link("/b", "a"), file("/a/x")]).is_err());
    assert!(of(&[file("/a/../x")]).is_err());
}

#[test]
fn a_read_only_source_must_not_hold_other_mounts() {
    let is_below = |mount: &Mounted| mount.point.starts_with("/dev") && mount.point != Path::new("/dev");
    if !mounts().unwrap().iter().any(is_below) {
        crate::skip::report("nothing is mounted below /dev here");
        return;
    }
    let refused = of(&[bind(Path::new("/dev"), "/x", Access::ReadOnly)]).unwrap_err();
    assert!(matches!(refused, Error::Container(ContainerError::MountsBelow { .. })), "{refused:?}");
}
