//! `$JAIL_POLICY`: a plain text in the jail that tells agents and people what the job may do.

use std::fmt::Write as _;
use std::path::Path;

use policy::{Policy, Rule};
use sandbox::plan::Entry;

use crate::spec::{JailSpec, WorkspaceMode};

/// The path in the jail.
pub(crate) const PATH: &str = "/etc/nix-jail/policy.txt";
/// The variable that holds the path.
pub(crate) const VARIABLE: &str = "JAIL_POLICY";

/// The file, as a piece of the jail's tree.
pub(crate) fn entry(
    spec: &JailSpec,
    policy: &Policy,
    dummies: &[(String, String)],
    workspace: Option<&Path>,
) -> Entry {
    let contents = text(spec, policy, dummies, workspace).into_bytes();
    Entry::File { target: PATH.into(), contents, mode: 0o444 }
}

fn text(spec: &JailSpec, policy: &Policy, dummies: &[(String, String)], workspace: Option<&Path>) -> String {
    let mut text = String::from(
        "This process runs in a jail (nix-jail). What it may do was decided outside.\n\nNetwork\n",
    );
    let lines: Vec<String> = policy.rules().iter().flat_map(Rule::texts).collect();
    if lines.is_empty() {
        text.push_str("  Nothing is allowed.\n");
    } else {
        text.push_str("  The first rule that matches a request decides; if none does, it is denied.\n");
        for line in &lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text.push_str(
        "  A denied request is answered with status 403, the header x-jail-deny with the reason, and a JSON body with a\n  \
         hint. It will be denied again: do not retry it, do not look for a way around. If it is needed, ask the user to\n  \
         allow it; the hint says how.\n\nFiles\n",
    );
    match (workspace, spec.workspace_mode) {
        (None, _) => text.push_str("  There is no workspace.\n"),
        (Some(path), WorkspaceMode::Ro) => text.push_str(&format!("  {} is read-only.\n", path.display())),
        (Some(path), WorkspaceMode::Rw) => text.push_str(&format!(
            "  {} can be written, except for files that run later on the host (git hooks and settings, settings of\n  \
             editors and agents, and the like): those are read-only, and new ones are reported to the user. So git cannot\n  \
             change .git/config (\"Device or resource busy\"): git remote add, git branch -m, git push -u, git worktree\n  \
             remove and git mv above a submodule fail or do less. Push by git push origin HEAD; make other changes of\n  \
             that kind a request to the user. If a checkout says that it cannot unlink such a file, the file still has\n  \
             the other branch's content: do not commit it.\n",
            path.display()
        )),
        (Some(path), WorkspaceMode::Overlay) => text.push_str(&format!(
            "  {} can be written; the changes go to a layer of their own that the user looks at.\n",
            path.display()
        )),
    }
    text.push_str("  Of the host nothing else is here than what the user has put here.\n");
    if !dummies.is_empty() {
        text.push_str("\nCredentials\n  These variables hold dummies, which work towards the hosts that they are for and nowhere else:\n");
        for (name, _) in dummies {
            let _ = writeln!(text, "  {name}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_files_and_dummies_are_named_without_their_values() {
        let spec = JailSpec::find("claude", &[]).unwrap();
        let policy = Policy::new(spec.rules.clone()).unwrap();
        let dummies = [("ANTHROPIC_API_KEY".to_owned(), "sk-ant-dummy".to_owned())];
        let text = text(&spec, &policy, &dummies, Some(Path::new("/home/me/project")));
        for line in [
            "  deny POST api.anthropic.com/api/oauth/claude_cli/**\n",
            "  /home/me/project can be written, except",
            "  ANTHROPIC_API_KEY\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        assert!(!text.contains("sk-ant-dummy"), "{text}");
        let nothing = super::text(&JailSpec::empty(), &Policy::new(Vec::new()).unwrap(), &[], None);
        assert!(nothing.contains("Nothing is allowed.") && nothing.contains("no workspace"), "{nothing}");
    }
}
