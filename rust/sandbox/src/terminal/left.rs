//! What a job leaves in force on the user's terminal: another screen, a scroll region, attributes, modes.

/// Modes that are switched off: keys of applications, reversed video, reports of the mouse, of the focus, of the colour
/// scheme and of the size, bracketed paste, and updates that wait for their end.
const MODES_OFF: &[u8] = b"\x1b[?1;5;9;1000;1002;1003;1004;1005;1006;1015;1016;2004;2026;2031;2048l";
/// The private modes that show the alternate screen.
const ALTERNATE: [&[u8]; 3] = [b"47", b"1047", b"1049"];

/// What was seen of the job's output.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Anything but text.
    is_changed: bool,
    /// Colours of the terminal itself.
    is_recoloured: bool,
    /// The alternate screen is shown.
    is_alternate: bool,
    /// Keys are reported in another form (kitty's, xterm's).
    has_other_keys: bool,
    /// What follows may be part of a link.
    has_link: bool,
    /// Positions count from the scroll region.
    has_origin: bool,
}

impl Left {
    /// Takes note of output, which holds sequences as a whole.
    pub(crate) fn note(&mut self, output: &[u8]) {
        const ESCAPE: u8 = 0x1b;
        const SHIFT_OUT: u8 = 0x0e;
        // A control character of eight bits is the second byte of a character, too; a reset too many is harmless.
        let acts = |byte: &u8| *byte == ESCAPE || *byte == SHIFT_OUT || (0x80..0xa0).contains(byte);
        self.is_changed |= output.iter().any(acts);
        let recolours =
            |window: &[u8]| matches!(window, [ESCAPE, b']', b'4' | b'5', b';'] | [ESCAPE, b']', b'1', _]);
        self.is_recoloured |= output.windows(4).any(recolours);
        self.has_link |= output.windows(4).any(|window| window == b"\x1b]8;");
        let reports_keys = |window: &[u8]| matches!(window, [ESCAPE, b'[', b'>' | b'=', b'0'..=b'9']);
        self.has_other_keys |= output.windows(4).any(reports_keys);
        let mut rest = output;
        while let Some(start) = rest.iter().position(|byte| *byte == b'?') {
            let before = rest.get(..start).unwrap_or_default();
            rest = rest.get(start + 1..).unwrap_or_default();
            if !before.ends_with(b"\x1b[") && !before.ends_with(b"\x9b") {
                continue;
            }
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
            let (modes, end) = rest.split_at_checked(length).unwrap_or_default();
            let is_set = match end.first() {
                Some(b'h') => true,
                Some(b'l') => false,
                _ => continue,
            };
            for mode in modes.split(|byte| *byte == b';') {
                if ALTERNATE.contains(&mode) {
                    self.is_alternate = is_set;
                }
                self.has_origin |= mode == b"6" && is_set;
            }
        }
    }

    /// What makes the screen an ordinary one again; nothing if the job has only written text.
    pub(crate) fn reset(&self) -> Vec<u8> {
        let mut reset = Vec::new();
        if !self.is_changed {
            return reset;
        }
        if self.is_alternate {
            // The cursor goes back to where it was on the main screen.
            reset.extend(b"\x1b[?1049l");
        }
        // A new scroll region moves the cursor: it is saved, and restored with the attributes that go next.
        reset.extend(b"\x1b7\x1b[r\x1b[?69l\x1b8");
        if self.has_origin {
            // It is saved and restored with the cursor, and switching it off moves the cursor to the top.
            reset.extend(b"\x1b[?6l\x1b[999;1H");
        }
        // Attributes, character sets, insertion, lines that end without a return, line wrap, repeated keys, the cursor, the keypad.
        reset.extend(b"\x1b[0m\x1b(B\x0f\x1b[4;20l\x1b[?7;8;25h\x1b>");
        if self.has_link {
            reset.extend(b"\x1b]8;;\x07");
        }
        reset.extend(MODES_OFF);
        if self.has_other_keys {
            reset.extend(b"\x1b[=0u\x1b[>4m");
        }
        if self.is_recoloured {
            reset.extend(b"\x1b]104\x07\x1b]110\x07\x1b]111\x07\x1b]112\x07");
        }
        reset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset_after(outputs: &[&[u8]]) -> String {
        let mut left = Left::default();
        outputs.iter().for_each(|output| left.note(output));
        String::from_utf8(left.reset()).unwrap()
    }

    #[test]
    fn text_needs_no_reset() {
        assert_eq!(reset_after(&[b"one\r\n", b"two? [?1049h\r\n"]), "");
    }

    #[test]
    fn attributes_and_regions_are_taken_back_without_leaving_the_screen() {
        let reset = reset_after(&[b"\x1b[8m", b"\x1b[23;24r"]);
        assert!(
            reset.contains("\x1b[0m") && reset.contains("\x1b[r") && !reset.contains("1049"),
            "{reset:?}"
        );
        // The region before the restored cursor, the attributes after it.
        assert!(reset.find("\x1b8") < reset.find("\x1b[0m"), "{reset:?}");
    }

    #[test]
    fn colours_of_the_terminal_are_taken_back() {
        assert!(reset_after(&[b"\x1b]11;#000000\x07"]).contains("\x1b]111\x07"));
        assert!(!reset_after(&[b"\x1b]0;title\x07"]).contains("\x1b]111"));
    }

    #[test]
    fn links_end_and_positions_count_from_the_corner() {
        assert!(reset_after(&[b"\x1b]8;;https://a.test\x07here"]).contains("\x1b]8;;\x07"));
        assert!(!reset_after(&[b"\x1b[1m"]).contains("]8;"));
        for set in [&b"\x1b[?6h"[..], b"\x1b[?25;6h"] {
            let reset = reset_after(&[set]);
            assert!(reset.find("\x1b8") < reset.find("\x1b[?6l"), "{reset:?}");
        }
        assert!(!reset_after(&[b"\x1b[?66h"]).contains("?6l"));
        let modes = reset_after(&[b"\x1b[20h\x1b[?8l"]);
        assert!(modes.contains("\x1b[4;20l") && modes.contains("\x1b[?7;8;25h"), "{modes:?}");
    }

    #[test]
    fn keys_are_reported_as_usual_again() {
        for set in [&b"\x1b[>1u"[..], b"\x1b[=5;1u", b"\x1b[>4;2m"] {
            assert!(reset_after(&[set]).ends_with("\x1b[=0u\x1b[>4m"), "{set:?}");
        }
        assert!(!reset_after(&[b"\x1b[?2004h"]).contains("u"));
    }

    #[test]
    fn the_alternate_screen_is_left_if_it_is_shown() {
        for shown in [&b"\x1b[?1049h"[..], b"\x1b[?25;1047h", b"\x1b[?1049l\x1b[?47h", b"\xc2\x9b?1049h"] {
            assert!(reset_after(&[shown]).starts_with("\x1b[?1049l"), "{shown:?}");
        }
        assert!(!reset_after(&[b"\x1b[?1049h", b"x\x1b[?1049l"]).contains("1049"));
    }
}
