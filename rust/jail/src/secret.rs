//! `jail secret`: what `keyring:NAME` reads. Values come from a prompt or standard input and are never shown.

use std::process::ExitCode;

use secrecy::ExposeSecret;

use crate::cli::SecretCommand;
use crate::console;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::secrets::{self, Context, Names, SecretLocation, Source, dummy, prompt};

/// Stores, lists, removes or tests.
pub(crate) fn secret(command: SecretCommand, operator: &Operator) -> Result<ExitCode, Failure> {
    let names = Names::of(operator);
    match command {
        SecretCommand::Set { name } => set(&name, &names, &operator.into()),
        SecretCommand::List => list(&names, &operator.into()),
        SecretCommand::Rm { name } => remove(&name, &names, &operator.into()),
        SecretCommand::Test { source, insecure_file } => {
            test(&source, &Context { insecure_files: insecure_file, ..operator.into() })
        }
    }
}

fn set(name: &str, names: &Names, context: &Context) -> Result<ExitCode, Failure> {
    crate::run::close_memory()?;
    let source = keyring(name)?;
    let value = prompt::secret(&format!("secret for {source}: ")).map_err(failed)?;
    secrets::store(&source, &value, context).map_err(failed)?;
    names.add(name).map_err(failed)?;
    console::print_error_line(&format!(
        "jail: stored; use it as {source}, e.g. --credential VAR={source}@HOST"
    ));
    Ok(ExitCode::SUCCESS)
}

fn list(names: &Names, context: &Context) -> Result<ExitCode, Failure> {
    // Names alone would look as if the secrets were there.
    secrets::check_keychain(context).map_err(failed)?;
    let names = names.all().map_err(failed)?;
    console::print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

fn remove(name: &str, names: &Names, context: &Context) -> Result<ExitCode, Failure> {
    let removed = secrets::remove(&keyring(name)?, context);
    // A name whose secret somebody else has removed goes as well.
    names.remove(name).map_err(failed)?;
    removed.map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn test(text: &str, context: &Context) -> Result<ExitCode, Failure> {
    crate::run::close_memory()?;
    let source = match text.split_once(':') {
        Some(_) => text.parse().map_err(Failure::usage)?,
        None => format!("keyring:{text}").parse().map_err(Failure::usage)?,
    };
    let found = secrets::read_first(text, &[source], context).map_err(failed)?;
    let secret = found.secret.expose_secret();
    let shape = dummy::shape(&found.secret);
    console::print(&format!("{}: {} characters, {shape}\n", found.source, secret.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// What a name stands for.
fn keyring(name: &str) -> Result<Source, Failure> {
    let source: Source = format!("keyring:{name}").parse().map_err(Failure::usage)?;
    let is_plain = matches!(source.place, SecretLocation::Keyring { .. }) && !name.contains(char::is_control);
    if !is_plain || source.pointer.is_some() {
        return Err(Failure::usage("the name is SERVICE or SERVICE/ACCOUNT, without #/json/pointer"));
    }
    Ok(source)
}

fn failed(error: impl ToString) -> Failure {
    Failure { code: 1, message: error.to_string() }
}
