//! One server has one name (attacks 4, 5), and each request on a connection is judged for itself (attack 7).

use super::{armed, observed, program};
use crate::support::Server;

#[test]
fn no_spelling_of_a_host_passes_for_another() {
    needs!("python3");
    let (server, plain) = (Server::https("api.test"), Server::http("api.test"));
    // Each spelling by CONNECT, by a Host header to the captured port 80, and by the target of the explicit proxy.
    let script = r#"
def connect(spelling, name):
    stream, head = tunnel(spelling + b":443")
    if answers(head) != "200":
        return answers(head)
    return ask(shake_hands(stream, name), request(name))

def host_header(spelling):
    return ask(dial("api.test", 80), b"GET /echo HTTP/1.1\r\nHost: " + spelling + b"\r\nConnection: close\r\n\r\n")

def target(spelling):
    return ask(dial(*PROXY), b"GET http://%b/echo HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (spelling, spelling))

def in_every_place(spelling, name):
    return connect(spelling, name), host_header(spelling), target(spelling)

for spelling in (b"api.test", b"API.Test", b"api.test."):
    fact(spelling.decode(), "; ".join(in_every_place(spelling, "api.test")))
for spelling in (b"api.test.evil.test", b"evilapi.test", b"test", b"api-test", b"127.0.0.1"):
    fact(spelling.decode(), "; ".join(in_every_place(spelling, spelling.decode())))
for spelling in sys.argv[1:]:
    results = in_every_place(spelling.encode("latin-1").replace(b"NUL", b"\0"), "api.test")
    fact(ascii(spelling), "; ".join(result.split(" ")[0] for result in results))
"#;
    let none = [
        "api.test..",
        ".api.test",
        "api..test",
        "api.testNUL.evil.test",
        "api.test%00.evil.test",
        "api%2etest",
        "evil@api.test",
        "api.test@evil.test",
        "api.test:443:443",
        "api.test:443@evil.test",
        "api.test:0",
        "api.test:99999",
        "api.test:+443",
        "api.test: 443",
        "api.test#",
        "api.test\\evil.test",
        "api.test/evil.test",
        "api.test,evil.test",
        "api.test evil.test",
        "api.test\tevil.test",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::1",
        "[::1%lo]",
        "[::1%25lo]",
        "::1",
        "*.test",
        "*",
        "",
        "xn--pi-wda.test",
        "\u{ff}.test",
        // Full-width and Cyrillic letters, as UTF-8.
        "\u{ef}\u{bd}\u{81}pi.test",
        "\u{d0}\u{b0}pi.test",
    ];
    let jail = armed().allow("api.test").allow("http://api.test").upstream(&server).upstream(&plain);
    let ended = jail.run(program(script, &none));
    let another = "403 host-not-allowed; 403 authority-mismatch; 403 host-not-allowed";
    let mut expected =
        vec![("api.test", "200; 200; 200"), ("API.Test", "200; 200; 200"), ("api.test.", "200; 200; 200")];
    expected.extend(["api.test.evil.test", "evilapi.test", "test", "api-test"].map(|name| (name, another)));
    // The proxy does not go there either: it tells the client to reach the job's own server itself.
    expected.push(("127.0.0.1", "403 host-not-allowed; 403 authority-mismatch; 307"));
    let names = none.map(in_python);
    expected.extend(names.iter().map(|name| (name.as_str(), "400; 400; 400")));
    observed(&ended, &expected);
    assert_eq!((server.requests().len(), plain.requests().len()), (3, 6));
    assert!(
        server.requests().iter().chain(&plain.requests()).all(|seen| seen.host == "api.test"),
        "one spelling goes out"
    );
}

/// A text as Python's `ascii` shows it.
fn in_python(text: &str) -> String {
    let shown = |character: char| match character {
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\\' => "\\\\".to_owned(),
        ' '..='~' => character.to_string(),
        other => format!("\\x{:02x}", u32::from(other)),
    };
    format!("'{}'", text.chars().map(shown).collect::<String>())
}

#[test]
fn a_server_name_that_is_none_is_not_served() {
    needs!("python3");
    let server = Server::https("api.test");
    let script = r#"
def hello(name):
    """The first words of TLS, with this for a server name, whatever it is."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    stand_in = b"a" * len(name)
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=stand_in.decode())
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    words = outgoing.read()
    assert words.count(stand_in) == 1
    return words.replace(stand_in, name)

def served(stream, name):
    stream.sendall(hello(name))
    stream.shutdown(socket.SHUT_WR)
    said = everything(stream)
    # The type of the first record: 22 is a handshake, 21 an alert.
    return {22: "served", 21: "refused"}[said[0]] if said else "closed"

for name in sys.argv[1:]:
    fact(ascii(name), served(dial("203.0.113.1", 443), name.encode("latin-1").replace(b"NUL", b"\0")))
"#;
    // A denied name is served too: the refusal is in the answer. Numbers are no names: they say nothing, and the address
    // that was dialled counts.
    let served = ["api.test", "evil.test", "127.0.0.1", "::1"];
    let refused = [
        "api.testNUL.evil.test",
        "api.test\n",
        "api.test\r\nx",
        "evil@api.test",
        "api.test:443",
        "api test",
        "*.test",
        ".api.test",
        "\u{ff}\u{fe}.test",
        "\u{d0}\u{b0}pi.test",
    ];
    let names: Vec<&str> = served.iter().chain(&refused).copied().collect();
    let ended = armed().allow("api.test").upstream(&server).run(program(script, &names));
    let shown: Vec<String> = names.iter().map(|name| in_python(name)).collect();
    let results = shown
        .iter()
        .enumerate()
        .map(|(position, name)| (name.as_str(), if position < served.len() { "served" } else { "refused" }));
    observed(&ended, &results.collect::<Vec<_>>());
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_request_under_another_name_than_its_connection_s_goes_nowhere() {
    needs!("python3");
    let (first, second) = (Server::https("a.test"), Server::https("b.test"));
    let (first_plain, second_plain) = (Server::http("a.test"), Server::http("b.test"));
    let script = r#"
from http2 import Http2, field, fields
a, b = ("44.128.0.1", "44.128.0.2")
assert (socket.gethostbyname("a.test"), socket.gethostbyname("b.test")) == (a, b)
through = lambda target, name, protocol="http/1.1": shake_hands(tunnel(target)[0], name, protocol)

fact("connect a, name b, host b", ask(through("a.test:443", "b.test"), request("b.test")))
fact("connect a, name b, host a", ask(through("a.test:443", "b.test"), request("a.test")))
fact("connect a, name a, host b", ask(through("a.test:443", "a.test"), request("b.test")))
fact("connect a, no name, host b", ask(through("a.test:443", None), request("b.test")))
fact("connect a number, name b", ask(through("203.0.113.1:443", "b.test"), request("b.test")))
fact("connect a's address, name b", ask(through(f"{a}:443", "b.test"), request("b.test")))
fact("a's address, name b", ask(shake_hands(dial(a, 443), "b.test"), request("b.test")))
fact("any address, no name", ask(shake_hands(dial("203.0.113.1", 443), None), request("b.test")))
fact("any address, name a, host b", ask(shake_hands(dial("203.0.113.1", 443), "a.test"), request("b.test")))
fact("another port in host", ask(https("a.test"), request("a.test:8443")))
fact("target a, host b", ask(https("a.test"), b"GET https://a.test/echo HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n"))
fact("target b, host a", ask(https("a.test"), b"GET https://b.test/echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
fact("two hosts", ask(https("a.test"), b"GET /echo HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\nConnection: close\r\n\r\n"))
fact("no host", ask(https("a.test"), b"GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n"))
fact("http/1.0 without host", ask(https("a.test"), b"GET /echo HTTP/1.0\r\n\r\n"))
fact("proxy: target a, host b", ask(dial(*PROXY), b"GET http://a.test/echo HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n"))
fact("plain: a's address, host b", ask(dial(a, 80), request("b.test")))

fact("http/2: authority b", Http2(https("a.test", "h2")).ask(fields("b.test")))
fact("http/2: authority a, host b", Http2(https("a.test", "h2")).ask(fields("a.test", more=[("host", "b.test")])))
fact("http/2: scheme http", Http2(https("a.test", "h2")).ask(fields("a.test", scheme="http")))
fact("http/2: userinfo", Http2(https("a.test", "h2")).ask(fields("b.test@a.test")))
twice = field(":authority", "b.test") + fields("a.test")
fact("http/2: two authorities", Http2(https("a.test", "h2")).ask(twice))
# A certificate for one name only: no client may think that the connection is good for the other too.
names = https("a.test", "h2").getpeercert()["subjectAltName"]
fact("the certificate's names", names)

for host in ("a.test", "b.test"):
    both = ask(https(host), request(host)), ask(dial(host, 80), request(host)), Http2(https(host, "h2")).ask(fields(host))
    fact(f"{host} as it should be", "; ".join(both))
fact("connect a, no name", ask(through("a.test:443", None), request("a.test")))
fact("any address, name a", ask(shake_hands(dial("203.0.113.1", 443), "a.test"), request("a.test")))
"#;
    let jail = ["a.test", "b.test", "http://a.test", "http://b.test"]
        .iter()
        .fold(armed(), |jail, rule| jail.allow(rule));
    let jail = [&first, &second, &first_plain, &second_plain]
        .iter()
        .fold(jail, |jail, server| jail.upstream(server));
    let ended = jail.run(program(script, &[]));
    observed(
        &ended,
        &[
            ("connect a, name b, host b", "403 authority-mismatch"),
            ("connect a, name b, host a", "403 authority-mismatch"),
            ("connect a, name a, host b", "403 authority-mismatch"),
            ("connect a, no name, host b", "403 authority-mismatch"),
            ("connect a number, name b", "403 authority-mismatch"),
            ("connect a's address, name b", "403 authority-mismatch"),
            ("a's address, name b", "403 authority-mismatch"),
            ("any address, no name", "403 authority-mismatch"),
            ("any address, name a, host b", "403 authority-mismatch"),
            ("another port in host", "403 authority-mismatch"),
            ("target a, host b", "403 authority-mismatch"),
            ("target b, host a", "403 authority-mismatch"),
            ("two hosts", "400 malformed-request"),
            ("no host", "400 malformed-request"),
            ("http/1.0 without host", "400 malformed-request"),
            ("proxy: target a, host b", "403 authority-mismatch"),
            ("plain: a's address, host b", "403 authority-mismatch"),
            ("http/2: authority b", "421 authority-mismatch"),
            ("http/2: authority a, host b", "421 authority-mismatch"),
            ("http/2: scheme http", "421 authority-mismatch"),
            ("http/2: userinfo", "400 invalid-authority"),
            ("http/2: two authorities", "400"),
            ("the certificate's names", "(('DNS', 'a.test'),)"),
            ("a.test as it should be", "200; 200; 200"),
            ("b.test as it should be", "200; 200; 200"),
            ("connect a, no name", "200"),
            ("any address, name a", "200"),
        ],
    );
    assert_eq!(
        (second.requests().len(), second_plain.requests().len()),
        (2, 1),
        "b.test was asked behind its back"
    );
    assert_eq!((first.requests().len(), first_plain.requests().len()), (4, 1));
}

#[test]
fn a_later_request_on_an_allowed_connection_is_judged_for_itself() {
    needs!("python3");
    let (server, plain) = (Server::https("api.test"), Server::http("api.test"));
    let script = r#"
from http2 import END_HEADERS, END_STREAM, HEADERS, Http2, fields, frame
def keep(host, path, method="GET", more=""):
    return request(host, path, method, more).replace(b"Connection: close\r\n", b"")

def one_after_the_other(stream):
    found = []
    for path in ("/echo", "/status/200", "/echo"):
        stream.sendall(keep("api.test", path))
        found.append(answers(stream.recv(65536)))
    stream.close()
    return ", ".join(found)

pipelined = keep("api.test", "/echo") + keep("api.test", "/status/200") + keep("evil.test", "/echo") + keep("api.test", "/echo", "DELETE")
pipelined += request("api.test", "/echo")
fact("kept alive, https", one_after_the_other(https("api.test")))
fact("kept alive, http", one_after_the_other(dial("api.test", 80)))
fact("pipelined, https", ask(https("api.test"), pipelined))
fact("pipelined, http", ask(dial("api.test", 80), pipelined))
fact("pipelined behind a body", ask(https("api.test"), keep("api.test", "/echo", more="Content-Length: 2\r\n") + b"ab" + request("api.test", "/status/200")))
http2 = Http2(https("api.test", "h2"))
asked = [("api.test", "/echo", "GET"), ("api.test", "/status/200", "GET"), ("evil.test", "/echo", "GET"), ("api.test", "/echo", "DELETE"), ("api.test", "/echo", "GET")]
fact("http/2 streams", ", ".join(http2.ask(fields(*each)) for each in asked))
to_proxy = b"".join(b"GET http://%b/echo HTTP/1.1\r\nHost: %b\r\n\r\n" % (host, host) for host in (b"api.test", b"evil.test"))
fact("proxy, kept alive", ask(dial(*PROXY), to_proxy + b"GET http://api.test/no HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"))
"#;
    let jail = armed()
        .allow("GET https://api.test/echo")
        .allow("GET http://api.test/echo")
        .upstream(&server)
        .upstream(&plain);
    let ended = jail.run(program(script, &[]));
    let five = "200, 403 path-not-allowed, 403 authority-mismatch, 403 method-not-allowed, 200";
    observed(
        &ended,
        &[
            ("kept alive, https", "200, 403 path-not-allowed, 200"),
            ("kept alive, http", "200, 403 path-not-allowed, 200"),
            ("pipelined, https", five),
            ("pipelined, http", five),
            ("pipelined behind a body", "200, 403 path-not-allowed"),
            ("http/2 streams", &five.replace("403 authority", "421 authority")),
            ("proxy, kept alive", "200, 403 host-not-allowed, 403 path-not-allowed"),
        ],
    );
    for seen in server.requests().iter().chain(&plain.requests()) {
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/echo"), "{seen:?}");
    }
    assert_eq!((server.requests().len(), plain.requests().len()), (7, 5));
}
