//! The explicit proxy's password, where its socket is open to others than the job.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::PROXY_AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};

/// Whether a request may pass: no password is asked for, or it is said (`Basic`, any user name).
pub(super) fn is_said(password: Option<&SecretString>, headers: &HeaderMap) -> bool {
    let Some(password) = password else { return true };
    let mut said = headers.get_all(PROXY_AUTHORIZATION).iter();
    match (said.next().and_then(|value| of_basic(value.as_bytes())), said.next()) {
        (Some(said), None) => is_same(&said, password.expose_secret().as_bytes()),
        _ => false,
    }
}

fn of_basic(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair.get(colon + 1..)?.to_vec())
}

/// In a time that does not tell where they differ.
fn is_same(said: &[u8], password: &[u8]) -> bool {
    let differs = said.iter().zip(password).fold(0, |differs, (said, right)| differs | (said ^ right));
    said.len() == password.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(PROXY_AUTHORIZATION, value.parse().unwrap());
        is_said(Some(&SecretString::from("right:one")), &headers)
    }

    #[test]
    fn only_the_password_itself_will_do() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert!(says(&basic("job:right:one")));
        assert!(says(&basic(":right:one").replace("Basic", "bASIC")));
        for wrong in ["job:right:onf", "job:right:on", "job:right:one ", "job:", "right:one", ""] {
            assert!(!says(&basic(wrong)), "{wrong}");
        }
        for wrong in ["Bearer right:one", "Basic", "Basic ?", "right:one", ""] {
            assert!(!says(wrong), "{wrong}");
        }
        let mut twice = HeaderMap::new();
        twice.append(PROXY_AUTHORIZATION, basic("job:right:one").parse().unwrap());
        twice.append(PROXY_AUTHORIZATION, basic("job:right:one").parse().unwrap());
        assert!(!is_said(Some(&SecretString::from("right:one")), &twice));
        assert!(!is_said(Some(&SecretString::from("right:one")), &HeaderMap::new()));
        assert!(is_said(None, &HeaderMap::new()));
    }
}
