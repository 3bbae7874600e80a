//! What the two versions of HTTP say in different ways arrives as the other side's version says it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use http::{HeaderValue, Request};
use http_body_util::Full;
use support::*;

#[tokio::test]
async fn the_pieces_of_a_cookie_line_are_one_line_in_http1() {
    for (outside, expected) in [("http/1.1", &["a=1; b=2; c=3"][..]), ("h2", &["a=1", "b=2; c=3"])] {
        let server = Server::https(&["a.test"], &[outside]).await;
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
        let request = Request::get("https://a.test/").header("cookie", "a=1").header("cookie", "b=2; c=3");
        let got = jail.send(request.body(Full::default()).unwrap(), "h2").await;
        assert_eq!(got.seen_header("cookie"), expected, "{outside}");
    }
}

#[tokio::test]
async fn heads_of_answers_may_be_as_large_in_either() {
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["a.test"], &[outside], |_| async {
            let mut answer = text("whole");
            answer.headers_mut().insert("x-large", HeaderValue::try_from("x".repeat(40_000)).unwrap());
            answer
        })
        .await;
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
        let got = jail.get("https://a.test/", "http/1.1").await;
        assert_eq!((got.status, &got.body[..]), (200, &b"whole"[..]), "{outside}");
    }
}
