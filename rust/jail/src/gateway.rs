//! Another way to the API of an agent's model, chosen by the operator's environment: a gateway of the operator's company,
//! Amazon Bedrock, Google's Vertex AI.
//!
//! ```text
//! when ["ANTHROPIC_BASE_URL"]   the operator has set it to https://gateway.example.com/anthropic
//!   servers     ["${ANTHROPIC_BASE_URL}"]       ─► allow https://gateway.example.com/anthropic/**, and nothing else that the
//!                                                  jail allows; its deny rules stay
//!   credentials ANTHROPIC_AUTH_TOKEN            ─► a dummy inside, the real one towards that host only
//!   passEnvironment ["ANTHROPIC_BASE_URL", …]   ─► the agent finds its way
//! ```

use std::net::Ipv6Addr;

use policy::{Action, Authority, Host, HostPattern, Rule};

use crate::failure::Failure;
use crate::operator::Operator;
use crate::spec::{CredentialSpec, JailSpec, is_variable};

/// The name inside for a gateway that listens on the operator's own machine, whose `localhost` the jail does not have.
const HOST_ALIAS: &str = "gateway.internal";

/// As [`apply`], by the operator's environment.
pub(crate) fn choose(spec: &mut JailSpec, operator: &Operator) -> Result<Option<String>, Failure> {
    let variable = |name: &str| operator.variable(name).and_then(|value| value.to_str()).map(str::to_owned);
    apply(spec, variable).map_err(Failure::usage)
}

/// Puts the gateway that the operator's environment chooses in place of the jail's own way to its model. Returns a
/// sentence about it, if there is one.
fn apply(spec: &mut JailSpec, variable: impl Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let is_on = |name: &String| variable(name).is_some_and(|value| !["0", "false"].contains(&&*value));
    let Some(gateway) = spec.gateways.iter().find(|it| it.when.iter().all(is_on)).cloned() else {
        return Ok(None);
    };
    let servers = gateway.servers.iter().map(|template| Server::of(template, &variable));
    let servers = servers.collect::<Result<Vec<Server>, String>>()?;
    let hosts = patterns(servers.iter());
    let own_hosts = spec.credentials.iter().filter(|it| it.group.is_some() && it.group == gateway.replaces);
    let mut own_hosts = own_hosts.flat_map(|credential| &credential.hosts);
    if own_hosts.any(|own| hosts.contains(own)) {
        // The variable names the usual way, for which the jail's own rules and credentials are.
        return Ok(None);
    }

    for credential in &mut spec.credentials {
        if credential.group.is_some() && credential.group == gateway.replaces {
            // Still declared, since seeds of the home may name it.
            credential.hosts.clear();
            credential.group = None;
            credential.oauth = None;
            credential.optional = true;
        }
    }
    let own: Vec<&String> = gateway.credentials.iter().map(|credential| &credential.variable).collect();
    spec.credentials.retain(|credential| !own.contains(&&credential.variable));
    let secure = patterns(servers.iter().filter(|server| server.scheme == "https"));
    let credentials = gateway.credentials.iter().cloned();
    spec.credentials.extend(credentials.map(|it| CredentialSpec {
        hosts: secure.clone(),
        // A token goes out over TLS only.
        optional: it.optional || secure.is_empty(),
        group: it.group.filter(|_| !secure.is_empty()),
        ..it
    }));

    spec.rules.retain(|rule| rule.action() == Action::Deny);
    for server in &servers {
        spec.rules.extend(server.rules()?);
    }
    spec.pass_environment.extend(gateway.pass_environment.iter().cloned());
    spec.environment.extend(gateway.environment.clone());
    for server in &servers {
        if let Some((name, url)) = &server.rewritten {
            spec.pass_environment.retain(|passed| passed != name);
            spec.environment.insert(name.clone(), url.clone());
            spec.upstream.connect_to.extend(server.connect_to.clone());
        }
    }
    let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let without_token = if secure.is_empty() { "; no token is sent there, as it has no TLS" } else { "" };
    Ok(Some(format!(
        "{} chooses another way to the model: the jail allows {} instead{without_token}",
        gateway.when.join(" with "),
        names.join(", ")
    )))
}

/// A server of a gateway.
struct Server {
    scheme: &'static str,
    authority: Authority,
    /// The methods that are allowed, as a rule has them; empty for all.
    methods: String,
    /// The allowed paths, in the form of rules: everything below the path of a variable's URL, or the path of the template.
    paths: Vec<String>,
    /// The variable that named it by a name that means another machine inside, and its value there.
    rewritten: Option<(String, String)>,
    connect_to: Option<String>,
}

impl Server {
    fn of(template: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Server, String> {
        match whole_variable(template) {
            Some(name) => {
                let url = variable(name)
                    .ok_or_else(|| format!("{name} is not set; set it to the gateway's URL"))?;
                Server::parse(&url, Some(name)).map_err(|error| format!("{name}: {error}"))
            }
            None => {
                let text = filled(template, variable)?;
                let (methods, url) = text.split_once(' ').unwrap_or(("", &text));
                let server = Server::parse(url, None)?;
                Ok(Server { methods: methods.to_owned(), ..server })
            }
        }
    }

    fn parse(url: &str, name: Option<&str>) -> Result<Server, String> {
        let form = "write https://HOST[:PORT][/PATH]";
        let (scheme, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => ("https", rest),
            (_, Some(rest)) => ("http", rest),
            // Not repeated: it may be a secret that was set by mistake.
            _ => return Err(format!("it is not a URL; {form}")),
        };
        if rest.contains(['@', '?', '#']) {
            return Err(format!(
                "a URL with a password, a query or a fragment would bring these into the jail; {form}"
            ));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let directory = path.trim_end_matches('/');
        let paths = match name {
            None => vec![path.to_owned()],
            // Whoever shares the host has other paths.
            Some(_) if directory.is_empty() => vec![String::new()],
            Some(_) => {
                let is_odd = |part: &str| part.is_empty() || [".", ".."].contains(&part);
                if directory.contains(['*', '%', '\\', ';']) || directory[1..].split('/').any(is_odd) {
                    return Err(format!("its path has `*`, `%`, `;`, `\\`, an empty part or `..`; {form}"));
                }
                vec![directory.to_owned(), format!("{directory}/**")]
            }
        };
        let port = if scheme == "https" { 443 } else { 80 };
        let authority =
            Authority::parse(authority, Some(port)).map_err(|error| format!("{error}; {form}"))?;
        let (Some(name), Some(address)) = (name, loopback(&authority)) else {
            return Ok(Server {
                scheme,
                authority,
                methods: String::new(),
                paths,
                rewritten: None,
                connect_to: None,
            });
        };
        if scheme == "https" {
            return Err(format!(
                "{} is this machine, which the jail does not reach by that name; name it by another name of its certificate and add --connect-to NAME:{}:{address}",
                authority.host, authority.port
            ));
        }
        let alias = Authority::parse(HOST_ALIAS, Some(authority.port)).map_err(|error| error.to_string())?;
        Ok(Server {
            scheme,
            methods: String::new(),
            paths,
            rewritten: Some((name.to_owned(), format!("{scheme}://{alias}{path}"))),
            connect_to: Some(format!("{alias}:{address}")),
            authority: alias,
        })
    }

    fn rules(&self) -> Result<Vec<Rule>, String> {
        let rule = |path: &String| {
            let text = format!("{} {}://{}{path}", self.methods, self.scheme, self.authority);
            Rule::parse(Action::Allow, text.trim_start()).map_err(|error| format!("{text}: {error}"))
        };
        self.paths.iter().map(rule).collect()
    }
}

/// The hosts of these servers, each once.
fn patterns<'a>(servers: impl Iterator<Item = &'a Server>) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    for server in servers {
        let host = HostPattern::Exact(server.authority.host.clone());
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// The variable that is all of the template.
fn whole_variable(template: &str) -> Option<&str> {
    template.strip_prefix("${")?.strip_suffix('}').filter(|name| is_variable(name))
}

/// Fills variables into a host name, each with one label: a value never changes which domain the name is in.
fn filled(template: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let (expression, after) =
            after.split_once('}').ok_or_else(|| format!("gateways: {template}: a ${{ is not closed"))?;
        let (names, default) = match expression.split_once(":-") {
            Some((names, default)) => (names, Some(default.to_owned())),
            None => (expression, None),
        };
        let value = names.split('|').find_map(variable).or(default);
        let value =
            value.ok_or_else(|| format!("{names} is not set; the jail's way to its model needs it"))?;
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if value.is_empty() || value.len() > 40 || !value.bytes().all(is_label) {
            return Err(format!(
                "{names}: it must be letters, digits and `-`, as it is a part of a host's name"
            ));
        }
        text.push_str(before);
        text.push_str(&value);
        rest = after;
    }
    Ok(text + rest)
}

/// The address on this machine, if the name is one of this machine itself.
fn loopback(authority: &Authority) -> Option<String> {
    let port = authority.port;
    match &authority.host {
        Host::Ip(address) if address.is_loopback() && address.is_ipv6() => {
            Some(format!("[{}]:{port}", Ipv6Addr::LOCALHOST))
        }
        Host::Ip(address) if address.is_loopback() => Some(format!("{address}:{port}")),
        Host::Name(name) if name.to_string() == "localhost" => Some(format!("127.0.0.1:{port}")),
        _ => None,
    }
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
