//! `--learn`: work first, then the least policy that allows the same.

use crate::support::{Jail, Server, random};

const WORK: [&str; 6] =
    ["curl", "-sS", "-i", "https://api.test/echo?x=1", "https://api.test/bytes/3", "https://other.test/sse"];

#[test]
fn what_was_learnt_allows_the_same_and_nothing_else() {
    needs!("curl");
    let server = Server::https_for(&["api.test", "other.test"]);
    let jail = Jail::new().upstream(&server);
    let policy = jail.place().join("learnt.txt");
    jail.run(WORK).denied("api.test:443", "host-not-allowed").denied("other.test:443", "host-not-allowed");
    assert_eq!(server.requests().len(), 0);

    let learning = Jail::new().upstream(&server).options(["--learn".into(), policy.clone().into_os_string()]);
    learning.run(WORK).succeeds().allowed("api.test:443", 2).allowed("other.test:443", 1).denied_nothing();
    let learnt = std::fs::read_to_string(&policy).unwrap();
    assert!(learnt.contains("allow GET https://api.test/echo\n"), "{learnt}");

    let jail = jail.options(["--policy".into(), policy.into_os_string()]);
    jail.run(WORK).succeeds().allowed("api.test:443", 2).allowed("other.test:443", 1).denied_nothing();
    let before = server.requests().len();
    jail.run(["curl", "-sS", "https://api.test/status/200"]).denied("api.test:443", "path-not-allowed");
    jail.run(["curl", "-sS", "-d", "x", "https://api.test/echo"])
        .denied("api.test:443", "method-not-allowed");
    jail.run(["curl", "-sS", "https://evil.test/"]).denied("evil.test:443", "host-not-allowed");
    assert_eq!(server.requests().len(), before);
}

#[test]
fn secrets_are_not_swapped_while_learning_unless_insisted() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail =
        Jail::new().allow("api.test").upstream(&server).secret("T", &token).credential("T=env:T@api.test");
    let jail = jail.host("curl").options(["--learn", "../learnt.txt"]);
    let script = r#"curl -sS -H "x-api-key: $T" https://api.test/echo"#;
    let ended = jail.script(script);
    ended.exits(2).says("--learn-with-credentials");
    assert_eq!(server.connections(), 0);
    let ended = jail.options(["--learn-with-credentials"]).script(script);
    ended.succeeds().swapped("T", "api.test:443");
    assert_eq!(server.last().header("x-api-key").unwrap(), token);
}
