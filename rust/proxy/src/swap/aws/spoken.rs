//! What a request says of its signature, in its headers or in its query.

use http::{HeaderMap, header};
use policy::Reason;

use super::super::Refusal;
use super::super::query::decode;
use super::canonical::parameter;
use super::{ALGORITHM, Form, NOT_CHECKED, NOT_SUPPORTED};

const DATE: &str = "x-amz-date";
const TWICE: &str = "A request is signed in its headers or in its query, not in both.";

/// What a request says of its signature.
pub(super) struct Spoken {
    pub(super) id: String,
    pub(super) scope: String,
    pub(super) date: String,
    pub(super) names: Vec<String>,
    pub(super) signature: String,
}

impl Spoken {
    /// Reads it; `None` if the request has none.
    pub(super) fn read(
        headers: &HeaderMap,
        query: &str,
        in_query: bool,
    ) -> Result<Option<(Form, Spoken)>, Refusal> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value =
            values.next().and_then(|value| value.to_str().ok()).filter(|text| text.starts_with("AWS4-"));
        let single = values.next().is_none();
        match (value, in_query) {
            (None, false) => Ok(None),
            (Some(_), true) => Err(Refusal::with_hint(Reason::ForeignCredential, TWICE)),
            (Some(value), false) if single => {
                let date = headers.get(DATE).and_then(|date| date.to_str().ok()).unwrap_or_default();
                Spoken::in_header(value, date).map(|spoken| Some((Form::Headers, spoken)))
            }
            (Some(_), false) => Err(Reason::ForeignCredential.into()),
            (None, true) => Spoken::in_query(query).map(|spoken| Some((Form::Query, spoken))),
        }
    }

    fn in_header(value: &str, date: &str) -> Result<Spoken, Refusal> {
        let (algorithm, rest) = value.split_once(' ').unwrap_or((value, ""));
        let field = |name: &str| {
            rest.split(',').filter_map(|part| part.trim().split_once('=')).find(|(known, _)| *known == name)
        };
        let field = |name: &str| field(name).map(|(_, value)| value.to_owned()).unwrap_or_default();
        Spoken::new(
            algorithm,
            &field("Credential"),
            &field("SignedHeaders"),
            field("Signature"),
            date.to_owned(),
        )
    }

    fn in_query(query: &str) -> Result<Spoken, Refusal> {
        let parameters =
            ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Date"];
        let names = query.split('&').map(|part| part.split_once('=').map_or(part, |(name, _)| name));
        let is_one = |name: &&str| {
            let name = decode(name);
            parameters.iter().any(|known| known.eq_ignore_ascii_case(&name))
        };
        // Which of two a server reads is anybody's guess.
        let repeated = names.filter(is_one).count() > parameters.len();
        let of = |name: &str| parameter(query, name).unwrap_or_default();
        let [algorithm, credential, names, signature, date] = parameters.map(of);
        if repeated {
            return Err(Reason::ForeignCredential.into());
        }
        Spoken::new(&algorithm, &credential, &names, signature, date)
    }

    fn new(
        algorithm: &str,
        credential: &str,
        names: &str,
        signature: String,
        date: String,
    ) -> Result<Spoken, Refusal> {
        let refused = Refusal::with_hint(Reason::ForeignCredential, NOT_CHECKED);
        if algorithm.starts_with("AWS4-ECDSA") {
            return Err(Refusal::with_hint(Reason::ForeignCredential, NOT_SUPPORTED));
        }
        let (id, scope) = credential.split_once('/').ok_or(refused)?;
        let parts: Vec<&str> = scope.split('/').collect();
        let is_scope =
            matches!(parts[..], [day, _, _, "aws4_request"] if date.starts_with(day) && day.len() == 8);
        // The date goes into what is signed: it must not bring lines of its own.
        let is_date = date.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let names: Vec<String> = names.split(';').map(str::to_owned).collect();
        let is_name = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
        };
        let is_whole =
            is_scope && is_date && names.iter().all(is_name) && names.iter().any(|name| name == "host");
        if algorithm != ALGORITHM || !is_whole || signature.len() != 64 {
            return Err(refused);
        }
        Ok(Spoken { id: id.to_owned(), scope: scope.to_owned(), date, names, signature })
    }
}
