//! The home directory of a jail's jobs.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::parts::is_false;
use super::validate::{is_inside, is_variable};

/// What becomes of the job's home directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Home {
    /// Empty at the start, gone at the end.
    #[default]
    Ephemeral,
    /// Kept in the operator's state directory, for each jail and workspace (`jail home`).
    Persistent,
}

/// The home directory: its kind alone, or with what is in it at the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HomeSpec {
    /// What becomes of it.
    pub(crate) kind: Home,
    /// Files that are written into it before each job starts.
    pub(crate) seed: Vec<SeedSpec>,
    /// Files and directories of the operator's home, relative to it.
    pub(crate) import: Vec<PathBuf>,
}

/// `home` with everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Parts {
    /// What becomes of it.
    kind: Home,
    /// Files that are written into it before each job starts, so that a program finds its settings. They can hold
    /// dummies, and never a real token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    seed: Vec<SeedSpec>,
    /// Files and directories of the operator's home that are in the job's home, read-only, at the same place. Paths are
    /// relative to the home; those that do not exist are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    import: Vec<PathBuf>,
}

/// A file that is written into the home directory before a job starts: exactly one of `json`, `toml` and `text`.
///
/// In strings, `${dummy:VAR}` is the dummy of a credential, `${dummyEnd:VAR}` the last 20 characters of it, and
/// `${workspace}` the path of the workspace. A member with the dummy of a credential that the job does not have is left
/// out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SeedSpec {
    /// The file, relative to the home directory.
    pub(crate) path: PathBuf,
    /// Members of a JSON object. Those of an existing file stay beside them; lists are extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) json: Option<Map<String, Value>>,
    /// The same of a TOML file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) toml: Option<Map<String, Value>>,
    /// The whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Only what the file does not have yet is written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) only_missing: bool,
    /// Only if the job has this credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<String>,
}

impl HomeSpec {
    /// Checks the paths and templates.
    pub(super) fn validate(&self) -> Result<(), String> {
        if let Some(path) = self.import.iter().find(|path| !is_inside(path)) {
            return Err(format!(
                "home.import: {} must be a path relative to the home directory, without `..`",
                path.display()
            ));
        }
        self.seed.iter().try_for_each(|seed| {
            seed.validate().map_err(|why| format!("home.seed: {}: {why}", seed.path.display()))
        })
    }

    /// Returns the credentials that seeds name.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &str> {
        self.seed.iter().filter_map(|seed| seed.credential.as_deref())
    }
}

impl SeedSpec {
    fn validate(&self) -> Result<(), String> {
        if !is_inside(&self.path) {
            return Err("it must be a path relative to the home directory, without `..`".to_owned());
        }
        let forms = [self.json.is_some(), self.toml.is_some(), self.text.is_some()];
        if forms.iter().filter(|is_given| **is_given).count() != 1 {
            return Err("write one of json, toml and text".to_owned());
        }
        let members = self.json.iter().chain(&self.toml);
        members.flatten().try_for_each(|(key, value)| {
            template(key).map(drop).and_then(|()| validate_value(value, self.toml.is_some()))
        })?;
        self.text.iter().try_for_each(|text| template(text).map(drop))
    }
}

fn validate_value(value: &Value, is_toml: bool) -> Result<(), String> {
    match value {
        Value::String(text) => template(text).map(drop),
        Value::Array(items) => items.iter().try_for_each(|item| validate_value(item, is_toml)),
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            template(key).map(drop).and_then(|()| validate_value(value, is_toml))
        }),
        Value::Null if is_toml => Err("TOML has no null".to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// As it is.
    Text(&'a str),
    /// The dummy of a credential.
    Dummy(&'a str),
    /// The end of the dummy of a credential.
    DummyEnd(&'a str),
    /// The path of the workspace.
    Workspace,
}

/// Parses a template.
pub(crate) fn template(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or_else(|| format!("{text:?} has no closing brace"))?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(match name.split_once(':') {
            None if name == "workspace" => Piece::Workspace,
            Some(("dummy", variable)) if is_variable(variable) => Piece::Dummy(variable),
            Some(("dummyEnd", variable)) if is_variable(variable) => Piece::DummyEnd(variable),
            _ => {
                return Err(format!(
                    "${{{name}}} is unknown; write ${{dummy:VARIABLE}}, ${{dummyEnd:VARIABLE}} or ${{workspace}}"
                ));
            }
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

impl Serialize for HomeSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.seed.is_empty() && self.import.is_empty() {
            return self.kind.serialize(serializer);
        }
        Parts { kind: self.kind, seed: self.seed.clone(), import: self.import.clone() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HomeSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HomeSpec, D::Error> {
        deserializer.deserialize_any(HomeVisitor)
    }
}

struct HomeVisitor;

impl<'de> Visitor<'de> for HomeVisitor {
    type Value = HomeSpec;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"ephemeral\", \"persistent\" or an object with kind, seed and import")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HomeSpec, E> {
        Ok(HomeSpec { kind: Home::deserialize(StrDeserializer::new(text))?, ..HomeSpec::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HomeSpec, A::Error> {
        let Parts { kind, seed, import } = Parts::deserialize(MapAccessDeserializer::new(map))?;
        let import = import.iter().map(|path| in_home(path)).collect();
        Ok(HomeSpec { kind, seed, import })
    }
}

impl JsonSchema for HomeSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HomeSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let forms = [generator.subschema_for::<Home>(), generator.subschema_for::<Parts>()];
        json_schema!({ "anyOf": forms })
    }
}

/// Returns a path of an import without `~/` at its beginning.
pub(crate) fn in_home(path: &Path) -> PathBuf {
    path.strip_prefix("~").unwrap_or(path).to_owned()
}
