//! The proxy beside direct TLS on loopback. Everything is pinned to one core, so that the proxy's work cannot hide
//! behind that of client and server.

use std::collections::BTreeMap;

use crate::memory::{self, Memory};
use crate::place::Place;
use crate::process::Conversation;
use crate::samples::Samples;
use crate::table::{Row, Target, microseconds, times};
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
        Ok(memory) => memory_row("  after all of the above", memory),
        Err(error) => {
            eprintln!("{error}");
            Row::failed("  after all of the above")
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
    /// A row that compares one side with the direct one, or says that one of them failed.
    fn row(
        &self,
        what: &str,
        question: &'static str,
        side: Side,
        make: impl Fn(&Samples, &Samples) -> Row,
    ) -> Row {
        let get = |side| self.samples.get(&(question, side)).filter(|samples| !samples.is_empty());
        match (get(side), get(Direct)) {
            (Some(own), Some(direct)) => make(own, direct),
            _ => Row::failed(what),
        }
    }
}

fn rows(results: &Results) -> Vec<Row> {
    let mut rows = vec![
        connections(results, "new connection, p50", Jail, true),
        connections(results, "  with a credential", Redacting, false),
        by_connect(results),
        results.row("  p99", CONNECTIONS, Jail, |own, direct| quantiles("  p99", own, direct, 0.99)),
        results.row("  longest", CONNECTIONS, Jail, |own, direct| {
            quantiles("  longest", own, direct, 1.0).judged(own.max(), Target::AtMost(STALL), microseconds)
        }),
    ];
    for (what, side) in [("one at a time, p50", Jail), ("  with a credential", Redacting)] {
        rows.push(results.row(what, ONE, side, |own, direct| {
            let added = own.added(direct);
            let row = Row::new(
                what,
                microseconds(own.median()),
                format!("direct {}", microseconds(direct.median())),
                format!("+{}", microseconds(added)),
            );
            if side == Jail { row.judged(added, Target::AtMost(40.0), microseconds) } else { row }
        }));
    }
    rows.push(results.row("  p99", ONE, Jail, |own, direct| quantiles("  p99", own, direct, 0.99)));
    let rates = [
        ("32 at a time, requests/s", MANY, Jail, Some(0.45)),
        ("  with a credential", MANY, Redacting, None),
        ("  HTTP/2, one connection", MANY_HTTP2, Jail, None),
        ("64 MiB, MiB/s", BULK, Jail, Some(0.45)),
        ("  with a credential, redacted", BULK, Redacting, Some(0.30)),
    ];
    for (what, question, side, least) in rates {
        rows.push(results.row(what, question, side, |own, direct| {
            let ratio = own.ratio(direct);
            let row = Row::new(
                what,
                format!("{:.0}", own.median()),
                format!("direct {:.0}", direct.median()),
                times(ratio),
            );
            match least {
                Some(least) => row.judged(ratio, Target::AtLeast(least), times),
                None => row,
            }
        }));
    }
    for (what, side) in
        [("event of a stream, added, p99", Jail), ("  with a credential, redacted", Redacting)]
    {
        rows.push(results.row(what, EVENTS, side, |own, direct| {
            let added = own.quantile(0.99) - direct.quantile(0.99);
            Row::new(
                what,
                microseconds(own.quantile(0.99)),
                format!("direct {}", microseconds(direct.quantile(0.99))),
                format!("+{}, p50 +{}", microseconds(added), microseconds(own.added(direct))),
            )
            .judged(added, Target::AtMost(1000.0), microseconds)
        }));
    }
    rows
}

fn connections(results: &Results, what: &str, side: Side, judged: bool) -> Row {
    results.row(what, CONNECTIONS, side, |own, direct| {
        let ratio = own.ratio(direct);
        let row = Row::new(
            what,
            microseconds(own.median()),
            format!("direct {}", microseconds(direct.median())),
            times(ratio),
        );
        if judged { row.judged(ratio, Target::AtMost(3.0), times) } else { row }
    })
}

/// What programs do that heed `HTTPS_PROXY`; there is nothing like it outside.
fn by_connect(results: &Results) -> Row {
    let what = "  through CONNECT";
    let direct = results.samples.get(&(CONNECTIONS, Direct));
    match (results.samples.get(&(CONNECTIONS_BY_CONNECT, Jail)), direct) {
        (Some(own), Some(direct)) => Row::new(
            what,
            microseconds(own.median()),
            format!("direct {}", microseconds(direct.median())),
            times(own.ratio(direct)),
        ),
        _ => Row::failed(what),
    }
}

fn quantiles(what: &str, own: &Samples, direct: &Samples, share: f64) -> Row {
    let (own, direct) = (own.quantile(share), direct.quantile(share));
    Row::new(what, microseconds(own), format!("direct {}", microseconds(direct)), times(own / direct))
}
