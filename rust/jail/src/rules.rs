//! Rules from the command line and from files.

use std::path::Path;

use policy::{Action, Rule};

use crate::rule_sets;

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RulesError {
    /// The file cannot be read.
    #[error("cannot read the policy {file}: {error}")]
    Read {
        /// Which.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// A line is not a rule.
    #[error("{file}, line {line}: {message}")]
    Line {
        /// Which file.
        file: String,
        /// From 1.
        line: usize,
        /// What is wrong, and the cure.
        message: String,
    },
    /// A file without rules; it may be the wrong one.
    #[error(
        "the policy {file} holds no rules; to deny everything leave --policy out, otherwise write lines like `allow example.com`"
    )]
    Empty {
        /// Which.
        file: String,
    },
}

/// Reads a policy file: a line is `allow RULE` or `deny RULE`, empty, or a comment that starts with `#`.
pub(crate) fn load(path: &Path) -> Result<Vec<Rule>, RulesError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &file),
        Err(error) => Err(RulesError::Read { file, error }),
    }
}

/// Reads the text of a policy file; `file` is its name in errors.
pub(crate) fn parse(text: &str, file: &str) -> Result<Vec<Rule>, RulesError> {
    let mut rules = Vec::new();
    for (position, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let added = match line.split_once(char::is_whitespace) {
            Some(("allow", rule)) => rule_sets::add(&mut rules, Action::Allow, rule.trim()),
            Some(("deny", rule)) => rule_sets::add(&mut rules, Action::Deny, rule.trim()),
            _ => Err(format!("{line:?} does not start with `allow` or `deny`")),
        };
        let line = position + 1;
        added.map_err(|message| RulesError::Line { file: file.to_owned(), line, message })?;
    }
    if rules.is_empty() {
        return Err(RulesError::Empty { file: file.to_owned() });
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_rules_in_order() {
        let rules = parse("# what it may do\n\nallow example.com\n  deny   GET https://a.example/x  \n", "f")
            .unwrap();
        assert_eq!(rules.iter().map(Rule::action).collect::<Vec<_>>(), [Action::Allow, Action::Deny]);
        assert!(parse("allow @npm\nallow a.example\n", "f").unwrap().len() > 2);
        assert!(parse("deny @npm\n", "f").is_err());
    }

    #[test]
    fn a_broken_or_empty_policy_is_an_error() {
        assert_eq!(
            parse("allow a.example\nexample.com\n", "f").unwrap_err().to_string(),
            "f, line 2: \"example.com\" does not start with `allow` or `deny`"
        );
        for text in ["", "\n# nothing\n", "allow", "allow ", "allow https://", "permit a.example"] {
            assert!(parse(text, "f").is_err(), "{text:?}");
        }
        assert!(matches!(load(Path::new("/nonexistent/policy")), Err(RulesError::Read { .. })));
    }
}
