//! Names of objects.

use std::fmt;

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// The hash of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
}

/// The name of an object; one of SHA-1 has zeros behind it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectId([u8; 32]);

impl Hash {
    /// Bytes of a name.
    pub fn length(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
        }
    }

    /// The name of a commit with this content.
    pub fn of_commit(self, content: &[u8]) -> ObjectId {
        let head = format!("commit {}\0", content.len());
        match self {
            Hash::Sha1 => ObjectId::new(&Sha1::new().chain_update(head).chain_update(content).finalize()),
            Hash::Sha256 => ObjectId::new(&Sha256::new().chain_update(head).chain_update(content).finalize()),
        }
    }

    /// Reads the lower-case hexadecimal form.
    pub fn read(self, text: &[u8]) -> Option<ObjectId> {
        if text.len() != 2 * self.length() {
            return None;
        }
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let bytes: Option<Vec<u8>> =
            text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
        bytes.map(|bytes| ObjectId::new(&bytes))
    }
}

impl ObjectId {
    /// Takes the bytes of a name.
    pub fn new(bytes: &[u8]) -> ObjectId {
        let mut id = [0; 32];
        id.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        ObjectId(id)
    }

    /// The name of nothing: what a new ref was at, and what a deleted one is at.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 32]
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
