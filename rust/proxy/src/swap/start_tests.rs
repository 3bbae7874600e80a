//! What is refused at the start of a job.

use super::*;

#[test]
fn unusable_credentials_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Credential)| {
        let mut credential = credential("NAMED", 1, OWN);
        change(&mut credential);
        let secret = credential.secret.expose_secret().to_owned();
        let error = Vault::new(vec![credential]).unwrap_err();
        assert!(error.to_string().contains("NAMED"), "{error}");
        assert!(secret.is_empty() || !format!("{error} {error:?}").contains(secret.trim()), "{error}");
        error
    };
    let name = || "NAMED".to_owned();
    let secret =
        |text: &'static str| move |credential: &mut Credential| credential.secret = SecretString::from(text);
    assert_eq!(refused(&secret("")), VaultError::EmptySecret(name()));
    for text in
        ["long-enough\n", "long\r\nx-evil: 1", "long\0enough", " long-enough", "lóng-enough", "long\tenough"]
    {
        assert_eq!(refused(&secret(text)), VaultError::UnsendableSecret(name()), "{text:?}");
    }
    assert_eq!(refused(&secret("short77")), VaultError::ShortSecret(name()));
    let long = |credential: &mut Credential| credential.secret = SecretString::from("x".repeat(9000));
    assert_eq!(refused(&long), VaultError::LongSecret(name()));
    for dummy in ["", "short77", "with\nbreak-in-it", "non-äscii-dummy"] {
        assert_eq!(
            refused(&|credential| credential.dummy = dummy.to_owned()),
            VaultError::UnusableDummy(name()),
            "{dummy:?}"
        );
    }
    let itself =
        |credential: &mut Credential| credential.dummy = credential.secret.expose_secret().to_owned();
    assert_eq!(refused(&itself), VaultError::DummyIsSecret(name()));
    let around =
        |credential: &mut Credential| credential.dummy = format!("x{}", credential.secret.expose_secret());
    assert_eq!(refused(&around), VaultError::DummyIsSecret(name()));
    let cookie = |credential: &mut Credential| {
        credential.places = vec![place("cookie:session")];
        credential.secret = SecretString::from("long;enough");
    };
    let expected = VaultError::UnfittingSecret { credential: name(), place: "cookie:session".to_owned() };
    assert_eq!(refused(&cookie), expected);
}

#[test]
fn dummies_that_cannot_be_told_apart_are_refused() {
    let pair = |change: &dyn Fn(&mut Credential, &mut Credential)| {
        let (mut one, mut two) = (credential("ONE", 1, OWN), credential("TWO", 2, OTHER));
        change(&mut one, &mut two);
        Vault::new(vec![one, two]).map(|_| ())
    };
    let confusable = Err(VaultError::ConfusableDummies("ONE".to_owned(), "TWO".to_owned()));
    assert_eq!(pair(&|_, _| {}), Ok(()));
    assert_eq!(pair(&|one, two| one.dummy = two.dummy.clone()), confusable);
    assert_eq!(pair(&|one, two| one.dummy = format!("{}x", two.dummy)), confusable);
    assert_eq!(pair(&|one, two| two.dummy = format!("x{}", one.dummy)), confusable);
    let leaks = Err(VaultError::DummyIsSecret("ONE".to_owned()));
    assert_eq!(pair(&|one, two| one.dummy = two.secret.expose_secret().to_owned()), leaks);
    // Two names for one secret are usual.
    assert_eq!(pair(&|one, two| one.secret = two.secret.clone()), Ok(()));
}

#[test]
fn two_secrets_for_one_host_and_place_are_refused() {
    let pair = |one: &[&str], two: &[&str], change: &dyn Fn(&mut Credential, &mut Credential)| {
        let (mut first, mut second) = (credential("ONE", 1, OWN), credential("TWO", 2, OWN));
        first.places = one.iter().map(|text| place(text)).collect();
        second.places = two.iter().map(|text| place(text)).collect();
        change(&mut first, &mut second);
        Vault::new(vec![first, second]).map(|_| ())
    };
    let same = |_: &mut Credential, _: &mut Credential| {};
    for (one, two, shared) in [
        (&["well-known"][..], &["well-known"][..], "well-known"),
        (&["header:x-key"], &["basic:user", "header:X-Key: Key {}"], "header:x-key"),
        (&["query:key"], &["query:KEY"], "query:key"),
        (&["cookie:a", "basic:password"], &["basic:password"], "basic:password"),
    ] {
        let expected = VaultError::SharedPlace {
            one: "ONE".to_owned(),
            other: "TWO".to_owned(),
            place: shared.to_owned(),
        };
        assert_eq!(pair(one, two, &same), Err(expected.clone()));
        // Not where they never meet, nor where there is nothing to confuse.
        assert_eq!(pair(one, two, &|one, _| one.hosts = vec![OTHER.parse().unwrap()]), Ok(()));
        assert_eq!(pair(one, two, &|one, two| one.secret = two.secret.clone()), Ok(()));
        let by_rules = |one: &mut Credential, two: &mut Credential| {
            (one.rules, two.rules) = (Some(vec![RuleId(0), RuleId(1)]), Some(vec![RuleId(2)]));
        };
        assert_eq!(pair(one, two, &by_rules), Ok(()));
        assert_eq!(pair(one, two, &|one, _| one.hosts = vec!["*.own.test".parse().unwrap()]), Err(expected));
    }
    for (one, two) in [
        (&["well-known", "header:dd-api-key"][..], &["well-known", "header:dd-application-key"][..]),
        (&["well-known"], &["query:key"]),
        (&["basic:user"], &["basic:password"]),
        (&["cookie:a"], &["cookie:A"]),
    ] {
        assert_eq!(pair(one, two, &same), Ok(()), "{one:?} {two:?}");
    }
}

#[test]
fn two_names_of_one_secret_are_renewed_one_after_the_other() {
    let (one, mut two) = (credential("ONE", 1, OWN), credential("TWO", 2, OWN));
    two.secret = one.secret.clone();
    let held = Held { secret: made_up(5000).into(), refresh: None, expires: None };
    let vault = Vault::new(vec![one, two]).unwrap();
    assert!(vault.renewed(0, &held).unwrap().renewed(1, &held).is_ok());
}
