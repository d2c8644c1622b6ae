//! The names of functions: by debugging information, or by symbols.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    fmt::Write,
    fs::File,
};

use addr2line::{
    Context, demangle_auto,
    gimli::{DwarfSections, EndianSlice, RunTimeEndian},
};
use object::{
    Object, ObjectSection, ObjectSymbol, SymbolKind,
    read::{ReadCache, ReadRef},
};

use super::module::Module;
use crate::trace::stack::Frame;

/// How many symbols may begin between a function's start and a place in it.
const NEAR: usize = 16;
/// How many bytes of debugging information of a file are read.
const LARGEST: u64 = 512 * 1024 * 1024;

/// Returns the frames at addresses of a module: several where functions were inlined.
pub(super) fn of(module: &Module, addresses: &BTreeSet<u64>) -> HashMap<u64, Vec<Frame>> {
    let nameless = |&address: &u64| {
        let object = module.path.clone();
        (address, vec![Frame { object, address, ..Frame::default() }])
    };
    let mut frames: HashMap<u64, Vec<Frame>> = addresses.iter().map(nameless).collect();
    let cache = ReadCache::new(&module.file);
    let Ok(parsed) = object::File::parse(&cache) else { return frames };
    by_symbols(&parsed, &mut frames);
    if parsed.section_by_name(".debug_info").is_some() {
        by_debugging_information(&parsed, &mut frames);
    } else if let Some(file) = separate(&parsed) {
        // A package such as libc6-dbg has it.
        let cache = ReadCache::new(&file);
        if let Ok(parsed) = object::File::parse(&cache) {
            by_debugging_information(&parsed, &mut frames);
        }
    }
    frames
}

/// Names the functions that are in the table of symbols, or else in that of exported ones.
fn by_symbols<'a>(
    parsed: &object::File<'a, impl ReadRef<'a>>,
    frames: &mut HashMap<u64, Vec<Frame>>,
) {
    let functions = |symbols: &mut dyn Iterator<Item = object::Symbol<'a, '_, _>>| {
        let functions = symbols.filter(|symbol| symbol.kind() == SymbolKind::Text);
        functions.map(|symbol| (symbol.address(), symbol.size(), symbol.name())).collect::<Vec<_>>()
    };
    let mut symbols = functions(&mut parsed.symbols());
    if symbols.is_empty() {
        symbols = functions(&mut parsed.dynamic_symbols());
    }
    symbols.sort_by_key(|&(address, _, _)| address);
    for (&address, frames) in frames {
        // A function that is not in the table is not the one before it.
        let end = symbols.partition_point(|&(start, _, _)| start <= address);
        let found = symbols[..end].iter().rev().take(NEAR);
        let mut found = found.filter(|&&(start, size, _)| address - start < size);
        let name = found.find_map(|(_, _, name)| name.as_ref().ok());
        frames[0].function = name.map(|&name| demangle_auto(name.into(), None).into_owned());
    }
}

/// Opens the separate debugging information of a file.
fn separate<'a>(parsed: &object::File<'a, impl ReadRef<'a>>) -> Option<File> {
    let id = parsed.build_id().ok()??;
    let (first, rest) = id.split_first()?;
    let mut path = format!("/usr/lib/debug/.build-id/{first:02x}/");
    for byte in rest {
        let _ = write!(path, "{byte:02x}");
    }
    File::open(path + ".debug").ok()
}

fn by_debugging_information<'a>(
    parsed: &object::File<'a, impl ReadRef<'a>>,
    frames: &mut HashMap<u64, Vec<Frame>>,
) {
    let endian = if parsed.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let mut left = LARGEST;
    let sections = DwarfSections::load(|id| {
        let section = parsed.section_by_name(id.name());
        let data = section.and_then(|section| section.compressed_data().ok());
        let fits = data.filter(|data| data.uncompressed_size <= left);
        let bytes = fits.and_then(|data| data.decompress().ok()).unwrap_or(Cow::Borrowed(&[]));
        left -= bytes.len() as u64;
        Ok::<_, ()>(bytes)
    });
    let Ok(sections) = sections else { return };
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, endian));
    let Ok(context) = Context::from_dwarf(dwarf) else { return };
    for (&address, frames) in frames {
        let Some(base) = frames.first().cloned() else { continue };
        let Ok(mut found) = context.find_frames(address).skip_all_loads() else { continue };
        let mut better = Vec::new();
        while let Ok(Some(frame)) = found.next() {
            let name = frame.function.as_ref();
            let name = name.and_then(|name| name.demangle().ok().map(Cow::into_owned));
            let location = frame.location.as_ref();
            better.push(Frame {
                function: name.or_else(|| base.function.clone()),
                file: location.and_then(|place| place.file.map(str::to_owned)),
                line: location.and_then(|place| place.line),
                ..base.clone()
            });
        }
        if !better.is_empty() {
            *frames = better;
        }
    }
}
