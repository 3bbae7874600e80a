//! Standard output and standard error: every text of the program for people goes through here.

use std::io::{IsTerminal, Write};

use crate::failure::Failure;

/// The longest sentence, in characters.
const MAX_CHARS: usize = 8192;
/// The most lines of one message.
const MAX_LINES: usize = 200;

/// Prints a text to standard output. A reader that has gone (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::no_jail(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a sentence to standard error, as `jail: …`. Names in it may be a job's: no character of it acts on the terminal,
/// and its length is limited.
pub(crate) fn report(line: &str) {
    let line = escape_control_chars(&line.replace('\n', " "));
    let end = line.char_indices().nth(MAX_CHARS).map_or(line.len(), |(end, _)| end);
    print_error_line(&format!("jail: {}", line.get(..end).unwrap_or(&line)));
}

/// Prints the lines of a message in the same way.
pub(crate) fn report_lines(message: &str) {
    message.lines().take(MAX_LINES).for_each(report);
}

/// Prints a line to standard error, unless it is a terminal that took no output before. An error is ignored: a closed
/// standard error is no reason to stop.
pub(crate) fn print_error_line(line: &str) {
    if !sandbox::is_terminal_given_up() || !std::io::stderr().is_terminal() {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// Replaces the characters that act on a terminal: a job chooses its paths, and C1 controls (`\u{9b}` is `ESC [`) and marks
/// of direction can stand in one. They are written as in JSON, so that `--json` stays JSON.
pub(crate) fn escape_control_chars(line: &str) -> String {
    let acts = |character: char| {
        let marks =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        character != '\n' && (character.is_control() || marks)
    };
    line.chars().fold(String::with_capacity(line.len()), |mut shown, character| {
        if acts(character) {
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            shown.push(character);
        }
        shown
    })
}
