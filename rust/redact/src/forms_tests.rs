use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::*;

fn has(forms: &[Form], secret: &str, dummy: &str) -> bool {
    forms.iter().any(|form| form.secret == secret.as_bytes() && form.dummy == dummy.as_bytes())
}

#[test]
fn spellings_of_software() {
    let forms = forms(r#"ab"c/d+e&f=g"#, r#"rs"t/u+v&w=x"#);
    for (secret, dummy) in [
        (r#"ab"c/d+e&f=g"#, r#"rs"t/u+v&w=x"#),
        // URLs
        ("ab%22c%2Fd%2Be%26f%3Dg", "rs%22t%2Fu%2Bv%26w%3Dx"),
        ("ab%22c%2fd%2be%26f%3dg", "rs%22t%2fu%2bv%26w%3dx"),
        ("ab%22c/d+e&f=g", "rs%22t/u+v&w=x"),
        ("ab%2522c%252Fd%252Be%2526f%253Dg", "rs%2522t%252Fu%252Bv%2526w%253Dx"),
        ("%61%62%22%63%2F%64%2B%65%26%66%3D%67", "%72%73%22%74%2F%75%2B%76%26%77%3D%78"),
        // JSON
        (r#"ab\"c/d+e&f=g"#, r#"rs\"t/u+v&w=x"#),
        (r#"ab\"c\/d+e&f=g"#, r#"rs\"t\/u+v&w=x"#),
        (r#"ab\"c/d+e\u0026f=g"#, r#"rs\"t/u+v\u0026w=x"#),
        (r#"ab\"c/d+e\u0026f\u003dg"#, r#"rs\"t/u+v\u0026w\u003dx"#),
        (r#"ab\u0022c\/d+e\u0026f=g"#, r#"rs\u0022t\/u+v\u0026w=x"#),
        (r#"ab\u0022c/d\u002Be\u0026f=g"#, r#"rs\u0022t/u\u002Bv\u0026w=x"#),
        (r#"ab\\\"c/d+e&f=g"#, r#"rs\\\"t/u+v&w=x"#),
        (r#"ab\u0022c\u002fd\u002be\u0026f\u003dg"#, r#"rs\u0022t\u002fu\u002bv\u0026w\u003dx"#),
        // HTML
        ("ab&quot;c/d+e&amp;f=g", "rs&quot;t/u+v&amp;w=x"),
        ("ab&#34;c/d+e&amp;f=g", "rs&#34;t/u+v&amp;w=x"),
    ] {
        assert!(has(&forms, secret, dummy), "{secret}");
    }
}

#[test]
fn base64_at_every_alignment_and_in_basic_credentials() {
    // `?` and `~` make `/` and `+`.
    let (secret, dummy) = ("tok?~?~?~Qm7Zr2Xv", "tok?~?~?~aaaaBBBB");
    let forms = forms(secret, dummy);
    for before in ["", "a", "ab", "abc", "user:", "us:", "u:", ":"] {
        for after in ["", "z", "zz", ":", ":x"] {
            for engine in [&STANDARD, &URL_SAFE] {
                let text = engine.encode(format!("{before}{secret}{after}"));
                let longest = forms
                    .iter()
                    .filter_map(|form| Some((text.find(std::str::from_utf8(&form.secret).ok()?)?, form)))
                    .min_by_key(|(at, form)| (*at, std::cmp::Reverse(form.secret.len())));
                let (at, form) = longest.unwrap_or_else(|| panic!("{before:?} {after:?} {text}"));
                let swapped = format!(
                    "{}{}{}",
                    &text[..at],
                    String::from_utf8_lossy(&form.dummy),
                    &text[at + form.secret.len()..]
                );
                let back = String::from_utf8(engine.decode(&swapped).unwrap()).unwrap();
                // All but the last character, whose bits may be shared with what follows.
                let clean = format!("{before}{}", &dummy[..dummy.len() - 1]);
                assert!(back.starts_with(&clean), "{before:?} {after:?} {back}");
                if after != "z" && after != "zz" {
                    assert_eq!(back, format!("{before}{dummy}{after}"));
                }
            }
        }
    }
}

#[test]
fn utf16_in_both_byte_orders() {
    let forms = forms("secret-token", "dummy--token");
    let wide =
        |text: &str, order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    for order in [u16::to_le_bytes, u16::to_be_bytes] {
        let text = wide("secret-token", order);
        assert!(forms.iter().any(|form| text.windows(form.secret.len()).any(|window| window == form.secret)));
    }
}

#[test]
fn fits() {
    assert_eq!(fit(b"dummy", 3), b"dum");
    assert_eq!(fit(b"dummy", 8), b"dummyxxx");
}
