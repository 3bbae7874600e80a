//! Credentials: the dummy inside, the real one at its host, and nothing anywhere else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Jail, Server, random};

/// A jail with the credential T towards api.test, and curl.
fn jail(server: &Server, token: &str) -> Jail {
    Jail::new()
        .host("curl")
        .allow("api.test")
        .upstream(server)
        .secret("REAL", token)
        .credential("T=env:REAL@api.test")
}

#[test]
fn the_real_token_is_sent_in_every_slot_and_comes_back_as_the_dummy() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-ant-api03-"));
    let jail = jail(&server, &token);
    for (header, value) in [
        ("authorization", "Bearer "),
        ("authorization", "token "),
        ("x-api-key", ""),
        ("x-goog-api-key", ""),
        ("api-key", ""),
        ("private-token", ""),
    ] {
        let ended = jail.script(&format!(
            r#"echo "dummy=$T"; curl -sS -D - -H "{header}: {value}$T" https://api.test/echo https://api.test/gzip --compressed"#
        ));
        ended.succeeds().allowed("api.test:443", 2).swapped("T", "api.test:443");
        assert!(
            server
                .requests()
                .iter()
                .rev()
                .take(2)
                .all(|seen| { seen.header(header).as_deref() == Some(&*format!("{value}{token}")) })
        );
        // In the body and the header of each answer.
        let dummy = ended.value("dummy");
        let echoes = ended.text().matches(&format!("{value}{dummy}")).count();
        let expected = if ["authorization", "x-api-key"].contains(&header) { 4 } else { 2 };
        assert!(echoes >= expected, "{echoes} echoes of {header}{ended}");
    }
}

#[test]
fn the_dummy_has_the_real_one_s_shape() {
    let (server, token) = (Server::https("api.test"), random("sk-ant-oat01-"));
    let ended = jail(&server, &token).script(r#"echo "dummy=$T"; echo "real=$REAL""#);
    let dummy = ended.succeeds().value("dummy");
    assert!(dummy.starts_with("sk-ant-oat01-") && dummy.len() == token.len() && dummy != token, "{ended}");
    assert_eq!(ended.value("real"), "", "the operator's own variable is inside{ended}");
    let again = jail(&server, &token).script(r#"echo "dummy=$T""#).value("dummy");
    assert_ne!(dummy, again, "each job has a dummy of its own");
}

#[test]
fn the_real_token_goes_into_basic_and_declared_query_parameters() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("ghp_"));
    jail(&server, &token)
        .script(r#"curl -sS -u "me:$T" https://api.test/echo"#)
        .succeeds()
        .swapped("T", "api.test:443");
    let basic = STANDARD.encode(format!("me:{token}"));
    assert_eq!(server.last().header("authorization").unwrap(), format!("Basic {basic}"));

    let specification = json!({
        "version": 1, "name": "query", "command": ["sh", "-c"], "programs": ["@shell", "/usr/bin/curl"],
        "rules": ["api.test"],
        "credentials": [{
            "variable": "T", "sources": ["env:REAL"], "hosts": ["api.test"], "queryParameters": ["key"], "headers": ["x-own"],
        }],
    });
    let jail = Jail::named("query", specification).upstream(&server).secret("REAL", &token);
    let ended = jail.run([r#"curl -sS -H "x-own: $T" "https://api.test/echo?a=1&key=$T&b=2""#]);
    ended.succeeds().swapped("T", "api.test:443");
    assert_eq!(server.last().query, format!("a=1&key={token}&b=2"));
    assert_eq!(server.last().header("x-own").unwrap(), token);
    assert!(ended.audit[0]["query"].to_string().contains("key"), "{ended}");
}

#[test]
fn elsewhere_a_dummy_is_left_alone_towards_its_own_host() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let ended = jail(&server, &token)
        .script(r#"echo "dummy=$T"; curl -sS -H "x-note: $T" -d "$T" https://api.test/echo"#);
    ended.succeeds().swapped_nothing();
    assert_eq!(server.last().header("x-note").unwrap(), ended.value("dummy"));
}

#[test]
fn a_redirect_does_not_carry_the_real_token() {
    needs!("curl");
    let (server, token) = (Server::https_for(&["api.test", "evil.test"]), random("sk-"));
    let jail = jail(&server, &token);
    let script = r#"echo "dummy=$T"
        curl -sS -i -L --location-trusted -H "authorization: Bearer $T" "https://api.test/redirect?to=https://evil.test/x""#;
    let ended = jail.script(script);
    ended.prints("302").denied("evil.test:443", "host-not-allowed").swapped("T", "api.test:443");
    ended.prints(&format!("https://evil.test/x?token={}", ended.value("dummy")));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_dummy_does_not_go_to_another_host() {
    needs!("curl");
    let (server, token) = (Server::https_for(&["api.test", "other.test"]), random("sk-"));
    let jail = jail(&server, &token).allow("other.test");
    let positive = jail.script(
        r#"curl -sS -H "authorization: Bearer $T" https://api.test/echo; curl -sS https://other.test/echo"#,
    );
    positive.succeeds().allowed("other.test:443", 1);
    let before = server.requests().len();
    for slot in [r#"-H "authorization: Bearer $T""#, r#"-H "x-api-key: $T""#, r#"-u "me:$T""#] {
        let ended = jail.script(&format!("curl -sS -i {slot} https://other.test/echo"));
        ended.succeeds().prints("x-jail-deny: stray-credential").denied("other.test:443", "stray-credential");
    }
    assert_eq!(server.requests().len(), before);
}

#[test]
fn another_key_does_not_go_to_a_host_with_a_credential() {
    needs!("curl");
    let (server, token) = (Server::https_for(&["api.test", "other.test"]), random("sk-"));
    let jail = jail(&server, &token).allow("other.test");
    for slot in ["-H 'authorization: Bearer own-key'", "-H 'x-api-key: own-key'", "-u me:own-key"] {
        // Where no credential is declared, keys are nobody's business.
        jail.script(&format!("curl -sS -i {slot} https://other.test/echo"))
            .succeeds()
            .allowed("other.test:443", 1);
        let before = server.requests().len();
        let ended = jail.script(&format!("curl -sS -i {slot} https://api.test/echo"));
        ended
            .succeeds()
            .prints("x-jail-deny: foreign-credential")
            .denied("api.test:443", "foreign-credential");
        assert_eq!(server.requests().len(), before);
    }
    // A request without any is fine.
    jail.script("curl -sS https://api.test/echo").succeeds().allowed("api.test:443", 1);
}

#[test]
fn a_credential_is_never_sent_without_tls() {
    needs!("curl");
    let (server, plain, token) = (Server::https("api.test"), Server::http("api.test"), random("sk-"));
    let jail = jail(&server, &token).allow("http://api.test").upstream(&plain);
    let ended = jail.script(r#"curl -sS -H "authorization: Bearer $T" http://api.test/echo"#);
    ended.swapped_nothing();
    assert!(!plain.requests().iter().any(|seen| format!("{seen:?}").contains(&token)), "{ended}");
    jail.script(r#"curl -sS -H "authorization: Bearer $T" https://api.test/echo"#)
        .swapped("T", "api.test:443");
}

#[test]
fn every_kind_of_source_is_read() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let script = r#"curl -sS -H "x-api-key: $T" https://api.test/echo"#;
    let base = || Jail::new().host("curl").allow("api.test").upstream(&server).guards(&token);
    let private = |jail: &Jail, name: &str, contents: &str| {
        let path = jail.home().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let check = |jail: Jail| {
        let before = server.requests().len();
        jail.script(script).succeeds().swapped("T", "api.test:443");
        assert_eq!(server.requests().len(), before + 1);
        assert_eq!(server.last().header("x-api-key").unwrap(), token);
    };

    let jail = base();
    private(&jail, "token", &format!("{token}\n"));
    check(jail.credential("T=file:~/token@api.test"));
    let jail = base();
    let path = private(&jail, "token.json", &json!({"oauth": {"access/token": token}}).to_string());
    check(jail.credential(&format!("T=file:{}#/oauth/access~1token@api.test", path.display())));
    let jail = base();
    let path = private(&jail, "token", &token);
    check(jail.credential(&format!("T=command:cat {}@api.test", path.display())));
    // Several: the first that exists.
    let jail = base().variable("SECOND", &token).variable("THIRD", "another-token-for-nobody");
    check(
        jail.credential("T=file:~/nothing@api.test")
            .credential("T=env:FIRST@api.test")
            .credential("T=env:SECOND@api.test")
            .credential("T=env:THIRD@api.test"),
    );
}

#[test]
fn a_file_that_others_can_read_is_no_place_for_a_secret() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail = Jail::new().host("curl").allow("api.test").upstream(&server).guards(&token);
    let path = jail.home().join("token");
    fs::write(&path, &token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let jail = jail.credential("T=file:~/token@api.test");
    let script = r#"curl -sS -H "x-api-key: $T" https://api.test/echo"#;
    jail.script(script).exits(125).says("chmod 600");
    assert_eq!(server.connections(), 0);
    jail.options(["--insecure-file"]).script(script).succeeds().swapped("T", "api.test:443");
}

#[test]
fn without_its_secret_no_job_starts() {
    let token = random("sk-");
    let jail =
        Jail::new().allow("api.test").credential("T=env:FIRST@api.test").credential("T=file:~/none@api.test");
    let ended = jail.script("touch started");
    ended.exits(125).says("T").says("env:FIRST").says("file:~/none");
    assert!(!jail.project().join("started").exists());
    assert!(!jail.state().join("jobs").exists(), "a job is on record");
    // The same with it.
    let jail = jail.secret("FIRST", &token);
    jail.script("touch started").succeeds();
    assert!(jail.project().join("started").exists());
}

#[test]
fn the_real_token_stands_where_the_operator_says_and_nowhere_else() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let said = |places: &[&str], curl: &str| {
        let mut jail = jail(&server, &token);
        for place in places {
            jail = jail.options(["--inject", &format!("T={place}")]);
        }
        jail.script(&format!(r#"echo "dummy=$T"; curl -sS -i {curl}"#))
    };
    let template = "header:authorization: Token token={}";
    said(&[template], r#"-H "authorization: Token token=$T" https://api.test/echo"#)
        .swapped("T", "api.test:443");
    assert_eq!(server.last().header("authorization").unwrap(), format!("Token token={token}"));
    said(&["cookie:session"], r#"-b "a=b; session=$T" https://api.test/echo"#).swapped("T", "api.test:443");
    assert_eq!(server.last().header("cookie").unwrap(), format!("a=b; session={token}"));
    said(&["basic:user"], r#"-u "$T:" https://api.test/echo"#).swapped("T", "api.test:443");
    assert_eq!(
        server.last().header("authorization").unwrap(),
        format!("Basic {}", STANDARD.encode(format!("{token}:")))
    );
    said(&["query:key", "header:x-own"], r#"-H "x-own: $T" "https://api.test/echo?key=$T""#)
        .swapped("T", "api.test:443");
    assert_eq!(
        (server.last().query, server.last().header("x-own")),
        (format!("key={token}"), Some(token.clone()))
    );
    let before = server.requests().len();
    for (place, curl) in [
        (template, r#"-H "authorization: Bearer $T" https://api.test/echo"#),
        ("cookie:session", r#"-H "x-api-key: $T" https://api.test/echo"#),
        ("basic:user", r#"-u "me:$T" https://api.test/echo"#),
    ] {
        said(&[place], curl).prints("jail explain").denied("api.test:443", "foreign-credential");
    }
    assert_eq!(server.requests().len(), before);
}

#[test]
fn two_credentials_for_one_host_and_place_are_refused_at_the_start() {
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail = jail(&server, &token).secret("MORE", &random("sk-")).credential("U=env:MORE@api.test");
    let ended = jail.script("echo started");
    ended.exits(125).never_prints("started").says("the credentials T and U are for the same host");
    // With places of their own both are fine.
    jail.options(["--inject", "U=query:key"]).script("echo started").succeeds().prints("started");
}

#[test]
fn explain_names_each_credential_of_a_url_and_where_it_stands() {
    let jail = Jail::new();
    let declared =
        ["--allow", "api.test", "--credential", "T=env:T@api.test", "--credential", "U=env:U@api.test"];
    let placed = ["--inject", "U=query:key", "--inject", "U=header:x-own: Own {}"];
    let explained =
        |url| jail.itself(["explain"].iter().chain(&declared).chain(&placed).chain(&["GET", url]).copied());
    explained("https://api.test/a")
        .succeeds()
        .prints("  T in Authorization, x-api-key and their like\n")
        .prints("  U in query:key, header:x-own: Own {}\n");
    explained("https://other.test/").exits(1).never_prints(" in ");
}

#[test]
fn a_token_that_a_program_exchanges_a_key_for_is_used() {
    needs!("curl");
    let (server, token, key) = (Server::https("api.test"), random("ghs_"), random("key-"));
    let base = Jail::new().host("curl").allow("api.test").upstream(&server).guards(&token).guards(&key);
    // What a GitHub App's helper does: a long-lived key in, a short-lived token out.
    let (helper, stored) = (base.home().join("exchange"), base.home().join("app.pem"));
    fs::write(&stored, &key).unwrap();
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --app ] && grep -q '{key}' \"$3\" && echo '{{\"token\": \"{token}\", \"expires_at\": 1}}'\n"
    );
    fs::write(&helper, text).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o700)).unwrap();
    let source = format!("command:{} --app 1234 {}#/token", helper.display(), stored.display());
    let ended = base
        .credential(&format!("T={source}@api.test"))
        .script(r#"curl -sS -H "authorization: Bearer $T" https://api.test/echo"#);
    ended.succeeds().swapped("T", "api.test:443");
    assert_eq!(server.last().header("authorization").unwrap(), format!("Bearer {token}"));
}
