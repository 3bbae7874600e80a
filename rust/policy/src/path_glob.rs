//! The path of a rule: literal text and two wildcards, nothing else.

use std::fmt;
use std::str::FromStr;

use crate::path::{PathError, RequestPath, canonical_part};
use crate::rule_error::RuleError;
use crate::text_form::{excerpt, serde_as_text};

/// A path with wildcards: `*` stands for anything within a segment, `**` for anything, `/**/` for any number of
/// segments, also none. A literal star is written `%2A`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGlob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(u8),
    WithinSegment,
    Anything,
    /// Whole segments, each with the slash after it. Stands behind a slash.
    Segments,
}

impl FromStr for PathGlob {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<PathGlob, RuleError> {
        refuse_what_never_matches(text)?;
        let literals: Result<Vec<_>, _> = text.split('*').map(canonical_part).collect();
        let text = literals.map_err(RuleError::Path)?.join("*");
        let tokens = tokens(text.as_bytes());
        Ok(PathGlob { text, tokens })
    }
}

/// A glob without its wildcards is a path, so what no path holds makes a rule that is never used.
fn refuse_what_never_matches(text: &str) -> Result<(), RuleError> {
    if !text.starts_with('/') {
        return Err(RuleError::Path(PathError::NotAbsolute(excerpt(text))));
    }
    if text.contains('?') {
        return Err(RuleError::Query(excerpt(text)));
    }
    if text.contains("***") {
        return Err(RuleError::Stars(excerpt(text)));
    }
    let path = RequestPath::parse(text).map_err(RuleError::Path)?;
    match path.as_str().contains(';') {
        true => Err(RuleError::Parameters(excerpt(text))),
        false => Ok(()),
    }
}

fn tokens(text: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let (token, after) = match rest {
            [b'*', b'*', b'/', after @ ..]
                if matches!(tokens.last(), Some(Token::Literal(b'/') | Token::Segments)) =>
            {
                (Token::Segments, after)
            }
            [b'*', b'*', after @ ..] => (Token::Anything, after),
            [b'*', after @ ..] => (Token::WithinSegment, after),
            _ => (Token::Literal(*first), after),
        };
        tokens.push(token);
        rest = after;
    }
    tokens
}

impl PathGlob {
    /// Whether a canonical path fits. All places in the glob are followed at once, so the time is bounded by the
    /// product of both lengths whatever the job asks for.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut places = vec![false; self.tokens.len() + 1];
        places[0] = true;
        self.skip_wildcards(&mut places, b'/');
        for byte in path.bytes() {
            let mut next = vec![false; places.len()];
            for (place, token) in self.tokens.iter().enumerate().filter(|&(place, _)| places[place]) {
                match token {
                    Token::Literal(literal) => next[place + 1] |= *literal == byte,
                    Token::WithinSegment => next[place] |= byte != b'/',
                    Token::Anything | Token::Segments => next[place] = true,
                }
            }
            self.skip_wildcards(&mut next, byte);
            places = next;
        }
        places.last() == Some(&true)
    }

    /// A wildcard may end where it stands; whole segments only behind a slash.
    fn skip_wildcards(&self, places: &mut [bool], last_byte: u8) {
        for (place, token) in self.tokens.iter().enumerate() {
            let may_end = match token {
                Token::Literal(_) => false,
                Token::WithinSegment | Token::Anything => true,
                Token::Segments => last_byte == b'/',
            };
            places[place + 1] |= places[place] && may_end;
        }
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

serde_as_text!(PathGlob, "A path; `*` does not cross `/`, `**` does.", "/repos/*");

#[cfg(test)]
#[path = "path_glob_tests.rs"]
mod tests;
