//! `jail explain` and `jail check`: what would happen, without a job.

use std::path::Path;
use std::process::ExitCode;

use policy::{Authority, Decision, Policy, Request, RequestPath, Scheme};

use crate::cli::ExplainArgs;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::spec::JailSpec;
use crate::{credentials, rules, run};

/// Says which rule decides, which credential goes along, and what the job would see; exit code 1 for a denial.
pub(crate) fn explain(arguments: &ExplainArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    let (spec, policy) = run::with_jail_arguments(arguments.name.as_deref(), &arguments.jail, operator)?;
    let target = Target::parse(&arguments.url).map_err(Failure::usage)?;
    let request = Request {
        scheme: target.scheme,
        authority: &target.authority,
        method: if target.scheme == Scheme::Tcp { "" } else { &arguments.method },
        path: &target.path,
        websocket: target.websocket,
    };
    let decision = policy.decide(&request);
    crate::print(&text(&spec, &policy, &request, decision))?;
    Ok(ExitCode::from(u8::from(!matches!(decision, Decision::Allow { .. }))))
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
    crate::print(&format!("{}: {found}\n", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// An address as people write it.
struct Target {
    scheme: Scheme,
    authority: Authority,
    path: RequestPath,
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
            websocket,
        })
    }
}

fn text(spec: &JailSpec, policy: &Policy, request: &Request<'_>, decision: Decision) -> String {
    let rule = |id: policy::RuleId| {
        let text = policy.rules().get(id.0).map(ToString::to_string).unwrap_or_default();
        format!("rule {}: {text}", id.0 + 1)
    };
    match decision {
        Decision::Allow { rule: id } => {
            let mut text = format!("allowed by {}\n", rule(id));
            let tls = request.scheme == Scheme::Https;
            let given: Vec<&str> = spec
                .credentials
                .iter()
                .filter(|credential| {
                    let (hosts, rules) = credentials::places(credential, policy);
                    tls && hosts.iter().any(|host| host.matches(&request.authority.host))
                        && rules.is_none_or(|rules| rules.contains(&id))
                })
                .map(|credential| credential.variable.as_str())
                .collect();
            text.push_str(&match given[..] {
                [] => "no credential goes there\n".to_owned(),
                _ => format!("swapped on the way out, if the job sends the dummy: {}\n", given.join(", ")),
            });
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

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Action, Rule};

    fn explained(rules: &[&str], method: &str, url: &str) -> String {
        let rules = rules.iter().map(|text| Rule::parse(Action::Allow, text).unwrap()).collect();
        let policy = Policy::new(rules).unwrap();
        let target = Target::parse(url).unwrap();
        let request = Request {
            scheme: target.scheme,
            authority: &target.authority,
            method,
            path: &target.path,
            websocket: target.websocket,
        };
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
        let text = explained(&["GET a.example"], "POST", "https://a.example");
        assert!(text.starts_with("denied: method-not-allowed") && text.contains("403"), "{text}");
        let text = explained(&["a.example"], "", "tcp://a.example:22");
        assert!(text.contains("a closed connection"), "{text}");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in ["ftp://a.example/", "https://", "https://a b/", "tcp://a.example", "https://u@a.example/"]
        {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
