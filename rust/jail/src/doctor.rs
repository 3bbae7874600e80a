//! `jail doctor`: what this host offers, and the cure for what it does not.

use std::process::ExitCode;

use sandbox::backend::{Finding, State};

use crate::console;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::{backend, resolve, secrets};

/// Prints every finding; exit code 1 if the default backend cannot make a jail.
pub(crate) fn doctor(operator: &Operator) -> Result<ExitCode, Failure> {
    let backends = backend::diagnose(operator);
    let default = backends.first().map(|(_, findings)| findings.as_slice()).unwrap_or_default();
    let usable = !default.iter().any(|finding| finding.state == State::Missing);
    let mut text = String::new();
    for (position, (name, findings)) in backends.iter().enumerate() {
        let default = if position == 0 { " (default)" } else { "" };
        text.push_str(&section(&format!("{name} backend{default}"), findings));
    }
    text.push_str(&section("packages", &[resolve::nix::diagnose(operator)]));
    text.push_str(&section("credentials", &secrets::diagnose(&operator.into())));
    text.push_str(&section("upstream", &[trust_roots()]));
    text.push_str(if usable {
        "\nThis host can run jails.\n"
    } else {
        "\nThis host cannot run jails yet: see the cures above.\n"
    });
    console::print(&text)?;
    Ok(ExitCode::from(u8::from(!usable)))
}

fn section(title: &str, findings: &[Finding]) -> String {
    let mut text = format!("{title}\n");
    for finding in findings {
        let mark = match finding.state {
            State::Ok => "ok      ",
            State::Degraded => "degraded",
            State::Missing => "MISSING ",
        };
        text.push_str(&format!("  {mark}  {}\n", finding.what));
        for line in finding.cure.iter().flat_map(|cure| cure.lines()) {
            text.push_str(&format!("            {line}\n"));
        }
    }
    text
}

fn trust_roots() -> Finding {
    match proxy::system_roots() {
        Ok(count) => Finding {
            what: format!("{count} certificate authorities of this system are trusted"),
            state: State::Ok,
            cure: None,
        },
        Err(error) => {
            Finding { what: error, state: State::Degraded, cure: Some("or set SSL_CERT_FILE".to_owned()) }
        }
    }
}
