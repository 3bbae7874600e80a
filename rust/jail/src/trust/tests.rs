use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use super::*;

fn ca(name: &str) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name.push(DnType::CommonName, name);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn contents<'a>(entries: &'a [Entry], path: &str) -> &'a [u8] {
    let found = entries.iter().find_map(|entry| match entry {
        Entry::File { target, contents, .. } if target == Path::new(path) => Some(contents.as_slice()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("there is no {path}"))
}

#[test]
fn every_place_has_the_jobs_ca_and_nothing_else() {
    let ca = ca("the job");
    let entries = files(&ca, false).unwrap();
    assert_eq!(contents(&entries, BUNDLE), ca.as_bytes());
    for entry in &entries {
        match entry {
            Entry::Symlink { target, to } => {
                let leads_to_ours = [BUNDLE, TRUSTSTORE].iter().any(|own| Path::new(own) == to);
                assert!(leads_to_ours, "{} leads to {}", target.display(), to.display());
            }
            Entry::File { mode, .. } => assert_eq!(*mode, 0o444),
            other => panic!("{other:?}"),
        }
    }
    for (name, value) in variables(false) {
        assert_eq!(value, BUNDLE, "{name}");
    }
    assert!(
        variables(true)
            .iter()
            .any(|(name, value)| *name == "JAVA_TOOL_OPTIONS" && value.contains(TRUSTSTORE))
    );
}

#[test]
fn the_systems_roots_come_from_the_first_bundle_that_exists() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    let missing = folder.path().join("missing.pem").display().to_string();
    let found = bundle.display().to_string();
    let error = system_roots(&[&missing, &found]).unwrap_err().to_string();
    assert!(error.contains(&missing) && error.contains("ca-certificates"), "{error}");
    std::fs::write(&bundle, "roots").unwrap();
    assert_eq!(system_roots(&[&missing, &found]).unwrap(), (bundle, "roots".to_owned()));
}

#[test]
fn a_text_without_certificates_is_an_error() {
    assert!(files("", false).is_err());
    assert!(files("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", false).is_err());
}

/// Two readers that are not ours, where this machine has them.
#[test]
fn others_read_the_truststore() {
    let pem = format!("{}{}", ca("one"), ca("two"));
    let entries = files(&pem, false).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.p12");
    std::fs::write(&store, contents(&entries, TRUSTSTORE)).unwrap();

    let mut keytool = Command::new("keytool");
    keytool.args(["-list", "-storetype", "PKCS12", "-keystore"]).arg(&store);
    // Without a password it is asked for one; an end of input is the answer.
    for password in [None, Some("changeit")] {
        let mut command = Command::new("keytool");
        command.args(keytool.get_args()).args(password.iter().flat_map(|password| ["-storepass", password]));
        match command.stdin(Stdio::null()).output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
                assert_eq!(text.matches("trustedCertEntry").count(), 2, "{text}");
            }
            Err(error) => crate::skip::report(&format!("in part: keytool: {error}")),
        }
    }
    let output = Command::new("openssl").args(["asn1parse", "-inform", "DER", "-in"]).arg(&store).output();
    match output {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => crate::skip::report(&format!("in part: openssl: {error}")),
    }
}
