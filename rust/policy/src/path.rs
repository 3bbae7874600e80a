//! The path of a request, normalised once, refused when servers could read it differently.

/// A normalised, unambiguous request path (no query).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath(String);

/// Why a path is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Placeholder variant.
    #[error("ambiguous path {0:?}")]
    Ambiguous(String),
}

impl RequestPath {
    /// Reads the path of a request target; a query, if there is one, is cut off.
    pub fn parse(_path_and_query: &str) -> Result<RequestPath, PathError> {
        todo!()
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
