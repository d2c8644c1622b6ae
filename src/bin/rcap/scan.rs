//! `rcap scan`: what holds power on a machine, in a directory tree or in an image.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory, Parser};

use super::{Escaped, Exit, Io, chain, input, new_file::Target};
use rcap::scan::{
    Finding, Ignore, Inventory, Severity,
    baseline::Baseline,
    findings,
    gather::{self, Sources},
    output::{json, table},
    today,
};

/// Exit status if nothing is wrong with the command line, and the scan could not be done.
const FAILED: Exit = Exit(3);

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "scan",
    about = "List everything that holds power: files, processes, sockets, units and containers",
    override_usage = "rcap scan [OPTION]... [PATH]...",
    after_help = "Without PATH, scan the whole machine. `rcap explain FINDING` explains a finding.\n\n\
                  Example: rcap scan\n         rcap scan --fail-on high /usr /opt\n         \
                  rcap scan --baseline known.txt --json"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
pub(crate) struct Request {
    /// Print one JSON document
    #[arg(long, group = "format")]
    json: bool,
    /// Print one line of JSON for each entry and each finding
    #[arg(long, group = "format")]
    jsonl: bool,
    /// Exit with 1 if a finding is at least this severe: critical, high, medium, low, info
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    /// Print only what is not in the baseline FILE
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write everything that is known now to FILE
    #[arg(long, value_name = "FILE")]
    write_baseline: Option<PathBuf>,
    /// Leave out the findings that FILE accepts
    #[arg(long, value_name = "FILE")]
    ignore: Option<PathBuf>,
    /// Scan the unpacked system in DIR, with its own users
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Ask dpkg or rpm whether each file is as its package brought it
    #[arg(long)]
    packages: bool,
    /// Stay on the file system of each PATH
    #[arg(long)]
    one_file_system: bool,
    /// Leave out what matches: a whole path if GLOB has a slash, else a name
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<OsString>,
    /// Search with N threads [default: one per processor, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// The files and directories to search, without processes
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(crate) fn command() -> Command {
    Request::command()
}

/// An option's file that cannot be used.
#[derive(Debug)]
struct Unusable {
    path: PathBuf,
    reason: String,
}

impl Unusable {
    fn new(path: &Path, reason: &impl fmt::Display) -> Unusable {
        Unusable { path: path.to_owned(), reason: reason.to_string() }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unusable { path, reason } = self;
        write!(f, "{}: {reason}", Escaped(path.as_os_str().as_encoded_bytes()))
    }
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let request = match Request::try_parse_from(argv) {
        Ok(request) => request,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    match scan(&request, io) {
        Ok(Some((inventory, findings))) => print(&request, &inventory, &findings, io),
        Ok(None) => Ok(Exit::SUCCESS),
        Err(unusable) => {
            io.complain_in_words("rcap scan", &unusable.to_string())?;
            Ok(FAILED)
        }
    }
}

/// What is to be printed; nothing after a baseline was written.
type Scanned = Option<(Inventory, Vec<Finding>)>;

fn scan(request: &Request, io: &mut Io<'_>) -> Result<Scanned, Unusable> {
    // Files of the command line first: a mistake is not worth a scan.
    let read = |path: &PathBuf, io: &mut Io<'_>| {
        input::read(path, io.input).map_err(|err| Unusable::new(path, &err))
    };
    let ignore = match &request.ignore {
        Some(path) => Ignore::parse(&read(path, io)?).map_err(|err| Unusable::new(path, &err))?,
        None => Ignore::default(),
    };
    let baseline = match &request.baseline {
        Some(path) => {
            let text = read(path, io)?;
            Some(Baseline::parse(&text).map_err(|err| Unusable::new(path, &err))?)
        }
        None => None,
    };
    let target = request
        .write_baseline
        .as_deref()
        .map(|path| Target::new(path).map_err(|err| Unusable::new(path, &chain(&err))));
    let target = target.transpose()?;
    let mut inventory = gather::gather(&sources(request));
    let mut findings = findings(&inventory);
    if let (Some(target), Some(path)) = (target, &request.write_baseline) {
        let text = Baseline::new(&inventory, &findings).to_text();
        target.replace(text.as_bytes(), None).map_err(|err| Unusable::new(path, &chain(&err)))?;
        return Ok(None);
    }
    let (ignored, expired) = ignore.apply(&mut findings, &today());
    if let Some(baseline) = baseline {
        baseline.retain_new(&mut inventory, &mut findings);
    }
    for line in expired {
        let words = format!("line {line} of the ignore file has expired");
        // A stream that is gone is noticed when the report is printed.
        let _ = io.complain_in_words("rcap scan", &words);
    }
    if ignored > 0 {
        let words = format!("{ignored} findings are accepted by the ignore file");
        let _ = io.complain_in_words("rcap scan", &words);
    }
    Ok(Some((inventory, findings)))
}

fn sources(request: &Request) -> Sources {
    let mut sources = match &request.root {
        Some(root) => Sources::of_root(root),
        None => Sources::machine(),
    };
    if !request.paths.is_empty() {
        sources.paths.clone_from(&request.paths);
        sources.processes = false;
    }
    sources.packages = request.packages;
    sources.one_file_system = request.one_file_system;
    sources.exclude.clone_from(&request.exclude);
    sources.threads = request.threads.unwrap_or_default().into();
    sources
}

fn print(
    request: &Request,
    inventory: &Inventory,
    findings: &[Finding],
    io: &mut Io<'_>,
) -> io::Result<Exit> {
    if request.json {
        writeln!(io.out, "{}", json::document(inventory, findings))?;
    } else if request.jsonl {
        for line in json::lines(inventory, findings) {
            writeln!(io.out, "{line}")?;
        }
    } else {
        write!(io.out, "{}", table::table(inventory, findings))?;
    }
    let Some(least) = request.fail_on else { return Ok(Exit::SUCCESS) };
    if findings.iter().any(|finding| finding.severity >= least) {
        return Ok(Exit::FAILURE);
    }
    if inventory.unread.is_empty() {
        return Ok(Exit::SUCCESS);
    }
    let words = "the scan is not complete, so that --fail-on cannot pass";
    io.complain_in_words("rcap scan", words).map(|()| FAILED)
}
