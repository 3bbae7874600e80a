//! The list of sequences that pass: what editors, pagers, multiplexers, shells and agents draw with.

/// Whether `ESC … final` passes.
pub(super) fn passes_escape(sequence: &[u8]) -> bool {
    match sequence.get(1..).unwrap_or_default() {
        // Cursor and attributes saved and restored; line feeds both ways; tabulators; the keypad; a full reset.
        [b'7' | b'8' | b'D' | b'E' | b'H' | b'M' | b'=' | b'>' | b'c'] => true,
        // Character sets.
        [b'(' | b')' | b'*' | b'+', b'0'..=b'9' | b'A'..=b'Z' | b'<' | b'=' | b'>'] => true,
        // Lines of double size, a test picture.
        [b'#', b'3'..=b'6' | b'8'] => true,
        // UTF-8: without it what follows would be read in another way than it is here.
        [b'%', b'G'] => true,
        // Control characters of seven bits in answers.
        [b' ', b'F'] => true,
        _ => false,
    }
}

/// Whether `ESC [ … final` passes.
pub(super) fn passes_control(sequence: &[u8]) -> bool {
    let Some(Control { prefix, parameters, intermediates, last }) = Control::parse(sequence) else {
        return false;
    };
    let all = |is_listed: fn(u16) -> bool| numbers_of(parameters).all(|number| number.is_some_and(is_listed));
    match (prefix, intermediates, last) {
        // Cursor, erasing, inserting, deleting, scrolling, tabulators, repetition, attributes, margins; the first
        // question about the terminal's kind.
        (b"", b"", b'@'..=b'M' | b'P' | b'S' | b'X' | b'Z' | b'`'..=b'g' | b'm' | b'r' | b's' | b'u') => true,
        // With more parameters it starts mouse highlighting.
        (b"", b"", b'T') => numbers_of(parameters).count() == 1,
        (b"", b"", b'h' | b'l') => all(is_mode),
        // Whether it works, where the cursor is.
        (b"", b"", b'n') => all(|report| matches!(report, 5 | 6)),
        // Window operations resize, iconify and report title and position; only the stack of titles is harmless.
        (b"", b"", b't') => matches!(numbers_of(parameters).next(), Some(Some(22 | 23))),
        // Set, reset, saved and restored.
        (b"?", b"", b'h' | b'l' | b's' | b'r') => all(is_private_mode),
        // Where the cursor is; light or dark colours.
        (b"?", b"", b'n') => all(|report| matches!(report, 6 | 996)),
        // Selective erasing; the console's cursor; kitty's keyboard; modified keys; the size of pictures.
        (b"?", b"", b'J' | b'K' | b'c' | b'u' | b'm' | b'S') => true,
        // The terminal's kind and version, modified keys, kitty's keyboard.
        (b">", b"", b'c' | b'q' | b'm' | b'n' | b'u') => true,
        (b"=", b"", b'c' | b'u') | (b"<", b"", b'u') => true,
        // Whether a mode is set.
        (b"" | b"?", b"$", b'p') => true,
        // Rectangles: attributes changed and reversed, copied, filled, erased.
        (b"", b"$", b'r' | b't' | b'v' | b'x' | b'z' | b'{') => true,
        // Scrolling sideways, the shape of the cursor.
        (b"", b" ", b'@' | b'A' | b'q') => true,
        // Columns inserted and deleted.
        (b"", b"'", b'}' | b'~') => true,
        // A soft reset.
        (b"", b"!", b'p') => true,
        _ => false,
    }
}

/// Returns true for the modes of `ESC [ … h` that programs set. Not among them: the locked keyboard (2).
fn is_mode(mode: u16) -> bool {
    // Insertion, new line, the ordinary cursor (screen, tmux).
    matches!(mode, 4 | 20 | 34)
}

/// Returns true for the modes of `ESC [ ? … h` that programs set. Not among them: another language (2, 38), 132 columns on
/// demand (40), logging (46), mouse highlighting, in which the terminal waits for the program (1001), raising the
/// window (1043).
fn is_private_mode(mode: u16) -> bool {
    match mode {
        // Keys of applications; columns, smooth scrolling, reverse video, origin, line wrap, key repeat.
        1 | 3..=8 => true,
        // The cursor: blinking, visible; wrapping backwards; the keypad; margins left and right.
        12 | 25 | 45 | 66 | 69 => true,
        // The mouse, the focus, scrolling on the alternate screen.
        9 | 1000 | 1002..=1007 | 1015 | 1016 => true,
        // The Meta key.
        1034..=1036 | 1039 => true,
        // The alternate screen.
        47 | 1047..=1049 => true,
        // Pictures.
        80 | 1070 | 8452 => true,
        // Bracketed paste, synchronized output, grapheme clusters, reports of the colour scheme and of the size.
        2004 | 2026 | 2027 | 2031 | 2048 => true,
        _ => false,
    }
}

/// The parts of `ESC [ … final`.
struct Control<'a> {
    /// One of `<`, `=`, `>`, `?`, or nothing.
    prefix: &'a [u8],
    parameters: &'a [u8],
    intermediates: &'a [u8],
    last: u8,
}

impl Control<'_> {
    /// Returns nothing if the parts are not in their order: terminals differ in what they make of that.
    fn parse(sequence: &[u8]) -> Option<Control<'_>> {
        let (&last, body) = sequence.strip_prefix(b"\x1b[")?.split_last()?;
        let (prefix, body) = body.split_at(usize::from(matches!(body.first(), Some(b'<'..=b'?'))));
        let is_parameter = |byte: &u8| matches!(byte, b'0'..=b';');
        let (parameters, intermediates) =
            body.split_at(body.iter().take_while(|byte| is_parameter(byte)).count());
        let is_whole = intermediates.iter().all(|byte| matches!(byte, b' '..=b'/'));
        is_whole.then_some(Control { prefix, parameters, intermediates, last })
    }
}

/// The parameters as numbers; `None` is one that is missing, has parts of its own or is too large.
fn numbers_of(parameters: &[u8]) -> impl Iterator<Item = Option<u16>> {
    parameters.split(|&byte| byte == b';').map(|number| str::from_utf8(number).ok()?.parse().ok())
}

/// Whether a string that began as `ESC ]` passes; those that began otherwise never do.
pub(super) fn passes_system(sequence: &[u8]) -> bool {
    let Some(body) = sequence.strip_prefix(b"\x1b]") else { return false };
    // A control character in it would end the string for some terminals, and what follows would be read as new.
    let Ok(text) = str::from_utf8(body) else { return false };
    if text.chars().any(char::is_control) {
        return false;
    }
    let (number, rest) = text.split_once(';').unwrap_or((text, ""));
    match number {
        // Titles; colours, whose reports are numbers; links; shapes of the pointer; marks of shells.
        "0" | "1" | "2" | "4" | "5" | "8" | "10" | "11" | "12" | "17" | "19" | "22" => true,
        "104" | "105" | "110" | "111" | "112" | "117" | "119" | "133" => true,
        // Where the shell is.
        "7" => rest.starts_with("file:"),
        // Progress, and notifications; with another number ConEmu runs macros.
        "9" => rest.starts_with("4;") || !rest.starts_with(|first: char| first.is_ascii_digit()),
        _ => false,
    }
}

/// Whether what began as `ESC P`, up to its final byte, is a picture.
pub(super) fn passes_device(sequence: &[u8]) -> bool {
    let Some(body) = sequence.strip_prefix(b"\x1bP") else { return false };
    match body.split_last() {
        Some((b'q', parameters)) => parameters.iter().all(|byte| byte.is_ascii_digit() || *byte == b';'),
        _ => false,
    }
}
