//! What programs open later without saying so in their headers: modules, data, configuration.

use std::path::{Path, PathBuf};

use crate::host_program::HostPrograms;

use super::{Host, Presence, ResolveError};

/// Adds the data that every program may look up.
pub(super) fn common(host: &mut Host<'_>) -> Result<(), ResolveError> {
    // Where /bin is a link to /usr/bin, programs know themselves by either name.
    for link in ["/bin", "/sbin", "/lib", "/lib64"] {
        if Path::new(link).is_symlink() {
            host.tree.walk(Path::new(link))?;
        }
    }
    for data in ["/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo", "/usr/lib/locale/C.utf8"] {
        plain(host, Path::new(data))?;
    }
    Ok(())
}

/// Adds what goes with a library.
pub(super) fn of_library(host: &mut Host<'_>, library: &Path, real: &Path) -> Result<(), ResolveError> {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    let Some(version) = name.strip_prefix("libcrypto.so.") else { return Ok(()) };
    let directory = real.parent().unwrap_or(Path::new("/"));
    optional(host, &directory.join("ossl-modules"))?;
    optional(host, &directory.join(format!("engines-{version}")))?;
    // Not the whole of /etc/ssl: that holds the host's certificates, and its private keys.
    for configuration in ["/usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"] {
        optional(host, Path::new(configuration))?;
    }
    Ok(())
}

/// Adds what goes with a program: `path` is how it was found, `real` is where it lies.
pub(super) fn add(host: &mut Host<'_>, path: &Path, real: &Path) -> Result<(), ResolveError> {
    let names = [path, real].map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let is = |test: &dyn Fn(&str) -> bool| names.iter().any(|name| test(name));
    if is(&|name| version_of(name, "python").is_some() || version_of(name, "pypy").is_some()) {
        python(host, path, real)?;
    }
    if is(&|name| name == "git") {
        git(host, real)?;
    }
    if is(&|name| version_of(name, "perl").is_some()) {
        perl(host, real)?;
    }
    if is(&|name| name == "node" || name == "nodejs") {
        // Debian's Node.js has parts of its own library there.
        optional(host, Path::new("/usr/share/nodejs"))?;
    }
    if is(&|name| version_of(name, "ruby").is_some()) {
        below(host, real, &["lib/ruby", "share/rubygems-integration", "share/ruby"])?;
    }
    if is(&|name| name == "vi" || name == "vim" || name.starts_with("vim.")) {
        plain(host, &prefix(real).join("share/vim"))?;
    }
    if is(&|name| name == "file") {
        for magic in ["/usr/lib/file", "/usr/share/misc/magic.mgc", "/usr/share/file"] {
            plain(host, Path::new(magic))?;
        }
    }
    java(host, real)
}

/// What follows a language's name in a program's: `3.11` of `python3.11`.
fn version_of<'a>(name: &'a str, language: &str) -> Option<&'a str> {
    name.strip_prefix(language)
        .filter(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn python(host: &mut Host<'_>, path: &Path, real: &Path) -> Result<(), ResolveError> {
    // A virtual environment: its python is a link, and its packages lie beside the link.
    if let Some(environment) = path.parent().and_then(Path::parent)
        && environment.join("pyvenv.cfg").exists()
    {
        optional(host, &environment.join("pyvenv.cfg"))?;
        optional(host, &environment.join("lib"))?;
    }
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let prefix = prefix(real);
    for library in ["lib", "lib64"].map(|library| prefix.join(library).join(&name)) {
        // Hundreds of directories, of which these two hold what is loaded.
        plain(host, &library)?;
        for modules in ["lib-dynload", "site-packages"] {
            optional(host, &library.join(modules))?;
        }
    }
    if prefix == Path::new("/usr") {
        // Debian's packages are for every python3 of the system.
        optional(host, Path::new("/usr/lib/python3/dist-packages"))?;
        optional(host, &Path::new("/usr/local/lib").join(&name))?;
        plain(host, &Path::new("/etc").join(&name))?;
    }
    Ok(())
}

fn git(host: &mut Host<'_>, real: &Path) -> Result<(), ResolveError> {
    let candidates = ["libexec/git-core", "lib/git-core"].map(|directory| prefix(real).join(directory));
    let programs = candidates.into_iter().find(|directory| directory.join("git-remote-http").exists());
    match programs.or_else(|| ask_git(host, real)) {
        Some(directory) => host.directory(&directory)?,
        None => tracing::debug!(git = %real.display(), "has no directory of its own"),
    }
    plain(host, &prefix(real).join("share/git-core/templates"))?;
    // Hooks, aliases and credential helpers are shell commands, `git submodule` is a script that uses the others.
    ["sh", "basename", "sed", "uname"].iter().try_for_each(|name| host.program(name, Presence::Optional))
}

/// One that was built with other directories: it knows them.
fn ask_git(host: &Host<'_>, real: &Path) -> Option<PathBuf> {
    let mut command = HostPrograms::of(host.operator).command(real.to_str()?).ok()?;
    let output = command.arg("--exec-path").stdin(std::process::Stdio::null()).output().ok()?;
    let directory = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    (directory.is_absolute() && directory.is_dir()).then_some(directory)
}

fn perl(host: &mut Host<'_>, real: &Path) -> Result<(), ResolveError> {
    let triplet = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    for library in ["perl", "perl-base", "perl5"] {
        below(
            host,
            real,
            &[&format!("{triplet}/{library}"), &format!("lib/{library}"), &format!("lib64/{library}")],
        )?;
    }
    for library in ["share/perl", "share/perl5"] {
        plain(host, &prefix(real).join(library))?;
    }
    plain(host, Path::new("/etc/perl"))
}

/// A Java runtime: all of it, found by the library that each of its programs is started with.
fn java(host: &mut Host<'_>, real: &Path) -> Result<(), ResolveError> {
    let home = prefix(real);
    let is_runtime = real.parent().is_some_and(|directory| directory.ends_with("bin"))
        && ["lib/libjli.so", "lib/jli/libjli.so"].iter().any(|library| home.join(library).exists());
    if is_runtime {
        host.directory(&home)?;
        if !host.java {
            host.java = true;
            host.environment.push(("JAVA_HOME".into(), home.into_os_string()));
        }
    }
    Ok(())
}

/// `/usr` of `/usr/bin/git`.
fn prefix(real: &Path) -> PathBuf {
    real.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned()
}

fn below(host: &mut Host<'_>, real: &Path, directories: &[&str]) -> Result<(), ResolveError> {
    let prefix = prefix(real);
    directories.iter().try_for_each(|directory| optional(host, &prefix.join(directory)))
}

/// Adds a file or directory of data, in which nothing needs anything else, if the host has it.
fn plain(host: &mut Host<'_>, path: &Path) -> Result<(), ResolveError> {
    if path.exists() { host.tree.add(path).map(drop) } else { Ok(()) }
}

/// Adds a file or directory and what its files need, if the host has it.
fn optional(host: &mut Host<'_>, path: &Path) -> Result<(), ResolveError> {
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => host.directory(path),
        Ok(_) => host.tree.add(path).map(drop),
        Err(_) => Ok(()),
    }
}
