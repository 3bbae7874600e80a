//! Secrets that nobody has seen before.

use getrandom::fill;

/// A token of the usual shape: `prefix` and 64 random letters and digits.
pub(crate) fn random(prefix: &str) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyzABCDEF23";
    let mut bytes = [0; 64];
    fill(&mut bytes).unwrap();
    let body: String = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    format!("{prefix}{body}")
}
