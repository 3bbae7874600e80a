//! Other terms while the job is at work: they hold for all that comes, on old connections too; an error changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn new_terms_hold_for_new_and_old_connections() {
    let server = Server::https(&["a.test", "b.test"], &["http/1.1"]).await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).to("b.test:443", &server).start();
    for alpn in ["h2", "http/1.1"] {
        jail.change(&["a.test"]).unwrap();
        let mut kept = jail.https("a.test:443", "a.test", alpn).await;
        assert_eq!(kept.get("https://a.test/").await.status, 200);
        assert_eq!(jail.get("https://b.test/", alpn).await.denied(), Some("host-not-allowed"));

        jail.change(&["b.test"]).unwrap();
        let served = server.requests();
        assert_eq!(jail.get("https://a.test/", alpn).await.denied(), Some("host-not-allowed"));
        assert_eq!(jail.get("https://b.test/", alpn).await.status, 200);
        // A connection from before is over when its last request is answered.
        let request = Request::get("https://a.test/").body(Full::<Bytes>::default()).unwrap();
        assert!(!kept.try_send(request).await.is_ok_and(|got| got.status == 200), "{alpn}");
        assert_eq!(server.requests(), served + 1);
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_the_terms_under_which_it_was_opened() {
    let server = Server::raw(|mut stream| async move {
        let _ = stream.write_all(b"hello").await;
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let jail = Jail::allow(&["tcp://mail.test:80"]).to("mail.test:80", &server).start();
    let mut tunnel = jail.connect("mail.test:80").await;
    let mut said = [0; 5];
    tunnel.read_exact(&mut said).await.unwrap();
    jail.change(&["a.test"]).unwrap();
    let end = tokio::time::timeout(PATIENCE, tunnel.read(&mut said)).await.expect("it goes on");
    assert!(matches!(end, Ok(0) | Err(_)));
}

#[tokio::test]
async fn terms_that_cannot_be_change_nothing() {
    let server = Server::https(&["a.test"], &["http/1.1"]).await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    let error = jail.change(&["tcp://db.test:5432"]).unwrap_err().to_string();
    assert!(error.contains("port 5432") && error.contains("restart"), "{error}");
    assert_eq!(jail.get("https://a.test/", "http/1.1").await.status, 200);
    assert!(jail.is_at_work(Duration::from_secs(5)));
}
