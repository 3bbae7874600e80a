use http::Request;

use super::*;

fn authority(text: &str) -> Authority {
    Authority::parse(text, None).unwrap()
}

fn server(text: &str) -> Destination {
    Destination::Server(authority(text))
}

fn address(text: &str) -> Destination {
    Destination::Address(text.parse().unwrap())
}

fn request(version: Version, target: &str, hosts: &[&str]) -> Parts {
    let mut request = Request::builder().version(version).uri(target);
    for host in hosts {
        request = request.header(HOST, *host);
    }
    request.body(()).unwrap().into_parts().0
}

/// Whom a TLS connection with an HTTP/1.1 request reaches, or why it does not.
fn over_tls(destination: &Destination, sni: Option<&str>, host: &str) -> Result<String, Reason> {
    let binding = Binding::tls(destination, sni).ok_or(Reason::InvalidAuthority)?;
    let target = binding.target(&request(Version::HTTP_11, "/", &[host]));
    target.map(|authority| authority.to_string()).map_err(|wrong| wrong.reason)
}

fn over_http(destination: &Destination, host: &str) -> Result<String, Reason> {
    let target = Binding::plain(destination).target(&request(Version::HTTP_11, "/", &[host]));
    target.map(|authority| authority.to_string()).map_err(|wrong| wrong.reason)
}

#[test]
fn a_synthetic_address_or_a_tunnel_binds_the_name() {
    let a = server("a.test:443");
    let mismatch = Err(Reason::AuthorityMismatch);
    for (sni, host, expected) in [
        (Some("a.test"), "a.test", Ok("a.test:443".to_owned())),
        (Some("A.TEST"), "a.test:443", Ok("a.test:443".to_owned())),
        (None, "a.test", Ok("a.test:443".to_owned())),
        (Some("a.test"), "b.test", mismatch.clone()),
        (Some("b.test"), "a.test", mismatch.clone()),
        (Some("b.test"), "b.test", mismatch.clone()),
        (None, "b.test", mismatch.clone()),
        (None, "a.test:8443", mismatch.clone()),
        (Some("127.1"), "a.test", Err(Reason::InvalidAuthority)),
    ] {
        assert_eq!(over_tls(&a, sni, host), expected, "{sni:?} {host}");
    }
    let a = server("a.test:80");
    assert_eq!(over_http(&a, "a.test"), Ok("a.test:80".into()));
    assert_eq!(over_http(&a, "b.test"), mismatch);
}

#[test]
fn a_literal_address_is_the_way_to_the_name_that_is_spoken() {
    let literal = address("203.0.113.7:8443");
    assert_eq!(over_tls(&literal, Some("a.test"), "a.test:8443"), Ok("a.test:8443".into()));
    assert_eq!(over_tls(&literal, Some("a.test"), "a.test"), Err(Reason::AuthorityMismatch), "another port");
    assert_eq!(over_tls(&literal, None, "203.0.113.7:8443"), Ok("203.0.113.7:8443".into()));
    assert_eq!(over_tls(&literal, None, "a.test:8443"), Err(Reason::AuthorityMismatch));

    let literal = address("203.0.113.7:80");
    assert_eq!(over_http(&literal, "a.test"), Ok("a.test:80".into()));
    assert_eq!(over_http(&literal, "203.0.113.7"), Ok("203.0.113.7:80".into()));
    assert_eq!(over_http(&literal, "203.0.113.8"), Err(Reason::AuthorityMismatch), "another address");
    assert_eq!(over_http(&literal, "a.test:81"), Err(Reason::AuthorityMismatch));
    let mapped = address("[::ffff:203.0.113.7]:80");
    assert_eq!(over_http(&mapped, "203.0.113.7"), Ok("203.0.113.7:80".into()));
}

#[test]
fn a_tunnel_to_an_address_has_no_name() {
    let tunnel = server("203.0.113.7:443");
    assert_eq!(over_tls(&tunnel, Some("a.test"), "a.test"), Err(Reason::AuthorityMismatch));
    assert_eq!(over_tls(&tunnel, None, "203.0.113.7"), Ok("203.0.113.7:443".into()));
}

#[test]
fn http2_says_it_in_the_target_and_is_told_to_go_elsewhere() {
    let binding = Binding::tls(&server("a.test:443"), Some("a.test")).unwrap();
    let target = |target: &str, hosts: &[&str]| binding.target(&request(Version::HTTP_2, target, hosts));
    assert_eq!(target("https://a.test/", &[]).unwrap(), authority("a.test:443"));
    assert_eq!(target("https://a.test/", &["a.test"]).unwrap(), authority("a.test:443"));
    assert_eq!(target("/", &["a.test"]).unwrap(), authority("a.test:443"));
    for (uri, hosts) in
        [("https://b.test/", &[][..]), ("https://a.test/", &["b.test"]), ("http://a.test/", &[])]
    {
        let wrong = target(uri, hosts).unwrap_err();
        assert_eq!(
            (wrong.status.as_u16(), wrong.reason),
            (421, Reason::AuthorityMismatch),
            "{uri} {hosts:?}"
        );
    }
    assert_eq!(target("/", &[]).unwrap_err().reason, Reason::MalformedRequest);
}
