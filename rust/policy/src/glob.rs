//! Literal text and two wildcards: `*` stands for anything between two slashes, `**` for anything.

/// What paths and refs are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
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

impl Glob {
    /// `*`, `**` and literal text; nothing else means anything.
    pub(crate) fn new(text: &str) -> Glob {
        Glob { tokens: tokens(text.as_bytes()) }
    }

    /// Whether a text fits. All places in the glob are followed at once, so the time is bounded by the
    /// product of both lengths whatever the job asks for.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut places = vec![false; self.tokens.len() + 1];
        places[0] = true;
        self.skip_wildcards(&mut places, b'/');
        for byte in text.bytes() {
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
