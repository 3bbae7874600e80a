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
