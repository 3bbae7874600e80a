//! What an ELF file says it needs. Only its headers are read: a program may be hundreds of megabytes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use elf::abi;
use elf::dynamic::DynamicTable;
use elf::endian::AnyEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};

/// The needs of one ELF file.
#[derive(Debug)]
pub(super) struct Object {
    /// The program that loads it (PT_INTERP); none if it is static, or a library.
    pub(super) interpreter: Option<PathBuf>,
    /// The names of libraries (DT_NEEDED).
    pub(super) needed: Vec<String>,
    /// Where they are looked for first (DT_RPATH), also those of the libraries.
    pub(super) rpath: Vec<String>,
    /// Where its own are looked for first (DT_RUNPATH); then DT_RPATH counts for nothing.
    pub(super) runpath: Option<Vec<String>>,
    /// For which processor it is, with the word's size.
    pub(super) machine: (u16, bool),
    /// Executable, shared object, or something else (`e_type`).
    kind: u16,
}

/// More than any linker writes; a damaged file must not make us allocate.
const MAX_TABLE: u64 = 1 << 20;
const MAX_STRING: usize = 4096;
/// More libraries than any program names, and more directories.
const MAX_NEEDED: usize = 1024;
const MAX_DIRECTORIES: usize = 256;

/// Reads the headers; `None` if this is no ELF file.
pub(super) fn read(file: &File) -> io::Result<Option<Object>> {
    let mut head = [0; 64];
    let length = fill(file, &mut head, 0)?;
    if length < 52 || !head.starts_with(&abi::ELFMAGIC) {
        return Ok(None);
    }
    let ident = parse_ident::<AnyEndian>(&head[..abi::EI_NIDENT]).map_err(damaged)?;
    let header = FileHeader::parse_tail(ident, &head[abi::EI_NIDENT..length]).map_err(damaged)?;
    let size = u64::from(header.e_phnum) * u64::from(header.e_phentsize);
    let table = piece(file, header.e_phoff, size)?;
    let segments: Vec<ProgramHeader> =
        SegmentTable::new(header.endianness, header.class, &table).iter().collect();
    let mut object = Object {
        interpreter: None,
        needed: Vec::new(),
        rpath: Vec::new(),
        runpath: None,
        machine: (header.e_machine, header.class == Class::ELF64),
        kind: header.e_type,
    };
    if let Some(segment) = segments.iter().find(|segment| segment.p_type == abi::PT_INTERP) {
        object.interpreter = Some(PathBuf::from(string(file, segment.p_offset)?));
    }
    if let Some(segment) = segments.iter().find(|segment| segment.p_type == abi::PT_DYNAMIC) {
        let table = piece(file, segment.p_offset, segment.p_filesz)?;
        object.dynamic(file, &DynamicTable::new(header.endianness, header.class, &table), &segments)?;
    }
    Ok(Some(object))
}

impl Object {
    /// Returns true if the kernel could start it. A core file, which holds what a program had in memory, is none.
    pub(super) fn is_program(&self) -> bool {
        matches!(self.kind, abi::ET_EXEC | abi::ET_DYN)
    }

    /// Returns true if a loader could load it.
    pub(super) fn is_shared(&self) -> bool {
        self.kind == abi::ET_DYN
    }

    fn dynamic(
        &mut self,
        file: &File,
        table: &DynamicTable<'_, AnyEndian>,
        segments: &[ProgramHeader],
    ) -> io::Result<()> {
        let entries: Vec<_> = table.iter().take_while(|entry| entry.d_tag != abi::DT_NULL).collect();
        let Some(strings) = entries.iter().find(|entry| entry.d_tag == abi::DT_STRTAB) else { return Ok(()) };
        // An address in memory; the segment that is loaded there says where it is in the file.
        let address = strings.d_ptr();
        let holds = |segment: &&ProgramHeader| {
            segment.p_type == abi::PT_LOAD
                && address.checked_sub(segment.p_vaddr).is_some_and(|offset| offset < segment.p_filesz)
        };
        let segment = segments.iter().find(holds).ok_or_else(|| damaged("its string table is nowhere"))?;
        let start = segment.p_offset.saturating_add(address - segment.p_vaddr);
        let named = entries.iter().filter(|entry| entry.d_tag == abi::DT_NEEDED).count();
        if named > MAX_NEEDED {
            return Err(damaged("it needs too many libraries"));
        }
        for entry in &entries {
            let text = || string(file, start.saturating_add(entry.d_val()));
            match entry.d_tag {
                abi::DT_NEEDED => self.needed.push(text()?),
                abi::DT_RPATH => self.rpath = directories(&text()?),
                abi::DT_RUNPATH => self.runpath = Some(directories(&text()?)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn directories(text: &str) -> Vec<String> {
    text.split(':').take(MAX_DIRECTORIES).map(str::to_owned).collect()
}

/// Returns true if programs for this processor run on this host.
pub(super) fn runs_here(machine: u16) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => matches!(machine, abi::EM_X86_64 | abi::EM_386),
        "aarch64" => matches!(machine, abi::EM_AARCH64 | abi::EM_ARM),
        "riscv64" => machine == abi::EM_RISCV,
        _ => false,
    }
}

/// Whether a file may be one, by its name: to open each of a thousand `.py` files would cost more than all the rest.
pub(super) fn is_likely(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    match name.rsplit_once('.') {
        // LICENSE and README are not programs.
        None => name.contains(|character: char| character.is_ascii_lowercase()),
        Some((_, extension)) => matches!(extension, "so" | "node" | "exe") || name.contains(".so."),
    }
}

fn piece(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    if size > MAX_TABLE {
        return Err(damaged("its headers are too long"));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(damaged)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn string(file: &File, offset: u64) -> io::Result<String> {
    let mut bytes = [0; MAX_STRING];
    let mut end = 0;
    // Names are short; a run path of Nix is not.
    for step in [256, MAX_STRING] {
        end += fill(file, &mut bytes[end..step], offset.saturating_add(end as u64))?;
        if let Some(length) = bytes[..end].iter().position(|byte| *byte == 0) {
            return String::from_utf8(bytes[..length].to_vec()).map_err(damaged);
        }
    }
    Err(damaged("a name in it does not end"))
}

fn fill(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], offset.saturating_add(length as u64))? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn damaged(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged ELF file: {}", error.to_string()))
}
