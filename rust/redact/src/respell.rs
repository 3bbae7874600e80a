//! Writes a dummy's characters in the escape sequences of the secret's.

use bytes::{BufMut, BytesMut};

use super::unescape::{Char, Reader, hex_value, is_newline};

/// Writes characters as others were written, in as many bytes.
pub(super) struct Writer<'a> {
    pub(super) reader: Reader<'a>,
    /// Whether fewer bytes do where the new character needs no escaping.
    pub(super) is_exact: bool,
}

impl Writer<'_> {
    pub(super) fn write(&self, old: Char, new: u8, level: usize, out: &mut BytesMut) {
        let Some(below) = level.checked_sub(1) else { return out.put_u8(new) };
        let length = out.len() + old.end - old.start;
        let parts = self.parts(old, below);
        let spelled: Vec<u8> = parts.iter().map(|part| part.byte).collect();
        match (&parts[..], respelled(&spelled, old.byte, new)) {
            ([part], _) => self.write(*part, new, below, out),
            (_, Some(respelled)) => {
                let mut written = old.start;
                for (part, byte) in parts.iter().zip(respelled) {
                    out.put_slice(&self.reader.text[written..part.start]);
                    written = part.end;
                    if byte == part.byte {
                        out.put_slice(&self.reader.text[part.start..part.end]);
                    } else {
                        self.write(*part, byte, below, out);
                    }
                }
            }
            // `\/`, `&lt;`: what stands in needs no escaping, and letters mean themselves in every format.
            _ => {
                out.put_u8(new);
                if !self.is_exact {
                    out.put_bytes(b'x', length.saturating_sub(out.len()));
                }
            }
        }
    }

    /// The characters of a sequence, without line breaks in the middle of it.
    fn parts(&self, whole: Char, level: usize) -> Vec<Char> {
        let reader = Reader { text: &self.reader.text[..whole.end], is_whole: true };
        let mut at = whole.start;
        let parts = std::iter::from_fn(|| {
            let next = reader.read(at, level)?;
            at = next.end;
            Some(next)
        });
        parts.filter(|part| !is_newline(part.byte)).collect()
    }
}

/// An escape sequence for `new` as long as this one for `old`, if there is one.
fn respelled(sequence: &[u8], old: u8, new: u8) -> Option<Vec<u8>> {
    if let [before @ .., high, low] = sequence
        && before.last().is_some_and(|last| matches!(last, b'%' | b'=' | b'x' | b'0'))
        && hex_value(*high, *low) == Some(old)
    {
        let is_upper = high.is_ascii_uppercase() || low.is_ascii_uppercase();
        let digits = if is_upper { format!("{new:02X}") } else { format!("{new:02x}") };
        return Some([before, digits.as_bytes()].concat());
    }
    let body = sequence.strip_suffix(b";")?;
    let digits = body.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (before, old_digits) = body.split_at(body.len() - digits);
    // With two decimal digits there are no small letters.
    let numbers = match before.last()? {
        b'x' | b'X' if old_digits.iter().any(u8::is_ascii_uppercase) => vec![format!("{new:0digits$X}")],
        b'x' | b'X' => vec![format!("{new:0digits$x}")],
        b'#' => [new, new.to_ascii_uppercase()].map(|byte| format!("{byte:0digits$}")).into(),
        _ => return None,
    };
    let number = numbers.into_iter().find(|number| number.len() == digits)?;
    Some([before, number.as_bytes(), b";"].concat())
}
