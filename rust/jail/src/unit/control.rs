//! How `systemctl reload` reaches a proxy at work: a socket in its own directory. To connect is to ask; the answer is
//! empty, or says why nothing has changed.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::directory;
use crate::failure::Failure;

/// A new policy takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Listens for requests.
pub(super) fn listen(directory: &Path) -> Result<UnixListener, Failure> {
    let path = socket(directory);
    UnixListener::bind(&path)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| Failure::no_jail(format!("cannot listen on {}: {error}", path.display())))
}

/// Answers one request by what `reload` says.
pub(super) fn answer(listener: &UnixListener, reload: impl FnOnce() -> Result<(), String>) {
    // Whoever asked may be gone; that is no reason to end.
    let Ok((mut stream, _)) = listener.accept() else { return };
    let text = reload().err().unwrap_or_default();
    if let Err(error) = stream.write_all(text.as_bytes()) {
        tracing::debug!(%error, "nobody waited for a reload");
    }
}

/// Asks the proxy of this unit to take its rules anew.
pub(super) fn ask_for_reload() -> Result<ExitCode, Failure> {
    let path = socket(&directory("RUNTIME_DIRECTORY")?);
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.is_empty() => Ok(ExitCode::SUCCESS),
        Ok(answer) => Err(Failure::no_jail(format!("nothing is changed: {answer}"))),
        Err(error) => {
            Err(Failure::no_jail(format!("the proxy does not answer at {}: {error}", path.display())))
        }
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("control")
}
