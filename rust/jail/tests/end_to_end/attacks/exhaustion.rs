//! Too much of everything is bounded, and what is legal works afterwards (attack 25).

use std::fs;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use http::header::CONTENT_ENCODING;
use nix::unistd::Pid;

use super::{armed, observed, program};
use crate::support::backend::is_container;
use crate::support::{Server, random};

/// The most that the launcher held in memory so far, in MiB.
pub(super) fn peak(launcher: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{launcher}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// What the proxy may hold at most for a hostile job: far below what the attacks ask it to hold.
const BOUND: u64 = 96;

#[test]
fn bombs_of_processes_descriptors_and_files_are_bounded() {
    needs!("python3");
    let script = r#"
import resource, signal, threading
def fork_until_refused():
    children = []
    try:
        while len(children) < 400:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
        return children, "never refused"
    except OSError as error:
        return children, errno.errorcode[error.errno]
children, end = fork_until_refused()
fact("processes", end)
print(f"count={len(children)}")
def thread():
    threading.Thread(target=signal.pause).start()
try:
    thread()
    fact("one more thread", "ok")
except RuntimeError:
    fact("one more thread", "refused")
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
files = []
try:
    while True:
        files.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    fact("descriptors", errno.errorcode[error.errno])
for number in files:
    os.close(number)
memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
for path in ("/tmp", "/run", "/var/tmp", "/dev/shm", os.path.expanduser("~"), *([] if CONTAINER else ["/dev"])):
    limits = os.statvfs(path)
    size = limits.f_blocks * limits.f_frsize
    file = os.open(f"{path}/bomb", os.O_RDWR | os.O_CREAT)
    fact(path, f"{tried(os.posix_fallocate, file, 0, size + 4096)}, {size <= memory // 2 + 4096}, {0 < limits.f_files <= 1 << 20}, {tried(os.posix_fallocate, file, 0, 4096)}")
    os.close(file)
    os.unlink(f"{path}/bomb")
fact("afterwards", tried(lambda: os.waitpid(os.posix_spawn("/proc/self/exe", ["python3", "-c", ""], os.environ), 0)))
"#;
    for (pids, least, most) in [("64", 20, 64), ("128", 84, 128)] {
        let ended = armed().options(["--pids", pids]).run(program(script, &[]));
        let count: usize = ended.value("count").parse().unwrap();
        assert!((least..most).contains(&count), "{count} processes with --pids {pids}{ended}");
        let text = ended.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("count=")).collect();
        let bounded = "ENOSPC, True, True, ok";
        let mut expected = vec![
            "processes: EAGAIN".to_owned(),
            "one more thread: refused".to_owned(),
            "descriptors: EMFILE".to_owned(),
            format!("/tmp: {bounded}"),
            format!("/run: {bounded}"),
            format!("/var/tmp: {bounded}"),
            format!("/dev/shm: {bounded}"),
            format!("/home/agent: {bounded}"),
            format!("/dev: {bounded}"),
            "afterwards: ok".to_owned(),
        ];
        // A container's /dev is root's.
        expected.retain(|line| !(is_container() && line.starts_with("/dev:")));
        assert_eq!(lines, expected, "{ended}");
    }
}

#[test]
fn thousands_of_connections_do_not_stop_a_legal_request_afterwards() {
    needs!("python3");
    let server = Server::https("api.test");
    let script = r#"
import resource, select
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
fact("before", ask(https("api.test"), request("api.test")))

def crowd(count, port, begin):
    streams = []
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
        try:
            stream.sendall(begin)
        except OSError:
            pass
        streams.append(stream)
    return streams

def closed(streams):
    # The proxy closes those that it has no place for; the others stay as they are.
    waiting, count = {stream.fileno(): stream for stream in streams}, 0
    poller = select.poll()
    for number in waiting:
        poller.register(number, select.POLLIN | select.POLLRDHUP)
    while events := poller.poll(1500):
        for number, _ in events:
            poller.unregister(number)
            count += 1
    return count

# Heads that never end, half a handshake, nothing at all.
streams = crowd(900, 80, b"GET / HTTP/1.1\r\nHost: api.test\r\nX-Slow: ")
streams += crowd(550, 443, b"\x16\x03\x01\x02\0\x01")
streams += crowd(550, 3128, b"CONNECT api.test:443 HTTP/1.1\r\n")
count = closed(streams)
fact("held", len(streams) - count <= 1024)
fact("closed", count >= len(streams) - 1024)
print("crowded", flush=True)
sys.stdin.readline()
for stream in streams:
    stream.close()
# A place is free as soon as the proxy has seen the end of a connection.
for attempt in range(200):
    try:
        result = ask(https("api.test"), request("api.test"))
    except OSError:
        continue
    if result == "200":
        break
fact("afterwards", result)
"#;
    let mut running = armed().allow("api.test").upstream(&server).start(program(script, &[]));
    running.wait_for("crowded\n");
    let peak = peak(running.launcher());
    assert!(peak < BOUND, "the launcher holds {peak} MiB for idle connections");
    running.writes(b"\n");
    let ended = running.ends();
    let text = ended.text();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        ["before: 200", "held: True", "closed: True", "crowded", "afterwards: 200"],
        "{ended}"
    );
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn answers_that_nobody_reads_are_not_held_in_memory() {
    needs!("python3");
    const CONNECTIONS: u64 = 60;
    const LENGTH: u64 = 4 << 20;
    let server = Server::https1("api.test");
    let script = r#"
count, length = map(int, sys.argv[1:])
streams = []
for _ in range(count):
    stream = https("api.test")
    stream.sendall(request("api.test", f"/bytes/{length}"))
    # The head, and a little more.
    assert stream.recv(512).startswith(b"HTTP/1.1 200 ")
    streams.append(stream)
print("all begun", flush=True)
sys.stdin.readline()
received = sum(len(everything(stream)) for stream in streams)
fact("all of it", received > count * (length - 1024))
"#;
    let jail = armed().allow("api.test").upstream(&server);
    let mut running = jail.start(program(script, &[&CONNECTIONS.to_string(), &LENGTH.to_string()]));
    running.wait_for("all begun\n");
    let held = peak(running.launcher());
    running.writes(b"\n");
    let ended = running.ends();
    ended.succeeds().prints_only("all begun\nall of it: True\n");
    // Less than half a MiB for each, of 4; the kernel holds some of the rest, and the server most of it.
    assert!(
        held < 48 + CONNECTIONS / 2,
        "the launcher held {held} MiB of {} MiB{ended}",
        CONNECTIONS * (LENGTH >> 20)
    );
}

#[test]
fn heads_without_an_end_are_refused_and_not_kept() {
    needs!("python3");
    let server = Server::https("api.test");
    let script = r#"
from http2 import *
def endless(stream, begin, part):
    """Sends until it is refused, at most 64 MiB."""
    sent = 0
    try:
        stream.sendall(begin)
        while sent < 64 << 20:
            stream.sendall(part)
            sent += len(part)
    except OSError:
        pass
    return "taken without end" if sent >= 64 << 20 else (answers(everything(stream)) if begin else "refused")

large = b"x" * (1 << 20)
def refused(name, result, *codes):
    # Its refusal may be lost when it closes a connection that still brings something.
    fact(name, "refused" if result in (*codes, "closed") or result.split(" ")[0] in codes else result)

refused("a header of 1 MiB", ask(https("api.test"), request("api.test", more=f"X-Large: {large.decode()}\r\n")), "431")
refused("a target of 1 MiB", ask(https("api.test"), b"GET /" + large + b" HTTP/1.1\r\nHost: api.test\r\n\r\n"), "414", "431")
refused("a method of 1 MiB", ask(https("api.test"), large.upper() + b" / HTTP/1.1\r\nHost: api.test\r\n\r\n"), "400", "431")
refused("an endless header", endless(https("api.test"), b"GET / HTTP/1.1\r\nHost: api.test\r\nX: ", b"x" * 65536), "431")
refused("endless headers", endless(https("api.test"), b"GET / HTTP/1.1\r\nHost: api.test\r\n", b"X: y\r\n" * 10000), "400", "431")
refused("an endless target to the proxy", endless(dial(*PROXY), b"GET http://", b"x" * 65536), "414", "431")
refused("an endless method to the proxy", endless(dial(*PROXY), b"A", b"A" * 65536))
refused("an endless chunk extension", endless(https("api.test"), b"POST /echo HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n2;", b"x" * 65536), "502")

def bomb():
    # One field of 4000 bytes is kept, and then named by its number, again and again: 16 KiB become 64 MiB.
    http2 = Http2(https("api.test", "h2"))
    head = fields("api.test", more=[]) + remembered("x", "x" * 3800) + b"\xbe" * 12000
    return http2.ask(head)

def again_and_again():
    http2 = Http2(https("api.test", "h2"))
    head = fields("api.test")
    for number in range(1, 40001, 2):
        if not http2.send(frame(HEADERS, END_HEADERS | END_STREAM, number, head) + frame(RST_STREAM, 0, number, struct.pack(">I", 8))):
            break
    return http2.answer(40003)

def continued():
    http2 = Http2(https("api.test", "h2"))
    http2.send(frame(HEADERS, END_STREAM, 1, fields("api.test")))
    sent = 0
    while sent < 64 << 20 and http2.send(frame(CONTINUATION, 0, 1, field("x", "y" * 8000) * 2)):
        sent += 16000
    return "taken without end" if sent >= 64 << 20 else http2.answer(1)

def streams():
    # Bodies that never come hold their streams.
    http2 = Http2(https("api.test", "h2"))
    for number in range(1, 1001, 2):
        http2.send(frame(HEADERS, END_HEADERS, number, fields("api.test", method="POST")))
    return http2.answer(999)

# 11 is ENHANCE_YOUR_CALM, 7 is REFUSED_STREAM.
refused("a bomb of fields", bomb(), "431", "connection refused with 11")
refused("rapid reset", again_and_again(), "connection refused with 11")
refused("continued without end", continued(), "connection refused with 11")
refused("more streams than allowed", streams(), "stream refused with 7")
fact("afterwards", ask(https("api.test"), request("api.test")))
fact("afterwards, http/2", Http2(https("api.test", "h2")).ask(fields("api.test")))
sys.stdin.readline()
"#;
    let mut running = armed().allow("api.test").upstream(&server).start(program(script, &[]));
    running.wait_for("afterwards, http/2: ");
    let peak = peak(running.launcher());
    running.writes(b"\n");
    let ended = running.ends();
    let names = [
        "a header of 1 MiB",
        "a target of 1 MiB",
        "a method of 1 MiB",
        "an endless header",
        "endless headers",
        "an endless target to the proxy",
        "an endless method to the proxy",
        "an endless chunk extension",
        "a bomb of fields",
        "rapid reset",
        "continued without end",
        "more streams than allowed",
    ];
    let mut expected: Vec<(&str, &str)> = names.iter().map(|&name| (name, "refused")).collect();
    expected.extend([("afterwards", "200"), ("afterwards, http/2", "200")]);
    observed(&ended, &expected);
    assert!(peak < BOUND, "the launcher held {peak} MiB{ended}");
    let seen = server.requests();
    assert!(
        seen.len() < 5000 && seen.iter().all(|seen| seen.path == "/echo"),
        "{} requests came through",
        seen.len()
    );
}

#[test]
fn a_bomb_of_gzip_is_not_held_in_memory() {
    needs!("python3");
    const INFLATED: usize = 128 << 20;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..INFLATED >> 20).for_each(|_| encoder.write_all(&zeros).unwrap());
    let bomb = Bytes::from(encoder.finish().unwrap());
    let size = bomb.len();
    assert!(size < 200_000);
    let server = Server::answering("api.test", move |_, _| {
        Response::builder().header(CONTENT_ENCODING, "gzip").body(vec![bomb.clone()]).unwrap()
    });
    let token = random("sk-");
    let jail =
        armed().allow("api.test").upstream(&server).secret("REAL", &token).credential("T=env:REAL@api.test");
    // Some of it is read, then nothing for as long as the test looks at the launcher; then all of it.
    let script = r#"
stream = https("api.test")
stream.sendall(request("api.test", more=f"Authorization: Bearer {os.environ['T']}\r\nAccept-Encoding: gzip\r\n"))
length = 0
while length < 1 << 20:
    length += len(stream.recv(65536))
print("begun", flush=True)
sys.stdin.readline()
passed = 0
while part := stream.recv(1 << 18):
    length += len(part)
    while passed + STEP <= length:
        passed += STEP
        print(f"passed={passed}", flush=True)
print(f"length={length}", flush=True)
sys.stdin.readline()
"#;
    // An emulated processor decodes a few megabytes a second: each step has the time limit, not the whole.
    const STEP: usize = 8 << 20;
    let script = script.replace("STEP", &STEP.to_string());
    let mut running = jail.start(program(&script, &[]));
    running.wait_for("begun\n");
    let waiting = peak(running.launcher());
    running.writes(b"\n");
    for passed in (STEP..=INFLATED).step_by(STEP) {
        running.wait_for(&format!("passed={passed}\n"));
    }
    running.wait_for("length=");
    let at_the_end = peak(running.launcher());
    running.writes(b"\n");
    let ended = running.ends();
    // The control: it was decoded (redaction must look into it), all of it.
    let length: usize = ended.succeeds().value("length").parse().unwrap();
    assert!(length >= INFLATED, "{length} bytes of {INFLATED}{ended}");
    assert!(
        waiting < BOUND && at_the_end < BOUND,
        "the launcher held {waiting} MiB, then {at_the_end} MiB of {} MiB",
        INFLATED >> 20
    );
}
