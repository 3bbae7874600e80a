//! Reports of jobs whose launcher died: the state before each job, stored from its start until its changes are reported.
//!
//! A launcher that is killed, or interrupted while it looks, tells nothing. So the next `jail run`, `jail ps` or `jail
//! stop` compares for it. The files are `unreported/ID.json` in the operator's state directory, which no job can write.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::console;
use crate::job::JobDirectory;
use crate::operator::Operator;
use crate::private_file;
use crate::run::tell_changes_in;
use crate::workspace::{Baseline, Changes, provenance};

/// Maximum number of reports printed by one command; the next command prints the others.
const MOST: usize = 32;
const LARGEST: u64 = 64 << 20;

/// Changes of an earlier job that were not reported.
pub(crate) struct Owed {
    /// The job's id.
    pub(crate) id: String,
    /// The state before that job.
    pub(crate) baseline: Baseline,
    /// What is not as it was.
    pub(crate) changes: Changes,
    /// The stored state, if it cannot be read: then nothing was compared, and everything in the job's reach counts as changed
    /// until the operator removes this file.
    pub(crate) unreadable: Option<PathBuf>,
}

/// Keeps what a job is compared with until [`settle`].
pub(crate) fn owe(id: &str, baseline: &Baseline, operator: &Operator) -> io::Result<()> {
    let path = directory(operator).join(format!("{id}.json"));
    let contents = serde_json::to_vec(baseline)?;
    // What is larger is not read again: then nobody would learn what the job changed.
    if contents.len() as u64 > LARGEST {
        return Err(io::Error::other(format!(
            "it takes {} bytes, and {LARGEST} are the limit; start in a smaller directory",
            contents.len()
        )));
    }
    private_file::replace(&path, &contents)
}

/// Forgets it: the changes have been told.
pub(crate) fn settle(id: &str, operator: &Operator) {
    let _ = fs::remove_file(directory(operator).join(format!("{id}.json")));
}

/// What jobs whose launchers are gone have changed. What is returned counts as told.
pub(crate) fn collect(operator: &Operator) -> Vec<Owed> {
    let entries = fs::read_dir(directory(operator)).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()));
    let mut owed = Vec::new();
    for id in ids.take(MOST) {
        let record = JobDirectory::named(&operator.state(), &id).record();
        if record.is_some_and(|record| record.is_running()) {
            continue;
        }
        let stored = directory(operator).join(format!("{id}.json"));
        let Some(baseline) = read(&stored) else {
            // Another command may have settled it meanwhile.
            if stored.exists() {
                let (baseline, changes) = (Baseline::default(), Changes::default());
                owed.push(Owed { id, baseline, changes, unreadable: Some(stored) });
            }
            continue;
        };
        let changes = baseline.changes(operator);
        let remembered = provenance::remember(&changes, baseline.workspace(), operator);
        owed.push(Owed { id: id.clone(), baseline, changes, unreadable: None });
        if remembered.is_err() {
            continue;
        }
        settle(&id, operator);
    }
    owed
}

/// Returns true if a job that has not ended, or whose end was not compared, could write the file and it is not as it was.
pub(crate) fn may_have_changed(path: &Path, operator: &Operator) -> bool {
    let entries = match fs::read_dir(directory(operator)) {
        Ok(entries) => entries,
        Err(error) => return error.kind() != io::ErrorKind::NotFound,
    };
    for entry in entries {
        let Ok(entry) = entry else { return true };
        if !entry.file_name().as_encoded_bytes().ends_with(b".json") {
            continue;
        }
        match read(&entry.path()) {
            Some(baseline) if baseline.may_have_changed(path) => return true,
            Some(_) => {}
            // Settled meanwhile, or not to be read.
            None => {
                if entry.path().exists() {
                    return true;
                }
            }
        }
    }
    false
}

/// Tells what [`collect`] returns.
pub(crate) fn tell(owed: &[Owed]) {
    for (id, stored) in owed.iter().filter_map(|owed| Some((&owed.id, owed.unreadable.as_ref()?))) {
        console::report(&format!(
            "cannot compare what {id} changed: {} cannot be read; look through its workspace, then remove that file",
            stored.display()
        ));
    }
    for owed in owed.iter().filter(|owed| !owed.changes.is_empty()) {
        console::report(&format!(
            "the launcher of {} ended before it could tell what that job changed:",
            owed.id
        ));
        tell_changes_in(owed.baseline.workspace(), &owed.changes);
    }
}

fn read(path: &Path) -> Option<Baseline> {
    let mut contents = Vec::new();
    fs::File::open(path).ok()?.take(LARGEST).read_to_end(&mut contents).ok()?;
    serde_json::from_slice(&contents).ok()
}

fn directory(operator: &Operator) -> PathBuf {
    operator.state().join("unreported")
}
