//! Ways out past the proxy, and ways through it that are not HTTP (attacks 1, 6, 16).

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use super::recorder::Recorder;
use super::{armed, observed, program};
use crate::support::Server;

/// Sockets of the host that must hear nothing.
struct Tripwire {
    name: &'static str,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Tripwire {
    /// On this address of the host, if it has it.
    fn on(name: &'static str, address: impl Into<IpAddr>) -> Option<Tripwire> {
        let address = address.into();
        let (tcp, udp) = (TcpListener::bind((address, 0)).ok()?, UdpSocket::bind((address, 0)).ok()?);
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        Some(Tripwire { name, tcp, udp })
    }

    fn argument(&self) -> String {
        let (tcp, udp) = (self.tcp.local_addr().unwrap(), self.udp.local_addr().unwrap());
        format!("{}/{}/{}/{}", self.name, tcp.ip(), tcp.port(), udp.port())
    }

    #[track_caller]
    fn was_not_touched(&self) {
        let nothing = |result: std::io::Result<SocketAddr>| {
            result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        assert!(
            nothing(self.tcp.accept().map(|(_, peer)| peer)),
            "a connection came to {} of the host",
            self.name
        );
        assert!(
            nothing(self.udp.recv_from(&mut [0; 16]).map(|(_, peer)| peer)),
            "a datagram came to {} of the host",
            self.name
        );
        // The control: the host itself can touch it, and it notices.
        let _stream = TcpStream::connect(self.tcp.local_addr().unwrap()).unwrap();
        self.tcp.accept().unwrap();
        let datagram = UdpSocket::bind((self.udp.local_addr().unwrap().ip(), 0)).unwrap();
        datagram.send_to(b"x", self.udp.local_addr().unwrap()).unwrap();
        assert_eq!(self.udp.recv(&mut [0; 16]).unwrap(), 1);
    }
}

/// An address of the host that is not loopback's.
fn own_address() -> Option<IpAddr> {
    nix::ifaddrs::getifaddrs().unwrap().find_map(|interface| {
        let address = IpAddr::from(interface.address?.as_sockaddr_in()?.ip());
        (!address.is_loopback()).then_some(address)
    })
}

const WAYS_OUT: &str = r#"
def datagram(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.settimeout(PATIENCE)
        out.connect((host, port))
        out.send(b"out")
        out.recv(16)

for target in sys.argv[1:]:
    name, host, tcp, udp = target.split("/")
    fact(f"tcp to {name}", tried(dial, host, int(tcp)))
    fact(f"udp to {name}", tried(datagram, host, int(udp)))
for host in ("8.8.8.8", "2001:4860:4860::8888", "10.0.0.1", "169.254.169.254"):
    fact(f"ssh to {host}", tried(dial, host, 22))
    fact(f"quic to {host}", tried(datagram, host, 443))
fact("quic to an allowed name", tried(datagram, socket.gethostbyname("api.test"), 443))
# These ports are served by the jail's proxy, whatever the address.
for host in ("169.254.169.254", "10.0.0.1", "127.0.0.1"):
    fact(f"http to {host}", ask(dial(host, 80), request(host, "/latest/meta-data/")))

for name, arguments in {
    "raw icmp": (socket.AF_INET, socket.SOCK_RAW, 1), "ping": (socket.AF_INET, socket.SOCK_DGRAM, 1),
    "raw icmp 6": (socket.AF_INET6, socket.SOCK_RAW, 58), "raw ip": (socket.AF_INET, socket.SOCK_RAW, 255),
    "packets": (17, socket.SOCK_RAW, 0x300), "vsock": (40, socket.SOCK_STREAM), "alg": (38, 5), "xdp": (44, socket.SOCK_RAW),
    "can": (29, socket.SOCK_RAW), "bluetooth": (31, socket.SOCK_RAW), "tipc": (30, socket.SOCK_STREAM), "rds": (21, 5),
    "smc": (43, socket.SOCK_STREAM), "qrtr": (42, socket.SOCK_DGRAM), "kcm": (41, 5), "netfilter": (16, socket.SOCK_RAW, 12),
    "kernel events": (16, socket.SOCK_RAW, 15), "generic netlink": (16, socket.SOCK_RAW, 16),
}.items():
    fact(name, tried(lambda: socket.socket(*arguments).close()))

import fcntl
with socket.socket() as any_socket:
    up = [name for _, name in socket.if_nameindex()
          if struct.unpack_from("H", fcntl.ioctl(any_socket, 0x8913, struct.pack("16s16x", name.encode())), 16)[0] & 1]
fact("interfaces", " ".join(up))

# A resolver of one's own choice: it is the jail's that answers, with an address of its own making.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
    resolver.settimeout(PATIENCE)
    resolver.connect(("8.8.8.8", 53))
    resolver.send(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\6secret\4evil\4test\0\0\1\0\1")
    answer = resolver.recv(512)
fact("resolver 8.8.8.8", ".".join(map(str, answer[-4:-2])))
fact("the legal way", ask(https("api.test"), request("api.test")))
"#;

#[test]
fn nothing_leaves_but_through_the_proxy() {
    needs!("python3");
    let server = Server::https("api.test");
    let mut wires = vec![
        Tripwire::on("loopback", Ipv4Addr::LOCALHOST).unwrap(),
        Tripwire::on("every address", Ipv4Addr::UNSPECIFIED).unwrap(),
    ];
    wires.extend(Tripwire::on("loopback 6", Ipv6Addr::LOCALHOST));
    wires.extend(own_address().and_then(|address| Tripwire::on("the host's address", address)));
    let arguments: Vec<String> = wires.iter().map(Tripwire::argument).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    let ended = armed().allow("api.test").upstream(&server).run(program(WAYS_OUT, &arguments));

    let mut expected = Vec::new();
    let names: Vec<[String; 2]> =
        wires.iter().map(|wire| ["tcp", "udp"].map(|kind| format!("{kind} to {}", wire.name))).collect();
    expected.extend(names.iter().flatten().map(|name| (name.as_str(), "ECONNREFUSED")));
    expected.extend([
        ("ssh to 8.8.8.8", "ECONNREFUSED"),
        ("quic to 8.8.8.8", "ECONNREFUSED"),
        ("ssh to 2001:4860:4860::8888", "ECONNREFUSED"),
        ("quic to 2001:4860:4860::8888", "ECONNREFUSED"),
        ("ssh to 10.0.0.1", "ECONNREFUSED"),
        ("quic to 10.0.0.1", "ECONNREFUSED"),
        ("ssh to 169.254.169.254", "ECONNREFUSED"),
        ("quic to 169.254.169.254", "ECONNREFUSED"),
        ("quic to an allowed name", "ECONNREFUSED"),
        ("http to 169.254.169.254", "403 host-not-allowed"),
        ("http to 10.0.0.1", "403 host-not-allowed"),
        ("http to 127.0.0.1", "403 host-not-allowed"),
        ("raw icmp", "EPERM"),
        ("ping", "EACCES"),
        ("raw icmp 6", "EPERM"),
        ("raw ip", "EPERM"),
        ("packets", "EPERM"),
        ("vsock", "EPERM"),
        ("alg", "EPERM"),
        ("xdp", "EPERM"),
        ("can", "EPERM"),
        ("bluetooth", "EPERM"),
        ("tipc", "EPERM"),
        ("rds", "EPERM"),
        ("smc", "EPERM"),
        ("qrtr", "EPERM"),
        ("kcm", "EPERM"),
        ("netfilter", "EPERM"),
        ("kernel events", "EPERM"),
        ("generic netlink", "EPERM"),
        ("interfaces", "lo"),
        ("resolver 8.8.8.8", "44.128"),
        ("the legal way", "200"),
    ]);
    observed(&ended, &expected);
    wires.iter().for_each(Tripwire::was_not_touched);
    ended.allowed("api.test:443", 1);
}

#[test]
fn the_network_of_the_jail_cannot_be_changed() {
    needs!("python3");
    let server = Server::https("api.test");
    let script = r#"
import fcntl
any_socket = socket.socket()

def netlink(kind, payload):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.send(struct.pack("IHHII", 16 + len(payload), kind, 0x605, 1, 0) + payload)
        code = struct.unpack_from("i", kernel.recv(4096), 16)[0]
    if code:
        raise OSError(-code, os.strerror(-code))

loopback = socket.if_nametoindex("lo")
route = struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 255, 3, 254, 2, 0) + struct.pack("HHI", 8, 4, loopback)
fact("look at lo", tried(fcntl.ioctl, any_socket, 0x8913, struct.pack("16s16x", b"lo")))
fact("lo down", tried(fcntl.ioctl, any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0)))
fact("delete the route", tried(netlink, 25, route))
fact("add a route", tried(netlink, 24, route))
fact("new interface", tried(netlink, 16, struct.pack("BBHiII", 0, 0, 0, 0, 0, 0) + struct.pack("HH8s", 12, 3, b"dummy0")))
fact("new address", tried(netlink, 20, struct.pack("BBBBI", 2, 32, 0, 0, loopback) + struct.pack("HH4s", 8, 2, b"\1\2\3\4")))
fact("transparent socket", tried(any_socket.setsockopt, socket.IPPROTO_IP, 19, 1))
fact("mark", tried(any_socket.setsockopt, socket.SOL_SOCKET, 36, 1))
# The proxy's own ports are taken, on every address.
def bind(address, port):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((address, port))
        server.listen()
for address, port in (("0.0.0.0", 3128), ("127.0.0.1", 3128), ("127.0.0.1", 8080)):
    fact(f"listen on {address}:{port}", tried(bind, address, port))
fact("the legal way", ask(https("api.test"), request("api.test")))
"#;
    let ended = armed().allow("api.test").upstream(&server).run(program(script, &[]));
    observed(
        &ended,
        &[
            ("look at lo", "ok"),
            ("lo down", "EPERM"),
            ("delete the route", "EPERM"),
            ("add a route", "EPERM"),
            ("new interface", "EPERM"),
            ("new address", "EPERM"),
            ("transparent socket", "EPERM"),
            ("mark", "EPERM"),
            ("listen on 0.0.0.0:3128", "EADDRINUSE"),
            ("listen on 127.0.0.1:3128", "EADDRINUSE"),
            ("listen on 127.0.0.1:8080", "ok"),
            ("the legal way", "200"),
        ],
    );
}

#[test]
fn other_verbs_and_protocols_of_proxies_lead_nowhere() {
    needs!("python3");
    let (server, plain, silent) = (Server::https("api.test"), Server::http("plain.test"), Recorder::start());
    let script = r#"
from http2 import Http2, fields
end = "Host: plain.test\r\nConnection: close\r\n\r\n"
proxy = lambda text: ask(dial(*PROXY), text if isinstance(text, bytes) else text.encode())
fact("plain, allowed", proxy(f"GET http://plain.test/echo HTTP/1.1\r\n{end}"))
fact("plain, denied", proxy("GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n"))
fact("https in the target", proxy("GET https://api.test/echo HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"))
fact("ftp in the target", proxy(f"GET ftp://plain.test/echo HTTP/1.1\r\n{end}"))
fact("no host in the target", proxy(f"GET /echo HTTP/1.1\r\n{end}"))
fact("socks 5", proxy(b"\x05\x01\x00"))
fact("socks 4", proxy(b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"))
fact("http/2 to the proxy", Http2(dial(*PROXY)).ask(fields("plain.test", scheme="http")))
fact("options star", ask(dial("plain.test", 80), f"OPTIONS * HTTP/1.1\r\n{end}".encode()))
fact("options", ask(dial("plain.test", 80), f"OPTIONS /echo HTTP/1.1\r\n{end}".encode()))
fact("trace", ask(dial("plain.test", 80), f"TRACE /echo HTTP/1.1\r\n{end}".encode()))
for port, banner in ((22, b"SSH-2.0-x\r\n"), (25, b"EHLO x\r\n\r\n"), (443, b"\0\0\0\0")):
    stream, head = tunnel(f"api.test:{port}")
    fact(f"connect to {port}, then no tls", ask(stream, banner))
for target in ("api.test:443", "evil.test:443"):
    stream = shake_hands(tunnel("api.test:443")[0], "api.test")
    inner = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"
    fact(f"connect to {target} inside", ask(stream, inner.encode()))
upgrade = "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
fact("h2c upgrade", ask(dial("plain.test", 80), f"GET /echo HTTP/1.1\r\nHost: plain.test\r\n{upgrade}\r\n".encode()))
for host in ("plain.test", "evil.test"):
    fact(f"http/2 without asking, {host}", Http2(dial(host, 80)).ask(fields(host, scheme="http")))
for host in ("api.test", "evil.test"):
    fact(f"connect, {host}", ask(shake_hands(tunnel(f"{host}:443")[0], host), request(host)))
"#;
    let jail = armed().allow("api.test").allow("http://plain.test/**").upstream(&server).upstream(&plain);
    let jail = [22, 25].iter().fold(jail, |jail, port| jail.options(silent.options("api.test", *port)));
    let ended = jail.run(program(script, &[]));
    observed(
        &ended,
        &[
            ("plain, allowed", "200"),
            ("plain, denied", "403 host-not-allowed"),
            ("https in the target", "400 malformed-request"),
            ("ftp in the target", "400 malformed-request"),
            ("no host in the target", "400 malformed-request"),
            ("socks 5", "closed"),
            ("socks 4", "closed"),
            ("http/2 to the proxy", "closed"),
            ("options star", "403 path-not-allowed"),
            ("options", "200"),
            ("trace", "403 method-not-allowed"),
            ("connect to 22, then no tls", "closed"),
            ("connect to 25, then no tls", "400 malformed-request"),
            ("connect to 443, then no tls", "closed"),
            ("connect to api.test:443 inside", "403 protocol-not-allowed"),
            ("connect to evil.test:443 inside", "403 protocol-not-allowed"),
            ("h2c upgrade", "200"),
            ("http/2 without asking, plain.test", "200"),
            ("http/2 without asking, evil.test", "403 host-not-allowed"),
            ("connect, api.test", "200"),
            ("connect, evil.test", "403 host-not-allowed"),
        ],
    );
    assert_eq!(silent.connections(), 0, "somebody came where no rule leads");
    assert!(plain.requests().iter().all(|seen| seen.header("upgrade").is_none()), "{:?}", plain.requests());
    ended.denied("api.test:443", "unknown-protocol").denied("api.test:22", "unknown-protocol");
}

#[test]
fn an_upgrade_is_no_tunnel() {
    needs!("python3");
    let odd = Recorder::saying(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n\r\n",
    );
    let server = Server::http("plain.test");
    let script = r#"
def upgraded(host, protocol, key=""):
    stream = dial(host, 80)
    stream.settimeout(5)
    fields = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n{key}"
    stream.sendall(f"GET /websocket HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
    head = answers(stream.recv(4096))
    try:
        stream.sendall(b"through the tunnel")
    except OSError:
        pass
    stream.close()
    return head
key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
fact("another protocol", upgraded("odd.test", "tunnel"))
fact("a websocket that is none", upgraded("odd.test", "websocket", key))
fact("two protocols", upgraded("odd.test", "websocket, tunnel", key))
fact("101 that nobody asked for", ask(dial("odd.test", 80), request("odd.test")))
fact("a websocket to a denied host", upgraded("evil.test", "websocket", key))
fact("a websocket", upgraded("plain.test", "websocket", key))
"#;
    let jail = armed()
        .allow("http://odd.test")
        .allow("http://plain.test")
        .options(odd.options("odd.test", 80))
        .upstream(&server);
    let ended = jail.run(program(script, &[]));
    observed(
        &ended,
        &[
            ("another protocol", "403 protocol-not-allowed"),
            ("a websocket that is none", "403 protocol-not-allowed"),
            ("two protocols", "403 protocol-not-allowed"),
            ("101 that nobody asked for", "403 protocol-not-allowed"),
            ("a websocket to a denied host", "403 host-not-allowed"),
            ("a websocket", "101"),
        ],
    );
    assert!(odd.connections() > 0, "the control: the requests themselves did arrive");
    assert!(!odd.heard().contains("through the tunnel"), "{}", odd.heard());
}
