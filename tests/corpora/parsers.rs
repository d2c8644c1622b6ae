//! One function for each parser of bytes that others control. The function parses the bytes and
//! prints the result, and it panics if a printed value is not read again as the same value.
//!
//! `cargo +nightly fuzz run TARGET fuzz/corpus/TARGET tests/data/corpora/TARGET` searches for
//! inputs that panic. `tests/corpora.rs` replays the corpora on stable Rust.

use std::{fmt::Debug, fs, io::sink, path::Path};

use rcap::{
    Cap, CapSet, CapState, Iab, Mode, Securebits,
    exec::Program,
    file::FileCaps,
    proc::Proc,
    scan::{
        self, Ignore,
        baseline::Baseline,
        output::{html, json, junit, prometheus, sarif, table},
        policy::Policy,
        saved,
    },
    settings::{self, Context, Engine, Format, Id, InputFormat, Settings, Source, Target, User},
    trace::report::{Merged, Report},
};

// The readers of what the kernel records are private.
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../src/trace/record/btf.rs"]
mod btf;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../src/trace/record/format.rs"]
mod format;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../src/trace/record/page.rs"]
mod page;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../src/trace/record/symbols.rs"]
mod symbols;

/// A function that parses the bytes of a corpus.
pub type Parser = fn(&[u8]);

/// All functions by their names. Each has a corpus, `tests/data/corpora/NAME`.
pub const TARGETS: &[(&str, Parser)] = &[
    ("baseline", baseline),
    ("btf", btf),
    ("events", events),
    ("external", external),
    ("ignore", ignore),
    ("image", image),
    ("policy", policy),
    ("program", program),
    ("report", report),
    ("saved", saved),
    ("settings", settings),
    ("source", source),
    ("status", status),
    ("symbols", symbols),
    ("texts", texts),
    ("xattr", xattr),
];

/// Formats a value, and drops the text.
fn print(value: &impl Debug) {
    let _ = format!("{value:?}");
}

/// The text of bytes that a command has read: others are refused before they are parsed.
fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

/// The value of the attribute security.capability.
pub fn xattr(bytes: &[u8]) {
    match FileCaps::decode(bytes) {
        Ok(caps) => assert_eq!(FileCaps::decode(&caps.encode()), Ok(caps)),
        Err(err) => drop(err.to_string()),
    }
}

/// The texts of sets, states and other values of the library.
pub fn texts(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    for all in [CapSet::NAMED, CapSet::from_bits(0x1ff_ffff), CapSet::from_bits(u64::MAX)] {
        match CapState::parse(text, all) {
            Ok(state) => {
                let printed = state.to_text(all).to_string();
                assert_eq!(CapState::parse(&printed, all), Ok(state), "{text:?}: {printed:?}");
            }
            Err(err) => drop(err.to_string()),
        }
        let _ = CapSet::from_names(text, all).map_err(|err| err.to_string());
    }
    let _ = CapSet::from_mask(text).map_err(|err| err.to_string());
    if let Ok(iab) = text.parse::<Iab>() {
        assert_eq!(iab.to_string().parse::<Iab>(), Ok(iab), "{text:?}");
    }
    if let Ok(cap) = text.parse::<Cap>() {
        assert_eq!(cap.to_string().parse::<Cap>(), Ok(cap), "{text:?}");
    }
    if let Ok(set) = text.parse::<CapSet>() {
        assert_eq!(set.to_string().parse::<CapSet>(), Ok(set), "{text:?}");
    }
    if let Ok(bits) = text.parse::<Securebits>() {
        assert_eq!(bits.to_string().parse::<Securebits>(), Ok(bits), "{text:?}");
    }
    print(&text.parse::<Mode>());
    print(&(text.parse::<Engine>(), text.parse::<User>(), text.parse::<Id>()));
}

/// The portable form of cap_copy_ext(3).
pub fn external(bytes: &[u8]) {
    match CapState::from_external(bytes) {
        Ok(state) => assert_eq!(CapState::from_external(&state.to_external()), Ok(state)),
        Err(err) => drop(err.to_string()),
    }
}

/// /proc/PID/status.
pub fn status(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("1")).unwrap();
    fs::write(dir.path().join("1/status"), bytes).unwrap();
    match Proc::at(dir.path()).status(1) {
        Ok(status) => print(&(status.iab(CapSet::NAMED), status)),
        Err(err) => drop(err.to_string()),
    }
}

/// A file that is executed: its magic bytes, its interpreter, its ELF header.
pub fn program(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("program");
    fs::write(&path, bytes).unwrap();
    match Program::open(&path) {
        Ok(program) => print(&program),
        Err(err) => drop(err.to_string()),
    }
}

/// Writes settings in every format, and checks them against the built-in policies.
fn write(all: &[Settings]) {
    drop(settings::to_json(all));
    for settings in all {
        for format in Format::ALL {
            match format.export(settings, &Target::default()) {
                Ok(written) => print(&written),
                Err(err) => drop(err.to_string()),
            }
        }
        for name in ["pod-security-baseline", "pod-security-restricted"] {
            print(&Policy::built_in(name).unwrap().check("source", settings));
        }
    }
}

/// A file with settings, in each format and without one.
pub fn settings(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    for format in InputFormat::ALL.into_iter().map(Some).chain([None]) {
        match settings::read(text, format) {
            Ok(all) => write(&all),
            Err(err) => drop(err.to_string()),
        }
    }
}

/// An argument that names the place of settings.
pub fn source(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    match Source::parse(text, &Context::default()) {
        Ok(Source::Words(settings)) => write(&[settings]),
        Ok(place) => print(&place),
        Err(err) => drop(err.to_string()),
    }
}

/// The report of `rcap trace --json` and `rcap minimize --json`, and merged ones.
pub fn report(bytes: &[u8]) {
    if let Ok(report) = serde_json::from_slice::<Report>(bytes) {
        let again = serde_json::to_vec(&report).unwrap();
        assert_eq!(serde_json::from_slice::<Report>(&again).ok().as_ref(), Some(&report));
        print(&report.analysis());
        print(&Merged::of([Merged::new(&[report.clone(), report])]));
    }
    if let Ok(merged) = serde_json::from_slice::<Merged>(bytes) {
        print(&Merged::of([merged.clone(), merged]));
    }
}

/// The file of `rcap save`.
pub fn saved(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    match saved::parse(text, CapSet::NAMED) {
        Ok(lines) => {
            let printed = saved::to_text(&lines);
            assert_eq!(saved::parse(&printed, CapSet::NAMED).unwrap(), lines, "{printed}");
        }
        Err(err) => drop(err.to_string()),
    }
    if let Ok(name) = scan::decode(text) {
        assert_eq!(scan::decode(&scan::encode(&name)), Ok(name));
    }
}

/// A policy of `rcap check`.
pub fn policy(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    match Policy::parse(text) {
        Ok(policy) => {
            for words in ["docker", "--cap-add=ALL --user 1000", "net_raw"] {
                if let Ok(Source::Words(settings)) = Source::parse(words, &Context::default()) {
                    let found = policy.check(words, &settings);
                    drop(junit::document(&[words.to_owned()], &found));
                    print(&found);
                }
            }
        }
        Err(err) => drop(err.to_string()),
    }
}

/// The file of `rcap scan --ignore`.
pub fn ignore(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    match Ignore::parse(text) {
        Ok(ignore) => print(&ignore.apply(&mut Vec::new(), "2026-01-01")),
        Err(err) => drop(err.to_string()),
    }
}

/// The file of `rcap scan --baseline`.
pub fn baseline(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(baseline) = Baseline::parse(text) {
        let printed = baseline.to_text();
        assert_eq!(Baseline::parse(&printed).map(|again| again.to_text()).ok(), Some(printed));
    }
}

/// The archive of an image, and the inventory of it in every format.
pub fn image(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    fs::write(&path, bytes).unwrap();
    image_at(&path);
}

fn image_at(path: &Path) {
    let inventory = match scan::image::image(path) {
        Ok(inventory) => inventory,
        Err(err) => return drop(err.to_string()),
    };
    let findings = scan::findings(&inventory);
    json::write(&mut sink(), &inventory, &findings).unwrap();
    json::write_lines(&mut sink(), &inventory, &findings).unwrap();
    drop(html::page(&inventory, &findings).unwrap());
    drop(prometheus::metrics(&inventory, &findings));
    drop(sarif::document(scan::RULES, &findings));
    drop(table::table(&inventory, &findings));
    drop(Baseline::new(&inventory, &findings).to_text());
}

/// The kernel's description of its types and functions, `/sys/kernel/btf/vmlinux`.
pub fn btf(bytes: &[u8]) {
    if let Some(types) = btf::Types::new(bytes) {
        print(&types.function("cap_capable"));
        print(&types.offsets("cred", &["uid", "user_ns"]));
    }
}

/// The file `format` of an event, a NUL, and a page of the ring buffer.
pub fn events(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|&byte| byte == 0) else { return };
    let format = text(&bytes[..end]).and_then(format::Format::parse);
    let (Some(format), Some(page)) = (format, page::Page::parse(&bytes[end + 1..])) else { return };
    print(&page.lost);
    for page::Record { data, .. } in page.records() {
        for name in ["common_pid", "cap", "ret", "filename", "caller"] {
            print(&(format.unsigned(data, name), format.signed(data, name)));
            print(&(format.text(data, name), format.words(data, name).map(Iterator::count)));
        }
    }
}

/// The addresses of kernel functions, `/proc/kallsyms`.
pub fn symbols(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let symbols = symbols::Symbols::parse(text);
    print(&(symbols.is_empty(), symbols.has("cap_capable")));
    for address in [0, 0xffff_ffff_8100_0010, u64::MAX] {
        print(&symbols.name(address));
    }
}
