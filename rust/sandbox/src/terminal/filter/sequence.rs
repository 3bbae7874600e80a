//! Which whole sequences pass.

/// Whether `ESC … final` passes. Without UTF-8 what follows would be read in another way than it is here: bytes within
/// characters are control characters then.
pub(super) fn passes_escape(sequence: &[u8]) -> bool {
    !sequence.starts_with(b"\x1b%") || sequence == b"\x1b%G"
}

/// Whether `ESC [ … final` passes.
pub(super) fn passes_control(sequence: &[u8]) -> bool {
    let Some((&last, body)) = sequence.get(2..).and_then(<[u8]>::split_last) else { return false };
    let intermediates = body.iter().copied().filter(|byte| (b' '..=b'/').contains(byte)).collect::<Vec<u8>>();
    match (intermediates.as_slice(), last) {
        // Window operations resize, iconify and report title and position; only the stack of titles is harmless.
        (b"", b't') => matches!(first_parameter(body), b"22" | b"23"),
        // Media copy prints.
        (b"", b'i') => false,
        // Checksums and reports of the screen's content, presentation and macros.
        (b"*", _) | (b"$", b'w' | b'u') | (b"&", b'u' | b'w' | b'x') => false,
        // Terminal parameters (DECREQTPARM).
        (b"", b'x') => false,
        _ => true,
    }
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

fn first_parameter(body: &[u8]) -> &[u8] {
    body.split(|&byte| byte == b';').next().unwrap_or_default()
}
