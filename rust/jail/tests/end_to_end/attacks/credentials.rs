//! Dummies and keys in places where they do not belong (attacks 10, 11, 12, 14).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{armed, observed, program};
use crate::support::{Jail, Server, random};

/// A credential T towards api.test; `other.test` is allowed and has none.
fn jail(server: &Server, token: &str) -> Jail {
    armed()
        .allow("api.test")
        .allow("other.test")
        .upstream(server)
        .secret("REAL", token)
        .credential("T=env:REAL@api.test")
}

const ATTEMPTS: &str = r#"
import base64, urllib.parse
dummy = os.environ["T"]
encoded = lambda text: base64.b64encode(text.encode()).decode()

def attempt(name, host, *fields, path="/echo"):
    more = "".join(field + "\r\n" for field in fields)
    fact(name, ask(https(host), request(host, path, more=more)))
"#;

fn run(jail: &Jail, script: &str, arguments: &[&str]) -> crate::support::Ended {
    jail.run(program(&format!("{ATTEMPTS}{script}"), arguments))
}

#[test]
fn a_credential_in_a_header_that_servers_could_read_differently_is_not_sent() {
    needs!("python3");
    let (server, token) = (Server::https_for(&["api.test", "other.test"]), random("sk-"));
    let script = r#"
attempt("two of them", "api.test", f"Authorization: Bearer {dummy}", f"Authorization: Bearer {dummy}")
attempt("one's own behind it", "api.test", f"Authorization: Bearer {dummy}", "Authorization: Bearer own-key-0123456789")
attempt("one's own before it", "api.test", "Authorization: Bearer own-key-0123456789", f"Authorization: Bearer {dummy}")
attempt("a list", "api.test", f"Authorization: Bearer {dummy}, Bearer own-key-0123456789")
attempt("two schemes", "api.test", f"Authorization: Bearer {dummy}", f"X-Api-Key: own-key-0123456789")
attempt("a tab before the colon", "api.test", f"Authorization\t: Bearer {dummy}")
attempt("a space before the colon", "api.test", f"Authorization : Bearer {dummy}")
attempt("folded", "api.test", "Authorization:", f" Bearer {dummy}")
attempt("a tab behind the scheme", "api.test", f"Authorization: Bearer\t{dummy}")
attempt("an underscore", "api.test", f"X_Api_Key: {dummy}")
attempt("dropped by the next hop", "api.test", f"Authorization: Bearer {dummy}", "Connection: Authorization, close")
attempt("dropped, in capitals", "api.test", f"X-Api-Key: {dummy}", "Connection: X-API-KEY")
attempt("more than the dummy", "api.test", f"Authorization: Bearer {dummy}x")
attempt("half of the dummy", "api.test", f"Authorization: Bearer {dummy[:-1]}")
attempt("a NUL behind it", "api.test", f"Authorization: Bearer {dummy}\0")
attempt("bytes behind it", "api.test", f"Authorization: Bearer {dummy}\u00a0")
def chunked(trailer):
    body = f"2\r\nab\r\n0\r\n{trailer}\r\n\r\n"
    head = "POST /echo HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: close\r\n\r\n"
    return ask(https("api.test"), (head + body).encode())
fact("in a trailer", chunked(f"Authorization: Bearer {dummy}"))
fact("one's own in a trailer", chunked("Authorization: Bearer own-key-0123456789"))
fact("another trailer", chunked("X-Checksum: 1"))
attempt("as it should be", "api.test", f"Authorization: Bearer {dummy}")
attempt("in lower case", "api.test", f"authorization: bearer {dummy}")
attempt("as a user's password", "api.test", f"Authorization: Basic {encoded('me:' + dummy)}")
"#;
    let jail = jail(&server, &token);
    let ended = run(&jail, script, &[]);
    let foreign = "403 foreign-credential";
    observed(
        &ended,
        &[
            // One of them goes out, as git-lfs needs it.
            ("two of them", "200"),
            ("one's own behind it", foreign),
            ("one's own before it", foreign),
            ("a list", foreign),
            ("two schemes", foreign),
            ("a tab before the colon", "400 malformed-request"),
            ("a space before the colon", "400 malformed-request"),
            ("folded", "400 malformed-request"),
            ("a tab behind the scheme", foreign),
            ("an underscore", foreign),
            ("dropped by the next hop", "400 malformed-request"),
            ("dropped, in capitals", "400 malformed-request"),
            ("more than the dummy", foreign),
            ("half of the dummy", foreign),
            ("a NUL behind it", "400 malformed-request"),
            ("bytes behind it", foreign),
            // The head is with the server by then: the request breaks off.
            ("in a trailer", "502"),
            ("one's own in a trailer", "502"),
            ("another trailer", "200"),
            ("as it should be", "200"),
            ("in lower case", "200"),
            ("as a user's password", "200"),
        ],
    );
    let sent: Vec<String> =
        server.requests().iter().filter_map(|seen| seen.header("authorization")).collect();
    let basic = STANDARD.encode(format!("me:{token}"));
    let bearer = format!("Bearer {token}");
    assert_eq!(sent, [bearer.clone(), bearer, format!("bearer {token}"), format!("Basic {basic}")]);
    // What broke off is not answered outside as if it were whole.
    let bodies: Vec<usize> =
        server.requests().iter().map(|seen| seen.body).filter(|length| *length > 0).collect();
    assert_eq!(bodies, [2]);
}

#[test]
fn a_secret_with_line_breaks_starts_no_job() {
    let secret = random("sk-");
    let base = |text: &str| {
        let jail = Jail::new().allow("api.test").guards(text);
        jail.variable("REAL", text).credential("T=env:REAL@api.test").script("echo started")
    };
    for text in [
        format!("{secret}\r\nX-Admin: yes"),
        format!("{secret}\nX-Admin: yes"),
        format!("{secret}\rx"),
        format!("\u{1b}{secret}"),
    ] {
        let ended = base(&text);
        ended.exits(125).says("T").prints_only("");
    }
    base(&secret).succeeds().prints_only("started\n");
}

#[test]
fn a_dummy_goes_to_no_other_host() {
    needs!("python3");
    let (server, token) = (Server::https_for(&["api.test", "other.test"]), random("sk-"));
    let plain = Server::http("other.test");
    let script = r#"
foreign = sys.argv[1]
attempt("bearer", "other.test", f"Authorization: Bearer {dummy}")
attempt("key", "other.test", f"X-Api-Key: {dummy}")
attempt("basic", "other.test", f"Authorization: Basic {encoded('me:' + dummy)}")
attempt("basic, user", "other.test", f"Authorization: Basic {encoded(dummy + ':')}")
attempt("query", "other.test", path=f"/echo?key={dummy}")
attempt("query, escaped", "other.test", path="/echo?key=" + "".join(f"%{byte:02x}" for byte in dummy.encode()))
attempt("query, escaped twice", "other.test", path="/echo?key=" + "".join(f"%25{byte:02x}" for byte in dummy.encode()))
attempt("path", "other.test", path=f"/{dummy}")
attempt("cookie", "other.test", f"Cookie: a=b; session={dummy}")
attempt("referer", "other.test", f"Referer: https://api.test/?key={dummy}")
attempt("any header", "other.test", f"X-Anything: before{dummy}after")
attempt("base64", "other.test", f"X-Anything: {encoded(dummy)}")
attempt("userinfo", "other.test", path=f"https://me:{dummy}@other.test/echo")
attempt("proxy authorization", "other.test", f"Proxy-Authorization: Basic {encoded('me:' + dummy)}")
fact("plain", ask(dial("other.test", 80), request("other.test", more=f"Authorization: Bearer {dummy}\r\n")))
fact("absolute form", ask(dial(*PROXY), f"GET http://other.test/echo?key={dummy} HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n".encode()))
import http2
head = http2.fields("other.test", more=[("authorization", f"Bearer {dummy}")])
fact("http/2", http2.Http2(https("other.test", "h2")).ask(head))
crumbs = http2.fields("other.test", more=[("cookie", "a=b"), ("cookie", f"session={dummy}")])
fact("http/2, cookie crumbs", http2.Http2(https("other.test", "h2")).ask(crumbs))
attempt("another job's dummy, to its host", "api.test", f"Authorization: Bearer {foreign}")
attempt("no dummy", "other.test", "Authorization: Bearer own-key-0123456789")
attempt("the host it is for", "api.test", f"Authorization: Bearer {dummy}")
"#;
    let jail = jail(&server, &token).allow("http://other.test").upstream(&plain);
    // A dummy of the same credential and operator, and of another job.
    let foreign = jail.run(["sh", "-c", "echo \"dummy=$T\""]).value("dummy");
    let ended = run(&jail, script, &[&foreign]);
    let stray = "403 stray-credential";
    observed(
        &ended,
        &[
            ("bearer", stray),
            ("key", stray),
            ("basic", stray),
            ("basic, user", stray),
            ("query", stray),
            ("query, escaped", stray),
            ("query, escaped twice", stray),
            ("path", stray),
            ("cookie", stray),
            ("referer", stray),
            ("any header", stray),
            ("base64", stray),
            ("userinfo", "400 invalid-authority"),
            // It ends at this proxy.
            ("proxy authorization", "200"),
            ("plain", stray),
            ("absolute form", stray),
            ("http/2", stray),
            ("http/2, cookie crumbs", stray),
            ("another job's dummy, to its host", "403 foreign-credential"),
            ("no dummy", "200"),
            ("the host it is for", "200"),
        ],
    );
    let seen = format!("{:?} {:?}", server.requests(), plain.requests());
    assert!(!seen.contains("proxy-authorization") && !seen.contains(&foreign), "{seen}");
    assert_eq!(
        (server.requests().len(), plain.requests().len(), seen.matches(&token).count()),
        (3, 0, 1),
        "{seen}"
    );
}

#[test]
fn pieces_of_a_dummy_are_worth_nothing_elsewhere() {
    needs!("python3");
    let (server, token) = (Server::https_for(&["api.test", "other.test"]), random("sk-"));
    let script = r#"
half = len(dummy) // 2
attempt("split over two headers", "other.test", f"X-A: {dummy[:half]}", f"X-B: {dummy[half:]}")
attempt("reversed", "other.test", f"X-A: {dummy[::-1]}")
attempt("hexadecimal", "other.test", f"X-A: {dummy.encode().hex()}")
fact("in a body", ask(https("other.test"), request("other.test", method="POST", more=f"Content-Length: {len(dummy)}\r\n") + dummy.encode()))
attempt("whole", "other.test", f"X-A: {dummy}")
"#;
    let ended = run(&jail(&server, &token), script, &[]);
    let passes = ["split over two headers", "reversed", "hexadecimal", "in a body"].map(|name| (name, "200"));
    observed(&ended, &[&passes[..], &[("whole", "403 stray-credential")]].concat());
    // What went there is the dummy, and the operator's token is another one.
    assert!(!format!("{:?}", server.requests()).contains(&token));
    ended.swapped_nothing();
}

#[test]
fn an_attacker_s_own_key_goes_to_no_host_with_a_credential() {
    needs!("python3");
    let (server, token) = (Server::https_for(&["api.test", "other.test"]), random("sk-ant-api03-"));
    let specification = serde_json::json!({
        "version": 1, "name": "keys", "rules": ["api.test", "other.test"],
        "credentials": [{
            "variable": "T", "sources": ["env:REAL"], "hosts": ["api.test"], "queryParameters": ["key"], "headers": ["x-own"],
        }],
    });
    let jail = Jail::named("keys", specification).upstream(&server).secret("REAL", &token).host("python3");
    let jail = jail.file("tools.py", include_str!("tools.py")).file("http2.py", include_str!("http2.py"));
    let script = r#"
import http2
key = "sk-ant-api03-" + "a" * 50
for name, field in {
    "bearer": f"Authorization: Bearer {key}", "token": f"Authorization: token {key}", "basic": f"Authorization: Basic {encoded('me:' + key)}",
    "no scheme": f"Authorization: {key}", "key": f"X-Api-Key: {key}", "google": f"X-Goog-Api-Key: {key}", "azure": f"Api-Key: {key}",
    "gitlab": f"Private-Token: {key}", "declared": f"X-Own: {key}", "underscore": f"X_API_KEY: {key}", "empty": "Authorization:",
}.items():
    attempt(name, "api.test", field)
for name, query in {
    "query": f"key={key}", "query, beside the dummy": f"key={dummy}&key={key}", "query, escaped": f"%6bey={key}", "query, capitals": f"KEY={key}",
    "query, semicolon": f"a=b;key={key}",
}.items():
    attempt(name, "api.test", path=f"/echo?{query}")
fact("http/2", http2.Http2(https("api.test", "h2")).ask(http2.fields("api.test", more=[("x-api-key", key)])))
attempt("the same key elsewhere", "other.test", f"X-Api-Key: {key}", path=f"/echo?key={key}")
attempt("no key at all", "api.test")
attempt("the dummy", "api.test", f"X-Own: {dummy}", path=f"/echo?key={dummy}")
"#;
    let ended = run(&jail, script, &[]);
    let refused = [
        "bearer",
        "token",
        "basic",
        "no scheme",
        "key",
        "google",
        "azure",
        "gitlab",
        "declared",
        "underscore",
        "empty",
        "query",
        "query, beside the dummy",
        "query, escaped",
        "query, capitals",
        "query, semicolon",
        "http/2",
    ];
    let refused = refused.map(|name| (name, "403 foreign-credential"));
    let fine = ["the same key elsewhere", "no key at all", "the dummy"].map(|name| (name, "200"));
    observed(&ended, &[&refused[..], &fine[..]].concat());
    let last = server.last();
    assert_eq!(
        (last.query, last.headers.iter().find(|(name, _)| name == "x-own").unwrap().1.clone()),
        (format!("key={token}"), token)
    );
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_redirect_takes_no_token_along_and_is_not_followed_by_the_proxy() {
    needs!("python3");
    let (server, token) = (Server::https_for(&["api.test", "other.test"]), random("sk-"));
    let jail = jail(&server, &token);
    let script = r#"
stream = https("api.test")
stream.sendall(request("api.test", "/redirect?to=https://other.test/x", more=f"Authorization: Bearer {dummy}\r\n"))
said = everything(stream)
fact("the answer", answers(said))
location = re.search(rb"(?im)^location: (\S+)", said)[1].decode()
fact("it leads to", location.replace(dummy, "THE DUMMY"))
target = location.removeprefix("https://other.test")
attempt("followed as it is", "other.test", path=target)
attempt("followed with the header", "other.test", f"Authorization: Bearer {dummy}", path="/echo")
attempt("followed without", "other.test", path="/echo")
"#;
    let ended = run(&jail, script, &[]);
    observed(
        &ended,
        &[
            ("the answer", "302"),
            ("it leads to", "https://other.test/x?token=THE DUMMY"),
            ("followed as it is", "403 stray-credential"),
            ("followed with the header", "403 stray-credential"),
            ("followed without", "200"),
        ],
    );
    let asked: Vec<_> =
        server.requests().iter().map(|seen| (seen.path.clone(), seen.header("authorization"))).collect();
    assert_eq!(
        asked,
        [("/redirect".to_owned(), Some(format!("Bearer {token}"))), ("/echo".to_owned(), None)]
    );
}
