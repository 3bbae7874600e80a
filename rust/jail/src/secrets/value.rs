//! From the bytes of a source to a secret that may stand in a header.

use redact::MIN_SECRET_BYTES;
use secrecy::SecretString;
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::{Bytes, Miss};

/// The secret in `bytes`: all of them, or the string that `pointer` names in their JSON.
pub(super) fn secret(bytes: Bytes, pointer: Option<&str>) -> Result<SecretString, Miss> {
    let text = match pointer {
        Some(pointer) => string_at(&bytes, pointer)?,
        None => Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()),
    };
    let text = text.strip_suffix('\n').map_or(&**text, |line| line.strip_suffix('\r').unwrap_or(line));
    check(text, pointer.is_some())?;
    Ok(SecretString::from(text))
}

fn string_at(bytes: &[u8], pointer: &str) -> Result<Zeroizing<String>, Miss> {
    let mut json: Value = serde_json::from_slice(bytes).map_err(|error| {
        // The error's own text may quote what it found.
        let place = format!("line {}, column {}", error.line(), error.column());
        Miss::broken(format!("it is not JSON ({place})"), format!("leave out #{pointer}, or repair it"))
    })?;
    let found = match json.pointer_mut(pointer) {
        Some(Value::String(text)) => Ok(Zeroizing::new(std::mem::take(text))),
        Some(Value::Null) | None => Err(Miss::broken(
            format!("its JSON has nothing at {pointer}"),
            format!("it has {}", shape(&json)),
        )),
        Some(_) => Err(Miss::broken(
            format!("its JSON has no string at {pointer}"),
            "point at the string that is the secret",
        )),
    };
    wipe(&mut json);
    found
}

/// The pointers that would work, without any value.
fn shape(json: &Value) -> String {
    fn walk(json: &Value, path: &str, found: &mut Vec<String>) {
        match json {
            Value::String(_) => found.push(path.to_owned()),
            Value::Object(members) => {
                for (name, member) in members {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    walk(member, &format!("{path}/{name}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(json, "", &mut found);
    found.truncate(8);
    if found.is_empty() { "no strings".to_owned() } else { format!("strings at {}", found.join(", ")) }
}

pub(super) fn wipe(json: &mut Value) {
    match json {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        _ => {}
    }
}

fn check(text: &str, from_json: bool) -> Result<(), Miss> {
    if text.is_empty() {
        return Err(Miss::broken("it is empty", "store the secret again"));
    }
    if text.contains(['\r', '\n']) {
        let cure =
            "a token is one line; store it again, or name the part with #/json/pointer if this is JSON";
        return Err(Miss::broken("the secret has several lines", cure));
    }
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(Miss::broken(
            "the secret holds bytes that no HTTP header may carry",
            "a token is printable ASCII; store it again",
        ));
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(Miss::broken("the secret starts or ends with a space", "store it again without"));
    }
    if text.len() < MIN_SECRET_BYTES {
        return Err(Miss::broken(
            format!("the secret has only {} characters", text.len()),
            format!(
                "{MIN_SECRET_BYTES} is the least: shorter ones cannot be told from ordinary text in answers"
            ),
        ));
    }
    // Whoever forgets the pointer would send a whole login file to the upstream.
    if !from_json && text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return Err(Miss::broken("it holds a JSON object, not a token", "add the pointer: #/json/pointer"));
    }
    Ok(())
}
