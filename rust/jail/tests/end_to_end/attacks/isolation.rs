//! Other jobs and other programs' sockets (attacks 17, 18).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

use super::{armed, observed, program};
use crate::support::{Server, find, random};

#[cfg(target_arch = "x86_64")]
#[test]
fn nothing_of_one_job_is_reached_by_another() {
    needs!("python3");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let armed = || armed().allow("api.test").upstream(&server);
    // Job B serves in every way there is, and tells what it has.
    let other = r#"
import shutil, subprocess
servers = [socket.create_server(("127.0.0.1", 8765)), socket.create_server(("0.0.0.0", 8766)), socket.create_server(("::", 8767), family=socket.AF_INET6, dualstack_ipv6=True)]
abstract = socket.socket(socket.AF_UNIX); abstract.bind("\0job-b"); abstract.listen()
by_path = socket.socket(socket.AF_UNIX); by_path.bind("/tmp/job-b"); by_path.listen()
shared = subprocess.Popen(["sh", "-c", "exec sleep 600"], env={"B_SECRET": "x"})
open("/dev/shm/job-b", "w").write("b")
open(os.path.expanduser("~/job-b"), "w").write("b")
# A piece of System V memory under a number that A knows.
fact("own memory", call(29, 0x4A42, 4096, 0o1666))
print("dummy=" + os.environ["T"])
shutil.copy(os.environ["SSL_CERT_FILE"], "b-ca.pem")
fact("own ports", " ".join(tried(dial, "127.0.0.1", port) for port in (8765, 8766, 8767)))
fact("own abstract socket", tried(lambda: socket.socket(socket.AF_UNIX).connect("\0job-b")))
fact("own socket", tried(lambda: socket.socket(socket.AF_UNIX).connect("/tmp/job-b")))
fact("own token", ask(https("api.test"), request("api.test", more=f"Authorization: Bearer {os.environ['T']}\r\n")))
print("ready", flush=True)
sys.stdin.read()
"#;
    let b = armed().secret("REAL", &token).credential("T=env:REAL@api.test").host("@shell");
    let mut running = b.start(program(other, &[]));
    running.wait_for("ready\n");
    let told = String::from_utf8(running.stdout.so_far()).unwrap();
    for fine in [
        "own memory: ok\n",
        "own ports: ok ok ok\n",
        "own abstract socket: ok\n",
        "own socket: ok\n",
        "own token: 200\n",
    ] {
        assert!(told.contains(fine), "{told}");
    }
    let dummy = told.lines().find_map(|line| line.strip_prefix("dummy=")).unwrap();

    // Job A knows everything that B could tell it, and has a credential for the same host.
    let script = r#"
dummy, = sys.argv[1:]
for port in (8765, 8766, 8767):
    fact(f"b's port {port}", tried(dial, "127.0.0.1", port))
fact("b's abstract socket", tried(lambda: socket.socket(socket.AF_UNIX).connect("\0job-b")))
for path in ("/tmp/job-b", "/dev/shm/job-b", os.path.expanduser("~/job-b")):
    fact(path, tried(os.stat, path))
fact("b's memory", call(29, 0x4A42, 0, 0))
fact("other processes", sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid(), os.getppid())))
fact("b's dummy", ask(https("api.test"), request("api.test", more=f"Authorization: Bearer {dummy}\r\n")))
context = ssl.create_default_context(cafile="b-ca.pem")
try:
    context.wrap_socket(dial("api.test", 443), server_hostname="api.test")
    fact("b's authority", "vouches for a's proxy")
except ssl.SSLCertVerificationError:
    fact("b's authority", "does not vouch for a's proxy")
fact("a's own dummy", ask(https("api.test"), request("api.test", more=f"Authorization: Bearer {os.environ['T']}\r\n")))
"#;
    let a = armed().secret("REAL", &token).credential("T=env:REAL@api.test");
    let a = a.file("b-ca.pem", std::fs::read(b.project().join("b-ca.pem")).unwrap());
    let ended = a.run(program(script, &[dummy]));
    observed(
        &ended,
        &[
            ("b's port 8765", "ECONNREFUSED"),
            ("b's port 8766", "ECONNREFUSED"),
            ("b's port 8767", "ECONNREFUSED"),
            ("b's abstract socket", "ECONNREFUSED"),
            ("/tmp/job-b", "ENOENT"),
            ("/dev/shm/job-b", "ENOENT"),
            ("/home/agent/job-b", "ENOENT"),
            ("b's memory", "ENOENT"),
            ("other processes", "[]"),
            ("b's dummy", "403 foreign-credential"),
            ("b's authority", "does not vouch for a's proxy"),
            ("a's own dummy", "200"),
        ],
    );
    // Nor are B's ports, or its proxy's, anywhere on the host.
    for port in [8765, 8766, 8767] {
        assert!(
            std::net::TcpStream::connect(("127.0.0.1", port)).is_err(),
            "port {port} of a job is open on the host"
        );
    }
    running.closes_input();
    running.ends().succeeds();
}

#[test]
fn no_unix_socket_of_the_host_is_reached() {
    needs!("python3");
    let jail = armed();
    // What the operator's session has, where a job would look for it.
    let runtime = jail.place().join("runtime");
    let home = jail.home();
    let streams =
        [runtime.join("bus"), runtime.join("keyring"), runtime.join("docker.sock"), home.join("agent.sock")];
    let _listeners: Vec<UnixListener> =
        streams.iter().map(|path| UnixListener::bind(path).unwrap()).collect();
    let datagrams = runtime.join("notify");
    let notify = UnixDatagram::bind(&datagrams).unwrap();
    notify.set_nonblocking(true).unwrap();
    let name = random("jail-test-");
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    let abstract_listener = UnixListener::bind_addr(&abstract_name).unwrap();
    abstract_listener.set_nonblocking(true).unwrap();
    let abstract_datagrams =
        UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("{name}-datagrams")).unwrap())
            .unwrap();
    abstract_datagrams.set_nonblocking(true).unwrap();

    let script = r#"
def stream(path):
    with socket.socket(socket.AF_UNIX) as out:
        out.connect(path)

def datagram(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(b"READY=1", path)

def send_descriptor(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendmsg([b"FDSTORE=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0))], 0, path)

name, datagrams, *streams = sys.argv[1:]
for path in streams:
    fact(os.path.basename(path), tried(stream, path))
fact("notify", tried(datagram, datagrams))
fact("a descriptor to notify", tried(send_descriptor, datagrams))
fact("abstract", tried(stream, "\0" + name))
fact("abstract datagram", tried(datagram, "\0" + name + "-datagrams"))
fact("abstract, with a descriptor", tried(send_descriptor, "\0" + name + "-datagrams"))
for path in ("/run/dbus/system_bus_socket", f"/run/user/{os.getuid()}/bus", "/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock",
             "/run/containerd/containerd.sock", "/nix/var/nix/daemon-socket/socket", "/run/nscd/socket", "/var/run/nscd/socket", "/run/systemd/private",
             "/run/systemd/notify", "/run/systemd/journal/socket", "/run/systemd/resolve/io.systemd.Resolve", "/dev/log", "/tmp/.X11-unix"):
    fact(path, tried(os.stat, path))
fact("variables", sorted(set(os.environ) & {"DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "DOCKER_HOST", "XDG_RUNTIME_DIR", "DISPLAY", "NOTIFY_SOCKET", "GPG_AGENT_INFO"}))
# The control: the job's own sockets, with descriptors passed between its own processes.
one, other = socket.socketpair(socket.AF_UNIX)
socket.send_fds(one, [b"x"], [0])
fact("a descriptor among friends", len(socket.recv_fds(other, 1, 1)[1]))
own = socket.socket(socket.AF_UNIX); own.bind("/tmp/own"); own.listen()
fact("own", tried(stream, "/tmp/own"))
"#;
    let mut arguments = vec![name.clone(), datagrams.display().to_string()];
    arguments.extend(streams.iter().map(|path| path.display().to_string()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let jail = jail
        .variable("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", streams[0].display()))
        .variable("SSH_AUTH_SOCK", &streams[3])
        .variable("DOCKER_HOST", format!("unix://{}", streams[2].display()));
    let ended = jail.run(program(script, &arguments));
    let absent = [
        "bus",
        "keyring",
        "docker.sock",
        "agent.sock",
        "notify",
        "a descriptor to notify",
        "abstract",
        "abstract datagram",
        "abstract, with a descriptor",
    ];
    let mut expected: Vec<(String, &str)> = absent
        .map(|name| (name.to_owned(), if name.starts_with("abstract") { "ECONNREFUSED" } else { "ENOENT" }))
        .into();
    let text = ended.text();
    expected.extend(
        text.lines()
            .filter(|line| {
                line.starts_with("/run")
                    || line.starts_with("/var")
                    || line.starts_with("/nix")
                    || line.starts_with("/dev")
                    || line.starts_with("/tmp")
            })
            .map(|line| (line.split_once(": ").unwrap().0.to_owned(), "ENOENT")),
    );
    expected.extend(
        [("variables", "[]"), ("a descriptor among friends", "1"), ("own", "ok")]
            .map(|(name, result)| (name.to_owned(), result)),
    );
    let expected: Vec<(&str, &str)> =
        expected.iter().map(|(name, result)| (name.as_str(), *result)).collect();
    observed(&ended, &expected);
    assert_eq!(expected.len(), absent.len() + 15 + 3);
    // Nothing arrived, and the control: from the host it does.
    assert!(
        notify.recv(&mut [0; 16]).is_err()
            && abstract_datagrams.recv(&mut [0; 16]).is_err()
            && abstract_listener.accept().is_err()
    );
    streams.iter().for_each(|path| drop(UnixStream::connect(path).unwrap()));
    let _stream = UnixStream::connect_addr(&abstract_name).unwrap();
    abstract_listener.accept().unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"x", &datagrams).unwrap();
    assert_eq!(notify.recv(&mut [0; 16]).unwrap(), 1);
}

#[test]
fn no_descriptor_of_the_launcher_s_parent_is_inherited() {
    needs!("python3");
    let secret = random("in-a-file-");
    let jail = armed().guards(&secret);
    let path = jail.home().join("secret.txt");
    std::fs::write(&path, &secret).unwrap();
    let script = r#"
def described(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}").split(":")[0]
    except OSError as error:
        return errno.errorcode[error.errno]
fact("descriptors", " ".join(described(number) for number in range(256) if described(number) != "ENOENT"))
for number in (7, 9, 200):
    fact(number, tried(os.fstat, number))
"#;
    // A shell that leaves descriptors open, as careless parents do: a file, a directory of the host, and a socketless pipe.
    let open = format!("exec 7<'{}' 9</ ; exec \"$@\"", path.display());
    let jail = jail.under([find("bash").unwrap().display().to_string(), "-c".into(), open, "bash".into()]);
    let ended = jail.run(program(script, &[]));
    observed(&ended, &[("descriptors", "pipe pipe pipe"), ("7", "EBADF"), ("9", "EBADF"), ("200", "EBADF")]);
}

#[test]
fn the_key_of_the_job_s_authority_is_on_no_disk() {
    needs!("python3");
    let (server, token) = (Server::https("api.test"), random("sk-"));
    let jail =
        armed().allow("api.test").upstream(&server).secret("REAL", &token).credential("T=env:REAL@api.test");
    let script = r#"
def holds(path, *words):
    try:
        with open(path, "rb") as file:
            data = file.read(8 << 20)
    except OSError:
        return False
    return any(word in data for word in words)

fact("signed by it", ask(https("api.test"), request("api.test", more=f"Authorization: Bearer {os.environ['T']}\r\n")))
found, certificates = [], 0
for directory in ("/etc", "/run", "/tmp", "/home", "/var", "/dev/shm", "/root", "."):
    for root, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(root, name)
            # Split, so that this program is not what it finds.
            if not os.path.islink(path) and holds(path, b"PRIVATE " + b"KEY-----"):
                found.append(path)
            certificates += holds(path, b"BEGIN " + b"CERTIFICATE-----")
fact("keys", found)
fact("certificates", certificates > 0)
print("ready", flush=True)
sys.stdin.read()
"#;
    let mut running = jail.start(program(script, &[]));
    running.wait_for("ready\n");
    // While the job runs: neither in what the launcher keeps, nor in what it has for the run.
    let places = ["state", "runtime", "config", "home"].map(|name| jail.place().join(name));
    for file in places.iter().flat_map(|place| crate::support::files(place)) {
        let bytes = std::fs::read(&file).unwrap();
        for word in ["PRIVATE KEY", token.as_str()] {
            assert!(
                !bytes.windows(word.len()).any(|window| window == word.as_bytes()),
                "{word:.11}… is in {}",
                file.display()
            );
        }
    }
    assert!(
        crate::support::files(&jail.state()).len() >= 2,
        "the control: it keeps a record and an audit file"
    );
    running.closes_input();
    let ended = running.ends();
    ended.succeeds().prints_only("signed by it: 200\nkeys: []\ncertificates: True\nready\n");
}
