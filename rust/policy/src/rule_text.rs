//! The text form of a rule: `[METHOD,…] [SCHEME://]HOST[:PORT][/PATH]` or `git REPOSITORY …`, and its JSON, which is that
//! or an object.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::authority::parse_port;
use crate::authority_error::AuthorityError;
use crate::git;
use crate::host_pattern::HostPattern;
use crate::rule::Rule;
use crate::rule_error::RuleError;
use crate::rule_parts::{Action, RuleParts};
use crate::scheme::RuleScheme;
use crate::text_form::excerpt;

impl Rule {
    /// Reads a rule's text form, e.g. `GET,HEAD https://api.github.com/repos/*`.
    pub fn parse(action: Action, text: &str) -> Result<Rule, RuleError> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (methods, target) = match words[..] {
            // A host of such a name is written with its scheme.
            [] | ["allow" | "deny"] => return Err(RuleError::Empty),
            ["git", ..] if action == Action::Deny => return Err(RuleError::GitDeny),
            ["git", ref words @ ..] => return Rule::new(git::parse(words)?),
            [target] => (Vec::new(), target),
            ["allow" | "deny", ..] => return Err(RuleError::ActionTwice(excerpt(text))),
            [methods, target] => (methods.split(',').map(str::to_owned).collect(), target),
            _ => return Err(RuleError::Words(excerpt(text))),
        };
        let (scheme, target) = split_scheme(target)?;
        let Target { host, port, path } = split_target(target)?;
        let host = host.parse()?;
        let ports = port.map(parse_port).transpose().map_err(RuleError::Port)?.into_iter().collect();
        let paths = path.map(str::parse).transpose()?.into_iter().collect();
        Rule::new(RuleParts {
            action,
            scheme,
            hosts: vec![host],
            ports,
            methods,
            paths,
            ..RuleParts::default()
        })
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    /// As [`Rule::parse`], with the word `allow` or `deny` in front if need be; without one the rule allows.
    fn from_str(text: &str) -> Result<Rule, RuleError> {
        let text = text.trim_ascii();
        match text.split_once(|character: char| character.is_ascii_whitespace()) {
            Some(("allow", rest)) => Rule::parse(Action::Allow, rest),
            Some(("deny", rest)) => Rule::parse(Action::Deny, rest),
            _ => Rule::parse(Action::Allow, text),
        }
    }
}

/// A `://` behind the first `/` belongs to a path.
fn split_scheme(target: &str) -> Result<(RuleScheme, &str), RuleError> {
    let (word, rest) = match target.split_once("://") {
        Some((word, rest)) if !word.contains('/') => (word, rest),
        _ => return Ok((RuleScheme::default(), target)),
    };
    [RuleScheme::Https, RuleScheme::Http, RuleScheme::Wss, RuleScheme::Ws, RuleScheme::Tcp]
        .into_iter()
        .find(|scheme| scheme.as_str() == word)
        .map(|scheme| (scheme, rest))
        .ok_or_else(|| RuleError::Scheme(excerpt(word)))
}

struct Target<'a> {
    host: &'a str,
    port: Option<&'a str>,
    path: Option<&'a str>,
}

/// The `/8` behind an address is its prefix; behind a name or a port it starts the path.
fn split_target(target: &str) -> Result<Target<'_>, RuleError> {
    let (host, rest) = target.split_at(host_length(target)?);
    let (port, path) = match rest.strip_prefix(':') {
        Some(rest) => {
            let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (Some(port), path)
        }
        None => (None, rest),
    };
    let path = Some(path).filter(|path| !path.is_empty());
    Ok(Target { host, port, path })
}

fn host_length(target: &str) -> Result<usize, RuleError> {
    if target.starts_with('[') {
        let not_ipv6 = || RuleError::Host(AuthorityError::NotIpv6(excerpt(target)));
        let end = target.find(']').ok_or_else(not_ipv6)? + 1;
        let rest = &target[end..];
        return match rest.is_empty() || rest.starts_with(['/', ':']) {
            true => Ok(end + prefix_length(rest)),
            false => Err(not_ipv6()),
        };
    }
    let head = &target[..target.find('/').unwrap_or(target.len())];
    let prefix = prefix_length(&target[head.len()..]);
    match head.matches(':').count() {
        0 if head.parse::<Ipv4Addr>().is_ok() => Ok(head.len() + prefix),
        0 => Ok(head.len()),
        1 => Ok(head.find(':').unwrap_or(head.len())),
        // `::1:443` could be an address or an address and a port; with a prefix it can only be the former.
        _ if head.parse::<Ipv6Addr>().is_ok() && prefix > 0 => Ok(head.len() + prefix),
        _ if head.parse::<Ipv6Addr>().is_ok() => {
            Err(RuleError::Host(AuthorityError::Ipv6WithoutBrackets(excerpt(head))))
        }
        _ => Err(RuleError::Host(AuthorityError::ExtraColon(excerpt(head)))),
    }
}

/// The length of `/8` at the start, or 0 if something else stands there.
fn prefix_length(rest: &str) -> usize {
    let Some(after) = rest.strip_prefix('/') else { return 0 };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let ends = after[digits..].is_empty() || after[digits..].starts_with(['/', ':']);
    if (1..=3).contains(&digits) && ends { 1 + digits } else { 0 }
}

impl Rule {
    /// The rule as text, one line per host, port and path; each is read back by [`Rule::from_str`]. A credential has
    /// a text form in git rules only.
    pub fn texts(&self) -> Vec<String> {
        if let Some(git) = self.git() {
            return git.texts(self.credential());
        }
        let mut texts = Vec::new();
        for host in self.hosts() {
            for port in self.written_ports(host) {
                if self.paths().is_empty() {
                    texts.push(self.text(host, &port, ""));
                }
                texts.extend(self.paths().iter().map(|path| self.text(host, &port, &path.to_string())));
            }
        }
        texts
    }

    /// The default port is not written, save before the path of an address, where `/8` would be read as a prefix.
    fn written_ports(&self, host: &HostPattern) -> Vec<String> {
        let needed = host.names_addresses() && !self.paths().is_empty();
        let written = |&port: &u16| match Some(port) == self.written_scheme().default_port() && !needed {
            true => String::new(),
            false => format!(":{port}"),
        };
        self.ports().iter().map(written).collect()
    }

    fn text(&self, host: &HostPattern, port: &str, path: &str) -> String {
        let action = match self.action() {
            Action::Allow => "",
            Action::Deny => "deny ",
        };
        let methods = self.methods().iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let space = if methods.is_empty() { "" } else { " " };
        let host = host.to_string();
        let scheme = match self.written_scheme() {
            RuleScheme::Https if !["allow", "deny", "git"].contains(&&*host) => String::new(),
            scheme => format!("{}://", scheme.as_str()),
        };
        format!("{action}{methods}{space}{scheme}{host}{port}{path}")
    }
}

impl fmt::Display for Rule {
    /// The lines of [`Rule::texts`].
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.texts().join("\n"))
    }
}

impl From<Rule> for RuleParts {
    fn from(rule: Rule) -> RuleParts {
        if let Some(git) = rule.git() {
            return RuleParts {
                git: Some(git.clone()),
                credential: rule.credential().map(str::to_owned),
                ..RuleParts::default()
            };
        }
        RuleParts {
            action: rule.action(),
            scheme: rule.written_scheme(),
            hosts: rule.hosts().to_vec(),
            ports: rule.ports().iter().copied().collect(),
            methods: rule.methods().iter().cloned().collect(),
            paths: rule.paths().to_vec(),
            git: None,
            credential: rule.credential().map(str::to_owned),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RuleParts::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rule, D::Error> {
        deserializer.deserialize_any(RuleVisitor)
    }
}

/// By hand instead of `untagged`, which would forget the field and the reason of an error.
struct RuleVisitor;

impl<'de> de::Visitor<'de> for RuleVisitor {
    type Value = Rule;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "a rule as text, e.g. \"GET https://api.example.com/v1/*\", or as an object with `hosts` or `git`",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Rule, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Rule, A::Error> {
        let parts = RuleParts::deserialize(MapAccessDeserializer::new(map))?;
        Rule::new(parts).map_err(de::Error::custom)
    }
}

impl JsonSchema for Rule {
    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let parts = generator.subschema_for::<RuleParts>();
        json_schema!({
            "description": "One rule, as text or in parts. The first rule that matches decides; no match is a denial.",
            "anyOf": [
                {
                    "type": "string",
                    "description": "[allow|deny] [METHOD,…] [https|http|wss|ws|tcp://]HOST[:PORT][/PATH], or git HOST/REPO [push=REF[,REF…]] [force] [delete] [no-fetch] [credential=NAME]",
                    "examples": ["GET,HEAD https://api.github.com/repos/*", "git github.com/me/project push=agent/*"],
                },
                parts,
            ],
        })
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
