//! The bytes of a text at which a secret can be broken: line breaks and beginnings of escape sequences.

/// The places in a text where a line breaks or an escape sequence can begin, in order.
pub(super) fn triggers(text: &[u8], from: usize) -> impl Iterator<Item = usize> {
    let rest = text.get(from..).unwrap_or_default();
    let (blocks, tail) = rest.as_chunks::<BLOCK>();
    let tail_start = from + blocks.len() * BLOCK;
    let in_blocks = blocks.iter().enumerate().flat_map(move |(index, block)| {
        let mut left = if holds_trigger(block) { trigger_mask(block) } else { 0 };
        std::iter::from_fn(move || {
            let at = usize::try_from(left.trailing_zeros()).ok().filter(|&at| at < BLOCK)?;
            left &= left - 1;
            Some(from + index * BLOCK + at)
        })
    });
    let in_tail = tail.iter().enumerate().filter(|(_, byte)| is_trigger(**byte));
    in_blocks.chain(in_tail.map(move |(at, _)| tail_start + at))
}

const BLOCK: usize = 64;

/// Written for the compiler, which compares many bytes at once.
fn holds_trigger(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(0, |any, &byte| any | u8::from(is_trigger(byte))) != 0
}

/// A bit for each byte that is a trigger.
fn trigger_mask(block: &[u8; BLOCK]) -> u64 {
    let flags = block.map(|byte| u8::from(is_trigger(byte)));
    let (eights, _) = flags.as_chunks::<8>();
    // The product gathers the lowest bits of eight bytes in its highest byte.
    let gather = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    eights.iter().rev().fold(0, |mask, eight| mask << 8 | gather(eight))
}

fn is_trigger(byte: u8) -> bool {
    (byte == b'\n') | (byte == b'\r') | (byte == b'\\') | (byte == b'%') | (byte == b'=') | (byte == b'&')
}
