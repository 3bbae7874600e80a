//! `jail explain` and `jail check`: what would happen, without a job.

use std::path::Path;
use std::process::ExitCode;

use policy::{
    Authority, Change, Decision, Policy, PushDecision, RefUpdate, Request, RequestPath, RuleId, Scheme,
};
use proxy::swap::{AwsPart, CredentialLocation};

use crate::cli::ExplainArgs;
use crate::console;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::spec::{CredentialSpec, JailSpec};
use crate::{credentials, rules, run};

/// Says which rule decides, which credential goes along, and what the job would see; exit code 1 for a denial. Of a
/// name alone it says what the jail is.
pub(crate) fn explain(arguments: &ExplainArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    // An address without a method means GET.
    let is_address = arguments.method.contains("://")
        || (arguments.name.is_some() && arguments.method.contains(['.', ':', '/']));
    let (method, url) = match &arguments.url {
        None if is_address => ("GET", Some(&arguments.method)),
        url => (arguments.method.as_str(), url.as_ref()),
    };
    let Some(url) = url else {
        if arguments.name.is_some() {
            return Err(Failure::usage("an address is missing: jail explain --jail NAME [METHOD] URL"));
        }
        let (spec, policy) = jail(Some(method), arguments, operator)?;
        console::print(&portrait(&spec, &policy))?;
        return Ok(ExitCode::SUCCESS);
    };
    let (spec, policy) = jail(arguments.name.as_deref(), arguments, operator)?;
    let (method, url) = match method {
        "fetch" => ("POST", format!("{}/git-upload-pack", url.trim_end_matches('/'))),
        "push" => ("POST", format!("{}/git-receive-pack", url.trim_end_matches('/'))),
        method => (method, url.clone()),
    };
    if !arguments.refs.is_empty() && arguments.method != "push" {
        return Err(Failure::usage("only a push has refs: jail explain push https://HOST/REPO REF …"));
    }
    let updates = arguments.refs.iter().map(|text| update(text)).collect::<Result<Vec<_>, _>>();
    let updates = updates.map_err(Failure::usage)?;
    let target = Target::parse(&url).map_err(Failure::usage)?;
    let request = target.request(method);
    let decision = policy.decide(&request);
    let (text, allowed) = match decision {
        Decision::Push { .. } if !updates.is_empty() => push_text(&spec, &policy, &request, &updates),
        _ => (text(&spec, &policy, &request, decision), !matches!(decision, Decision::Deny { .. })),
    };
    console::print(&text)?;
    Ok(ExitCode::from(u8::from(!allowed)))
}

/// The jail as it is in the current directory.
fn jail(
    name: Option<&str>,
    arguments: &ExplainArgs,
    operator: &Operator,
) -> Result<(JailSpec, Policy), Failure> {
    let (spec, policy, notices) =
        run::with_jail_arguments(name, &arguments.jail, Some(&operator.directory), operator)?;
    notices.iter().for_each(|notice| console::report(notice));
    Ok((spec, policy))
}

/// What is asked of a ref: `main`, `+main` or `:main`, as in git's refspecs.
fn update(text: &str) -> Result<RefUpdate, String> {
    let (change, name) = match (text.strip_prefix('+'), text.strip_prefix(':')) {
        (Some(name), _) => (Change::Rewind, name),
        (_, Some(name)) => (Change::Delete, name),
        _ => (Change::Advance, text),
    };
    let full = if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") };
    full.parse().map(|name| RefUpdate { name, change }).map_err(|error| format!("{text}: {error}"))
}

/// Reads a specification (JSON) or a file of rules and says what is wrong with it.
pub(crate) fn check(file: &Path) -> Result<ExitCode, Failure> {
    let is_specification = file.extension().is_some_and(|extension| extension == "json");
    let found = if is_specification {
        let spec = JailSpec::load(file).map_err(Failure::usage)?;
        Policy::new(spec.rules.clone()).map_err(Failure::usage)?;
        format!("jail {}, {} rules, {} credentials", spec.name, spec.rules.len(), spec.credentials.len())
    } else {
        let rules = rules::load(file).map_err(Failure::usage)?;
        let count = rules.len();
        Policy::new(rules).map_err(Failure::usage)?;
        format!("{count} rules")
    };
    console::print(&format!("{}: {found}\n", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// A jail in words.
fn portrait(spec: &JailSpec, policy: &Policy) -> String {
    let mut lines = vec![match &*spec.description {
        "" => spec.name.clone(),
        description => format!("{}: {description}", spec.name),
    }];
    lines.push(format!("command: {}", shell_words::join(&spec.command)));
    let list =
        |values: Vec<String>, none: &str| if values.is_empty() { none.to_owned() } else { values.join(", ") };
    let rules = policy.rules().iter().enumerate();
    lines.extend(rules.map(|(position, rule)| format!("rule {}: {rule}", position + 1)));
    if policy.rules().is_empty() {
        lines.push("no rules: everything is denied".to_owned());
    }
    for credential in &spec.credentials {
        let (hosts, _) = credentials::places(credential, policy);
        let hosts = list(hosts.iter().map(ToString::to_string).collect(), "nobody");
        let sources = list(credential.sources.iter().map(ToString::to_string).collect(), "nowhere");
        lines.push(format!(
            "credential {}: from {sources}; to {hosts} in {}",
            credential.variable,
            where_it_stands(credential)
        ));
    }
    let limits = [
        spec.limits.memory.map(|bytes| format!("memory {bytes}")),
        spec.limits.cpus.map(|cpus| format!("CPUs {cpus}")),
        spec.limits.pids.map(|pids| format!("processes {pids}")),
        spec.limits.timeout.map(|span| format!("time {span}")),
        spec.limits.disk.map(|bytes| format!("disk {bytes}")),
        spec.limits.io.map(|bytes| format!("disk {bytes}/s")),
        spec.limits.proxy_memory.map(|bytes| format!("proxy memory {bytes}")),
    ];
    lines.push(format!("limits: {}", list(limits.into_iter().flatten().collect(), "none")));
    lines.push(match &spec.hardening.allow[..] {
        [] => "protections: all".to_owned(),
        allowed => {
            let words =
                allowed.iter().map(|allowance| format!("it may have {}", allowance.words())).collect();
            format!("weakened protections: {}", list(words, ""))
        }
    });
    lines.join("\n") + "\n"
}

/// An address as people write it.
struct Target {
    scheme: Scheme,
    authority: Authority,
    path: RequestPath,
    query: String,
    websocket: bool,
}

impl Target {
    fn parse(url: &str) -> Result<Target, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let (scheme, port, websocket) = match scheme {
            "https" => (Scheme::Https, Some(443), false),
            "http" => (Scheme::Http, Some(80), false),
            "wss" => (Scheme::Https, Some(443), true),
            "ws" => (Scheme::Http, Some(80), true),
            "tcp" => (Scheme::Tcp, None, false),
            other => {
                return Err(format!(
                    "{other}:// is not a scheme a job can use; write https, http, wss, ws or tcp"
                ));
            }
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(start) if rest[start..].starts_with('/') => (&rest[..start], rest[start..].to_owned()),
            Some(start) => (&rest[..start], format!("/{}", &rest[start..])),
            None => (rest, "/".to_owned()),
        };
        Ok(Target {
            scheme,
            authority: Authority::parse(authority, port).map_err(|error| error.to_string())?,
            path: RequestPath::of_target(&path),
            query: path.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default(),
            websocket,
        })
    }

    fn request<'a>(&'a self, method: &'a str) -> Request<'a> {
        Request {
            scheme: self.scheme,
            authority: &self.authority,
            method: if self.scheme == Scheme::Tcp { "" } else { method },
            path: &self.path,
            query: &self.query,
            websocket: self.websocket,
        }
    }
}

fn rule(policy: &Policy, id: RuleId) -> String {
    format!("rule {}: {}", id.0 + 1, policy.rule(id).map(ToString::to_string).unwrap_or_default())
}

/// The answer about a push, and whether it may go on.
fn push_text(
    spec: &JailSpec,
    policy: &Policy,
    request: &Request<'_>,
    updates: &[RefUpdate],
) -> (String, bool) {
    match policy.decide_push(request, updates) {
        PushDecision::Allow { rule } => (text(spec, policy, request, Decision::Allow { rule }), true),
        PushDecision::Deny { reasons, rule: id } => {
            let by = id.map(|id| format!(" ({})", rule(policy, id))).unwrap_or_default();
            let mut text = String::new();
            for (update, reason) in updates.iter().zip(&reasons) {
                let name = &update.name;
                text.push_str(&match reason {
                    Some(reason) => format!("denied: {name}: {reason}{by}\n{}\n", reason.hint()),
                    None => format!("{name} could be pushed alone\n"),
                });
            }
            (text, false)
        }
    }
}

fn text(spec: &JailSpec, policy: &Policy, request: &Request<'_>, decision: Decision) -> String {
    let rule = |id| rule(policy, id);
    match decision {
        Decision::Push { rule: id } => {
            format!("its refs decide, by {}\nname some: jail explain push URL REF …\n", rule(id))
        }
        Decision::Allow { rule: id } => {
            let mut text = format!("allowed by {}\n", rule(id));
            let tls = request.scheme == Scheme::Https;
            let lent_by = policy.credential_rule(request, id);
            let given: Vec<&CredentialSpec> = spec
                .credentials
                .iter()
                .filter(|credential| {
                    let (hosts, rules) = credentials::places(credential, policy);
                    tls && hosts.iter().any(|host| host.matches(&request.authority.host))
                        && rules.is_none_or(|rules| rules.contains(&lent_by))
                })
                .collect();
            if given.is_empty() {
                text.push_str("no credential goes there\n");
            } else {
                text.push_str("swapped on the way out, where the job sends the dummy:\n");
            }
            for credential in given {
                text.push_str(&format!("  {} in {}\n", credential.variable, where_it_stands(credential)));
            }
            text
        }
        Decision::Deny { reason, rule: id } => {
            let by = id.map(|id| format!(" ({})", rule(id))).unwrap_or_default();
            let seen = match request.scheme {
                Scheme::Tcp => "a closed connection".to_owned(),
                _ => format!("403, x-jail-deny: {reason}"),
            };
            format!("denied: {reason}{by}\nthe job sees: {seen}\n{}\n", reason.hint())
        }
    }
}

/// The places of a credential, in words where their text form is none.
fn where_it_stands(credential: &CredentialSpec) -> String {
    // A specification with other places has been refused before.
    let places = credential.places().unwrap_or_default();
    let words = places.iter().map(|place| match place {
        CredentialLocation::WellKnown => "Authorization, x-api-key and their like".to_owned(),
        CredentialLocation::Aws { part: AwsPart::SecretAccessKey, .. } => "the AWS signature".to_owned(),
        place => place.to_string(),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Action, Rule};

    fn explained(rules: &[&str], method: &str, url: &str) -> String {
        let rules = rules.iter().map(|text| Rule::parse(Action::Allow, text).unwrap()).collect();
        let policy = Policy::new(rules).unwrap();
        let target = Target::parse(url).unwrap();
        let request = target.request(method);
        text(&JailSpec::find("claude", &[]).unwrap(), &policy, &request, policy.decide(&request))
    }

    #[test]
    fn a_decision_is_told_with_its_rule_and_credential() {
        let text = explained(
            &["a.example", "api.anthropic.com"],
            "POST",
            "https://api.anthropic.com/v1/messages?beta=true",
        );
        assert!(text.starts_with("allowed by rule 2: ") && text.contains("ANTHROPIC_API_KEY"), "{text}");
        assert!(text.contains("  ANTHROPIC_API_KEY in Authorization, x-api-key"), "{text}");
        let text = explained(&["GET a.example"], "POST", "https://a.example");
        assert!(text.starts_with("denied: method-not-allowed") && text.contains("403"), "{text}");
        let text = explained(&["a.example"], "", "tcp://a.example:22");
        assert!(text.contains("a closed connection"), "{text}");
    }

    #[test]
    fn a_jail_is_told_with_what_is_weaker_in_it() {
        let mut spec = JailSpec::find("claude", &[]).unwrap();
        let text = |spec: &JailSpec| portrait(spec, &Policy::new(spec.rules.clone()).unwrap());
        let usual = text(&spec);
        for part in ["command: claude", "rule 1: ", "credential ANTHROPIC_API_KEY: from ", "protections: all"]
        {
            assert!(usual.contains(part), "{part} is not in {usual}");
        }
        spec.hardening.allow = vec![crate::spec::Allowance::WritableExecutableMemory];
        assert!(text(&spec).contains("weakened protections: it may have writable and executable memory"));
    }

    #[test]
    fn the_places_of_a_credential_are_told() {
        let mut spec = JailSpec::find("claude", &[]).unwrap();
        let key = &mut spec.credentials[0];
        key.inject = vec!["header:authorization: Token token={}".parse().unwrap()];
        key.query_parameters = vec!["key".to_owned()];
        assert_eq!(where_it_stands(key), "header:authorization: Token token={}, query:key");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in ["ftp://a.example/", "https://", "https://a b/", "tcp://a.example", "https://u@a.example/"]
        {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
