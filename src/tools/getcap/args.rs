//! The command line of getcap.

use std::{
    ffi::{OsStr, OsString},
    mem,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use crate::{
    caps::number,
    file::Scan,
    tools::{
        mistake::{Mistake, meant_option},
        options,
    },
};

/// The options and their descriptions, from which the help is printed.
pub(super) const OPTIONS: &[(&str, &str)] = &[
    ("-r, --recursive", "read all files below a directory"),
    ("-v, --verbose", "also print files without capabilities"),
    ("-n, --rootid", "also print the root ID of a user namespace"),
    ("--json", "print one JSON document with an object for each file"),
    ("--null", "print a NUL instead of the space after a name"),
    ("--sort", "sort the output by name"),
    ("--one-file-system", "stay on the file system of each FILE"),
    (
        "--exclude GLOB",
        "exclude matching files and directories, by path if GLOB has a slash, by name otherwise",
    ),
    ("--threads N", "use N threads [default: one per processor, at most 8]"),
    ("--strict", "report unreadable directories, and exit with 1 if anything is unreadable"),
    ("-h", "print this help to standard error"),
    ("--help", "print this help to standard output"),
    ("-l, --license", "print the version and the licence"),
];

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
pub(super) struct Args {
    pub recursive: bool,
    pub verbose: bool,
    pub rootid: bool,
    pub form: Form,
    pub sort: bool,
    pub strict: bool,
    pub scan: Scan,
    pub files: Vec<PathBuf>,
    /// The last thing to print, if it is not the result.
    pub end: Option<End>,
}

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// The name, a space, the text and a newline.
    #[default]
    Line,
    /// The name, a NUL, the text and a newline.
    Null,
    /// An object in the list of one JSON document.
    Json,
}

/// An option after which others are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `-h`, on standard error
    Usage,
    Help,
    License,
}

impl Args {
    /// Parses arguments by the rules of getopt_long(3), without abbreviations.
    pub(super) fn parse(args: &[OsString]) -> Result<Args, Mistake> {
        let mut parsed = Args::default();
        let mut args = args.iter();
        while parsed.end.is_none()
            && let Some(arg) = args.next()
        {
            let bytes = arg.as_bytes();
            if bytes == b"--" {
                parsed.files.extend(args.by_ref().map(PathBuf::from));
            } else if bytes.starts_with(b"--") {
                let mut parts = bytes.splitn(2, |&byte| byte == b'=').map(OsStr::from_bytes);
                let option = parts.next().unwrap_or_default().to_string_lossy();
                parsed.set(&option, parts.next(), &mut args)?;
            } else if let Some(letters) = bytes.strip_prefix(b"-").filter(|it| !it.is_empty()) {
                for letter in String::from_utf8_lossy(letters).chars() {
                    parsed.set(&format!("-{letter}"), None, &mut args)?;
                }
            } else {
                parsed.files.push(arg.into());
            }
        }
        if parsed.files.is_empty() && parsed.end.is_none() {
            return Err(Mistake::new("missing FILE"));
        }
        Ok(parsed)
    }

    /// Sets an option, whose value is joined to it or is the next argument.
    fn set<'a>(
        &mut self,
        option: &str,
        joined: Option<&OsStr>,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), Mistake> {
        let mistake = |words: &str| Mistake::new(format!("{option}: {words}"));
        let mut value = || {
            let value = joined.or_else(|| rest.next().map(OsString::as_os_str));
            value.ok_or_else(|| mistake("needs a value"))
        };
        match option {
            "--exclude" => self.scan = mem::take(&mut self.scan).exclude(value()?),
            "--threads" => {
                let threads = value()?.to_str().and_then(number).filter(|n| (1..=256).contains(n));
                let threads = threads.and_then(|threads| usize::try_from(threads).ok());
                let threads = threads.ok_or_else(|| mistake("needs a number from 1 to 256"))?;
                self.scan = mem::take(&mut self.scan).threads(threads);
            }
            _ if !options::spellings(OPTIONS).any(|known| known == option) => {
                let meant = meant_option(option, options::spellings(OPTIONS));
                return Err(Mistake::new(format!("unknown option {option}{meant}")));
            }
            _ if joined.is_some() => return Err(mistake("takes no value")),
            "-r" | "--recursive" => self.recursive = true,
            "-v" | "--verbose" => self.verbose = true,
            "-n" | "--rootid" => self.rootid = true,
            "--json" | "--null" => {
                let form = if option == "--json" { Form::Json } else { Form::Null };
                if ![Form::Line, form].contains(&self.form) {
                    return Err(Mistake::new("--json cannot be used with --null"));
                }
                self.form = form;
            }
            "--sort" => self.sort = true,
            "--one-file-system" => self.scan = mem::take(&mut self.scan).one_file_system(true),
            "--strict" => self.strict = true,
            "-h" => self.end = Some(End::Usage),
            "--help" => self.end = Some(End::Help),
            "-l" | "--license" => self.end = Some(End::License),
            _ => return Err(mistake("unknown option")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a line of words, and returns what it asks for in words.
    fn parsed(line: &[&str]) -> String {
        let argv: Vec<OsString> = line.iter().map(OsString::from).collect();
        let args = match Args::parse(&argv) {
            Ok(Args { end: Some(end), .. }) => return format!("{end:?}"),
            Ok(args) => args,
            Err(mistake) => return mistake.to_string(),
        };
        let flags = [
            (args.recursive, "r"),
            (args.verbose, "v"),
            (args.rootid, "n"),
            (args.form == Form::Json, "json"),
            (args.form == Form::Null, "null"),
            (args.sort, "sort"),
            (args.strict, "strict"),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name);
        let files = args.files.iter().map(|file| file.to_str().unwrap());
        flags.chain([":"]).chain(files).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lines() {
        #[rustfmt::skip]
        let rows: [(&[&str], &str); 27] = [
            (&["f"],                                   ": f"),
            (&["-rv", "f", "-n"],                      "r v n : f"),
            (&["--recursive", "--verbose", "--rootid", "f"], "r v n : f"),
            (&["-r", "-r", "--sort", "--strict", "d"], "r sort strict : d"),
            (&["--", "-r", "--", "--json"],            ": -r -- --json"),
            (&["-", ""],                               ": - "),
            (&["--json", "f", "--json"],               "json : f"),
            (&["--null", "f"],                         "null : f"),
            (&["--json", "--null", "f"],               "--json cannot be used with --null"),
            (&["--null", "--json", "f"],               "--json cannot be used with --null"),
            (&["--threads", "1", "f", "--exclude", "-x"], ": f"),
            (&["--threads=256", "--exclude=", "f"],    ": f"),
            (&["--one-file-system", "f"],              ": f"),
            (&["--threads=0", "f"],                    "--threads: needs a number from 1 to 256"),
            (&["--threads", "257", "f"],               "--threads: needs a number from 1 to 256"),
            (&["--threads", "+1", "f"],                "--threads: needs a number from 1 to 256"),
            (&["f", "--threads"],                      "--threads: needs a value"),
            (&["f", "--exclude"],                      "--exclude: needs a value"),
            (&["--json=yes", "f"],                     "--json: takes no value"),
            (&["--jsn", "f"],                          "unknown option --jsn; did you mean --json?"),
            (&["--=x", "f"],                           "unknown option --"),
            (&["-rx", "f"],                            "unknown option -x"),
            (&["-rh", "f"],                            "Usage"),
            (&["f", "-l", "-x"],                       "License"),
            (&["--help"],                              "Help"),
            (&["-r"],                                  "missing FILE"),
            (&[],                                      "missing FILE"),
        ];
        for (line, want) in rows {
            assert_eq!(parsed(line), want, "{line:?}");
        }
    }

    #[test]
    fn every_option_is_parsed() {
        for option in options::spellings(OPTIONS) {
            assert!(!parsed(&[option, "1", "f"]).contains("unknown"), "{option}");
        }
    }
}
