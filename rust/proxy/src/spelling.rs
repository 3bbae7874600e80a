//! The names of headers and parameters as servers normalise them: one place, so that what is a slot, an override or a header
//! of ours is so under each of its spellings.

/// The name of a header as CGI and its heirs read it: letters and digits, in one case; whatever else is one dash.
pub(crate) fn header_key(name: &str) -> String {
    name.chars().map(|character| plain(character).unwrap_or('-')).collect()
}

/// The decoded name of a parameter as PHP and its like read it: without white space in front, up to a zero byte, `.`, space
/// and `[` as `_`; in one case, without brackets behind it.
pub(crate) fn parameter_key(name: &str) -> String {
    let name = name.trim_start_matches(|character: char| character.is_whitespace() || character.is_control());
    let name = name.split('\0').next().unwrap_or_default();
    let key: String = name.chars().map(|character| plain(character).unwrap_or('_')).collect();
    key.trim_end_matches('_').to_owned()
}

pub(crate) const METHOD_PARAMETERS: [&str; 2] = ["_method", "_httpmethod"];

fn plain(character: char) -> Option<char> {
    character.is_ascii_alphanumeric().then(|| character.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_header_have_one_key() {
        for spelling in ["x-api-key", "X_Api_Key", "x.api.key", "x!api!key", "x~api-key"] {
            assert_eq!(header_key(spelling), "x-api-key", "{spelling}");
        }
        assert_ne!(header_key("xapikey"), "x-api-key");
    }

    #[test]
    fn spellings_of_a_parameter_have_one_key() {
        for spelling in [
            "access_token",
            "Access.Token",
            " access token",
            "\taccess_token",
            "access[token",
            "access[token]",
            "access_token[]",
            "access_token\0x",
            "access-token",
        ] {
            assert_eq!(parameter_key(spelling), "access_token", "{spelling:?}");
        }
        assert_eq!(parameter_key("$httpHeaders"), "_httpheaders");
        assert_eq!(parameter_key("_method"), "_method");
        assert_ne!(parameter_key("method"), "_method");
    }
}
