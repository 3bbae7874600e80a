//! What a push asks for: the lines before its pack (gitprotocol-pack(5), "Reference Update Request").

use std::collections::HashSet;

use policy::{Change, RefName};

use super::object::{Hash, ObjectId};
use super::pkt_line::{self, Packet};

/// Bytes of the lines before the pack.
pub const MAX_COMMAND_BYTES: usize = 1024 * 1024;
/// Refs of one push.
const MAX_COMMANDS: usize = 10_000;

/// The capabilities that clients send with a value; each other one is a bare name (gitprotocol-capabilities(5)).
const WITH_VALUE: [&str; 3] = ["agent", "object-format", "session-id"];
/// Begins the commands of a signed push, and names the capability for it.
const PUSH_CERTIFICATE: &str = "push-cert";

/// One ref and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The ref.
    pub name: RefName,
    /// Where it is, as the client knows it; zero for a new ref.
    pub old: ObjectId,
    /// Where it is to be; zero to delete it.
    pub new: ObjectId,
}

/// All that stands before the pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// The changes of refs. An empty list only asks whether the client may push.
    pub commands: Vec<Command>,
    /// The hash of the repository.
    pub hash: Hash,
    /// The commits whose parents the client does not have: a server that takes shallow pushes cuts history there.
    pub shallow: HashSet<ObjectId>,
    /// Whether the client wants to be told about each ref.
    pub report: bool,
    /// Whether it wants that in side-band packets.
    pub side_band: bool,
    /// Whether there are options for the server (`git push -o`), which can make it do more than move refs.
    pub options: bool,
    /// Where the pack begins.
    pub length: usize,
}

/// Why a request is no push that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPush {
    /// Not in git's form, or in one that servers could read in two ways.
    Malformed,
    /// `git push --signed`: its commands stand in a certificate.
    Signed,
    /// More than is read.
    TooMany,
}

/// Reads the lines as their bytes come.
#[derive(Debug, Default)]
pub struct Reader {
    position: usize,
    stage: Stage,
    shallow: HashSet<ObjectId>,
    lines: Vec<Command>,
    names: HashSet<String>,
    hash: Option<Hash>,
    capabilities: HashSet<String>,
    has_options: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Shallow,
    Commands,
    Options,
}

impl Command {
    /// What becomes of the ref; `moved` if it existed before and still does.
    pub fn change(&self, moved: Change) -> Change {
        match (self.old.is_zero(), self.new.is_zero()) {
            (true, _) => Change::Create,
            (_, true) => Change::Delete,
            _ => moved,
        }
    }
}

impl Reader {
    /// Goes on where it was; `bytes` are all bytes from the beginning. `None` if more are needed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Commands>, NoPush> {
        loop {
            let rest = bytes.get(self.position..).unwrap_or_default();
            let Some((packet, length)) = pkt_line::read(rest).map_err(|_| NoPush::Malformed)? else {
                // A line that goes on beyond the bound is not waited for.
                return if bytes.len() > MAX_COMMAND_BYTES { Err(NoPush::TooMany) } else { Ok(None) };
            };
            self.position += length;
            if self.position > MAX_COMMAND_BYTES {
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
            let id = self.id(id.strip_suffix(b"\n").unwrap_or(id))?;
            self.shallow.insert(id);
            return Ok(());
        }
        let first = self.stage == Stage::Shallow;
        self.stage = Stage::Commands;
        let (line, capabilities) = match line.iter().position(|byte| *byte == 0) {
            Some(end) if first => (&line[..end], Some(&line[end + 1..])),
            // git takes capabilities from any line; who sends them twice wants them read twice.
            Some(_) => return Err(NoPush::Malformed),
            None => (line, None),
        };
        if line.starts_with(PUSH_CERTIFICATE.as_bytes()) {
            return Err(NoPush::Signed);
        }
        let is_cut = capabilities.is_some();
        if let Some(capabilities) = capabilities {
            self.take_capabilities(capabilities)?;
        }
        // git cuts the line feed off the packet, which is in front of the capabilities no more.
        let line = match is_cut {
            true => line,
            false => line.strip_suffix(b"\n").unwrap_or(line),
        };
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
        if self.lines.len() == MAX_COMMANDS {
            return Err(NoPush::TooMany);
        }
        self.lines.push(Command { name, old, new });
        Ok(())
    }

    /// Reads the capabilities. git takes `NAME=value` for NAME, the first of several, and knows white space that others do
    /// not: each name stands here once, and with a value only where git itself sends one.
    fn take_capabilities(&mut self, text: &[u8]) -> Result<(), NoPush> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = str::from_utf8(text).map_err(|_| NoPush::Malformed)?;
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(NoPush::Malformed);
        }
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            if name == PUSH_CERTIFICATE {
                return Err(NoPush::Signed);
            }
            let has_value = WITH_VALUE.contains(&name);
            if value.is_some() != has_value || !self.capabilities.insert(name.to_owned()) {
                return Err(NoPush::Malformed);
            }
            if let ("object-format", Some(value)) = (name, value) {
                self.take_format(value)?;
            }
        }
        Ok(())
    }

    fn take_format(&mut self, format: &str) -> Result<(), NoPush> {
        let hash = match format {
            "sha1" => Hash::Sha1,
            "sha256" => Hash::Sha256,
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
        self.capabilities.contains(capability)
    }

    fn end(&mut self) -> Result<Commands, NoPush> {
        let report = self.has("report-status") || self.has("report-status-v2");
        let side_band = self.has("side-band-64k");
        Ok(Commands {
            commands: std::mem::take(&mut self.lines),
            hash: self.hash.unwrap_or(Hash::Sha1),
            shallow: std::mem::take(&mut self.shallow),
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

#[cfg(test)]
#[path = "real_git_tests.rs"]
mod real_git_tests;
