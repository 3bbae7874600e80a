//! What of a job's output may act on the user's terminal.
//!
//! Colours, cursor, titles, links and the like pass. What makes a terminal *do* something beyond its window, or makes
//! it *type* text of the job's choosing as if the user had (CVE-2003-0063 and its many successors), does not: the
//! clipboard (OSC 52), reports of title, window and settings, media copy, the answerback, and every string for
//! programs in between (tmux, screen, kitty's file transfer). Strings and sequences are held until they are whole, so
//! that no border between two writes hides one.

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

/// Holds what is not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    state: State,
    /// The sequence under way, with its introducer.
    held: Vec<u8>,
    /// Bytes still to come of a character of several bytes.
    continuation: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After the first byte of a two-byte control character (U+0080 to U+009F begin with 0xC2).
    Control2,
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
            State::Control2 => {
                self.state = State::Ground;
                // U+0080 to U+009F are the one-character forms of ESC [ and its like; no program needs them.
                if (0xa0..=0xbf).contains(&byte) {
                    output.extend([0xc2, byte]);
                } else if !(0x80..=0x9f).contains(&byte) {
                    self.ground(byte, output);
                }
            }
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
        if self.continuation > 0 && (0x80..=0xbf).contains(&byte) {
            self.continuation -= 1;
            output.push(byte);
            return;
        }
        self.continuation = 0;
        match byte {
            ESCAPE => self.begin_escape(),
            ENQUIRY => {}
            0xc2 => self.state = State::Control2,
            0xc3..=0xdf => self.continue_with(1, byte, output),
            0xe0..=0xef => self.continue_with(2, byte, output),
            0xf0..=0xf4 => self.continue_with(3, byte, output),
            // A lone byte of this range is a control character to a terminal that does not speak UTF-8.
            0x80..=0x9f => {}
            _ => output.push(byte),
        }
    }

    fn continue_with(&mut self, bytes: u8, byte: u8, output: &mut Vec<u8>) {
        self.continuation = bytes;
        output.push(byte);
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
