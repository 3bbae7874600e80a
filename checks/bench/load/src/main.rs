//! Measures nix-jail as its users meet it: through the command `jail`, beside the same thing done without it.
//!
//! One program in three parts, so that one file is all that a jail needs to hold: `measure` starts everything and
//! prints the table, `upstream` is the HTTPS server that is asked, `client` asks it, inside a jail or outside.

mod client;
mod crowd;
mod engine;
mod first_byte;
mod measure;
mod memory;
mod network;
mod place;
mod process;
mod samples;
mod start;
mod table;
mod upstream;

use std::error::Error;
use std::process::ExitCode;

/// A text for people: what could not be done, to which thing.
type Fallible<T> = Result<T, Box<dyn Error>>;

/// The host that every request is for. Reserved for examples, so it is nobody's.
const HOST: &str = "bench.example";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["upstream", directory] => upstream::serve(directory.as_ref()),
        ["client", rest @ ..] => client::obey(rest),
        ["once", rest @ ..] => client::once(rest),
        ["measure", rest @ ..] => measure::measure(rest),
        _ => {
            Err("usage: nix-jail-bench upstream DIR | client|once [ADDRESS:PORT] | measure …; see run.sh"
                .into())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nix-jail-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
