//! Reads output with a parser of somebody else's, as a terminal does, and names what is not on the list.

use vte::{Params, Parser, Perform};

/// The sequences and characters in `output` that must not be there.
pub(super) fn unlisted(output: &[u8]) -> Vec<String> {
    let mut found = Found::default();
    Parser::new().advance(&mut found, output);
    let text = String::from_utf8_lossy(output);
    // The parser reads these away without a word.
    for introducer in ["\x1bX", "\x1b^", "\x1b_", "\x1bk"] {
        if text.contains(introducer) {
            found.0.push(format!("{introducer:?}"));
        }
    }
    // To a terminal that reads bytes, these are control characters wherever no character of UTF-8 holds them.
    if str::from_utf8(output).is_err()
        || text.chars().any(|character| ('\u{80}'..='\u{9f}').contains(&character))
    {
        found.0.push("control characters of eight bits".to_owned());
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn check(&mut self, is_listed: bool, what: impl FnOnce() -> String) {
        if !is_listed {
            self.0.push(what());
        }
    }
}

impl Perform for Found {
    fn execute(&mut self, byte: u8) {
        self.check(byte != 5, || "ENQ".to_owned());
    }

    fn hook(&mut self, _: &Params, intermediates: &[u8], ignore: bool, action: char) {
        self.check(intermediates.is_empty() && !ignore && action == 'q', || {
            format!("DCS {intermediates:?} {action}")
        });
    }

    fn osc_dispatch(&mut self, parameters: &[&[u8]], _: bool) {
        let listed =
            "0 1 2 4 5 7 8 9 10 11 12 17 19 22 104 105 110 111 112 117 119 133".split(' ').map(str::as_bytes);
        let number = *parameters.first().unwrap_or(&&b""[..]);
        self.check(listed.into_iter().any(|one| one == number), || format!("OSC {parameters:?}"));
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        let listed = match intermediates {
            b"" => &b"78DEHM=>c\\"[..],
            b"(" | b")" | b"*" | b"+" => b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ<=>",
            b"#" => b"34568",
            b"%" => b"G",
            b" " => b"F",
            _ => b"",
        };
        self.check(listed.contains(&byte), || format!("ESC {intermediates:?} {}", char::from(byte)));
    }

    fn csi_dispatch(&mut self, parameters: &Params, intermediates: &[u8], _: bool, action: char) {
        let listed = match intermediates {
            b"" => "@ABCDEFGHIJKLMPSTXZ`abcdefghlmnrstu",
            b"?" => "JKSchlmnrsu",
            b">" => "cmnqu",
            b"=" => "cu",
            b"<" => "u",
            b"$" => "prtvxz{",
            b"?$" => "p",
            b" " => "@Aq",
            b"'" => "}~",
            b"!" => "p",
            _ => "",
        };
        let numbers: Vec<u16> = parameters.iter().map(|parameter| parameter[0]).collect();
        let forbidden: &[u16] = match (intermediates, action) {
            (b"?", 'h' | 'l') => &[0, 2, 38, 40, 46, 1001, 1043],
            (b"", 'h' | 'l') => &[0, 2, 12],
            (b"", 't') => &[0, 1, 2, 8, 11, 13, 14, 18, 19, 20, 21],
            (b"", 'n') => &[0, 15],
            _ => &[],
        };
        // Of a window operation the first number says what it is.
        let counted = if action == 't' { &numbers[..1] } else { &numbers };
        let is_listed = listed.contains(action) && !counted.iter().any(|number| forbidden.contains(number));
        self.check(is_listed, || format!("CSI {intermediates:?} {numbers:?} {action}"));
    }
}
