//! Files and directories of the operator's home that a job sees, read-only, at the same place in its own home.

use std::path::{Path, PathBuf};

use sandbox::beneath::{Kind, Tree};
use sandbox::plan::{Access, Entry};

use super::{Homes, place};
use crate::console;
use crate::operator::Operator;
use crate::workspace::shown;
use crate::written;

/// Mounts of imported files, and notices about the files that are left out.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    /// The mounts, in the job's home.
    pub(crate) entries: Vec<Entry>,
    /// Why something is left out, for the operator.
    pub(crate) notices: Vec<String>,
}

/// Finds `paths`, which are relative to the operator's home. Those that do not exist are left out silently, those that a
/// job could have chosen or written are left out with a notice.
///
/// `home` is the job's home where it is a directory of the host: the mount points are made there. `target` is its path in
/// the jail.
pub(crate) fn find(paths: &[PathBuf], home: Option<&Tree>, target: &Path, operator: &Operator) -> Imports {
    let mut imports = Imports::default();
    if paths.is_empty() || cfg!(target_os = "macos") {
        return imports;
    }
    let Ok(operators) = operator.home.canonicalize() else { return imports };
    let Ok(root) = Tree::open(Path::new("/")) else { return imports };
    let written = match written_by_jobs(operator) {
        Ok(written) => written,
        Err(error) => {
            let why = format!("it is not known what jobs could write: {error}");
            paths.iter().for_each(|path| imports.leave_out(path, &why));
            return imports;
        }
    };
    for path in paths {
        let found = match look_up(&root, &operators, path, &written) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(why) => {
                imports.leave_out(path, &why);
                continue;
            }
        };
        let made = home.map_or(Ok(true), |home| place::make_mount_point(home, path, found.kind));
        match made {
            Ok(true) => imports.entries.push(Entry::Bind {
                source: found.path,
                target: target.join(path),
                access: Access::ReadOnly,
            }),
            Ok(false) => imports.leave_out(path, "the job's home has a directory there"),
            Err(error) => imports.leave_out(path, &error.to_string()),
        }
    }
    imports
}

struct Found {
    path: PathBuf,
    kind: Kind,
}

fn look_up(root: &Tree, operators: &Path, path: &Path, written: &[PathBuf]) -> Result<Option<Found>, String> {
    let asked = operators.join(path);
    let absolute = |path: &Path| Path::new("/").join(path);
    let Some(found) = root.follow(&asked).map_err(|error| error.to_string())? else { return Ok(None) };
    let real = absolute(&found.path);
    let on_the_way = found.links.iter().map(|link| absolute(&link.path)).chain([real.clone()]);
    for passed in on_the_way {
        if let Some(place) = written.iter().find(|place| passed.starts_with(place)) {
            return Err(format!("jobs can write {}", shown(place)));
        }
    }
    // Each link is on the path that the operator named, or was made by Nix: whoever wrote another one is not known.
    let is_named = |link: &Path| asked.starts_with(link) || link.starts_with("/nix/store");
    if let Some(link) = found.links.iter().map(|link| absolute(&link.path)).find(|link| !is_named(link)) {
        return Err(format!("a link leads to another one, {}; name what that leads to", shown(&link)));
    }
    if let Some(place) = written.iter().find(|place| place.starts_with(&real)) {
        return Err(format!("jobs can write {}, which is in it", shown(place)));
    }
    if !real.starts_with(operators) && !is_public_part_of_system(root, &real) {
        return Err(format!("it is a link to {}, outside of the home", shown(&real)));
    }
    match found.metadata.kind {
        kind @ (Kind::File | Kind::Directory) if real != *operators => Ok(Some(Found { path: real, kind })),
        _ => Err("it is neither a file nor a directory of the home".to_owned()),
    }
}

/// Returns true for a file that a package manager has installed and that every user may read: a link may lead there.
fn is_public_part_of_system(root: &Tree, real: &Path) -> bool {
    let is_system = real.strip_prefix("/nix/store").is_ok_and(|inside| inside.components().next().is_some())
        || ["/usr", "/opt"]
            .iter()
            .any(|directory| real.starts_with(directory) && real != Path::new(directory));
    let is_open = |path: &Path, bit: u32| {
        root.metadata(path).is_ok_and(|found| found.is_some_and(|found| found.mode & bit == bit))
    };
    is_system && is_open(real, 0o004) && real.ancestors().skip(1).all(|above| is_open(above, 0o001))
}

/// Every place that jobs can write, or could: workspaces of earlier jobs too.
fn written_by_jobs(operator: &Operator) -> std::io::Result<Vec<PathBuf>> {
    let earlier = Homes::of(operator).all().unwrap_or_default().into_iter().filter_map(|home| home.workspace);
    Ok(written::places(operator)?.into_iter().chain(earlier).collect())
}

impl Imports {
    fn leave_out(&mut self, path: &Path, why: &str) {
        self.notices.push(format!(
            "~/{} is not in the jail: {}",
            shown(path),
            console::escape_control_chars(&why.replace('\n', " "))
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        operator: Operator,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        for directory in ["home/.agent/skills", "workspace", "job"] {
            fs::create_dir_all(folder.path().join(directory)).unwrap();
        }
        let operator = Operator {
            environment: std::collections::HashMap::new(),
            directory: folder.path().join("workspace"),
            home: folder.path().join("home"),
            uid: nix::unistd::geteuid().as_raw(),
            writable: Vec::new(),
        };
        let operator = operator.with_writable([folder.path().join("workspace")]);
        Place { folder, operator }
    }

    fn found(place: &Place, path: &str) -> Imports {
        let job = Tree::open(&place.folder.path().join("job")).unwrap();
        find(&[PathBuf::from(path)], Some(&job), Path::new("/home/agent"), &place.operator)
    }

    #[test]
    fn what_exists_is_shown_at_the_same_place() {
        let place = place();
        let home = place.operator.home.canonicalize().unwrap();
        fs::write(home.join(".agent/NOTES.md"), "notes").unwrap();
        symlink("NOTES.md", home.join(".agent/link.md")).unwrap();
        for (path, real) in [
            (".agent/NOTES.md", ".agent/NOTES.md"),
            (".agent/link.md", ".agent/NOTES.md"),
            (".agent/skills", ".agent/skills"),
        ] {
            let imports = found(&place, path);
            let target = Path::new("/home/agent").join(path);
            let expected = Entry::Bind { source: home.join(real), target, access: Access::ReadOnly };
            assert_eq!((imports.entries, imports.notices), (vec![expected], Vec::new()));
            let made = place.folder.path().join("job").join(path);
            assert_eq!(made.is_dir(), home.join(real).is_dir(), "{path}");
            assert!(made.exists(), "{path}");
        }
        let missing = found(&place, ".agent/commands");
        assert!(missing.entries.is_empty() && missing.notices.is_empty());
    }

    #[test]
    fn links_out_of_the_home_and_what_jobs_can_write_are_left_out() {
        let place = place();
        let home = &place.operator.home;
        fs::write(place.folder.path().join("outside"), "x").unwrap();
        fs::write(place.folder.path().join("workspace/theirs"), "x").unwrap();
        symlink("../outside", home.join("out")).unwrap();
        symlink("../workspace/theirs", home.join("theirs")).unwrap();
        symlink("../workspace", home.join("by")).unwrap();
        symlink("../home/.agent", place.folder.path().join("workspace/back")).unwrap();
        symlink(".", home.join("all")).unwrap();
        for (path, why) in [
            ("out", "outside of the home"),
            ("theirs", "jobs can write"),
            ("by/back", "jobs can write"),
            ("all", "jobs can write"),
            (".local/state", "jobs can write"),
        ] {
            fs::create_dir_all(home.join(".local/state/nix-jail/homes")).unwrap();
            let imports = found(&place, path);
            assert!(imports.entries.is_empty(), "{path}");
            assert!(imports.notices[0].contains(why), "{path}: {:?}", imports.notices);
        }
    }

    #[test]
    fn links_that_an_earlier_job_may_have_made_are_not_obeyed() {
        let place = place();
        let home = &place.operator.home;
        for directory in ["home/dotfiles", "home/.other", "home/.private"] {
            fs::create_dir_all(place.folder.path().join(directory)).unwrap();
        }
        fs::write(home.join(".private/key"), "secret").unwrap();
        fs::write(home.join("dotfiles/notes"), "notes").unwrap();
        symlink("../.private/key", home.join("dotfiles/stolen")).unwrap();
        symlink("dotfiles/notes", home.join("notes")).unwrap();
        symlink("dotfiles/stolen", home.join("stolen")).unwrap();
        assert_eq!(found(&place, "notes").entries.len(), 1);
        // A job may have made the second link.
        let imports = found(&place, "stolen");
        assert!(imports.entries.is_empty() && imports.notices[0].contains("another one"), "{imports:?}");
        // A job had it as its workspace, and ended.
        written::remember(&place.operator.with_writable([home.join("dotfiles")])).unwrap();
        for path in ["notes", "stolen"] {
            let imports = found(&place, path);
            assert!(imports.entries.is_empty(), "{path}");
            assert!(imports.notices[0].contains("jobs can write"), "{path}: {:?}", imports.notices);
        }
    }

    #[test]
    fn a_link_in_the_jobs_home_is_no_mount_point() {
        let place = place();
        let job = place.folder.path().join("job");
        fs::create_dir(place.folder.path().join("victim")).unwrap();
        symlink("../victim", job.join(".agent")).unwrap();
        fs::write(place.operator.home.join(".agent/NOTES.md"), "notes").unwrap();
        assert_eq!(found(&place, ".agent/NOTES.md").entries.len(), 1);
        assert!(fs::symlink_metadata(job.join(".agent")).unwrap().is_dir());
        assert!(fs::read_dir(place.folder.path().join("victim")).unwrap().next().is_none());
        fs::remove_file(job.join(".agent/NOTES.md")).unwrap();
        fs::create_dir(job.join(".agent/NOTES.md")).unwrap();
        let imports = found(&place, ".agent/NOTES.md");
        assert!(imports.entries.is_empty() && imports.notices[0].contains("has a directory there"));
    }
}
