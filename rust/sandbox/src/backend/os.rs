//! An error number of the operating system that can cross to another process.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An error number of the operating system, displayed as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os(pub i32);

impl fmt::Display for Os {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        formatter.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl From<std::io::Error> for Os {
    fn from(error: std::io::Error) -> Os {
        Os(error.raw_os_error().unwrap_or(0))
    }
}

impl From<nix::errno::Errno> for Os {
    fn from(errno: nix::errno::Errno) -> Os {
        Os(errno as i32)
    }
}
