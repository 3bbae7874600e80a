//! The command line.

mod run;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::quantity::Span;

#[cfg(test)]
pub(crate) use run::ProxyUrl;
pub(crate) use run::{JailArgs, RunArgs, StoreArgs, connect_to};

/// Run a coding agent in a jail whose only way out is its own proxy. Real tokens never enter it.
#[derive(Debug, Parser)]
#[command(
    name = "jail",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    subcommand_value_name = "COMMAND|NAME",
    override_usage = "jail run [NAME] [OPTIONS] [-- COMMAND [ARGS]]\n       jail NAME [ARGS]\n       jail COMMAND",
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    /// More about what happens, on standard error (twice: much more).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  jail demo                                     see what a jail does, in one screen
  jail claude -p \"say hi\"                       Claude Code in the current directory, its token outside
  jail run --host curl --allow example.com -- curl https://example.com
  jail run --host git --host sh \\
       --git 'github.com/me/repo push=agent/*' \\
       --credential 'GITHUB_TOKEN=command:gh auth token@github.com' -- sh
  jail explain --jail claude GET https://api.anthropic.com/v1/models
  jail units claude                             the systemd units that run a jail as a service
  jail log --follow
  jail ps
  jail stop claude

NAME is a jail of $JAIL_PATH, /etc/nix-jail, ~/.config/nix-jail or a ready-made one:
claude, codex, copilot, gemini, opencode, pi, qwen, shell.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a jail.
    Run(Box<RunArgs>),
    /// Show what a jail does: dummy, swap, redaction, denial, no way around.
    Demo,
    /// Say what would happen to a request: which rule, which credential, what the job would see.
    Explain(Box<ExplainArgs>),
    /// Check a specification or policy file.
    Check {
        /// `NAME.json`, or a file of rules.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Write `jail.json`, which holds a project's additions to a jail.
    Init(InitArgs),
    /// Review and trust the project's `jail.json`, which has no effect before.
    Trust(TrustArgs),
    /// Print the specification of a jail as it is in effect here.
    Show(ShowArgs),
    /// Say what this host offers, and the cure for what it does not.
    Doctor,
    /// List the jobs that run.
    Ps(PsArgs),
    /// End jobs.
    Stop(StopArgs),
    /// Show what a job did on the network.
    Log(LogArgs),
    /// Write a jail as images and the manifest of a Kubernetes pod.
    #[cfg(target_os = "linux")]
    ExportOci(Box<ExportArgs>),
    /// Keep secrets in this user's keychain, where `keyring:NAME` reads them.
    #[command(subcommand, after_help = SECRET_EXAMPLES)]
    Secret(SecretCommand),
    /// List, find or remove persistent homes: one for each jail and workspace.
    #[command(subcommand, after_help = HOME_EXAMPLES)]
    Home(HomeCommand),
    /// Print the systemd units of declared jails, or install them.
    Units(UnitsArgs),
    /// List the named sets of rules (`@npm`, `@pypi` …), or print one.
    Rules {
        /// The set.
        #[arg(value_name = "@NAME")]
        name: Option<String>,
    },
    /// Print the JSON Schema of a specification.
    Schema,
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages to a directory.
    Man {
        /// Where to; it is made if it does not exist.
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
    /// Print a page of the manual's reference as Markdown.
    #[command(name = "__reference", hide = true)]
    Reference {
        /// Which page.
        page: ReferencePage,
    },
    /// Be one of the containers of such a pod.
    #[cfg(target_os = "linux")]
    #[command(name = "__pod", hide = true, subcommand)]
    Pod(crate::pod::Role),
    /// Make one HTTPS request (`jail demo` runs it where there is no curl).
    #[command(name = "__fetch", hide = true)]
    Fetch {
        /// `https://HOST/PATH` or `http://HOST:PORT/PATH`.
        url: String,
        /// `NAME: VALUE`.
        header: Option<String>,
    },
    /// What the units of a declared jail start.
    #[command(name = "__unit", hide = true)]
    Unit {
        /// Which of them.
        role: UnitRole,
        /// The jail's name.
        name: Option<String>,
    },
    /// A jail by its name.
    #[command(external_subcommand)]
    Named(Vec<OsString>),
}

/// A page of the manual that the program generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReferencePage {
    /// Commands and their options.
    CommandLine,
    /// The reasons of denials.
    Denials,
}

const SECRET_EXAMPLES: &str = "\
Examples:
  jail secret set nix-jail/anthropic            asks for the value; the ready-made jails look there
  pass show github | jail secret set github     or takes it from standard input
  jail secret test github                       reads it as a job would, and shows its shape
  jail secret test 'file:~/.config/login.json#/token'
  jail run shell --credential GITHUB_TOKEN=keyring:github@api.github.com --allow api.github.com";

/// What `jail secret` does.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Store a secret: from a prompt without echo, or from standard input. Never from the command line.
    Set {
        /// `SERVICE` or `SERVICE/ACCOUNT`.
        name: String,
    },
    /// The names that were stored so.
    List,
    /// Remove a secret.
    Rm {
        /// `SERVICE` or `SERVICE/ACCOUNT`.
        name: String,
    },
    /// Read a secret as a job would; say where it is, how long it is and what it looks like, never the value.
    Test {
        /// The name of a stored secret, or any source: `file:PATH`, `command:PROGRAM ARGS` …
        #[arg(value_name = "NAME|SOURCE")]
        source: String,
        /// Read it also from a file that others can read.
        #[arg(long)]
        insecure_file: bool,
    },
}

const HOME_EXAMPLES: &str = "\
Examples:
  jail home list                                every home, and the workspace that it belongs to
  jail home path claude                         the home of Claude Code's jobs in the current directory
  jail home path claude --workspace ~/src/project
  jail home reset claude                        removes it: the next job here begins with an empty home
  jail home reset claude --all                  removes the homes of all workspaces
  jail home adopt claude                        gives this workspace the home that all workspaces shared before

A job in one workspace never sees the home of another. Without NAME: jobs that `jail run` starts without a jail's name,
with --home persistent. Services have their homes in /var/lib.";

/// The subcommands of `jail home`.
#[derive(Debug, Subcommand)]
pub(crate) enum HomeCommand {
    /// List homes with their workspaces.
    List {
        /// Only those of this jail.
        name: Option<String>,
        /// One JSON object per line; times are milliseconds since 1970.
        #[arg(long)]
        json: bool,
    },
    /// Print where a home is on the host. Jobs wrote its files: execute none of them.
    Path {
        #[command(flatten)]
        target: HomeTarget,
    },
    /// Remove a home with everything in it.
    Reset {
        #[command(flatten)]
        target: HomeTarget,
        /// The homes of all workspaces.
        #[arg(long, conflicts_with_all = ["workspace", "former"])]
        all: bool,
        /// The former home that all workspaces shared.
        #[arg(long, conflicts_with = "workspace")]
        former: bool,
    },
    /// Make the former home that all workspaces shared the home of one workspace. What jobs of other projects left in it
    /// (also programs and settings that an agent obeys) is then in that workspace's jail.
    Adopt {
        #[command(flatten)]
        target: HomeTarget,
    },
}

/// Which home.
#[derive(Debug, Args)]
pub(crate) struct HomeTarget {
    /// The jail; without it, jobs without a jail's name.
    pub(crate) name: Option<String>,
    /// The workspace, `none` for jobs without one. Default: the current directory.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) workspace: Option<PathBuf>,
}

/// Options of `jail init`.
#[derive(Debug, Args)]
#[command(after_help = INIT_EXAMPLES)]
pub(crate) struct InitArgs {
    /// The jail that the project adds to. Asked for on the terminal if it is left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) from: Option<String>,
    /// Add the rules of this file, which `jail run --learn FILE` has written.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) learn: Option<PathBuf>,
}

const INIT_EXAMPLES: &str = "\
Examples:
  jail init --from claude
  jail run claude --learn ../rules.txt -- -p \"run the tests\" && jail init --from claude --learn ../rules.txt";

/// Options of `jail trust`.
#[derive(Debug, Args)]
#[command(after_help = TRUST_EXAMPLES)]
pub(crate) struct TrustArgs {
    /// The directory of the project.
    #[arg(default_value = ".", hide_default_value = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Trust it no longer.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) revoke: bool,
}

const TRUST_EXAMPLES: &str = "\
Examples:
  jail trust              shows the file, or what has changed in it, and asks
  jail trust --revoke

What is trusted is the text of the file in this directory. A jail reads the file without obeying it until then, and again
after a change, since jobs can write the workspace. In a jail the file is read-only.";

/// Options of `jail show`.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowArgs {
    /// The name of a jail, or the path of its file.
    #[arg(value_name = "NAME|FILE")]
    pub(crate) name: String,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  jail show claude
  jail show claude >~/.config/nix-jail/mine.json     to start a jail of one's own with";

/// Options of `jail explain`.
#[derive(Debug, Args)]
#[command(override_usage = "jail explain [OPTIONS] [METHOD] URL\n       jail explain NAME")]
pub(crate) struct ExplainArgs {
    /// The jail; without it only the rules given here.
    #[arg(long = "jail", value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) jail: JailArgs,
    /// The HTTP method, GET where it is left out; `fetch` or `push` for git; alone, the name of a jail to say everything
    /// about.
    #[arg(value_name = "METHOD|NAME")]
    pub(crate) method: String,
    /// The address, e.g. `https://api.github.com/repos/me/x` or `tcp://db.example.net:5432`; with `fetch` or `push` that
    /// of a repository.
    pub(crate) url: Option<String>,
    /// What is pushed: a branch or full ref, with `+` in front by force, with `:` in front deleted.
    #[arg(value_name = "REF")]
    pub(crate) refs: Vec<String>,
}

/// Options of `jail units`.
#[derive(Debug, Args)]
#[command(after_help = UNITS_EXAMPLES)]
pub(crate) struct UnitsArgs {
    /// Jails, or files of specifications.
    #[arg(required = true, value_name = "NAME|FILE")]
    pub(crate) names: Vec<String>,
    /// Put them into /etc/systemd/system, the specifications into /etc/nix-jail (root).
    #[arg(long)]
    pub(crate) install: bool,
    /// Stop these jails and take their units away (root).
    #[arg(long, conflicts_with = "install")]
    pub(crate) uninstall: bool,
    /// Write them to this directory.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["install", "uninstall"], value_hint = ValueHint::DirPath)]
    pub(crate) output: Option<PathBuf>,
}

const UNITS_EXAMPLES: &str = "\
Examples:
  jail units ./agent.json                       look at them
  sudo jail units --install ./agent.json        then: systemctl start nix-jail@agent
  sudo systemctl reload nix-jail-proxy@agent    the rules of /etc/nix-jail/agent.json from now on
  journalctl -u nix-jail-proxy@agent            what it did on the network";

/// What a unit of a declared jail does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UnitRole {
    /// Makes every address local.
    Network,
    /// Serves.
    Proxy,
    /// Makes a proxy take its rules anew.
    Reload,
    /// Runs the job.
    Job,
}

/// Options of `jail ps`.
#[derive(Debug, Args)]
#[command(after_help = PS_EXAMPLES)]
pub(crate) struct PsArgs {
    /// Also those that have ended, with their state and exit code.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// One JSON object per line; times are milliseconds since 1970.
    #[arg(long)]
    pub(crate) json: bool,
}

const PS_EXAMPLES: &str = "\
Examples:
  jail ps
  jail ps --all --json

Listed are the jobs of this user (root's are root's), and the services of this host's declared jails.";

/// Options of `jail stop`.
#[derive(Debug, Args)]
#[command(after_help = STOP_EXAMPLES)]
pub(crate) struct StopArgs {
    /// A job's id, the beginning of it, or a jail's name: then all of its jobs, and its service.
    #[arg(value_name = "JOB|NAME", required = true)]
    pub(crate) jobs: Vec<String>,
    /// How long a job may take to end by itself (SIGTERM) before it is killed. Services have a time of their own.
    #[arg(short, long, value_name = "TIME", default_value = "10s")]
    pub(crate) timeout: Span,
}

const STOP_EXAMPLES: &str = "\
Examples:
  jail stop claude-1f09c2aa
  jail stop claude                              every job of the jail claude
  jail stop --timeout 1m shell-0b

Prints the ids of the jobs when they are gone. Exit code: 0; 1 if nothing of that name runs.";

/// Options of `jail log`.
#[derive(Debug, Args)]
#[command(after_help = LOG_EXAMPLES)]
pub(crate) struct LogArgs {
    /// A job's id, the beginning of it, or a jail's name: its newest job, or the journal of its service. Without it
    /// the newest job.
    #[arg(value_name = "JOB|NAME")]
    pub(crate) job: Option<String>,
    /// The events as they are stored, one JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Go on until the job ends.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

const LOG_EXAMPLES: &str = "\
Examples:
  jail log
  jail log --follow claude
  jail log --json claude-1f09c2aa";

/// Options of `jail export-oci`.
#[cfg(target_os = "linux")]
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct ExportArgs {
    /// The jail.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) jail: JailArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Put this program of the host into the image, with the libraries and files that it needs.
    #[arg(long, value_name = "PROGRAM", help_heading = "Files", value_hint = ValueHint::ExecutablePath)]
    pub(crate) host: Vec<String>,
    /// Set a variable in the image.
    #[arg(long = "env", value_name = "NAME=VALUE", help_heading = "Environment")]
    pub(crate) environment: Vec<String>,
    /// Trust these certificates of upstream servers too (PEM).
    #[arg(long, value_name = "FILE", help_heading = "Network", value_hint = ValueHint::FilePath)]
    pub(crate) upstream_ca: Vec<PathBuf>,
    /// A new directory for the image layout (`oci`) and the manifest (`pod.json`). Default: `NAME-oci`.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) output: Option<PathBuf>,
    /// Where the cluster will find the images; the manifest names them there.
    #[arg(long, value_name = "REGISTRY/PATH", default_value = "localhost")]
    pub(crate) repository: String,
    /// The static `jail` that runs in the pod. Default: this program, if it is one.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::ExecutablePath)]
    pub(crate) program: Option<PathBuf>,
    /// More words for the command of the jail.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) words: Vec<OsString>,
}

#[cfg(target_os = "linux")]
const EXPORT_EXAMPLES: &str = "\
Examples:
  jail export-oci claude --repository registry.example/agents -- -p \"fix the tests\"
  jail export-oci shell --host curl --allow example.com -- -c 'curl https://example.com'

The pod has one container that walls off its network (NET_ADMIN), the proxy, and the job. Secrets come from the
cluster: `env:` and `file:` sources are filled from the Kubernetes secret NAME-credentials, in the proxy only.";

/// The arguments with `run` put in front where the first is an option of it: `jail --host curl -- curl …`.
pub(crate) fn with_default_command(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let own = ["-h", "--help", "-V", "--version", "-v", "-vv", "--verbose"];
    let is_run = arguments.get(1).is_some_and(|first| {
        first.as_encoded_bytes().starts_with(b"-") && own.iter().all(|option| first != option)
    });
    if is_run {
        arguments.insert(1, "run".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_without_a_command_mean_run() {
        let parse = |text: &str| {
            with_default_command(text.split(' ').map(OsString::from)).join(std::ffi::OsStr::new(" "))
        };
        assert_eq!(parse("jail --host curl -- curl"), "jail run --host curl -- curl");
        assert_eq!(parse("jail --help"), "jail --help");
        assert_eq!(parse("jail claude --help"), "jail claude --help");
    }

    #[test]
    fn a_name_takes_every_word_after_it() {
        let cli = Cli::try_parse_from(["jail", "claude", "-p", "say hi", "--help"]).unwrap();
        let Command::Named(words) = cli.command else { panic!("{cli:?}") };
        assert_eq!(words, ["claude", "-p", "say hi", "--help"]);
    }
}
