//! Where the dynamic loader would find each library, glibc's and musl's.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::choice::{Chooser, Role};
use super::elf::Object;
use super::tree::{Located, Tree};
use super::{ResolveError, unreadable};

/// The loader's settings on this host.
pub(super) struct Loader {
    /// The directories of `/etc/ld.so.conf`, in order.
    configured: Vec<PathBuf>,
    /// Files that were read; `None`: not an ELF file, or not there.
    objects: HashMap<PathBuf, Option<Rc<Object>>>,
}

/// A program or module whose libraries are wanted.
pub(super) struct Request<'a> {
    /// Its real path.
    pub(super) path: &'a Path,
    /// What it says.
    pub(super) object: &'a Object,
    /// Who wrote that.
    pub(super) writer: Chooser,
}

/// What it needs.
#[derive(Default)]
pub(super) struct Closure {
    /// Loader and libraries, by the paths by which they are opened.
    pub(super) libraries: Vec<Located>,
    /// Files without which the loader would not find one of them.
    pub(super) configuration: Vec<PathBuf>,
}

/// glibc's cache: what makes the loader look in the configured directories.
const CACHE: &str = "/etc/ld.so.cache";
const CONFIGURATION: &str = "/etc/ld.so.conf";

/// How many files are looked for on behalf of one program; a job's program may name any number.
const MAX_LOOKUPS: usize = 100_000;
/// As many directories as libraries inherit from what loads them.
const MAX_DIRECTORIES: usize = 256;

/// glibc opens these by name when a program looks up a host or ends a thread; and its own parts are what add-ons need that
/// a program unpacks or builds at run time.
const OPENED_LATER: &[&str] = &[
    "libnss_files.so.2",
    "libnss_dns.so.2",
    "libresolv.so.2",
    "libgcc_s.so.1",
    "libanl.so.1",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
];

impl Loader {
    pub(super) fn of_host() -> Loader {
        let mut configured = Vec::new();
        configured_directories(Path::new(CONFIGURATION), &mut configured, 0);
        Loader { configured, objects: HashMap::new() }
    }

    /// Everything that is loaded with a program, breadth first as the loader does it.
    pub(super) fn closure(
        &mut self,
        request: &Request<'_>,
        tree: &mut Tree,
    ) -> Result<Closure, ResolveError> {
        let mut closure = Closure::default();
        let machine = request.object.machine;
        let interpreter = request.object.interpreter.clone();
        if let Some(interpreter) = &interpreter {
            let Some(found) = self.interpreter(interpreter, request, tree)? else {
                let looked = interpreter.parent().map(|path| path.display().to_string()).unwrap_or_default();
                let library = interpreter.display().to_string();
                return Err(ResolveError::NoLibrary { program: request.path.to_owned(), library, looked });
            };
            closure.libraries.push(found);
        }
        let system = System::of(interpreter.as_deref(), machine.1, &self.configured);
        let mut loaded: HashSet<String> = interpreter.iter().filter_map(|path| file_name(path)).collect();
        let first = Needs::of(request.path, request.object, &[], request.writer.clone());
        let mut pending = VecDeque::from([first]);
        let mut left = MAX_LOOKUPS;
        while let Some(needs) = pending.pop_front() {
            for name in &needs.names {
                if !loaded.insert(name.clone()) {
                    continue;
                }
                left = left.checked_sub(needs.directories.len() + system.directories.len()).ok_or_else(
                    || unreadable(request.path, io::Error::other("it needs too many libraries")),
                )?;
                let Some((found, object)) = self.find(name, &needs, &system, machine, tree)? else {
                    return Err(needs.missing(name, &system));
                };
                let path = found.asked().to_owned();
                if system.is_configured(&path) {
                    closure.configuration.extend(system.configuration.clone());
                }
                pending.push_back(Needs::of(&path, &object, &needs.rpath, tree.writer(&found)));
                if name == "libc.so.6" {
                    let later = OPENED_LATER
                        .iter()
                        .map(|name| (*name).to_owned())
                        .filter(|name| !loaded.contains(name));
                    let later = later.filter(|name| tree.exists(&path.with_file_name(name))).collect();
                    let own = needs.rpath.clone();
                    let nearby = path.parent().map(Path::to_owned).into_iter().collect();
                    pending.push_back(Needs {
                        names: later,
                        program: path.clone(),
                        directories: nearby,
                        rpath: own,
                        chooser: found.chooser.clone(),
                    });
                }
                closure.libraries.push(found);
            }
        }
        Ok(closure)
    }

    /// The program that loads another one. What is no ELF file for this processor loads nothing: a key, say.
    fn interpreter(
        &mut self,
        path: &Path,
        request: &Request<'_>,
        tree: &mut Tree,
    ) -> Result<Option<Located>, ResolveError> {
        let found = if path.is_absolute() { tree.locate(path, &request.writer)? } else { None };
        let Some(found) = found else { return Ok(None) };
        tree.admit(&found, Role::Loader)?;
        let object = self.object(&found, tree)?;
        Ok(object.filter(|it| it.is_program() && it.machine == request.object.machine).map(|_| found))
    }

    /// The first file of that name for the right processor.
    fn find(
        &mut self,
        name: &str,
        needs: &Needs,
        system: &System,
        machine: (u16, bool),
        tree: &mut Tree,
    ) -> Result<Option<(Located, Rc<Object>)>, ResolveError> {
        let is_path = name.contains('/');
        let paths: Vec<PathBuf> = match is_path {
            true => expand(name, &needs.program).into_iter().take(1).collect(),
            false => {
                let directories = needs.directories.iter().chain(&system.directories);
                directories.map(|directory| directory.join(name)).collect()
            }
        };
        let mut refused = None;
        for path in paths {
            let found = self.library(&path, &needs.chooser, tree);
            let (found, object) = match found {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                // The loader will not find it there in the jail, and goes on.
                Err(error) if needs.chooser != Chooser::Operator => {
                    refused = Some(error);
                    continue;
                }
                Err(error @ ResolveError::JobChosen { .. }) => {
                    refused = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if is_path || object.machine == machine {
                return Ok(Some((found, object)));
            }
        }
        refused.map_or(Ok(None), Err)
    }

    fn library(
        &mut self,
        path: &Path,
        chooser: &Chooser,
        tree: &mut Tree,
    ) -> Result<Option<(Located, Rc<Object>)>, ResolveError> {
        let Some(found) = tree.locate(path, chooser)? else { return Ok(None) };
        let Some(object) = self.object(&found, tree)?.filter(|object| object.is_shared()) else {
            return Ok(None);
        };
        tree.admit(&found, Role::Library)?;
        Ok(Some((found, object)))
    }

    fn object(&mut self, found: &Located, tree: &Tree) -> Result<Option<Rc<Object>>, ResolveError> {
        if let Some(known) = self.objects.get(&found.path) {
            return Ok(known.clone());
        }
        let object = tree.object(found)?.map(Rc::new);
        self.objects.insert(found.path.clone(), object.clone());
        Ok(object)
    }
}

/// What one object asks for, and where first.
struct Needs {
    names: Vec<String>,
    program: PathBuf,
    directories: Vec<PathBuf>,
    /// The DT_RPATHs that its libraries inherit.
    rpath: Vec<PathBuf>,
    /// Who chose all this.
    chooser: Chooser,
}

impl Needs {
    fn of(path: &Path, object: &Object, inherited: &[PathBuf], chooser: Chooser) -> Needs {
        let expand_all =
            |texts: &[String]| texts.iter().flat_map(|text| expand(text, path)).collect::<Vec<_>>();
        let own = expand_all(&object.rpath);
        let all = own.into_iter().chain(inherited.iter().cloned());
        let rpath: Vec<PathBuf> = all.take(MAX_DIRECTORIES).collect();
        let directories = match &object.runpath {
            Some(runpath) => expand_all(runpath),
            None => rpath.clone(),
        };
        Needs { names: object.needed.clone(), program: path.to_owned(), directories, rpath, chooser }
    }

    fn missing(&self, library: &str, system: &System) -> ResolveError {
        let looked =
            self.directories.iter().chain(&system.directories).map(|path| path.display().to_string());
        ResolveError::NoLibrary {
            program: self.program.clone(),
            library: library.to_owned(),
            looked: looked.collect::<Vec<_>>().join(", "),
        }
    }
}

/// The directories of the host's loader.
struct System {
    directories: Vec<PathBuf>,
    /// Those among them that are built into the loader.
    built_in: Vec<PathBuf>,
    /// The files that name the others.
    configuration: Vec<PathBuf>,
}

impl System {
    fn of(interpreter: Option<&Path>, wide: bool, configured: &[PathBuf]) -> System {
        let name = interpreter.and_then(file_name).unwrap_or_default();
        if let Some(architecture) = name.strip_prefix("ld-musl-") {
            return System::musl(architecture.trim_end_matches(".so.1"));
        }
        let mut built_in = Vec::new();
        // Debian's loader has these two built in, others have lib64; a directory that is not there is passed over.
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        if wide {
            built_in.extend([format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")].map(PathBuf::from));
            built_in.extend(["/lib64", "/usr/lib64"].map(PathBuf::from));
        }
        built_in.extend(["/lib", "/usr/lib"].map(PathBuf::from));
        let directories = configured.iter().chain(&built_in).cloned().collect();
        System { directories, built_in, configuration: vec![PathBuf::from(CACHE)] }
    }

    fn musl(architecture: &str) -> System {
        let file = PathBuf::from(format!("/etc/ld-musl-{architecture}.path"));
        let built_in = ["/lib", "/usr/local/lib", "/usr/lib"].map(PathBuf::from).to_vec();
        match std::fs::read_to_string(&file) {
            Ok(text) => System {
                directories: text
                    .split([':', '\n'])
                    .filter(|part| part.starts_with('/'))
                    .map(PathBuf::from)
                    .collect(),
                built_in: Vec::new(),
                configuration: vec![file],
            },
            Err(_) => System { directories: built_in.clone(), built_in, configuration: Vec::new() },
        }
    }

    /// Whether the loader finds this only with the help of a file.
    fn is_configured(&self, path: &Path) -> bool {
        let Some(directory) = path.parent() else { return false };
        let is_own = |own: &PathBuf| own == directory;
        self.directories.iter().any(is_own) && !self.built_in.iter().any(is_own)
    }
}

/// A path of a run path or a library's name; `$LIB` has as many meanings as there are distributions.
fn expand(text: &str, object: &Path) -> Vec<PathBuf> {
    let origin = object.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let text = text.replace("${", "$").replace('}', "");
    let text = text.replace("$ORIGIN", &origin).replace("$PLATFORM", std::env::consts::ARCH);
    if text.is_empty() || !text.starts_with('/') {
        // Relative to wherever the program is started: never for a jail.
        return Vec::new();
    }
    if !text.contains("$LIB") {
        return vec![PathBuf::from(text)];
    }
    let triplet = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    [&*triplet, "lib64", "lib"].iter().map(|lib| PathBuf::from(text.replace("$LIB", lib))).collect()
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Reads `ld.so.conf`: directories, and `include` with a pattern.
fn configured_directories(file: &Path, found: &mut Vec<PathBuf>, depth: usize) {
    let Ok(text) = std::fs::read_to_string(file) else { return };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t'])) {
            let pattern = file.with_file_name("").join(pattern.trim());
            // Deeper than anybody nests them: a file that includes itself.
            if depth < 4 {
                matching(&pattern).iter().for_each(|file| configured_directories(file, found, depth + 1));
            }
        } else if line.starts_with('/') {
            found.push(PathBuf::from(line));
        }
    }
}

/// The files that a pattern with one `*` in its last part means, sorted.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (pattern.parent(), file_name(pattern)) else { return Vec::new() };
    let Some((start, end)) = name.split_once('*') else { return vec![pattern.to_owned()] };
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = file_name(path).unwrap_or_default();
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        })
        .collect();
    found.sort();
    found
}
