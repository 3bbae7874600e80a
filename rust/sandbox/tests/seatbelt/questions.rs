//! Questions about one small jail, each answered by its profile.

use std::path::PathBuf;

use sandbox::backend::Error;
use sandbox::backend::seatbelt::layout::{Host, Layout};
use sandbox::backend::seatbelt::profile::{self, Ends};
use sandbox::plan::{Access, Entry, Plan};

use crate::sbpl::{Profile, To};

fn bind(path: &str, access: Access) -> Entry {
    Entry::Bind { source: path.into(), target: path.into(), access }
}

fn plan() -> Plan {
    Plan {
        command: vec!["agent".into()],
        tree: vec![
            bind("/nix/store/aaa-agent", Access::ReadOnly),
            Entry::Symlink { target: "/bin/sh".into(), to: "/nix/store/aaa-bash/bin/sh".into() },
            Entry::File { target: "/etc/ssl/cert.pem".into(), contents: Vec::new(), mode: 0o444 },
            Entry::Directory { target: "/home/agent".into(), writable: true },
            bind("/Users/me/project", Access::ReadWrite),
            bind("/Users/me/project/.git", Access::ReadWrite),
            bind("/Users/me/project/.git/config", Access::ReadOnly),
        ],
        absent: [".git/hooks", ".envrc", ".cargo/config.toml"]
            .map(|path| PathBuf::from("/Users/me/project").join(path))
            .to_vec(),
        ..Plan::default()
    }
}

fn profile(plan: &Plan, terminal: Option<&str>) -> Profile {
    let host = Host { private: "/private/var/folders/x/job".into(), ..Host::default() };
    let layout = Layout::of(plan, &host).unwrap();
    let ends = Ends { port: 49152, terminal: terminal.map(PathBuf::from) };
    Profile::read(&profile::of(&layout, &ends).unwrap())
}

#[test]
fn files_are_those_of_the_plan() {
    let profile = profile(&plan(), None);
    for (operation, path, allowed) in [
        ("file-read-data", "/nix/store/aaa-agent/bin/agent", true),
        ("process-exec", "/nix/store/aaa-agent/bin/agent", true),
        ("file-map-executable", "/nix/store/aaa-agent/lib/x.dylib", true),
        ("file-write-data", "/nix/store/aaa-agent/bin/agent", false),
        ("file-write-unlink", "/nix/store/aaa-agent", false),
        ("file-read-data", "/nix/store/bbb-other/secret", false),
        ("file-read-metadata", "/nix/store/bbb-other", false),
        // A longer name is another file.
        ("file-read-data", "/nix/store/aaa-agent-2/x", false),
        // That the store is there, not what is in it.
        ("file-read-metadata", "/nix/store", true),
        ("file-read-data", "/nix/store", false),
        ("file-read-metadata", "/Users/me", true),
        ("file-read-data", "/Users/me", false),
        ("file-read-data", "/Users/me/.ssh/id_ed25519", false),
        ("file-read-metadata", "/Users/me/.ssh", false),
        ("file-read-data", "/Users/me/Library/Keychains/login.keychain-db", false),
        ("file-read-data", "/Users/me/Library/Preferences/x.plist", false),
        ("file-read-data", "/Users/me/project2/x", false),
        ("file-read-data", "/Users/me/project/src/main.rs", true),
        ("file-write-data", "/Users/me/project/src/main.rs", true),
        ("file-write-create", "/Users/me/project/new", true),
        ("file-write-unlink", "/Users/me/project/src", true),
        // Nothing with which a file gets other rights, another owner's, or a second name.
        ("file-write-setugid", "/Users/me/project/x", false),
        ("file-write-acl", "/Users/me/project/x", false),
        ("file-link", "/Users/me/project/x", false),
        ("file-clone", "/Users/me/project/x", false),
        ("file-mount", "/Users/me/project/x", false),
        ("process-exec", "/Users/me/project/target/debug/it", true),
        ("file-read-data", "/private/var/folders/x/job/root/etc/ssl/cert.pem", true),
        ("file-write-data", "/private/var/folders/x/job/root/etc/ssl/cert.pem", false),
        ("file-write-create", "/private/var/folders/x/job/root/home/agent/.config", true),
        ("file-write-create", "/private/var/folders/x/job/tmp/x", true),
        ("file-read-data", "/private/var/folders/x/job/profile.sb", false),
        ("file-read-data", "/private/var/folders/x/other/tmp/x", false),
        ("file-read-data", "/private/var/folders", false),
        ("file-read-data", "/private/tmp", false),
        ("file-write-create", "/private/tmp/x", false),
        ("file-read-data", "/private/etc/passwd", false),
        ("file-read-data", "/private/etc/master.passwd", false),
        ("file-read-data", "/dev/urandom", true),
        ("file-write-data", "/dev/null", true),
        ("file-read-data", "/dev/disk0", false),
        ("file-read-data", "/usr/lib/libSystem.B.dylib", true),
        ("process-exec", "/usr/lib/libSystem.B.dylib", false),
        ("process-exec", "/bin/sh", true),
        ("process-exec", "/usr/bin/env", false),
        ("process-exec", "/usr/bin/security", false),
        ("process-exec", "/usr/bin/osascript", false),
        ("process-exec", "/usr/bin/open", false),
        ("process-exec", "/usr/bin/sandbox-exec", false),
    ] {
        assert_eq!(profile.allows(operation, To::Path(path)), allowed, "{operation} {path}");
    }
}

#[test]
fn what_runs_later_is_not_written_present_or_absent_under_any_spelling() {
    let profile = profile(&plan(), None);
    for (operation, path, allowed) in [
        ("file-write-data", ".git/config", false),
        ("file-write-unlink", ".git/config", false),
        ("file-write-create", ".git/hooks", false),
        ("file-write-create", ".git/hooks/pre-commit", false),
        ("file-write-create", ".GIT/Hooks/pre-commit", false),
        ("file-write-create", ".envrc", false),
        ("file-write-create", ".EnvRC", false),
        ("file-write-create", ".envrc2", true),
        // The directories above: not moved away, not made elsewhere and moved here.
        ("file-write-unlink", ".git", false),
        ("file-write-unlink", ".GIT", false),
        ("file-write-create", ".cargo", false),
        ("file-write-create", ".cargo/config.toml", false),
        ("file-write-create", ".git/index.lock", true),
        ("file-write-create", ".git/refs/heads/new", true),
        ("file-write-create", "sub/.envrc", true),
        ("file-read-data", ".git/config", true),
    ] {
        let whole = format!("/Users/me/project/{path}");
        assert_eq!(profile.allows(operation, To::Path(&whole)), allowed, "{operation} {path}");
    }
}

#[test]
fn the_network_is_one_port_of_loopback() {
    let profile = profile(&plan(), None);
    assert!(profile.allows("network-outbound", To::Address("localhost:49152")));
    for address in ["localhost:49153", "localhost:*", "*:49152", "1.1.1.1:443", "*:443", "169.254.169.254:80"]
    {
        assert!(!profile.allows("network-outbound", To::Address(address)), "{address}");
    }
    // A socket of the file system, by the one operation that both have.
    for socket in
        ["/private/var/run/mDNSResponder", "/Users/me/project/x.sock", "/nix/var/nix/daemon-socket/socket"]
    {
        assert!(!profile.allows("network-outbound", To::Path(socket)), "{socket}");
    }
    for operation in ["network-inbound", "network-bind", "system-socket", "default"] {
        assert!(!profile.allows(operation, To::Anything), "{operation}");
    }
}

#[test]
fn services_are_a_short_list() {
    let profile = profile(&plan(), None);
    let services = profile.named("mach-lookup");
    assert_eq!(
        services,
        [
            "com.apple.system.opendirectoryd.libinfo",
            "com.apple.system.notification_center",
            "com.apple.SystemConfiguration.configd"
        ]
    );
    for service in [
        "com.apple.SecurityServer",
        "com.apple.securityd",
        "com.apple.securityd.xpc",
        "com.apple.secd",
        "com.apple.trustd",
        "com.apple.trustd.agent",
        "com.apple.pasteboard.1",
        "com.apple.coreservices.launchservicesd",
        "com.apple.coreservices.appleevents",
        "com.apple.dnssd.service",
        "com.apple.windowserver.active",
        "com.apple.cfprefsd.agent",
        "com.apple.tccd",
        "com.docker.vmnetd",
    ] {
        assert!(!profile.allows("mach-lookup", To::Name(service)), "{service}");
    }
    for operation in
        ["mach-register", "appleevent-send", "iokit-open", "job-creation", "user-preference-write", "lsopen"]
    {
        assert!(!profile.allows(operation, To::Anything), "{operation}");
    }
}

#[test]
fn processes_are_the_jobs_own() {
    let profile = profile(&plan(), None);
    for operation in ["signal", "process-info-pidinfo"] {
        assert!(profile.allows(operation, To::Ourselves), "{operation}");
        assert!(!profile.allows(operation, To::Anything), "{operation}");
    }
    assert!(profile.allows("process-fork", To::Anything));
    assert!(!profile.allows("mach-priv-task-port", To::Anything));
    assert!(profile.allows("sysctl-read", To::Name("hw.ncpu")));
    // The environment of every process of this user.
    for value in ["kern.procargs2", "kern.proc.all", "net.inet.tcp.pcblist"] {
        assert!(!profile.allows("sysctl-read", To::Name(value)), "{value}");
    }
    assert!(!profile.allows("sysctl-write", To::Name("hw.ncpu")));
}

#[test]
fn a_terminal_is_one_rule_more() {
    let (without, with) = (profile(&plan(), None), profile(&plan(), Some("/dev/ttys007")));
    for (profile, own) in [(&without, false), (&with, true)] {
        for operation in ["file-read-data", "file-write-data", "file-ioctl"] {
            assert_eq!(profile.allows(operation, To::Path("/dev/ttys007")), own);
            // The user's other terminals, and one that the job has made.
            assert!(!profile.allows(operation, To::Path("/dev/ttys001")));
            assert!(profile.allows(operation, To::Marked("/dev/ttys009", "com.apple.sandbox.pty")));
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let host = Host { private: "/private/job".into(), ..Host::default() };
    let refused = |entry: Entry| {
        let plan =
            Plan { tree: vec![bind("/Users/me/project", Access::ReadWrite), entry], ..Plan::default() };
        Layout::of(&plan, &host).unwrap_err()
    };
    let overlay = Entry::Overlay { lower: "/a".into(), upper: "/b".into(), target: "/a".into() };
    assert!(matches!(refused(overlay), Error::Unsupported { .. }));
    let inside = "/Users/me/project/x".into();
    let file = Entry::File { target: inside, contents: Vec::new(), mode: 0o444 };
    assert!(matches!(refused(file), Error::Unsupported { .. }));
    for target in ["/", "etc/x", "/etc/../x"] {
        let directory = Entry::Directory { target: target.into(), writable: true };
        assert!(matches!(refused(directory), Error::Target { .. }), "{target}");
    }
}
