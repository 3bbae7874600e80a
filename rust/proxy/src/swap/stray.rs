//! Dummies on their way to a host that is none of theirs: worthless there, but a sign that something is wrong.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use http::{HeaderMap, Uri};
use policy::Reason;

use redact::Needles;

/// Knows every dummy of the job in every spelling.
pub(super) struct Dummies {
    dummies: Vec<String>,
    /// Made for the first request: a job that asks for nothing should not wait for it.
    needles: OnceLock<Needles>,
}

/// How often a text may be URL-encoded on top of itself.
const LAYERS: usize = 3;

impl Dummies {
    pub(super) fn new<'a>(dummies: impl Iterator<Item = &'a str>) -> Dummies {
        Dummies { dummies: dummies.map(str::to_owned).collect(), needles: OnceLock::new() }
    }

    /// Refuses a request that holds the dummy of a credential other than `own`, in the URL or any header.
    pub(super) fn refuse_strays(&self, headers: &HeaderMap, uri: &Uri, own: &[usize]) -> Result<(), Reason> {
        let userinfo = uri.authority().map_or("", |authority| authority.as_str());
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let mut texts = [userinfo.as_bytes(), target.as_bytes()]
            .into_iter()
            .chain(headers.values().map(|value| value.as_bytes()));
        let strays = |text: &[u8]| self.owners(text).iter().any(|owner| !own.contains(owner));
        if texts.any(strays) { Err(Reason::StrayCredential) } else { Ok(()) }
    }

    /// Whose dummies are in a text, raw or encoded.
    pub(super) fn owners(&self, text: &[u8]) -> BTreeSet<usize> {
        let needles =
            self.needles.get_or_init(|| Needles::new(self.dummies.iter().map(|dummy| (dummy.as_str(), ""))));
        let mut owners = needles.owners(text);
        let mut text = Cow::Borrowed(text);
        for _ in 0..LAYERS {
            if !text.contains(&b'%') {
                break;
            }
            text = Cow::Owned(decode_percent(&text));
            owners.extend(needles.owners(&text));
        }
        owners
    }
}

/// `%XX` decoded once; what is no such sequence stays.
pub(super) fn decode_percent(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}
