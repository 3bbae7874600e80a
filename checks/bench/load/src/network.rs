//! The proxy beside direct TLS on loopback. Everything is pinned to one core, so that the proxy's work cannot hide
//! behind that of client and server.

use std::collections::BTreeMap;

use crate::memory::{self, Memory};
use crate::place::Place;
use crate::process::Conversation;
use crate::samples::Samples;
use crate::table::{Row, Target, added, microseconds, times};
use crate::{Fallible, table};

const CONNECTIONS: &str = "new 40";
const CONNECTIONS_BY_CONNECT: &str = "new-by-connect 40";
const ONE: &str = "one 1500";
const MANY: &str = "many 32 700";
const MANY_HTTP2: &str = "many-http2 32 400";
const BULK: &str = "bulk";
const EVENTS: &str = "events 40";
/// A delayed acknowledgement that Nagle's algorithm waits for takes this long, in microseconds.
const STALL: f64 = 40_000.0;
/// What a proxy may add to a request, and to an event of a stream, in microseconds.
const ADDED: f64 = 40.0;
const DELAY: f64 = 1000.0;

const AFTERWARDS: &str = "memory of that job afterwards";

/// How the client reaches the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Direct,
    Jail,
    /// In a jail with a credential for the upstream's host: every request is swapped, every answer searched.
    Redacting,
}
use Side::{Direct, Jail, Redacting};

/// What is asked of whom, each once per round.
const QUESTIONS: [(&str, &[Side]); 7] = [
    (CONNECTIONS, &[Direct, Jail, Redacting]),
    (CONNECTIONS_BY_CONNECT, &[Jail]),
    (ONE, &[Direct, Jail, Redacting]),
    (MANY, &[Direct, Jail, Redacting]),
    (MANY_HTTP2, &[Direct, Jail]),
    (BULK, &[Direct, Jail, Redacting]),
    (EVENTS, &[Direct, Jail, Redacting]),
];

/// Measures all questions; the caller has pinned this process and the upstream.
pub(crate) fn measure(place: &Place, port: u16, rounds: usize) -> Fallible<Vec<Row>> {
    let mut clients = BTreeMap::new();
    for side in [Direct, Jail, Redacting] {
        let mut command = match side {
            Direct => place.client_outside("client", port)?,
            Jail => place.client_in_jail("client", port, false)?,
            Redacting => place.client_in_jail("client", port, true)?,
        };
        match ready(&mut command) {
            Ok(client) => drop(clients.insert(side, client)),
            Err(error) => eprintln!("{side:?}: {error}"),
        }
    }
    let mut samples: BTreeMap<(&str, Side), Samples> = BTreeMap::new();
    for round in 0..rounds {
        for (question, sides) in QUESTIONS {
            for position in 0..sides.len() {
                // Each round starts with another side.
                let side = sides[(position + round) % sides.len()];
                let Some(client) = clients.get_mut(&side) else { continue };
                match client.ask(question) {
                    Ok(numbers) => samples.entry((question, side)).or_default().add(numbers),
                    Err(error) => eprintln!("{side:?}: {error}"),
                }
            }
        }
    }
    let mut rows = rows(&Results { samples });
    rows.extend(clients.get(&Jail).map(|client| match memory::of(client.id()) {
        Ok(memory) => memory_row(AFTERWARDS, memory),
        Err(error) => {
            eprintln!("{error}");
            Row::failed(AFTERWARDS)
        }
    }));
    for (side, client) in clients {
        client.end().map_err(|error| format!("{side:?}: {error}"))?;
    }
    Ok(rows)
}

/// A row about memory; its caller may judge it.
pub(crate) fn memory_row(what: &str, memory: Memory) -> Row {
    let all = memory.proportional.map_or_else(String::new, |bytes| {
        format!("{} processes, PSS {}", memory.processes, table::megabytes(bytes))
    });
    Row::new(what, table::megabytes(memory.launcher), all, String::new())
}

/// A client that has shown that its token is swapped both ways.
fn ready(command: &mut std::process::Command) -> Fallible<Conversation> {
    let mut client = Conversation::start(command)?;
    client.first_line()?;
    client.ask("check")?;
    Ok(client)
}

struct Results {
    samples: BTreeMap<(&'static str, Side), Samples>,
}

impl Results {
    /// A row that puts one side beside the direct one, or says that one of them failed.
    fn row(
        &self,
        what: &str,
        question: &'static str,
        side: Side,
        make: impl Fn(&str, &Samples, &Samples) -> Row,
    ) -> Row {
        let get = |question, side| self.samples.get(&(question, side)).filter(|samples| !samples.is_empty());
        // There is nothing like CONNECT outside: it stands beside plain connections.
        let beside = if question == CONNECTIONS_BY_CONNECT { CONNECTIONS } else { question };
        match (get(question, side), get(beside, Direct)) {
            (Some(own), Some(direct)) => make(what, own, direct),
            _ => Row::failed(what),
        }
    }
}

fn rows(results: &Results) -> Vec<Row> {
    let row = |what, question, side, make: &dyn Fn(&str, &Samples, &Samples) -> Row| {
        results.row(what, question, side, make)
    };
    let most = |limit| {
        move |what: &str, own: &Samples, direct: &Samples| {
            connection(what, own, direct).judged(own.ratio(direct), Target::AtMost(limit), times)
        }
    };
    let least = |limit| {
        move |what: &str, own: &Samples, direct: &Samples| {
            rate(what, own, direct).judged(own.ratio(direct), Target::AtLeast(limit), times)
        }
    };
    vec![
        row("new connection, p50", CONNECTIONS, Jail, &most(3.0)),
        row("  with a credential", CONNECTIONS, Redacting, &connection),
        row("  through CONNECT", CONNECTIONS_BY_CONNECT, Jail, &connection),
        row("  p99", CONNECTIONS, Jail, &|what, own, direct| quantiles(what, own, direct, 0.99)),
        row("  longest", CONNECTIONS, Jail, &|what, own, direct| {
            quantiles(what, own, direct, 1.0).judged(own.max(), Target::AtMost(STALL), microseconds)
        }),
        row("one at a time, p50", ONE, Jail, &|what, own, direct| {
            request(what, own, direct).judged(own.added(direct), Target::AtMost(ADDED), microseconds)
        }),
        row("  with a credential", ONE, Redacting, &request),
        row("  p99", ONE, Jail, &|what, own, direct| quantiles(what, own, direct, 0.99)),
        row("32 at a time, requests/s", MANY, Jail, &least(0.45)),
        row("  with a credential", MANY, Redacting, &rate),
        row("  HTTP/2, one connection", MANY_HTTP2, Jail, &rate),
        row("64 MiB, MiB/s", BULK, Jail, &least(0.45)),
        row("  with a credential, redacted", BULK, Redacting, &least(0.30)),
        row("event of a stream, p99", EVENTS, Jail, &event),
        row("  with a credential, redacted", EVENTS, Redacting, &event),
    ]
}

fn connection(what: &str, own: &Samples, direct: &Samples) -> Row {
    beside(what, own.median(), direct.median(), microseconds, times(own.ratio(direct)))
}

fn request(what: &str, own: &Samples, direct: &Samples) -> Row {
    beside(what, own.median(), direct.median(), microseconds, added(own.added(direct), microseconds))
}

fn rate(what: &str, own: &Samples, direct: &Samples) -> Row {
    beside(what, own.median(), direct.median(), |value| format!("{value:.0}"), times(own.ratio(direct)))
}

/// The late ones are what a reader of a stream sees, so they are judged.
fn event(what: &str, own: &Samples, direct: &Samples) -> Row {
    let (late, late_direct) = (own.quantile(0.99), direct.quantile(0.99));
    let compared = format!(
        "{}, p50 {}",
        added(late - late_direct, microseconds),
        added(own.added(direct), microseconds)
    );
    let row = beside(what, late, late_direct, microseconds, compared);
    row.judged(late - late_direct, Target::AtMost(DELAY), microseconds)
}

fn quantiles(what: &str, own: &Samples, direct: &Samples, share: f64) -> Row {
    let (own, direct) = (own.quantile(share), direct.quantile(share));
    beside(what, own, direct, microseconds, times(own / direct))
}

fn beside(what: &str, own: f64, direct: f64, text: impl Fn(f64) -> String, compared: String) -> Row {
    Row::new(what, text(own), format!("direct {}", text(direct)), compared)
}
