use std::collections::HashSet;

use super::*;

fn make(real: &SecretString) -> Result<String, DummyError> {
    Dummies::OfJob.make("TOKEN", real)
}

/// A dummy of `real`, and what every dummy must be.
fn dummy(real: &str) -> String {
    let dummy = make(&SecretString::from(real)).unwrap();
    assert_ne!(dummy, real);
    assert!(!dummy.contains(real) && !real.contains(&dummy));
    assert!(dummy.bytes().all(|byte| byte.is_ascii_graphic()), "{dummy}");
    dummy
}

fn made_of(allowed: &str, text: &str) -> bool {
    text.chars().all(|character| allowed.contains(character))
}

#[test]
fn known_beginnings_and_the_length_stay() {
    for prefix in PREFIXES.iter().filter(|prefix| **prefix != "eyJ") {
        let real = format!("{prefix}{}", "aB3".repeat(30));
        let dummy = dummy(&real);
        assert!(dummy.starts_with(prefix), "{dummy}");
        assert_eq!(dummy.len(), real.len());
        assert!(dummy.ends_with(LONG_MARKER), "{dummy}");
    }
}

#[test]
fn no_beginning_hides_behind_a_shorter_one() {
    for (position, prefix) in PREFIXES.iter().enumerate() {
        let hidden = PREFIXES[..position].iter().find(|earlier| prefix.starts_with(**earlier));
        assert_eq!(hidden, None, "{prefix}");
    }
}

#[test]
fn the_kind_of_characters_stays() {
    let digits = "0123456789";
    for (real, allowed) in [
        ("8123456789012345678901234567890123456789", digits),
        ("0123456789abcdef0123456789abcdef01234567", "0123456789abcdef"),
        ("0123456789ABCDEF0123456789ABCDEF01234567", "0123456789ABCDEF"),
        ("0123456789ABCDXZ0123456789ABCDXZ01234567", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ("01234567-9ab_def0123456789abcXYZ01234567", &(String::from("-_") + ALPHANUMERIC)),
        ("0123456789abcdef0123456789abcXYZ01234567", ALPHANUMERIC),
    ] {
        let dummy = dummy(real);
        assert!(made_of(allowed, &dummy), "{dummy}");
        assert_eq!(dummy.len(), real.len());
    }
    let padded = dummy("abc+/def0123456789abcXYZ01234567012345678A==");
    assert!(
        padded.ends_with("==") && made_of(&(String::from("+/") + ALPHANUMERIC), padded.trim_end_matches('='))
    );
    let uuid = dummy("12345678-1234-1234-1234-1234567890ab");
    assert!(is_uuid(&uuid), "{uuid}");
}

const ALPHANUMERIC: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

#[test]
fn a_short_token_has_a_dummy_that_cannot_be_guessed() {
    assert_eq!(dummy("hunter").len(), LEAST_RANDOM);
    assert_eq!(dummy("sk-a-hunter").len(), "sk-".len() + LEAST_RANDOM);
    // Kept, it would be the whole secret.
    assert_eq!(dummy("github_pat_").len(), LEAST_RANDOM);
    // Fewer kinds of characters: more of them.
    assert_eq!(dummy("123456").len(), 39);
}

#[test]
fn no_two_are_alike() {
    let real =
        SecretString::from("sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-AbCdEfGhIjKlMnOpQrStUvWxYz");
    let all: HashSet<String> = (0..200).map(|_| make(&real).unwrap()).collect();
    assert_eq!(all.len(), 200);
    // Every place of the random part varies: nothing of it is taken from the real one.
    assert!(all.iter().all(|dummy| dummy.ends_with(LONG_MARKER)));
    for place in "sk-ant-api03-".len()..real.expose_secret().len() - LONG_MARKER.len() {
        let kinds: HashSet<u8> = all.iter().map(|dummy| dummy.as_bytes()[place]).collect();
        assert!(kinds.len() > 20, "place {place} has {} kinds of characters", kinds.len());
    }
}

#[test]
fn a_jwt_stays_one_that_clients_can_read() {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let claims = r#"{"sub":"u-1","email":"me@example.com","exp":4102444800,"iat":1700000000}"#;
    let real =
        format!("{}.{}.{}", part(r#"{"alg":"RS256","kid":"k1"}"#), part(claims), "Sig-natur_e".repeat(20));
    let dummy = dummy(&real);
    assert!(is_jwt(&dummy), "{dummy}");
    let claims = claims_of(dummy.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(claims["exp"], 4_102_444_800_u64);
    assert!(!claims.contains_key("email") && claims["sub"] == "dummy");
    assert_eq!(dummy.rsplit('.').next().unwrap().len(), 220);
}

#[test]
fn random_characters_are_evenly_spread() {
    let text = random(Alphabet::Alphanumeric, 62 * 2000, &mut Bytes::Random).unwrap();
    for character in ALPHANUMERIC.chars() {
        let count = text.matches(character).count();
        // 2000 expected, with a deviation of 45.
        assert!((1700..2300).contains(&count), "{character}: {count}");
    }
}

#[test]
fn a_home_has_the_same_dummies_each_time_and_no_other_home_has_them() {
    let real = |text: &str| SecretString::from(text.to_owned());
    let token = real(&format!("ghp_{}", "aB3".repeat(12)));
    let (home, other) = (Dummies::OfHome([1; 32]), Dummies::OfHome([2; 32]));
    let dummy = home.make("T", &token).unwrap();
    assert_eq!(home.make("T", &token).unwrap(), dummy);
    assert_ne!(other.make("T", &token).unwrap(), dummy);
    assert_ne!(home.make("U", &token).unwrap(), dummy);
    // A renewed token of the same shape has the same dummy.
    assert_eq!(home.make("T", &real(&format!("ghp_{}", "Zx9".repeat(12)))).unwrap(), dummy);
    assert_ne!(Dummies::OfJob.make("T", &token).unwrap(), Dummies::OfJob.make("T", &token).unwrap());
    // It is not taken for the real one where that happens to be the first choice.
    let again = home.make("T", &real(&dummy)).unwrap();
    assert!(again != dummy && again == home.make("T", &real(&dummy)).unwrap());
    let all: HashSet<String> =
        (0..200_u8).map(|seed| Dummies::OfHome([seed; 32]).make("T", &token).unwrap()).collect();
    assert_eq!(all.len(), 200);
}
