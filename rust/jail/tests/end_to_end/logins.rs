//! Logins (OAuth): renewed by the proxy, stored where they were, shared by all jobs of the user. Attack 15.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Jail, Logins, Server};

const ASK: &str = r#"curl -sS -H "authorization: Bearer $T" https://api.test/x"#;

/// A jail whose credential T is the login in `~/login.json`, which is of generation 0 and lasts for `seconds` more.
fn jail(logins: &Logins, server: &Server, seconds: i64) -> Jail {
    let specification = json!({
        "version": 1, "name": "login", "command": ["sh", "-c"], "programs": ["@shell", "/usr/bin/curl"],
        "rules": ["api.test"],
        "credentials": [{
            "variable": "T", "sources": ["file:~/login.json#/login/access"], "hosts": ["api.test"],
            "oauth": {
                "token": "/login/access", "refresh": "/login/refresh", "expiry": "/login/expires",
                "endpoint": "https://login.test/oauth/token", "clientId": "the-client",
                "refreshVariable": "R", "cure": "the-program /login",
            },
        }],
    });
    let jail = logins.tokens().fold(Jail::named("login", specification), |jail, token| jail.guards(token));
    let jail = jail.upstream(server);
    write(&jail, logins, 0, seconds);
    jail
}

fn file(jail: &Jail) -> PathBuf {
    jail.home().join("login.json")
}

/// What the program that the login is of does on the host.
fn write(jail: &Jail, logins: &Logins, generation: usize, seconds: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let (access, refresh) = logins.pair(generation);
    let login = json!({
        "before": [1, {"a": null}],
        "login": {"access": access, "refresh": refresh, "expires": now + seconds * 1000, "scopes": ["x"]},
    });
    let fresh = jail.home().join("login.json.new");
    fs::write(&fresh, login.to_string()).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(fresh, file(jail)).unwrap();
}

/// What is in the file: the generation, the seconds left.
#[track_caller]
fn stored(jail: &Jail, logins: &Logins) -> (usize, u64) {
    let json: Value = serde_json::from_slice(&fs::read(file(jail)).unwrap()).unwrap();
    assert_eq!((&json["before"], &json["login"]["scopes"]), (&json!([1, {"a": null}]), &json!(["x"])));
    assert_eq!(fs::metadata(file(jail)).unwrap().permissions().mode() & 0o777, 0o600);
    let holds = |generation: &usize| {
        let (access, refresh) = logins.pair(*generation);
        json["login"]["access"] == **access && json["login"]["refresh"] == **refresh
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let left = json["login"]["expires"].as_u64().unwrap().saturating_sub(now) / 1000;
    ((0..8).find(holds).expect("a pair of one generation"), left)
}

#[test]
fn a_login_that_is_good_is_left_alone() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server, 3600);
    jail.run([ASK]).succeeds().prints("welcome").swapped("T", "api.test:443");
    assert_eq!((logins.counts(), stored(&jail, &logins).0), ((0, 0), 0));
}

#[test]
fn a_login_is_renewed_before_it_expires_and_stored_where_it_was() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server, -5);
    let ended = jail.run([format!("echo first=$T; {ASK}; {ASK}; echo; echo last=$T")]);
    ended.succeeds().allowed("api.test:443", 2).never_prints("refused");
    // Old and new come back as the one dummy.
    let dummy = ended.value("first");
    assert_eq!(ended.text().matches(&format!("Bearer {dummy}")).count(), 2, "{ended}");
    let (generation, left) = stored(&jail, &logins);
    assert!(generation == 1 && (3500..=3600).contains(&left), "{generation} {left}");
    assert_eq!(logins.counts(), (1, 0));
    // The next job finds it.
    jail.run([ASK]).prints("welcome");
    assert_eq!(logins.counts(), (1, 0));
    assert_eq!(fs::read_dir(jail.home()).unwrap().count(), 1, "something was left beside the file");
}

#[test]
fn a_link_to_the_login_stays_a_link() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server, -5);
    let real = jail.place().join("real.json");
    fs::rename(file(&jail), &real).unwrap();
    std::os::unix::fs::symlink(&real, file(&jail)).unwrap();
    jail.run([ASK]).succeeds().prints("welcome");
    assert!(file(&jail).is_symlink());
    assert_eq!(stored(&jail, &logins).0, 1);
}

#[test]
fn tokens_that_last_a_moment_are_not_renewed_for_every_request() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    logins.last(100);
    jail(&logins, &server, -5)
        .run([format!("for n in 1 2 3 4; do {ASK}; done")])
        .succeeds()
        .never_prints("refused");
    assert_eq!(logins.counts(), (1, 0));
}

#[test]
fn a_refused_login_is_renewed_and_the_request_sent_again() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server, 3600);
    // The access token was revoked, the refresh token of the next generation is the one that counts.
    logins.turn_over();
    write(&jail, &logins, 1, 3600);
    let spoilt = fs::read_to_string(file(&jail)).unwrap().replace(&logins.pair(1).0, &logins.pair(0).0);
    fs::write(file(&jail), spoilt).unwrap();
    let ended = jail.run([format!(r#"{ASK} -d "a body to be sent twice""#)]);
    ended.succeeds().prints("welcome").never_prints("refused").allowed("api.test:443", 1);
    assert_eq!(logins.counts(), (1, 0));
    let bodies: Vec<usize> =
        server.requests().iter().filter(|seen| seen.host == "api.test").map(|seen| seen.body).collect();
    assert_eq!(bodies, [23, 23]);
    assert_eq!(stored(&jail, &logins).0, 2);
}

#[test]
fn what_the_host_renews_reaches_a_running_job() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server, 3600);
    let mut running = jail.start([format!("{ASK}; echo; echo first; read go; {ASK}")]);
    running.wait_for("first");
    logins.turn_over();
    write(&jail, &logins, 1, 3600);
    running.writes(b"go\n");
    let ended = running.ends();
    ended.succeeds().never_prints("refused").allowed("api.test:443", 2);
    assert_eq!(ended.text().matches("welcome").count(), 2, "{ended}");
    assert_eq!((logins.counts(), stored(&jail, &logins).0), ((0, 0), 1));
}

#[test]
fn jobs_at_once_renew_once() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server, -5);
    // All of them have read the old login before one of them asks.
    let script = format!("echo ready; read go; {ASK} & {ASK} & {ASK}; wait");
    let mut jobs: Vec<_> = (0..3).map(|_| jail.start([&script])).collect();
    for job in &mut jobs {
        job.wait_for("ready");
    }
    for job in &mut jobs {
        job.writes(b"go\n");
    }
    for job in jobs {
        let ended = job.ends();
        ended.succeeds().allowed("api.test:443", 3).never_prints("refused");
    }
    assert_eq!((logins.counts(), stored(&jail, &logins).0), ((1, 0), 1));
}

#[test]
fn a_job_s_own_renewal_is_answered_with_its_dummies() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server, 3600);
    let token = "-sS -i https://login.test/oauth/token";
    let ended = jail.run([format!(
        r#"echo "access=$T"; echo "refresh=$R"
        curl {token} -H 'content-type: application/json' \
             -d "{{\"grant_type\":\"refresh_token\",\"refresh_token\":\"$R\",\"client_id\":\"the-client\"}}"; echo
        curl {token} -d grant_type=refresh_token --data-urlencode "refresh_token=$R"; echo; {ASK}"#
    )]);
    ended.succeeds().prints("welcome");
    let (access, refresh) = (ended.value("access"), ended.value("refresh"));
    assert!(refresh.starts_with("sk-ant-ort01-") && access.starts_with("sk-ant-oat01-"), "{ended}");
    let answers: Vec<Value> =
        ended.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(answers.len(), 3, "{ended}");
    for answer in &answers[..2] {
        assert_eq!((&answer["access_token"], &answer["refresh_token"]), (&json!(access), &json!(refresh)));
        assert!((3000..=3600).contains(&answer["expires_in"].as_u64().unwrap()), "{ended}");
    }
    // Nothing else gets there: no key of the job's own, and no rule allows the host.
    for body in ["grant_type=refresh_token&refresh_token=own", "grant_type=authorization_code&code=x", ""] {
        let ended = jail.run([format!("curl {token} -d '{body}'")]);
        ended.prints("foreign-credential").denied("login.test:443", "foreign-credential");
    }
    jail.run(["curl -sS -i https://login.test/oauth/token"]).denied("login.test:443", "host-not-allowed");
    assert!(server.requests().iter().all(|seen| seen.host == "api.test"));
    assert_eq!(logins.counts(), (0, 0));
}

#[test]
fn while_the_login_server_is_down_the_old_token_goes_on_until_it_is_refused() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server, -5);
    logins.outage(Some(StatusCode::SERVICE_UNAVAILABLE));
    jail.run([ASK]).succeeds().prints("welcome").allowed("api.test:443", 1);
    logins.turn_over();
    let ended = jail.run([ASK]);
    ended.prints("login.test:443 answered with 503").prints("Try again later").never_prints("refused\":");
    ended.denied("api.test:443", "credential-expired");
    assert_eq!(stored(&jail, &logins).0, 0);
}

#[test]
fn a_login_that_has_ended_says_how_to_make_a_new_one() {
    needs!("curl");
    let logins = Logins::new();
    let server = logins.serve();
    let jail = jail(&logins, &server, -5);
    logins.turn_over();
    let ended = jail.run([ASK]);
    ended.prints("the-program /login").prints("invalid_grant").denied("api.test:443", "credential-expired");
    // A login by hand is found.
    write(&jail, &logins, 1, 3600);
    jail.run([ASK]).succeeds().prints("welcome");
    // Without a refresh token there is nothing to start with.
    let json = fs::read_to_string(file(&jail)).unwrap().replace(&logins.pair(1).1, "");
    fs::write(file(&jail), &json).unwrap();
    jail.run([ASK]).succeeds().prints("welcome");
    write(&jail, &logins, 1, -5);
    let json = fs::read_to_string(file(&jail)).unwrap().replace(&logins.pair(1).1, "");
    fs::write(file(&jail), &json).unwrap();
    jail.run([ASK]).exits(125).says("no refresh token").says("the-program /login");
}
