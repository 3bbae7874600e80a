//! Hexadecimal digits.

/// Returns the bytes as lower-case digits, two for each.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(super::encode(&[0, 10, 0xff]), "000aff");
    }
}
