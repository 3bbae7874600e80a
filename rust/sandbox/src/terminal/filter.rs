//! Filters a job's output: only sequences of a list reach the user's terminal.
//!
//! Colours, cursor, titles, links and the like pass. What makes a terminal *do* something beyond its window, or makes
//! it *type* text of the job's choosing as if the user had (CVE-2003-0063 and its many successors), does not: the
//! clipboard (OSC 52), reports of title, window and settings, media copy, the answerback, and every string for
//! programs in between (tmux, screen, kitty's file transfer). What the list does not name is dropped. Characters,
//! strings and sequences are held until they are whole, so that no border between two writes hides one; what passes is
//! valid UTF-8, so that no terminal sees the beginning of a sequence where this filter sees a part of a character.

mod sequence;

use sequence::{passes_control, passes_device, passes_escape, passes_system};

const BELL: u8 = 0x07;
const ENQUIRY: u8 = 0x05;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESCAPE: u8 = 0x1b;

/// Longer control sequences mean nothing to any terminal.
const LONGEST_CONTROL: usize = 256;
/// Titles and links fit; a picture in an OSC does not, and is dropped.
const LONGEST_STRING: usize = 16 * 1024;

/// Stands for bytes that are no character, as in every decoder of UTF-8.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// The state of the filter between two writes, with what is not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    state: State,
    /// The sequence under way with its introducer, or the bytes of a character so far.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// In a character of several bytes.
    Character,
    /// After ESC.
    Escape,
    /// After ESC [.
    Control,
    /// After ESC ] and the like; decided at its end.
    String,
    /// A picture (sixel): passed on while it comes, since it may be large.
    Picture,
    /// In a string, after ESC.
    StringEscape,
    /// A string that is too long to be any good.
    Overlong,
}

impl Filter {
    /// Appends what of `input` may be shown to `output`.
    pub(crate) fn pass(&mut self, input: &[u8], output: &mut Vec<u8>) {
        for &byte in input {
            self.take(byte, output);
        }
    }

    fn take(&mut self, byte: u8, output: &mut Vec<u8>) {
        match self.state {
            State::Ground => self.ground(byte, output),
            State::Character => self.character(byte, output),
            State::Escape => self.escape(byte, output),
            State::Control => self.control(byte, output),
            State::String | State::Overlong => match byte {
                BELL => self.end_string(&[BELL], output),
                ESCAPE => self.state = self.after_escape_in_string(),
                CANCEL | SUBSTITUTE => self.reset(),
                _ if self.state == State::Overlong => {}
                _ => self.hold_string(byte, output),
            },
            State::StringEscape => {
                if byte == b'\\' {
                    self.end_string(b"\x1b\\", output);
                } else {
                    // Terminals take any other ESC as the start of something new.
                    self.reset();
                    self.begin_escape();
                    self.escape(byte, output);
                }
            }
            State::Picture => match byte {
                ESCAPE => {
                    output.extend(b"\x1b\\");
                    self.held.clear();
                    self.state = State::StringEscape;
                }
                CANCEL | SUBSTITUTE => {
                    output.push(CANCEL);
                    self.reset();
                }
                b' '..=b'~' | b'\r' | b'\n' => output.push(byte),
                _ => {}
            },
        }
    }

    fn ground(&mut self, byte: u8, output: &mut Vec<u8>) {
        match byte {
            ESCAPE => self.begin_escape(),
            ENQUIRY => {}
            // A lone byte of this range is a control character to a terminal that does not speak UTF-8.
            0x80..=0x9f => {}
            0xc2..=0xf4 => self.hold(byte, State::Character),
            0xa0..=0xff => output.extend(REPLACEMENT),
            _ => output.push(byte),
        }
    }

    fn character(&mut self, byte: u8, output: &mut Vec<u8>) {
        self.held.push(byte);
        match str::from_utf8(&self.held) {
            Ok(character) => {
                // U+0080 to U+009F are the one-character forms of ESC [ and its like; no program needs them.
                if !character.starts_with(char::is_control) {
                    output.append(&mut self.held);
                }
                self.reset();
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => {
                self.reset();
                output.extend(REPLACEMENT);
                self.ground(byte, output);
            }
        }
    }

    /// Ends a picture that the job has left open: what comes next would be a part of it.
    pub(crate) fn finish(&mut self, output: &mut Vec<u8>) {
        if self.state == State::Picture {
            output.extend(b"\x1b\\");
        }
        self.reset();
    }

    fn begin_escape(&mut self) {
        self.held.clear();
        self.held.push(ESCAPE);
        self.state = State::Escape;
    }

    fn escape(&mut self, byte: u8, output: &mut Vec<u8>) {
        match byte {
            ESCAPE => self.begin_escape(),
            b'[' if self.held.len() == 1 => self.hold(byte, State::Control),
            // OSC, DCS, SOS, PM, APC, and screen's title.
            b']' | b'P' | b'X' | b'^' | b'_' | b'k' if self.held.len() == 1 => self.hold(byte, State::String),
            // The end of a string that is not there, or has been dropped.
            b'\\' if self.held.len() == 1 => self.reset(),
            b' '..=b'/' if self.held.len() < 4 => self.hold(byte, State::Escape),
            b'0'..=b'~' => {
                self.held.push(byte);
                if passes_escape(&self.held) {
                    output.append(&mut self.held);
                }
                self.reset();
            }
            _ => self.abandon(byte, output),
        }
    }

    fn control(&mut self, byte: u8, output: &mut Vec<u8>) {
        match byte {
            ESCAPE => self.begin_escape(),
            b' '..=b'?' if self.held.len() < LONGEST_CONTROL => self.held.push(byte),
            b'@'..=b'~' => {
                self.held.push(byte);
                if passes_control(&self.held) {
                    output.append(&mut self.held);
                }
                self.reset();
            }
            _ => self.abandon(byte, output),
        }
    }

    /// The sequence is broken: it goes, and the byte is looked at afresh.
    fn abandon(&mut self, byte: u8, output: &mut Vec<u8>) {
        self.reset();
        if !matches!(byte, CANCEL | SUBSTITUTE) {
            self.ground(byte, output);
        }
    }

    fn hold(&mut self, byte: u8, state: State) {
        self.held.push(byte);
        self.state = state;
    }

    fn hold_string(&mut self, byte: u8, output: &mut Vec<u8>) {
        self.held.push(byte);
        if self.held.len() > LONGEST_STRING {
            self.held.clear();
            self.state = State::Overlong;
        } else if byte == b'q' && passes_device(&self.held) {
            output.append(&mut self.held);
            self.state = State::Picture;
        }
    }

    fn after_escape_in_string(&mut self) -> State {
        if self.state == State::Overlong {
            self.held.clear();
        }
        State::StringEscape
    }

    fn end_string(&mut self, terminator: &[u8], output: &mut Vec<u8>) {
        if self.state != State::Overlong && passes_system(&self.held) {
            output.append(&mut self.held);
            output.extend(terminator);
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.held.clear();
        self.state = State::Ground;
    }
}

#[cfg(test)]
mod tests;
