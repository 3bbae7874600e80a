//! The sandbox profile language: strings and patterns that say exactly one path.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::backend::Error;

/// A path as a string of the language.
pub(super) fn path(path: &Path) -> Result<String, Error> {
    let odd = || Error::OddPath { path: path.to_owned() };
    // The system's own paths are UTF-8 without exception; a profile in another encoding could mean another file.
    let text = path.to_str().ok_or_else(odd)?;
    if !path.is_absolute() || text.contains('\0') { Err(odd()) } else { Ok(string(text)) }
}

/// A string: two characters have a meaning in it, everything else (newlines, parentheses) stands for itself.
pub(super) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// Patterns, as strings, of `relative` below `directory` in any case: the one for itself, the one for what is in it.
///
/// The file system takes `.GIT` for `.git`. What lies above is what the kernel has looked up, in one spelling.
pub(super) fn any_case(directory: &Path, relative: &Path) -> Result<[String; 2], Error> {
    let odd = || Error::OddPath { path: directory.join(relative) };
    let mut pattern = String::from("^");
    escape(&mut pattern, directory.to_str().ok_or_else(odd)?);
    for part in relative.components() {
        pattern.push('/');
        escape_any_case(&mut pattern, part.as_os_str().to_str().ok_or_else(odd)?);
    }
    if pattern.contains('\0') || relative.as_os_str().as_bytes().is_empty() {
        return Err(odd());
    }
    Ok([string(&format!("{pattern}$")), string(&format!("{pattern}/"))])
}

fn escape(pattern: &mut String, text: &str) {
    for character in text.chars() {
        if is_special(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
}

/// Beyond ASCII the file system has tables for case and composition of its own: there any name is meant, which denies
/// more than was asked for and never less.
fn escape_any_case(pattern: &mut String, text: &str) {
    if !text.is_ascii() {
        pattern.push_str("[^/]+");
        return;
    }
    for character in text.chars() {
        if character.is_ascii_alphabetic() {
            let _ = write!(pattern, "[{}{}]", character.to_ascii_lowercase(), character.to_ascii_uppercase());
        } else {
            escape(pattern, character.encode_utf8(&mut [0; 4]));
        }
    }
}

fn is_special(character: char) -> bool {
    matches!(character, '.' | '\\' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$')
}
