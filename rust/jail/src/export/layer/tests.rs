//! Layers as the `tar` of this machine lists them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Tree::of(entries).unwrap().write(&mut bytes).unwrap();
    bytes
}

fn file(target: &str, contents: &str, mode: u32) -> Entry {
    Entry::File { target: target.into(), contents: contents.into(), mode }
}

fn link(target: &str, to: &str) -> Entry {
    Entry::Symlink { target: target.into(), to: to.into() }
}

/// As the system's own tar lists it.
fn listed(bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer.tar");
    fs::write(&path, bytes).unwrap();
    let output = Command::new("tar").args(["--numeric-owner", "--utc", "-tvf"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_layer_is_sorted_and_has_neither_owners_nor_times() {
    let long = format!("/a/{}", "n".repeat(150));
    let entries = [link("/b", "a/f"), file(&long, "12", 0o755), file("/a/f", "1", 0o640)];
    let expected = [
        "drwxr-xr-x 0/0 0 1970-01-01 00:00 a/".to_owned(),
        "-r--r--r-- 0/0 1 1970-01-01 00:00 a/f".to_owned(),
        format!("-r-xr-xr-x 0/0 2 1970-01-01 00:00 {}", &long[1..]),
        "lrwxrwxrwx 0/0 0 1970-01-01 00:00 b -> a/f".to_owned(),
    ];
    assert_eq!(listed(&archive(&entries)), expected);
    let mut other_way_round = entries.to_vec();
    other_way_round.reverse();
    assert_eq!(archive(&entries), archive(&other_way_round));
}

#[test]
fn what_lies_behind_a_link_is_put_where_it_leads() {
    let entries =
        [link("/bin", "usr/bin"), file("/bin/sh", "", 0o555), link("/x", "/bin/../lib"), file("/x/y", "", 0)];
    let names: Vec<String> = listed(&archive(&entries))
        .iter()
        .filter_map(|line| line.split("00:00 ").nth(1).map(str::to_owned))
        .collect();
    assert_eq!(
        names,
        ["bin -> usr/bin", "lib/", "lib/y", "usr/", "usr/bin/", "usr/bin/sh", "x -> /bin/../lib"]
    );
    let circle = [link("/a", "b"), link("/b", "a"), file("/a/x", "", 0)];
    assert!(Tree::of(&circle).unwrap_err().message.contains("circle"));
}

#[test]
fn a_directory_is_copied_as_it_is_and_what_is_no_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("package");
    fs::create_dir_all(source.join("bin")).unwrap();
    fs::write(source.join("bin/tool"), "#!").unwrap();
    fs::set_permissions(source.join("bin/tool"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("/elsewhere", source.join("link")).unwrap();
    let bind =
        Entry::Bind { source: source.clone(), target: "/p".into(), access: sandbox::plan::Access::ReadOnly };
    let names: Vec<String> = listed(&archive(std::slice::from_ref(&bind)))
        .iter()
        .map(|line| line.replace(" 1970-01-01 00:00", ""))
        .collect();
    assert_eq!(
        names,
        [
            "drwxr-xr-x 0/0 0 p/",
            "drwxr-xr-x 0/0 0 p/bin/",
            "-r-xr-xr-x 0/0 2 p/bin/tool",
            "lrwxrwxrwx 0/0 0 p/link -> /elsewhere"
        ]
    );
    let _listener = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    assert!(Tree::of(&[bind]).unwrap_err().message.contains("socket"));
}

#[test]
fn a_file_that_has_become_a_pipe_or_a_link_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().canonicalize().unwrap().join("file");
    fs::write(&source, "text").unwrap();
    let bind = Entry::Bind {
        source: source.clone(),
        target: "/file".into(),
        access: sandbox::plan::Access::ReadOnly,
    };
    let tree = Tree::of(&[bind]).unwrap();
    tree.write(&mut Vec::new()).unwrap();
    fs::remove_file(&source).unwrap();
    nix::unistd::mkfifo(&source, nix::sys::stat::Mode::S_IRWXU).unwrap();
    tree.write(&mut Vec::new()).unwrap_err();
    fs::remove_file(&source).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &source).unwrap();
    tree.write(&mut Vec::new()).unwrap_err();
}
