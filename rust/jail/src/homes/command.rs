//! `jail home`: the persistent homes of this operator's jails.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Existing, Home, HomeError, Homes};
use crate::cli::{HomeCommand, HomeTarget};
use crate::console;
use crate::failure::Failure;
use crate::job::{self, JobDirectory};
use crate::jobs::age;
use crate::operator::Operator;
use crate::spec::{JailSpec, is_name};
use crate::workspace::shown;

/// Exit code if there is no such home.
const NO_HOME: u8 = 1;

/// Lists, names, removes or adopts homes.
pub(crate) fn home(command: &HomeCommand, operator: &Operator) -> Result<ExitCode, Failure> {
    let homes = Homes::of(operator);
    match command {
        HomeCommand::List { name, json } => list(&homes, name.as_deref(), *json),
        HomeCommand::Path { target } => path(&find(&homes, target, operator)?),
        HomeCommand::Reset { target, all, former } => {
            let name = name(target)?;
            if *former {
                reset_former(&homes, &name, operator)
            } else if *all {
                reset_all(&homes, &name)
            } else {
                reset(&find(&homes, target, operator)?)
            }
        }
        HomeCommand::Adopt { target } => adopt(&homes, &find(&homes, target, operator)?, operator),
    }
}

fn list(homes: &Homes, name: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let mut all = homes.all().map_err(failed)?;
    all.retain(|home| name.is_none_or(|name| home.name == name));
    let text = if json { json_lines(&all).map_err(Failure::no_jail)? } else { table(&all) };
    console::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// One object a line. What would act on a terminal is escaped, which JSON allows.
fn json_lines(homes: &[Existing]) -> serde_json::Result<String> {
    homes.iter().map(|home| Ok(console::escape_control_chars(&serde_json::to_string(home)?) + "\n")).collect()
}

fn table(homes: &[Existing]) -> String {
    let mut rows = vec![["NAME", "USED", "WORKSPACE"].map(str::to_owned)];
    rows.extend(homes.iter().map(|home| {
        let used = home.used.map(|used| format!("{} ago", age(job::now().saturating_sub(used))));
        let workspace = match &home.workspace {
            _ if home.former => "(former home of all workspaces, in no jail)".to_owned(),
            None => "none".to_owned(),
            Some(path) if path.is_dir() => shown(path),
            Some(path) => format!("{} (gone)", shown(path)),
        };
        [home.name.clone(), used.unwrap_or_else(|| "-".to_owned()), console::escape_control_chars(&workspace)]
    }));
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (names, times) = (width(0), width(1));
    rows.iter()
        .map(|[name, used, workspace]| format!("{name:names$}  {used:times$}  {workspace}\n"))
        .collect()
}

fn path(home: &Home) -> Result<ExitCode, Failure> {
    if !home.exists() {
        return Err(missing(home));
    }
    console::print(&format!("{}\n", home.contents().display()))?;
    Ok(ExitCode::SUCCESS)
}

fn reset(home: &Home) -> Result<ExitCode, Failure> {
    if !home.reset().map_err(failed)? {
        return Err(missing(home));
    }
    console::print(&format!("{}\n", home.contents().display()))?;
    Ok(ExitCode::SUCCESS)
}

fn reset_all(homes: &Homes, name: &str) -> Result<ExitCode, Failure> {
    let all = homes.all().map_err(failed)?;
    for existing in all.iter().filter(|home| home.name == name && !home.former) {
        reset(&homes.home(name, existing.workspace.as_deref()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn reset_former(homes: &Homes, name: &str, operator: &Operator) -> Result<ExitCode, Failure> {
    let Some(former) = homes.former(name) else {
        return Err(Failure {
            code: NO_HOME,
            message: format!("{name} has no former home; see: jail home list"),
        });
    };
    check_idle(name, &former, operator)?;
    homes.remove_former(&former).map_err(failed)?;
    console::print(&format!("{}\n", former.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn adopt(homes: &Homes, home: &Home, operator: &Operator) -> Result<ExitCode, Failure> {
    if let Some(former) = homes.former(&home.name) {
        check_idle(&home.name, &former, operator)?;
    }
    homes.adopt(home).map_err(failed)?;
    console::print(&format!("{}\n", home.contents().display()))?;
    Ok(ExitCode::SUCCESS)
}

/// A launcher of an earlier version holds no lock on the home that its job has.
fn check_idle(name: &str, former: &Path, operator: &Operator) -> Result<(), Failure> {
    let jobs = JobDirectory::all(&operator.state()).map_err(Failure::no_jail)?;
    if jobs.iter().any(|(_, record)| record.name == name && record.is_running()) {
        return Err(failed(HomeError::InUse { path: former.to_owned() }));
    }
    Ok(())
}

fn find(homes: &Homes, target: &HomeTarget, operator: &Operator) -> Result<Home, Failure> {
    let workspace = match &target.workspace {
        Some(none) if none == Path::new("none") => None,
        Some(directory) => Some(real(&operator.path(directory))),
        None => Some(real(&operator.directory)),
    };
    Ok(homes.home(&name(target)?, workspace.as_deref()))
}

fn name(target: &HomeTarget) -> Result<String, Failure> {
    match &target.name {
        Some(name) if is_name(name) => Ok(name.clone()),
        Some(name) => Err(Failure::usage(format!("{name:?} is not a jail's name; see: jail home list"))),
        None => Ok(JailSpec::empty().name),
    }
}

/// The path without links; of a workspace that is gone, the path as it is.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.components().collect())
}

fn missing(home: &Home) -> Failure {
    let workspace = home.workspace.as_deref().map_or_else(|| "no workspace".to_owned(), shown);
    Failure {
        code: NO_HOME,
        message: format!(
            "{} has no home for {workspace}: a job with --home persistent makes one; see: jail home list",
            home.name
        ),
    }
}

fn failed(error: HomeError) -> Failure {
    Failure { code: NO_HOME, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn names_in_json_do_not_act_on_the_terminal() {
        let workspace = "/home/me/\u{9b}31mred\u{85}\u{202e}";
        let home = Existing {
            name: "agent".to_owned(),
            workspace: Some(PathBuf::from(workspace)),
            former: false,
            used: None,
            path: PathBuf::from("/homes/1"),
        };
        let text = json_lines(&[home]).unwrap();
        assert!(text.is_ascii() && text.ends_with("}\n"), "{text:?}");
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["workspace"], workspace);
    }
}
