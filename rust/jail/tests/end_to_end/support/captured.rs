//! Output as it arrives, to be waited for.

use std::io::{ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::PATIENCE;

/// What a stream has given so far. A thread reads it, so that its writer never waits for the test.
#[derive(Clone, Default)]
pub(crate) struct Captured {
    inside: Arc<(Mutex<Inside>, Condvar)>,
}

#[derive(Default)]
struct Inside {
    bytes: Vec<u8>,
    closed: bool,
}

impl Captured {
    /// Reads `stream` to its end.
    pub(crate) fn of(mut stream: impl Read + Send + 'static) -> Captured {
        let captured = Captured::default();
        let writer = captured.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 64 * 1024];
            loop {
                let read = match stream.read(&mut chunk) {
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    // A terminal whose other side is closed gives EIO.
                    Err(_) => 0,
                };
                let (inside, changed) = &*writer.inside;
                let mut inside = inside.lock().unwrap();
                inside.bytes.extend_from_slice(&chunk[..read]);
                inside.closed = read == 0;
                changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        captured
    }

    /// Everything until now.
    pub(crate) fn so_far(&self) -> Vec<u8> {
        self.inside.0.lock().unwrap().bytes.clone()
    }

    /// Everything, when every writer has closed the stream.
    #[track_caller]
    pub(crate) fn to_end(&self) -> Vec<u8> {
        self.wait("its end", |bytes, closed| closed.then(|| bytes.to_vec()))
            .unwrap_or_else(|why| panic!("{why}"))
    }

    /// Waits for `text` behind position `from`; the position after it, or why it will not come.
    pub(crate) fn try_wait_for(&self, text: &str, from: usize) -> Result<usize, String> {
        self.wait(&format!("{text:?}"), |bytes, _| {
            let found = memchr::memmem::find(bytes.get(from..)?, text.as_bytes())?;
            Some(from + found + text.len())
        })
    }

    fn wait<T>(&self, what: &str, mut ready: impl FnMut(&[u8], bool) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + PATIENCE;
        let (inside, changed) = &*self.inside;
        let mut inside = inside.lock().unwrap();
        loop {
            if let Some(found) = ready(&inside.bytes, inside.closed) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || inside.closed {
                let how = if inside.closed { "the stream ended" } else { "time ran out" };
                let text = String::from_utf8_lossy(&inside.bytes);
                return Err(format!("waited for {what}, but {how}; until then it gave:\n{text}"));
            }
            inside = changed.wait_timeout(inside, left).unwrap().0;
        }
    }
}
