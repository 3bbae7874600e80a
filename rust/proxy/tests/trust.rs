//! Which certificates of servers are trusted, and how their connections end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use support::*;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

/// A server with this certificate of its own making, and the file that holds the certificate.
async fn self_signed(params: CertificateParams) -> (Server, NamedTempFile) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(certificate.pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(proxy::crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::raw(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    (server, file)
}

fn params(names: &[&str], is_ca: IsCa) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.is_ca = is_ca;
    params
}

const AUTHORITY: IsCa = IsCa::Ca(BasicConstraints::Unconstrained);

/// What a request to a.test gets when these files are trusted.
async fn ask(server: &Server, trusted: &[&std::path::Path]) -> (u16, String) {
    let mut jail = Jail::allow(&["a.test"]).to("a.test:443", server);
    for path in trusted {
        jail = jail.trusting_file(path);
    }
    let got = jail.start().get("https://a.test/", "http/1.1").await;
    (got.status, String::from_utf8_lossy(&got.body).into_owned())
}

#[tokio::test]
async fn a_certificate_that_is_named_is_trusted_as_exactly_this_one() {
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa, AUTHORITY] {
        let (server, file) = self_signed(params(&["a.test"], is_ca)).await;
        assert_eq!(ask(&server, &[file.path()]).await, (200, "ok".into()), "{is_ca:?}");
        // Another one of the same name is not it.
        let (_, other) = self_signed(params(&["a.test"], is_ca)).await;
        let (status, said) = ask(&server, &[other.path()]).await;
        assert_eq!(status, 502, "{is_ca:?}");
        assert!(said.contains("--upstream-ca"), "{said}");
        assert!(!said.contains("OtherError") && !said.contains("UnknownIssuer"), "{said}");
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_for_its_names_and_its_time_only() {
    let (server, file) = self_signed(params(&["b.test"], IsCa::NoCa)).await;
    let (status, said) = ask(&server, &[file.path()]).await;
    assert!(status == 502 && said.contains("not for this name"), "{said}");

    let mut old = params(&["a.test"], IsCa::NoCa);
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    old.not_before = rcgen::date_time_ymd(2019, 1, 1);
    let (server, file) = self_signed(old).await;
    let (_, good) = self_signed(params(&["a.test"], IsCa::NoCa)).await;
    // Beside one that is good, so that the file is taken at all.
    let mut both = NamedTempFile::new().unwrap();
    both.write_all(&[std::fs::read(file.path()).unwrap(), std::fs::read(good.path()).unwrap()].concat())
        .unwrap();
    let (status, said) = ask(&server, &[both.path()]).await;
    assert!(status == 502 && said.contains("expired"), "{said}");
}

#[tokio::test]
async fn a_server_s_certificate_signs_no_other() {
    let key = KeyPair::generate().unwrap();
    let issuer = params(&["b.test"], IsCa::NoCa);
    let certificate = issuer.self_signed(&key).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(certificate.pem().as_bytes()).unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = params(&["a.test"], IsCa::NoCa)
        .signed_by(&leaf_key, &rcgen::Issuer::new(params(&["b.test"], IsCa::NoCa), &key))
        .unwrap();
    let config = ServerConfig::builder_with_provider(proxy::crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::raw(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let _ = acceptor.accept(stream).await;
        }
    })
    .await;
    assert_eq!(ask(&server, &[file.path()]).await.0, 502);
}

#[tokio::test]
async fn a_directory_of_certificates_is_trusted() {
    let (server, file) = self_signed(params(&["a.test"], IsCa::NoCa)).await;
    let (_, other) = self_signed(params(&["b.test"], AUTHORITY)).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(file.path(), directory.path().join("one.pem")).unwrap();
    std::os::unix::fs::symlink(other.path(), directory.path().join("0a1b2c3d.0")).unwrap();
    std::fs::write(directory.path().join("README"), "certificates of ours\n").unwrap();
    std::fs::create_dir(directory.path().join("more")).unwrap();
    assert_eq!(ask(&server, &[directory.path()]).await, (200, "ok".into()));
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_end() {
    // A length that is reached, chunks that end, and a body that ends with the connection.
    for (response, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall of it", Some("all of it")),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n",
            Some("all of it"),
        ),
        ("HTTP/1.0 200 OK\r\n\r\nall of it", Some("all of it")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nall of it", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n", None),
    ] {
        let server = Server::raw_tls(&["a.test"], move |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(response.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            // Dropped: the connection ends without a word of TLS.
        })
        .await;
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
        for inside in ["h2", "http/1.1"] {
            let mut http = jail.https("a.test:443", "a.test", inside).await;
            let request = http::Request::get("https://a.test/").body(Default::default()).unwrap();
            let got = tokio::time::timeout(PATIENCE, http.try_send(request)).await.unwrap();
            match expected {
                Some(body) => assert_eq!(got.unwrap().body, body, "{inside}: {response}"),
                None => assert!(got.is_err(), "{inside}: {response}: {got:?}"),
            }
        }
    }
}
