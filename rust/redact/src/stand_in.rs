//! What stands in for a secret.

/// The least bytes of a secret: a shorter one cannot be found without hitting innocent text all the time.
pub const MIN_SECRET_BYTES: usize = 8;

/// What stands in for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandIn {
    /// The dummy, whatever its length: a client that stores it can use it again.
    Exact,
    /// The dummy cut or filled to the secret's length: length-prefixed formats stay valid.
    Fitted,
}

/// The characters of a dummy that mean the same in every format.
pub(crate) fn plain(dummy: &str) -> Vec<u8> {
    dummy.bytes().filter(|byte| is_plain(*byte)).collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

/// The dummy cut, or filled up with `x`, to this length: what stands in where lengths must not change.
pub(crate) fn fit(dummy: &[u8], length: usize) -> Vec<u8> {
    dummy.iter().copied().chain(std::iter::repeat(b'x')).take(length).collect()
}

/// How many first bytes of a secret need not be replaced, whatever format they turn out to be in.
pub(crate) fn shared(secret: &[u8], dummy: &[u8]) -> usize {
    let pairs = secret.iter().zip(dummy);
    pairs.take_while(|(one, other)| one == other && is_plain(**one)).count()
}
