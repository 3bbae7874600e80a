//! Names: what is denied is asked of nobody, and what is allowed does not lead where it must not (attacks 2, 3).
//!
//! The launcher runs in a world of its own (`outside.py`): its name server and its web server write down who came.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{armed, observed, program};
use crate::support::{Ended, Jail, find, is_root};

/// The jail, with a launcher that has this world outside of it.
fn in_a_world(jail: Jail, answers: &Value) -> Jail {
    let script = jail.place().join("outside.py");
    std::fs::write(&script, include_str!("outside.py")).unwrap();
    let mut words: Vec<String> =
        vec![find("unshare").unwrap().display().to_string(), "--mount".into(), "--net".into()];
    if !is_root() {
        words.push("--map-root-user".into());
    }
    words.push(find("python3").unwrap().display().to_string());
    words.extend([script.display().to_string(), answers.to_string(), diary(&jail).display().to_string()]);
    jail.under(words)
}

fn diary(jail: &Jail) -> std::path::PathBuf {
    jail.place().join("diary")
}

/// Who came to the world's servers. Each name is asked for twice, for both kinds of addresses.
fn noted(jail: &Jail) -> BTreeSet<String> {
    std::fs::read_to_string(diary(jail)).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn a_denied_name_is_asked_of_no_resolver() {
    needs!("python3", "unshare");
    let answers = json!({"allowed.test": ["93.184.216.34"], "secret.evil.test": ["93.184.216.35"]});
    let jail = in_a_world(armed().allow("http://allowed.test").deny("http://denied.allowed.test"), &answers);
    let script = r#"
import http2
fact("look-up", tried(socket.getaddrinfo, "secret.evil.test", 443))
fact("http", ask(dial("secret.evil.test", 80), request("secret.evil.test")))
fact("https", ask(https("secret.evil.test"), request("secret.evil.test")))
fact("connect", ask(shake_hands(tunnel("secret.evil.test:443")[0], "secret.evil.test"), request("secret.evil.test")))
fact("absolute form", ask(dial(*PROXY), b"GET http://secret.evil.test/ HTTP/1.1\r\nHost: secret.evil.test\r\nConnection: close\r\n\r\n"))
fact("http/2", http2.Http2(https("secret.evil.test", "h2")).ask(http2.fields("secret.evil.test")))
fact("by an address", ask(dial("93.184.216.34", 80), request("secret.evil.test")))
fact("denied by rule", ask(dial("denied.allowed.test", 80), request("denied.allowed.test")))
fact("another port", ask(dial(*PROXY), b"GET http://allowed.test:81/ HTTP/1.1\r\nHost: allowed.test:81\r\nConnection: close\r\n\r\n"))
fact("another scheme", ask(https("allowed.test"), request("allowed.test")))
fact("malformed", ask(dial("allowed.test", 80), b"GET / HTTP/1.1\r\nHost: secret.evil.test\r\nConnection: close\r\n\r\n"))
fact("allowed", ask(dial("allowed.test", 80), request("allowed.test")))
"#;
    let ended = jail.run(program(script, &[]));
    observed(
        &ended,
        &[
            ("look-up", "ok"),
            ("http", "403 host-not-allowed"),
            ("https", "403 host-not-allowed"),
            ("connect", "403 host-not-allowed"),
            ("absolute form", "403 host-not-allowed"),
            ("http/2", "403 host-not-allowed"),
            ("by an address", "403 host-not-allowed"),
            ("denied by rule", "403 denied-by-rule"),
            ("another port", "403 port-not-allowed"),
            ("another scheme", "403 scheme-not-allowed"),
            ("malformed", "403 authority-mismatch"),
            ("allowed", "200"),
        ],
    );
    assert_eq!(noted(&jail), set(&["asked for allowed.test", "dialled 93.184.216.34"]), "{ended}");
}

/// Asks for each name in turn; the results by name.
fn results(jail: &Jail, names: &[&str]) -> Ended {
    let script = "for name in sys.argv[1:]:\n    fact(name, ask(dial(name + '.guard.test', 80), request(name + '.guard.test')))";
    jail.run(program(script, names))
}

#[test]
fn an_allowed_name_at_a_forbidden_address_is_not_dialled() {
    needs!("python3", "unshare");
    let forbidden = [
        ("loopback", "127.0.0.1"),
        ("elsewhere", "127.9.9.9"),
        ("loopback-6", "::1"),
        ("unspecified", "0.0.0.0"),
        ("unspecified-6", "::"),
        ("metadata", "169.254.169.254"),
        ("metadata-6", "fd00:ec2::254"),
        ("azure", "168.63.129.16"),
        ("private", "10.1.2.3"),
        ("carrier", "100.64.0.1"),
        ("link-local-6", "fe80::1"),
        ("multicast", "224.0.0.1"),
        ("own", "93.184.217.7"),
        ("nat64", "64:ff9b::7f00:1"),
        ("mapped", "::ffff:127.0.0.1"),
        ("compatible", "::7f00:1"),
        ("6to4", "2002:7f00:1::"),
        ("teredo", "2001:0:7f00:1::"),
        ("benchmarking", "198.18.0.1"),
        ("synthetic", "44.128.0.1"),
    ];
    let mut answers = serde_json::Map::new();
    let mut add =
        |name: &str, addresses: Value| drop(answers.insert(format!("{name}.guard.test"), addresses));
    forbidden.iter().for_each(|(name, address)| add(name, json!([address])));
    add("public", json!(["93.184.216.34"]));
    add("public-6", json!(["2606:2800:220::1"]));
    add("private-second", json!(["93.184.216.40", "127.0.0.1", "169.254.169.254"]));
    add("private-first", json!(["10.1.2.3", "127.0.0.1", "93.184.216.41"]));
    add("mixed-families", json!(["127.0.0.1", "::1", "2606:2800:220::2"]));
    // Asked again for the second request, whose connection is new.
    add("rebinding", json!([["93.184.216.42"], ["127.0.0.1"]]));
    let answers = Value::Object(answers);

    let jail = in_a_world(armed().allow("http://*.guard.test"), &answers);
    let mut names: Vec<&str> = forbidden.iter().map(|(name, _)| *name).collect();
    let mut expected: Vec<(&str, &str)> = names.iter().map(|&name| (name, "403 private-address")).collect();
    let reachable = ["public", "public-6", "private-second", "private-first", "mixed-families", "rebinding"];
    names.extend(reachable);
    expected.extend(reachable.map(|name| (name, "200")));
    names.push("rebinding");
    expected.push(("rebinding", "403 private-address"));
    observed(&results(&jail, &names), &expected);
    let dialled: BTreeSet<String> =
        noted(&jail).into_iter().filter(|line| line.starts_with("dialled")).collect();
    let public = [
        "93.184.216.34",
        "2606:2800:220::1",
        "93.184.216.40",
        "93.184.216.41",
        "2606:2800:220::2",
        "93.184.216.42",
    ];
    assert_eq!(dialled, public.iter().map(|address| format!("dialled {address}")).collect());

    // What a rule names by its number is the operator's wish, and so is --connect-to.
    let jail = in_a_world(armed().allow("http://*.guard.test").allow("http://127.0.0.0/8"), &answers);
    let jail = jail.options(["--connect-to", "metadata.guard.test:80:127.0.0.9:80"]);
    let expected = [("loopback", "200"), ("private", "403 private-address"), ("metadata", "200")];
    observed(&results(&jail, &["loopback", "private", "metadata"]), &expected);
    let dialled: BTreeSet<String> =
        noted(&jail).into_iter().filter(|line| line.starts_with("dialled")).collect();
    assert_eq!(dialled, set(&["dialled 127.0.0.1", "dialled 127.0.0.9"]));
}

#[test]
fn to_allow_everything_does_not_allow_the_host_and_its_networks() {
    needs!("python3", "unshare");
    let answers = json!({"public.test": ["93.184.216.34"], "localhost": ["127.0.0.1"], "rebound.test": ["127.0.0.1"], "own.test": ["93.184.217.7"]});
    let own = ["127.0.0.1", "127.1.2.3", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]"];
    let hosts = [
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "44.128.255.254",
        "93.184.217.7",
    ];
    let names = ["localhost", "rebound.test", "own.test"];
    let script = r#"
for host in sys.argv[1:]:
    by_target = ask(dial(*PROXY), f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    inside = shake_hands(tunnel(f"{host}:80")[0], None if host.strip("[]")[0] in ":0123456789" else host)
    by_tunnel = ask(inside, request(f"{host}:80"))
    # A rule for opaque connections: dialled before the answer to CONNECT.
    stream, head = tunnel(f"{host}:81")
    fact(host, f"{by_target}; {by_tunnel}; {answers(head)}")
"#;
    let private = "403 private-address; 403 private-address; 403 private-address";
    // A client that names the job's own loopback to the explicit proxy is sent there, which is not the host's.
    let redirected = "307; 403 private-address; 403 private-address";
    let all: Vec<&str> = own.iter().chain(&hosts).chain(&names).copied().collect();
    let expected: Vec<_> =
        all.iter().map(|&host| (host, if own.contains(&host) { redirected } else { private })).collect();
    let rules = ["http://*", "https://*:80", "tcp://*:81"];
    for learning in [false, true] {
        let jail = if learning {
            let jail = armed();
            let learnt = jail.place().join("learnt.txt");
            jail.options(["--learn".into(), learnt.into_os_string()]).allow("tcp://*:81")
        } else {
            rules.iter().fold(armed(), |jail, rule| jail.allow(rule))
        };
        let jail = in_a_world(jail, &answers);
        let ended = jail.run(program(script, &all));
        observed(&ended, &expected);
        assert!(!noted(&jail).iter().any(|line| line.starts_with("dialled")), "{:?}{ended}", noted(&jail));
        // The control: what is public is reached.
        let ended =
            jail.run(program("fact('public', ask(dial('public.test', 80), request('public.test')))", &[]));
        observed(&ended, &[("public", "200")]);
        assert!(noted(&jail).contains("dialled 93.184.216.34"), "{ended}");
    }
}

#[test]
fn no_question_to_the_jail_s_resolver_leaves_or_breaks_it() {
    needs!("python3", "unshare");
    let jail = in_a_world(armed().allow("http://allowed.test"), &json!({"allowed.test": ["93.184.216.34"]}));
    let script = r#"
import os, random
def name(*labels):
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"

def question(kind, name=name(b"secret", b"evil", b"test"), head=b"\x12\x34\x01\0\0\1\0\0\0\0\0\0", tail=b""):
    return head + name + struct.pack(">HH", kind, 1) + tail

def udp(question):
    # As resolvers do: its number tells an answer from a late one to who had this port before.
    question = os.urandom(2) + question[2:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.settimeout(1)
        resolver.connect(("127.0.0.1", 53))
        # As programs do: a datagram that found no room is sent again.
        for _ in range(10):
            resolver.send(question)
            try:
                while (answer := resolver.recv(65535))[:2] != question[:2]:
                    pass
                break
            except TimeoutError:
                pass
        else:
            return "no answer"
        code, count = answer[3] & 15, struct.unpack_from(">H", answer, 6)[0]
        return f"code {code}, {count} records"

for kind, number in {"A": 1, "AAAA": 28, "TXT": 16, "MX": 15, "NS": 2, "CNAME": 5, "SRV": 33, "PTR": 12, "ANY": 255, "AXFR": 252, "HTTPS": 65, "NULL": 10}.items():
    fact(kind, udp(question(number)))
generator = random.Random(7)
hostile = [
    b"", b"\0", question(1)[:11], question(1)[:20], question(1, b"\xc0\x0c"), question(1, b"\xc0\xff"), question(1, b"\x40aaaa"), question(1, name(b"a" * 63) * 5),
    question(1, b"\x3f" + b"a" * 62), question(1, head=b"\x12\x34\x81\x80\0\1\0\0\0\0\0\0"), question(1, head=b"\x12\x34\x28\0\0\1\0\0\0\0\0\0"),
    question(1, head=b"\x12\x34\1\0\xff\xff\xff\xff\xff\xff\xff\xff"), question(1, tail=b"\0\0\x29\xff\xff\0\0\0\0\xff\xff"),
] + [generator.randbytes(generator.randrange(1, 600)) for _ in range(2000)]
for each in hostile:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.sendto(each, ("127.0.0.1", 53))
for begin in (b"\xff\xff", b"\0\0", b"\0\5abc", b"\0\x11" + question(1)[:17]):
    stream = dial("127.0.0.1", 53)
    stream.sendall(begin)
    stream.close()
fact("afterwards", udp(question(1)))
stream = dial("127.0.0.1", 53)
stream.sendall(struct.pack(">H", len(question(1))) + question(1))
fact("over tcp", struct.unpack_from(">H", stream.recv(512), 8)[0])
fact("allowed", ask(dial("allowed.test", 80), request("allowed.test")))
"#;
    let ended = jail.run(program(script, &[]));
    let (address, nothing) = ("code 0, 1 records", "code 0, 0 records");
    let mut expected = vec![("A", address)];
    expected.extend(
        ["AAAA", "TXT", "MX", "NS", "CNAME", "SRV", "PTR", "ANY", "AXFR", "HTTPS", "NULL"]
            .map(|kind| (kind, nothing)),
    );
    expected.extend([("afterwards", address), ("over tcp", "1"), ("allowed", "200")]);
    observed(&ended, &expected);
    assert_eq!(noted(&jail), set(&["asked for allowed.test", "dialled 93.184.216.34"]), "{ended}");
}
