//! Jobs at work, seen and ended from outside: `jail ps`, `jail stop`, `jail log NAME`.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Jail, Running, Server, descendants, find, gone, is_root, skip};

const OBEDIENT: &str = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 1; done";
const DEAF: &str = "trap '' TERM; (trap '' TERM; exec sleep 600) & echo ready; while :; do sleep 1; done";

/// A jail with a name, so that several of its jobs can be told from others.
fn named(name: &str) -> Jail {
    let specification = json!({"version": 1, "name": name, "command": ["sh", "-c"], "programs": ["@shell"]});
    Jail::named(name, specification)
}

fn started(jail: &Jail, script: &str) -> Running {
    let mut running = jail.start([script]);
    running.wait_for("ready\n");
    running
}

fn listed(jail: &Jail, arguments: &[&str]) -> Vec<Value> {
    let ended = jail.itself(["ps", "--json"].iter().chain(arguments));
    ended.succeeds().text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn id(line: &Value) -> String {
    line["id"].as_str().unwrap().to_owned()
}

#[test]
fn ps_lists_the_jobs_that_run() {
    let jail = named("worker");
    jail.itself(["ps"]).succeeds().prints("JOB").never_prints("worker");
    let ended = jail.run(["exit 3"]);
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let mut running = started(&jail, "echo ready; read line");
    let [job] = <[Value; 1]>::try_from(listed(&jail, &[])).unwrap();
    assert_eq!(job["name"], "worker");
    assert_eq!(job["state"], "running");
    assert_eq!(job["pid"], running.launcher().as_raw());
    assert_eq!(job["workspace"], jail.project().to_str().unwrap());
    assert_eq!(job["command"], json!(["sh", "-c", "echo ready; read line"]));
    let backend = std::env::var("JAIL_TEST_BACKEND").unwrap_or_else(|_| "native".to_owned());
    assert_eq!(job["backend"], backend);
    assert!(job["started"].as_u64().unwrap() >= before);
    let text = jail.itself(["ps"]);
    text.succeeds().prints(&id(&job)).prints(&running.launcher().to_string()).never_prints("STATE");

    let all = listed(&jail, &["--all"]);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!([id(&all[0]), id(&all[1])], [id(&job), ended.summary["job"].as_str().unwrap().to_owned()]);
    assert_eq!(all[1]["state"], "ended");
    assert_eq!(all[1]["code"], 3);
    jail.itself(["ps", "--all"]).succeeds().prints("ended (3)").prints("running");
    running.writes(b"go\n");
    running.ends().succeeds();
    assert!(listed(&jail, &[]).is_empty());
}

#[test]
fn a_job_whose_launcher_was_killed_does_not_run() {
    let jail = named("worker");
    let mut running = started(&jail, DEAF);
    let processes = descendants(running.launcher());
    running.signal(Signal::SIGKILL);
    gone(&processes);
    assert!(listed(&jail, &[]).is_empty());
    let [job] = <[Value; 1]>::try_from(listed(&jail, &["--all"])).unwrap();
    assert_eq!(job["state"], "killed");
    jail.itself(["stop", &id(&job)]).exits(1).says("does not run");
}

#[test]
fn stop_ends_a_job_politely() {
    let jail = named("worker");
    for by_beginning in [false, true] {
        let running = started(&jail, OBEDIENT);
        let job = id(&listed(&jail, &[])[0]);
        let processes = descendants(running.launcher());
        let word = if by_beginning { &job[..job.len() - 1] } else { job.as_str() };
        let stop = jail.itself(["stop", word]);
        stop.succeeds().prints_only(&format!("{job}\n"));
        assert_eq!(stop.stderr, "");
        gone(&processes);
        running.ends().exits(7).prints("caught\n");
        let all = listed(&jail, &["--all"]);
        assert_eq!((&all[0]["state"], &all[0]["code"]), (&json!("ended"), &json!(7)));
    }
}

#[test]
fn stop_ends_a_job_that_its_shell_has_stopped() {
    let jail = named("worker");
    let mut running = started(&jail, OBEDIENT);
    running.signal(Signal::SIGSTOP);
    jail.itself(["stop", "worker"]).succeeds();
    running.ends().exits(7).prints("caught\n");
}

#[test]
fn stop_kills_a_job_that_does_not_listen() {
    let jail = named("worker");
    let running = started(&jail, DEAF);
    let processes = descendants(running.launcher());
    assert!(processes.len() >= 4, "{processes:?}");
    let job = id(&listed(&jail, &[])[0]);
    let stop = jail.itself(["stop", "--timeout", "1s", &job]);
    // Asked at once: what `stop` says is gone is gone when it says so.
    for (pid, _) in &processes {
        let there = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        assert!(there.is_err() || is_zombie(*pid), "process {pid} is still there{stop}");
    }
    stop.succeeds().prints_only(&format!("{job}\n")).says("was killed");
    let all = listed(&jail, &["--all"]);
    assert_eq!((&all[0]["state"], &all[0]["code"]), (&json!("ended"), &json!(137)));
    gone(&processes);
}

/// Ended, but its parent has not looked yet.
fn is_zombie(pid: nix::unistd::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn stop_by_a_jail_s_name_ends_all_of_its_jobs_and_no_other() {
    let jail = named("worker");
    let other = json!({"version": 1, "name": "other", "command": ["sh", "-c"], "programs": ["@shell"]});
    std::fs::write(jail.place().join("config/nix-jail/other.json"), other.to_string()).unwrap();
    let [first, second] = [started(&jail, OBEDIENT), started(&jail, DEAF)];
    let mut bystander = jail.start_itself(["other", "echo ready; read line; exit 4"]);
    bystander.wait_for("ready\n");
    jail.itself(["stop", "w"]).exits(2).says("several jobs");
    let stop = jail.itself(["stop", "worker", "--timeout", "1s"]);
    assert_eq!(stop.succeeds().text().lines().count(), 2, "{stop}");
    first.ends().exits(7);
    second.ends().fails();
    let [left] = <[Value; 1]>::try_from(listed(&jail, &[])).unwrap();
    assert_eq!(left["name"], "other");
    bystander.writes(b"go\n");
    bystander.ends().exits(4);
}

#[test]
fn stop_says_when_there_is_nothing_to_stop() {
    let jail = named("worker");
    jail.itself(["stop", "nothing"]).exits(1).says("there is no job nothing").says("jail ps");
    jail.run(["true"]).succeeds();
    jail.itself(["stop", "worker"]).exits(1).says("does not run");
    // The others of the command line are ended all the same.
    let running = started(&jail, OBEDIENT);
    jail.itself(["stop", "nothing", "worker"]).exits(1).prints("worker-");
    running.ends().exits(7);
    jail.itself(["stop"]).exits(2);
}

#[test]
fn print_units_shows_what_systemd_would_be_told_and_runs_nothing() {
    let jail = Jail::new();
    let arguments = ["--memory", "64M", "--timeout", "1m", "--print-units", "--", "touch", "started"];
    let run = ["run", "--backend", "systemd"];
    let shown = jail.itself(run.iter().chain(&arguments));
    shown.succeeds().prints("systemd-run").prints("--scope").prints("--unit=nix-jail-job-");
    shown.prints("MemoryMax=67108864").prints("RuntimeMaxSec=").prints("MemoryAccounting=yes");
    assert_eq!(shown.text().contains("--user"), !is_root(), "{shown}");
    assert!(!jail.project().join("started").exists() && !jail.state().join("jobs").exists());
    jail.itself(["run"].iter().chain(&arguments)).exits(2).says("--backend systemd");
}

#[test]
fn where_systemd_cannot_make_the_jail_nobody_else_does() {
    // Whose programs are found whatever PATH says.
    if std::path::Path::new("/run/systemd/system").exists() {
        skip::report("systemd runs here");
        return;
    }
    // Nothing on PATH: the program is named in full.
    let jail = Jail::new().variable("PATH", "/nowhere");
    let touch = find("touch").unwrap().into_os_string().into_string().unwrap();
    let start =
        |backend: &str| jail.itself(["run", "--backend", backend, "--host", &touch, "--", &touch, "started"]);
    start("systemd").exits(125).says("the systemd backend cannot be used here");
    assert!(!jail.project().join("started").exists());
    start("native").succeeds();
    assert!(jail.project().join("started").exists());
}

#[test]
fn log_by_a_jail_s_name_shows_its_newest_job() {
    needs!("curl");
    let server = Server::https("api.test");
    let specification = json!({
        "version": 1, "name": "worker", "command": ["sh", "-c"], "programs": ["@shell", "curl"],
        "rules": ["api.test"],
    });
    let jail = Jail::named("worker", specification).upstream(&server);
    jail.run(["curl -sS https://api.test/echo"]).allowed("api.test:443", 1);
    let mut running = jail.start(["echo ready; read line; curl -sS https://api.test/bytes/1; read line"]);
    running.wait_for("ready");
    let mut log = jail.start_itself(["log", "--follow", "worker"]);
    running.writes(b"go\n");
    log.wait_for("/bytes/1");
    running.ends();
    log.ends().succeeds().never_prints("/echo");
    jail.itself(["log", "nothing"]).exits(2).says("nothing");
}
