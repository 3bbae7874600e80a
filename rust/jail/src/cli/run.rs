//! What `jail run` takes, and `explain` with it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueHint};
use policy::Authority;

use crate::quantity::{Bytes, Span};
use crate::spec::{BackendName, Home, Language, WorkspaceMode};

/// Which jail and what to change in it; shared by `run` and `explain`.
#[derive(Debug, Default, Args)]
pub(crate) struct JailArgs {
    /// The operator's environment does not choose the way to an agent's model.
    #[arg(skip)]
    pub(crate) no_gateway: bool,
    /// Allow what the rule says, e.g. `example.com` or `GET,HEAD https://api.github.com/repos/**`; `@npm`, `@pypi` and others
    /// are named sets of rules (`jail rules`).
    #[arg(long, value_name = "RULE", help_heading = "Network")]
    pub(crate) allow: Vec<String>,
    /// Refuse what the rule says; looked at before every `--allow`.
    #[arg(long, value_name = "RULE", help_heading = "Network")]
    pub(crate) deny: Vec<String>,
    /// Let git read a repository, push to some of its refs, and nothing else of its host.
    ///
    /// `push=` names branches or full refs, `*` stays within one part of a name, `^` takes out again. Such a ref may be
    /// made and moved on; `force` and `delete` allow these too, `no-fetch` takes reading away. `credential=NAME` is the
    /// credential that goes along. Examples: `github.com/me/project`,
    /// `github.com/me/project push=agent/*,refs/tags/v*`, `git.example.com/team/* push=**,^main force`.
    #[arg(
        long,
        value_name = "HOST/REPO[ push=REF,…][ force][ delete][ no-fetch][ credential=NAME]",
        help_heading = "Network"
    )]
    pub(crate) git: Vec<String>,
    /// Rules from a file, one per line (`allow RULE` or `deny RULE`), after those of the command line.
    #[arg(long, value_name = "FILE", help_heading = "Network", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Vec<PathBuf>,
    /// A dummy in VAR, the real one from SOURCE, towards these hosts only.
    ///
    /// SOURCE is `env:VAR`, `file:PATH[#/json/pointer]`, `command:PROGRAM ARGS`, `keyring:SERVICE[/ACCOUNT]` or
    /// `systemd:NAME`. Given again with the same VAR it is another place to look.
    #[arg(long, value_name = "VAR=SOURCE@HOST[,HOST…]", help_heading = "Credentials")]
    pub(crate) credential: Vec<String>,
    /// Where the credential VAR stands in a request; default: the well-known headers (`Authorization`, `x-api-key` …).
    ///
    /// PLACE is `header:NAME`, `header:NAME: Token token={}`, `basic:user`, `basic:password`, `query:NAME`, `cookie:NAME`,
    /// or a part of AWS keys: `aws:access-key-id`, `aws:secret-access-key`, `aws:session-token`. May be given again.
    #[arg(long, value_name = "VAR=PLACE", help_heading = "Credentials")]
    pub(crate) inject: Vec<String>,
    /// Read secrets also from files that others can read.
    #[arg(long, help_heading = "Credentials")]
    pub(crate) insecure_file: bool,
}

/// What of the Nix store is in the jail.
#[derive(Debug, Default, Args)]
pub(crate) struct StoreArgs {
    /// Put this package of nixpkgs into the jail, with what it needs to run: `curl`, `python3Packages.requests`; or a
    /// flake's: `nixpkgs#hello`, `.#tool`.
    #[arg(short, long, value_name = "PACKAGE", help_heading = "Packages (Nix)")]
    pub(crate) package: Vec<String>,
    /// The nixpkgs of `--package`: a directory or a flake reference. Default: the one that comes with this program,
    /// `<nixpkgs>`, or the flake registry's.
    #[arg(long, value_name = "REF|PATH", help_heading = "Packages (Nix)")]
    pub(crate) nixpkgs: Option<String>,
    /// Put a flake's dev shell into the jail: its programs and variables; its shellHook runs inside.
    #[arg(long, value_name = "REF[#NAME]", help_heading = "Packages (Nix)")]
    pub(crate) flake: Option<String>,
    /// The same for the flake of the workspace.
    #[arg(long, conflicts_with = "flake", help_heading = "Packages (Nix)")]
    pub(crate) develop: bool,
    /// Ask Nix again, also where the answer is known from last time: a name such as `nixpkgs` means what it meant then.
    #[arg(long, help_heading = "Packages (Nix)")]
    pub(crate) refresh: bool,
}

/// Options of `jail run`.
#[derive(Debug, Default, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct RunArgs {
    /// The jail to start from; without it an empty one.
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) jail: JailArgs,
    /// Send this host and port to that address, past resolver and address guard.
    #[arg(long, value_name = "HOST:PORT:ADDRESS:PORT", value_parser = connect_to, help_heading = "Network")]
    pub(crate) connect_to: Vec<(Authority, SocketAddr)>,
    /// Trust these certificates too, of authorities or of single servers: a PEM file, or a directory of such files.
    #[arg(long, value_name = "FILE|DIR", help_heading = "Network", value_hint = ValueHint::AnyPath)]
    pub(crate) upstream_ca: Vec<PathBuf>,
    /// Reach the outside through this proxy: `http://[NAME:PASSWORD@]HOST:PORT`, `https://`, `socks5://` (names are resolved
    /// here) or `socks5h://` (there). Default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY; NO_PROXY names exceptions. `none`: no proxy.
    #[arg(long, value_name = "URL|none", help_heading = "Network")]
    pub(crate) upstream_proxy: Option<ProxyUrl>,
    /// Allow everything that the address guard permits, and write the least policy for it to FILE at the end.
    #[arg(long, value_name = "FILE", help_heading = "Network", value_hint = ValueHint::FilePath)]
    pub(crate) learn: Option<PathBuf>,
    /// Swap credentials even while learning, when the policy does not protect them.
    #[arg(long, requires = "learn", help_heading = "Credentials")]
    pub(crate) learn_with_credentials: bool,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Put this program of the host into the jail, with the libraries and files that it needs. `@shell`: a shell with the
    /// usual small tools; `@system`: what the host's distribution has installed in `/usr`, read-only.
    #[arg(long, value_name = "PROGRAM", help_heading = "Files", value_hint = ValueHint::ExecutablePath)]
    pub(crate) host: Vec<String>,
    /// Put this language in the version that your version manager gives by default into the jail, read-only (rustup; nvm,
    /// fnm, Volta, nodenv; pyenv, uv; goenv; SDKMAN!), or else the one on `PATH`. Caches are in the jail's home.
    #[arg(long, value_name = "LANGUAGE", help_heading = "Files")]
    pub(crate) toolchain: Vec<Language>,
    /// Let the job make sandboxes of its own: user namespaces beneath the jail's, with mounts in them (browsers, bubblewrap,
    /// the sandboxes of agents). Goes without Landlock.
    #[arg(long, help_heading = "Files")]
    pub(crate) nested_sandbox: bool,
    /// Leave out `@system`, which the presets name: the jail has a shell with the usual small tools, and not the programs of
    /// the host's `/usr`.
    #[arg(long, help_heading = "Files")]
    pub(crate) minimal: bool,
    /// Put a file or directory of the host into the jail, writable.
    #[arg(long, value_name = "SOURCE[:TARGET]", help_heading = "Files", value_hint = ValueHint::AnyPath)]
    pub(crate) bind: Vec<String>,
    /// Put a file or directory of the host into the jail, read-only.
    #[arg(long, value_name = "SOURCE[:TARGET]", help_heading = "Files", value_hint = ValueHint::AnyPath)]
    pub(crate) ro_bind: Vec<String>,
    /// The directory the job works in, at its own path; `none` for no directory. Default: the current one.
    #[arg(long, value_name = "DIR", help_heading = "Files", value_hint = ValueHint::DirPath)]
    pub(crate) workspace: Option<PathBuf>,
    /// How the job sees its workspace.
    #[arg(long, value_name = "MODE", help_heading = "Files")]
    pub(crate) workspace_mode: Option<WorkspaceMode>,
    /// Take any directory as workspace, even `/` or the home directory.
    #[arg(long, help_heading = "Files")]
    pub(crate) workspace_any: bool,
    /// The job's home directory: removed at the end, or kept for the next job of this jail in this workspace.
    #[arg(long, value_name = "KIND", help_heading = "Files")]
    pub(crate) home: Option<Home>,
    /// Show a file or directory of your home directory in the job's home, read-only, at the same place: `~/.config/tool`.
    #[arg(long, value_name = "PATH", help_heading = "Files", value_hint = ValueHint::AnyPath)]
    pub(crate) import: Vec<PathBuf>,

    /// Set a variable in the jail.
    #[arg(long = "env", value_name = "NAME=VALUE", help_heading = "Environment")]
    pub(crate) environment: Vec<String>,
    /// Take a variable over from this environment.
    #[arg(long = "pass-env", value_name = "NAME", help_heading = "Environment")]
    pub(crate) pass_environment: Vec<String>,

    /// Memory, e.g. `4G` (needs a cgroup of one's own; a line says if there is none).
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(crate) memory: Option<Bytes>,
    /// CPUs' worth of time, e.g. `1.5`.
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub(crate) cpus: Option<f64>,
    /// Processes and threads.
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub(crate) pids: Option<u64>,
    /// Wall-clock time, e.g. `30s`, `10m`, `2h`.
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub(crate) timeout: Option<Span>,

    /// By how much the free space of the disks that the job writes to may shrink, e.g. `20G`; whoever takes it.
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(crate) disk: Option<Bytes>,

    /// Memory of the job's proxy beyond that of an idle one, e.g. `128M`; 64M by default.
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(crate) proxy_memory: Option<Bytes>,

    /// Who makes the jail.
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<BackendName>,
    /// Reach the job through the engine's streams alone, as is done by itself where the engine runs on another kernel
    /// (`--backend docker`, `podman`).
    #[arg(long)]
    pub(crate) container_relay: bool,
    /// Show the command line that starts the job's unit, and run nothing (`--backend systemd`).
    #[arg(long)]
    pub(crate) print_units: bool,
    /// End standard error with one line of JSON: the job's summary.
    #[arg(long)]
    pub(crate) json: bool,
    /// No summary.
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,

    /// Words of a command that stand before `--`: an error says where they belong.
    #[arg(hide = true)]
    pub(crate) misplaced: Vec<OsString>,
    /// The command; added to the command of the jail NAME. Where that is a shell, it runs in the shell's place.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) words: Vec<OsString>,
}

const RUN_EXAMPLES: &str = "\
Examples:
  jail run --host curl --allow example.com -- curl https://example.com
  jail run -p bash -p curl --allow example.com -- curl https://example.com
  jail run --develop -- make                    the dev shell of ./flake.nix, its shellHook inside
  jail run claude --memory 4G --workspace ~/src/project -- -p \"fix the tests\"
  jail run shell --learn rules.txt              work for a while, then read rules.txt
  jail run shell --policy rules.txt
  jail run shell --backend systemd --memory 2G  in a unit: systemctl --user status 'nix-jail-*'

Exit code: the command's own; 128+N if signal N ended it; 124 if its time or disk ran out;
125 if the jail could not be made; 126/127 if the command could not be run/found; 2 for a wrong option.";

/// Reads `HOST:PORT:ADDRESS:PORT`; an IPv6 address is in brackets.
pub(crate) fn connect_to(text: &str) -> Result<(Authority, SocketAddr), String> {
    let cure = "write HOST:PORT:ADDRESS:PORT, e.g. api.example.com:443:127.0.0.1:8443";
    let split = text
        .rfind(":[")
        .or_else(|| text.match_indices(':').rev().nth(1).map(|(position, _)| position))
        .ok_or_else(|| cure.to_owned())?;
    let authority = Authority::parse(&text[..split], None).map_err(|error| format!("{error}; {cure}"))?;
    let address = text[split + 1..].parse().map_err(|_| cure.to_owned())?;
    Ok((authority, address))
}

/// What `--upstream-proxy` says. It is read later, where an error does not repeat it: it may hold a password.
#[derive(Clone)]
pub(crate) struct ProxyUrl(pub(crate) String);

impl FromStr for ProxyUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<ProxyUrl, Infallible> {
        Ok(ProxyUrl(text.to_owned()))
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ProxyUrl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_to_reads_names_and_addresses() {
        let (authority, address) = connect_to("api.example.com:443:127.0.0.1:8443").unwrap();
        assert_eq!(
            (authority.to_string(), address.to_string()),
            ("api.example.com:443".into(), "127.0.0.1:8443".into())
        );
        let (authority, address) = connect_to("[2001:db8::1]:443:[::1]:8443").unwrap();
        assert_eq!(
            (authority.to_string(), address.to_string()),
            ("[2001:db8::1]:443".into(), "[::1]:8443".into())
        );
        for text in ["", "a", "a:1", "a:1:b:2", "a:1:127.0.0.1", "a::127.0.0.1:2", ":1:127.0.0.1:2"] {
            assert!(connect_to(text).is_err(), "{text:?}");
        }
    }
}
