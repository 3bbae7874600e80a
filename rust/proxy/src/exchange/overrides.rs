//! Headers and parameters by which a request asks a server to take it for another one.

use http::HeaderMap;
use policy::{Reason, RequestPath};

use crate::denial::Denial;
use crate::spelling::{METHOD_PARAMETERS, header_key, parameter_key};
use crate::swap::decode_form;

/// What frameworks take for the method.
const METHOD_HEADERS: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
/// What they take for the path.
const PATH_HEADERS: [&str; 4] = ["x-original-url", "x-rewrite-url", "x-original-uri", "x-forwarded-uri"];

/// Nobody who means well asks for so many things at once.
const MOST: usize = 4;

/// What a request could be taken for, beside what it says first.
pub(super) struct Overrides {
    pub(super) methods: Vec<String>,
    pub(super) paths: Vec<RequestPath>,
}

impl Overrides {
    pub(super) fn read(headers: &HeaderMap, query: &str) -> Result<Overrides, Denial> {
        let parameters = query.split(['&', ';']).filter_map(|parameter| parameter.split_once('='));
        let asked = parameters.filter_map(|(name, value)| {
            let is_one = METHOD_PARAMETERS.contains(&&*parameter_key(&decode_form(name)));
            is_one.then(|| decode_form(value))
        });
        let methods = values(headers, &METHOD_HEADERS).chain(asked);
        // Some servers take the first of a list, some the last.
        let methods: Vec<String> = methods
            .flat_map(|list| {
                let words =
                    list.split(|character: char| character.is_whitespace() || ",;".contains(character));
                words.filter(|word| !word.is_empty()).map(str::to_ascii_uppercase).collect::<Vec<_>>()
            })
            .take(MOST + 1)
            .collect();
        let paths: Vec<RequestPath> = values(headers, &PATH_HEADERS)
            .map(|path| RequestPath::of_target(path.trim()))
            .take(MOST + 1)
            .collect();
        if methods.len() > MOST || paths.len() > MOST {
            let hint = Some("too many headers and parameters that stand for another method or path");
            return Err(Denial { hint, ..Reason::MalformedRequest.into() });
        }
        Ok(Overrides { methods, paths })
    }
}

/// The values of some headers, in any spelling of their names.
fn values(headers: &HeaderMap, names: &'static [&str]) -> impl Iterator<Item = String> {
    headers
        .iter()
        .filter(|(name, _)| names.contains(&&*header_key(name.as_str())))
        .map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
