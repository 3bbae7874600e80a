//! A server with hardly any sense of HTTP: it writes down every byte, and says the same to every request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Listens on loopback until the test's process ends.
pub(super) struct Recorder {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// Answers every request with an empty 200.
    pub(super) fn start() -> Recorder {
        Recorder::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }

    /// Answers every request with these bytes.
    pub(super) fn saying(answer: &'static [u8]) -> Recorder {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, heard) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (count, notes) = (connections.clone(), heard.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let notes = notes.clone();
                std::thread::spawn(move || listen(stream, answer, &notes));
            }
        });
        Recorder { address, connections, heard }
    }

    /// `--connect-to` for a host and port.
    pub(super) fn options(&self, host: &str, port: u16) -> [String; 2] {
        ["--connect-to".to_owned(), format!("{host}:{port}:{}", self.address)]
    }

    /// Connections that were ever made to it.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Everything that it was told, in lower case.
    pub(super) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).to_lowercase()
    }
}

fn listen(mut stream: TcpStream, answer: &[u8], notes: &Mutex<Vec<u8>>) {
    let (mut buffer, mut request) = ([0; 8192], Vec::new());
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        notes.lock().unwrap().extend_from_slice(&buffer[..read]);
        request.extend_from_slice(&buffer[..read]);
        // An answer before its end could end the request early, and with it what is written down.
        if is_whole(&request) {
            request.clear();
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    if head.contains("\r\ntransfer-encoding:") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
