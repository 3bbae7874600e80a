//! URLs that are signed themselves.

use super::*;

const PRESIGNED: &str = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
     &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z\
     &X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
     &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

/// The signature of such a URL, made by the signer itself with the documentation's keys.
fn presigned(asked: &Asked) -> String {
    let (host, names) = (asked.authority.host.to_string(), ["host".to_owned()]);
    let signed = Signed {
        method: "GET",
        uri: &asked.uri,
        headers: &asked.headers,
        names: &names,
        host: &host,
        host_and_port: &host,
    };
    let canonical = Reading::all(&asked.uri, false)[0].of(&signed);
    let hash = sha256(format!("{canonical}UNSIGNED-PAYLOAD").as_bytes());
    let scope = "20130524/us-east-1/s3/aws4_request";
    SigningKey::derive(S3.1, scope).sign(&format!("{ALGORITHM}\n20130524T000000Z\n{scope}\n{hash}"))
}

#[test]
fn a_presigned_url_is_signed_as_documented() {
    there_and_back(S3, &mut asked("GET", PRESIGNED, &[]), b"");
    let refused = |url: &str, lines: &[(&str, &str)]| {
        send(keys(S3, OURS), &mut asked("GET", url, lines), b"").unwrap_err().reason
    };
    for url in [
        PRESIGNED.replace("86400", "86401"),
        PRESIGNED.replace("test.txt", "other.txt"),
        PRESIGNED.replace("X-Amz-Signature=aeee", "X-Amz-Signature=beee"),
        PRESIGNED.replace("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7ANOTHER"),
        PRESIGNED.replace("&X-Amz-Date=20130524T000000Z", ""),
        format!("{PRESIGNED}&X-Amz-Credential=x%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"),
        "https://examplebucket.s3.amazonaws.com/test.txt?AWSAccessKeyId=AKIAI&Signature=x&Expires=1"
            .to_owned(),
        "https://examplebucket.s3.amazonaws.com/test.txt?x-amz-credential=AKIAI".to_owned(),
    ] {
        assert_eq!(refused(&url, &[]), Reason::ForeignCredential, "{url}");
    }
    let authorization = s3("host", "0");
    assert_eq!(refused(PRESIGNED, &[("authorization", &authorization)]), Reason::ForeignCredential);
}

#[test]
fn a_parameter_of_the_signature_is_there_once_however_it_is_written() {
    // The job has all it needs to sign such a URL with its dummies.
    let signed = |more: &str| {
        let (base, _) = PRESIGNED.split_once("&X-Amz-Signature=").unwrap();
        let signature = presigned(&asked("GET", &format!("{base}{more}"), &[]));
        let url = format!("{base}{more}&X-Amz-Signature={signature}");
        send(keys(S3, OURS), &mut asked("GET", &url, &[]), b"")
    };
    assert!(signed("").is_ok() && signed("&x-id=GetObject").is_ok());
    for twin in ["X%2DAmz-Credential=x", "x-amz-credential=x", "X-Amz-%53ignature=x", "X%2dAmz-Date=x"] {
        let refused = signed(&format!("&{twin}")).expect_err(twin);
        assert_eq!(refused.reason, Reason::ForeignCredential, "{twin}");
    }
}

#[test]
fn a_session_token_goes_with_its_keys() {
    let set = |dummies: (&str, &str), real: (&str, &str), token: (&str, &str)| {
        let mut set = keys(dummies, real);
        set.push(credential("TOKEN", token.0, token.1, "aws:session-token"));
        set
    };
    let (dummy, real) = ("a-dummy-session-token", "the/real+session=token");
    // The round trip is what counts.
    let mut url = format!("{PRESIGNED}&X-Amz-Security-Token={dummy}");
    let signature = presigned(&asked("GET", &url, &[]));
    url = url.replace("aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", &signature);
    let mut request = asked("GET", &url, &[]);
    let before = request.uri.clone();
    let swapped = send(set(S3, OURS, (dummy, real)), &mut request, b"").unwrap();
    assert_eq!(swapped.names, ["ID", "KEY", "TOKEN"]);
    assert!(request.uri.query().unwrap().contains("X-Amz-Security-Token=the%2Freal%2Bsession%3Dtoken"));
    send(set(OURS, S3, (real, dummy)), &mut request, b"").unwrap();
    assert_eq!(request.uri, before);
    // Somebody else's token, or one where none is declared.
    let refused = |credentials| send(credentials, &mut asked("GET", &url, &[]), b"").unwrap_err().reason;
    assert_eq!(refused(set(S3, OURS, ("another-dummy-token", real))), Reason::ForeignCredential);
    assert_eq!(refused(keys(S3, OURS)), Reason::ForeignCredential);
}

#[test]
fn a_rule_that_does_not_let_the_key_out_lets_no_signature_out() {
    let mut by_rule = keys(S3, OURS);
    by_rule[1].rules = Some(vec![policy::RuleId(7)]);
    assert!(send(by_rule, &mut asked("GET", PRESIGNED, &[]), b"").is_err());
    let vault = Vault::new(keys(S3, OURS)).unwrap();
    let mut request = asked("GET", PRESIGNED, &[]);
    let asking = Asking { method: &request.method, authority: &request.authority, rule: None, tls: false };
    let refused = vault.outgoing(&asking, &mut request.headers, &mut request.uri).unwrap_err();
    assert_eq!(refused.reason, Reason::StrayCredential);
}
