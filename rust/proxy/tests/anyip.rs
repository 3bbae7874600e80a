//! As in a jail: a network namespace in which every address is local. Listeners on `[::]` get connections to any
//! address, and the address tells where they wanted to go.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "tests start what they compare with")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "../../sandbox/tests/support/skip.rs"]
mod skip;
mod support;

use std::net::SocketAddr;
use std::process::Command;

use support::*;
use tokio::net::UdpSocket;
use tokio::time::timeout;

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x04test\0\0\x01\0\x01";
const ROUTES: &str = "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && \
    { ip -6 route add local ::/0 dev lo || true; }";

#[test]
fn in_a_namespace_of_its_own() {
    let enter = |then: &str| {
        Command::new("unshare").args(["-rn", "sh", "-c", &format!("{ROUTES} && {then}")]).output()
    };
    if !enter("true").is_ok_and(|output| output.status.success()) {
        skip::report("no unprivileged namespaces, or no unshare and ip programs, on this machine");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let output = enter(&format!("exec {} --ignored --nocapture inside", this.display())).unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "run by in_a_namespace_of_its_own"]
async fn inside() {
    let server = Server::https(&["api.test"], &["h2", "http/1.1"]).await;
    let opaque = Server::raw(|mut stream| async move {
        let (mut reads, mut writes) = stream.split();
        let _ = tokio::io::copy(&mut reads, &mut writes).await;
    })
    .await;
    let jail = Jail::allow(&["api.test", "http://198.51.100.0/24:80", "tcp://api.test:7"])
        .to("api.test:443", &server)
        .to("api.test:7", &opaque)
        .everywhere(7)
        .start();

    // The answer comes from the address that was asked, of both kinds.
    let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let socket = UdpSocket::bind(any).await.unwrap();
    for asked in ["8.8.8.8", "127.0.0.53", "192.0.2.1"] {
        let asked = SocketAddr::new(asked.parse().unwrap(), jail.dns_udp.port());
        socket.send_to(QUERY, asked).await.unwrap();
        let mut answer = [0; 512];
        let (length, from) =
            timeout(PATIENCE, socket.recv_from(&mut answer)).await.expect("an answer").unwrap();
        assert_eq!(from, asked);
        assert!(answer[..length].ends_with(&[44, 128, 0, 1]));
    }
    if let Ok(socket) = UdpSocket::bind("[::]:0").await {
        let asked: SocketAddr = format!("[2001:db8::53]:{}", jail.dns_udp.port()).parse().unwrap();
        if socket.send_to(QUERY, asked).await.is_ok() {
            let mut answer = [0; 512];
            let (_, from) =
                timeout(PATIENCE, socket.recv_from(&mut answer)).await.expect("an answer").unwrap();
            assert_eq!(from, asked);
        }
    }

    // A synthetic address binds its name, with or without an SNI.
    let synthetic = SocketAddr::from(([44, 128, 0, 1], jail.port443.port()));
    let tls = jail.tls(dial(synthetic).await, Some("api.test"), "h2").await.unwrap();
    assert_eq!(Http::over(tls, true).await.get("https://api.test/").await.status, 200);
    let tls = jail.tls_as(dial(synthetic).await, "api.test", false, "http/1.1").await.unwrap();
    assert_eq!(Http::over(tls, false).await.get("https://api.test/").await.status, 200);
    let tls = jail.tls(dial(synthetic).await, Some("other.test"), "h2").await.unwrap();
    let got = Http::over(tls, true).await.get("https://other.test/").await;
    assert_eq!(got.denied(), Some("authority-mismatch"));

    // A name that no rule allows has an address, and the address an explanation.
    let denied = SocketAddr::from(([203, 0, 113, 9], jail.port80.port()));
    let said =
        say(dial(denied).await, b"GET / HTTP/1.1\r\nHost: 203.0.113.9\r\nConnection: close\r\n\r\n").await;
    assert!(said.contains("x-jail-deny: host-not-allowed"), "{said}");

    // Opaque bytes, by the name of the synthetic address.
    let echo = SocketAddr::from(([44, 128, 0, 1], jail.extra.unwrap().port()));
    let mut stream = dial(echo).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"\0opaque").await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    assert_eq!(say(stream, b"").await, "\0opaque");
}
