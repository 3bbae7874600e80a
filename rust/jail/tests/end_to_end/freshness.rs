//! A secret that changes on the host while the job runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Jail, Logins, Server};

const ASK: &str = r#"curl -sS -H "authorization: Bearer $T" https://api.test/x"#;

fn jail(logins: &Logins, server: &Server) -> Jail {
    let jail = Jail::new().host("curl").allow("api.test").upstream(server);
    let jail = logins.tokens().fold(jail, |jail, token| jail.guards(token));
    put(&jail.home().join("token"), &logins.pair(0).0);
    jail
}

/// A program of the host that gives the token of `~/token` and notes each time in `~/count`.
fn with_command(jail: Jail) -> Jail {
    let home = jail.home();
    let script = format!("echo x >> {0}/count; cat {0}/token", home.display());
    jail.credential(&format!(r#"T=command:["sh","-c","{script}"]@api.test"#))
}

fn reads(jail: &Jail) -> usize {
    fs::read_to_string(jail.home().join("count")).unwrap().lines().count()
}

fn put(path: &Path, token: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, token).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(fresh, path).unwrap();
}

#[test]
fn a_refused_secret_is_read_again_and_the_request_sent_again() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    for jail in
        [with_command(jail(&logins, &server)), jail(&logins, &server).credential("T=file:~/token@api.test")]
    {
        let generation = server.requests().len().min(1);
        put(&jail.home().join("token"), &logins.pair(generation).0);
        let mut running = jail
            .start_script(&format!("echo dummy=$T; {ASK}; echo; read go; {ASK} -d 'a body'; echo dummy=$T"));
        running.wait_for("welcome");
        logins.turn_over();
        put(&jail.home().join("token"), &logins.pair(generation + 1).0);
        running.writes(b"go\n");
        let ended = running.ends();
        ended.succeeds().never_prints("refused").allowed("api.test:443", 2).swapped("T", "api.test:443");
        let echo = format!("Bearer {}", ended.value("dummy"));
        assert_eq!(ended.text().matches(&echo).count(), 2, "{ended}");
    }
}

#[test]
fn many_refusals_at_once_are_one_look() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = with_command(jail(&logins, &server));
    let many = [ASK; 8].join(" & ");
    let mut running = jail.start_script(&format!("echo ready; read go; {many} & wait"));
    running.wait_for("ready");
    logins.turn_over();
    put(&jail.home().join("token"), &logins.pair(1).0);
    running.writes(b"go\n");
    let ended = running.ends();
    ended.succeeds().never_prints("refused").allowed("api.test:443", 8);
    // Before the start, and for all of them.
    assert_eq!(reads(&jail), 2, "{ended}");
}

#[test]
fn a_secret_that_stays_refused_is_not_read_for_every_request() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = with_command(jail(&logins, &server));
    logins.turn_over();
    let ended = jail.script(&[ASK; 6].join("; "));
    ended.succeeds().allowed("api.test:443", 6);
    assert_eq!(ended.text().matches("refused").count(), 6, "{ended}");
    assert!(reads(&jail) <= 3, "{} looks{ended}", reads(&jail));
}

#[test]
fn a_body_that_is_too_long_to_keep_is_not_sent_again() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = with_command(jail(&logins, &server));
    let mut running = jail.start_script(&format!(
        "head -c 2000000 /dev/zero > body; echo ready; read go; {ASK} --data-binary @body; {ASK} -d short"
    ));
    running.wait_for("ready");
    logins.turn_over();
    put(&jail.home().join("token"), &logins.pair(1).0);
    running.writes(b"go\n");
    let ended = running.ends();
    ended.succeeds().prints("refused").prints("welcome").allowed("api.test:443", 2);
    assert_eq!(server.requests().iter().map(|seen| seen.body).collect::<Vec<_>>(), [2_000_000, 5]);
}

#[test]
fn a_source_that_breaks_leaves_the_secret_that_is_known() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server).credential("T=file:~/token@api.test");
    let mut running = jail.start_script(&format!("{ASK}; read go; {ASK}"));
    running.wait_for("welcome");
    put(&jail.home().join("token"), "two lines\nof a mistake");
    running.writes(b"go\n");
    let ended = running.ends();
    ended.succeeds().never_prints("refused").allowed("api.test:443", 2);
    assert_eq!(ended.text().matches("welcome").count(), 2, "{ended}");
}
