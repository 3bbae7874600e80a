//! The examples of AWS's documentation (Signature Version 4 test suite; S3: authenticating requests), and what is
//! refused.
//!
//! A request of the documentation is what the job sends, its keys are the dummies. Signed again by keys of the test's
//! own, and once more by those of the documentation, it must be what it was.

use http::HeaderName;
use policy::HostPattern;
use secrecy::SecretString;

use super::super::{Asking, Credential, Held, Origin, Swapped, Vault};
use super::*;

const SUITE: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
const S3: (&str, &str) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
const OURS: (&str, &str) = ("AKIAMADEUPFORTHETEST", "a-secret-access-key-of-the-test-itself-00");
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    authority: Authority,
}

fn asked(method: &str, url: &str, lines: &[(&str, &str)]) -> Asked {
    let uri: Uri = url.parse().unwrap();
    let headers = lines
        .iter()
        .map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        })
        .collect();
    let authority = Authority::parse(uri.authority().unwrap().as_str(), Some(443)).unwrap();
    let uri = Uri::from(uri.path_and_query().unwrap().clone());
    Asked { method: method.parse().unwrap(), uri, headers, authority }
}

fn credential(name: &str, dummy: &str, secret: &str, place: &str) -> Credential {
    Credential {
        name: name.to_owned(),
        dummy: dummy.to_owned(),
        secret: SecretString::from(secret),
        hosts: vec![HostPattern::Any],
        rules: None,
        places: vec![place.parse().unwrap()],
        origin: Origin::Fixed,
        allow_foreign: false,
        redact: false,
    }
}

fn keys(dummies: (&str, &str), real: (&str, &str)) -> Vec<Credential> {
    vec![
        credential("ID", dummies.0, real.0, "aws:access-key-id"),
        credential("KEY", dummies.1, real.1, "aws:secret-access-key"),
    ]
}

fn send(credentials: Vec<Credential>, asked: &mut Asked, body: &[u8]) -> Result<Swapped, Refusal> {
    send_by(&Vault::new(credentials).unwrap(), asked, body)
}

fn send_by(vault: &Vault, asked: &mut Asked, body: &[u8]) -> Result<Swapped, Refusal> {
    let asking = Asking { method: &asked.method, authority: &asked.authority, rule: None, tls: true };
    let mut swapped = vault.outgoing(&asking, &mut asked.headers, &mut asked.uri)?;
    swapped.signing = match swapped.signing.take() {
        Some(Signing::Whole(resigning)) => {
            assert!(resigning.finish(&sha256(body), &mut asked.headers, &mut asked.uri)?.is_none());
            None
        }
        other => other,
    };
    Ok(swapped)
}

/// There and back; the request in between is another one, and holds nothing of what it was.
fn there_and_back(documented: (&str, &str), asked: &mut Asked, body: &[u8]) {
    let before = (asked.uri.clone(), asked.headers.clone());
    let swapped = send(keys(documented, OURS), asked, body).unwrap();
    assert_eq!(swapped.names, ["ID", "KEY"]);
    let text = format!(
        "{} {:?}",
        asked.uri,
        asked.headers.get("authorization").map(|value| value.to_str().unwrap())
    );
    assert!(text.contains(OURS.0) && !text.contains(documented.0), "{text}");
    send(keys(OURS, documented), asked, body).unwrap();
    let plain = |headers: &HeaderMap| {
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap().replace(", ", ",")))
            .collect::<Vec<_>>()
    };
    let sorted = |headers: &HeaderMap| {
        let mut lines = plain(headers);
        lines.sort();
        lines
    };
    assert_eq!((&asked.uri, sorted(&asked.headers)), (&before.0, sorted(&before.1)));
}

fn suite(names: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, \
         Signature={signature}"
    )
}

#[path = "presigned_tests.rs"]
mod presigned;

const DATE: (&str, &str) = ("x-amz-date", "20150830T123600Z");

#[test]
fn the_requests_of_the_test_suite_are_signed_as_documented() {
    let plain = "host;x-amz-date";
    for (method, target, more, names, signature, body) in [
        ("GET", "/", None, plain, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", ""),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            None,
            plain,
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            "",
        ),
        // `/ሴ`: escaped as it is sent, and once more where it is signed.
        (
            "GET",
            "/%E1%88%B4",
            None,
            plain,
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
            "",
        ),
        ("POST", "/", None, plain, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b", ""),
        (
            "POST",
            "/",
            Some(("content-type", "application/x-www-form-urlencoded")),
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            "Param1=value1",
        ),
    ] {
        let authorization = suite(names, signature);
        let mut lines = vec![DATE, ("authorization", authorization.as_str())];
        lines.extend(more);
        let url = format!("https://example.amazonaws.com{target}");
        there_and_back(SUITE, &mut asked(method, &url, &lines), body.as_bytes());
        // Another body than the one that was signed, another path, another key.
        let refused = |url: &str, body: &[u8], dummies| {
            send(keys(dummies, OURS), &mut asked(method, url, &lines), body).unwrap_err()
        };
        let expected = Refusal::with_hint(Reason::ForeignCredential, NOT_CHECKED);
        assert_eq!(refused(&url, b"another", SUITE), expected, "{target}");
        assert_eq!(refused("https://example.amazonaws.com/other", body.as_bytes(), SUITE), expected);
        assert_eq!(refused("https://other.amazonaws.com/", body.as_bytes(), SUITE), expected);
        assert_eq!(refused(&url, body.as_bytes(), (SUITE.0, "wJalrXUtnFEMI+another")), expected);
    }
}

#[test]
fn renewed_keys_sign() {
    let authorization =
        suite("host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    let lines = [DATE, ("authorization", authorization.as_str())];
    let mut asked = asked("GET", "https://example.amazonaws.com/", &lines);
    let later = ("AKIAMADEUPSOMEWHATLATER", "another-secret-access-key-of-the-test-00");
    let held = |secret: &str| Held { secret: SecretString::from(secret), refresh: None, expires: None };
    let vault = Vault::new(keys(SUITE, OURS)).unwrap();
    let vault = vault.renewed(0, &held(later.0)).unwrap().renewed(1, &held(later.1)).unwrap();
    send_by(&vault, &mut asked, b"").unwrap();
    send(keys(later, SUITE), &mut asked, b"").unwrap();
    assert_eq!(asked.headers["authorization"].to_str().unwrap(), authorization);
}

fn s3(names: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders={names},\
         Signature={signature}"
    )
}

const S3_DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");

#[test]
fn the_requests_of_s3_are_signed_as_documented() {
    let hash = ("x-amz-content-sha256", EMPTY);
    let plain = "host;x-amz-content-sha256;x-amz-date";
    for (method, target, more, names, signature) in [
        (
            "GET",
            "/test.txt",
            &[hash, ("range", "bytes=0-9")][..],
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
            ],
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/?lifecycle",
            &[hash],
            plain,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            &[hash],
            plain,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let authorization = s3(names, signature);
        let mut lines = vec![S3_DATE, ("authorization", authorization.as_str())];
        lines.extend(more);
        let url = format!("https://examplebucket.s3.amazonaws.com{target}");
        there_and_back(S3, &mut asked(method, &url, &lines), b"");
    }
}

#[test]
fn parts_of_objects_can_be_asked_for() {
    let redacted = |mut credentials: Vec<Credential>| {
        credentials.iter_mut().for_each(|credential| credential.redact = true);
        credentials
    };
    let authorization = s3(
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    let lines = [
        S3_DATE,
        ("x-amz-content-sha256", EMPTY),
        ("range", "bytes=0-9"),
        ("authorization", authorization.as_str()),
    ];
    let url = "https://examplebucket.s3.amazonaws.com/test.txt";
    let answered = |credentials: Vec<Credential>| {
        let mut request = asked("GET", url, &lines);
        let redactor = send(credentials, &mut request, b"").unwrap().redactor.unwrap();
        let mut answer = HeaderMap::new();
        answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        redactor.head(http::StatusCode::PARTIAL_CONTENT, &mut answer);
        (request.headers.contains_key(header::RANGE), answer[header::ACCEPT_RANGES] == "bytes")
    };
    assert_eq!(answered(redacted(keys(S3, OURS))), (true, true));
    // What could come back in halves is searched for in whole answers.
    let mut more = keys(S3, OURS);
    more.push(credential("T", "a-dummy-of-something-else", "a-token-of-something-else", "header:x-token"));
    assert_eq!(answered(redacted(more)), (false, false));
}

/// The documentation's upload of 65 KiB in chunks of 64 KiB.
fn upload(trailers: bool) -> (Asked, Vec<u8>) {
    let (word, names, seed) = match trailers {
        false => (
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
             x-amz-storage-class",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
        true => (
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;\
             x-amz-trailer",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        ),
    };
    let authorization = s3(names, seed);
    let mut lines = vec![
        S3_DATE,
        ("authorization", authorization.as_str()),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-content-sha256", word),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ];
    lines.push(if trailers {
        ("x-amz-trailer", "x-amz-checksum-crc32c")
    } else {
        ("content-length", "66824")
    });
    let asked = asked("PUT", "https://s3.amazonaws.com/examplebucket/chunkObject.txt", &lines);
    let chunk = |size: usize, signature: &str| {
        [format!("{size:x};chunk-signature={signature}\r\n").into_bytes(), vec![b'a'; size]].concat()
    };
    let [one, two, last] = match trailers {
        false => [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ],
        true => [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ],
    };
    let end = match trailers {
        false => "\r\n",
        true => {
            "x-amz-checksum-crc32c:sOO8/Q==\r\n\
             x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
        }
    };
    let body = [&chunk(65536, one)[..], b"\r\n", &chunk(1024, two), b"\r\n", &chunk(0, last), end.as_bytes()]
        .concat();
    (asked, body)
}

fn chunks(credentials: Vec<Credential>, asked: &mut Asked) -> Chunks {
    match send(credentials, asked, b"").unwrap().signing {
        Some(Signing::Chunks(chunks)) => *chunks,
        _ => panic!("no signed chunks"),
    }
}

fn fed(mut chunks: Chunks, body: &[u8], pieces: usize) -> Result<Vec<u8>, chunks::ChunkError> {
    let mut out = Vec::new();
    for piece in body.chunks(pieces) {
        out.extend(chunks.feed(piece)?);
    }
    chunks.finish().map(|()| out)
}

#[test]
fn chunks_are_signed_as_documented_however_they_come() {
    for trailers in [false, true] {
        for pieces in [1, 7, 4096, 65_000, 100_000] {
            let (mut asked, body) = upload(trailers);
            let ours = fed(chunks(keys(S3, OURS), &mut asked), &body, pieces).unwrap();
            assert_eq!(ours.len(), body.len());
            assert_ne!(ours, body);
            let back = fed(chunks(keys(OURS, S3), &mut asked), &ours, pieces).unwrap();
            assert!(back == body, "{trailers} {pieces}");
        }
    }
}

#[test]
fn chunks_that_the_job_did_not_sign_so_break_the_stream() {
    use chunks::ChunkError;
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let (mut asked, mut body) = upload(false);
        change(&mut body);
        fed(chunks(keys(S3, OURS), &mut asked), &body, 1000).unwrap_err()
    };
    assert_eq!(refused(&|body| body[200] = b'b'), ChunkError::Signature);
    assert_eq!(refused(&|body| body[30] ^= 1), ChunkError::Signature);
    assert_eq!(refused(&|body| body.truncate(66_000)), ChunkError::Truncated);
    assert_eq!(refused(&|body| body.truncate(body.len() - 1)), ChunkError::Truncated);
    assert_eq!(refused(&|body| body.push(b'x')), ChunkError::Malformed);
    assert_eq!(refused(&|body| body[0] = b'+'), ChunkError::Malformed);
    assert_eq!(refused(&|body| drop(body.splice(..5, *b"100001"))), ChunkError::TooLarge);
    assert_eq!(refused(&|body| *body = vec![b'1'; 1000]), ChunkError::TooLarge);
    assert_eq!(refused(&|body| drop(body.splice(5..6, *b":"))), ChunkError::Malformed);
}

#[test]
fn what_is_signed_otherwise_is_refused() {
    let good = s3("host;x-amz-content-sha256;x-amz-date", &"0".repeat(64));
    let ask = |authorization: &str, change: &dyn Fn(&mut Asked)| {
        let lines = [S3_DATE, ("x-amz-content-sha256", EMPTY), ("authorization", authorization)];
        let mut asked = asked("GET", "https://examplebucket.s3.amazonaws.com/?lifecycle", &lines);
        change(&mut asked);
        send(keys(S3, OURS), &mut asked, b"").map(|_| ()).unwrap_err()
    };
    let same = |_: &mut Asked| {};
    for wrong in [
        good.clone(),
        good.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"),
        good.replace("aws4_request", "aws5_request"),
        good.replace("20130524", "20130525"),
        good.replace("SignedHeaders=host;", "SignedHeaders="),
        good.replace("host;", "host;;"),
        good.replace("AKIAIOSFODNN7EXAMPLE", "AKIASOMEBODYELSE"),
        "AWS4-HMAC-SHA256".to_owned(),
        "Bearer AKIAIOSFODNN7EXAMPLE".to_owned(),
        "AWS AKIAIOSFODNN7EXAMPLE:c2lnbmF0dXJl".to_owned(),
    ] {
        assert_eq!(ask(&wrong, &same).reason, Reason::ForeignCredential, "{wrong}");
    }
    let asymmetric = good.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
    assert_eq!(ask(&asymmetric, &same).hint, Some(NOT_SUPPORTED));
    let twice = |asked: &mut Asked| {
        asked.headers.append("authorization", HeaderValue::from_static("x"));
    };
    assert_eq!(ask(&good, &twice).reason, Reason::ForeignCredential);
    let events = |asked: &mut Asked| {
        let word = HeaderValue::from_static("STREAMING-AWS4-HMAC-SHA256-EVENTS");
        asked.headers.insert("x-amz-content-sha256", word);
    };
    assert_eq!(ask(&good, &events).hint, Some(NOT_SUPPORTED));
}

#[test]
fn a_set_of_keys_is_complete_or_refused_at_the_start() {
    let refused = |credentials: Vec<Credential>| Vault::new(credentials).map(|_| ()).unwrap_err();
    let incomplete = VaultError::IncompleteKeys("aws".to_owned());
    let [id, key] = keys(S3, OURS).try_into().unwrap_or_else(|_| panic!("two keys"));
    assert_eq!(refused(vec![id.clone()]), incomplete);
    assert_eq!(refused(vec![key.clone()]), incomplete);
    let mut second = credential("ID2", "AKIAANOTHERDUMMY", "AKIAMADEUPFORTHETES2", "aws:access-key-id");
    second.hosts = vec!["elsewhere.test".parse().unwrap()];
    let mut first = id.clone();
    first.hosts = vec!["here.test".parse().unwrap()];
    assert_eq!(refused(vec![first, second.clone(), key.clone()]), incomplete);
    second.places = vec!["aws:access-key-id/other".parse().unwrap()];
    assert_eq!(
        refused(vec![id.clone(), key.clone(), second]),
        VaultError::IncompleteKeys("other".to_owned())
    );
    assert!(Vault::new(vec![key, id]).is_ok());
}
