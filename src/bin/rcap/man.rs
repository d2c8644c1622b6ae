//! `rcap man`: the man pages, which the program contains.

use std::{
    io::{self, IsTerminal, Write},
    process::Stdio,
};

use rcap::tools::Mistake;

use super::{Exit, Io, args::ManRequest, failure::Failure, helper};

macro_rules! pages {
    ($($file:literal)*) => {
        /// The pages by the names of their files.
        const PAGES: &[(&str, &str)] =
            &[$(($file, include_str!(concat!("../../../man/", $file)))),*];
    };
}

pages! {
    "rcap.1" "rcap.7" "capsh.1" "captree.8" "getcap.8" "getpcaps.8" "setcap.8" "rcap-check.1"
    "rcap-completions.1" "rcap-decode.1" "rcap-diff.1" "rcap-explain.1" "rcap-export.1"
    "rcap-harden.8"
    "rcap-man.1" "rcap-minimize.8" "rcap-oci-hook.8" "rcap-report.1" "rcap-restore.8" "rcap-run.1"
    "rcap-save.8" "rcap-scan.8" "rcap-suggest.1" "rcap-trace.8" "rcap-verify.8"
    "rcap-why.1"
}

/// Shows a page with man(1) on a terminal, and otherwise prints its source.
///
/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &ManRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let name = request.command.as_deref().unwrap_or("rcap");
    let page = page(name).ok_or_else(|| Mistake::new(format!("{name} has no man page")))?;
    if io::stdout().is_terminal() {
        show(page).map_err(|err| Failure::subject("man", err))?;
    } else {
        io.out.write_all(page.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}

/// Returns the page of a command, or of a file.
fn page(name: &str) -> Option<&'static str> {
    let name = if name == "oci-runtime" { "oci-hook" } else { name };
    let is_of = |file: &str| {
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        name == file || name == stem || stem.strip_prefix("rcap-") == Some(name)
    };
    PAGES.iter().find(|(file, _)| is_of(file)).map(|(_, page)| *page)
}

/// Passes a page to man(1), which may end before it has read all of it.
fn show(page: &str) -> io::Result<()> {
    let mut man = helper("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn()?;
    let written = man.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(page.as_bytes()));
    let status = man.wait()?;
    match written {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(err),
        _ if status.success() => Ok(()),
        _ => Err(io::Error::other(status.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::{super::commands, *};

    #[test]
    fn every_page_and_every_command() {
        let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/man")).unwrap();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let names = PAGES.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(names.collect::<BTreeSet<_>>(), files.collect());
        for entry in commands::all() {
            let page = page(entry.name).unwrap_or_else(|| panic!("{}", entry.name));
            assert!(page.contains(entry.name), "{}", entry.name);
        }
        assert!(page("rcap").unwrap().contains(".Dt RCAP 1"));
        assert!(page("rcap.7").unwrap().contains(".Dt RCAP 7"));
        assert_eq!(page("rcap-"), None);
        assert_eq!(page(""), None);
    }
}
