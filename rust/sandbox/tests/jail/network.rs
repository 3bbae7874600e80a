use std::net::TcpListener;

use crate::support::{Jail, users};

const CONNECT: &str = "
import socket, sys
def tried(address, port):
    try:
        with socket.create_connection((address, port), 10) as connection:
            return connection.recv(100).decode()
    except OSError as error:
        return type(error).__name__
";

#[test]
fn every_address_ends_at_the_listener_which_knows_which_one_was_asked_for() {
    for user in users() {
        let script = format!(
            "{CONNECT}
print(tried('93.184.216.34', 443), tried('127.0.0.1', 80), tried('169.254.169.254', 80))
print(tried('2606:4700::1111', 443))"
        );
        Jail::of(user).word("tcp:443").word("tcp:80").word("echo").python(&script).exits(0).prints(
            "[::ffff:93.184.216.34]:443 [::ffff:127.0.0.1]:80 [::ffff:169.254.169.254]:80\n[2606:4700::1111]:443",
        );
    }
}

#[test]
fn datagrams_are_answered_from_the_address_that_was_asked() {
    for user in users() {
        let script = "
import socket
for family, address in [(socket.AF_INET, '8.8.8.8'), (socket.AF_INET6, '2001:4860:4860::8888')]:
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.connect((address, 53))
        asking.send(b'?')
        print(asking.recv(100).decode())
";
        Jail::of(user)
            .word("udp:53")
            .word("echo")
            .python(script)
            .exits(0)
            .prints("8.8.8.8\n2001:4860:4860::8888");
    }
}

#[test]
fn a_port_without_a_listener_is_refused() {
    for user in users() {
        let script = format!("{CONNECT}\nprint(tried('93.184.216.34', 22), tried('2606:4700::1111', 22))");
        Jail::of(user)
            .word("tcp:443")
            .word("echo")
            .python(&script)
            .exits(0)
            .prints("ConnectionRefusedError ConnectionRefusedError");
    }
}

#[test]
fn listeners_that_nobody_took_refuse_instead_of_hanging() {
    for user in users() {
        let script = format!("{CONNECT}\nprint(tried('93.184.216.34', 443))");
        Jail::of(user).word("tcp:443").python(&script).exits(0).prints("ConnectionRefusedError");
    }
}

#[test]
fn the_hosts_loopback_is_out_of_reach() {
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    host.set_nonblocking(true).unwrap();
    let port = host.local_addr().unwrap().port();
    let script = format!("{CONNECT}\nprint(tried('127.0.0.1', {port}))");
    for user in users() {
        Jail::of(user).python(&script).exits(0).prints("ConnectionRefusedError");
        assert!(host.accept().is_err(), "{user:?}: something arrived");
    }
    // The same program on the host gets through: it connects and is closed by the drop of what was accepted.
    host.set_nonblocking(false).unwrap();
    let accepting = std::thread::spawn(move || host.accept().map(|(connection, _)| drop(connection)));
    let control = std::process::Command::new("/usr/bin/python3").args(["-c", &script]).output().unwrap();
    assert!(accepting.join().unwrap().is_ok());
    assert_eq!(String::from_utf8_lossy(&control.stdout), "\n");
}

#[test]
fn the_job_cannot_change_its_network() {
    for user in users() {
        let script = "
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any:
    request = struct.pack('16sh', b'lo', 0)
    flags = fcntl.ioctl(any, 0x8913, request)
    print(struct.unpack('16sh', flags)[1] & 1)
    try: fcntl.ioctl(any, 0x8914, request)
    except OSError as error: print(type(error).__name__)
print([name for _, name in socket.if_nameindex()])
";
        Jail::of(user).python(script).exits(0).prints("1\nPermissionError\n['lo']");
    }
}

#[test]
fn more_listeners_than_fit_one_message_arrive() {
    for user in users() {
        let script = format!("{CONNECT}\nprint(tried('1.2.3.4', 2000), tried('1.2.3.4', 2449))");
        let mut jail = Jail::of(user).word("echo");
        for port in 2000..2450 {
            jail = jail.word(format!("tcp:{port}"));
        }
        jail.python(&script).exits(0).prints("[::ffff:1.2.3.4]:2000 [::ffff:1.2.3.4]:2449");
    }
}

#[test]
fn a_port_named_twice_is_an_error() {
    for user in users() {
        Jail::of(user).word("tcp:443").word("tcp:443").run(["true"]).exits(125).complains("TCP port 443");
    }
}
