//! What the job is to the kernel: nobody, alone, without a way out.

use std::collections::BTreeMap;
use std::net::TcpListener;

use crate::support::backend::is_container;
use crate::support::{EchoServer, Jail, is_root, without_proxy};

#[test]
fn the_job_is_an_ordinary_user_without_privileges() {
    let ended = Jail::new().script(
        "id -u; id -g; whoami; hostname; echo \"groups=$(id -G)\"
         grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status",
    );
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (uid, gid) = if is_root() { (1000, 1000) } else { (uid, gid) };
    ended.succeeds().prints(&format!("{uid}\n{gid}\nagent\njail\n"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        ended.prints(&format!("{set}:\t0000000000000000\n"));
    }
    ended.prints("NoNewPrivs:\t1\n").prints("Seccomp:\t2\n");
}

#[test]
fn every_namespace_is_its_own() {
    let mut kinds = vec!["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
    if is_container() {
        // An engine of root's has the host's; the job is nobody of importance in it.
        kinds.retain(|kind| *kind != "user");
    }
    let script: String =
        kinds.iter().map(|kind| format!("echo \"{kind}=$(readlink /proc/self/ns/{kind})\"\n")).collect();
    let ended = Jail::new().script(&script);
    for kind in kinds {
        let ours = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
        let theirs = ended.value(kind);
        assert!(theirs.starts_with(&format!("{kind}:[")) && theirs != ours, "{kind}{ended}");
    }
}

#[test]
fn the_processes_of_the_host_are_not_there() {
    let ended = Jail::new().script(
        "echo $$; ls /proc | grep -c '^[0-9]'; cat /proc/1/environ 2>/dev/null | tr '\\0' '\\n'; exit 0",
    );
    let text = ended.succeeds().text();
    let mut numbers =
        text.lines().map(|line| line.parse::<u32>().unwrap_or_else(|_| panic!("{line}{ended}")));
    assert!(numbers.next().unwrap() < 20 && numbers.next().unwrap() < 10, "{ended}");
}

#[test]
fn the_environment_is_what_was_given() {
    let jail = Jail::new()
        .variable("OWN", "the operator's")
        .variable("PASSED", "passed on")
        .variable("SSH_AUTH_SOCK", "/run/agent")
        .variable("TERM", "xterm-256color")
        .options(["--pass-env", "PASSED", "--pass-env", "ABSENT", "--env", "GIVEN=a=b c"]);
    let ended = jail.run(["env", "-0"]);
    let text = ended.succeeds().text();
    let variables: BTreeMap<&str, &str> =
        text.split_terminator('\0').filter_map(|pair| pair.split_once('=')).collect();
    assert_eq!(
        (variables["PASSED"], variables["GIVEN"], variables["TERM"]),
        ("passed on", "a=b c", "xterm-256color")
    );
    assert_eq!((variables["HOME"], variables["USER"]), ("/home/agent", "agent"));
    assert_eq!(variables["JAIL_JOB"], ended.summary["job"].as_str().unwrap());
    for absent in ["OWN", "ABSENT", "SSH_AUTH_SOCK", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "RUST_BACKTRACE"] {
        assert!(!variables.contains_key(absent), "{absent}{ended}");
    }
}

#[test]
fn no_connection_reaches_the_host_past_the_proxy() {
    needs!("python3");
    let server = EchoServer::start();
    let other = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let script = r#"
import socket, sys
for text in sys.argv[1:]:
    host, port = text.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 10).close()
        print("connected " + text)
    except OSError as error:
        print("refused " + type(error).__name__)
"#;
    let port = server.address().port();
    let own = other.local_addr().unwrap().port();
    let targets = [format!("127.0.0.1:{port}"), format!("198.51.100.7:{port}"), format!("127.0.0.1:{own}")];
    let ended =
        Jail::new().run(["python3", "-c", script].into_iter().map(str::to_owned).chain(targets.clone()));
    ended.succeeds().prints_only(&"refused ConnectionRefusedError\n".repeat(3));
    assert_eq!(server.connections(), 0);
    // The same from outside works.
    std::net::TcpStream::connect(server.address()).unwrap();
}

#[test]
fn a_server_of_the_job_s_own_is_reached_by_the_job_only() {
    needs!("python3");
    let script = r#"
import http.server, socket, sys, threading, urllib.request
server = http.server.HTTPServer(("127.0.0.1", 8765), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("status=%d" % urllib.request.urlopen("http://localhost:8765/").status, flush=True)
sys.stdin.read()
"#;
    let mut running = Jail::new().start(["python3", "-c", script]);
    running.wait_for("status=200\n");
    assert!(std::net::TcpStream::connect(("127.0.0.1", 8765)).is_err(), "the job's port is open on the host");
    running.ends().succeeds();
}

#[test]
fn names_are_answered_by_the_jail_itself() {
    needs!("python3");
    let script = r#"
import socket
def addresses(name, family=0):
    return sorted({info[4][0] for info in socket.getaddrinfo(name, 443, family, socket.SOCK_STREAM)})
first, second = addresses("a.test"), addresses("b.test")
import ipaddress
print("synthetic=%s" % all(address.startswith("44.128.") for address in first + second))
# What programs ask that fetch from public addresses only.
print("global=%s" % all(ipaddress.ip_address(address).is_global for address in first + second))
print("stable=%s" % (first == addresses("A.test.") == addresses("a.test")))
print("apart=%s" % (first != second))
try:
    print("ipv6=%s" % addresses("a.test", socket.AF_INET6))
except socket.gaierror:
    print("ipv6=none")
"#;
    let ended = Jail::new().run(["python3", "-c", script]);
    ended.succeeds().prints_only("synthetic=True\nglobal=True\nstable=True\napart=True\nipv6=none\n");
}

#[test]
fn one_job_s_proxy_is_not_another_s() {
    needs!("curl");
    let server = crate::support::Server::https("api.test");
    let (open, closed) =
        (Jail::new().allow("api.test").upstream(&server), Jail::new().host("curl").upstream(&server));
    let mut running = open.host("curl").start_script("curl -sS https://api.test/echo && echo ready && cat");
    running.wait_for("ready");
    for command in crate::support::both_ways(&["curl", "-sS", "-i", "https://api.test/echo"]) {
        closed.run(command).denied("api.test:443", "host-not-allowed");
    }
    running.ends().succeeds().allowed("api.test:443", 1);
    closed.run(without_proxy(&["curl", "-sS", "http://127.0.0.1:3129/"])).exits(7);
}
