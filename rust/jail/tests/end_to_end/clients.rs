//! Other programs' ways to HTTPS: none of them is configured for the jail, each finds the outside.

use crate::support::{Jail, Server, both_ways, find};

const NODE_FETCH: &str = "
const answer = await fetch('https://api.test/echo');
console.log('status=' + answer.status);
const denied = await fetch('https://evil.test/x');
console.log('denied=' + denied.headers.get('x-jail-deny'));
";
const NODE_HTTPS: &str = "
import https from 'node:https';
https.get('https://api.test/echo', (answer) => {
  console.log('status=' + answer.statusCode);
  answer.resume();
  https.get('https://evil.test/x', (denied) => {
    console.log('denied=' + denied.headers['x-jail-deny']);
    denied.resume();
  });
});
";
const PYTHON: &str = "
import ssl, urllib.error, urllib.request
context = ssl.create_default_context()
context.verify_flags |= ssl.VERIFY_X509_STRICT
print('status=%d' % urllib.request.urlopen('https://api.test/echo', context=context).status)
try:
    urllib.request.urlopen('https://evil.test/x', context=context)
except urllib.error.HTTPError as error:
    print('denied=' + error.headers['x-jail-deny'])
";
const JAVA: &str = r#"
import java.net.URI;
import java.net.http.*;

public class Fetch {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String url : new String[] {"https://api.test/echo", "https://evil.test/x"}) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            String denied = answer.headers().firstValue("x-jail-deny").orElse("");
            System.out.println(denied.isEmpty() ? "status=" + answer.statusCode() : "denied=" + denied);
        }
    }
}
"#;

/// Runs a client that asks api.test, then evil.test, in both ways.
fn asks_twice(jail: Jail, command: &[&str]) {
    let server = Server::https("api.test");
    let jail = jail.host(command[0]).allow("api.test").upstream(&server);
    for command in both_ways(command) {
        let ended = jail.run(command);
        ended.succeeds().allowed("api.test:443", 1).denied("evil.test:443", "host-not-allowed");
        assert_eq!(
            (ended.value("status"), ended.value("denied")),
            ("200".into(), "host-not-allowed".into()),
            "{ended}"
        );
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn python_with_strict_verification() {
    needs!("python3");
    asks_twice(Jail::new(), &["python3", "-c", PYTHON]);
}

#[test]
fn node_s_fetch_which_ignores_the_proxy_s_variables() {
    needs!("node");
    asks_twice(Jail::new(), &["node", "--input-type=module", "-e", NODE_FETCH]);
}

#[test]
fn node_s_https_module() {
    needs!("node");
    asks_twice(Jail::new(), &["node", "--input-type=module", "-e", NODE_HTTPS]);
}

#[test]
fn java_s_http_client() {
    needs!("java", "javac");
    let jail = Jail::new().file("Fetch.java", JAVA);
    let mut compiler = std::process::Command::new(find("javac").unwrap());
    assert!(compiler.arg("Fetch.java").current_dir(jail.project()).status().unwrap().success());
    asks_twice(jail, &["java", "-cp", ".", "Fetch"]);
}

#[test]
fn wget() {
    needs!("wget");
    let server = Server::https("api.test");
    let jail = Jail::new().host("wget").allow("api.test").upstream(&server);
    for command in both_ways(&["wget", "-q", "-S", "-O", "-", "https://api.test/echo"]) {
        jail.run(command).succeeds().prints("user-agent").says("200").allowed("api.test:443", 1);
    }
    for command in both_ways(&["wget", "-q", "-S", "-O", "-", "https://evil.test/x"]) {
        jail.run(command).fails().says("host-not-allowed").denied("evil.test:443", "host-not-allowed");
    }
}

#[test]
fn openssl_s_client() {
    needs!("openssl");
    let server = Server::https("api.test");
    let ask = |host: &str| {
        let jail = Jail::new().allow("api.test").upstream(&server);
        let request = format!("GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let connect = format!("{host}:443");
        jail.input(request).run([
            "openssl",
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-x509_strict",
            "-servername",
            host,
            "-verify_hostname",
            host,
            "-connect",
            &connect,
        ])
    };
    ask("api.test").succeeds().prints("HTTP/1.1 200 OK").allowed("api.test:443", 1);
    ask("evil.test").prints("x-jail-deny: host-not-allowed").denied("evil.test:443", "host-not-allowed");
    assert_eq!(server.requests().len(), 1);
}
