//! A server that gives the real token back, in every form that comes to mind (attack 13).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Response, StatusCode};

use super::{armed, observed, program};
use crate::support::{Jail, Server, random};

/// A path, and the text behind it for a token.
type Form = (&'static str, fn(&str) -> String);
/// A name, the content coding, and the pieces in which a body goes out.
type Packing = (&'static str, &'static str, fn(&[u8]) -> Vec<Bytes>);

/// What the job asks for and what it gets: the same text, made of the real token by the server, and of the dummy here.
const FORMS: [Form; 14] = [
    ("/raw", |token| format!("you sent {token}!")),
    ("/twice", |token| format!("{token}{token}")),
    ("/json", |token| serde_json::json!({"error": {"key": token}}).to_string()),
    ("/json-escaped", |token| {
        token.bytes().fold("\"".to_owned(), |text, byte| text + &format!("\\u{byte:04x}")) + "\""
    }),
    ("/url-escaped", |token| token.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))),
    ("/url-escaped-low", |token| {
        token.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"))
    }),
    ("/base64", |token| format!("data: {}", STANDARD.encode(token))),
    ("/base64-shifted", |token| format!("data: {}", STANDARD.encode(format!("x{token}")))),
    ("/base64-shifted-twice", |token| format!("data: {}", STANDARD.encode(format!("xy{token}")))),
    ("/base64-amid", |token| format!("data: {}", STANDARD.encode(format!("xy{token}z")))),
    ("/base64-url", |token| format!("data: {}", URL_SAFE_NO_PAD.encode(format!("token={token}")))),
    ("/basic", |token| format!("Authorization: Basic {}", STANDARD.encode(format!("me:{token}")))),
    ("/binary", |token| format!("\u{1}{token}\u{2}")),
    ("/events", |token| format!("event: error\ndata: {token}\n\ndata: end\n\n")),
];

/// How a body is packed on its way.
const PACKINGS: [Packing; 8] = [
    ("whole", "", |body| vec![Bytes::copy_from_slice(body)]),
    ("bytewise", "", |body| body.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect()),
    ("gzip", "gzip", |body| vec![gzip(body).into()]),
    ("deflate", "deflate", |body| {
        vec![written(ZlibEncoder::new(Vec::new(), Compression::best()), body, ZlibEncoder::finish).into()]
    }),
    ("raw-deflate", "deflate", |body| {
        vec![
            written(DeflateEncoder::new(Vec::new(), Compression::best()), body, DeflateEncoder::finish)
                .into(),
        ]
    }),
    ("gzip-twice", "gzip, gzip", |body| gzip(&gzip(body)).chunks(7).map(Bytes::copy_from_slice).collect()),
    ("zstd", "zstd", |body| zstd(body).chunks(5).map(Bytes::copy_from_slice).collect()),
    ("brotli", "br", |body| brotli(body).chunks(5).map(Bytes::copy_from_slice).collect()),
];

/// A request's path is `/PACKING/FORM`; the words are in the body of a 500, as error pages have them, and in headers.
fn reflector() -> Server {
    Server::answering("api.test", |head, credential| {
        let token = credential.rsplit(' ').next().unwrap_or_default();
        let (packing, form) = head.uri.path()[1..].split_once('/').unwrap();
        let text = FORMS.iter().find(|(path, _)| path[1..] == *form).unwrap().1(token);
        let (_, coding, pack) = PACKINGS.iter().find(|(name, ..)| *name == packing).unwrap();
        let mut answer = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR);
        if form == "events" {
            answer = answer.header(CONTENT_TYPE, "text/event-stream");
        }
        if form == "binary" {
            answer = answer.header(CONTENT_TYPE, "application/octet-stream");
        }
        if !coding.is_empty() {
            answer = answer.header(CONTENT_ENCODING, *coding);
        }
        answer
            .header("x-echo", credential)
            .header("location", format!("https://api.test/login?token={token}"))
            .header("set-cookie", format!("session={token}; Path=/"))
            .header("www-authenticate", format!("Bearer error=\"{token}\""))
            .header("x-base64", STANDARD.encode(format!("me:{token}")))
            .body(pack(text.as_bytes()))
            .unwrap()
    })
}

fn jail(server: &Server, token: &str) -> Jail {
    armed().allow("api.test").upstream(server).secret("REAL", token).credential("T=env:REAL@api.test")
}

const FETCH: &str = r#"
import gzip, http.client, http2, zlib
dummy = os.environ["T"]
print(f"dummy={dummy}")
for path in sys.argv[1:]:
    server = http.client.HTTPSConnection("api.test", timeout=PATIENCE)
    server.request("GET", path, headers={"Authorization": f"Bearer {dummy}", "Accept-Encoding": "gzip, deflate, br, zstd"})
    try:
        answer = server.getresponse()
        body = answer.read()
        for coding in (answer.headers["content-encoding"] or "").split(", "):
            body = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(coding, bytes)(body)
        fact(path, ascii(body.decode("latin-1")))
    except (http.client.IncompleteRead, http.client.RemoteDisconnected):
        fact(path, "broken off")
        continue
    headers = "x-echo location set-cookie www-authenticate x-base64".split()
    fact(path + " in headers", ascii("|".join(answer.headers[name] or "" for name in headers)))
"#;

/// What the job must see: all of it with the dummy in the token's place.
fn expected(dummy: &str, paths: &[String]) -> Vec<(String, String)> {
    let ascii = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\n', "\\n"));
    let ascii = |text: &str| ascii(text).replace('\u{1}', "\\x01").replace('\u{2}', "\\x02");
    paths
        .iter()
        .flat_map(|path| {
            let form = &path[path.rfind('/').unwrap()..];
            let text = FORMS.iter().find(|(name, _)| *name == form).unwrap().1(dummy);
            let basic = STANDARD.encode(format!("me:{dummy}"));
            let headers = format!(
                "Bearer {dummy}|https://api.test/login?token={dummy}|session={dummy}; Path=/|Bearer error=\"{dummy}\"|{basic}"
            );
            vec![(path.clone(), ascii(&text)), (format!("{path} in headers"), ascii(&headers))]
        })
        .collect()
}

#[test]
fn the_real_token_does_not_come_back_in_any_form() {
    needs!("python3");
    let (server, token) = (reflector(), random("sk-ant-api03-"));
    let mut paths: Vec<String> = FORMS.iter().map(|(form, _)| format!("/whole{form}")).collect();
    paths.extend(FORMS.iter().map(|(form, _)| format!("/bytewise{form}")));
    paths.extend(PACKINGS.iter().skip(2).flat_map(|(packing, ..)| {
        ["/raw", "/json-escaped", "/base64-shifted"].map(|form| format!("/{packing}{form}"))
    }));
    let arguments: Vec<&str> = paths.iter().map(String::as_str).collect();

    let ended = jail(&server, &token).run(program(FETCH, &arguments));

    let dummy = ended.succeeds().value("dummy");
    let expected = expected(&dummy, &paths);
    let text = ended.text();
    let seen: Vec<(String, String)> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, result)| (name.to_owned(), result.to_owned()))
        .collect();
    assert_eq!(seen.len(), expected.len(), "{ended}");
    for ((path, seen), (_, expected)) in seen.iter().zip(&expected) {
        // The character in which the token's last bits and the next byte's first ones meet stays as it is: it cannot be
        // told from a neighbour's.
        let most = usize::from(path.ends_with("/base64-amid"));
        let differing = seen.bytes().zip(expected.bytes()).filter(|(one, other)| one != other).count();
        assert!(seen.len() == expected.len() && differing <= most, "{path}\n{seen}\n{expected}{ended}");
    }
    assert!(seen.iter().map(|(path, _)| path).eq(expected.iter().map(|(path, _)| path)), "{ended}");
    // The control: what was sent and came back was the real one.
    assert!(
        server
            .requests()
            .iter()
            .all(|seen| seen.header("authorization").unwrap() == format!("Bearer {token}"))
    );
    assert_eq!(server.requests().len(), paths.len());
    for (form, make) in FORMS {
        assert!(!text.contains(&make(&token)), "{form} of the real token is in the jail");
    }
}

#[test]
fn a_token_of_another_length_than_its_dummy_does_not_come_back_either() {
    needs!("python3");
    let server = reflector();
    // Shorter than any dummy may be; in bodies that are not text, lengths must stay as they are.
    let token = format!("tk{}", &random("")[..12]);
    let paths = [
        "/whole/raw",
        "/bytewise/raw",
        "/whole/json-escaped",
        "/gzip/base64",
        "/whole/basic",
        "/whole/binary",
        "/bytewise/binary",
    ];
    let ended = jail(&server, &token).run(program(FETCH, &paths));
    let dummy = ended.succeeds().value("dummy");
    assert!(dummy.len() > token.len(), "{ended}");
    let text = ended.text();
    for (form, make) in FORMS {
        assert!(!text.contains(&make(&token)), "{form} of the real token is in the jail{ended}");
    }
    assert!(!text.contains(&STANDARD.encode(format!("me:{token}"))), "{ended}");
    ended.prints(&format!("/whole/raw: 'you sent {dummy}!'"));
    // The control: the answers were there, and held what was sent.
    assert_eq!(text.matches(" in headers: ").count(), paths.len(), "{ended}");
    assert!(
        server
            .requests()
            .iter()
            .all(|seen| seen.header("authorization").unwrap() == format!("Bearer {token}"))
    );
}

#[test]
fn trace_shows_nothing_and_a_host_without_a_credential_is_left_alone() {
    needs!("python3");
    let (server, token) = (reflector(), random("sk-ant-api03-"));
    let script = r#"
dummy = os.environ["T"]
fact("trace", ask(https("api.test"), request("api.test", "/whole/raw", "TRACE", f"Authorization: Bearer {dummy}\r\n")))
fact("get", ask(https("api.test"), request("api.test", "/whole/raw", "GET", f"Authorization: Bearer {dummy}\r\n")))
"#;
    let ended = jail(&server, &token).run(program(script, &[]));
    observed(&ended, &[("trace", "403 method-not-allowed"), ("get", "500")]);
    assert_eq!(server.requests().len(), 1);
}

fn gzip(body: &[u8]) -> Vec<u8> {
    written(GzEncoder::new(Vec::new(), Compression::best()), body, GzEncoder::finish)
}

fn written<E: std::io::Write>(
    mut encoder: E,
    body: &[u8],
    finish: fn(E) -> std::io::Result<Vec<u8>>,
) -> Vec<u8> {
    encoder.write_all(body).unwrap();
    finish(encoder).unwrap()
}

/// A Zstandard frame (RFC 8878) of raw blocks, with a border in the midst of whatever is in it.
fn zstd(body: &[u8]) -> Vec<u8> {
    // Magic number; no checksum, no content size; a window of 1 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00];
    let blocks: Vec<&[u8]> = body.chunks(11).collect();
    for (position, block) in blocks.iter().enumerate() {
        let header = u32::try_from(block.len()).unwrap() << 3 | u32::from(position + 1 == blocks.len());
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(*block);
    }
    frame
}

/// A Brotli stream (RFC 7932) of uncompressed meta-blocks, with a border in the midst of whatever is in it.
fn brotli(body: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (position, block) in body.chunks(11).enumerate() {
        let length = u32::try_from(block.len() - 1).unwrap();
        // The first bit of all is the size of the window (64 KiB). Then: not the last, four nibbles of length, the
        // length, uncompressed; the rest of the byte is empty.
        let bits = if position == 0 { length << 4 | 1 << 20 } else { length << 3 | 1 << 19 };
        stream.extend(&bits.to_le_bytes()[..3]);
        stream.extend(block);
    }
    // The last, and empty.
    stream.push(0x03);
    stream
}
