use super::*;

#[test]
fn a_place_reads_as_it_is_written() {
    for text in [
        "well-known",
        "header:x-figma-token",
        "header:authorization: Token token={}",
        "header:x-key: {}",
        "basic:user",
        "basic:password",
        "query:access_token",
        "cookie:session",
        "aws:access-key-id",
        "aws:secret-access-key/backup",
        "aws:session-token",
    ] {
        let place: CredentialLocation = text.parse().unwrap();
        assert_eq!(place.to_string(), text);
        assert_eq!(
            serde_json::from_value::<CredentialLocation>(serde_json::to_value(&place).unwrap()).unwrap(),
            place
        );
    }
    assert_eq!(
        "header:X-Key".parse::<CredentialLocation>().unwrap(),
        CredentialLocation::header("x-key").unwrap()
    );
}

#[test]
fn what_is_no_place_is_refused() {
    for text in [
        "",
        "body",
        "header",
        "header:",
        "header:x y",
        "header:x: token",
        "header:x: {} {}",
        "header:x: {}\n",
        "header:x: {}\u{e9}",
        "header:Host",
        "header:content-length",
        "header:Cookie",
        "basic:",
        "basic:both",
        "query:",
        "query:a=b",
        "query:a%20b",
        "cookie:",
        "cookie:a;b",
        "cookie:a=b",
        "aws:",
        "aws:key",
        "Header:x",
    ] {
        // Space around a template is none of it.
        let read = text.parse::<CredentialLocation>();
        assert!(read.is_err() || text.ends_with('\n'), "{text:?}");
    }
}

#[test]
fn a_template_is_the_whole_value() {
    let CredentialLocation::Header { template: Some(template), .. } =
        "header:authorization: Token token=\"{}\"".parse().unwrap()
    else {
        panic!("not a template")
    };
    assert_eq!(template.credential_in("Token token=\"abc\""), Some("abc"));
    assert_eq!(template.credential_in("TOKEN token=\"abc\""), Some("abc"));
    for value in
        ["", "Token", "Token token=abc", "Bearer abc", "Token token=\"abc\" x", " Token token=\"abc\""]
    {
        assert_eq!(template.credential_in(value), None, "{value}");
    }
    assert_eq!(template.with("x"), "Token token=\"x\"");
}

#[test]
fn a_value_that_would_break_its_place_does_not_fit() {
    let fits = |place: &str, value: &str| place.parse::<CredentialLocation>().unwrap().can_carry(value);
    assert!(fits("cookie:a", "abc==") && !fits("cookie:a", "a;b") && !fits("cookie:a", "a b"));
    assert!(fits("basic:password", "a:b") && !fits("basic:user", "a:b"));
    assert!(fits("well-known", "a b;c"));
}
