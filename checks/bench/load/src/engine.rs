//! Jails that Docker makes: their start beside `docker run` of the same command, and their network beside a native
//! jail's; both as the engine of this kernel has them, and relayed as for an engine on another one.

use std::collections::BTreeMap;
use std::process::Command;

use crate::Fallible;
use crate::place::{Place, User};
use crate::process::{self, Conversation};
use crate::samples::Samples;
use crate::table::{Row, Target, microseconds, milliseconds, times};

const CONNECTIONS: &str = "new 40";
const ONE: &str = "one 400";
const BULK: &str = "bulk";

/// What a start and a connection may cost beside the same without nix-jail, or without Docker.
const MOST: f64 = 1.3;

/// Who makes the jail, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Maker {
    DockerAlone,
    Native,
    Docker,
    Relayed,
}
use Maker::{Docker, DockerAlone, Native, Relayed};

impl Maker {
    fn options(self) -> &'static [&'static str] {
        match self {
            DockerAlone | Native => &["--backend", "native"],
            Docker => &["--backend", "docker"],
            Relayed => &["--backend", "docker", "--container-relay"],
        }
    }
}

/// Measures both; without an engine it says so, and there are no rows.
pub(crate) fn measure(place: &Place, port: u16, rounds: usize) -> Fallible<Vec<Row>> {
    let user = *place.users().last().unwrap_or(&User::Ordinary);
    let mut version = docker(place, user)?;
    version.args(["version", "--format", "{{.Server.Version}}"]);
    if let Err(error) = process::output(&mut version) {
        eprintln!("jails of Docker: skipped: no engine answers ({error}); DOCKER_HOST says where one is");
        return Ok(Vec::new());
    }
    let mut rows = starts(place, user, rounds)?;
    rows.extend(networks(place, user, port, rounds)?);
    Ok(rows)
}

fn starts(place: &Place, user: User, rounds: usize) -> Fallible<Vec<Row>> {
    let mut samples: BTreeMap<Maker, Samples> = BTreeMap::new();
    // The first round brings the images.
    let mut image = String::new();
    for round in 0..=rounds {
        for maker in [Docker, Relayed, DockerAlone] {
            let mut command = match maker {
                DockerAlone => alone(place, user, &image)?,
                _ => {
                    let mut command = place.jail_run(user)?;
                    command.args(maker.options()).args([
                        "--workspace",
                        "none",
                        "--host",
                        "true",
                        "--",
                        "true",
                    ]);
                    command
                }
            };
            let elapsed = process::run(&mut command)?;
            if round > 0 {
                samples.entry(maker).or_default().add(vec![elapsed.as_secs_f64() * 1000.0]);
            }
            if image.is_empty() {
                let mut images = docker(place, user)?;
                images.args(["images", "--filter", "label=nix-jail.root", "--quiet"]);
                image =
                    process::output(&mut images)?.lines().next().ok_or("the engine has no image")?.to_owned();
            }
        }
    }
    let row = |maker, what: &str| match (samples.get(&maker), samples.get(&DockerAlone)) {
        (Some(own), Some(alone)) => Row::new(
            what,
            milliseconds(own.median()),
            format!("docker run {}", milliseconds(alone.median())),
            times(own.ratio(alone)),
        )
        .judged(own.ratio(alone), Target::AtMost(MOST), times),
        _ => Row::failed(what),
    };
    Ok(vec![row(Docker, "start to exit of `true`, Docker, p50"), row(Relayed, "  relayed")])
}

/// The same command without a jail, in the jail's own empty image.
fn alone(place: &Place, user: User, image: &str) -> Fallible<Command> {
    let mut command = docker(place, user)?;
    command.args(["run", "--rm", "--network", "none", "--read-only"]);
    for directory in ["/usr/bin", "/usr/lib", "/usr/lib64"] {
        command.args(["--volume", &format!("{directory}:{directory}:ro")]);
    }
    command.args([image, "/usr/bin/true"]);
    Ok(command)
}

fn networks(place: &Place, user: User, port: u16, rounds: usize) -> Fallible<Vec<Row>> {
    let mut clients = BTreeMap::new();
    for maker in [Native, Docker, Relayed] {
        let options = [maker.options(), &["--workspace", "none"]].concat();
        let mut client = Conversation::start(&mut place.client_in_jail_of(user, &options, port)?)?;
        client.first_line()?;
        clients.insert(maker, client);
    }
    let mut samples: BTreeMap<(&str, Maker), Samples> = BTreeMap::new();
    for _ in 0..rounds {
        for question in [CONNECTIONS, ONE, BULK] {
            for (maker, client) in &mut clients {
                samples.entry((question, *maker)).or_default().add(client.ask(question)?);
            }
        }
    }
    for client in clients.into_values() {
        client.end()?;
    }
    let row = |question, maker, what: &str, text: &dyn Fn(f64) -> String| match (
        samples.get(&(question, maker)),
        samples.get(&(question, Native)),
    ) {
        (Some(own), Some(native)) => Row::new(
            what,
            text(own.median()),
            format!("native {}", text(native.median())),
            times(own.ratio(native)),
        ),
        _ => Row::failed(what),
    };
    let ratio = samples.get(&(CONNECTIONS, Docker)).zip(samples.get(&(CONNECTIONS, Native)));
    let connection = row(CONNECTIONS, Docker, "new connection in Docker, p50", &microseconds);
    let rate = |value: f64| format!("{value:.0}");
    Ok(vec![
        match ratio {
            Some((own, native)) => connection.judged(own.ratio(native), Target::AtMost(MOST), times),
            None => connection,
        },
        row(CONNECTIONS, Relayed, "  relayed", &microseconds),
        row(ONE, Docker, "one at a time in Docker, p50", &microseconds),
        row(ONE, Relayed, "  relayed", &microseconds),
        row(BULK, Docker, "64 MiB in Docker, MiB/s", &rate),
        row(BULK, Relayed, "  relayed", &rate),
    ])
}

fn docker(place: &Place, user: User) -> Fallible<Command> {
    place.command(user, "docker")
}
