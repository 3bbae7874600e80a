use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderName, StatusCode};
use secrecy::SecretString;

use super::*;

const OWN: &str = "api.own.test";
const OTHER: &str = "api.other.test";

/// A text that nobody has as a token, different for each seed.
fn made_up(seed: u64) -> String {
    let letters = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(letters[(state >> 33) as usize % letters.len()])
    };
    (0..32).map(next).collect()
}

struct Job {
    vault: Vault,
    dummy: String,
    secret: String,
    /// Of the credential of the other host.
    other: String,
}

fn credential(name: &str, seed: u64, host: &str) -> Credential {
    Credential {
        name: name.to_owned(),
        dummy: format!("tok-{}", made_up(seed)),
        secret: SecretString::from(format!("tok-{}", made_up(seed + 1000))),
        hosts: vec![host.parse().unwrap()],
        rules: None,
        places: vec![CredentialLocation::WellKnown],
        origin: Origin::Fixed,
        allow_foreign: false,
        redact: true,
    }
}

fn asking(authority: &Authority, rule: Option<RuleId>, tls: bool) -> Asking<'_> {
    Asking { method: &Method::GET, authority, rule, tls }
}

fn place(text: &str) -> CredentialLocation {
    text.parse().unwrap()
}

impl Job {
    fn new() -> Job {
        Job::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Credential)) -> Job {
        let mut own = credential("OWN", 1, OWN);
        own.places.extend([place("header:X-Own-Token"), place("query:key")]);
        change(&mut own);
        let other = credential("OTHER", 2, OTHER);
        Job {
            dummy: own.dummy.clone(),
            secret: own.secret.expose_secret().to_owned(),
            other: other.dummy.clone(),
            vault: Vault::new(vec![own, other]).unwrap(),
        }
    }

    /// `D` = the dummy, `S` = the secret, `O` = the other host's dummy, `F` = a key from elsewhere.
    fn fill(&self, template: &str) -> String {
        let foreign = made_up(99);
        template
            .replace("{D}", &self.dummy)
            .replace("{S}", &self.secret)
            .replace("{O}", &self.other)
            .replace("{F}", &foreign)
    }

    fn basic(&self, template: &str) -> String {
        format!("Basic {}", STANDARD.encode(self.fill(template)))
    }

    fn ask(&self, url: &str, lines: &[(&str, &str)]) -> Result<(HeaderMap, Uri, Swapped), Reason> {
        let mut uri: Uri = self.fill(url).parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(self.fill(value).as_bytes()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        let tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap().to_owned();
        let authority = Authority::parse(&host, Some(443)).unwrap();
        let swapped = self
            .vault
            .outgoing(&asking(&authority, Some(RuleId(0)), tls), &mut headers, &mut uri)
            .map_err(|refusal| refusal.reason)?;
        Ok((headers, uri, swapped))
    }

    fn refused(&self, url: &str, lines: &[(&str, &str)]) -> Reason {
        match self.ask(url, lines) {
            Err(reason) => reason,
            Ok(_) => panic!("{url} {lines:?} was not refused"),
        }
    }
}

#[path = "start_tests.rs"]
mod start;

#[path = "locations_tests.rs"]
mod locations;

const URL: &str = "https://api.own.test/v1?a=b";

#[test]
fn a_credential_of_a_rule_goes_by_that_rule_only() {
    let by_rule = |rules: &[usize]| {
        let rules = rules.iter().map(|&rule| RuleId(rule)).collect();
        Job::with(|own| own.rules = Some(rules))
    };
    let slot = [("authorization", "Bearer {D}")];
    assert!(by_rule(&[3, 0]).ask(URL, &slot).is_ok());
    assert_eq!(by_rule(&[3]).refused(URL, &slot), Reason::StrayCredential);
    assert_eq!(by_rule(&[3]).refused(URL, &[("authorization", "Bearer {F}")]), Reason::ForeignCredential);
}

#[test]
fn equal_lines_of_a_slot_go_out_as_one() {
    let job = Job::with(|_| {});
    let (headers, ..) =
        job.ask(URL, &[("authorization", "Bearer {D}"), ("authorization", "Bearer {D}")]).unwrap();
    let sent: Vec<&HeaderValue> = headers.get_all("authorization").iter().collect();
    assert_eq!(sent, [&format!("Bearer {}", job.secret)[..]]);
    for second in ["Bearer {D} ", "bearer {D}", "{D}", "Bearer {F}", ""] {
        let lines = [("authorization", "Bearer {D}"), ("authorization", second)];
        assert_eq!(job.refused(URL, &lines), Reason::ForeignCredential, "{second}");
    }
    let foreign = [("authorization", "Bearer {F}"), ("authorization", "Bearer {F}")];
    assert_eq!(job.refused(URL, &foreign), Reason::ForeignCredential);
}

#[test]
fn every_slot_gets_the_secret() {
    let job = Job::new();
    for (name, value, expected) in [
        ("authorization", "Bearer {D}", "Bearer {S}"),
        ("authorization", "bearer {D}", "bearer {S}"),
        ("authorization", "token {D}", "token {S}"),
        ("authorization", "Bearer   {D}", "Bearer {S}"),
        ("authorization", "{D}", "{S}"),
        ("x-api-key", "{D}", "{S}"),
        ("X-Goog-Api-Key", "{D}", "{S}"),
        ("api-key", "{D}", "{S}"),
        ("private-token", "{D}", "{S}"),
        ("x-own-token", "{D}", "{S}"),
        ("x-own-token", "Key {D}", "Key {S}"),
    ] {
        let (headers, _, swapped) = job.ask(URL, &[(name, value), ("x-more", "stays")]).unwrap();
        assert_eq!(headers[name], job.fill(expected), "{name}: {value}");
        assert!(headers[name].is_sensitive());
        assert_eq!(headers["x-more"], "stays");
        assert_eq!(swapped.names, ["OWN"]);
        assert!(swapped.redactor.is_some());
    }
}

#[test]
fn basic_credentials_get_the_secret() {
    let job = Job::new();
    for (before, after) in [
        ("user:{D}", "user:{S}"),
        (":{D}", ":{S}"),
        ("someone@own.test:{D}", "someone@own.test:{S}"),
        ("{D}:", "{S}:"),
        ("{D}:x-oauth-basic", "{S}:x-oauth-basic"),
        ("{D}:{D}", "{S}:{S}"),
    ] {
        let (headers, ..) = job.ask(URL, &[("authorization", &job.basic(before))]).unwrap();
        assert_eq!(headers["authorization"], job.basic(after), "{before}");
        let unpadded = format!("basic {}", STANDARD_NO_PAD.encode(job.fill(before)));
        let (headers, ..) = job.ask(URL, &[("authorization", &unpadded)]).unwrap();
        assert_eq!(headers["authorization"], job.basic(after).replace("Basic", "basic"));
    }
}

#[test]
fn a_declared_parameter_gets_the_secret() {
    let job = Job::with(|own| own.secret = SecretString::from("a+b/c=d&e f%g"));
    let (_, uri, swapped) = job.ask("https://api.own.test/v1/x?a=b%20c&key={D}&z", &[]).unwrap();
    assert_eq!(uri, "https://api.own.test/v1/x?a=b%20c&key=a%2Bb%2Fc%3Dd%26e%20f%25g&z");
    assert_eq!(swapped.names, ["OWN"]);
    // The dummy percent-encoded is the dummy.
    let escaped = job.dummy.replace('-', "%2D");
    let (_, uri, _) = job.ask(&format!("https://api.own.test/?key={escaped}"), &[]).unwrap();
    assert_eq!(uri, "https://api.own.test/?key=a%2Bb%2Fc%3Dd%26e%20f%25g");
    // Origin form, as in requests over TLS.
    let mut uri: Uri = format!("/v1?key={}", job.dummy).parse().unwrap();
    let authority = Authority::parse(OWN, Some(443)).unwrap();
    job.vault.outgoing(&asking(&authority, None, true), &mut HeaderMap::new(), &mut uri).unwrap();
    assert_eq!(uri, "/v1?key=a%2Bb%2Fc%3Dd%26e%20f%25g");
}

#[test]
fn elsewhere_the_own_dummy_stays_a_dummy() {
    let job = Job::new();
    let lines =
        [("cookie", "session={D}"), ("referer", "https://api.own.test/?key={D}"), ("x-note", "Bearer {D}")];
    let (headers, uri, swapped) = job.ask("https://api.own.test/{D}?note={D}", &lines).unwrap();
    for (name, value) in lines {
        assert_eq!(headers[name], job.fill(value));
    }
    assert_eq!(uri, job.fill("https://api.own.test/{D}?note={D}").as_str());
    assert!(swapped.names.is_empty());
    assert!(swapped.redactor.is_some(), "the host may have the secret from an earlier request");
}

#[test]
fn a_stray_dummy_is_refused_in_any_place_and_spelling() {
    let job = Job::new();
    let encoded = STANDARD.encode(&job.dummy);
    let escaped: String = job.dummy.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let twice = escaped.replace('%', "%25");
    let mixed = job.dummy.replacen('k', "%6b", 1);
    let cases: [(&str, &str, &str); 17] = [
        ("https://api.other.test/", "authorization", "Bearer {D}"),
        ("https://api.other.test/", "x-api-key", "{D}"),
        ("https://api.other.test/", "cookie", "a=b; session={D}"),
        ("https://api.other.test/", "referer", "https://api.own.test/?key={D}"),
        ("https://api.other.test/", "x-anything", "before{D}after"),
        ("https://api.other.test/", "x-anything", &encoded),
        ("https://api.other.test/", "x-anything", &escaped),
        ("https://api.other.test/", "x-anything", &twice),
        ("https://api.other.test/", "authorization", &job.basic("user:{D}")),
        ("https://api.other.test/", "authorization", &job.basic("{D}:")),
        ("https://api.other.test/?q={D}", "x-anything", ""),
        ("https://api.other.test/a/{D}/b", "x-anything", ""),
        (&format!("https://api.other.test/?q={escaped}"), "x-anything", ""),
        (&format!("https://api.other.test/?q={twice}"), "x-anything", ""),
        (&format!("https://api.other.test/?q={mixed}"), "x-anything", ""),
        ("https://user:{D}@api.other.test/", "x-anything", ""),
        // Nor to a host without any credential, nor another credential's to a host with one.
        ("https://api.third.test/?q={D}", "x-anything", ""),
    ];
    for (url, name, value) in cases {
        assert_eq!(job.refused(url, &[(name, value)]), Reason::StrayCredential, "{url} {name}: {value}");
    }
    assert_eq!(job.refused(URL, &[("x-api-key", "{O}")]), Reason::StrayCredential);
    // The control: the same requests without the dummy.
    job.ask("https://api.other.test/?q=x", &[("cookie", "a=b"), ("referer", "https://api.own.test/")])
        .unwrap();
    job.ask("https://api.third.test/?q=x", &[("authorization", "Bearer {F}")]).unwrap();
}

#[test]
fn no_secret_without_tls() {
    let job = Job::new();
    for (name, value) in
        [("authorization", "Bearer {D}"), ("x-api-key", "{D}"), ("authorization", &*job.basic("user:{D}"))]
    {
        assert_eq!(job.refused("http://api.own.test/", &[(name, value)]), Reason::StrayCredential);
    }
    assert_eq!(job.refused("http://api.own.test/?key={D}", &[]), Reason::StrayCredential);
    assert_eq!(job.refused("http://api.own.test/", &[("x-api-key", "{F}")]), Reason::ForeignCredential);
    job.ask("http://api.own.test/?q=x", &[("x-note", "{D}")]).unwrap();
}

#[test]
fn a_foreign_credential_is_refused_in_every_slot() {
    let job = Job::new();
    let cases: &[(&str, &str)] = &[
        ("authorization", "Bearer {F}"),
        ("authorization", "{F}"),
        ("x-api-key", "{F}"),
        ("x-goog-api-key", "{F}"),
        ("api-key", "{F}"),
        ("private-token", "{F}"),
        ("x-own-token", "{F}"),
        // Not exactly the dummy.
        ("authorization", ""),
        ("authorization", "Bearer"),
        ("authorization", "Bearer {D}x"),
        ("authorization", "Bearer x{D}"),
        ("authorization", "Bearer {D} {F}"),
        ("authorization", "Bearer {D}, Bearer {F}"),
        ("authorization", "Bearer {D},{F}"),
        ("authorization", "Bearer\t{D}"),
        ("authorization", "Bearer token={D}"),
        ("authorization", "Digest username=\"{D}\""),
        ("authorization", "Bearer {D}\u{a0}"),
        ("x-api-key", "{D}, {F}"),
        ("x-api-key", ""),
        ("authorization", "Basic {D}"),
        ("authorization", "Basic ???"),
        ("authorization", &job.basic("{F}:{F}")),
        ("authorization", &job.basic("{D}:{F}")),
        ("authorization", &job.basic("{D}")),
        ("authorization", &job.basic("user:x{D}")),
        ("authorization", &job.basic("user:{D}:{F}")),
        // Spelled so that a server may take it for a slot.
        ("x_api_key", "{D}"),
        ("x_api_key", "{F}"),
        ("x_own_token", "{F}"),
        // A slot that the next hop is told to drop.
        ("connection", "close, Authorization"),
    ];
    for (name, value) in cases {
        assert_eq!(job.refused(URL, &[(name, value)]), Reason::ForeignCredential, "{name}: {value}");
    }
    let lines = [("authorization", "Bearer {D}"), ("x-api-key", "{F}")];
    assert_eq!(job.refused(URL, &lines), Reason::ForeignCredential);
    assert_eq!(job.refused("https://user:{F}@api.own.test/", &[]), Reason::ForeignCredential);
    assert_eq!(job.refused("https://api.third.test@api.own.test/", &[]), Reason::ForeignCredential);
}

#[test]
fn a_foreign_key_in_a_declared_parameter_is_refused() {
    let job = Job::new();
    for query in [
        "key={F}",
        "key=",
        "key",
        "a=b&key={F}",
        "key={D}&key={D}",
        "key={D}&key={F}",
        "key={F}&key={D}",
        "KEY={F}",
        "KEY={D}",
        "k%65y={F}",
        "key={D}x",
        "a=b;key={F}",
        "key={D};key={F}",
        "key={D}&Key={F}",
    ] {
        let url = format!("https://api.own.test/?{query}");
        assert_eq!(job.refused(&url, &[]), Reason::ForeignCredential, "{query}");
    }
    job.ask("https://api.own.test/?keys={F}&monkey={F}&=&&", &[]).unwrap();
}

#[test]
fn foreign_values_pass_where_they_are_allowed() {
    let job = Job::with(|own| own.allow_foreign = true);
    for (name, value) in [("authorization", "Bearer {F}"), ("x-api-key", ""), ("x-own-token", "{F}")] {
        let (headers, _, swapped) = job.ask(URL, &[(name, value)]).unwrap();
        assert_eq!(headers[name], job.fill(value));
        assert!(swapped.names.is_empty());
    }
    let (_, uri, _) = job.ask("https://api.own.test/?key={F}", &[]).unwrap();
    assert_eq!(uri, job.fill("https://api.own.test/?key={F}").as_str());
    let (headers, ..) = job.ask(URL, &[("authorization", "Bearer {D}")]).unwrap();
    assert_eq!(headers["authorization"], job.fill("Bearer {S}"));
    // Still nothing ambiguous with a dummy in it.
    let lines = [("authorization", "Bearer {D}"), ("authorization", "Bearer {F}")];
    assert_eq!(job.refused(URL, &lines), Reason::ForeignCredential);
    assert_eq!(job.refused(URL, &[("x-api-key", "{D}, {F}")]), Reason::ForeignCredential);
}

#[test]
fn one_credential_that_forbids_foreign_values_decides() {
    let mut lax = credential("LAX", 1, OWN);
    lax.allow_foreign = true;
    lax.places.push(place("header:x-lax"));
    let strict = credential("STRICT", 2, OWN);
    let dummies = [lax.dummy.clone(), strict.dummy.clone()];
    let secrets = [&lax, &strict].map(|credential| credential.secret.expose_secret().to_owned());
    let vault = Vault::new(vec![lax, strict]).unwrap();
    let authority = Authority::parse(OWN, Some(443)).unwrap();
    let ask = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        vault
            .outgoing(&asking(&authority, None, true), &mut headers, &mut Uri::from_static("/"))
            .map(|_| headers)
    };
    assert_eq!(ask("x-api-key", "elsewhere").unwrap_err().reason, Reason::ForeignCredential);
    ask("x-lax", "elsewhere").unwrap();
    for (dummy, secret) in dummies.iter().zip(&secrets) {
        assert_eq!(ask("x-api-key", dummy).unwrap()["x-api-key"], *secret);
    }
    let user_and_password = format!("Basic {}", STANDARD.encode(dummies.join(":")));
    let swapped = format!("Basic {}", STANDARD.encode(secrets.join(":")));
    assert_eq!(ask("authorization", &user_and_password).unwrap()["authorization"], swapped);
}

#[test]
fn proxy_credentials_stay_here() {
    let job = Job::new();
    for url in [URL, "https://api.third.test/", "http://api.third.test/"] {
        let (headers, ..) = job.ask(url, &[("proxy-authorization", "Basic {F}")]).unwrap();
        assert!(headers.is_empty() || !headers.contains_key("proxy-authorization"));
    }
}

#[test]
fn only_hosts_with_a_credential_are_asked_for_plain_answers() {
    let lines = [("accept-encoding", "gzip"), ("range", "bytes=1-")];
    let job = Job::new();
    let (headers, _, swapped) = job.ask(URL, &lines).unwrap();
    assert_eq!((headers.len(), &headers["accept-encoding"]), (1, &HeaderValue::from_static("identity")));
    assert!(swapped.redactor.is_some());
    let (headers, _, swapped) = job.ask("https://api.third.test/", &lines).unwrap();
    assert_eq!(headers.len(), 2);
    assert!(swapped.redactor.is_none());
    let job = Job::with(|own| own.redact = false);
    let (headers, _, swapped) = job.ask(URL, &lines).unwrap();
    assert_eq!(headers.len(), 2);
    assert!(swapped.redactor.is_none());
}

#[test]
fn what_comes_back_is_the_dummy() {
    let job = Job::new();
    let (_, _, swapped) = job.ask(URL, &[("x-api-key", "{D}")]).unwrap();
    let mut head = HeaderMap::new();
    head.insert("x-echo", HeaderValue::from_str(&job.secret).unwrap());
    swapped.redactor.unwrap().head(StatusCode::OK, &mut head);
    assert_eq!(head["x-echo"], job.dummy);
}

#[test]
fn a_renewed_secret_goes_out_and_old_and_new_come_back_as_the_dummy() {
    let mut job = Job::new();
    let held = |secret: &str| Held { secret: secret.to_owned().into(), refresh: None, expires: None };
    let first = job.secret.clone();
    job.vault = job.vault.renewed(0, &held(&made_up(5000))).unwrap();
    job.secret = made_up(5000);
    let (headers, _, swapped) = job.ask(URL, &[("x-api-key", "{D}")]).unwrap();
    assert_eq!(headers["x-api-key"], job.secret);
    assert!(swapped.redactor.is_some());
    for secret in [&first, &job.secret] {
        let mut head = HeaderMap::new();
        head.insert("x-echo", HeaderValue::from_str(secret).unwrap());
        let redactor = job.ask(URL, &[]).unwrap().2.redactor.unwrap();
        redactor.head(StatusCode::OK, &mut head);
        assert_eq!(head["x-echo"], job.dummy);
    }
    // The old one is no credential any more, and what cannot be one does not become one.
    assert_eq!(job.refused(URL, &[("x-api-key", &first)]), Reason::ForeignCredential);
    assert!(job.vault.renewed(0, &held("two\nlines-of-it")).is_err());
    assert!(job.vault.renewed(0, &held(&job.dummy)).is_err());
    let refresh = made_up(77);
    // However often it is renewed, memory has a bound.
    for seed in 6000..6100 {
        let held = Held { refresh: Some(refresh.clone().into()), ..held(&made_up(seed)) };
        job.vault = job.vault.renewed(0, &held).unwrap();
    }
    assert_eq!(job.vault.credentials[0].past.len(), PAST);
}

#[test]
fn needles_are_made_once_per_set_of_credentials() {
    let job = Job::new();
    for _ in 0..3 {
        job.ask(URL, &[]).unwrap();
        job.ask("https://api.other.test/", &[]).unwrap();
    }
    assert_eq!(job.vault.needles.lock().unwrap().len(), 2);
}

#[test]
fn trailers_hold_neither_slots_nor_dummies() {
    let job = Job::new();
    let ok = |name: &str, value: &str| {
        let mut trailers = HeaderMap::new();
        let value = HeaderValue::from_str(&job.fill(value)).unwrap();
        trailers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        job.vault.trailers_ok(&trailers)
    };
    assert!(ok("x-checksum", "abc"));
    for (name, value) in [
        ("authorization", "Bearer {D}"),
        ("authorization", "anything"),
        ("x_api_key", "anything"),
        ("x-own-token", "anything"),
        ("x-checksum", "{D}"),
        ("x-checksum", &*STANDARD.encode(&job.dummy)),
    ] {
        assert!(!ok(name, value), "{name}: {value}");
    }
    let nothing = Vault::new(Vec::new()).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("authorization", HeaderValue::from_static("x"));
    assert!(nothing.trailers_ok(&trailers));
}

#[test]
fn nothing_prints_a_secret() {
    let job = Job::with(|own| own.places.truncate(1));
    let (headers, _, mut swapped) = job.ask(URL, &[("authorization", &job.basic("user:{D}"))]).unwrap();
    let redactor = swapped.redactor.take().unwrap();
    let body = Job::new()
        .ask(URL, &[])
        .unwrap()
        .2
        .redactor
        .unwrap()
        .body(&HeaderMap::new(), http_body_util::Full::new(bytes::Bytes::new()));
    let printed = format!("{:?} {headers:?} {swapped:?} {redactor:?} {body:?}", job.vault);
    let printed = format!("{printed} {:?}", redactor.stream());
    for spelling in [job.secret.clone(), job.basic("user:{S}")[6..].to_owned(), STANDARD.encode(&job.secret)]
    {
        assert!(!printed.contains(&spelling), "{printed}");
    }
    assert!(printed.contains("OWN"));
}
