//! The operator's own proxies: which one a request goes through, and how it is reached.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::percent_decode_str;
use policy::{Authority, Scheme};
use secrecy::{ExposeSecret, SecretString};

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP: CONNECT, and absolute URLs for plain HTTP.
    Http,
    /// The same in TLS.
    Https,
    /// SOCKS 5; names are resolved here.
    Socks5,
    /// SOCKS 5; the proxy resolves names.
    Socks5h,
}

/// One proxy. Its password is in no text made of it.
#[derive(Clone, Debug)]
pub struct ProxyServer {
    pub(crate) scheme: ProxyScheme,
    pub(crate) authority: Authority,
    pub(crate) login: Option<Login>,
}

/// A name and a password.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: SecretString,
}

/// Which proxy is used for which request.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<ProxyServer>,
    /// For `https` URLs and opaque connections.
    pub https: Option<ProxyServer>,
    /// Which hosts are reached directly all the same.
    pub except: NoProxy,
}

/// The hosts of `NO_PROXY`.
#[derive(Clone, Debug, Default)]
pub struct NoProxy(Vec<(Option<u16>, Arc<Matcher>)>);

/// Why a text names no proxy. The text itself is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// A scheme that is not known.
    #[error("the kind of proxy is not one of http, https, socks5 and socks5h; {CURE}")]
    Scheme,
    /// Not a host and a port.
    #[error("it names no valid host and port; {CURE}")]
    Authority,
    /// Something behind the port.
    #[error("it goes on behind the port; {CURE}")]
    Path,
    /// A name or password that the protocol cannot carry.
    #[error("the name or the password is not text, too long or has characters that cannot be sent; {CURE}")]
    Login,
}

const CURE: &str =
    "write http://[NAME:PASSWORD@]HOST:PORT (special characters as %XX), or https://, socks5://, socks5h://";

/// The longest name and password of SOCKS 5 (RFC 1929).
const MAX_LOGIN: usize = 255;

impl ProxyServer {
    /// The `Proxy-Authorization` for an HTTP proxy.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let Login { user, password } = self.login.as_ref()?;
        let basic = BASE64_STANDARD.encode(format!("{user}:{}", password.expose_secret()));
        let mut value = HeaderValue::try_from(format!("Basic {basic}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Returns true if it is spoken to in HTTP.
    pub(crate) fn is_http(&self) -> bool {
        matches!(self.scheme, ProxyScheme::Http | ProxyScheme::Https)
    }
}

impl FromStr for ProxyServer {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<ProxyServer, ProxyError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyScheme::Http, 80),
            "https" => (ProxyScheme::Https, 443),
            "socks5" => (ProxyScheme::Socks5, 1080),
            "socks5h" => (ProxyScheme::Socks5h, 1080),
            _ => return Err(ProxyError::Scheme),
        };
        // A password may have an `@` or a `/` in it.
        let (login, server) = match rest.rsplit_once('@') {
            Some((login, server)) => (Some(login), server),
            None => (None, rest),
        };
        let server = server.strip_suffix('/').unwrap_or(server);
        if server.contains(['/', '?', '#']) {
            return Err(ProxyError::Path);
        }
        let authority = Authority::parse(server, Some(default_port)).map_err(|_| ProxyError::Authority)?;
        Ok(ProxyServer { scheme, authority, login: login.map(Login::parse).transpose()? })
    }
}

impl fmt::Display for ProxyServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            ProxyScheme::Http => "http",
            ProxyScheme::Https => "https",
            ProxyScheme::Socks5 => "socks5",
            ProxyScheme::Socks5h => "socks5h",
        };
        write!(formatter, "{scheme}://{}", self.authority)
    }
}

impl Login {
    fn parse(text: &str) -> Result<Login, ProxyError> {
        let decode = |text| {
            let decoded = percent_decode_str(text).decode_utf8().map_err(|_| ProxyError::Login)?;
            let is_sendable = decoded.len() <= MAX_LOGIN && !decoded.chars().any(char::is_control);
            if is_sendable { Ok(decoded.into_owned()) } else { Err(ProxyError::Login) }
        };
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Ok(Login { user: decode(user)?, password: decode(password)?.into() })
    }
}

impl Proxies {
    /// One proxy for everything.
    pub fn all(server: ProxyServer, except: NoProxy) -> Proxies {
        Proxies { http: Some(server.clone()), https: Some(server), except }
    }

    /// The proxy for a connection to a server.
    pub(crate) fn to(&self, scheme: Scheme, server: &Authority) -> Option<&ProxyServer> {
        let proxy = match scheme {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https | Scheme::Tcp => self.https.as_ref(),
        };
        proxy.filter(|_| !self.except.contains(server))
    }
}

impl NoProxy {
    /// Reads a list as in `NO_PROXY`: names (their sub-domains are meant too), addresses, networks, `*`; each may have a port.
    pub fn parse(list: &str) -> NoProxy {
        let mut hosts = String::new();
        let mut rules = Vec::new();
        for entry in list.split(|character: char| character == ',' || character.is_whitespace()) {
            let entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
            match entry.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                    if let Ok(port) = port.parse() {
                        let host = host.trim_start_matches('[').trim_end_matches(']');
                        rules.push((Some(port), matcher(host)));
                    }
                }
                _ if entry.is_empty() => {}
                _ => {
                    hosts.push_str(entry.trim_start_matches('[').trim_end_matches(']'));
                    hosts.push(',');
                }
            }
        }
        if !hosts.is_empty() {
            rules.push((None, matcher(&hosts)));
        }
        NoProxy(rules)
    }

    fn contains(&self, server: &Authority) -> bool {
        let Ok(uri) = format!("http://{}/", server).parse::<Uri>() else { return false };
        self.0.iter().any(|(port, matcher)| {
            port.is_none_or(|port| port == server.port) && matcher.intercept(&uri).is_none()
        })
    }
}

/// A matcher that intercepts all hosts but these.
fn matcher(hosts: &str) -> Arc<Matcher> {
    Arc::new(Matcher::builder().all("http://proxy.invalid").no(hosts).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(text: &str) -> Authority {
        Authority::parse(text, None).unwrap()
    }

    #[test]
    fn proxies_are_read_as_curl_reads_them() {
        for (text, shown, login) in [
            ("proxy.test:3128", "http://proxy.test:3128", None),
            ("http://proxy.test", "http://proxy.test:80", None),
            ("HTTPS://proxy.test/", "https://proxy.test:443", None),
            ("socks5://[::1]:9050", "socks5://[::1]:9050", None),
            ("socks5h://10.0.0.1", "socks5h://10.0.0.1:1080", None),
            ("http://me:p%40ss@proxy.test:1", "http://proxy.test:1", Some(("me", "p@ss"))),
            ("http://me:p@s/s@proxy.test:1", "http://proxy.test:1", Some(("me", "p@s/s"))),
            ("me@proxy.test:1", "http://proxy.test:1", Some(("me", ""))),
        ] {
            let proxy: ProxyServer = text.parse().unwrap();
            assert_eq!(proxy.to_string(), shown, "{text}");
            let read = proxy.login.as_ref();
            let read = read.map(|login| (login.user.as_str(), login.password.expose_secret()));
            assert_eq!(read, login, "{text}");
        }
    }

    #[test]
    fn no_error_and_no_text_repeats_a_password() {
        for (text, error) in [
            ("socks4://u:hunter2@proxy.test:1", ProxyError::Scheme),
            ("http://u:hunter2@proxy test:1", ProxyError::Authority),
            ("http://u:hunter2@proxy.test:x", ProxyError::Authority),
            ("http://u:hunter2@proxy.test:1/hunter2", ProxyError::Path),
            ("http://u:hunter2%0a@proxy.test:1", ProxyError::Login),
            ("", ProxyError::Authority),
        ] {
            let found = text.parse::<ProxyServer>().unwrap_err();
            assert_eq!(found, error, "{text}");
            assert!(!found.to_string().contains("hunter2"), "{found}");
        }
        let proxy: ProxyServer = "http://u:hunter2@proxy.test:1".parse().unwrap();
        assert!(!format!("{proxy} {proxy:?}").contains("hunter2"));
        assert!(!format!("{:?}", proxy.authorization()).contains("Basic"));
    }

    #[test]
    fn exceptions_name_hosts_networks_and_ports() {
        let list =
            "example.com, .corp.test *.star.test 10.0.0.0/8,192.0.2.7,[2001:db8::1],port.test:8443,::2";
        let except = NoProxy::parse(list);
        for direct in [
            "example.com:443",
            "a.example.com:443",
            "corp.test:80",
            "a.corp.test:80",
            "b.star.test:1",
            "10.1.2.3:443",
            "192.0.2.7:80",
            "[2001:db8::1]:443",
            "port.test:8443",
            "[::2]:1",
        ] {
            assert!(except.contains(&authority(direct)), "{direct}");
        }
        for by_proxy in
            ["notexample.com:443", "com:443", "11.0.0.1:443", "192.0.2.8:80", "port.test:443", "[::3]:1"]
        {
            assert!(!except.contains(&authority(by_proxy)), "{by_proxy}");
        }
        assert!(NoProxy::parse("*").contains(&authority("any.test:1")));
        assert!(!NoProxy::parse(" , ").contains(&authority("any.test:1")));
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let proxies = Proxies {
            http: Some("one.test:1".parse().unwrap()),
            https: Some("two.test:2".parse().unwrap()),
            except: NoProxy::parse("direct.test"),
        };
        let shown = |scheme, server| proxies.to(scheme, &authority(server)).map(ToString::to_string);
        assert_eq!(shown(Scheme::Http, "a.test:80").as_deref(), Some("http://one.test:1"));
        assert_eq!(shown(Scheme::Https, "a.test:443").as_deref(), Some("http://two.test:2"));
        assert_eq!(shown(Scheme::Tcp, "a.test:5432").as_deref(), Some("http://two.test:2"));
        assert_eq!(shown(Scheme::Https, "direct.test:443"), None);
    }
}
