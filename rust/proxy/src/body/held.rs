//! Memory of heads: it is charged until the connection that takes a head has written it.
//!
//! A connection of HTTP/2 queues heads, and drops a body that is empty at once. So what a head holds is tied to one of its values,
//! which lives as long as the head does.

use bytes::Bytes;
use http::Uri;
use http::header::{HeaderMap, HeaderValue};

/// A header value, and what is held as long as it lives.
struct Held<T> {
    value: Vec<u8>,
    _holder: T,
}

impl<T> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

/// Holds something until the head, and each copy of it, is dropped. A head without fields holds nothing: see [`hold_with_target`].
///
/// Each value gets memory of its own: it would keep the buffer alive that it was read in, and HTTP/2 keeps single values in the
/// table of its compression. Of the one that holds, it keeps nothing: what is sensitive never goes to that table.
pub(crate) fn hold_with_head<T: Send + Sync + 'static>(headers: &mut HeaderMap, holder: T) {
    let longest = headers.values().map(HeaderValue::len).max();
    let mut holder = Some(holder);
    for value in headers.values_mut() {
        let holder = holder.take_if(|_| Some(value.len()) == longest);
        let is_sensitive = value.is_sensitive() || holder.is_some();
        let bytes = match holder {
            Some(holder) => Bytes::from_owner(Held { value: value.as_bytes().to_vec(), _holder: holder }),
            None => Bytes::copy_from_slice(value.as_bytes()),
        };
        if let Ok(own) = HeaderValue::from_maybe_shared(bytes) {
            *value = own;
            value.set_sensitive(is_sensitive);
        }
    }
}

/// Holds something until the target of a request, which can be as long as a head, and each copy of it, is dropped.
pub(crate) fn hold_with_target<T: Send + Sync + 'static>(target: Uri, holder: T) -> Uri {
    let bytes = Bytes::from_owner(Held { value: target.to_string().into_bytes(), _holder: holder });
    Uri::from_maybe_shared(bytes).unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_a_target_holds_lives_as_long_as_its_last_copy() {
        let holder = Arc::new(());
        let target = hold_with_target("/path?query".parse().unwrap(), holder.clone());
        assert_eq!(target, "/path?query");
        let copy = target.path_and_query().cloned();
        drop(target);
        assert_eq!(Arc::strong_count(&holder), 2);
        drop(copy);
        assert_eq!(Arc::strong_count(&holder), 1);
    }

    #[test]
    fn what_a_head_holds_lives_as_long_as_its_last_copy() {
        let read = Bytes::from(vec![b'x'; 100]);
        let mut headers = HeaderMap::new();
        for (name, length) in [("a", 3), ("b", 50), ("c", 50), ("d", 0)] {
            let mut value = HeaderValue::from_maybe_shared(read.slice(..length)).unwrap();
            value.set_sensitive(name == "a");
            headers.append(name, value);
        }
        let before = headers.clone();
        let holder = Arc::new(());
        hold_with_head(&mut headers, holder.clone());
        assert_eq!(headers, before);
        assert!(headers["a"].is_sensitive() && !headers["d"].is_sensitive());
        drop(before);
        assert!(read.is_unique(), "a value keeps the buffer alive that it was read in");
        assert_eq!(Arc::strong_count(&holder), 2);
        let copy = headers.clone();
        drop(headers);
        assert_eq!(Arc::strong_count(&holder), 2);
        drop(copy);
        assert_eq!(Arc::strong_count(&holder), 1);
        hold_with_head(&mut HeaderMap::new(), holder.clone());
        assert_eq!(Arc::strong_count(&holder), 1);
    }

    #[test]
    fn the_value_that_holds_is_in_no_table() {
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_static("1"));
        hold_with_head(&mut headers, ());
        assert!(headers["a"].is_sensitive());
    }
}
