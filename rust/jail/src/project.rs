//! `jail.json` in a workspace: what a project adds to a jail.
//!
//! ```text
//! { "extends": "claude", "rules": ["GET https://docs.example.com/**"], "programs": ["node"] }
//! ```
//!
//! Whoever can write the file could give the next job rules and credentials, and a job can write the workspace. So the
//! file has no effect until the operator has approved its exact text with `jail trust`, and after a change not until the
//! operator has approved that. Approved texts are kept in the operator's configuration, which no job can reach.

mod approvals;
pub(crate) mod command;
mod error;

use std::path::{Path, PathBuf};

use policy::Action;
use sandbox::beneath::{RealPath, Tree};
use serde_json::{Map, Value};

use crate::operator::Operator;
use crate::spec::{self, JailSpec, ProjectRules, SpecError};
use crate::written;
use approvals::{Approvals, MAX_BYTES};
use error::{FILE_NAME, ProjectError};

/// The field that only a project's file has: the jail that it adds to.
const EXTENDS: &str = "extends";

/// The project file of one directory, as it was read once.
#[derive(Debug)]
pub(crate) struct Project {
    directory: PathBuf,
    text: String,
    extends: Option<String>,
    /// The fields as the file has them, without `extends` and `rules`.
    fields: Map<String, Value>,
    rules: ProjectRules,
}

/// Whether the operator has approved a project file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    /// Exactly this text.
    Approved,
    /// Another text, this one.
    Changed(String),
    /// Nothing in this directory.
    Missing,
}

impl Project {
    /// Reads the project file of `directory`. Returns `None` if there is none.
    pub(crate) fn read(directory: &Path) -> Result<Option<Project>, ProjectError> {
        let tree = Tree::open(directory)?;
        let Some(bytes) = tree.read_file(Path::new(FILE_NAME), MAX_BYTES)? else { return Ok(None) };
        let directory = tree.path().to_owned();
        let text = String::from_utf8(bytes).map_err(|_| ProjectError::NotText(directory.join(FILE_NAME)))?;
        Project::parse(directory, text).map(Some)
    }

    fn parse(directory: PathBuf, text: String) -> Result<Project, ProjectError> {
        let path = directory.join(FILE_NAME);
        let label = path.display().to_string();
        let value = serde_json::from_str(&text).map_err(|error| SpecError::Shape {
            file: label.clone(),
            location: "its text".to_owned(),
            message: error.to_string(),
        })?;
        let Value::Object(mut fields) = value else {
            return Err(
                SpecError::Value { file: label, message: "it is not a JSON object".to_owned() }.into()
            );
        };
        let extends = match fields.remove(EXTENDS) {
            None => None,
            Some(Value::String(name)) if spec::is_name(&name) => Some(name),
            Some(_) => return Err(ProjectError::Extends(path)),
        };
        if fields.contains_key("service") {
            return Err(ProjectError::Field { path, field: "service" });
        }
        // Alone first, so that an error names the place in this file.
        let mut alone = fields.clone();
        alone.entry("version").or_insert_with(|| spec::VERSION.into());
        alone.entry("name").or_insert_with(|| "project".into());
        let alone = JailSpec::parse(&Value::Object(alone).to_string(), &label).map_err(without_line)?;
        let (denied, allowed) = alone.rules.into_iter().partition(|rule| rule.action() == Action::Deny);
        for name in ["version", "rules"] {
            fields.remove(name);
        }
        Ok(Project { directory, text, extends, fields, rules: ProjectRules { denied, allowed } })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    /// The jail that it adds to; `None` stands for any.
    pub(crate) fn extends(&self) -> Option<&str> {
        self.extends.as_deref()
    }

    /// Compares the file with what the operator has approved.
    pub(crate) fn approval(&self, operator: &Operator) -> Result<Approval, ProjectError> {
        Ok(match Approvals::of(operator)?.text(&self.directory)? {
            None => Approval::Missing,
            Some(text) if text == self.text => Approval::Approved,
            Some(text) => Approval::Changed(text),
        })
    }

    /// Adds the project's fields to `base`. Lists become longer, maps are merged, other values are replaced. The rules are
    /// kept apart, as [`ProjectRules`].
    pub(crate) fn merged_into(&self, base: &JailSpec) -> Result<JailSpec, SpecError> {
        let label = self.path().display().to_string();
        let shape = |error: serde_json::Error| SpecError::Shape {
            file: label.clone(),
            location: "its fields".to_owned(),
            message: error.to_string(),
        };
        let mut merged = serde_json::to_value(base).map_err(shape)?;
        if let Value::Object(all) = &mut merged {
            for (name, value) in self.fields.clone() {
                match (name.as_str(), value) {
                    ("credentials", Value::Array(own)) => {
                        let mut credentials = take_list(all, "credentials");
                        credentials.retain(|it| !own.iter().any(|own| own["variable"] == it["variable"]));
                        credentials.extend(own);
                        all.insert(name, Value::Array(credentials));
                    }
                    // A command is one value, and no list to add to.
                    ("command", value) => {
                        all.insert(name, value);
                    }
                    (_, value) => merge(all.entry(name).or_insert(Value::Null), value),
                }
            }
        }
        let mut spec = JailSpec::parse(&merged.to_string(), &label).map_err(without_line)?;
        spec.project_rules = self.rules.clone();
        Ok(spec)
    }
}

/// Adds the project file of `directory` to the jail `name`, if the operator has approved it. Returns the jail, and a
/// sentence for the operator where there is a project file.
pub(crate) fn extend(
    spec: JailSpec,
    name: &str,
    directory: &Path,
    operator: &Operator,
) -> Result<(JailSpec, Option<String>), ProjectError> {
    let project = match Project::read(directory) {
        Ok(None) => return Ok((spec, None)),
        Ok(Some(project)) => project,
        // What cannot be read was not approved either; a job must not be able to keep the operator from working.
        Err(error) => {
            return Ok((spec, Some(format!("{FILE_NAME} of this directory has no effect: {error}"))));
        }
    };
    if let Some(other) = project.extends().filter(|other| *other != name) {
        return Ok((
            spec,
            Some(format!("{FILE_NAME} of this directory extends {other}, not {name}: it has no effect")),
        ));
    }
    match project.approval(operator)? {
        Approval::Approved => {
            let spec = project.merged_into(&spec)?;
            Ok((
                spec,
                Some(format!("with {FILE_NAME} of this directory, which you trust (jail show {name})")),
            ))
        }
        Approval::Changed(_) => Ok((
            spec,
            Some(format!(
                "{FILE_NAME} has changed since you trusted it and has no effect; review the change with: jail trust"
            )),
        )),
        Approval::Missing => Ok((
            spec,
            Some(format!(
                "{FILE_NAME} of this directory has no effect: you have not trusted it; review it with: jail trust"
            )),
        )),
    }
}

/// Reads the jail that the path `file` of the command line names. In the workspace `workspace`, and in every other
/// directory that jobs can write, only an approved project file is one.
pub(crate) fn load(
    file: &Path,
    workspace: &Path,
    find: impl Fn(&str) -> Result<JailSpec, SpecError>,
    operator: &Operator,
) -> Result<JailSpec, ProjectError> {
    let path = operator.path(file);
    let real = RealPath::of(&path).map_err(|error| SpecError::Read { path: path.clone(), error })?;
    let is_project = real.path.file_name().is_some_and(|name| name == FILE_NAME);
    if !is_project {
        let workspace = operator.path(workspace);
        let workspace = workspace.canonicalize().unwrap_or(workspace);
        // Also through a link there, and where only earlier jobs could write: a job must not choose among the operator's
        // own files.
        let places = written::places(operator).unwrap_or_else(|_| vec![PathBuf::from("/")]);
        if places.iter().chain([&workspace]).any(|directory| real.depends_on(directory)) {
            return Err(ProjectError::InWorkspace(path));
        }
        // What was checked, and no link that has appeared since.
        let bytes = Tree::open(Path::new("/"))?.read_file(&real.path, spec::MAX_BYTES)?;
        let bytes = bytes.ok_or_else(|| SpecError::Read {
            path: path.clone(),
            error: std::io::ErrorKind::NotFound.into(),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| ProjectError::NotText(path.clone()))?;
        return Ok(JailSpec::parse(&text, &path.display().to_string())?);
    }
    let Some(project) = real.path.parent().map(Project::read).transpose()?.flatten() else {
        return Err(ProjectError::NotTrusted(path));
    };
    if project.approval(operator)? != Approval::Approved {
        return Err(ProjectError::NotTrusted(path));
    }
    let base = project.extends().map(find).transpose()?.unwrap_or_else(JailSpec::empty);
    Ok(project.merged_into(&base)?)
}

/// Whether the NAME of a command line is a path.
pub(crate) fn is_path(name: &str) -> bool {
    name.contains('/') || Path::new(name).extension().is_some_and(|extension| extension == "json")
}

/// Drops line and column, which are those of a text that was made here.
fn without_line(mut error: SpecError) -> SpecError {
    if let SpecError::Shape { message, .. } = &mut error
        && let Some(position) = message.rfind(" at line ")
    {
        message.truncate(position);
    }
    error
}

fn take_list(fields: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match fields.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn merge(into: &mut Value, value: Value) {
    match (into, value) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(more)) => into.extend(more),
        (into, value) => *into = value,
    }
}

#[cfg(test)]
mod tests;
