//! Compares the throughput of two versions of the redaction of response bodies (see `redact.sh`).
#![allow(dead_code, unused_imports, reason = "the versions are parts of a larger crate")]

mod new;
mod old;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

/// How many times both versions search each text.
const ROUNDS: usize = 31;
/// Bytes of one text.
const LENGTH: usize = 4 << 20;

/// A body of chunks that are slices of one text.
struct Chunks {
    text: Bytes,
    size: usize,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.size.min(self.text.len());
        let chunk = self.text.split_to(length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(chunk))))
    }
}

/// Returns how long a version takes for a text, and how many bytes it gives.
macro_rules! measured {
    ($version:ident, $needles:expr, $text:expr, $size:expr) => {{
        let redactor = $version::Redactor::new($needles.clone(), true);
        let body = Chunks { text: $text.clone(), size: $size };
        let started = Instant::now();
        let length = drained(redactor.body(&HeaderMap::new(), body));
        (started.elapsed(), length)
    }};
}

fn drained<B: Body<Data = Bytes>>(body: B) -> usize {
    let mut body = pin!(body);
    let mut context = Context::from_waker(Waker::noop());
    let mut length = 0;
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut context) {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

fn main() {
    let secrets = [
        ("sk-bench-Zq83hV1xTn0PcRb6WmYd4KsLu9EgJo2AfIi7Ht5Xe", "sk-bench-dummy-0000000000000000000000000000000000"),
        ("ghb_9aT2kWq7LrXv4ZbNc8MpYs3DfHj6GtRe1Ui0", "ghb_dummy00000000000000000000000000000000"),
    ];
    let old_needles = Arc::new(old::Needles::new(secrets));
    let new_needles = Arc::new(new::Needles::new(secrets));
    println!("{:<28}{:>10}{:>10}{:>8}", "text", "old GB/s", "new GB/s", "time");
    for (name, text, size) in texts() {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let (old, new) = if round % 2 == 0 {
                let old = measured!(old, old_needles, text, size);
                (old, measured!(new, new_needles, text, size))
            } else {
                let new = measured!(new, new_needles, text, size);
                (measured!(old, old_needles, text, size), new)
            };
            assert_eq!((old.1, new.1), (text.len(), text.len()), "{name}");
            rounds.push((old.0, new.0));
        }
        // Other work of the machine only adds time.
        let old = rounds.iter().map(|round| round.0).min().unwrap_or_default();
        let new = rounds.iter().map(|round| round.1).min().unwrap_or_default();
        println!(
            "{name:<28}{:>10.2}{:>10.2}{:>7.0}%",
            speed(text.len(), old),
            speed(text.len(), new),
            new.as_secs_f64() / old.as_secs_f64() * 100.0
        );
    }
}

fn speed(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e9
}

fn texts() -> Vec<(&'static str, Bytes, usize)> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let prose = repeated(|text, random| {
        for _ in 0..12 {
            text.extend_from_slice(random.word());
            text.push(b' ');
        }
        text.extend_from_slice(b".\n");
    });
    let json = repeated(|text, random| {
        let (id, name, word) = (random.next(), random.text(2), random.text(5));
        let url = random.text(1);
        text.extend_from_slice(
            format!(
                "{{\"id\":{id},\"name\":\"{name}\",\"url\":\"https://api.test/items/{id}?page={}&q={url}\",\"private\":false,\
                 \"description\":\"{word}\\n{name}: \\\"{url}\\\"\",\"size\":{}}},",
                id % 90,
                id % 5000
            )
            .as_bytes(),
        );
    });
    let events = repeated(|text, random| {
        let word = random.text(2);
        text.extend_from_slice(
            format!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\
                 \"text_delta\",\"text\":\" {word}\\n\"}}}}\n\n"
            )
            .as_bytes(),
        );
    });
    let html = repeated(|text, random| {
        let (word, more) = (random.text(1), random.text(6));
        text.extend_from_slice(
            format!(
                "<div class=\"{word} row\" id=\"{word}\">\n  <a href=\"/p/{word}?a=1&amp;b={}\" title=\"{more}\">{more}</a>\
                 &nbsp;<span data-x=\"1\">&lt;{word}&gt;</span>\n</div>\n",
                random.next() % 1000
            )
            .as_bytes(),
        );
    });
    let source = repeated(|text, random| {
        let (word, more) = (random.text(1), random.text(3));
        text.extend_from_slice(
            format!("    let {word} = self.{word}(&mut {word}, {});\n        // {more}\n", random.next() % 100)
                .as_bytes(),
        );
    });
    let form = repeated(|text, random| {
        let (word, more) = (random.text(1), random.text(3).replace(' ', "%20"));
        text.extend_from_slice(format!("{word}={more}%2C%2F{}&", random.next() % 100).as_bytes());
    });
    let lines = repeated(|text, random| {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        text.extend((0..76).map(|_| ALPHABET[random.next() % 64]));
        text.push(b'\n');
    });
    let binary = Bytes::from((0..LENGTH).map(|_| random.next().to_le_bytes()[0]).collect::<Vec<u8>>());
    vec![
        ("prose", prose, 16 << 10),
        ("JSON", json.clone(), 16 << 10),
        ("JSON, small chunks", json, 1 << 10),
        ("events", events.clone(), 16 << 10),
        ("events one by one", events, 150),
        ("HTML", html, 16 << 10),
        ("source code", source, 16 << 10),
        ("form", form, 16 << 10),
        ("base64 in lines", lines, 16 << 10),
        ("binary", binary, 16 << 10),
    ]
}

fn repeated(one: impl Fn(&mut Vec<u8>, &mut Random)) -> Bytes {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut text = Vec::with_capacity(LENGTH + 1024);
    while text.len() < LENGTH {
        one(&mut text, &mut random);
    }
    text.into()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize
    }

    fn word(&mut self) -> &'static [u8] {
        const WORDS: [&str; 24] = [
            "the", "request", "of", "server", "is", "build", "and", "response", "token", "to", "commit", "branch", "has",
            "header", "value", "in", "stream", "that", "cache", "key", "list", "issue", "user", "skip",
        ];
        WORDS[self.next() % WORDS.len()].as_bytes()
    }

    fn text(&mut self, words: usize) -> String {
        (0..words).map(|_| String::from_utf8_lossy(self.word())).collect::<Vec<_>>().join(" ")
    }
}
