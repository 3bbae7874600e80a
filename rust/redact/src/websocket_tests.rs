use http::StatusCode;
use proptest::prelude::*;

use super::super::StreamRedactor;
use super::super::test_support::{LONGER, SAME, SECRET, headers, redactor};

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const FIN: u8 = 0x80;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(length as u8),
        length @ ..65536 => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

fn redactor_of_frames(dummy: &str) -> StreamRedactor {
    let redactor = redactor(dummy);
    redactor.head(StatusCode::SWITCHING_PROTOCOLS, &mut headers(&[("upgrade", "websocket")]));
    redactor.stream()
}

fn stream(dummy: &str, chunks: &[&[u8]]) -> Vec<u8> {
    let mut redactor = redactor_of_frames(dummy);
    let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| redactor.feed(chunk)).collect();
    out.extend_from_slice(&redactor.finish());
    out
}

#[test]
fn whole_messages_of_every_length() {
    for length in [0, 1, 100, 125, 126, 70_000] {
        let message = format!("{}{SECRET}", ".".repeat(length));
        let clean = message.replace(SECRET, SAME);
        assert_eq!(
            stream(SAME, &[&frame(FIN | TEXT, message.as_bytes())]),
            frame(FIN | TEXT, clean.as_bytes()),
            "{length}"
        );
    }
}

#[test]
fn frames_without_end_behind_a_held_one_are_not_kept() {
    for (what, endless) in
        [("pieces of nothing", frame(CONTINUATION, b"")), ("pings", frame(FIN | PING, b"?"))]
    {
        let mut redactor = redactor_of_frames(LONGER);
        redactor.feed(&frame(TEXT, &SECRET.as_bytes()[..10]));
        let fed = (0..100_000).find(|_| {
            redactor.feed(&endless);
            redactor.is_refused()
        });
        assert!(fed.is_some_and(|fed| fed > 1000), "{what}: {fed:?}");
    }
}

#[test]
fn a_dummy_of_another_length_is_fitted() {
    let short = "short-dummyxxxxxxxxxxxxxx";
    for (dummy, fitted) in [(LONGER, &LONGER[..SECRET.len()]), ("short-dummy", short)] {
        let clean = stream(dummy, &[&frame(FIN | TEXT, SECRET.as_bytes())]);
        assert_eq!(clean, frame(FIN | TEXT, fitted.as_bytes()));
    }
}

#[test]
fn across_fragments_and_control_frames_at_every_split() {
    let echo = |token: &str| {
        let (one, two) = token.split_at(11);
        [
            frame(TEXT, format!("a {one}").as_bytes()),
            frame(FIN | PING, b"tok_"),
            frame(CONTINUATION, b""),
            frame(CONTINUATION, &two.as_bytes()[..3]),
            frame(FIN | CONTINUATION, &two.as_bytes()[3..]),
            frame(FIN | CLOSE, format!("\x03\u{69}{token}").as_bytes()),
        ]
        .concat()
    };
    let (bytes, expected) = (echo(SECRET), echo(SAME));
    for split in 0..=bytes.len() {
        let (one, two) = bytes.split_at(split);
        assert_eq!(stream(SAME, &[one, two]), expected, "split at {split}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(stream(SAME, &single), expected);
}

#[test]
fn the_end_of_a_message_is_never_held_back() {
    let mut redactor = redactor_of_frames(LONGER);
    let message = frame(FIN | TEXT, b"ends like a tok_live_");
    assert_eq!(redactor.feed(&message), message);
    // A part of a message is.
    let part = frame(TEXT, b"ends like a tok_live_");
    assert_eq!(redactor.feed(&part), part[..part.len() - 9]);
}

#[test]
fn what_cannot_be_searched_stops_the_stream() {
    let compressed = frame(FIN | 0x40 | TEXT, b"xyz");
    let mut masked = frame(FIN | TEXT, b"xyz");
    masked[1] |= 0x80;
    let mut long_control = frame(FIN | PING, &[0; 125]);
    long_control.splice(1..2, [126, 0, 126]);
    for bad in [compressed, masked, long_control] {
        let mut redactor = redactor_of_frames(SAME);
        let good = frame(FIN | TEXT, b"good");
        assert_eq!(redactor.feed(&good), good);
        assert!(!redactor.is_refused());
        let given = redactor.feed(&bad);
        assert!(given.len() <= 4 && redactor.is_refused(), "{given:?}");
        assert_eq!(redactor.feed(&good), "");
        assert_eq!(redactor.finish(), "");
    }
}

#[test]
fn an_unknown_protocol_is_searched_as_plain_bytes() {
    let redactor = redactor(LONGER);
    redactor.head(StatusCode::SWITCHING_PROTOCOLS, &mut headers(&[("upgrade", "something")]));
    let mut stream = redactor.stream();
    let mut out = stream.feed(format!("a {}", &SECRET[..10]).as_bytes()).to_vec();
    out.extend_from_slice(&stream.feed(format!("{} b", &SECRET[10..]).as_bytes()));
    out.extend_from_slice(&stream.finish());
    assert_eq!(out.len(), SECRET.len() + 4);
    assert!(out.starts_with(b"a dummy") && out.ends_with(b" b"));
}

proptest! {
    #[test]
    fn any_frames_keep_their_borders(
        messages in prop::collection::vec(
            prop::collection::vec(prop_oneof![Just(SECRET.to_owned()), "[ -~]{0,20}", "[ -~]{120,140}"], 1..4), 0..5,
        ),
        size in 1..50_usize,
    ) {
        let build = |token: &str| -> Vec<u8> {
            messages.iter().flat_map(|fragments| {
                let last = fragments.len() - 1;
                fragments.iter().enumerate().flat_map(move |(index, text)| {
                    let kind = if index == 0 { TEXT } else { CONTINUATION };
                    let fin = if index == last { FIN } else { 0 };
                    frame(fin | kind, text.replace(SECRET, token).as_bytes())
                })
            }).collect()
        };
        let bytes = build(SECRET);
        let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(stream(SAME, &chunks), build(SAME));
    }
}
