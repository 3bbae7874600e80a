//! From start to exit of `true`: how long a jail takes that does nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Fallible;
use crate::place::{Place, User};
use crate::process;
use crate::samples::Samples;
use crate::table::{Row, Target, milliseconds, times};

/// How many paths of a store are in the jail; 400 is a shell with a compiler.
const PATHS: [usize; 4] = [0, 25, 100, 400];
/// The sizes that root's jails are measured with.
const PATHS_AS_ROOT: [usize; 2] = [0, 100];

/// One way of running `true`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Bare,
    Unshare,
    Bubblewrap(usize),
    Jail(usize),
    JailAsRoot(usize),
}

/// Measures all ways, each once per round.
pub(crate) fn measure(place: &Place, rounds: usize) -> Fallible<Vec<Row>> {
    let store = Store::make(place)?;
    let mut ways = vec![Way::Bare, Way::Unshare];
    ways.extend(PATHS.map(Way::Jail));
    if Path::new("/usr/bin/bwrap").exists() {
        ways.extend(PATHS.map(Way::Bubblewrap));
    }
    if place.users().contains(&User::Root) {
        ways.extend(PATHS_AS_ROOT.map(Way::JailAsRoot));
    }
    // What does not do its work must not look fast.
    ways.retain(|way| match is_real(*way, place, &store) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("{way:?}: {error}");
            false
        }
    });
    let mut samples: BTreeMap<Way, Samples> = BTreeMap::new();
    // The first round fills caches and is not counted.
    for round in 0..=rounds {
        // Each round starts with another way, so that none is always measured after the same one.
        for position in 0..ways.len() {
            let way = ways[(position + round) % ways.len()];
            let outcome =
                command(way, place, &store, &["true"]).and_then(|mut command| process::run(&mut command));
            match outcome {
                Ok(elapsed) if round > 0 => {
                    samples.entry(way).or_default().add(vec![elapsed.as_secs_f64() * 1000.0]);
                }
                Ok(_) => {}
                Err(error) => eprintln!("{way:?}: {error}"),
            }
        }
        // A way that does not work at all is tried once.
        if round > 0 {
            ways.retain(|way| samples.contains_key(way));
        }
    }
    Ok(rows(place, &samples))
}

/// Directories such as a Nix store holds, and a jail for each number of them.
struct Store {
    paths: Vec<PathBuf>,
}

impl Store {
    fn make(place: &Place) -> Fallible<Store> {
        let directory = place.directory.join("store");
        fs::create_dir(&directory)?;
        let paths: Vec<PathBuf> = (0..PATHS[PATHS.len() - 1])
            .map(|number| directory.join(format!("{number:032}-package-{number}")))
            .collect();
        for path in &paths {
            fs::create_dir(path)?;
            fs::write(path.join("file"), path.as_os_str().as_encoded_bytes())?;
        }
        fs::create_dir(place.jails())?;
        let store = Store { paths };
        for count in PATHS {
            let binds: Vec<String> = store
                .binds(count)
                .map(|(source, target)| format!(r#"{{"source":"{}","target":"{target}"}}"#, source.display()))
                .collect();
            let specification = format!(
                r#"{{"version":1,"name":"paths-{count}","programs":["true"],"binds":[{}]}}"#,
                binds.join(",")
            );
            fs::write(place.jails().join(format!("paths-{count}.json")), specification)?;
        }
        Ok(store)
    }

    fn binds(&self, count: usize) -> impl Iterator<Item = (&Path, String)> {
        self.paths.iter().take(count).map(|path| {
            (path.as_path(), format!("/nix/store/{}", path.file_name().unwrap_or_default().display()))
        })
    }
}

/// Sees that a jail has a network of its own and the store paths it should have, and no more.
fn is_real(way: Way, place: &Place, store: &Store) -> Fallible<()> {
    let (Way::Jail(count) | Way::JailAsRoot(count) | Way::Bubblewrap(count)) = way else { return Ok(()) };
    let script = "readlink /proc/self/ns/net; for path in /nix/store/*/file; do [ -e $path ] && echo $path; done; true";
    let words = ["sh", "-c", script];
    let output = process::output(&mut command(way, place, store, &words)?)?;
    let (network, paths) = output.split_once('\n').ok_or("it has no network namespace")?;
    let host = fs::read_link("/proc/self/ns/net")?;
    if !network.starts_with("net:") || host.to_str() == Some(network) {
        return Err(format!("its network namespace is {network}").into());
    }
    match paths.lines().count() {
        found if found == count => Ok(()),
        found => Err(format!("it has {found} store paths, not {count}").into()),
    }
}

fn command(way: Way, place: &Place, store: &Store, words: &[&str]) -> Fallible<Command> {
    let user = if matches!(way, Way::JailAsRoot(_)) { User::Root } else { User::Ordinary };
    match way {
        Way::Bare => place.command(user, words[0]),
        Way::Unshare => {
            let mut command = place.command(user, "unshare")?;
            command.arg("-rnmp").args(words);
            Ok(command)
        }
        Way::Bubblewrap(count) => {
            let mut command = place.command(user, "bwrap")?;
            command.args([
                "--unshare-all",
                "--die-with-parent",
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "--tmpfs",
                "/tmp",
            ]);
            command.args(["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"]);
            command.args(["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]);
            for (source, target) in store.binds(count) {
                command.arg("--ro-bind").arg(source).arg(target);
            }
            command.args(words);
            Ok(command)
        }
        Way::Jail(count) | Way::JailAsRoot(count) => {
            let mut command = place.jail_run(user)?;
            command.arg(format!("paths-{count}"));
            if words[0] != "true" {
                // The jails hold nothing but `true`.
                command.args(["--host", "sh", "--host", "readlink"]);
            }
            command.arg("--").args(words);
            Ok(command)
        }
    }
}

fn rows(place: &Place, samples: &BTreeMap<Way, Samples>) -> Vec<Row> {
    let text = |way: Way, name: &str| {
        samples
            .get(&way)
            .map(|samples| format!("{name} {}", milliseconds(samples.median())))
            .unwrap_or_default()
    };
    let row = |way: Way, what: String, beside: Way, name: &str| {
        let Some(own) = samples.get(&way) else { return (Row::failed(what), f64::NAN, f64::NAN) };
        let ratio = samples.get(&beside).map_or(f64::NAN, |beside| own.ratio(beside));
        let compared = if ratio.is_nan() { String::new() } else { times(ratio) };
        (Row::new(what, milliseconds(own.median()), text(beside, name), compared), own.median(), ratio)
    };
    let mut rows = Vec::new();
    let (first, median, _) =
        row(Way::Jail(0), "start to exit of `true`, p50".into(), Way::Unshare, "unshare");
    rows.push(if median.is_nan() { first } else { first.judged(median, Target::AtMost(15.0), milliseconds) });
    if let Some(own) = samples.get(&Way::Jail(0)) {
        rows.push(Row::new(
            "  p95",
            milliseconds(own.quantile(0.95)),
            text(Way::Bare, "no jail"),
            String::new(),
        ));
    }
    for count in PATHS {
        let what = format!("  with {count} store paths");
        let (row, median, ratio) = row(Way::Jail(count), what, Way::Bubblewrap(count), "bwrap");
        rows.push(match count {
            100 if !median.is_nan() => row.judged(median, Target::AtMost(18.0), milliseconds),
            400 if !ratio.is_nan() => row.judged(ratio, Target::AtMost(0.25), times),
            _ => row,
        });
    }
    if place.users().contains(&User::Root) {
        for count in PATHS_AS_ROOT {
            let what = format!("  started by root, {count} store paths");
            rows.push(row(Way::JailAsRoot(count), what, Way::Jail(count), "ordinary user").0);
        }
    }
    rows
}
