use super::super::test_support::{LONGER, SAME, SECRET, headers, redactor};
use super::*;

fn cleaned(dummy: &str, status: u16, lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut head = headers(lines);
    redactor(dummy).head(StatusCode::from_u16(status).unwrap(), &mut head);
    head
}

#[test]
fn every_header_is_searched() {
    let escaped = SECRET.replace('_', "%5F");
    let lines = [
        ("location", format!("https://other.example/?token={SECRET}&again={escaped}")),
        ("set-cookie", format!("session={SECRET}; Path=/")),
        ("set-cookie", format!("other={SECRET}; Path=/")),
        ("www-authenticate", format!("Bearer error=\"bad token {SECRET}\"")),
        ("x-echo", SECRET.to_owned()),
        ("x-other", "plain".to_owned()),
    ];
    let lines: Vec<(&'static str, &str)> =
        lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let head = cleaned(LONGER, 302, &lines);
    for (name, value) in &head {
        assert!(!value.to_str().unwrap().contains("Qm7Zr2Xv"), "{name}");
    }
    assert_eq!(head["x-echo"], LONGER);
    assert_eq!(
        head["location"],
        format!("https://other.example/?token={LONGER}&again={}", LONGER.replace('-', "%2D"))
    );
    assert_eq!(head.get_all("set-cookie").iter().count(), 2);
    assert_eq!(head["x-other"], "plain");
}

#[test]
fn basic_credentials_that_come_back() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    for user in ["u", "us", "use", "someone@example.test"] {
        let echo = format!("Basic {}", STANDARD.encode(format!("{user}:{SECRET}")));
        let clean = format!("Basic {}", STANDARD.encode(format!("{user}:{SAME}")));
        assert_eq!(cleaned(SAME, 200, &[("x-echo", &echo)])["x-echo"], clean);
    }
    let echo = STANDARD.encode(format!("{SECRET}:"));
    assert_eq!(cleaned(SAME, 200, &[("x-echo", &echo)])["x-echo"], STANDARD.encode(format!("{SAME}:")));
}

#[test]
fn lines_about_the_body_stay_true() {
    let lines = [
        ("accept-ranges", "bytes"),
        ("content-digest", "sha-256=:x:"),
        ("content-length", "100"),
        ("content-md5", "x"),
        ("digest", "sha-256=x"),
        ("etag", "\"one\""),
        ("repr-digest", "sha-256=:x:"),
    ];
    let same = cleaned(SAME, 200, &lines);
    assert_eq!(same, headers(&[("accept-ranges", "none"), ("content-length", "100"), ("etag", "\"one\"")]));
    assert_eq!(cleaned(LONGER, 200, &lines), headers(&[("accept-ranges", "none"), ("etag", "\"one\"")]));
    let encoded =
        cleaned(SAME, 200, &[("content-encoding", "gzip"), ("content-length", "100"), ("vary", "x")]);
    assert_eq!(encoded, headers(&[("vary", "x")]));
    // What is not decoded is not said to be.
    let unknown = [("content-encoding", "compress")];
    assert_eq!(cleaned(SAME, 200, &unknown), headers(&unknown));
}

#[test]
fn only_a_switch_to_websocket_is_read_as_frames() {
    let plan = |status: u16, lines: &[(&'static str, &str)]| {
        Plan::new(Some(StatusCode::from_u16(status).unwrap()), &headers(lines), true).websocket
    };
    assert!(plan(101, &[("upgrade", "WebSocket")]));
    assert!(!plan(101, &[("upgrade", "h2c")]));
    assert!(!plan(200, &[("upgrade", "websocket")]));
}

#[test]
fn servers_are_asked_for_what_can_be_searched() {
    let mut asked = headers(&[
        ("a-im", "gzip"),
        ("accept", "text/plain"),
        ("accept-charset", "utf-16"),
        ("accept-encoding", "gzip, br, zstd"),
        ("connect-accept-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip"),
        ("if-range", "\"one\""),
        ("range", "bytes=5-"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ]);
    plain_answers(&mut asked, false);
    let expected = [
        ("accept", "text/plain"),
        ("accept-encoding", "identity"),
        ("connect-accept-encoding", "identity"),
        ("grpc-accept-encoding", "identity"),
    ];
    assert_eq!(asked, headers(&expected));
    // Servers may compress for a client that does not say what it accepts.
    let mut silent = HeaderMap::new();
    plain_answers(&mut silent, false);
    assert_eq!(silent, headers(&[("accept-encoding", "identity")]));
}

#[test]
fn kinds_of_text() {
    for text in ["text/html; charset=utf-8", "application/json", "application/problem+json", "image/svg+xml"]
    {
        assert!(is_text(&headers(&[("content-type", text)])), "{text}");
    }
    for binary in [
        "application/grpc",
        "application/grpc+json",
        "application/connect+json",
        "application/octet-stream",
        "image/png",
    ] {
        assert!(!is_text(&headers(&[("content-type", binary)])), "{binary}");
    }
    assert!(is_text(&HeaderMap::new()));
}

#[test]
fn compressed_messages_in_a_body_cannot_be_searched() {
    for (name, value, readable) in [
        ("grpc-encoding", "gzip", false),
        ("connect-content-encoding", "gzip", false),
        ("connect-content-encoding", "identity", true),
    ] {
        assert_eq!(codings(&headers(&[(name, value)])).is_ok(), readable, "{name}: {value}");
    }
}

#[test]
fn codings_in_every_spelling() {
    for (values, expected) in [
        (vec![], Some(vec![])),
        (vec![""], Some(vec![])),
        (vec!["Identity, ,identity"], Some(vec![])),
        (vec!["X-GZIP"], Some(vec![Coding::Gzip])),
        (vec![" gzip ,, identity, BR"], Some(vec![Coding::Gzip, Coding::Brotli])),
        (vec!["gzip", "gzip"], Some(vec![Coding::Gzip, Coding::Gzip])),
        (vec!["gzip, gzip, gzip"], None),
        (vec!["compress"], None),
        (vec!["gzip, aws-chunked"], None),
        (vec!["gzip;q=1"], None),
    ] {
        let lines: Vec<_> = values.iter().map(|value| ("content-encoding", *value)).collect();
        assert_eq!(codings(&headers(&lines)).ok(), expected, "{values:?}");
    }
}

#[test]
fn a_secret_in_a_sensitive_header_stays_sensitive() {
    let mut value = HeaderValue::from_str(SECRET).unwrap();
    value.set_sensitive(true);
    let mut head = HeaderMap::new();
    head.insert("x-echo", value);
    redactor(SAME).head(StatusCode::OK, &mut head);
    assert!(head["x-echo"].is_sensitive());
    assert_eq!(head["x-echo"], SAME);
}
