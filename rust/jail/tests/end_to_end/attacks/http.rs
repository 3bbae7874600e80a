//! Requests that two servers could read differently (attacks 8, 9).

use super::recorder::Recorder;
use super::{armed, observed, program};
use crate::support::Server;

/// What a smuggler would hide behind each of these; no rule allows it.
const SMUGGLED: &str = r#"
smuggled = b"GET /smuggled HTTP/1.1\r\nHost: raw.test\r\nConnection: close\r\n\r\n"

def post(fields, body=b"", end="\r\n"):
    return end.join(["POST / HTTP/1.1", "Host: raw.test", *fields, "", ""]).encode("latin-1") + body

def attempt(name, data):
    stream = dial("raw.test", 80)
    # A proxy that waits for more has taken what is smuggled for a body, which is harmless.
    stream.settimeout(2)
    fact(name, ask(stream, data + smuggled))
"#;

#[test]
fn a_request_that_could_be_cut_in_two_ways_is_not_sent() {
    needs!("python3");
    let recorder = Recorder::start();
    let script = r#"
attempt("two lengths", post(["Content-Length: 4", "Content-Length: 5"], b"abcde"))
attempt("a list of lengths", post(["Content-Length: 4, 5"], b"abcde"))
attempt("a signed length", post(["Content-Length: +5"], b"abcde"))
attempt("a negative length", post(["Content-Length: -1"]))
attempt("a hexadecimal length", post(["Content-Length: 0x5"], b"abcde"))
attempt("a length with a space", post(["Content-Length: 1 0"], b"abcde"))
attempt("no length", post(["Content-Length: "], b""))
attempt("a length too large", post(["Content-Length: 18446744073709551616"], b"abcde"))
attempt("xchunked", post(["Transfer-Encoding: xchunked"], b"0\r\n\r\n"))
attempt("chunked with a tab", post(["Transfer-Encoding:\tx\tchunked"], b"0\r\n\r\n"))
attempt("quoted", post(['Transfer-Encoding: "chunked"'], b"0\r\n\r\n"))
attempt("identity", post(["Transfer-Encoding: identity", "Content-Length: 2"], b"ab"))
attempt("gzip, chunked", post(["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"))
attempt("chunked, identity", post(["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"))
attempt("chunked twice", post(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], b"0\r\n\r\n"))
attempt("chunked, then another", post(["Transfer-Encoding: chunked", "Transfer-Encoding: x"], b"0\r\n\r\n"))
attempt("a space before the colon", post(["Transfer-Encoding : chunked"], b"0\r\n\r\n"))
attempt("a tab before the colon", post(["Content-Length\t: 2"], b"ab"))
attempt("chunked in http/1.0", b"POST / HTTP/1.0\r\nHost: raw.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
attempt("a folded header", post(["X: a", " b"]))
attempt("folded framing", post(["Transfer-Encoding:", " chunked"], b"0\r\n\r\n"))
attempt("a folded first line", b"POST / HTTP/1.1\r\n Host: raw.test\r\n\r\n")
attempt("a header without a name", post([": x"]))
attempt("a header without a colon", post(["X"]))
attempt("a bare CR in a value", post(["X: a\rTransfer-Encoding: chunked"], b"0\r\n\r\n"))
attempt("a NUL in a value", post(["X: a\0b"]))
attempt("a bare CR for an end", post([], b"", "\r"))
attempt("spaces in the target", b"POST /a b HTTP/1.1\r\nHost: raw.test\r\n\r\n")
attempt("a line break in the target", b"POST /a%0d%0a\r\nX: y HTTP/1.1\r\nHost: raw.test\r\n\r\n")
attempt("another version", b"POST / HTTP/1.2\r\nHost: raw.test\r\n\r\n")
attempt("http/0.9", b"POST /\r\n\r\n")
attempt("an empty line first", b"\r\n" + post([]))
"#;
    let jail = armed().allow("http://raw.test/").options(recorder.options("raw.test", 80));
    let ended = jail.run(program(&format!("{SMUGGLED}{script}"), &[]));
    let text = ended.succeeds().text();
    assert_eq!(text.lines().count(), 32, "{ended}");
    for line in text.lines() {
        let result = line.split_once(": ").unwrap().1;
        // What comes behind it on the connection is not read at all.
        let refused = ["400", "400 malformed-request"].contains(&result);
        assert!(refused || line == "an empty line first: closed", "{line}{ended}");
    }
    assert_eq!((recorder.heard().as_str(), recorder.connections()), ("", 0));
    // The control: such a request as it should be, and what comes behind it is judged for itself.
    let script = format!("{SMUGGLED}attempt('as it should be', post(['Content-Length: 2'], b'ab'))");
    observed(&jail.run(program(&script, &[])), &[("as it should be", "200, 403 path-not-allowed")]);
    assert!(
        recorder.heard().starts_with("post / http/1.1\r\n") && recorder.heard().ends_with("\r\n\r\nab"),
        "{}",
        recorder.heard()
    );
}

#[test]
fn a_request_that_is_read_in_one_way_is_written_in_one_way() {
    needs!("python3");
    let script = r#"
kind = sys.argv[1]
attempt(kind, {
    "length and chunked": post(["Content-Length: 47", "Transfer-Encoding: chunked"], b"2\r\nab\r\n0\r\n\r\n"),
    "chunked and length": post(["Transfer-Encoding: chunked", "Content-Length: 47"], b"2\r\nab\r\n0\r\n\r\n"),
    "a length twice": post(["Content-Length: 2", "Content-Length: 2"], b"ab"),
    "bare LF": post(["Content-Length: 2"], b"ab", "\n"),
    "chunk extensions": post(["Transfer-Encoding: Chunked"], b"2;a=b\r\nab\r\n0\r\n\r\n"),
    "framing in trailers": post(["Transfer-Encoding: chunked", "Trailer: Content-Length"], b"2\r\nab\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: x\r\n\r\n"),
    "a length behind an underscore": post(["Content_Length: 47", "Content-Length: 2"], b"ab"),
}[kind])
"#;
    let (chunked, counted) = (
        "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "content-length: 2\r\nhost: raw.test\r\n\r\nab",
    );
    for (kind, outside) in [
        ("length and chunked", format!("host: raw.test\r\n{chunked}")),
        ("chunked and length", format!("host: raw.test\r\n{chunked}")),
        ("a length twice", counted.to_owned()),
        ("bare LF", counted.to_owned()),
        ("chunk extensions", format!("host: raw.test\r\n{chunked}")),
        ("framing in trailers", format!("trailer: content-length\r\nhost: raw.test\r\n{chunked}")),
        // It is a header like any other to us, and goes with the one length that is meant.
        ("a length behind an underscore", counted.replacen("\r\n", "\r\ncontent_length: 47\r\n", 1)),
    ] {
        let recorder = Recorder::start();
        let jail = armed().allow("http://raw.test/").options(recorder.options("raw.test", 80));
        let ended = jail.run(program(&format!("{SMUGGLED}{script}"), &[kind]));
        // What comes behind it is another request, refused for itself, or is not looked at any more.
        let result = ended.succeeds().text();
        let result = result.trim_end().strip_prefix(kind).unwrap();
        assert!([": 200", ": 200, 403 path-not-allowed"].contains(&result), "{kind}{result}{ended}");
        assert_eq!(recorder.heard(), format!("post / http/1.1\r\n{outside}"), "{kind}{ended}");
    }
}

#[test]
fn a_body_that_breaks_off_is_not_completed_by_the_proxy() {
    needs!("python3");
    let script = r#"
kind = sys.argv[1]
attempt(kind, post(["Transfer-Encoding: chunked"], {
    "a size too large": b"fffffffffffffffff\r\nab\r\n",
    "a signed size": b"+2\r\nab\r\n0\r\n\r\n",
    "a prefixed size": b"0x2\r\nab\r\n0\r\n\r\n",
    "a size with an underscore": b"1_0\r\nab\r\n0\r\n\r\n",
    "no size": b"\r\nab\r\n0\r\n\r\n",
    "a chunk longer than said": b"2\r\nabc\r\n0\r\n\r\n",
    "a bare LF after a chunk": b"2\r\nab\n0\r\n\r\n",
    "a bare LF after a size": b"2\nab\r\n0\r\n\r\n",
    "a bare CR after a size": b"2\rab\r\n0\r\n\r\n",
    "as it should be": b"2\r\nab\r\n0\r\n\r\n",
}[kind]))
"#;
    let kinds = [
        "a size too large",
        "a signed size",
        "a prefixed size",
        "a size with an underscore",
        "no size",
        "a chunk longer than said",
        "a bare LF after a chunk",
        "a bare LF after a size",
        "a bare CR after a size",
    ];
    for kind in kinds {
        let recorder = Recorder::start();
        let jail = armed().allow("http://raw.test/").options(recorder.options("raw.test", 80));
        jail.run(program(&format!("{SMUGGLED}{script}"), &[kind])).succeeds();
        let heard = recorder.heard();
        assert!(!heard.contains("smuggled") && !heard.ends_with("0\r\n\r\n"), "{kind}: {heard:?}");
    }
    let recorder = Recorder::start();
    let jail = armed().allow("http://raw.test/").options(recorder.options("raw.test", 80));
    let ended = jail.run(program(&format!("{SMUGGLED}{script}"), &["as it should be"]));
    observed(&ended, &[("as it should be", "200, 403 path-not-allowed")]);
    assert!(recorder.heard().ends_with("2\r\nab\r\n0\r\n\r\n"), "{:?}", recorder.heard());
}

#[test]
fn nothing_of_http_2_becomes_another_request_in_http_1() {
    needs!("python3");
    let server = Server::https1("old.test");
    let script = r#"
from http2 import Http2, field, fields
def attempt(name, head, body=None):
    # A connection of its own for each: what is wrong enough ends it.
    fact(name, Http2(https("old.test", "h2")).ask(head, body))

def with_field(name, value, body=None, method="GET"):
    return fields("old.test", method=method, more=[(name, value)])

smuggled = "\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: old.test\r\n\r\n"
attempt("a length too small", with_field("content-length", "3", method="POST"), b"four")
attempt("a length too large", with_field("content-length", "5", method="POST"), b"four")
attempt("two lengths", fields("old.test", method="POST", more=[("content-length", "4"), ("content-length", "5")]), b"four")
attempt("a signed length", with_field("content-length", "+4", method="POST"), b"four")
attempt("transfer-encoding", with_field("transfer-encoding", "chunked", method="POST"), b"0\r\n\r\n" + smuggled.encode())
attempt("connection", with_field("connection", "close"))
attempt("a line break in a value", with_field("x", "a" + smuggled))
attempt("a bare LF in a value", with_field("x", "a\nb: c"))
attempt("a bare CR in a value", with_field("x", "a\rb: c"))
attempt("a NUL in a value", with_field("x", "a\0b"))
attempt("a line break in a name", with_field("x: y\r\nz", "a"))
attempt("a colon in a name", with_field("x: y", "a"))
attempt("a space in a name", with_field("content-length ", "4", method="POST"), b"four")
attempt("a capital in a name", with_field("X-Y", "a"))
attempt("an empty name", with_field("", "a"))
attempt("a line break in the path", fields("old.test", "/echo HTTP/1.1" + smuggled))
attempt("a space in the path", fields("old.test", "/echo x"))
attempt("an absolute path", fields("old.test", "https://old.test/smuggled"))
attempt("no slash", fields("old.test", "echo"))
attempt("a line break in the method", fields("old.test", method="GET /smuggled HTTP/1.1\r\nx:"))
attempt("a space in the method", fields("old.test", method="GET /smuggled"))
attempt("a line break in the authority", fields("old.test\r\nx: y"))
attempt("two paths", field(":path", "/smuggled") + fields("old.test"))
attempt("a pseudo field at the end", fields("old.test") + field(":path", "/smuggled"))
attempt("an unknown pseudo field", field(":smuggled", "x") + fields("old.test"))
attempt("connect", field(":method", "CONNECT") + field(":authority", "old.test:443"))
attempt("extended connect", fields("old.test", method="CONNECT") + field(":protocol", "websocket"))
attempt("te", with_field("te", "chunked"))
attempt("as it should be", with_field("content-length", "4", method="POST"), b"four")
"#;
    let jail = armed().allow("GET,POST https://old.test/echo").upstream(&server);
    let ended = jail.run(program(script, &[]));
    let text = ended.succeeds().text();
    let results: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(results.len(), 29, "{ended}");
    for (name, result) in results {
        let expected: &[&str] = match name {
            "as it should be" => &["200"],
            "connect" => &["403 protocol-not-allowed"],
            // A refusal with its reason, or the error of a protocol (1) for the whole connection.
            _ => &["400", "connection refused with 1"],
        };
        assert!(expected.contains(&result), "{name}: {result}{ended}");
    }
    // A request whose body turns out to be too short may have begun outside by then: there it breaks off.
    let seen = server.requests();
    assert!(seen.iter().all(|seen| seen.method == "POST" && seen.path == "/echo"), "{seen:?}");
    let bodies: Vec<usize> = seen.iter().map(|seen| seen.body).filter(|length| *length > 0).collect();
    assert_eq!(bodies, [4], "{seen:?}");
}

#[test]
fn no_spelling_of_a_path_passes_for_another() {
    needs!("python3");
    let server = Server::https("api.test");
    let script = r#"
for path in sys.argv[1:]:
    fact(path, ask(https("api.test"), b"GET %b HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n" % path.encode("latin-1")))
"#;
    let ambiguous = [
        "/status/../echo",
        "/status/%2e%2e/echo",
        "/status/.%2e/echo",
        "/status/..",
        "/status/./../echo",
        "/status//200",
        "//status/200",
        "/status/..;/echo",
        "/status/200;x=/../../echo",
        "/status/..%2fecho",
        "/status/%2fecho",
        "/status/..\\echo",
        "/status/..%5cecho",
        "/status/%252e%252e/echo",
        "/status/%c0%ae%c0%ae/echo",
        "/status/%u002e%u002e/echo",
        "/status/%",
        "/status/%zz",
        "/status/%00",
        "/status/200%00/../echo",
        "/status/200%0a",
        "/status/%e2%80%a5/echo",
        "/status/%ef%bc%8e%ef%bc%8e/echo",
        "/status/..%20/echo",
        "/status/%09../echo",
        "/status/...",
    ];
    let others = [
        "/echo",
        "/STATUS/200",
        "/%53tatus/200",
        "/echo?/status/200",
        "/status",
        "/echo;/status/200",
        "/echo%3f/status/200",
    ];
    // One reading, and inside of what is allowed, whatever the server makes of it.
    let allowed = [
        "/status/200",
        "/status/2%30%30",
        "/status/200;a=b",
        "/status/200?/../../echo",
        "/status/200#/../echo",
        "/status/x%20y",
        "/status/..x",
    ];
    let paths: Vec<&str> = [&ambiguous[..], &others[..], &allowed[..]].concat();
    let jail = armed().allow("GET https://api.test/status/**").upstream(&server);
    let ended = jail.run(program(script, &paths));
    let text = ended.succeeds().text();
    for (path, line) in paths.iter().zip(text.lines()) {
        let result = line
            .strip_prefix(path)
            .and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or_else(|| panic!("{line}{ended}"));
        match () {
            () if ambiguous.contains(path) => assert_eq!(result, "403 ambiguous-path", "{path}{ended}"),
            () if others.contains(path) => assert_eq!(result, "403 path-not-allowed", "{path}{ended}"),
            () => assert!(["200", "404"].contains(&result), "{path}: {result}{ended}"),
        }
    }
    // A server that decodes a path first must find itself below /status/ all the same.
    let seen: Vec<String> = server.requests().into_iter().map(|seen| seen.path).collect();
    assert_eq!(seen.len(), allowed.len(), "{seen:?}");
    assert!(seen.iter().all(|path| path.starts_with("/status/")), "{seen:?}");
}

#[test]
fn no_header_makes_one_method_of_another() {
    needs!("python3");
    let server = Server::https("api.test");
    let script = r#"
for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x_http_method_override", "X-HTTP_Method-Override"):
    for method in ("DELETE", "delete", " DELETE", "POST, DELETE", "POST"):
        fact(f"{name}: {method}", ask(https("api.test"), request("api.test", method="POST", more=f"{name}: {method}\r\nContent-Length: 0\r\n")))
fact("two of them", ask(https("api.test"), request("api.test", method="POST", more="X-HTTP-Method: POST\r\nX-HTTP-Method: DELETE\r\nContent-Length: 0\r\n")))
for method in ("post", "P0ST", "DELETE", "GET", "HEAD"):
    fact(ascii(method), ask(https("api.test"), request("api.test", method=method, more="Content-Length: 0\r\n")))
"#;
    let jail = armed().allow("POST https://api.test").upstream(&server);
    let ended = jail.run(program(script, &[]));
    let names = [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "x_http_method_override",
        "X-HTTP_Method-Override",
    ];
    let lines: Vec<(String, &str)> = names
        .iter()
        .flat_map(|name| {
            ["DELETE", "delete", " DELETE", "POST, DELETE", "POST"]
                .map(|method| (format!("{name}: {method}"), method))
        })
        .collect();
    let mut expected: Vec<(&str, &str)> = lines
        .iter()
        .map(|(name, method)| {
            (name.as_str(), if *method == "POST" { "200" } else { "403 method-not-allowed" })
        })
        .collect();
    expected.push(("two of them", "403 method-not-allowed"));
    expected.extend(
        ["'post'", "'P0ST'", "'DELETE'", "'GET'", "'HEAD'"].map(|method| (method, "403 method-not-allowed")),
    );
    observed(&ended, &expected);
    assert_eq!(server.requests().len(), names.len());
}
