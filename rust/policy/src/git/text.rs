//! The text form of a git rule: `git HOST[:PORT]/PATH [push=REF[,REF…]] [force] [delete] [no-fetch] [credential=NAME]`.

use super::{GitRule, RefPattern, Repository};
use crate::rule_error::RuleError;
use crate::rule_parts::RuleParts;
use crate::text_form::excerpt;

/// Reads the words after `git`.
pub(crate) fn parse(words: &[&str]) -> Result<RuleParts, RuleError> {
    let [repository, words @ ..] = words else { return Err(RuleError::NoRepositories) };
    let mut git = GitRule {
        repos: vec![repository.parse()?],
        fetch: true,
        push: Vec::new(),
        force: false,
        delete: false,
    };
    let mut credential = None;
    for &word in words {
        match word.split_once('=') {
            Some(("push", refs)) => {
                for pattern in refs.split(',') {
                    git.push.push(pattern.parse()?);
                }
            }
            Some(("credential", name)) if credential.is_none() => credential = Some(name.to_owned()),
            None if word == "force" => git.force = true,
            None if word == "delete" => git.delete = true,
            None if word == "no-fetch" => git.fetch = false,
            _ => return Err(RuleError::GitWord(excerpt(word))),
        }
    }
    Ok(RuleParts { git: Some(git), credential, ..RuleParts::default() })
}

impl GitRule {
    /// The rule as texts, one for each repository.
    pub(crate) fn texts(&self, credential: Option<&str>) -> Vec<String> {
        self.repos.iter().map(|repository| self.text(repository, credential)).collect()
    }

    fn text(&self, repository: &Repository, credential: Option<&str>) -> String {
        let mut text = format!("git {repository}");
        if self.pushes() {
            let refs: Vec<String> = self.push.iter().map(RefPattern::to_string).collect();
            text.push_str(&format!(" push={}", refs.join(",")));
        }
        for (said, word) in [(self.force, "force"), (self.delete, "delete"), (!self.fetch, "no-fetch")] {
            if said {
                text.push_str(&format!(" {word}"));
            }
        }
        match credential {
            Some(name) => format!("{text} credential={name}"),
            None => text,
        }
    }
}
