//! What a push asks for: the lines before its pack (gitprotocol-pack(5), "Reference Update Request").

use std::collections::HashSet;

use policy::RefName;

use super::object::{Hash, ObjectId};
use super::pkt_line::{self, Packet};

/// Bytes of the lines before the pack.
pub(super) const MOST_BYTES: usize = 1024 * 1024;
/// Refs of one push.
const MOST_COMMANDS: usize = 10_000;

/// One ref and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) name: RefName,
    pub(super) old: ObjectId,
    pub(super) new: ObjectId,
}

/// All that stands before the pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commands {
    pub(super) commands: Vec<Command>,
    pub(super) hash: Hash,
    /// Whether the client wants to be told about each ref.
    pub(super) report: bool,
    /// Whether it wants that in side-band packets.
    pub(super) side_band: bool,
    /// Whether there are options for the server (`git push -o`), which can make it do more than move refs.
    pub(super) options: bool,
    /// Where the pack begins.
    pub(super) length: usize,
}

/// Why a request is no push that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPush {
    /// Not in git's form, or in one that servers could read in two ways.
    Malformed,
    /// `git push --signed`: its commands stand in a certificate.
    Signed,
    /// More than is read.
    TooMany,
}

/// Reads the lines as their bytes come.
#[derive(Debug, Default)]
pub(super) struct Reader {
    position: usize,
    stage: Stage,
    lines: Vec<Command>,
    names: HashSet<String>,
    hash: Option<Hash>,
    capabilities: Vec<String>,
    has_options: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Shallow,
    Commands,
    Options,
}

impl Reader {
    /// Goes on where it was; `bytes` are all bytes from the beginning. `None` if more are needed.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<Commands>, NoPush> {
        loop {
            let rest = bytes.get(self.position..).unwrap_or_default();
            let Some((packet, length)) = pkt_line::read(rest).map_err(|_| NoPush::Malformed)? else {
                // A line that goes on beyond the bound is not waited for.
                return if bytes.len() > MOST_BYTES { Err(NoPush::TooMany) } else { Ok(None) };
            };
            self.position += length;
            if self.position > MOST_BYTES {
                return Err(NoPush::TooMany);
            }
            match (self.stage, packet) {
                (Stage::Options, Packet::Line(_)) => self.has_options = true,
                (Stage::Shallow | Stage::Commands, Packet::Line(line)) => self.line(line)?,
                (Stage::Commands, Packet::Flush) if self.has("push-options") => self.stage = Stage::Options,
                (_, Packet::Flush) => return self.end().map(Some),
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), NoPush> {
        if self.stage == Stage::Shallow
            && let Some(id) = line.strip_prefix(b"shallow ")
        {
            let id = id.strip_suffix(b"\n").unwrap_or(id);
            return self.id(id).map(drop);
        }
        let first = self.stage == Stage::Shallow;
        self.stage = Stage::Commands;
        let (line, capabilities) = match line.iter().position(|byte| *byte == 0) {
            Some(end) if first => (&line[..end], Some(&line[end + 1..])),
            // git takes capabilities from any line; who sends them twice wants them read twice.
            Some(_) => return Err(NoPush::Malformed),
            None => (line, None),
        };
        if line.starts_with(b"push-cert") {
            return Err(NoPush::Signed);
        }
        if let Some(capabilities) = capabilities {
            self.take_capabilities(capabilities)?;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err(NoPush::Malformed);
        };
        let (old, new) = (self.id(old)?, self.id(new)?);
        let name = str::from_utf8(name).ok().and_then(|name| name.parse::<RefName>().ok());
        let name = name.ok_or(NoPush::Malformed)?;
        // The same ref twice, or neither made nor there: whatever a server makes of it.
        if (old.is_zero() && new.is_zero()) || !self.names.insert(name.as_str().to_owned()) {
            return Err(NoPush::Malformed);
        }
        if self.lines.len() == MOST_COMMANDS {
            return Err(NoPush::TooMany);
        }
        self.lines.push(Command { name, old, new });
        Ok(())
    }

    fn take_capabilities(&mut self, text: &[u8]) -> Result<(), NoPush> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = str::from_utf8(text).map_err(|_| NoPush::Malformed)?;
        if text.contains(|character: char| character.is_control()) {
            return Err(NoPush::Malformed);
        }
        self.capabilities = text.split(' ').map(str::to_owned).collect();
        let mut formats = self.capabilities.iter().filter_map(|word| word.strip_prefix("object-format="));
        let hash = match (formats.next(), formats.next()) {
            (None, _) => return Ok(()),
            (Some("sha1"), None) => Hash::Sha1,
            (Some("sha256"), None) => Hash::Sha256,
            _ => return Err(NoPush::Malformed),
        };
        // A shallow line came first and has shown it already.
        match self.hash.replace(hash) {
            Some(shown) if shown != hash => Err(NoPush::Malformed),
            _ => Ok(()),
        }
    }

    /// Reads a name; all names of a push are of one hash.
    fn id(&mut self, text: &[u8]) -> Result<ObjectId, NoPush> {
        let shown = match text.len() {
            40 => Hash::Sha1,
            64 => Hash::Sha256,
            _ => return Err(NoPush::Malformed),
        };
        match *self.hash.get_or_insert(shown) {
            hash if hash == shown => hash.read(text).ok_or(NoPush::Malformed),
            _ => Err(NoPush::Malformed),
        }
    }

    fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    fn end(&mut self) -> Result<Commands, NoPush> {
        let report = self.has("report-status") || self.has("report-status-v2");
        let side_band = self.has("side-band-64k");
        Ok(Commands {
            commands: std::mem::take(&mut self.lines),
            hash: self.hash.unwrap_or(Hash::Sha1),
            report,
            side_band,
            options: self.has_options,
            length: self.position,
        })
    }
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
