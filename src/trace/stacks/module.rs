//! Programs and libraries: the files that were mapped, and their tables for unwinding.

use std::{
    fs::{File, OpenOptions},
    ops::Range,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use framehop::ExplicitModuleSectionInfo;
use nix::libc;
use object::{Object, ObjectSection, ObjectSegment, SegmentFlags, elf::PF_X, read::ReadCache};

use crate::trace::record::Mapping;

/// A table of a module.
pub(super) type Table = Arc<[u8]>;

/// How many files are kept open.
const FILES: usize = 256;
/// How many bytes of tables are kept in memory. Code of further modules is unwound by frame
/// pointers.
const TABLES: u64 = 256 * 1024 * 1024;

/// The modules of a recording.
#[derive(Debug, Default)]
pub(super) struct Modules {
    all: Vec<Module>,
    /// How many bytes their tables have.
    bytes: u64,
}

/// A program or a library.
pub(super) struct Module {
    pub(super) path: String,
    pub(super) file: File,
    key: (u64, u64),
    /// The parts of the file that are executed: the position, the length and the address.
    segments: Vec<(u64, u64, u64)>,
    frames: Option<(Range<u64>, Table)>,
    index: Option<(Range<u64>, Table)>,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Modules {
    pub(super) fn get(&self, number: usize) -> Option<&Module> {
        self.all.get(number)
    }

    /// Returns the number of the module that a process mapped, if it is a file that still exists.
    pub(super) fn find(&mut self, mapping: &Mapping, process: u32) -> Option<usize> {
        let (file, key) = open(mapping, process)?;
        if let Some(number) = self.all.iter().position(|module| module.key == key) {
            return Some(number);
        }
        let most = TABLES.saturating_sub(self.bytes);
        let module = Module::new(mapping.path.to_string_lossy().into_owned(), file, key, most)?;
        if self.all.len() >= FILES {
            return None;
        }
        let tables = module.frames.iter().chain(&module.index);
        self.bytes += tables.map(|(_, table)| table.len() as u64).sum::<u64>();
        self.all.push(module);
        Some(self.all.len() - 1)
    }
}

/// Opens the file that a process mapped, by its path in the process's root directory if the process
/// still exists. Another file with that path is not taken for it.
fn open(mapping: &Mapping, process: u32) -> Option<(File, (u64, u64))> {
    let path = Path::new(&mapping.path);
    let relative = path.strip_prefix("/").ok()?;
    let own = PathBuf::from(format!("/proc/{process}/root")).join(relative);
    let is_it = |file: &File| {
        let stat = file.metadata().ok()?;
        let (major, minor) = (libc::major(stat.dev()), libc::minor(stat.dev()));
        // The file systems with devices of their own for files, such as overlay and btrfs, have no
        // major number.
        let is_device = (major, minor) == mapping.device || major == 0;
        (stat.is_file() && is_device && stat.ino() == mapping.inode)
            .then_some((stat.dev(), stat.ino()))
    };
    // Opening a FIFO or a device must not wait.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    [&*own, path].into_iter().find_map(|path| {
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        let key = is_it(&file)?;
        Some((file, key))
    })
}

impl Module {
    /// Reads an ELF file, and tables of at most so many bytes.
    fn new(path: String, file: File, key: (u64, u64), most: u64) -> Option<Module> {
        let cache = ReadCache::new(&file);
        let parsed = object::File::parse(&cache).ok()?;
        // Parts share pages, so the position of a mapping alone does not tell which one it is of.
        let is_code = |flags| matches!(flags, SegmentFlags::Elf { p_flags } if p_flags & PF_X != 0);
        let code = parsed.segments().filter(|segment| is_code(segment.flags()));
        let segments = code.map(|segment| {
            let (position, length) = segment.file_range();
            (position, length, segment.address())
        });
        let segments = segments.collect();
        let section = |name: &str| {
            let section = parsed.section_by_name(name).filter(|one| one.size() <= most / 2)?;
            let start = section.address();
            let range = start..start.checked_add(section.size())?;
            Some((range, Arc::from(section.data().ok()?)))
        };
        let (frames, index) = (section(".eh_frame"), section(".eh_frame_hdr"));
        drop(parsed);
        drop(cache);
        Some(Module { path, file, key, segments, frames, index })
    }

    /// Returns the address of a position in the file.
    pub(super) fn address(&self, position: u64) -> Option<u64> {
        // Mappings begin at pages, before the segments in them.
        const PAGE: u64 = 64 * 1024;
        let of = |slack: u64| {
            self.segments.iter().find_map(|&(start, length, address)| {
                let range = start.saturating_sub(slack)..start.saturating_add(length);
                let address = address.wrapping_add(position).wrapping_sub(start);
                range.contains(&position).then_some(address)
            })
        };
        of(0).or_else(|| of(PAGE))
    }

    /// Returns the module at addresses in memory that differ by `bias` from those in it.
    pub(super) fn at(&self, range: Range<u64>, bias: u64) -> framehop::Module<Table> {
        let [frames, index] = [&self.frames, &self.index].map(Option::clone);
        let (eh_frame_svma, eh_frame) = frames.unzip();
        let (eh_frame_hdr_svma, eh_frame_hdr) = index.unzip();
        let tables = ExplicitModuleSectionInfo {
            eh_frame_svma,
            eh_frame,
            eh_frame_hdr_svma,
            eh_frame_hdr,
            ..ExplicitModuleSectionInfo::default()
        };
        framehop::Module::new(self.path.clone(), range, bias, tables)
    }
}
