//! The requests of git's smart HTTP.

use crate::request::Request;

/// What git asks a repository for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `GET …/info/refs?service=git-upload-pack` or `POST …/git-upload-pack`.
    Fetch,
    /// `GET …/info/refs?service=git-receive-pack`: what refs there are, in order to push.
    DiscoverPush,
    /// `POST …/git-receive-pack`: what is to become of them is in the body.
    Push,
}

impl Call {
    /// Reads a request: the call, and the path of the repository without `.git`. The query decides, and a query that is
    /// not exactly git's own is another request.
    pub(crate) fn read<'a>(request: &Request<'a>) -> Option<(Call, &'a str)> {
        if request.path.is_ambiguous() || request.path.as_str().contains(';') || request.websocket {
            return None;
        }
        let path = request.path.as_str();
        let (call, path) = match (request.method, request.query) {
            ("GET", "service=git-upload-pack") => (Call::Fetch, path.strip_suffix("/info/refs")?),
            ("GET", "service=git-receive-pack") => (Call::DiscoverPush, path.strip_suffix("/info/refs")?),
            ("POST", "") => match path.strip_suffix("/git-upload-pack") {
                Some(path) => (Call::Fetch, path),
                None => (Call::Push, path.strip_suffix("/git-receive-pack")?),
            },
            _ => return None,
        };
        let repository = path.strip_suffix(".git").unwrap_or(path);
        (repository.len() > 1 && !repository.ends_with('/')).then_some((call, repository))
    }
}

/// Whether a server could take the request for a push or for its beginning, however it is spelled: in another case, with
/// escapes, with parameters. Such go by git rules only where there are any.
pub(crate) fn resembles_push(request: &Request<'_>) -> bool {
    let text = format!("{}?{}", request.path.as_str(), request.query);
    in_some_spelling(text, |text| text.contains("receive-pack"))
}

/// Whether a request could move refs without a push: by WebDAV in the repository's own directory, or by the API of a git host
/// that names refs by path (`PATCH …/git/refs/heads/main`).
pub(crate) fn could_move_refs(request: &Request<'_>) -> bool {
    const READING: [&str; 4] = ["GET", "HEAD", "OPTIONS", "PROPFIND"];
    if READING.contains(&request.method) || matches!(Call::read(request), Some((Call::Fetch, _))) {
        return false;
    }
    in_some_spelling(request.path.folded(), |text| {
        // The requests of git-lfs, locks among them, move no ref; the second is where GitLab keeps the objects.
        let is_lfs = !request.path.is_ambiguous()
            && [".git/info/lfs/", ".git/gitlab-lfs/objects/"].iter().any(|lfs| text.contains(lfs));
        let in_repository = text.contains(".git/") && !is_lfs;
        text.contains("/refs/") || text.ends_with("/refs") || in_repository
    })
}

/// Whether this holds for a text, decoded as often as a chain of servers may do it.
fn in_some_spelling(text: String, holds: impl Fn(&str) -> bool) -> bool {
    let mut text = text.to_ascii_lowercase();
    for _ in 0..4 {
        if holds(&text) {
            return true;
        }
        let decoded = unescape(&text);
        if decoded == text {
            return false;
        }
        text = decoded;
    }
    // Still escapes after all that: nobody's honest path.
    true
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        let digit = |offset: usize| {
            let digit = char::from(*bytes.get(position + offset)?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                position += 3;
            }
            _ => {
                decoded.push(byte);
                position += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).to_ascii_lowercase()
}
