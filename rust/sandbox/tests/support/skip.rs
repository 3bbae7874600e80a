//! Tests that cannot run on this machine, made visible. The test harness knows no skipped tests: such a test returns
//! early and counts as passed, and what it prints is captured.

use std::fs::OpenOptions;
use std::io::Write;

/// Reports that the running test is skipped, or a part of it: on the real standard error, past the harness's capture,
/// and as a line of the file that `NIX_JAIL_SKIPPED` names, from which `checks/all.sh` makes its summary.
pub(crate) fn report(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    // In one write each: tests run in parallel.
    let _ = std::io::stderr().write_all(format!("skipped: {line}").as_bytes());
    if let Some(path) = std::env::var_os("NIX_JAIL_SKIPPED") {
        // It exists: to create it is the business of who set the variable, and may be another user.
        let file = OpenOptions::new().append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(written.is_ok(), "{}: {written:?}", path.display());
    }
}
