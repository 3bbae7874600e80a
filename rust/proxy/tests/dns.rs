//! Name look-ups of the job: answered here, asked nowhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;

use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// `api.test`, type A, id 0x1234.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x04test\0\0\x01\0\x01";
const ADDRESS: [u8; 4] = [44, 128, 0, 1];

async fn ask_udp(server: SocketAddr) -> (Vec<u8>, SocketAddr) {
    let any: SocketAddr = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = UdpSocket::bind(any).await.unwrap();
    socket.send_to(QUERY, server).await.unwrap();
    let mut answer = vec![0; 512];
    let (length, from) = timeout(PATIENCE, socket.recv_from(&mut answer)).await.expect("an answer").unwrap();
    answer.truncate(length);
    (answer, from)
}

#[tokio::test]
async fn udp_and_tcp_give_the_same_address() {
    let jail = Jail::allow(&[]).start();
    let (answer, from) = ask_udp(jail.dns_udp).await;
    assert_eq!(from, jail.dns_udp);
    assert!(answer.starts_with(b"\x12\x34") && answer.ends_with(&ADDRESS), "{answer:?}");

    let mut stream = dial(jail.dns_tcp).await;
    for _ in 0..2 {
        stream.write_u16(u16::try_from(QUERY.len()).unwrap()).await.unwrap();
        stream.write_all(QUERY).await.unwrap();
        let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer.ends_with(&ADDRESS), "{answer:?}");
    }
}

#[tokio::test]
async fn garbage_is_not_the_end() {
    let jail = Jail::allow(&[]).start();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for garbage in [&b""[..], b"x", &[0xff; 512], &QUERY[..14]] {
        socket.send_to(garbage, jail.dns_udp).await.unwrap();
    }
    assert_eq!(say(dial(jail.dns_tcp).await, b"\0\x03abc").await, "");
    assert!(ask_udp(jail.dns_udp).await.0.ends_with(&ADDRESS));
}
