//! What programs open later without saying so in their headers: modules, data, configuration.

use std::path::{Path, PathBuf};

use sandbox::timed;

use super::choice::{Chooser, Role};
use super::tree::Located;
use super::{Host, Presence, ResolveError};

/// Adds the data that every program may look up.
pub(super) fn common(host: &mut Host<'_>) -> Result<(), ResolveError> {
    // Where /bin is a link to /usr/bin, programs know themselves by either name.
    for link in ["/bin", "/sbin", "/lib", "/lib64"] {
        if let Some(found) = host.tree.locate(Path::new(link), &Chooser::Operator)? {
            host.tree.insert_links(&found);
        }
    }
    for data in ["/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo", "/usr/lib/locale/C.utf8"] {
        of_system(host, data)?;
    }
    Ok(())
}

/// Adds what goes with a library.
pub(super) fn of_library(host: &mut Host<'_>, library: &Located) -> Result<(), ResolveError> {
    let name = library.asked().file_name().unwrap_or_default().to_string_lossy();
    let Some(version) = name.strip_prefix("libcrypto.so.") else { return Ok(()) };
    let directory = library.path.parent().unwrap_or(Path::new("/"));
    optional(host, &directory.join("ossl-modules"), &library.chooser)?;
    optional(host, &directory.join(format!("engines-{version}")), &library.chooser)?;
    // Not the whole of /etc/ssl: that holds the host's certificates, and its private keys.
    for configuration in ["/usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"] {
        optional(host, Path::new(configuration), &Chooser::Operator)?;
    }
    Ok(())
}

/// Adds what goes with a program that `chooser` has named by the path of the lookup; where it lies may be the choice of
/// another.
pub(super) fn add(host: &mut Host<'_>, program: &Located, chooser: &Chooser) -> Result<(), ResolveError> {
    let real = program.path.as_path();
    let names = [program.asked(), real]
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let is = |test: &dyn Fn(&str) -> bool| names.iter().any(|name| test(name));
    if is(&|name| version_of(name, "python").is_some() || version_of(name, "pypy").is_some()) {
        python(host, program, chooser)?;
    }
    if is(&|name| name == "git") {
        git(host, program)?;
    }
    if is(&|name| version_of(name, "perl").is_some()) {
        perl(host, program)?;
    }
    if is(&|name| name == "node" || name == "nodejs") {
        // Debian's Node.js has parts of its own library there.
        optional(host, Path::new("/usr/share/nodejs"), &Chooser::Operator)?;
    }
    if is(&|name| version_of(name, "ruby").is_some()) {
        below(host, program, &["lib/ruby", "share/rubygems-integration", "share/ruby"])?;
    }
    if is(&|name| name == "vi" || name == "vim" || name.starts_with("vim.")) {
        plain(host, &prefix(real).join("share/vim"), &program.chooser)?;
    }
    if is(&|name| name == "file") {
        for magic in ["/usr/lib/file", "/usr/share/misc/magic.mgc", "/usr/share/file"] {
            of_system(host, magic)?;
        }
    }
    java(host, program)
}

/// What follows a language's name in a program's: `3.11` of `python3.11`.
fn version_of<'a>(name: &'a str, language: &str) -> Option<&'a str> {
    name.strip_prefix(language)
        .filter(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn python(host: &mut Host<'_>, program: &Located, chooser: &Chooser) -> Result<(), ResolveError> {
    // A virtual environment: its python is a link, and its packages lie beside the link.
    let environment = program.asked().parent().and_then(Path::parent).map(Path::to_owned);
    if let Some(environment) = environment
        && host.tree.exists(&environment.join("pyvenv.cfg"))
    {
        optional(host, &environment.join("pyvenv.cfg"), chooser)?;
        optional(host, &environment.join("lib"), chooser)?;
    }
    let real = program.path.as_path();
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let prefix = prefix(real);
    for library in ["lib", "lib64"].map(|library| prefix.join(library).join(&name)) {
        // Hundreds of directories, of which these two hold what is loaded.
        add_as(host, &library, &program.chooser, Role::PythonLibrary)?;
        for modules in ["lib-dynload", "site-packages"] {
            optional(host, &library.join(modules), &program.chooser)?;
        }
    }
    if prefix == Path::new("/usr") {
        // Debian's packages are for every python3 of the system; so are the ones that a new environment gets.
        for packages in ["/usr/lib/python3/dist-packages", "/usr/share/python-wheels"] {
            optional(host, Path::new(packages), &Chooser::Operator)?;
        }
        optional(host, &Path::new("/usr/local/lib").join(&name), &Chooser::Operator)?;
        of_system(host, &format!("/etc/{name}"))?;
    }
    Ok(())
}

fn git(host: &mut Host<'_>, program: &Located) -> Result<(), ResolveError> {
    let prefix = prefix(&program.path);
    let candidates = ["libexec/git-core", "lib/git-core"].map(|directory| prefix.join(directory));
    let programs =
        candidates.into_iter().find(|directory| host.tree.exists(&directory.join("git-remote-http")));
    match programs.or_else(|| ask_git(host, program)) {
        Some(directory) => {
            optional(host, &directory, &program.chooser)?;
        }
        None => tracing::debug!(git = %program.path.display(), "has no directory of its own"),
    }
    plain(host, &prefix.join("share/git-core/templates"), &program.chooser)?;
    // Hooks, aliases and credential helpers are shell commands, `git submodule` is a script that uses the others.
    ["sh", "basename", "sed", "uname"].iter().try_for_each(|name| host.program(name, Presence::Optional))
}

/// One that was built with other directories: it knows them. Never one that a job has chosen.
fn ask_git(host: &Host<'_>, program: &Located) -> Option<PathBuf> {
    if program.chooser != Chooser::Operator {
        return None;
    }
    let mut command = host.operator.programs().command(program.asked().to_str()?).ok()?;
    let output = timed::output_within(command.arg("--exec-path"), timed::ANSWER).ok()?;
    let directory = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    (directory.is_absolute() && directory.is_dir()).then_some(directory)
}

fn perl(host: &mut Host<'_>, program: &Located) -> Result<(), ResolveError> {
    let triplet = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    for library in ["perl", "perl-base", "perl5"] {
        below(
            host,
            program,
            &[&format!("{triplet}/{library}"), &format!("lib/{library}"), &format!("lib64/{library}")],
        )?;
    }
    for library in ["share/perl", "share/perl5"] {
        plain(host, &prefix(&program.path).join(library), &program.chooser)?;
    }
    of_system(host, "/etc/perl")
}

/// A Java runtime: all of it, found by the library that each of its programs is started with.
fn java(host: &mut Host<'_>, program: &Located) -> Result<(), ResolveError> {
    let home = prefix(&program.path);
    let is_runtime = program.path.parent().is_some_and(|directory| directory.ends_with("bin"))
        && ["lib/libjli.so", "lib/jli/libjli.so"].iter().any(|library| host.tree.exists(&home.join(library)));
    if is_runtime && optional(host, &home, &program.chooser)? && !host.java {
        host.java = true;
        host.environment.push(("JAVA_HOME".into(), home.into_os_string()));
    }
    Ok(())
}

/// `/usr` of `/usr/bin/git`.
fn prefix(real: &Path) -> PathBuf {
    real.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned()
}

fn below(host: &mut Host<'_>, program: &Located, directories: &[&str]) -> Result<(), ResolveError> {
    let prefix = prefix(&program.path);
    let mut paths = directories.iter().map(|directory| prefix.join(directory));
    paths.try_for_each(|path| optional(host, &path, &program.chooser).map(drop))
}

/// Adds a file or directory of the system's data, if the host has it.
fn of_system(host: &mut Host<'_>, path: &str) -> Result<(), ResolveError> {
    plain(host, Path::new(path), &Chooser::Operator)
}

/// Adds a file or directory of data, in which nothing needs anything else, if the host has it.
fn plain(host: &mut Host<'_>, path: &Path, chooser: &Chooser) -> Result<(), ResolveError> {
    add_as(host, path, chooser, Role::Data)
}

fn add_as(host: &mut Host<'_>, path: &Path, chooser: &Chooser, role: Role) -> Result<(), ResolveError> {
    host.offer(path, chooser, role).map(drop)
}

/// Adds a file or directory and what its files need, if the host has it and the jail may have it.
fn optional(host: &mut Host<'_>, path: &Path, chooser: &Chooser) -> Result<bool, ResolveError> {
    let Some(located) = host.offer(path, chooser, Role::Data)? else { return Ok(false) };
    if located.is_directory() {
        host.directory(&located)?;
    }
    Ok(true)
}
