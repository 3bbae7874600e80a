//! From the names of programs to the files that are in the jail.

pub(crate) mod closure;
pub(crate) mod devshell;
pub(crate) mod host;
pub(crate) mod nix;

use crate::cli::StoreArgs;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::spec::JailSpec;
use crate::workspace::Workspace;
use closure::Closure;

/// Everything of the Nix store that is in the jail: packages, a dev shell, what the jail itself declares. Found first
/// by `PATH` is what the command line says.
pub(crate) fn closure(
    spec: &JailSpec,
    arguments: &StoreArgs,
    workspace: Option<&Workspace>,
    operator: &Operator,
) -> Result<Closure, Failure> {
    let mut closure = Closure::default();
    if !arguments.package.is_empty() {
        closure.merge(nix::packages(arguments, operator)?);
    }
    if let Some(flake) = devshell::Flake::asked_for(arguments, workspace, operator)? {
        closure.merge(devshell::enter(&flake, arguments.refresh, operator)?);
    }
    if let Some(declared) = &spec.closure {
        closure.merge(Closure::declared(declared, operator).map_err(Failure::no_jail)?);
    }
    Ok(closure)
}
