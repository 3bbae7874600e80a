//! What a job makes its proxy hold in memory is bounded as a whole, and the proxy goes on serving (attack 25).

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_ENCODING;

use super::exhaustion::peak;
use super::{armed, program};
use crate::support::{Jail, Server, random};

/// The most that the launcher may hold, in MiB: an idle one, the budget, and what the allocator adds.
const BOUND: u64 = 128;

/// What the programs of this file share.
const TOOLS: &str = r#"
from http2 import *
WINDOW_UPDATE = 8

def large_window(stream):
    """A client of HTTP/2 that takes two gigabytes without reading one byte."""
    http2 = Http2(stream)
    http2.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1)) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 65536)))
    return http2

def served(host="api.test"):
    """Legal requests, each over a connection of its own."""
    return {ask(https(host), request(host)) for _ in range(5)}

held = []
"#;

fn attack(script: &str) -> Vec<String> {
    program(&format!("{TOOLS}\n{script}\nprint('held', flush=True)\nsys.stdin.readline()\n"), &[])
}

/// Runs the attack, and returns what the launcher held at most while it lasted.
fn held(jail: &Jail, script: &str, expected: &[(&str, &str)]) -> u64 {
    let mut running = jail.start(attack(script));
    running.wait_for("held\n");
    let peak = peak(running.launcher());
    running.writes(b"\n");
    let ended = running.ends();
    let lines: Vec<(&str, &str)> = expected.to_vec();
    let text = ended.text();
    let told: Vec<&str> = text.lines().filter(|line| *line != "held").collect();
    let wanted: Vec<String> = lines.iter().map(|(name, result)| format!("{name}: {result}")).collect();
    assert_eq!(told, wanted, "{ended}");
    ended.succeeds();
    peak
}

#[test]
fn windows_towards_many_servers_are_bounded() {
    needs!("python3");
    let hosts: Vec<String> = (0..24).map(|number| format!("h{number}.test")).collect();
    let names: Vec<&str> = hosts.iter().map(String::as_str).chain(["api.test"]).collect();
    let server = Server::https_for(&names);
    let jail = names.iter().fold(armed(), |jail, name| jail.allow(name)).upstream(&server);
    let script = r#"
for host in range(24):
    # The job takes 64 KiB of each answer; the rest waits where the proxy's window towards the server ends.
    http2 = Http2(https(f"h{host}.test", "h2"))
    for number in (1, 3, 5):
        http2.send(frame(HEADERS, END_HEADERS | END_STREAM, number, fields(f"h{host}.test", "/bytes/3000000")))
    held.append(http2)
fact("meanwhile", served())
"#;
    let peak = held(&jail, script, &[("meanwhile", "{'200'}")]);
    assert!(peak < BOUND, "the launcher held {peak} MiB in windows towards 24 servers");
}

#[test]
fn large_heads_that_wait_are_counted_in_bytes() {
    needs!("python3");
    let server = Server::https("api.test");
    let script = r#"
many = b"".join(field(f"a{number:x}", "") for number in range(900))
for _ in range(4):
    http2 = Http2(https("api.test", "h2"))
    for number in range(1, 200, 2):
        http2.send(frame(HEADERS, END_HEADERS | END_STREAM, number, fields("api.test", "/slow") + many))
    held.append(http2)
# The last of them has to go: it is answered, while those before it wait for the server.
fact("the last", held[-1].answer(199))
for http2 in held:
    http2.stream.close()
for attempt in range(200):
    afterwards = ask(https("api.test"), request("api.test"))
    if afterwards == "200":
        break
fact("afterwards", afterwards)
"#;
    let jail = armed().allow("api.test").upstream(&server);
    let peak = held(&jail, script, &[("the last", "503"), ("afterwards", "200")]);
    assert!(peak < BOUND, "the launcher held {peak} MiB for 400 heads of 900 fields");
    assert!(server.requests().len() < 100, "{} heads went out", server.requests().len());
}

/// A body in brotli that wants the largest window: uncompressed meta-blocks (RFC 7932, section 9.2).
fn brotli_with_the_largest_window(length: usize) -> Vec<Bytes> {
    let block = |first: bool| {
        let size = u32::try_from(length - 1).unwrap();
        // From the lowest bit: the window, not the last, six nibbles of length, uncompressed.
        let bits = 0b10 << 1 | size << 3 | 1 << 27;
        if first { 0b1111 | bits << 4 } else { bits }
    };
    let data = Bytes::from(vec![b'x'; length]);
    vec![
        Bytes::copy_from_slice(&block(true).to_le_bytes()),
        data.clone(),
        Bytes::copy_from_slice(&block(false).to_le_bytes()),
        data,
        Bytes::from_static(&[0b11]),
    ]
}

#[test]
fn windows_of_decoders_are_bounded() {
    needs!("python3");
    const LENGTH: usize = 14 << 20;
    let body = brotli_with_the_largest_window(LENGTH);
    let server = Server::answering("api.test", move |_, _| {
        Response::builder().header(CONTENT_ENCODING, "br").body(body.clone()).unwrap()
    });
    let token = random("sk-");
    let jail =
        armed().allow("api.test").upstream(&server).secret("REAL", &token).credential("T=env:REAL@api.test");
    let script = r#"
def begin():
    stream = https("api.test")
    stream.sendall(request("api.test", more=f"Authorization: Bearer {os.environ['T']}\r\n"))
    head = b""
    while b"\r\n\r\n" not in head and (part := stream.recv(65536)):
        head += part
    held.append(stream)
    return stream, answers(head[:head.find(b"\r\n\r\n") + 4])
stream, first = begin()
length = 0
while length < 17 << 20:
    length += len(stream.recv(1 << 18))
fact("the first", first)
fact("the others", {begin()[1] for _ in range(6)})
length += len(everything(stream))
fact("the first to its end", length > 27 << 20)
for attempt in range(100):
    afterwards = begin()[1]
    if afterwards == "200":
        break
fact("afterwards", afterwards)
"#;
    let expected = [
        ("the first", "200"),
        ("the others", "{'503 proxy-memory'}"),
        ("the first to its end", "True"),
        ("afterwards", "200"),
    ];
    let peak = held(&jail, script, &expected);
    assert!(peak < BOUND, "the launcher held {peak} MiB for decoders");
}
