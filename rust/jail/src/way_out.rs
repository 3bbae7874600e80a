//! The way to the outside: the operator's proxies, and whom they trust.

use proxy::config::{NoProxy, Proxies, ProxyServer, Trust, Upstream};

use crate::cli::RunArgs;
use crate::console;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::spec::JailSpec;

/// The value that means no proxy.
pub(crate) const NONE: &str = "none";

/// The variables that name a proxy, by kind of URL; of each the spelling that programs look at first.
const FOR_HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const FOR_HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Returns the way to the outside: what is said now goes before what the jail says, and that before the environment.
pub(crate) fn upstream(
    spec: &JailSpec,
    arguments: &RunArgs,
    operator: &Operator,
) -> Result<Upstream, Failure> {
    let connect_to = spec.upstream.connect_to().map_err(Failure::usage)?;
    let files = arguments.upstream_ca.iter().chain(&spec.upstream.ca);
    Ok(Upstream {
        connect_to: arguments.connect_to.iter().cloned().chain(connect_to).collect(),
        trust: Trust::System { extra: files.map(|path| operator.path(path)).collect() },
        proxy: proxies(spec, arguments, operator)?,
    })
}

fn proxies(spec: &JailSpec, arguments: &RunArgs, operator: &Operator) -> Result<Proxies, Failure> {
    let except = match spec.upstream.no_proxy.as_slice() {
        [] => variable(operator, &EXCEPTIONS)?.map(|(_, list)| list.to_owned()).unwrap_or_default(),
        list => list.join(","),
    };
    let except = NoProxy::parse(&except);
    let said = match (&arguments.upstream_proxy, &spec.upstream.proxy) {
        (Some(said), _) => Some(("--upstream-proxy", said.0.as_str())),
        (None, Some(said)) => Some(("upstream.proxy", said.as_str())),
        (None, None) => None,
    };
    match said {
        Some((_, NONE)) => Ok(Proxies::default()),
        Some((place, said)) => Ok(Proxies::all(read(place, said)?, except)),
        None => of_environment(operator, arguments.quiet, except),
    }
}

/// Returns the proxies that the operator's environment names, and prints which they are.
fn of_environment(operator: &Operator, is_quiet: bool, except: NoProxy) -> Result<Proxies, Failure> {
    let named = |names| -> Result<_, Failure> {
        variable(operator, names)?.map(|(name, text)| Ok((name, read(name, text)?))).transpose()
    };
    let (http, https) = (named(&FOR_HTTP)?, named(&FOR_HTTPS)?);
    let said: Vec<String> =
        [&https, &http].into_iter().flatten().map(|(name, proxy)| format!("{proxy} ({name})")).collect();
    let said = if said.windows(2).any(|pair| pair[0] == pair[1]) { &said[..1] } else { &said[..] };
    if !said.is_empty() && !is_quiet {
        let said = said.join(" and ");
        console::report(&format!(
            "the outside is reached through {said}; --upstream-proxy none turns that off"
        ));
    }
    Ok(Proxies { http: http.map(|(_, proxy)| proxy), https: https.map(|(_, proxy)| proxy), except })
}

/// The first of these variables that says something. A text that cannot be read is not passed over.
fn variable<'a>(
    operator: &'a Operator,
    names: &[&'static str],
) -> Result<Option<(&'static str, &'a str)>, Failure> {
    for name in names {
        if let Some(value) = operator.variable(name).filter(|value| !value.is_empty()) {
            let value =
                value.to_str().ok_or_else(|| Failure::usage(format!("{name} is not text; set it right")))?;
            return Ok(Some((name, value)));
        }
    }
    Ok(None)
}

/// Reads the address of a proxy; the error does not repeat it.
fn read(place: &str, text: &str) -> Result<ProxyServer, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("cannot use the proxy of {place}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use super::*;
    use crate::cli::ProxyUrl;

    fn operator(variables: &[(&str, &str)]) -> Operator {
        Operator {
            environment: variables
                .iter()
                .map(|(name, value)| (OsString::from(name), OsString::from(value)))
                .collect(),
            directory: PathBuf::from("/"),
            home: PathBuf::from("/home/someone"),
            uid: 1000,
            writable: Vec::new(),
        }
    }

    fn shown(proxies: &Proxies) -> [String; 2] {
        [&proxies.http, &proxies.https]
            .map(|proxy| proxy.as_ref().map(ToString::to_string).unwrap_or_default())
    }

    #[test]
    fn the_environment_names_proxies_unless_somebody_says_otherwise() {
        let set = [
            ("HTTPS_PROXY", "http://u:pw@one.test:1"),
            ("http_proxy", "two.test:2"),
            ("ALL_PROXY", "three.test:3"),
        ];
        let operator = operator(&set);
        let (spec, quiet) = (JailSpec::empty(), RunArgs { quiet: true, ..RunArgs::default() });
        let found = proxies(&spec, &quiet, &operator).unwrap();
        assert_eq!(shown(&found), ["http://two.test:2", "http://one.test:1"]);

        let said =
            RunArgs { upstream_proxy: Some(ProxyUrl("socks5h://four.test".into())), ..RunArgs::default() };
        assert_eq!(shown(&proxies(&spec, &said, &operator).unwrap()), ["socks5h://four.test:1080"; 2]);
        let none = RunArgs { upstream_proxy: Some(ProxyUrl(NONE.into())), ..RunArgs::default() };
        assert_eq!(shown(&proxies(&spec, &none, &operator).unwrap()), ["", ""]);
        let mut spec = JailSpec::empty();
        spec.upstream.proxy = Some("five.test:5".into());
        assert_eq!(shown(&proxies(&spec, &quiet, &operator).unwrap()), ["http://five.test:5"; 2]);
    }

    #[test]
    fn one_variable_is_for_both_and_an_empty_one_is_none() {
        let (spec, quiet) = (JailSpec::empty(), RunArgs { quiet: true, ..RunArgs::default() });
        let found =
            proxies(&spec, &quiet, &operator(&[("ALL_PROXY", "three.test:3"), ("https_proxy", "")])).unwrap();
        assert_eq!(shown(&found), ["http://three.test:3"; 2]);
        assert_eq!(shown(&proxies(&spec, &quiet, &operator(&[])).unwrap()), ["", ""]);
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_without_its_password() {
        let (spec, quiet) = (JailSpec::empty(), RunArgs { quiet: true, ..RunArgs::default() });
        for address in ["socks4://u:hunter2@one.test:1", "http://u:hunter2@one.test:port"] {
            let error = proxies(&spec, &quiet, &operator(&[("HTTPS_PROXY", address)])).unwrap_err();
            let text = format!("{error:?}");
            assert!(text.contains("HTTPS_PROXY") && !text.contains("hunter2"), "{text}");
        }
    }
}
