use http::StatusCode;
use http_body::Body as _;
use proptest::prelude::*;

use super::super::Redactor;
use super::super::test_support::{
    CODINGS, Feed, LONGER, SAME, SECRET, encode, encode_whole, headers, read, redactor,
};
use super::*;

/// The body of an answer with these headers, its head cleaned first.
fn answer(dummy: &str, lines: &[(&'static str, &str)], feed: Feed) -> (HeaderMap, Body<Feed>) {
    let mut head = headers(lines);
    let redactor = redactor(dummy);
    redactor.head(StatusCode::OK, &mut head);
    let body = redactor.body(&head, feed);
    (head, body)
}

#[test]
fn every_coding_comes_out_plain_and_clean() {
    let text = format!("{{\"echo\": \"{SECRET}\", \"more\": {}}}", "[1, 2, 3]".repeat(20_000));
    for (coding, name) in CODINGS {
        for dummy in [SAME, LONGER] {
            let encoded = encode_whole(coding, text.as_bytes());
            let lines = [("content-encoding", name), ("content-type", "application/json")];
            let chunks: Vec<&[u8]> = encoded.chunks(97).collect();
            let (head, mut body) = answer(dummy, &lines, Feed::of(&chunks));
            assert!(coding == Coding::Identity || head.get("content-encoding").is_none());
            let given = read(&mut body);
            assert_eq!(given.data, text.replace(SECRET, dummy).as_bytes(), "{name}");
            assert!(given.ended && given.error.is_none() && body.is_end_stream());
            assert!(given.largest <= STEP + 1000);
        }
    }
}

#[test]
fn an_event_is_not_delayed() {
    let echo = format!("data: {SECRET}\n\n");
    let events = ["data: one\n\n", &echo, "data: three\n\n"].map(str::as_bytes);
    for (coding, name) in CODINGS {
        let (pieces, last) = encode(coding, &events);
        let lines = [("content-encoding", name), ("content-type", "text/event-stream")];
        let (_, mut body) = answer(LONGER, &lines, Feed::default());
        for (piece, event) in pieces.iter().zip(events) {
            body.inner.push(piece);
            let given = read(&mut body);
            let clean = String::from_utf8_lossy(event).replace(SECRET, LONGER);
            assert_eq!(String::from_utf8(given.data).unwrap(), clean, "{name}");
            assert!(!given.ended);
        }
        body.inner.push(&last);
        body.inner.ended = true;
        let given = read(&mut body);
        assert!(given.data.is_empty() && given.ended && given.error.is_none(), "{name} {given:?}");
    }
}

#[test]
fn a_bomb_comes_in_small_pieces() {
    let zeros = vec![0; 16 << 20];
    for (coding, name) in CODINGS.into_iter().skip(1) {
        let encoded = encode_whole(coding, &zeros);
        assert!(encoded.len() < 100_000);
        let (_, mut body) = answer(SAME, &[("content-encoding", name)], Feed::of(&[&encoded]));
        let given = read(&mut body);
        assert_eq!(given.data.len(), zeros.len());
        assert!(given.largest <= STEP + 1000 && given.error.is_none(), "{name}");
    }
}

#[test]
fn what_cannot_be_read_ends_with_an_error() {
    let gzip = encode_whole(Coding::Gzip, b"text");
    type Lines = [(&'static str, &'static str)];
    let cases: [(&Lines, &[u8], &str); 7] = [
        (&[("content-encoding", "compress")], b"text", "\"compress\""),
        (&[("content-encoding", "gzip, br, zstd")], b"text", "\"zstd\""),
        (&[("content-encoding", "gzip, gzip")], &gzip, "not valid"),
        (&[("transfer-encoding", "gzip, chunked")], &gzip, "\"gzip\""),
        (&[("content-type", "application/grpc"), ("grpc-encoding", "gzip")], b"text", "\"gzip\""),
        (&[("content-encoding", "gzip")], b"text", "not valid"),
        (&[("content-encoding", "gzip")], &gzip[..gzip.len() - 1], "ends in the middle"),
    ];
    for (lines, body, expected) in cases {
        let (_, mut body) = answer(SAME, lines, Feed::of(&[body]));
        let given = read(&mut body);
        assert!(given.error.as_ref().is_some_and(|error| error.contains(expected)), "{lines:?} {given:?}");
        assert!(given.data.is_empty() || expected == "ends in the middle", "{given:?}");
        assert!(given.ended, "nothing comes after the error");
    }
}

#[test]
fn two_codings_around_each_other_are_undone() {
    let text = format!("echo {SECRET}, {}", "more, ".repeat(30_000));
    for (inner, inner_name) in CODINGS {
        for (outer, outer_name) in CODINGS {
            let encoded = encode_whole(outer, &encode_whole(inner, text.as_bytes()));
            let name = format!("{inner_name}, {outer_name}");
            for size in [1000, encoded.len()] {
                let chunks: Vec<&[u8]> = encoded.chunks(size).collect();
                let (head, mut body) =
                    answer(SAME, &[("content-encoding", name.as_str())], Feed::of(&chunks));
                let given = read(&mut body);
                assert_eq!(given.error, None, "{name}");
                assert_eq!(given.data, text.replace(SECRET, SAME).as_bytes(), "{name}");
                let is_identity = [inner, outer] == [Coding::Identity; 2];
                assert!(given.ended && (is_identity || given.largest <= STEP + 1000), "{name}");
                assert!(is_identity || head.get("content-encoding").is_none());
            }
            if outer != Coding::Identity && inner != Coding::Identity {
                let (cut, lines) = (&encoded[..encoded.len() - 1], [("content-encoding", name.as_str())]);
                assert!(read(&mut answer(SAME, &lines, Feed::of(&[cut])).1).error.is_some(), "{name}");
            }
        }
    }
}

#[test]
fn a_body_without_bytes_is_fine_in_any_coding() {
    for coding in ["gzip", "br", "compress"] {
        let (_, mut body) =
            answer(SAME, &[("content-encoding", coding), ("content-length", "5")], Feed::of(&[]));
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        let given = read(&mut body);
        assert!(given.ended && given.error.is_none());
    }
}

#[test]
fn an_error_of_the_connection_goes_through() {
    let mut feed = Feed::of(&[b"text"]);
    feed.frames.push_back(Err("the connection was reset".into()));
    let (_, mut body) = answer(SAME, &[], feed);
    let given = read(&mut body);
    assert_eq!(given.data, b"text");
    assert_eq!(given.error.as_deref(), Some("the connection was reset"));
}

#[test]
fn trailers_are_cleaned_and_come_last() {
    let mut feed = Feed::of(&[b"text tok_"]);
    let trailers =
        headers(&[("grpc-message", &format!("bad token {SECRET}")), ("digest", "x"), ("grpc-status", "16")]);
    feed.frames.push_back(Ok(Frame::trailers(trailers)));
    let (_, mut body) = answer(LONGER, &[], feed);
    let given = read(&mut body);
    assert_eq!(given.data, b"text tok_");
    let expected = headers(&[("grpc-message", &format!("bad token {LONGER}")), ("grpc-status", "16")]);
    assert_eq!(given.trailers, Some(expected));
    assert!(given.ended);
}

#[test]
fn the_length_stays_known_where_it_stays_the_same() {
    let text = format!("echo {SECRET}!");
    let length = text.len().to_string();
    let cases = [
        (SAME, "text/plain", true),
        (LONGER, "text/plain", false),
        // Binary formats count their bytes: there the dummy is cut or filled to the secret's length.
        (LONGER, "application/grpc+proto", true),
        (LONGER, "application/octet-stream", true),
    ];
    for (dummy, kind, stays) in cases {
        let lines = [("content-type", kind), ("content-length", length.as_str())];
        let (head, mut body) = answer(dummy, &lines, Feed::of(&[text.as_bytes()]));
        assert_eq!(head.contains_key("content-length"), stays, "{kind}");
        assert_eq!(body.size_hint().exact(), stays.then_some(text.len() as u64), "{kind}");
        let given = read(&mut body);
        assert_eq!(given.data.len() == text.len(), stays, "{kind}");
        let echo = String::from_utf8(given.data).unwrap();
        assert!(!echo.contains(SECRET) && echo.contains(&dummy[..SECRET.len()]), "{kind} {echo}");
    }
}

#[test]
fn the_length_counts_what_is_held_back() {
    let (_, mut body) = answer(
        "unshared-aaaaBBBBccccDDDD",
        &[("content-length", "14")],
        Feed::of(&[b"0123 tok_l", b"ong\n"]),
    );
    let mut context = Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else {
        panic!("no frame")
    };
    assert_eq!(frame.into_data().unwrap(), "0123 ");
    assert_eq!(body.size_hint().exact(), Some(9));
    assert!(!body.is_end_stream());
    assert_eq!(read(&mut body).data, b"tok_long\n");
}

#[test]
fn without_the_head_the_headers_tell() {
    let encoded = encode_whole(Coding::Brotli, SECRET.as_bytes());
    let mut body = redactor(SAME).body(&headers(&[("content-encoding", "br")]), Feed::of(&[&encoded]));
    assert_eq!(read(&mut body).data, SAME.as_bytes());
}

#[test]
fn bodies_can_be_sent_and_shared() {
    fn both<T: Send + Sync>() {}
    both::<Body<Feed>>();
    both::<Redactor>();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_chunks_in_any_coding(
        pieces in prop::collection::vec(
            prop_oneof![Just(SECRET.to_owned()), Just(SECRET[..9].to_owned()), "[ -~]{0,40}"], 0..12,
        ),
        sizes in prop::collection::vec(1..40_usize, 1..8),
        coding in prop::sample::select(CODINGS.to_vec()),
        dummy in prop::sample::select(vec![SAME, LONGER]),
    ) {
        let text = pieces.concat();
        let encoded = encode_whole(coding.0, text.as_bytes());
        let mut chunks = Vec::new();
        let mut rest = &encoded[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break }
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        let (_, mut body) = answer(dummy, &[("content-encoding", coding.1)], Feed::of(&chunks));
        let given = read(&mut body);
        prop_assert_eq!(given.error, None);
        prop_assert_eq!(String::from_utf8(given.data).unwrap(), text.replace(SECRET, dummy));
    }
}
