//! The other commands: what they say about jails, rules and jobs.

use serde_json::json;

use crate::support::{Jail, Server, random};

#[test]
fn explain_says_what_would_happen_and_it_does() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().allow("GET https://api.test/echo").upstream(&server);
    let explain = |method: &str, url: &str| {
        jail.itself(["explain", "--allow", "GET https://api.test/echo", method, url])
    };
    explain("GET", "https://api.test/echo").exits(0).prints("allowed by rule 1");
    jail.run(["curl", "-sS", "https://api.test/echo"]).allowed("api.test:443", 1);
    for (method, url, authority, reason) in [
        ("POST", "https://api.test/echo", "api.test:443", "method-not-allowed"),
        ("GET", "https://api.test/other", "api.test:443", "path-not-allowed"),
        ("GET", "https://evil.test/", "evil.test:443", "host-not-allowed"),
        ("GET", "http://api.test/echo", "api.test:80", "scheme-not-allowed"),
    ] {
        explain(method, url).exits(1).prints(&format!("denied: {reason}"));
        jail.run(["curl", "-sS", "-X", method, url]).denied(authority, reason);
    }
    explain("GET", "ftp://api.test/").exits(2).says("ftp");
}

#[test]
fn check_reads_specifications_and_policies_as_run_does() {
    let good =
        json!({"version": 1, "name": "good", "rules": ["api.test", {"action": "deny", "hosts": ["b.test"]}]});
    let jail = Jail::new()
        .file("good.json", good.to_string())
        .file("bad.json", r#"{"version": 1, "name": "bad", "rulez": []}"#)
        .file("good.txt", "allow api.test\ndeny tcp://b.test:1\n")
        .file("bad.txt", "allow https://api.test/../\n");
    jail.itself(["check", "good.json"]).succeeds().prints("2 rules");
    jail.itself(["check", "good.txt"]).succeeds().prints("2 rules");
    jail.itself(["check", "bad.json"]).exits(2).says("rulez");
    jail.itself(["check", "bad.txt"]).exits(2).says("line 1");
    jail.itself(["check", "missing.json"]).exits(2).says("missing.json");
}

#[test]
fn log_shows_what_a_job_did() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().host("curl").allow("api.test").upstream(&server);
    jail.itself(["log"]).exits(2).says("no job has run yet");
    // Not in the command line, which is on record.
    let jail = jail.file("urls", "url=https://api.test/echo?key=hidden\nurl=https://evil.test/x\n");
    let ended = jail.script("curl -sS --config urls");
    let job = ended.summary["job"].as_str().unwrap().to_owned();
    for arguments in [vec!["log"], vec!["log", &job], vec!["log", "--follow"], vec!["log", &job[..6]]] {
        let log = jail.itself(arguments);
        log.succeeds().prints("api.test").prints("host-not-allowed").never_prints("hidden");
    }
    let lines = jail.itself(["log", "--json"]).text();
    let events: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events, ended.audit);
    jail.itself(["log", "nothing"]).exits(2).says("nothing");
}

#[test]
fn log_follows_a_job_to_its_end() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().host("curl").allow("api.test").upstream(&server);
    let mut running = jail.start_script("echo ready; read line; curl -sS https://api.test/echo; read line");
    running.wait_for("ready");
    let mut log = jail.start_itself(["log", "--follow"]);
    running.writes(b"go\n");
    log.wait_for("/echo");
    running.ends();
    log.ends().succeeds();
}

#[test]
fn a_jail_is_run_by_its_name_with_every_word_after_it() {
    let specification = |greeting: &str| {
        json!({
            "version": 1, "name": "mine", "command": ["sh", "-c"], "programs": ["@shell"],
            "environment": {"GREETING": greeting},
        })
    };
    let jail = Jail::named("mine", specification("settings"));
    let script = "echo \"$GREETING $0 $1\"; exit 4";
    jail.itself(["mine", script, "--allow", "-h"]).exits(4).prints_only("settings --allow -h\n");
    jail.itself(["run", "mine", "--env", "GREETING=flag", "--", script, "one", "two"])
        .exits(4)
        .prints_only("flag one two\n");
    // The directories of JAIL_PATH come first; the workspace is none of them.
    let jail = jail.file("mine.json", specification("workspace").to_string());
    jail.itself(["mine", script]).exits(4).prints("settings");
    let directory = jail.place().join("jails");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("mine.json"), specification("path").to_string()).unwrap();
    let jail = jail.variable("JAIL_PATH", directory);
    jail.itself(["mine", script]).exits(4).prints("path");
}

#[test]
fn options_without_a_command_mean_run() {
    Jail::new().itself(["--host", "@shell", "--", "sh", "-c", "echo hi"]).succeeds().prints_only("hi\n");
}

#[test]
fn demo_observes_what_it_claims() {
    let demo = Jail::new().itself(["demo"]);
    demo.succeeds().prints("host-not-allowed");
}

#[test]
fn help_and_manuals_are_there() {
    let jail = Jail::new();
    jail.itself(["--help"]).succeeds().prints("jail demo").prints("jail claude");
    jail.itself(["run", "--help"]).succeeds().prints("--credential").prints("Exit code");
    jail.itself(["schema"]).succeeds().prints("\"passEnvironment\"");
    for shell in ["bash", "zsh", "fish"] {
        jail.itself(["completions", shell]).succeeds().prints("workspace-mode");
    }
    jail.itself(["man", "."]).succeeds();
    assert!(jail.project().join("jail.1").is_file() && jail.project().join("jail-run.1").is_file());
    jail.itself(["doctor"]).says("");
    jail.itself([""; 0]).exits(2);
}

#[test]
fn a_command_takes_the_place_of_a_shell_and_options_and_scripts_do_not() {
    needs!("bash");
    let jail = Jail::new().ready_made("shell").file("script.sh", "echo script");
    jail.run(["echo", "hi"]).succeeds().prints_only("hi\n");
    jail.run(["script.sh"]).succeeds().prints_only("script\n");
    jail.run(["-c", "echo ${SHELL##*/}"]).succeeds().prints_only("bash\n");
    jail.run(["env"]).succeeds().prints("\nPS1=[jail shell] \\w\\$ \n");
}

#[test]
fn a_rule_set_reads_from_its_registry_and_does_not_publish() {
    needs!("curl");
    let server = Server::https("registry.npmjs.org");
    let jail = Jail::new().host("curl").allow("@npm").upstream(&server);
    let curl = |method: &str| jail.run(["curl", "-sS", "-X", method, "https://registry.npmjs.org/echo"]);
    curl("GET").succeeds().allowed("registry.npmjs.org:443", 1);
    curl("PUT").succeeds().denied("registry.npmjs.org:443", "method-not-allowed");
    jail.itself(["rules"]).succeeds().prints("\n@npm ");
    jail.itself(["rules", "@npm"]).succeeds().prints("\nallow GET,HEAD registry.npmjs.org\n");
    jail.itself(["rules", "nowhere"]).exits(2).says("@pypi");
    Jail::new().deny("@npm").run(["true"]).exits(2).says("jail rules @npm");
}

#[test]
fn a_preset_goes_through_the_gateway_of_the_environment() {
    needs!("curl");
    let (server, token) = (Server::https("gateway.test"), random("gateway-"));
    let jail = Jail::new().upstream(&server).secret("ANTHROPIC_AUTH_TOKEN", &token);
    // In place of Claude Code, which the check `agents` runs.
    let program = jail.place().join("bin/claude");
    std::fs::create_dir(program.parent().unwrap()).unwrap();
    let script = "#!/bin/sh\ncurl -sS -H \"authorization: Bearer $ANTHROPIC_AUTH_TOKEN\" $ANTHROPIC_BASE_URL/echo\n\
                  curl -sS -o /dev/null -w '%{http_code}' https://api.anthropic.com/v1/messages\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let url = format!("https://gateway.test:{}", server.port());
    let jail = jail.ready_made("claude").variable("PATH", path).variable("ANTHROPIC_BASE_URL", url);
    let ended = jail.options(["--host", "curl"]).run([""; 0]);
    ended
        .succeeds()
        .prints("403")
        .swapped("ANTHROPIC_AUTH_TOKEN", &format!("gateway.test:{}", server.port()));
    ended.denied("api.anthropic.com:443", "host-not-allowed");
    assert_eq!(server.last().header("authorization").unwrap(), format!("Bearer {token}"));
}

#[test]
fn an_address_alone_is_explained_as_a_get() {
    let jail = Jail::new();
    let explain =
        |words: &[&str]| jail.itself(["explain", "--allow", "GET a.test"].iter().chain(words).copied());
    explain(&["https://a.test/x"]).exits(0).prints("allowed by rule 1");
    explain(&["https://b.test/x"]).exits(1).prints("denied: host-not-allowed");
}

#[test]
fn a_log_has_dates_and_how_the_job_ended() {
    let jail = Jail::new();
    jail.script("exit 3").exits(3);
    let log = jail.itself(["log"]);
    let started = format!("  started in {}\n", jail.project().canonicalize().unwrap().display());
    log.succeeds().prints(&started).prints("  ended with exit code 3 after ").prints(" UTC  ");
}

#[test]
fn manual_pages_go_to_a_directory_that_is_made() {
    let jail = Jail::new();
    let directory = jail.place().join("a/man");
    jail.itself(["man".into(), directory.clone().into_os_string()]).succeeds();
    assert!(directory.join("jail-run.1").is_file());
}

#[test]
fn a_list_of_secrets_without_a_keychain_is_an_error() {
    let jail = Jail::new().variable("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
    jail.itself(["secret", "list"]).exits(1).says("keep secrets elsewhere");
}

#[test]
fn a_request_that_no_server_answered_is_said() {
    needs!("curl");
    // A port that nobody listens on.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let to = format!("a.test:443:{unused}");
    let jail = Jail::new().allow("a.test").options(["--connect-to", &to]).for_people();
    jail.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "https://a.test/"])
        .prints_only("502")
        .says("0 allowed, 1 failed (a.test: upstream-connect), 0 denied");
    jail.itself(["log"]).succeeds().prints("FAILED upstream-connect after ");
}

#[test]
fn a_workspace_may_have_a_name_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let jail = Jail::new();
    if crate::support::backend::is_container() {
        crate::support::skip::report("an engine's command line and mounts are text");
        return;
    }
    let directory = jail.place().join(std::ffi::OsStr::from_bytes(b"n\xff"));
    if let Err(error) = std::fs::create_dir(&directory) {
        crate::support::skip::report(&error.to_string());
        return;
    }
    let jail = jail.from(&directory);
    jail.script("echo x > made").succeeds();
    assert!(directory.join("made").is_file());
    jail.itself(["ps", "--all", "--json"]).succeeds().prints("n\u{fffd}");
}
