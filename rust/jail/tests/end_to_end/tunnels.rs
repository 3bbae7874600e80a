//! Opaque TCP by rule, and the way out through the operator's own proxy.

use crate::support::{ConnectProxy, EchoServer, Ended, Jail, Server, both_ways};

/// Connects by name, prints the server's line, sends a line, prints what comes back.
const TALK: &str = r#"
import socket, sys
try:
    stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
    file = stream.makefile("rwb")
    if sys.argv[3:]:
        file.write(sys.argv[3].encode() + b"\r\n"); file.flush()
    print("ready=" + file.readline().decode().strip())
    file.write(b"SELECT 1\n"); file.flush()
    print("back=" + file.readline().decode().strip())
except OSError as error:
    print("error=" + type(error).__name__)
"#;

/// `first` is what the client says before the server does.
fn talk(jail: &Jail, host: &str, port: &str, first: &[&str]) -> Ended {
    jail.run([&["python3", "-c", TALK, host, port], first].concat())
}

#[test]
fn a_tcp_rule_opens_one_port_of_one_host() {
    needs!("python3");
    let server = EchoServer::start();
    let to = format!("db.test:5432:{}", server.address());
    let jail = Jail::new().allow("tcp://db.test:5432").options(["--connect-to", &to]);
    let ended = talk(&jail, "db.test", "5432", &[]);
    ended.succeeds().prints("ready=ready\nback=SELECT 1\n").allowed("db.test:5432", 1);
    assert_eq!(server.connections(), 1);

    let ended = talk(&jail, "other.test", "5432", &["SSH-2.0-x"]);
    ended.never_prints("SELECT").never_prints("ready=ready").denied("other.test:5432", "unknown-protocol");
    talk(&jail, "db.test", "5433", &[]).prints("error=ConnectionRefusedError");
    assert_eq!(server.connections(), 1);
}

#[test]
fn what_is_neither_tls_nor_http_goes_nowhere_without_a_tcp_rule() {
    needs!("python3");
    let server = EchoServer::start();
    let to = format!("db.test:443:{}", server.address());
    let jail = Jail::new().allow("db.test").options(["--connect-to", &to]);
    let ended = talk(&jail, "db.test", "443", &["SSH-2.0-x"]);
    ended.never_prints("SELECT").never_prints("ready=ready").denied("db.test:443", "unknown-protocol");
    assert_eq!(server.connections(), 0);
}

#[test]
fn the_operator_s_proxy_is_the_way_out() {
    needs!("curl");
    let server = Server::https("api.test");
    let proxy = ConnectProxy::to(&server);
    let address = format!("http://{}", proxy.address());
    let jail = Jail::new().host("curl").allow("api.test").allow("unknown.test").trust(&server);
    let jail = jail.options(["--upstream-proxy", &address]);
    for command in both_ways(&["curl", "-sS", "-i", "https://api.test/echo"]) {
        jail.run(command).succeeds().prints("200").allowed("api.test:443", 1);
    }
    assert!(!proxy.asked().is_empty() && proxy.asked().iter().all(|asked| asked == "api.test:443"));
    let before = proxy.asked().len();
    jail.run(["curl", "-sS", "-i", "https://evil.test/"]).denied("evil.test:443", "host-not-allowed");
    assert_eq!(proxy.asked().len(), before, "a denied host is no concern of the operator's network");
    jail.run(["curl", "-sS", "-i", "https://unknown.test/"]).prints("502").prints("x-jail-error");
}
