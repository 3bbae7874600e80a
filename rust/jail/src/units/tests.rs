use super::*;

fn jail(json: &str) -> JailSpec {
    JailSpec::parse(&format!(r#"{{ "version": 1, "name": "web", "command": ["curl"], {json} }}"#), "web.json")
        .unwrap()
}

fn rendered(spec: &JailSpec, path: &str) -> String {
    let files = render(std::slice::from_ref(spec), Path::new("/opt/bin/jail")).unwrap();
    files.into_iter().find(|file| file.path == Path::new(path)).unwrap_or_else(|| panic!("no {path}")).text
}

#[test]
fn every_template_starts_the_program_and_is_marked_as_ours() {
    for file in render(&[], Path::new("/opt/bin/jail")).unwrap() {
        assert!(file.text.starts_with(MARK) && !file.text.contains("@jail@"), "{}", file.path.display());
        let service = file.path.extension().is_some_and(|extension| extension == "service");
        assert_eq!(
            service,
            file.text.contains("\nExecStart=/opt/bin/jail __unit "),
            "{}",
            file.path.display()
        );
    }
    assert!(render(&[], Path::new("/a b/jail")).is_err());
}

#[test]
fn a_jail_says_what_is_special_about_it() {
    let spec = jail(
        r#""service": { "workspace": "/srv/a b%d", "user": "alice" },
           "limits": { "memory": "64M", "pids": 10, "cpus": 0.25, "timeout": "2m", "io": "5M" },
           "hardening": { "allow": ["writable-executable-memory"] },
           "binds": [{ "source": "/data" }],
           "rules": ["tcp://db.example:5432", "example.com"],
           "credentials": [
             { "variable": "A", "sources": ["systemd:a", "file:/run/secrets/a#/x"], "hosts": ["example.com"] },
             { "variable": "B", "sources": ["systemd:a"], "hosts": ["example.com"] } ]"#,
    );
    assert_eq!(
        rendered(&spec, "nix-jail@web.service.d/jail.conf"),
        format!(
            "{MARK}\n[Service]\nDynamicUser=no\nUser=alice\nBindPaths=\"/srv/a b%%d\"\nBindReadOnlyPaths=/data\n\
             MemoryMax=67108864\nMemorySwapMax=0\nTasksMax=13\nCPUQuota=25%\nRuntimeMaxSec=120\nRestart=no\n\
             IOReadBandwidthMax=\"/srv/a b%%d\" 5242880\nIOWriteBandwidthMax=\"/srv/a b%%d\" 5242880\n\
             MemoryDenyWriteExecute=no\n"
        )
    );
    assert_eq!(
        rendered(&spec, "nix-jail-proxy@web.service.d/jail.conf"),
        format!(
            "{MARK}\n[Service]\nUser=njp-web\nLoadCredential=a:/etc/credstore/a\nImportCredential=a\nSetCredential=a:\\n\n\
             LoadCredential=A-1:/run/secrets/a\nSetCredential=A-1:\\n\n"
        )
    );
    assert_eq!(
        rendered(&spec, "nix-jail-proxy@web.socket.d/jail.conf"),
        format!("{MARK}\n[Socket]\nListenStream=5432\n")
    );
}

#[test]
fn a_file_is_read_by_systemd_and_keeps_its_pointer() {
    let spec = jail(
        r#""credentials": [{ "variable": "A", "sources": ["env:A", "file:/run/a#/x"], "hosts": ["example.com"] }]"#,
    );
    let sources: Vec<String> = loaded(&spec).credentials[0].sources.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["env:A", "systemd:A-1#/x"]);
}

#[test]
fn users_are_named_after_their_jail_and_never_too_long() {
    assert_eq!(drop_in::user("nj-", "web"), "nj-web");
    let (dotted, long) = (drop_in::user("njp-", "a.b"), drop_in::user("njp-", &"x".repeat(64)));
    assert!(dotted.len() <= 31 && long.len() <= 31 && dotted != long, "{dotted} {long}");
    assert_ne!(dotted, drop_in::user("njp-", "a-b"));
}

#[test]
fn what_a_service_cannot_have_is_refused() {
    let bind = jail(r#""binds": [{ "source": "~/x" }]"#);
    assert!(render(&[bind], Path::new("/bin/jail")).unwrap_err().contains("absolute"));
    let set_id = jail(r#""hardening": { "allow": ["set-user-id-files"] }"#);
    assert!(render(&[set_id], Path::new("/bin/jail")).unwrap_err().contains("service.user"));
    let colon = jail(r#""service": { "workspace": "/srv/a:b" }"#);
    assert!(render(&[colon], Path::new("/bin/jail")).unwrap_err().contains("colons"));
    for name in ["a*", "a b", "%n", "a:b", "a\\nExecStart=x"] {
        let spec = jail(&format!(
            r#""credentials": [{{ "variable": "A", "sources": ["systemd:{name}"], "hosts": ["example.com"] }}]"#
        ));
        assert!(
            render(&[spec], Path::new("/bin/jail")).unwrap_err().contains("cannot stand in a unit"),
            "{name}"
        );
    }
    let spec = jail(
        r#""credentials": [{ "variable": "A", "sources": ["keyring:x", "file:~/x"], "hosts": ["example.com"] }]"#,
    );
    assert!(needs_a_person(&spec).is_some());
    let spec = jail(
        r#""credentials": [{ "variable": "A", "sources": ["keyring:x", "systemd:x"], "hosts": ["example.com"] }]"#,
    );
    assert!(needs_a_person(&spec).is_none());
}

#[test]
fn systemd_tells_its_version() {
    assert_eq!(install::version("systemd 257 (257.8-1~deb13u2)\n+PAM"), Some(257));
    assert_eq!(install::version("systemd 252.38\n"), Some(252));
    assert_eq!(install::version(""), None);
}
