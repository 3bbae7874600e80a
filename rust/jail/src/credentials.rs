//! From a specification's credentials to the proxy's: the real ones read, a dummy made for each.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use policy::{
    Authority, Decision, Host, HostPattern, Policy, Reason, Request, RequestPath, Rule, RuleId, Scheme,
};
use proxy::config::{Credential, Held, OAuth, Origin};
use secrecy::SecretString;

use crate::failure::Failure;
use crate::operator::Operator;
use crate::secrets::dummy::Dummies;
use crate::secrets::{self, Live, Pointers, SecretLocation, Source};
use crate::spec::{CredentialSpec, JailSpec, is_variable};

/// Adds the credentials of the command line, `VAR=SOURCE@HOST[,HOST…]`; a text for each that is none.
pub(crate) fn add(spec: &mut JailSpec, texts: &[String]) -> Result<(), String> {
    let mut added: Vec<CredentialSpec> = Vec::new();
    for text in texts {
        let credential = parse(text).map_err(|error| format!("--credential {}: {error}", masked(text)))?;
        match added.iter_mut().find(|known| known.variable == credential.variable) {
            Some(known) if known.hosts == credential.hosts => known.sources.extend(credential.sources),
            Some(known) => {
                return Err(format!("--credential {}: given twice with different hosts", known.variable));
            }
            None => added.push(credential),
        }
    }
    // What is said now replaces what the jail says of the same variable.
    spec.credentials.retain(|known| !added.iter().any(|new| new.variable == known.variable));
    spec.credentials.extend(added);
    Ok(())
}

/// Every credential that a rule names is declared; a text for one that is not.
pub(crate) fn check_names(spec: &JailSpec, policy: &Policy) -> Result<(), String> {
    let declared = |name: &str| spec.credentials.iter().any(|credential| credential.variable == name);
    match policy.rules().iter().filter_map(Rule::credential).find(|name| !declared(name)) {
        Some(name) => Err(format!(
            "a rule names credential {name}, which is not declared; add --credential '{name}=SOURCE@HOST'"
        )),
        None => Ok(()),
    }
}

/// Says where credentials stand in a request, `VAR=PLACE`; what the jail says of the same variable is replaced.
pub(crate) fn inject(spec: &mut JailSpec, texts: &[String]) -> Result<(), String> {
    let mut told: Vec<&str> = Vec::new();
    for text in texts {
        let (variable, place) = text.split_once('=').ok_or_else(|| {
            format!(
                "--inject {text}: write VAR=PLACE, e.g. TOKEN=query:key or 'TOKEN=header:x-key: Key {{}}'"
            )
        })?;
        let place = place
            .parse::<proxy::swap::CredentialLocation>()
            .map_err(|error| format!("--inject {variable}: {error}"))?;
        let credential =
            spec.credentials.iter_mut().find(|known| known.variable == variable).ok_or_else(|| {
                format!("--inject {variable}: there is no such credential; add --credential {variable}=SOURCE@HOST")
            })?;
        if !told.contains(&variable) {
            told.push(variable);
            credential.inject.clear();
            credential.headers.clear();
            credential.query_parameters.clear();
        }
        credential.inject.push(place);
    }
    Ok(())
}

/// A credential whose secret was found.
pub(crate) struct Found<'a> {
    credential: &'a CredentialSpec,
    secret: SecretString,
    source: Source,
}

/// Reads every credential; one that is missing and not optional is an error.
pub(crate) fn read<'a>(
    spec: &'a JailSpec,
    policy: &Policy,
    insecure_files: bool,
    operator: &Operator,
) -> Result<Vec<Found<'a>>, Failure> {
    let context = secrets::Context { insecure_files, ..operator.into() };
    let mut found = Vec::new();
    let mut groups: Vec<&str> = Vec::new();
    let used = used(spec, policy);
    for &credential in &used {
        let Some(group) = &credential.group else {
            found.extend(read_one(&[credential], &context)?);
            continue;
        };
        // Alternatives are read together, where the first of them stands.
        if !groups.contains(&group.as_str()) {
            groups.push(group);
            let members: Vec<&CredentialSpec> =
                used.iter().copied().filter(|other| other.group.as_ref() == Some(group)).collect();
            found.extend(read_one(&members, &context)?);
        }
    }
    Ok(found)
}

/// The credentials that go anywhere. One that is for rules which are not there is not even looked for.
pub(crate) fn used<'a>(spec: &'a JailSpec, policy: &Policy) -> Vec<&'a CredentialSpec> {
    spec.credentials.iter().filter(|credential| !places(credential, policy).0.is_empty()).collect()
}

/// Makes a dummy for each credential; one that no rule lets out is an error.
pub(crate) fn prepare(
    found: Vec<Found<'_>>,
    policy: &Policy,
    insecure_files: bool,
    dummies: Dummies,
    operator: &Operator,
) -> Result<Vec<Credential>, Failure> {
    let context = secrets::Context { insecure_files, ..operator.into() };
    let locks = operator.runtime().join("locks");
    found
        .into_iter()
        .map(|Found { credential, secret, source }| {
            let dummy = dummies.make(&credential.variable, &secret).map_err(Failure::no_jail)?;
            let origin = origin(credential, source, &context, &locks, dummies)?;
            with_secret(credential, secret, origin, dummy, policy)
        })
        .collect()
}

/// What stands in the job's variables.
pub(crate) fn dummies(spec: &JailSpec, credentials: &[Credential]) -> Vec<(String, String)> {
    let mut dummies = Vec::new();
    for credential in credentials {
        dummies.push((credential.name.clone(), credential.dummy.clone()));
        let declared = spec.credentials.iter().find(|declared| declared.variable == credential.name);
        let variable = declared.and_then(|declared| declared.oauth.as_ref()?.refresh_variable.clone());
        if let (Some(variable), Origin::Login(_, oauth)) = (variable, &credential.origin) {
            dummies.push((variable, oauth.refresh_dummy.clone()));
        }
    }
    dummies
}

/// A credential of a job at work under another declaration and policy: the same secret, the same dummy.
#[cfg(target_os = "linux")]
pub(crate) fn placed(
    known: &Credential,
    declared: &CredentialSpec,
    policy: &Policy,
) -> Result<Credential, Failure> {
    with_secret(declared, known.secret.clone(), known.origin.clone(), known.dummy.clone(), policy)
}

fn with_secret(
    credential: &CredentialSpec,
    secret: SecretString,
    origin: Origin,
    dummy: String,
    policy: &Policy,
) -> Result<Credential, Failure> {
    let (hosts, rules) = places(credential, policy);
    if let Some(host) = hosts.iter().find_map(|pattern| shut_out(pattern, policy)) {
        return Err(Failure::usage(format!(
            "credential {} is for {host}, but no rule lets the job go there; add --allow {host}",
            credential.variable
        )));
    }
    Ok(Credential {
        name: credential.variable.clone(),
        dummy,
        secret,
        origin,
        hosts,
        rules,
        places: credential.places().map_err(Failure::usage)?,
        allow_foreign: credential.allow_foreign,
        redact: credential.redact,
    })
}

impl Found<'_> {
    /// The name of the credential.
    pub(crate) fn name(&self) -> &str {
        &self.credential.variable
    }
}

fn parse(text: &str) -> Result<CredentialSpec, String> {
    let form = "write VAR=SOURCE@HOST[,HOST…], e.g. GITHUB_TOKEN=env:GITHUB_TOKEN@github.com,api.github.com";
    let (variable, rest) = text.split_once('=').ok_or(form)?;
    let (source, hosts) = rest.rsplit_once('@').ok_or(form)?;
    if !is_variable(variable) {
        return Err(format!("{variable:?} is not a variable's name; {form}"));
    }
    let hosts = hosts
        .split(',')
        .map(|host| host.parse::<HostPattern>().map_err(|error| format!("{error}; {form}")))
        .collect::<Result<Vec<HostPattern>, String>>()?;
    let source = source.parse::<Source>().map_err(|error| error.to_string())?;
    Ok(CredentialSpec {
        variable: variable.to_owned(),
        sources: vec![source],
        hosts,
        headers: Vec::new(),
        query_parameters: Vec::new(),
        inject: Vec::new(),
        group: None,
        optional: false,
        oauth: None,
        allow_foreign: false,
        redact: true,
    })
}

/// Where the proxy reads the secret again while the job runs.
fn origin(
    credential: &CredentialSpec,
    source: Source,
    context: &secrets::Context,
    locks: &Path,
    dummies: Dummies,
) -> Result<Origin, Failure> {
    // The environment of this process cannot change.
    if matches!(source.place, SecretLocation::Environment(_)) {
        return Ok(Origin::Fixed);
    }
    let oauth =
        credential.oauth.as_ref().filter(|oauth| source.pointer.as_deref() == Some(oauth.token.as_str()));
    let pointers = oauth.map(|oauth| Pointers {
        token: oauth.token.clone(),
        refresh: oauth.refresh.clone(),
        expiry: oauth.expiry.clone(),
    });
    let live = Live::new(source, pointers, context.clone(), locks.to_owned());
    let Some(oauth) = oauth.filter(|_| live.is_login()) else { return Ok(Origin::Source(Arc::new(live))) };
    let held = live.held().map_err(Failure::no_jail)?;
    let cure =
        oauth.cure.clone().unwrap_or_else(|| "log in with the program that the login is of".to_owned());
    let refresh = match held {
        Held { refresh: Some(refresh), .. } => refresh,
        Held { expires: Some(expires), .. } if expires <= SystemTime::now() => {
            return Err(Failure::no_jail(format!(
                "the login for {} has expired and holds no refresh token; log in again: {cure}",
                credential.variable
            )));
        }
        // It is good until it is refused.
        Held { secret, .. } => secret,
    };
    let (authority, path) = oauth.server().map_err(Failure::usage)?;
    Ok(Origin::Login(
        Arc::new(live),
        OAuth {
            authority,
            path,
            client_id: oauth.client_id.clone(),
            refresh_dummy: dummies
                .make(&format!("{}/refresh", credential.variable), &refresh)
                .map_err(Failure::no_jail)?,
            cure,
        },
    ))
}

/// An option's text for an error: who mistakes `SOURCE` for the secret itself must not find it in a log.
fn masked(text: &str) -> String {
    let variable = text.split_once('=').map_or("", |(variable, _)| variable);
    format!("{variable}=…")
}

/// The first of the alternatives that exists.
fn read_one<'a>(
    alternatives: &[&'a CredentialSpec],
    context: &secrets::Context,
) -> Result<Option<Found<'a>>, Failure> {
    let mut missing = Vec::new();
    for credential in alternatives {
        match secrets::read_first(&credential.variable, &credential.sources, context) {
            Ok(found) => {
                tracing::debug!(credential = %credential.variable, source = %found.source, "found");
                return Ok(Some(Found { credential, secret: found.secret, source: found.source }));
            }
            Err(error) if error.is_missing() => missing.push(error.to_string()),
            Err(error) => return Err(Failure::no_jail(error)),
        }
    }
    if alternatives.iter().all(|credential| credential.optional) {
        return Ok(None);
    }
    Err(Failure::no_jail(missing.join("\n")))
}

/// Where a credential may go: to its hosts, and by the rules that name it, to theirs. No such rule means by any rule.
pub(crate) fn places(
    credential: &CredentialSpec,
    policy: &Policy,
) -> (Vec<HostPattern>, Option<Vec<RuleId>>) {
    let mut hosts = credential.hosts.clone();
    let mut rules = Vec::new();
    for (position, rule) in policy.rules().iter().enumerate() {
        if rule.credential() == Some(&credential.variable) {
            rules.push(RuleId(position));
            hosts.extend(rule.hosts().iter().filter(|host| !credential.hosts.contains(host)).cloned());
        }
    }
    (hosts, Some(rules).filter(|rules| !rules.is_empty()))
}

/// The host of a pattern, if it is one host that no rule allows anything at.
fn shut_out(pattern: &HostPattern, policy: &Policy) -> Option<Host> {
    let HostPattern::Exact(host) = pattern else { return None };
    let authority = Authority { host: host.clone(), port: 443 };
    let path = RequestPath::parse("/").ok()?;
    let request = Request {
        scheme: Scheme::Https,
        authority: &authority,
        method: "GET",
        path: &path,
        query: "",
        websocket: false,
    };
    match policy.decide(&request) {
        Decision::Deny { reason: Reason::HostNotAllowed | Reason::SchemeNotAllowed, .. } => {
            Some(host.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_read() {
        let credential =
            parse("T=command:op read op://vault/me@home/x@api.example.com,*.example.org").unwrap();
        assert_eq!(credential.variable, "T");
        assert_eq!(
            credential.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["api.example.com", "*.example.org"]
        );
        assert_eq!(credential.sources[0].to_string(), "command:op read op://vault/me@home/x");
    }

    #[test]
    fn an_error_never_shows_what_stands_after_the_variable() {
        for text in ["T=hunter2hunter2", "T=hunter2@a.example", "T=hunter2@", "hunter2"] {
            let error = add(&mut JailSpec::empty(), &[text.to_owned()]).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_place_on_the_command_line_replaces_those_of_the_jail() {
        let mut spec = JailSpec::find("claude", &[]).unwrap();
        add(&mut spec, &["T=env:T@a.example".to_owned()]).unwrap();
        spec.credentials.last_mut().unwrap().headers.push("x-before".to_owned());
        let texts = ["T=header:authorization: Token token={}", "T=cookie:session"].map(str::to_owned);
        inject(&mut spec, &texts).unwrap();
        let places = spec.credentials.last().unwrap().places().unwrap();
        assert_eq!(
            places.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["header:authorization: Token token={}", "cookie:session"]
        );
        assert_eq!(spec.credentials[0].places().unwrap(), [proxy::swap::CredentialLocation::WellKnown]);
        for wrong in ["T", "T=", "T=somewhere", "U=query:key", "T=header:host"] {
            assert!(inject(&mut spec, &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_same_variable_adds_sources_and_replaces_the_jail_s() {
        let mut spec = JailSpec::find("claude", &[]).unwrap();
        let count = spec.credentials.len();
        let option = |source: &str| format!("ANTHROPIC_API_KEY={source}@api.anthropic.com");
        add(&mut spec, &[option("env:A"), option("env:B")]).unwrap();
        assert_eq!(spec.credentials.len(), count);
        assert_eq!(spec.credentials.last().unwrap().sources.len(), 2);
        let other = "ANTHROPIC_API_KEY=env:C@other.example".to_owned();
        assert!(add(&mut spec, &[option("env:A"), other]).is_err());
    }
}
