//! Paths and file contents as raw bytes in serde formats: serde's own form of a path refuses what is not UTF-8.

use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};

/// What is nothing but bytes.
pub(crate) trait Raw {
    /// The bytes.
    fn as_raw(&self) -> &[u8];
    /// From the bytes.
    fn from_raw(bytes: Vec<u8>) -> Self;
}

pub(crate) fn serialize<T: Raw, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(value.as_raw())
}

pub(crate) fn deserialize<'de, T: Raw, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_byte_buf(BytesVisitor(PhantomData))
}

impl Raw for PathBuf {
    fn as_raw(&self) -> &[u8] {
        self.as_os_str().as_bytes()
    }
    fn from_raw(bytes: Vec<u8>) -> PathBuf {
        PathBuf::from(OsString::from_vec(bytes))
    }
}

impl Raw for Vec<u8> {
    fn as_raw(&self) -> &[u8] {
        self
    }
    fn from_raw(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
}

struct BytesVisitor<T>(PhantomData<T>);

impl<'de, T: Raw> Visitor<'de> for BytesVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        Ok(T::from_raw(bytes.to_vec()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<T, E> {
        Ok(T::from_raw(bytes))
    }

    // Formats without a notion of bytes (JSON) hold them as a sequence of numbers.
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<T, A::Error> {
        let mut bytes = Vec::with_capacity(sequence.size_hint().unwrap_or(0).min(4096));
        while let Some(byte) = sequence.next_element()? {
            bytes.push(byte);
        }
        Ok(T::from_raw(bytes))
    }
}

/// The same for a list.
pub(crate) mod list {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super")] PathBuf);

    pub(crate) fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(paths.iter().cloned().map(One))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
        Ok(Vec::<One>::deserialize(deserializer)?.into_iter().map(|One(path)| path).collect())
    }
}
