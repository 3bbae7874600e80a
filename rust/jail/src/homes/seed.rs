//! Files that are written into a home before a job starts, from templates with dummies.
//!
//! Jobs may have filled the home: its files are parsed as data, and nothing is written outside of it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use sandbox::beneath::{BeneathError, Tree};
use serde_json::{Map, Value};
use toml_edit::{DocumentMut, Item, Table};

use super::place;
use crate::job;
use crate::spec::{Piece, SeedSpec, template};

/// A larger file is left as it is: parsing it would take the launcher's memory.
const LARGEST_FILE: u64 = 256 << 10;
/// As many characters of an API key are remembered by a program that asks once whether to use it.
const DUMMY_END: usize = 20;

/// What templates stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    /// The dummies by variable.
    pub(crate) dummies: &'a [(String, String)],
    /// The workspace, if the job has one.
    pub(crate) workspace: Option<&'a Path>,
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path} in the job's home: {error}; make room on the disk, or remove the home with jail home reset", path = .path.display())]
pub(crate) struct SeedError {
    path: PathBuf,
    error: io::Error,
}

/// Writes the files below `home`. Returns sentences about those that stay as they are.
pub(crate) fn write(home: &Tree, seeds: &[SeedSpec], values: Values<'_>) -> Result<Vec<String>, SeedError> {
    let mut notices = Vec::new();
    for seed in seeds.iter().filter(|seed| seed.applies(&values)) {
        let written = write_one(home, seed, values);
        notices.extend(written.map_err(|error| SeedError { path: seed.path.clone(), error })?);
    }
    Ok(notices)
}

impl SeedSpec {
    fn applies(&self, values: &Values<'_>) -> bool {
        self.credential.as_ref().is_none_or(|name| values.dummy(name).is_some())
    }
}

impl Values<'_> {
    fn dummy(&self, variable: &str) -> Option<&str> {
        self.dummies.iter().find(|(name, _)| name == variable).map(|(_, dummy)| dummy.as_str())
    }

    /// Fills a template in; `None` if the job does not have what it names.
    fn fill(&self, text: &str) -> Option<String> {
        let mut filled = String::new();
        for piece in template(text).ok()? {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Dummy(variable) => filled.push_str(self.dummy(variable)?),
                Piece::DummyEnd(variable) => {
                    let dummy = self.dummy(variable)?;
                    let start = dummy.char_indices().rev().nth(DUMMY_END - 1).map_or(0, |(start, _)| start);
                    filled.push_str(dummy.get(start..)?);
                }
                Piece::Workspace => filled.push_str(self.workspace?.to_str()?),
            }
        }
        Some(filled)
    }

    fn fill_value(&self, value: &Value) -> Option<Value> {
        match value {
            Value::String(text) => self.fill(text).map(Value::String),
            Value::Array(items) => {
                Some(Value::Array(items.iter().filter_map(|item| self.fill_value(item)).collect()))
            }
            Value::Object(members) => Some(Value::Object(self.fill_members(members))),
            other => Some(other.clone()),
        }
    }

    fn fill_members(&self, members: &Map<String, Value>) -> Map<String, Value> {
        let filled =
            members.iter().filter_map(|(key, value)| Some((self.fill(key)?, self.fill_value(value)?)));
        filled.collect()
    }
}

fn write_one(home: &Tree, seed: &SeedSpec, values: Values<'_>) -> io::Result<Option<String>> {
    let stays = |why: &str| {
        Ok(Some(format!("{} in the job's home stays as it is: {why}", crate::workspace::shown(&seed.path))))
    };
    let before = match home.read_file(&seed.path, LARGEST_FILE) {
        Ok(before) => before,
        Err(BeneathError::TooLarge { .. }) => return stays("it is too large to be looked through"),
        // A link, a FIFO, a file that nobody may read: it is replaced.
        Err(_) => None,
    };
    let text = before.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let after = match (&seed.json, &seed.toml, &seed.text) {
        (Some(members), _, _) => Some(with_json(text, &values.fill_members(members), seed.only_missing)),
        (_, Some(members), _) => with_toml(text, &values.fill_members(members), seed.only_missing),
        (_, _, Some(_)) if before.is_some() && seed.only_missing => None,
        (_, _, Some(text)) => values.fill(text),
        (None, None, None) => None,
    };
    let Some(after) = after.filter(|after| before.as_deref() != Some(after.as_bytes())) else {
        return Ok(None);
    };
    match replace(home, &seed.path, &after) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => stays("it is a directory"),
        other => other.map(|()| None),
    }
}

fn with_json(text: Option<&str>, members: &Map<String, Value>, only_missing: bool) -> String {
    let before = text.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let mut object = before.unwrap_or_default();
    merge(&mut object, members, only_missing);
    let mut text = serde_json::to_string_pretty(&object).unwrap_or_default();
    text.push('\n');
    text
}

fn merge(object: &mut Map<String, Value>, members: &Map<String, Value>, only_missing: bool) {
    for (key, value) in members {
        match (object.get_mut(key), value) {
            (None, value) => {
                object.insert(key.clone(), value.clone());
            }
            (Some(Value::Object(inner)), Value::Object(members)) => merge(inner, members, only_missing),
            (Some(Value::Array(items)), Value::Array(more)) => {
                let missing: Vec<Value> = more.iter().filter(|item| !items.contains(item)).cloned().collect();
                items.extend(missing);
            }
            (Some(_), _) if only_missing => {}
            (Some(before), value) => *before = value.clone(),
        }
    }
}

/// Returns `None` where nothing changes.
fn with_toml(text: Option<&str>, members: &Map<String, Value>, only_missing: bool) -> Option<String> {
    let before = text.and_then(|text| text.parse::<DocumentMut>().ok());
    let mut document = before.unwrap_or_default();
    merge_toml(document.as_table_mut(), members, only_missing);
    Some(document.to_string())
}

fn merge_toml(table: &mut Table, members: &Map<String, Value>, only_missing: bool) {
    for (key, value) in members {
        let Value::Object(inner) = value else {
            if !(only_missing && table.contains_key(key)) {
                table.insert(key, item(value));
            }
            continue;
        };
        match table.get_mut(key) {
            Some(Item::Table(before)) => merge_toml(before, inner, only_missing),
            Some(_) if only_missing => {}
            _ => {
                let mut fresh = Table::new();
                fresh.set_implicit(true);
                merge_toml(&mut fresh, inner, only_missing);
                table.insert(key, Item::Table(fresh));
            }
        }
    }
}

fn item(value: &Value) -> Item {
    match value {
        Value::Bool(value) => toml_edit::value(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => toml_edit::value(number),
            None => toml_edit::value(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => toml_edit::value(text.as_str()),
        Value::Array(items) => {
            let items = items.iter().filter_map(|value| item(value).into_value().ok());
            toml_edit::value(items.collect::<toml_edit::Array>())
        }
        Value::Object(members) => {
            let mut table = Table::new();
            merge_toml(&mut table, members, false);
            Item::Value(table.into_inline_table().into())
        }
        Value::Null => Item::None,
    }
}

/// Puts a file in the place of what is at `path`, as a whole or not at all.
fn replace(home: &Tree, path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = place::open_directory(home, path.parent().unwrap_or(Path::new("")))?;
    let fresh = job::new_id(".seed");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(&directory, fresh.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let written = File::from(file)
        .write_all(text.as_bytes())
        .and_then(|()| Ok(renameat(&directory, fresh.as_str(), &directory, name)?));
    if written.is_err() {
        let _ = unlinkat(&directory, fresh.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    written
}

#[cfg(test)]
#[path = "seed_tests.rs"]
mod tests;
