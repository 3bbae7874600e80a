//! pkt-lines: four hexadecimal digits of length, themselves included, then the bytes. `0000` is a flush.

/// The longest line, its length included (LARGE_PACKET_MAX of git).
pub(crate) const MAX_LINE: usize = 65520;

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// A line without its length; never empty.
    Line(&'a [u8]),
    /// The end of a section.
    Flush,
}

/// Bytes that are no pkt-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPacket;

/// Reads one; gives it and how many bytes it takes, or `None` if more are needed. What servers could read in two ways
/// (the lengths 1 to 4, too long lines) is no pkt-line.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, NoPacket> {
    let digits = &bytes[..bytes.len().min(4)];
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(NoPacket);
    }
    let length =
        digits.iter().try_fold(0, |length, digit| Some(length << 4 | char::from(*digit).to_digit(16)?));
    let length = length.and_then(|length| usize::try_from(length).ok()).ok_or(NoPacket)?;
    match (digits.len(), length) {
        (..4, _) => Ok(None),
        (_, 0) => Ok(Some((Packet::Flush, 4))),
        (_, 5..=MAX_LINE) => Ok(bytes.get(4..length).map(|line| (Packet::Line(line), length))),
        _ => Err(NoPacket),
    }
}

/// Writes one line.
pub(crate) fn write(line: &[u8], output: &mut Vec<u8>) {
    output.extend(format!("{:04x}", line.len() + 4).bytes());
    output.extend(line);
}

pub(crate) const FLUSH: &[u8] = b"0000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_flushes_and_beginnings() {
        assert_eq!(read(b"0009abcde"), Ok(Some((Packet::Line(b"abcde"), 9))));
        assert_eq!(read(b"000Aabcdefgh"), Ok(Some((Packet::Line(b"abcdef"), 10))));
        assert_eq!(read(b"0000PACK"), Ok(Some((Packet::Flush, 4))));
        for beginning in [&b""[..], b"0", b"000", b"0009", b"0009abcd"] {
            assert_eq!(read(beginning), Ok(None), "{beginning:?}");
        }
        for nothing in [
            &b"0001"[..],
            b"0002",
            b"0003",
            b"0004",
            b"fff1",
            b"fff5x",
            b"ffff",
            b"+009abcde",
            b" 009",
            b"0x09",
            b"PACK",
            b"g",
        ] {
            assert_eq!(read(nothing), Err(NoPacket), "{nothing:?}");
        }
        let mut longest = b"fff0".to_vec();
        longest.resize(MAX_LINE, b'x');
        assert!(matches!(read(&longest), Ok(Some((Packet::Line(_), MAX_LINE)))));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        write(b"ng refs/heads/main no\n", &mut bytes);
        bytes.extend(FLUSH);
        let (line, length) = read(&bytes).unwrap().unwrap();
        assert_eq!(line, Packet::Line(b"ng refs/heads/main no\n"));
        assert_eq!(read(&bytes[length..]), Ok(Some((Packet::Flush, 4))));
    }
}
