//! Starts a container behind a relay: the engine's program carries the stream, a process of ours is its near end.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use super::Identified;
use super::image::Image;
use super::job_dir::ContainerDir;
use super::start::{Carried, MOST_TRIES, NOT_MADE, is_called, spawn};
use crate::backend::{ContainerError, Error};
use crate::host_program::this_program;
use crate::relay::near;
use crate::wire::Channel;

/// Starts the container, and a near end once there is a far one. Returns what the near end has still to be given: what
/// comes of the container, and what goes to it.
pub(super) fn start(
    who: &Identified,
    place: ContainerDir,
    image: &Image<'_>,
    arguments: &[OsString],
) -> Result<(Carried, [OwnedFd; 2]), Error> {
    let mut tries_left = MOST_TRIES;
    loop {
        let failed = |error: std::io::Error| Error::StartStage { os: error.into() };
        let (input, theirs_out) = std::io::pipe().map_err(failed)?;
        let (theirs_in, output) = std::io::pipe().map_err(failed)?;
        let mut carrier = spawn(&who.engine, &place, arguments, theirs_in.into(), Some(theirs_out.into()))?;
        if is_called(who, &mut carrier, input.as_fd())? {
            let (channel, near) = near_end().map_err(failed)?;
            let carried = Carried::new(channel, carrier, Some(near), who.engine.clone(), place);
            return Ok((carried, [input.into(), output.into()]));
        }
        let status = carrier.child.wait().map_err(|error| who.engine.not_started(error))?;
        let said = fs::read(place.said()).unwrap_or_default();
        if status.code() == Some(NOT_MADE)
            && tries_left > 0
            && who.engine.provide(image, place.runtime(), &said)?
        {
            tries_left -= 1;
            continue;
        }
        return Err(not_there(&said).unwrap_or_else(|| who.engine.refused(&said)));
    }
}

fn near_end() -> std::io::Result<(Channel, Child)> {
    let (channel, theirs) = Channel::pair().map_err(std::io::Error::other)?;
    let mut command = this_program();
    command.arg0("jail").arg(near::ARGUMENT).stdin(theirs).stdout(Stdio::null());
    Ok((channel, command.spawn()?))
}

/// The engine's no to a path that it does not find on its machine.
fn not_there(said: &[u8]) -> Option<Error> {
    let said = String::from_utf8_lossy(said);
    let path = ["source path does not exist: ", "The path "]
        .iter()
        .find_map(|before| said.split_once(before))
        .and_then(|(_, after)| after.split([' ', '\n']).next())?;
    Some(ContainerError::NotShared { path: path.trim_end_matches('.').into() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_the_engine_s_machine_lacks_is_named() {
        for said in [
            "docker: Error response from daemon: invalid mount config for type \"bind\": bind source path does not exist: /nix/store/x.\nSee 'docker run --help'.",
            "docker: Error response from daemon: mounts denied: \nThe path /nix/store/x is not shared from the host and is not known to Docker.",
        ] {
            let path = "/nix/store/x".into();
            assert_eq!(not_there(said.as_bytes()), Some(ContainerError::NotShared { path }.into()));
        }
        assert_eq!(not_there(b"docker: Error response from daemon: no space left on device."), None);
    }
}
