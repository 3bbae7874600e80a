//! What must not wait for its end: events, upgraded connections, trailers, long requests.

use crate::support::{Ended, Jail, Server, random, without_proxy};

/// A WebSocket client: prints what comes, sends each of its arguments and waits for it to come back.
const WEBSOCKET: &str = r#"
import base64, os, socket, ssl, struct, sys
host, token, messages = sys.argv[1], sys.argv[2], sys.argv[3:]
context = ssl.create_default_context()
stream = context.wrap_socket(socket.create_connection((host, 443)), server_hostname=host)
stream.sendall((
    f"GET /websocket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
    f"Authorization: Bearer {token}\r\n\r\n").encode())
file = stream.makefile("rb")
print("status=" + file.readline().decode().strip())
while (line := file.readline().strip()):
    if line.lower().startswith(b"x-jail-deny"):
        print(line.decode())

def receive():
    kind, length = file.read(2)
    if length == 126:
        length, = struct.unpack(">H", file.read(2))
    return kind, file.read(length)

def send(kind, text):
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[position % 4] for position, byte in enumerate(text))
    length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + struct.pack(">H", len(text))
    stream.sendall(bytes([kind]) + length + mask + masked)

if messages:
    print("greeting=" + receive()[1].decode())
for message in messages:
    send(0x81, message.encode())
    print("back=" + receive()[1].decode())
if messages:
    send(0x88, b"")
    print("closed=%d" % (receive()[0] == 0x88))
"#;

fn websocket(jail: &Jail, host: &str, token: &str, messages: &[&str]) -> Ended {
    jail.run([&["sh", "-c", "exec python3 -c \"$0\" \"$@\"", WEBSOCKET, host, token], messages].concat())
}

#[test]
fn events_arrive_one_by_one() {
    needs!("curl");
    let (new, old) = (Server::https("new.test"), Server::https1("old.test"));
    let jail = Jail::new().host("curl").allow("new.test").allow("old.test").upstream(&new).upstream(&old);
    for (server, url) in [(&new, "https://new.test/gated?n=3"), (&old, "https://old.test/gated?n=3")] {
        for version in ["--http1.1", "--http2"] {
            let mut running = jail.start(without_proxy(&["curl", "-sSN", version, url]));
            // The server sends an event only when the one before has come out of the job.
            running.wait_for("data: 1\n");
            server.release(1);
            running.wait_for("data: 2\n");
            server.release(1);
            running.wait_for("data: 3\n");
            running.ends().succeeds().prints_only("data: 1\n\ndata: 2\n\ndata: 3\n\n");
        }
    }
}

#[test]
fn events_arrive_one_by_one_while_a_secret_is_looked_for_in_them() {
    needs!("curl");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail =
        Jail::new().allow("api.test").upstream(&server).secret("T", &token).credential("T=env:T@api.test");
    let script = r#"exec curl -sSN -H "authorization: Bearer $T" https://api.test/gated?n=2"#;
    let mut running = jail.host("curl").start_script(script);
    running.wait_for("data: 1\n");
    server.release(1);
    running.wait_for("data: 2\n");
    running.ends().succeeds().swapped("T", "api.test:443");
}

#[test]
fn an_answer_may_take_its_time() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().allow("api.test").upstream(&server);
    let running = jail.start(["curl", "-sS", "https://api.test/slow", "https://api.test/slow"]);
    server.release(2);
    running.ends().succeeds().prints_only("slow\nslow\n");
}

#[test]
fn a_websocket_carries_messages_both_ways() {
    needs!("python3");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail = Jail::new().host("python3").allow("api.test").upstream(&server);
    let long = "long ".repeat(100);
    let ended = websocket(&jail, "api.test", "none", &["one", &long]);
    ended.succeeds().prints("101").prints("back=one\n").prints(&format!("back={long}\n")).prints("closed=1");
    assert_eq!(ended.allowed("api.test:443", 1).value("greeting"), "Bearer none");
    assert_eq!(server.last().path, "/websocket");

    // With a credential: the server gets the real one, and what it sends back of it is the dummy.
    let jail = jail.secret("T", &token).credential("T=env:T@api.test");
    let script = r#"exec python3 -c "$0" api.test "$T" one"#;
    let ended = jail.run(["sh", "-c", script, WEBSOCKET]);
    ended.succeeds().prints("101").prints("back=one\n").prints("closed=1").swapped("T", "api.test:443");
    assert_eq!(server.last().header("authorization").unwrap(), format!("Bearer {token}"));
    assert!(ended.value("greeting").starts_with("Bearer sk-"), "{ended}");
}

#[test]
fn a_websocket_needs_a_rule_as_any_request_does() {
    needs!("python3");
    let server = Server::https("api.test");
    let jail = Jail::new().host("python3").allow("wss://api.test").upstream(&server);
    websocket(&jail, "api.test", "none", &["one"]).succeeds().prints("101").prints("back=one");
    let jail = Jail::new().host("python3").allow("https://api.test/echo").upstream(&server);
    websocket(&jail, "api.test", "none", &[]).prints("403").denied("api.test:443", "path-not-allowed");
    websocket(&jail, "evil.test", "none", &[]).prints("403").denied("evil.test:443", "host-not-allowed");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn trailers_arrive() {
    needs!("curl");
    let (new, old) = (Server::https("new.test"), Server::https1("old.test"));
    let jail = Jail::new().allow("new.test").allow("old.test").upstream(&new).upstream(&old);
    for host in ["new.test", "old.test"] {
        for version in ["--http1.1", "--http2"] {
            let url = format!("https://{host}/trailers");
            let ended = jail.run(["curl", "-sS", "-D", "-", version, "-H", "TE: trailers", &url]);
            ended.succeeds().prints("body\n").prints("x-checksum: sum");
        }
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().allow("api.test").upstream(&server).input(vec![b'x'; 3_000_000]);
    let post = [
        "curl",
        "-sSv",
        "--http1.1",
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "50",
        "--data-binary",
        "@-",
    ];
    jail.run([&post[..], &["https://api.test/echo"]].concat()).succeeds().says("100 Continue");
    assert_eq!(server.last().body, 3_000_000);
    // A server that refuses at once is heard at once.
    jail.run([&post[..], &["-w", "status=%{http_code}\n", "https://api.test/status/417"]].concat())
        .prints("status=417");
}
