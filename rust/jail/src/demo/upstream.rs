//! The demo's own upstream: an HTTPS server on loopback that echoes the `Authorization` header it gets.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::hex;

/// A server at work on a thread of its own, until the program ends.
pub(super) struct Upstream {
    address: SocketAddr,
    ca_pem: String,
    authorizations: Arc<Mutex<Vec<String>>>,
}

/// No request of the demo takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_HEAD: u64 = 64 * 1024;

impl Upstream {
    /// Serves as `host`, on a free port.
    pub(super) fn start(host: &str) -> Result<Upstream, String> {
        let (config, ca_pem) =
            identity(host).map_err(|error| format!("cannot make the demo's certificate: {error}"))?;
        let listening = || -> io::Result<(TcpListener, SocketAddr)> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) =
            listening().map_err(|error| format!("cannot listen on loopback: {error}"))?;
        let authorizations = Arc::<Mutex<Vec<String>>>::default();
        let seen = authorizations.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One at a time is enough for one curl; a client that goes away is none of the demo's concern.
                if let Ok(Some(authorization)) = answer(stream, &config) {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(authorization);
                }
            }
        });
        Ok(Upstream { address, ca_pem, authorizations })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Every `Authorization` header that arrived.
    pub(super) fn authorizations(&self) -> Vec<String> {
        self.authorizations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A token that nobody has seen before.
pub(super) fn random_token() -> Result<String, String> {
    let mut bytes = [0; 32];
    proxy::crypto_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| "the system gives no randomness".to_owned())?;
    Ok(format!("sk-demo-{}", hex::encode(&bytes)))
}

fn identity(host: &str) -> Result<(Arc<ServerConfig>, String), Box<dyn std::error::Error>> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new([host.to_owned()])?.signed_by(&key, &Issuer::new(ca, ca_key))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(proxy::crypto_provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    Ok((Arc::new(config), ca_pem))
}

/// Serves one request; its `Authorization` header.
fn answer(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
) -> Result<Option<String>, Box<dyn std::error::Error>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config.clone())?, stream));
    let mut authorization = None;
    let mut head = (&mut stream).take(MAX_HEAD);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end().split_once(':') {
            _ if line.trim_end().is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.trim().to_owned());
            }
            _ => {}
        }
    }
    let body = serde_json::json!({ "authorization": authorization }).to_string();
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(authorization)
}
