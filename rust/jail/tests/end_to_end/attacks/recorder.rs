//! A server without any sense of HTTP: it writes down every byte, and says the same whatever it hears.

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
    /// Answers whatever it reads with an empty 200.
    pub(super) fn start() -> Recorder {
        Recorder::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }

    /// Answers whatever it reads with these bytes.
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
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        notes.lock().unwrap().extend_from_slice(&buffer[..read]);
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}
