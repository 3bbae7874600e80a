//! The requests of git-lfs, which moves large files beside git's own transfer.

use super::{GitRule, Repository};
use crate::request::Request;
use crate::scheme::Scheme;

/// Digits of an object's id, a SHA-256 hash.
const ID_DIGITS: usize = 64;

impl GitRule {
    /// Returns true if the request is one of git-lfs for a repository of the rule: to the API below `info/lfs`, or to an
    /// object at `gitlab-lfs/objects`. Other servers choose the addresses of objects themselves; they have the object's id in
    /// them, and count below a repository that the rule names without a wildcard, which could stand for a part of an API.
    /// Without `push` only what a download needs counts.
    ///
    /// Such a request is never allowed by the git rule. Where another rule allows it, it may carry the git rule's
    /// credential: git-lfs sends for its repository what git sends.
    pub(crate) fn is_lfs_of(&self, request: &Request<'_>) -> bool {
        let path = request.path.as_str();
        if request.scheme != Scheme::Https
            || request.websocket
            || request.path.is_ambiguous()
            || path.contains(';')
        {
            return false;
        }
        path.match_indices('/').skip(1).any(|(slash, _)| {
            let repository = path[..slash].strip_suffix(".git").unwrap_or(&path[..slash]);
            let below = &path[slash + 1..];
            let api = below.strip_prefix("info/lfs/");
            let is_read = ["GET", "HEAD"].contains(&request.method)
                || (request.method, api) == ("POST", Some("objects/batch"));
            let object = below.strip_prefix("gitlab-lfs/objects/");
            let is_known_form =
                api.is_some() || object.is_some_and(|object| object.split('/').next().is_some_and(is_id));
            let has_id = below.split('/').any(is_id);
            let is_its = |known: &Repository| {
                known.authority() == request.authority
                    && known.path().matches(repository)
                    && (is_known_form || (has_id && !known.path().to_string().contains('*')))
            };
            (is_read || self.pushes()) && self.repos.iter().any(is_its)
        })
    }
}

fn is_id(segment: &str) -> bool {
    segment.len() == ID_DIGITS && segment.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
