use super::*;

fn bind(source: &str, target: &str) -> Entry {
    Entry::Bind { source: source.into(), target: target.into(), access: Access::ReadWrite }
}

fn layout(plan: &Plan) -> Layout {
    let links = [PathBuf::from("/nix/store/a-link")].into();
    Layout::of(plan, &Host { private: "/p".into(), links }).unwrap()
}

#[test]
fn what_has_no_place_of_its_own_is_in_the_private_directory() {
    let file = |path: &str| Entry::File { target: path.into(), contents: b"x".to_vec(), mode: 0o444 };
    let link = |path: &str, to: &str| Entry::Symlink { target: path.into(), to: to.into() };
    let layout = layout(&Plan {
        command: ["/nix/store/a-bash/bin/bash", "/etc/nix-jail/hook", "/etc/other"]
            .map(OsString::from)
            .to_vec(),
        environment: [
            ("HOME", "/home/agent"),
            ("TMPDIR", "/tmp"),
            ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
            ("PATH", "/nix/store/a-bash/bin:/home/agent/bin:/home/agents"),
            ("OPTIONS", "-Dstore=/etc/ssl/certs/cacerts -Dx=1,/tmp/y"),
            ("URL", "http://tmp/x:/tmp//z"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec(),
        working_directory: "/home/agent".into(),
        tree: vec![
            bind("/nix/store/a-bash", "/nix/store/a-bash"),
            file("/etc/ssl/certs/ca-certificates.crt"),
            file("/etc/ssl/certs/cacerts"),
            file("/etc/nix-jail/hook"),
            link("/etc/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt"),
            link("/nix/store/a-link", "/nix/store/a-bash"),
            link("/usr/bin/env", "/nix/store/a-coreutils/bin/env"),
            bind("/Users/me/state/home", "/home/agent"),
        ],
        ..Plan::default()
    });
    assert_eq!(layout.command, ["/nix/store/a-bash/bin/bash", "/p/root/etc/nix-jail/hook", "/etc/other"]);
    let values: Vec<&OsStr> = layout.environment.iter().map(|(_, value)| value.as_os_str()).collect();
    assert_eq!(
        values,
        [
            "/Users/me/state/home",
            "/p/tmp",
            "/p/root/etc/ssl/certs/ca-certificates.crt",
            "/nix/store/a-bash/bin:/Users/me/state/home/bin:/home/agents",
            "-Dstore=/p/root/etc/ssl/certs/cacerts -Dx=1,/p/tmp/y",
            "http://tmp/x:/p/tmp/z",
        ]
    );
    assert_eq!(layout.working_directory, Path::new("/Users/me/state/home"));
    let certificates = PathBuf::from("/p/root/etc/ssl/certs/ca-certificates.crt");
    assert!(layout.make.contains(&Make::Link { path: "/p/root/etc/ssl/cert.pem".into(), to: certificates }));
    assert_eq!(layout.links, [Path::new("/nix/store/a-link")]);
    assert!(layout.env && !layout.shell);
    assert_eq!(layout.notices, [] as [&str; 0]);
}

#[test]
fn what_is_somewhere_else_and_in_no_variable_is_said() {
    let layout = layout(&Plan { tree: vec![bind("/Users/me/data", "/data")], ..Plan::default() });
    assert_eq!(layout.notices.len(), 1);
    assert!(layout.notices[0].starts_with("/data is at /Users/me/data in this jail"), "{:?}", layout.notices);
}
