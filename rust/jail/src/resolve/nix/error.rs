//! Why Nix did not give what was asked for.

use std::io;
use std::path::PathBuf;

/// Why there is no closure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NixError {
    /// No Nix on this host.
    #[error(
        "there is no Nix on this host ({program} is not in {looked}); install it (https://nixos.org/download), or go on without: --host PROGRAM puts this host's own program into the jail"
    )]
    NoNix {
        /// The program that was looked for.
        program: String,
        /// The directories.
        looked: String,
    },
    /// It is there and does not start.
    #[error("cannot start {program}: {error}; repair the installation of Nix, or use --host PROGRAM instead", program = .program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A text that is no package.
    #[error(
        "-p {text:?}: not the name of a package; write it as nixpkgs has it (curl, python3Packages.requests), or FLAKE#NAME; words for the command come after --"
    )]
    Name {
        /// The text.
        text: String,
    },
    /// A text that is no flake.
    #[error(
        "{text:?} is not a flake reference; write e.g. . or ./directory, github:OWNER/REPOSITORY, path:/directory, with #NAME for a part of it"
    )]
    Reference {
        /// The text.
        text: String,
    },
    /// A name that nixpkgs does not have.
    #[error("there is no package {name} in {nixpkgs}{}", did_you_mean(.near))]
    Unknown {
        /// The name.
        name: String,
        /// Where it was looked for.
        nixpkgs: String,
        /// Names that are like it.
        near: Vec<String>,
    },
    /// A name for something else.
    #[error("{name} is in nixpkgs, but it is not a package; name one in it as {name}.NAME")]
    NotAPackage {
        /// The name.
        name: String,
    },
    /// No nixpkgs anywhere.
    #[error(
        "-p needs a nixpkgs and there is none (looked at JAIL_NIXPKGS, NIX_PATH and the default channels; flakes are not enabled); name one: --nixpkgs github:NixOS/nixpkgs/nixos-unstable, or --nixpkgs /path/to/nixpkgs"
    )]
    NoNixpkgs,
    /// The nixpkgs that was named is none.
    #[error("{path} is not a nixpkgs: {why}; --nixpkgs takes a directory with a default.nix, or a flake reference", path = .path.display())]
    NotNixpkgs {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The workspace has no flake.
    #[error("--develop: there is no flake.nix in {directory}; name the flake with --flake REF", directory = .directory.display())]
    NoFlake {
        /// Where.
        directory: PathBuf,
    },
    /// A flake without such a dev shell.
    #[error(
        "the flake {flake} has no such dev shell ({errors}); `nix flake show` lists what it has, --flake REF#NAME names one"
    )]
    NoShell {
        /// Which.
        flake: String,
        /// What Nix says.
        errors: String,
    },
    /// A dev shell whose hook nobody can run.
    #[error("the dev shell has a shellHook and no bash to run it; add bash to the shell's packages")]
    NoBash,
    /// Nix says no.
    #[error("cannot get {what}; Nix says:\n{errors}{}", cure(.errors))]
    Failed {
        /// What was asked for.
        what: String,
        /// The end of what Nix said.
        errors: String,
    },
    /// Nix says something else than it should.
    #[error(
        "{what} printed what nobody understands: {text:?}; this version of Nix may be too old or too new (2.8 and newer work)"
    )]
    Unexpected {
        /// What was done.
        what: String,
        /// The beginning of it.
        text: String,
    },
    /// A store in the home directory, or on another machine.
    #[error(
        "this user's Nix keeps its store elsewhere than where its paths say (NIX_REMOTE, `store` in nix.conf, or there is no /nix for it); a jail takes store paths from their own place: install Nix with a daemon, or use --host PROGRAM instead"
    )]
    Elsewhere,
    /// The cache cannot be used.
    #[error("cannot use {path}: {error}; closures are kept there (XDG_CACHE_HOME moves it)", path = .path.display())]
    Cache {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl NixError {
    /// Output of another shape than the documented one.
    pub(crate) fn unexpected(what: &str, text: &str) -> NixError {
        NixError::Unexpected { what: what.to_owned(), text: text.chars().take(200).collect() }
    }

    /// The same failure, said of the thing that the operator named.
    pub(crate) fn about(self, thing: &str) -> NixError {
        match self {
            NixError::Failed { errors, .. } => NixError::Failed { what: thing.to_owned(), errors },
            other => other,
        }
    }
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => "; `nix search nixpkgs WORD` or https://search.nixos.org finds names".to_owned(),
        _ => format!("; did you mean {}?", near.join(", ")),
    }
}

/// What to do about the failures that have one cure.
fn cure(errors: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| errors.contains(word));
    if says(&[
        "connect to daemon",
        "connect to socket",
        "connection to remote store",
        "not allowed to connect to the Nix daemon",
        "daemon-socket",
    ]) {
        "\nthe Nix daemon does not serve this user: see that it runs (systemctl status nix-daemon) and that `allowed-users` in /etc/nix/nix.conf names you, or use --host PROGRAM instead"
    } else if says(&["/nix/var/nix", "creating directory '/nix"]) && says(&["ermission denied"]) {
        "\nthis user may not write to the store: start the Nix daemon, or use --host PROGRAM instead"
    } else if says(&["unfree"]) {
        "\nNIXPKGS_ALLOW_UNFREE=1 in the environment of jail allows it"
    } else if says(&["unable to download", "Could not resolve host"]) {
        "\nsee that the network works; --nixpkgs /path/to/nixpkgs needs none for the names"
    } else if says(&["nix log", "nix-store -l"]) {
        "\nthe package does not build; another nixpkgs may have it ready: --nixpkgs REF"
    } else {
        ""
    }
}
