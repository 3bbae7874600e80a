//! From the JSON of `nix print-dev-env` to variables of the jail, and to the script that runs the hook in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::operator::Operator;
use crate::resolve::closure::{Closure, Hook, Store};
use crate::resolve::nix::NixError;
use crate::spec::is_variable;

/// What `nix print-dev-env --json` prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DevelopmentEnvironment {
    #[serde(default)]
    bash_functions: BTreeMap<String, String>,
    variables: BTreeMap<String, Variable>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
enum Variable {
    Exported(String),
    Var(String),
    Array(Vec<String>),
    Associative(BTreeMap<String, String>),
    #[serde(other, deserialize_with = "ignored")]
    Unknown,
}

/// Gives a closure the shell's variables, its `PATH` and its hook.
pub(super) fn fill(closure: &mut Closure, json: &str, operator: &Operator) -> Result<(), NixError> {
    let environment: DevelopmentEnvironment =
        serde_json::from_str(json).map_err(|_| NixError::unexpected("nix print-dev-env --json", json))?;
    let store = Store::of(operator);
    let in_closure = |path: &PathBuf| store.path_of(path).is_some_and(|path| closure.paths.contains(&path));
    for (name, variable) in &environment.variables {
        match variable {
            Variable::Exported(value) if name == "PATH" => {
                closure.path = std::env::split_paths(value).filter(in_closure).collect();
            }
            Variable::Exported(value) if name != "shellHook" && is_variable(name) => {
                closure.environment.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    let hook = match environment.variables.get("shellHook") {
        Some(Variable::Exported(hook) | Variable::Var(hook)) if !hook.trim().is_empty() => hook,
        _ => return Ok(()),
    };
    // Nix asks that a dev shell's builder be bash: the one that belongs to this hook.
    let builder = match environment.variables.get("builder") {
        Some(Variable::Exported(builder) | Variable::Var(builder)) => Some(PathBuf::from(builder)),
        _ => None,
    };
    let bash = builder.filter(in_closure).or_else(|| closure.find(&["bash"]));
    let bash = bash.ok_or(NixError::NoBash)?;
    closure.hook = Some(Hook { bash, script: script(&environment, hook) });
    Ok(())
}

/// The script: what the hook may use beside the environment, the hook, the command.
fn script(environment: &DevelopmentEnvironment, hook: &str) -> String {
    let mut script = String::from("nix_jail_command=(\"$@\")\nset --\n");
    let named = environment.variables.iter().filter(|(name, _)| is_variable(name) && *name != "shellHook");
    for (name, variable) in named {
        let assignment = match variable {
            Variable::Var(value) => format!("{name}={}", quote(value)),
            Variable::Array(values) => {
                let values: Vec<String> = values.iter().map(|value| quote(value)).collect();
                format!("declare -a {name}=({})", values.join(" "))
            }
            Variable::Associative(values) => {
                let pair = |(key, value): (&String, &String)| format!("[{}]={}", quote(key), quote(value));
                let values: Vec<String> = values.iter().map(pair).collect();
                format!("declare -A {name}=({})", values.join(" "))
            }
            Variable::Exported(_) | Variable::Unknown => continue,
        };
        // What is set already is the jail's own, or bash's.
        script.push_str(&format!("[ -n \"${{{name}+set}}\" ] || {assignment}\n"));
    }
    for (name, body) in environment.bash_functions.iter().filter(|(name, _)| is_function(name)) {
        script.push_str(&format!("{name} () {{\n{body}\n}}\n"));
    }
    script.push_str(&format!("eval {}\n", quote(hook)));
    script.push_str("exec -- \"${nix_jail_command[@]}\"\n");
    script
}

fn is_function(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:.+".contains(&byte))
}

/// One word of a shell, whatever is in it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Whatever a newer Nix may say of a variable of a new kind.
fn ignored<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(drop)
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
