//! From exec to the first byte of an HTTPS answer: what a short-lived tool feels.

use std::path::Path;
use std::process::Command;

use crate::place::{Place, User};
use crate::samples::Samples;
use crate::table::{Row, added, milliseconds};
use crate::{Fallible, HOST, process};

const CURL: &str = "/usr/bin/curl";

/// Measures every client in a jail and outside, each once per round.
pub(crate) fn measure(place: &Place, port: u16, rounds: usize) -> Vec<Row> {
    let mut rows = vec![row(
        "exec to first HTTPS byte, p50",
        rounds,
        || place.client_in_jail("once", port, false),
        || place.client_outside("once", port),
    )];
    if Path::new(CURL).exists() {
        rows.push(row("  with curl", rounds, || curl_in_jail(place, port), || curl_outside(place, port)));
    }
    rows
}

fn row(
    what: &str,
    rounds: usize,
    jailed: impl Fn() -> Fallible<Command>,
    direct: impl Fn() -> Fallible<Command>,
) -> Row {
    let once = |make: &dyn Fn() -> Fallible<Command>| -> Fallible<f64> {
        Ok(process::first_byte(&mut make()?)?.as_secs_f64() * 1000.0)
    };
    let (mut own, mut beside) = (Samples::default(), Samples::default());
    // The first round fills caches and is not counted.
    for round in 0..=rounds {
        match once(&jailed).and_then(|own| Ok((own, once(&direct)?))) {
            Ok(_) if round == 0 => {}
            Ok((jailed, direct)) => {
                own.add(vec![jailed]);
                beside.add(vec![direct]);
            }
            Err(error) => {
                eprintln!("{what}: {error}");
                return Row::failed(what);
            }
        }
    }
    let added = added(own.added(&beside), milliseconds);
    Row::new(what, milliseconds(own.median()), format!("direct {}", milliseconds(beside.median())), added)
}

fn curl_in_jail(place: &Place, port: u16) -> Fallible<Command> {
    let mut command = place.networked(port, Path::new(CURL), false)?;
    command.arg("curl");
    Ok(asking(command))
}

fn curl_outside(place: &Place, port: u16) -> Fallible<Command> {
    let mut command = place.command(User::Ordinary, CURL)?;
    command
        .arg("--connect-to")
        .arg(format!("{HOST}:443:127.0.0.1:{port}"))
        .arg("--cacert")
        .arg(place.authority());
    Ok(asking(command))
}

fn asking(mut command: Command) -> Command {
    command.args(["--silent", "--show-error", "--fail", &format!("https://{HOST}/small")]);
    command
}
