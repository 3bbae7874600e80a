//! Jails of an engine on another kernel: what only the relay can get wrong. The engine here is on this one, and treated
//! otherwise; with `JAIL_TEST_RELAY` the rest of the suite runs so too.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use nix::sys::signal::{Signal, kill};

use crate::support::backend::{container, is_relayed};
use crate::support::{Jail, Server, descendants, find, gone, is_root, skip};

/// A jail behind a relay.
fn relayed() -> Jail {
    // The suite adds the option itself, if it runs so.
    Jail::new().options((!is_relayed()).then_some("--container-relay"))
}

/// Puts a program of the engine's name first on the jail's `PATH`.
fn with_program(jail: Jail, engine: &str, text: &str) -> Jail {
    let directory = jail.place().join("bin");
    fs::create_dir(&directory).unwrap();
    let program = directory.join(engine);
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([
        &directory,
        Path::new("/usr/local/bin"),
        Path::new("/usr/bin"),
        Path::new("/bin"),
    ]);
    jail.variable("PATH", path.unwrap())
}

#[test]
fn many_connections_at_once_are_carried_and_told_apart() {
    needs!("curl");
    engine!();
    let server = Server::http("api.test");
    let jail = relayed().host("curl").allow("http://api.test").upstream(&server);
    let script = r#"
for number in $(seq 200); do printf 'url=http://api.test/bytes/%s\noutput=answers/%s\n' "$number" "$number"; done > list
mkdir answers
curl -sS --http1.1 --parallel --parallel-immediate --parallel-max 200 --noproxy '*' --config list || echo failed
for number in $(seq 200); do [ "$(wc -c < "answers/$number")" = "$number" ] || echo "wrong: $number"; done
echo "answers: $(ls answers | wc -l)"
"#;
    jail.options(["--host", "/usr/bin/seq", "--host", "/usr/bin/wc"])
        .script(script)
        .succeeds()
        .prints_only("answers: 200\n")
        .allowed("api.test:80", 200);
}

/// A far end in the hands of an attacker: it speaks the relay's frames to the near end on this host, and asks for
/// connections to wherever it likes.
const HOSTILE: &str = r#"#!/usr/bin/env python3
import os, struct, sys

def frame(kind, lane, body):
    os.write(1, struct.pack("<BII", kind, lane, len(body)) + body)

def number(value):
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)

def read(count):
    data = b""
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more:
            sys.exit("the near end is gone")
        data += more
    return data

def take():
    kind, lane, length = struct.unpack("<BII", read(9))
    return kind, lane, read(length)

if sys.argv[1] != "run":
    sys.exit(0)
said, opened, reset = 0, 1, 5
frame(said, 0, b"\0")
assert take()[0] == said
places = [place.split(":") for place in os.environ["DOCKER_PLACES"].split()]
for lane, (host, port) in enumerate(places, 16):
    frame(opened, lane, b"\0" + bytes(map(int, host.split("."))) + number(int(port)))
# Only a connection that is not made is answered. Those that are expected to be first, then one that cannot be.
refused, expected = set(), int(os.environ["DOCKER_REFUSED"])
while 9999 not in refused:
    kind, lane, _ = take()
    if kind == reset:
        refused.add(lane)
        if len(refused) == expected:
            frame(opened, 9999, b"nonsense")
with open(os.environ["DOCKER_RESULT"], "w") as result:
    for lane, place in enumerate(places, 16):
        print(":".join(place), "refused" if lane in refused else "open", file=result)
"#;

#[test]
fn a_far_end_in_an_attacker_s_hands_reaches_the_proxy_of_its_own_job_and_nothing_else() {
    needs!("python3");
    let engine = engine!();
    // Of this host: a service on loopback, one on every address, and the proxy of another job.
    let (loopback, everywhere) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("0.0.0.0:0").unwrap());
    let [loopback_port, everywhere_port] =
        [&loopback, &everywhere].map(|bound| bound.local_addr().unwrap().port());
    let other = relayed().allow("tcp://other.test:7777");
    let mut other = other.start_script("echo ready; read line");
    other.wait_for("ready\n");
    let places = format!(
        "127.0.0.1:443 192.0.2.1:80 127.0.0.1:7777 127.0.0.1:{loopback_port} 127.0.0.1:{everywhere_port} 192.0.2.1:{everywhere_port} 127.0.0.1:22"
    );
    let jail = relayed();
    let result = jail.place().join("result");
    let jail = with_program(jail, engine, HOSTILE)
        .variable("DOCKER_PLACES", &places)
        .variable("DOCKER_REFUSED", "5")
        .variable("DOCKER_RESULT", &result);
    // There is no job: the far end shows no surroundings.
    jail.script("true").exits(125);
    let expected: Vec<String> = places
        .split(' ')
        .enumerate()
        .map(|(number, place)| format!("{place} {}\n", if number < 2 { "open" } else { "refused" }))
        .collect();
    assert_eq!(fs::read_to_string(result).unwrap(), expected.concat());
    for listener in [loopback, everywhere] {
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "somebody was here");
    }
    other.closes_input();
    other.ends();
}

#[test]
fn a_near_end_that_is_killed_ends_its_job() {
    let engine = engine!();
    let jail = relayed();
    let mut running = jail.start_script("echo ready; exec sleep 600");
    running.wait_for("ready\n");
    let processes = descendants(running.launcher());
    let near = processes.iter().map(|(pid, _)| *pid).find(|pid| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|words| words.split(|byte| *byte == 0).any(|word| word == b"__relay"))
    });
    kill(near.expect("the near end is the launcher's child"), Signal::SIGKILL).unwrap();
    let launcher = running.launcher();
    running.ends().exits(125);
    gone(&processes);
    assert_eq!(container(engine, launcher), None);
}

#[test]
fn what_does_not_reach_another_kernel_is_refused() {
    engine!();
    relayed()
        .options(["--workspace-mode", "overlay"])
        .script("true")
        .exits(125)
        .says("another kernel")
        .says("--workspace-mode ro or rw");
    Jail::new()
        .itself(["run", "--backend", "native", "--container-relay", "--host", "true", "--", "true"])
        .exits(2);
}

/// The near end of a way to another machine: a socket of the user's own.
fn forward(from: &Path, to: &str) {
    let (listener, to) = (UnixListener::bind(from).unwrap(), to.to_owned());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let engine = UnixStream::connect(&to).unwrap();
            for (mut from, mut to) in
                [(stream.try_clone().unwrap(), engine.try_clone().unwrap()), (engine, stream)]
            {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
}

#[test]
fn an_engine_on_another_kernel_is_relayed_to_by_itself_and_that_is_said() {
    needs!("curl");
    if engine!() != "docker" || is_root() {
        skip::report("a socket of root's is this host's engine, and podman has none");
        return;
    }
    let Some(real) =
        std::env::var("DOCKER_HOST").ok().and_then(|host| host.strip_prefix("unix://").map(str::to_owned))
    else {
        skip::report("DOCKER_HOST names no socket");
        return;
    };
    let server = Server::https("api.test");
    let jail = Jail::new().allow("api.test").upstream(&server);
    let socket = jail.place().join("engine.sock");
    forward(&socket, &real);
    let program = format!(
        "#!/bin/sh\n[ \"$1\" != info ] || {{ printf '%s\\n' 0.1-elsewhere 'Docker Desktop' '[]'; exit; }}\nexec {} \"$@\"\n",
        find("docker").unwrap().display()
    );
    // Over the suite's own.
    let host = format!("DOCKER_HOST=unix://{}", socket.display());
    let jail = with_program(jail, "docker", &program).under(["env".to_owned(), host]);
    let ended = jail.run(["curl", "-sS", "https://api.test/echo"]);
    ended.succeeds().allowed("api.test:443", 1);
    ended.says("engine.sock runs on another kernel").says("relayed through the engine");
}
