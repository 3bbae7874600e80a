//! Amounts as people write them: `512M`, `2G`, `30s`, `10m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes, written as a number with an optional binary unit: `K`, `M`, `G` or `T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]+[KMGT]?$"))]
pub(crate) struct Bytes(pub(crate) u64);

/// A span of time, written as a number with a unit: `s`, `m`, `h` or `d`; without a unit it is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]+[smhd]?$"))]
pub(crate) struct Span(pub(crate) Duration);

const BYTE_UNITS: &[(&str, u64)] = &[("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
const TIME_UNITS: &[(&str, u64)] = &[("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Bytes, String> {
        amount(text, BYTE_UNITS)
            .map(Bytes)
            .ok_or_else(|| format!("{text:?} is not an amount of memory; write it like 512M or 2G"))
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        amount(text, TIME_UNITS)
            .map(|seconds| Span(Duration::from_secs(seconds)))
            .ok_or_else(|| format!("{text:?} is not a span of time; write it like 30s, 10m or 2h"))
    }
}

/// A positive whole number times its unit; `None` for anything else, overflow included.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))
        .unwrap_or((text, 1));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|amount| *amount > 0)
}

fn shortest(amount: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor))
        .map_or_else(|| amount.to_string(), |(unit, factor)| format!("{}{unit}", amount / factor))
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shortest(self.0, BYTE_UNITS))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shortest(self.0.as_secs(), TIME_UNITS))
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;
    fn try_from(text: String) -> Result<Bytes, String> {
        text.parse()
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        bytes.to_string()
    }
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Span, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written() {
        assert_eq!("2G".parse(), Ok(Bytes(2 << 30)));
        assert_eq!("512".parse(), Ok(Bytes(512)));
        assert_eq!("90".parse(), Ok(Span(Duration::from_secs(90))));
        assert_eq!("2h".parse::<Span>().unwrap().to_string(), "2h");
        assert_eq!(Bytes(3 << 19).to_string(), "1536K");
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in
            ["", "G", "-1", "+1", "1.5G", "0", "0G", "1GB", "99999999999999999999", "18446744073709551615T"]
        {
            assert!(text.parse::<Bytes>().is_err(), "{text:?} was taken for an amount");
        }
        assert!("1w".parse::<Span>().is_err());
    }
}
