//! Reads a secret that nobody should see: from a terminal without echo, or from standard input.

use std::io::{self, IsTerminal, Read, Stdin, Write};

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{Bytes, MAX_SOURCE_BYTES, file};

/// No secret came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    /// The terminal or the pipe failed.
    #[error("cannot read the secret: {0}; give it on standard input")]
    Io(#[from] io::Error),
    /// Somebody changed their mind.
    #[error("nothing was stored")]
    GivenUp,
    /// More than a secret.
    #[error("standard input holds more than 64 KiB; give the secret and nothing else")]
    TooBig,
}

/// The secret, as it was typed or piped in.
pub(crate) fn secret(prompt: &str) -> Result<Bytes, PromptError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return file::bounded(stdin.lock())?.ok_or(PromptError::TooBig);
    }
    let quiet = Quiet::new(&stdin)?;
    let mut errors = io::stderr();
    write!(errors, "{prompt}")?;
    errors.flush()?;
    let typed = typed(stdin.lock());
    writeln!(errors)?;
    drop(quiet);
    typed
}

/// One line, key by key: the terminal neither shows nor edits it.
fn typed(mut keys: impl Read) -> Result<Bytes, PromptError> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_SOURCE_BYTES));
    let mut key = Zeroizing::new([0]);
    loop {
        if keys.read(&mut key[..])? == 0 {
            return Err(PromptError::GivenUp);
        }
        match key[0] {
            INTERRUPT => return Err(PromptError::GivenUp),
            END if line.is_empty() => return Err(PromptError::GivenUp),
            b'\r' | b'\n' | END => return Ok(line),
            8 | 127 => drop(line.pop()),
            _ if line.len() == MAX_SOURCE_BYTES => return Err(PromptError::TooBig),
            key => line.push(key),
        }
    }
}

/// A terminal without echo, as long as it lives.
struct Quiet<'a> {
    terminal: &'a Stdin,
    before: Termios,
}

impl Quiet<'_> {
    fn new(terminal: &Stdin) -> io::Result<Quiet<'_>> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        // No signals either: ended by one, it would leave the terminal mute.
        quiet.local_flags &= !(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        quiet.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        quiet.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Quiet { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing any more.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_key_by_key() {
        let line = |keys: &[u8]| typed(keys).map(|line| String::from_utf8(line.to_vec()).unwrap());
        assert_eq!(line(b"sek\x7fcret\rrest").unwrap(), "secret");
        assert_eq!(line(b"\x7f\x08ab\x04").unwrap(), "ab");
        for given_up in [&b"sec\x03ret\n"[..], b"\x04", b"", b"no end"] {
            assert!(matches!(line(given_up), Err(PromptError::GivenUp)));
        }
        assert!(matches!(line(&[b'x'; MAX_SOURCE_BYTES + 1]), Err(PromptError::TooBig)));
    }
}
