//! Persistent homes: kept for the next job of the same jail in the same workspace, and for no other.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::support::{Ended, Jail, Server, random};

const NOTE: &str = "cat ~/note 2>/dev/null; echo kept > ~/note";

/// Another project of the same operator.
fn other_project(jail: &Jail) -> PathBuf {
    let other = jail.place().join("other-project");
    fs::create_dir_all(&other).unwrap();
    other
}

fn lines(ended: &Ended) -> Vec<serde_json::Value> {
    ended.succeeds().text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_home_belongs_to_a_jail_and_a_workspace() {
    let mut jail = Jail::new().options(["--home", "persistent"]);
    let (project, other) = (jail.project(), other_project(&jail));
    jail.script(NOTE).succeeds().prints_only("");
    jail.script(NOTE).succeeds().prints_only("kept\n");
    jail = jail.from(&other);
    jail.script(NOTE).succeeds().prints_only("");
    jail.script(NOTE).succeeds().prints_only("kept\n");
    // Without a workspace it is yet another, and a link to a project is the project.
    let without = jail.from(&project).options(["--workspace", "none"]);
    without.script(NOTE).succeeds().prints_only("");
    let homes = lines(&without.itself(["home", "list", "--json"]));
    let workspaces: Vec<_> = homes.iter().map(|home| home["workspace"].clone()).collect();
    assert_eq!(workspaces, [json!(null), json!(other), json!(project)]);
    assert!(homes.iter().all(|home| home["name"] == "job" && home["former"] == false), "{homes:?}");
}

#[test]
fn a_link_to_a_workspace_has_the_workspace_s_home() {
    let jail = Jail::new().options(["--home", "persistent"]);
    jail.script(NOTE).succeeds().prints_only("");
    let link = jail.place().join("link");
    std::os::unix::fs::symlink(jail.project(), &link).unwrap();
    let link = link.into_os_string();
    jail.options(["--workspace".into(), link]).script(NOTE).succeeds().prints_only("kept\n");
}

#[test]
fn a_home_is_found_and_reset_on_the_command_line() {
    let jail = Jail::new().options(["--home", "persistent"]);
    jail.itself(["home", "path"]).exits(1).says("no home");
    jail.itself(["home", "reset"]).exits(1).says("no home");
    let mut running = jail.start_script("echo note > ~/note; echo ready; read line");
    running.wait_for("ready\n");
    let path = PathBuf::from(jail.itself(["home", "path"]).succeeds().text().trim_end());
    assert_eq!(fs::read_to_string(path.join("note")).unwrap(), "note\n");
    jail.itself(["home", "reset"]).exits(1).says("a job is using it");
    running.closes_input();
    running.ends();
    let other = other_project(&jail);
    let elsewhere = ["home", "path", "job", "--workspace"].map(Into::into);
    jail.itself(elsewhere.into_iter().chain([other.into_os_string()])).exits(1).says("no home");
    jail.itself(["home", "path", "no/name"]).exits(2).says("not a jail's name");
    jail.itself(["home", "list"]).succeeds().prints(&jail.project().display().to_string());
    jail.itself(["home", "reset", "job"]).succeeds().prints(&path.display().to_string());
    assert!(!path.exists());
    assert!(lines(&jail.itself(["home", "list", "--json"])).is_empty());
    jail.script("cat ~/note").fails();
    jail.itself(["home", "reset", "--all"]).succeeds();
    assert!(lines(&jail.itself(["home", "list", "--json"])).is_empty());
}

#[test]
fn the_former_home_of_all_workspaces_is_in_no_jail_until_it_is_adopted() {
    let jail = Jail::new().options(["--home", "persistent"]);
    let former = jail.state().join("homes/job");
    fs::create_dir_all(&former).unwrap();
    fs::write(former.join("note"), "former\n").unwrap();
    jail.script("cat ~/note; true").succeeds().prints_only("").says("jail home adopt job");
    assert!(!jail.script("true").messages().join("").contains("adopt"), "it is said once");
    jail.itself(["home", "adopt"]).succeeds();
    jail.script("cat ~/note").succeeds().prints_only("former\n");
    jail.itself(["home", "adopt"]).exits(1).says("there is none");
}

#[test]
fn a_dummy_that_was_stored_works_in_the_next_job_of_the_same_home_only() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("ghp_"));
    let mut jail = Jail::new()
        .options(["--home", "persistent"])
        .host("curl")
        .allow("api.test")
        .upstream(&server)
        .secret("REAL", &token)
        .credential("T=env:REAL@api.test");
    let (project, other) = (jail.project(), other_project(&jail));
    let store = r#"echo "dummy=$T"; echo "$T" > ~/login"#;
    let request = |dummy: &str| {
        format!(
            r#"echo "dummy=$T"; curl -sS -o /dev/null -w 'code=%{{http_code}}\n' -H "authorization: Bearer {dummy}" https://api.test/echo"#
        )
    };
    let first = jail.script(store).succeeds().value("dummy");
    let again = jail.script(&request("$(cat ~/login)"));
    assert_eq!((again.value("dummy"), again.value("code")), (first.clone(), "200".to_owned()), "{again}");
    // Renewed meanwhile.
    let renewed = random("ghp_");
    jail = jail.secret("REAL", &renewed);
    assert_eq!(jail.script(&request("$(cat ~/login)")).value("code"), "200");
    assert_eq!(server.last().header("authorization"), Some(format!("Bearer {renewed}")));

    jail = jail.from(&other);
    let elsewhere = jail.script(&request(&first));
    assert_ne!(elsewhere.value("dummy"), first, "{elsewhere}");
    assert_eq!(elsewhere.value("code"), "403");
    elsewhere.denied("api.test:443", "foreign-credential");
    jail = jail.from(&project);
    jail.itself(["home", "reset"]).succeeds();
    assert_ne!(jail.script(store).value("dummy"), first, "a new home has new dummies");
}

/// A specification with a shell and a home like this.
fn with_home(home: serde_json::Value) -> serde_json::Value {
    json!({
        "version": 1, "name": "agent", "command": ["sh", "-c"], "programs": ["sh", "cat", "ls", "ln", "rm", "mkfifo", "mkdir"],
        "credentials": [{ "variable": "KEY", "sources": ["env:KEY"], "hosts": ["api.test"] }],
        "rules": ["api.test"],
        "home": home,
    })
}

fn seeds() -> serde_json::Value {
    json!([
        { "path": ".agent/state.json", "json": {
            "approved": ["${dummyEnd:KEY}"], "projects": { "${workspace}": { "trusted": true } } } },
        { "path": ".agent/login", "text": "${dummy:KEY}\n" },
    ])
}

#[test]
fn seeds_are_the_job_s_own_files_and_hold_dummies() {
    let token = random("sk-ant-api03-");
    for kind in ["ephemeral", "persistent"] {
        let jail = Jail::named("agent", with_home(json!({ "kind": kind, "seed": seeds() })));
        let jail = jail.secret("KEY", &token);
        let workspace = jail.project();
        let script = "cat ~/.agent/state.json; test \"$(cat ~/.agent/login)\" = \"$KEY\" && echo same; \
                      echo more >> ~/.agent/login && echo mine; : > ~/.agent/own && cat ~/left 2>/dev/null; echo x > ~/left";
        let first = jail.start([script]).ends().succeeds().text();
        assert!(first.contains("same\n") && first.contains("mine\n"), "{first}");
        assert!(first.contains(&format!("\"{}\": {{", workspace.display())), "{first}");
        assert!(first.contains("dummy0token\""), "{first}");
        assert!(!first.contains(&token[token.len() - 20..]));
        let second = jail.start([script]).ends().succeeds().text();
        assert_eq!(second.contains("x\n"), kind == "persistent", "{second}");
        assert!(second.contains("same\n"), "{second}");
        if kind == "ephemeral" {
            let homes = fs::read_dir(jail.state().join("homes")).unwrap().flatten();
            assert_eq!(homes.count(), 0, "a temporary home is left");
        }
    }
}

#[test]
fn what_a_job_leaves_in_its_home_leads_no_seed_or_import_out_of_it() {
    let token = random("sk-ant-api03-");
    let home = json!({ "kind": "persistent", "seed": seeds(), "import": [".agent/NOTES.md", ".skills"] });
    let jail = Jail::named("agent", with_home(home)).secret("KEY", &token).file("login", "the project's\n");
    let project = jail.project();
    fs::create_dir_all(jail.home().join(".agent")).unwrap();
    fs::create_dir_all(jail.home().join(".skills")).unwrap();
    fs::write(jail.home().join(".agent/NOTES.md"), "notes of the operator\n").unwrap();
    fs::write(jail.home().join(".skills/one"), "a skill\n").unwrap();
    let traps = [
        format!("rm -rf ~/.agent 2>/dev/null; ln -s {} ~/.agent; ls -d ~/.agent", project.display()),
        format!(
            "rm -f ~/.agent/login ~/.agent/state.json; ln -s {}/login ~/.agent/login; mkfifo ~/.agent/state.json; echo set",
            project.display()
        ),
        "echo done".to_owned(),
    ];
    for trap in &traps {
        let seen = "cat ~/.agent/NOTES.md ~/.skills/one; echo x 2>/dev/null > ~/.agent/NOTES.md || echo read-only; \
                    test \"$(cat ~/.agent/login)\" = \"$KEY\" && echo seeded; ";
        let ended = jail.start([format!("{seen}{trap}")]).ends();
        ended.succeeds().prints("notes of the operator\na skill\nread-only\nseeded\n");
        assert_eq!(fs::read_to_string(project.join("login")).unwrap(), "the project's\n");
        assert_eq!(fs::read_dir(&project).unwrap().count(), 1, "{trap}");
        let notes = fs::read_to_string(jail.home().join(".agent/NOTES.md")).unwrap();
        assert_eq!(notes, "notes of the operator\n");
    }
}

#[test]
fn a_file_of_the_operator_s_home_is_imported_on_the_command_line() {
    let jail = Jail::new().host("cat").options(["--import", "~/.notes", "--import", ".missing"]);
    fs::write(jail.home().join(".notes"), "notes\n").unwrap();
    jail.script("cat ~/.notes; cat ~/.missing 2>/dev/null || echo missing")
        .succeeds()
        .prints_only("notes\nmissing\n");
    let secret = jail.place().join("secret");
    fs::write(&secret, "outside\n").unwrap();
    fs::remove_file(jail.home().join(".notes")).unwrap();
    std::os::unix::fs::symlink(&secret, jail.home().join(".notes")).unwrap();
    let ended = jail.script("cat ~/.notes 2>/dev/null || echo none");
    ended.succeeds().prints_only("none\n").says("outside of the home");
}
