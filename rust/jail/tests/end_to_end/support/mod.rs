//! The language of the end-to-end tests.
//!
//! ```ignore
//! let server = Server::https("api.test");                    // an upstream on loopback, HTTP/1.1 and HTTP/2
//! Jail::new()
//!     .allow("GET https://api.test/**")                      // flags of `jail run`; anything else: .options([…])
//!     .upstream(&server)                                     // --connect-to and --upstream-ca
//!     .secret("TOKEN", &token)                               // in the operator's environment; must never get inside
//!     .credential("TOKEN=env:TOKEN@api.test")
//!     .run(["curl", "-sS", "https://api.test/echo"])         // brings curl; waits for the end, at most a minute
//!     .succeeds()                                            // what follows is asked of the end:
//!     .prints("bytes of standard output")
//!     .says("bytes of standard error")
//!     .allowed("api.test:443", 1)                            // from the line of `--json`
//!     .denied("other.test:443", "host-not-allowed")          // from that line and from the audit file
//!     .swapped("TOKEN", "api.test:443");
//! assert_eq!(server.last().header("authorization"), Some(&*format!("Bearer {token}")));
//! ```
//!
//! - [`Jail`]: a private home, state and configuration directory and a project directory as workspace, all in one
//!   temporary directory. `run` may be called several times. `.script(TEXT)` runs a shell script with `@shell`.
//! - [`Jail::start`] gives a [`Running`] job: `.wait_for("text")`, `.writes(b"…")`, `.signal(…)`, `.ends()`.
//! - [`Jail::start_in_terminal`] gives a [`Terminal`]: `.types("…")`, `.wait_for("…")`, `.resize(…)`, `.ends()`.
//! - [`Ended`]: how it ended. **Whatever the test asks, each job is also searched for every `.secret(…)`**: in its
//!   output, in the launcher's messages, in everything kept in the state directory.
//! - [`Server`]: routes in `upstream/routes.rs`; it remembers every request (`Seen`) and lets gated events go when
//!   the test says `.release(n)`.
//! - [`Server::answering`]: a server whose answers the test makes itself, chunk by chunk.
//! - [`GitServer`], [`Anthropic`] (a [`Server`] with one more route), [`ConnectProxy`], [`EchoServer`]: other outsides.
//! - [`Logins`]: a login with rotating tokens, its token server and the server that takes them.
//! - [`descendants`] of a launcher, [`gone`], and the [`places`] of a job's processes in which a text is, seen from
//!   outside.
//! - [`both_ways`] / [`without_proxy`]: a command by the proxy's variables and captured without them.
//! - `needs!("node", "git")`: ends the test, saying so, where this machine lacks a program.
//!
//! `JAIL_TEST_BACKEND=NAME` runs the whole suite with that backend, `JAIL_TEST_PROGRAM=PATH` with that `jail`;
//! `JAIL_TEST_RELAY=1` with Docker or Podman treats the engine as one on another kernel.
//!
//! Nothing sleeps: tests wait for output, requests, ends of processes, always with a bound.

pub(crate) mod backend;
mod captured;
mod ended;
mod jail;
mod programs;
mod running;
mod search;
mod secret;
#[path = "../../../../sandbox/tests/support/skip.rs"]
pub(crate) mod skip;
mod terminal;
mod upstream;

use std::time::Duration;

pub(crate) use captured::Captured;
pub(crate) use ended::{Ended, files};
pub(crate) use jail::{Jail, is_root};
pub(crate) use programs::{find, missing};
pub(crate) use running::{Running, descendants, gone};
pub(crate) use search::{Place, places};
pub(crate) use secret::random;
pub(crate) use terminal::Terminal;
pub(crate) use upstream::{ConnectProxy, EchoServer, GitServer, Logins, Seen, Server, anthropic};

/// The variables that name the proxy; programs that ignore them are captured all the same.
pub(crate) const PROXY_VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// The same command without the variables that name the proxy; the jail needs `.host(PROGRAM)` for it.
pub(crate) fn without_proxy(command: &[&str]) -> Vec<String> {
    let unset = PROXY_VARIABLES.iter().flat_map(|name| ["-u", name]);
    ["env"].into_iter().chain(unset).chain(command.iter().copied()).map(str::to_owned).collect()
}

/// The command as it is, by the proxy's variables, and without them, captured by the kernel.
pub(crate) fn both_ways(command: &[&str]) -> [Vec<String>; 2] {
    [command.iter().map(|&word| word.to_owned()).collect(), without_proxy(command)]
}

/// Nothing in this suite takes longer, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The engine that makes the jails; without one the test is skipped.
macro_rules! engine {
    () => {
        match $crate::support::backend::engine() {
            Some(engine) => engine,
            None => {
                $crate::support::skip::report("JAIL_TEST_BACKEND names no engine");
                return;
            }
        }
    };
}

/// Ends the test where a program is missing, loudly.
macro_rules! needs {
    ($($program:literal),+) => {
        if let Some(why) = crate::support::missing(&[$($program),+]) {
            $crate::support::skip::report(&why);
            return;
        }
    };
}
