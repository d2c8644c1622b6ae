//! `rcap scan`: lists everything that holds power on a machine, in a directory tree or in an image.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    Escaped, Exit, Io,
    args::ScanRequest,
    failure::Failure,
    input,
    new_file::{self, Target},
    report, trace,
};
use rcap::{
    scan::{
        Finding, Ignore, Inventory, RULES,
        baseline::Baseline,
        findings,
        gather::{self, Sources},
        here, image,
        output::{html, json, prometheus, sarif, table},
        today,
    },
    tools::table::{fit, short_ids},
    trace::report::Merged,
};

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &ScanRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    if request.here {
        return here(request, io);
    }
    match scan(request, io)? {
        Some((inventory, findings)) => print(request, &inventory, &findings, io),
        None => Ok(Exit::SUCCESS),
    }
}

/// `--here`
fn here(request: &ScanRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let here = here::look()?;
    let ways = here::ways(&here);
    if request.json {
        writeln!(io.out, "{}", here::document(&here, &ways))?;
    } else {
        fit(&here::text(&here, &ways), io.out)?;
    }
    Ok(Exit::SUCCESS)
}

/// Returns the error of a file on the command line.
fn unusable(path: &Path, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
    Failure::subject(Escaped(path.as_os_str().as_encoded_bytes()), reason)
}

fn scan(
    request: &ScanRequest,
    io: &mut Io<'_>,
) -> Result<Option<(Inventory, Vec<Finding>)>, Failure> {
    // Files on the command line are read before the scan, to report mistakes early.
    let read = |path: &Path, io: &mut Io<'_>| {
        input::read(path, io.input).map_err(|reason| {
            let name = Escaped(path.as_os_str().as_encoded_bytes()).to_string();
            Failure::Input { name, reason }
        })
    };
    let ignore = match &request.ignore {
        Some(path) => Ignore::parse(&read(path, io)?).map_err(|err| unusable(path, err))?,
        None => Ignore::default(),
    };
    let baseline = match &request.baseline {
        Some(path) => {
            let text = read(path, io)?;
            Some(Baseline::parse(&text).map_err(|err| unusable(path, err))?)
        }
        None => None,
    };
    let target = request.write_baseline.as_deref().map(Target::new).transpose()?;
    // Recordings that end during the scan are among them.
    let mut inventory = gathered(request)?;
    if let Some(directory) = &request.traces {
        inventory.compare_with(&reports(directory)?, trace::container_id);
    }
    let mut findings = findings(&inventory);
    if let (Some(target), Some(path)) = (target, &request.write_baseline) {
        let text = Baseline::new(&inventory, &findings).to_text();
        target.replace(text.as_bytes(), None).map_err(|err| unusable(path, err))?;
        return Ok(None);
    }
    let (ignored, expired) = ignore.apply(&mut findings, &today());
    if let Some(baseline) = baseline {
        baseline.retain_new(&mut inventory, &mut findings);
    }
    for line in expired {
        let words = format!("line {line} of the ignore file has expired");
        io.complain_in_words("rcap scan", &words)?;
    }
    if ignored > 0 {
        let words = format!("{ignored} findings are accepted by the ignore file");
        io.complain_in_words("rcap scan", &words)?;
    }
    Ok(Some((inventory, findings)))
}

/// Returns an error if a path of the command line does not exist.
fn require_paths(request: &ScanRequest) -> Result<(), Failure> {
    let require = |path: &Path| match fs::symlink_metadata(path) {
        Ok(_) => Ok(()),
        Err(err) => Err(unusable(path, err)),
    };
    let Some(root) = &request.root else {
        return request.paths.iter().try_for_each(|path| require(path));
    };
    require(root)?;
    let below = |path: &PathBuf| root.join(path.strip_prefix("/").unwrap_or(path));
    request.paths.iter().try_for_each(|path| require(&below(path)))
}

fn gathered(request: &ScanRequest) -> Result<Inventory, Failure> {
    let Some(path) = &request.image else {
        require_paths(request)?;
        return Ok(gather::gather(&sources(request)));
    };
    let docker = path.to_str().and_then(|text| text.strip_prefix("docker:"));
    Ok(match docker {
        Some(name) => image::docker_image(name, &std::env::temp_dir())?,
        None => image::image(path)?,
    })
}

/// Returns the reports in a directory, each with its path. Hidden files, such as the locks of
/// running recordings, are not read.
fn reports(directory: &Path) -> Result<Vec<(String, io::Result<Merged>)>, Failure> {
    let mut reports = Vec::new();
    for entry in fs::read_dir(directory).map_err(|err| unusable(directory, err))? {
        let path = entry.map_err(|err| unusable(directory, err))?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if !name.starts_with(b".") && !path.is_dir() {
            let name = path.as_os_str().to_string_lossy().into_owned();
            reports.push((name, saved_report(&path)));
        }
    }
    reports.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(reports)
}

fn saved_report(path: &Path) -> io::Result<Merged> {
    if new_file::is_pending(path, false) {
        return Err(io::Error::other("a recording that will be added to it is still running"));
    }
    let text = input::open(path).and_then(|mut file| input::text(&mut file));
    report::parse(&text.map_err(io::Error::other)?).map_err(io::Error::other)
}

fn sources(request: &ScanRequest) -> Sources {
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
    request: &ScanRequest,
    inventory: &Inventory,
    findings: &[Finding],
    io: &mut Io<'_>,
) -> Result<Exit, Failure> {
    if request.json {
        json::write(io.out, inventory, findings)?;
    } else if request.jsonl {
        json::write_lines(io.out, inventory, findings)?;
    } else if request.sarif {
        writeln!(io.out, "{}", sarif::document(RULES, findings))?;
    } else if request.prometheus {
        write!(io.out, "{}", prometheus::metrics(inventory, findings))?;
    } else if request.html.is_none() {
        fit(&short_ids(&table::table(inventory, findings)), io.out)?;
    }
    if let Some(path) = &request.html {
        let page = html::page(inventory, findings).map_err(|err| unusable(path, err))?;
        Target::new(path)?.replace(page.as_bytes(), None).map_err(|err| unusable(path, err))?;
    }
    let Some(least) = request.fail_on else { return Ok(Exit::SUCCESS) };
    if findings.iter().any(|finding| finding.severity >= least) {
        return Ok(Exit::NO);
    }
    if inventory.unread.is_empty() {
        return Ok(Exit::SUCCESS);
    }
    Err(Failure::Incomplete)
}
