//! The operator's own proxies: HTTP with and without TLS and a password, SOCKS, and which requests go through them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "the tests play the outside, which no address guard protects")]

#[path = "../../sandbox/tests/support/skip.rs"]
mod skip;
mod support;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::*;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// `me:pass word` in Basic form.
const LOGIN: &str = "Proxy-Authorization: Basic bWU6cGFzcyB3b3Jk\r\n";

/// Serves one connection of an HTTP proxy in front of one server; notes what it is asked.
async fn corporate<S>(mut stream: S, behind: SocketAddr, asked: Arc<Mutex<Vec<String>>>, login: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = read_head(&mut stream).await;
    asked.lock().unwrap().push(head.clone());
    if login && !head.to_lowercase().contains(&LOGIN.to_lowercase()) {
        let refusal =
            b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(refusal).await;
        let _ = stream.shutdown().await;
        return;
    }
    let mut outside = dial(behind).await;
    if head.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        outside.write_all(head.as_bytes()).await.unwrap();
    }
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut outside).await;
}

async fn http_proxy(behind: SocketAddr, login: bool) -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let log = asked.clone();
    (Server::raw(move |stream| corporate(stream, behind, log.clone(), login)).await, asked)
}

/// A request for plain HTTP to a.test, over a new connection.
async fn plain(jail: &Jail) -> String {
    say(dial(jail.port80).await, b"GET /path?a=b HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await
}

#[tokio::test]
async fn plain_http_goes_by_absolute_url_and_the_rest_by_tunnel() {
    let server = Server::http().await;
    let (proxy, asked) = http_proxy(server.address, false).await;
    let jail = Jail::allow(&["http://a.test", "ws://a.test"])
        .upstream_proxy(&format!("http://{}", proxy.address), "")
        .start();
    let said = plain(&jail).await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    let first = asked.lock().unwrap()[0].clone();
    assert!(first.starts_with("GET http://a.test/path?a=b HTTP/1.1\r\n"), "{first}");
    assert!(first.to_lowercase().contains("\r\nhost: a.test\r\n"), "{first}");
    assert!(!first.to_lowercase().contains("proxy-"), "{first}");
    // Another request uses the connection again.
    assert!(plain(&jail).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_password_is_sent_and_never_shown() {
    let tls = Server::https(&["a.test"], &["h2"]).await;
    let http = Server::http().await;
    for (server, url) in [(&http, "http://a.test"), (&tls, "https://a.test")] {
        let (proxy, asked) = http_proxy(server.address, true).await;
        let good = format!("http://me:pass%20word@{}", proxy.address);
        let jail = Jail::allow(&[url]).trusting(server).upstream_proxy(&good, "").start();
        let ask = async |jail: &Jail| {
            if url.starts_with("https") {
                let got = jail.get("https://a.test/", "h2").await;
                format!("{} {:?} {}", got.status, got.headers, String::from_utf8_lossy(&got.body))
            } else {
                plain(jail).await.trim_start_matches("HTTP/1.1 ").to_owned()
            }
        };
        let said = ask(&jail).await;
        assert!(said.starts_with("200 "), "{said}");
        assert!(asked.lock().unwrap()[0].to_lowercase().contains(&LOGIN.to_lowercase()));

        let bad = format!("http://me:hunter2@{}", proxy.address);
        let jail = Jail::allow(&[url]).trusting(server).upstream_proxy(&bad, "").start();
        let said = ask(&jail).await;
        assert!(said.starts_with("502 ") && said.contains("upstream-proxy"), "{said}");
        assert!(said.contains("407") && said.contains("--upstream-proxy"), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("aHVudGVyMg"), "{said}");
        assert!(!format!("{:?}", jail.events()).contains("hunter2"));
    }
}

#[tokio::test]
async fn a_proxy_is_spoken_to_in_tls() {
    let tls = Server::https(&["a.test"], &["h2"]).await;
    let http = Server::http().await;
    for (server, url) in [(&http, "http://a.test"), (&tls, "https://a.test")] {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (behind, log) = (server.address, asked.clone());
        let proxy =
            Server::raw_tls(&["localhost"], move |stream| corporate(stream, behind, log.clone(), false))
                .await;
        let address = format!("https://localhost:{}", proxy.address.port());
        let jail = Jail::allow(&[url]).trusting(server).trusting(&proxy).upstream_proxy(&address, "").start();
        if url.starts_with("https") {
            assert_eq!(jail.get("https://a.test/", "h2").await.status, 200);
            assert!(asked.lock().unwrap()[0].starts_with("CONNECT a.test:443 "));
        } else {
            assert!(plain(&jail).await.starts_with("HTTP/1.1 200 "));
            assert!(asked.lock().unwrap()[0].starts_with("GET http://a.test/"));
        }
        // Nobody whom the operator has not named is believed to be the proxy.
        let jail = Jail::allow(&[url]).trusting(server).upstream_proxy(&address, "").start();
        assert!(plain(&jail).await.starts_with(if url.starts_with("https") {
            "HTTP/1.1 403 "
        } else {
            "HTTP/1.1 502 "
        }));
    }
}

#[tokio::test]
async fn exceptions_are_reached_directly_and_past_the_guard_as_ever() {
    let server = Server::http().await;
    let (proxy, _) = http_proxy(server.address, false).await;
    let port = server.address.port();
    let (by_name, by_number) = (format!("http://localhost:{port}"), format!("http://127.0.0.0/8:{port}"));
    let request = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    let absolute = request.replace("GET /", &format!("GET http://localhost:{port}/"));
    for (rules, except, expected, through) in [
        (vec![&*by_name, &*by_number], "", "HTTP/1.1 200 ", 1),
        (vec![&*by_name, &*by_number], "localhost", "HTTP/1.1 200 ", 0),
        // The name of the proxy's own machine is no way to it either, without a rule that says so.
        (vec![&*by_name], "", "HTTP/1.1 403 ", 0),
        (vec![&*by_name], "localhost", "HTTP/1.1 403 ", 0),
    ] {
        let before = proxy.connections();
        let jail = Jail::allow(&rules).upstream_proxy(&proxy.address.to_string(), except).start();
        let said = say(dial(jail.explicit).await, absolute.as_bytes()).await;
        assert!(said.starts_with(expected), "{rules:?} {except}: {said}");
        assert_eq!(proxy.connections() - before, through, "{rules:?} {except}");
    }
}

/// A program that serves until it is dropped.
struct Running(Child, SocketAddr);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program that listens on a free port of loopback; `None`, said loudly, if it is not on this machine.
fn start(program: &str, arguments: impl Fn(u16) -> Vec<String>) -> Option<Running> {
    let found = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .map(|directory| PathBuf::from(directory).join(program));
    let Some(path) = found.iter().find(|path| path.exists()) else {
        skip::report(&format!("no {program} on this machine"));
        return None;
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(path)
        .args(arguments(port))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child, SocketAddr::from(([127, 0, 0, 1], port)));
    let end = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(running.1).is_err() {
        assert!(Instant::now() < end, "{program} does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(running)
}

#[tokio::test]
async fn a_real_socks_server_is_the_way_out() {
    let server = Server::https(&["localhost"], &["h2"]).await;
    let port = server.address.port();
    for (login, address_login, works) in [
        (None, "", true),
        (Some(("me", "pass word")), "me:pass%20word@", true),
        (Some(("me", "pass word")), "me:hunter2@", false),
        (Some(("me", "pass word")), "", false),
    ] {
        let Some(socks) = start("microsocks", |port| {
            let mut arguments =
                vec!["-i".to_owned(), "127.0.0.1".to_owned(), "-p".to_owned(), port.to_string()];
            if let Some((user, password)) = login {
                arguments.extend(["-u".to_owned(), user.to_owned(), "-P".to_owned(), password.to_owned()]);
            }
            arguments
        }) else {
            return;
        };
        for scheme in ["socks5", "socks5h"] {
            let address = format!("{scheme}://{address_login}{}", socks.1);
            let jail = Jail::allow(&[
                &format!("https://localhost:{port}"),
                &format!("https://127.0.0.0/8:{port}"),
                &format!("https://[::1]:{port}"),
            ])
            .trusting(&server)
            .upstream_proxy(&address, "")
            .start();
            let got = jail.get(&format!("https://localhost:{port}/"), "h2").await;
            if works {
                assert_eq!(got.status, 200, "{address}: {}", String::from_utf8_lossy(&got.body));
            } else {
                assert_eq!(
                    (got.status, got.header("x-jail-error")),
                    (502, Some("upstream-proxy")),
                    "{address}"
                );
                assert!(!String::from_utf8_lossy(&got.body).contains("hunter2"));
            }
            // The guard still decides: here by the address that the name resolves to, there by the name that is known.
            let jail = Jail::allow(&[&format!("https://localhost:{port}")])
                .trusting(&server)
                .upstream_proxy(&address, "")
                .start();
            let got = jail.get(&format!("https://localhost:{port}/"), "h2").await;
            assert_eq!((got.status, got.denied()), (403, Some("private-address")), "{address}");
        }
    }
}

#[tokio::test]
async fn a_real_squid_is_the_way_out() {
    let tls = Server::https(&["localhost"], &["h2"]).await;
    let http = Server::http().await;
    let (tls_port, http_port) = (tls.address.port(), http.address.port());
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("login");
    std::fs::write(&helper, "#!/bin/sh\nwhile read -r user password; do [ \"$user $password\" = 'me pass%20word' ] && echo OK || echo ERR; done\n").unwrap();
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for login in [false, true] {
        let Some(squid) = start("squid", |port| {
            // Debian's rules, apart from the ports: CONNECT to TLS only, the local network may use it.
            let access = if login {
                format!(
                    "auth_param basic program {}\nacl known proxy_auth REQUIRED\nhttp_access allow known\n",
                    helper.display()
                )
            } else {
                "http_access allow localhost\n".to_owned()
            };
            let configuration = format!(
                "http_port 127.0.0.1:{port}\nacl SSL_ports port {tls_port}\nacl Safe_ports port {http_port} {tls_port}\n\
                 http_access deny !Safe_ports\nhttp_access deny CONNECT !SSL_ports\n{access}http_access deny all\n\
                 pid_filename none\ncache deny all\naccess_log none\ncache_log /dev/null\nshutdown_lifetime 1 seconds\n\
                 coredump_dir none\nnetdb_filename none\npinger_enable off\n"
            );
            let file = directory.path().join(format!("squid-{login}.conf"));
            std::fs::write(&file, configuration).unwrap();
            vec!["-N".to_owned(), "-f".to_owned(), file.display().to_string()]
        }) else {
            return;
        };
        let who = if login { "me:pass%20word@" } else { "" };
        let rules = [
            format!("https://localhost:{tls_port}"),
            format!("http://localhost:{http_port}"),
            format!("https://127.0.0.0/8:{tls_port}"),
            format!("http://127.0.0.0/8:{http_port}"),
        ];
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let jail = Jail::allow(&rules)
            .trusting(&tls)
            .upstream_proxy(&format!("http://{who}{}", squid.1), "")
            .start();
        let got = jail.get(&format!("https://localhost:{tls_port}/"), "h2").await;
        assert_eq!(got.status, 200, "{login}: {}", String::from_utf8_lossy(&got.body));
        let request = format!(
            "GET http://localhost:{http_port}/ HTTP/1.1\r\nHost: localhost:{http_port}\r\nConnection: close\r\n\r\n"
        );
        let said = say(dial(jail.explicit).await, request.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{login}: {said}");
        if login {
            let jail = Jail::allow(&rules).trusting(&tls).upstream_proxy(&squid.1.to_string(), "").start();
            let got = jail.get(&format!("https://localhost:{tls_port}/"), "h2").await;
            assert_eq!((got.status, got.header("x-jail-error")), (502, Some("upstream-proxy")));
            let said = say(dial(jail.explicit).await, request.as_bytes()).await;
            assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("upstream-proxy"), "{said}");
        }
    }
}
