//! `jail secret`, and jobs with `keyring:` sources. Run by `checks/secret-service.sh`, in a session with a real Secret
//! Service of its own; what needs none runs always.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::{Jail, Logins, Server, random};

/// An operator with the keychain of this session.
fn operator() -> Jail {
    assert_eq!(
        std::env::var("JAIL_TEST_KEYCHAIN").as_deref(),
        Ok("unlocked"),
        "run checks/secret-service.sh"
    );
    Jail::new().variable("DBUS_SESSION_BUS_ADDRESS", std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap())
}

#[test]
#[ignore = "needs a session bus of its own: checks/secret-service.sh"]
fn secrets_are_stored_listed_tested_used_and_removed() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-ant-api03-"));
    let jail = operator().guards(&token).upstream(&server);
    jail.itself(["secret", "list"]).succeeds().prints_only("");
    let missing = jail.itself(["secret", "test", "check/a"]);
    missing.exits(1).says("keyring:check/a").says("no item");

    let jail = jail.input(format!("{token}\n"));
    jail.itself(["secret", "set", "check/a"]).succeeds().prints_only("").says("keyring:check/a");
    jail.itself(["secret", "set", "other"]).succeeds();
    jail.itself(["secret", "list"]).succeeds().prints_only("check/a\nother\n");
    let shape = format!("keyring:check/a: {} characters, sk-ant-api03-… and ", token.len());
    jail.itself(["secret", "test", "check/a"]).succeeds().prints(&shape);
    jail.itself(["secret", "test", "keyring:check/a"]).succeeds().prints(&shape);

    let jail = jail.input("").host("curl").allow("api.test").credential("T=keyring:check/a@api.test");
    jail.script(r#"curl -sS -H "x-api-key: $T" https://api.test/echo"#)
        .succeeds()
        .swapped("T", "api.test:443");
    assert_eq!(server.last().header("x-api-key").unwrap(), token);

    jail.itself(["secret", "rm", "check/a"]).succeeds();
    jail.itself(["secret", "rm", "check/a"]).exits(1).says("no item");
    jail.itself(["secret", "list"]).succeeds().prints_only("other\n");
    jail.script("true").exits(125).says("keyring:check/a");
    jail.itself(["secret", "rm", "other"]).succeeds();
}

#[test]
#[ignore = "needs a session bus of its own: checks/secret-service.sh"]
fn a_login_in_the_keychain_is_renewed_there() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (access, refresh) = logins.pair(0);
    let login = json!({"access": access, "refresh": refresh, "expires": now - 5, "rest": [1]});
    let specification = json!({
        "version": 1, "name": "login", "command": ["sh", "-c"], "programs": ["@shell", "/usr/bin/curl"],
        "rules": ["api.test"],
        "credentials": [{
            "variable": "T", "sources": ["keyring:check-login#/access"], "hosts": ["api.test"],
            "oauth": {
                "token": "/access", "refresh": "/refresh", "expiry": "/expires",
                "endpoint": "https://login.test/oauth/token", "clientId": "the-client",
            },
        }],
    });
    let jail = logins.tokens().fold(Jail::named("login", specification), |jail, token| jail.guards(token));
    let jail = jail
        .variable("DBUS_SESSION_BUS_ADDRESS", std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap())
        .upstream(&server);
    let jail = jail.input(login.to_string());
    jail.itself(["secret", "set", "check-login"]).succeeds();
    let jail = jail.input("");
    for _ in 0..2 {
        jail.run([r#"curl -sS -H "authorization: Bearer $T" https://api.test/x"#])
            .succeeds()
            .prints("welcome");
    }
    assert_eq!(logins.counts(), (1, 0));
    jail.itself(["secret", "rm", "check-login"]).succeeds();
}

#[test]
fn without_a_keychain_nothing_is_stored_and_the_alternatives_are_named() {
    let token = random("sk-");
    let jail = Jail::new().guards(&token).input(token.clone());
    for command in ["set", "test", "rm"] {
        jail.itself(["secret", command, "name"]).exits(1).says("keychain").prints_only("");
    }
    jail.itself(["secret", "list"]).exits(1).says("keychain").prints_only("");
    jail.itself(["secret", "set", "name#/pointer"]).exits(2).says("without");
    // The value has no place among the arguments.
    jail.itself(["secret", "set", "name", "value"]).exits(2);
}

#[test]
fn any_source_can_be_tested_and_is_not_shown() {
    let token = random("ghp_");
    let jail = Jail::new().secret("TOKEN", &token);
    let length = token.len();
    let shape = format!("env:TOKEN: {length} characters, ghp_… and letters and digits\n");
    jail.itself(["secret", "test", "env:TOKEN"]).succeeds().prints_only(&shape);
    std::fs::write(jail.home().join("file"), &token).unwrap();
    jail.itself(["secret", "test", "file:~/file"]).exits(1).says("chmod 600");
    jail.itself(["secret", "test", "--insecure-file", "file:~/file"]).succeeds().prints("ghp_…");
    jail.itself(["secret", "test", "file:~/none"]).exits(1).says("does not exist");
    jail.itself(["secret", "test", "command:sh -c 'echo you are not signed in >&2; exit 1'"])
        .exits(1)
        .says("not signed in");
}

#[test]
fn a_secret_is_typed_unseen() {
    let token = random("sk-");
    let jail = Jail::new();
    let mut terminal = jail.start_shell_in_terminal();
    let program = env!("CARGO_BIN_EXE_jail");
    terminal.wait_for("outside$ ").types(&format!("{program} secret set name; echo code=$?; stty -a\n"));
    terminal.wait_for("secret for keyring:name: ").types(&format!("{token}\n"));
    // There is no keychain, and the terminal is as it was.
    terminal.wait_for("code=1").wait_for(" echo ");
    terminal.types(&format!("{program} secret set name; echo again=$?\n"));
    terminal.wait_for("secret for keyring:name: ").types("\u{3}").wait_for("again=1").types("exit\n");
    terminal.ends();
    let screen = String::from_utf8_lossy(&terminal.screen()).into_owned();
    assert!(screen.contains("nothing was stored") && !screen.contains(&token), "{screen}");
}
