//! Programs that others wrote: they find the job's certificates good, and what they send arrives.

#![allow(clippy::disallowed_methods, reason = "tests start what they compare with")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "../../sandbox/tests/support/skip.rs"]
mod skip;
mod support;

use std::io::Write;
use std::process::{Command, Output};

use support::*;
use tempfile::{NamedTempFile, tempdir};

const DAY: i64 = 24 * 60 * 60;

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Runs a program; `None` (and a loud line) if this machine does not have it.
async fn run(program: &'static str, arguments: Vec<String>) -> Option<Output> {
    let output = tokio::task::spawn_blocking(move || Command::new(program).args(arguments).output());
    match output.await.unwrap() {
        Ok(output) => Some(output),
        Err(error) => {
            skip::report(&format!("no {program} on this machine ({error})"));
            None
        }
    }
}

fn arguments(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn pem_file(jail: &Jail) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(jail.ca_pem.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn openssl_verifies_strictly() {
    let jail = Jail::allow(&[]).start();
    let ca = pem_file(&jail);
    let ca_path = ca.path().to_str().unwrap();
    let proxy = jail.explicit.to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let Some(output) = run(
            "openssl",
            arguments(&[
                "s_client",
                "-proxy",
                &proxy,
                "-connect",
                "a.test:443",
                "-servername",
                "a.test",
                "-CAfile",
                ca_path,
                "-x509_strict",
                "-verify_return_error",
                "-verify_hostname",
                "a.test",
                "-purpose",
                "sslserver",
                version,
                "-showcerts",
            ]),
        )
        .await
        else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("Verify return code: 0 (ok)"), "{said}{error}");
        let begin = said.find("-----BEGIN").unwrap();
        let end = said.find("-----END CERTIFICATE-----\n").unwrap();
        let folder = tempdir().unwrap();
        let leaf = folder.path().join("leaf.pem");
        std::fs::write(&leaf, format!("{}-----END CERTIFICATE-----\n", &said[begin..end])).unwrap();
        // A client's clock may be most of an hour slow or days fast; one that is further off refuses, and goes nowhere.
        for (seconds, good) in
            [(0, true), (-55 * 60, true), (6 * DAY, true), (-65 * 60, false), (8 * DAY, false)]
        {
            let time = (now() + seconds).to_string();
            let mut words = arguments(&["verify", "-x509_strict", "-purpose", "sslserver", "-attime", &time]);
            words.extend(arguments(&["-CAfile", ca_path, leaf.to_str().unwrap()]));
            let verified = run("openssl", words).await.unwrap();
            let error = String::from_utf8_lossy(&verified.stderr);
            assert_eq!(verified.status.success(), good, "{seconds} s off: {error}");
        }
    }
}

#[tokio::test]
async fn python_verifies_strictly_also_an_address() {
    let jail = Jail::allow(&[]).start();
    let ca = pem_file(&jail);
    let script = "
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
raw = socket.create_connection(('127.0.0.1', int(sys.argv[2])))
tls = context.wrap_socket(raw, server_hostname=sys.argv[3])
tls.sendall(b'GET / HTTP/1.1\\r\\nHost: ' + sys.argv[3].encode() + b'\\r\\nConnection: close\\r\\n\\r\\n')
print(tls.recv(65536).decode())
";
    let port = jail.port443.port().to_string();
    for host in ["a.test", "127.0.0.1"] {
        let words = arguments(&["-c", script, ca.path().to_str().unwrap(), &port, host]);
        let Some(output) = run("python3", words).await else { return };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("x-jail-deny: host-not-allowed"), "{host}: {said}{error}");
    }
}

#[tokio::test]
async fn curl_gets_through_in_all_its_ways() {
    let server = Server::https(&["a.test"], &["h2", "http/1.1"]).await;
    let plain = Server::http().await;
    let jail =
        Jail::allow(&["a.test", "http://a.test"]).to("a.test:443", &server).to("a.test:80", &plain).start();
    let ca = pem_file(&jail);
    let ca = ca.path().to_str().unwrap();
    let proxy = format!("http://{}", jail.explicit);
    let direct443 = format!("a.test:443:{}", jail.port443);
    let direct80 = format!("a.test:80:{}", jail.port80);
    let body = "x".repeat(100_000);
    for words in [
        &["--proxy", &proxy, "--http1.1", "https://a.test/"][..],
        &["--proxy", &proxy, "--http2", "https://a.test/"],
        &["--proxy", &proxy, "http://a.test/"],
        &["--proxy", &proxy, "--proxytunnel", "http://a.test/"],
        &["--connect-to", &direct443, "--http2", "https://a.test/"],
        &["--connect-to", &direct443, "--http1.1", "--tls-max", "1.2", "https://a.test/"],
        &["--connect-to", &direct80, "http://a.test/"],
        &["--connect-to", &direct80, "--http2", "http://a.test/"],
        &["--connect-to", &direct443, "--data", &body, "-H", "Expect: 100-continue", "https://a.test/"],
        &["--connect-to", &direct443, "https://a.test/1", "https://a.test/2", "https://a.test/3"],
    ] {
        let common =
            ["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "", "--cacert", ca];
        let Some(output) = run("curl", arguments(&[&common[..], words].concat())).await else { return };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("\"target\""), "{words:?}: {said}{error}");
    }
    let denied = ["--silent", "--noproxy", "", "--proxy", &proxy, "--cacert", ca, "https://b.test/"];
    let Some(output) = run("curl", arguments(&denied)).await else { return };
    assert!(String::from_utf8_lossy(&output.stdout).contains("host-not-allowed"));
}
