//! Literal text and two wildcards: `*` stands for anything between two slashes, `**` for anything.

/// What paths and refs are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    /// What stands before the first wildcard.
    beginning: Vec<u8>,
    /// The rest.
    tokens: Vec<Token>,
    /// Where the wildcards of the rest stand.
    wildcards: Vec<usize>,
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
        let mut beginning = Vec::new();
        let mut tokens = tokens(text.as_bytes());
        let literals = tokens.iter().position(|token| !matches!(token, Token::Literal(_)));
        for token in tokens.drain(..literals.unwrap_or(tokens.len())) {
            if let Token::Literal(byte) = token {
                beginning.push(byte);
            }
        }
        let is_wildcard = |place: &usize| !matches!(tokens[*place], Token::Literal(_));
        let wildcards = (0..tokens.len()).filter(is_wildcard).collect();
        Glob { beginning, tokens, wildcards }
    }

    /// Whether a text fits. The literal beginning is compared as such; behind it all places in the glob are followed at once,
    /// 64 to a word, so that the time grows with the text and hardly with the glob.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some(rest) = text.as_bytes().strip_prefix(self.beginning.as_slice()) else { return false };
        let words = self.tokens.len() / 64 + 1;
        let mut places = vec![0u64; words];
        let mut next = vec![0u64; words];
        places[0] = 1;
        self.skip_wildcards(&mut places, self.beginning.last().copied().unwrap_or(b'/'));
        for &byte in rest {
            next.fill(0);
            for (word, &bits) in places.iter().enumerate() {
                let mut bits = bits;
                while bits != 0 {
                    let place = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    match self.tokens.get(place) {
                        Some(Token::Literal(literal)) if *literal == byte => set(&mut next, place + 1),
                        Some(Token::WithinSegment) if byte != b'/' => set(&mut next, place),
                        Some(Token::Anything | Token::Segments) => set(&mut next, place),
                        _ => {}
                    }
                }
            }
            self.skip_wildcards(&mut next, byte);
            std::mem::swap(&mut places, &mut next);
            if places.iter().all(|word| *word == 0) {
                return false;
            }
            // Behind a last `**` anything fits.
            if self.tokens.last() == Some(&Token::Anything) && is_set(&places, self.tokens.len()) {
                return true;
            }
        }
        is_set(&places, self.tokens.len())
    }

    /// A wildcard may end where it stands; whole segments only behind a slash.
    fn skip_wildcards(&self, places: &mut [u64], last_byte: u8) {
        for &place in &self.wildcards {
            let may_end = match self.tokens[place] {
                Token::Literal(_) => false,
                Token::WithinSegment | Token::Anything => true,
                Token::Segments => last_byte == b'/',
            };
            if may_end && is_set(places, place) {
                set(places, place + 1);
            }
        }
    }
}

fn set(places: &mut [u64], place: usize) {
    places[place / 64] |= 1 << (place % 64);
}

fn is_set(places: &[u64], place: usize) -> bool {
    places[place / 64] & 1 << (place % 64) != 0
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
