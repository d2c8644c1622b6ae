//! Compares the tools with libcap's, over generated cases in twin directories.
//!
//! Exit status, standard output, standard error and files must match those of libcap's tool, byte
//! for byte. Each entry of `DIFFERENCES` turns libcap's result into the expected one, based on the
//! arguments, the input and libcap's results, and never on ours. docs/libcap-differences.md gives
//! the reason for each entry. An entry that never changes a result fails the test.

mod common;

#[path = "parity/capsh.rs"]
mod capsh;
#[path = "parity/differences.rs"]
mod differences;
#[path = "parity/files.rs"]
mod files;

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path, process::Command};

use capsh::{capsh_lines, capsh_lines_as_root};
use common::{directory, fed, program};
use differences::{DIFFERENCES, Difference};
use files::{getcap_lines, getpcaps_lines, setcap_input, setcap_lines, setcap_texts};
use nix::sys::stat::Mode;
use rcap::file::{self, FileCaps};
use tempfile::TempDir;

tests! {
    UserNamespace ["setcap"]: setcap_lines;
    UserNamespace ["getcap setcap"]: setcap_texts, setcap_input;
    UserNamespace ["getcap"]: getcap_lines;
    UserNamespace ["getpcaps"]: getpcaps_lines;
    UserNamespace ["capsh stdbuf"]: capsh_lines;
    Root ["capsh stdbuf"]: capsh_lines_as_root;
}

/// Stands for an error message, whose wording differs.
const COMPLAINT: &str = "<error>\n";
/// Stands for the help, from "usage: " to its end.
const USAGE: &str = "<usage>\n";
/// The start of the prompt for standard input.
const PROMPT: &str = "Please enter caps for file ";
/// HOME and USER of the caller, where they are set.
const CALLER: [&str; 2] = ["/", "caller"];

/// The result of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Did {
    status: Option<i32>,
    out: String,
    err: String,
    files: Files,
}

/// The capabilities of the files in the directory.
type Files = [Option<FileCaps>; FILES.len()];

/// The files whose capabilities are compared.
const FILES: [&str; 4] = ["f", "g", "h", "d/e"];

/// A case: a command line, its standard input, and the variables to remove.
#[derive(Clone, Debug)]
struct Case {
    program: &'static str,
    args: Vec<String>,
    input: String,
    unset: &'static [&'static str],
}

/// The expected result. A difference that changes the arguments or the input replaces them for the
/// following differences.
#[derive(Clone)]
struct Expected {
    case: Case,
    did: Did,
}

/// libcap's tool, which can be run with other arguments in the same directory.
struct Libcap<'a> {
    dir: &'a Path,
    /// The files before the case.
    before: Files,
}

impl Libcap<'_> {
    fn did(&self, case: &Case) -> Did {
        self.did_with(self.before, case, false)
    }

    /// Runs libcap's tool with `files`.
    fn did_with(&self, files: Files, case: &Case, unbuffered: bool) -> Did {
        set_files(self.dir, files);
        let path = common::which(case.program).unwrap();
        let mut command = if unbuffered {
            let mut command = Command::new("stdbuf");
            command.args(["-o", "0"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        did(&mut command, self.dir, case)
    }
}

/// Runs a command in a directory.
fn did(command: &mut Command, dir: &Path, case: &Case) -> Did {
    command
        .args(&case.args)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("HOME", CALLER[0])
        .env("USER", CALLER[1]);
    for name in case.unset {
        command.env_remove(name);
    }
    let output = fed(command, case.input.as_bytes());
    let text = |bytes| without_help(String::from_utf8_lossy(bytes).into_owned());
    Did {
        status: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
        files: FILES.map(|name| file::read(dir.join(name)).unwrap()),
    }
}

/// Replaces the help with `USAGE`.
fn without_help(mut text: String) -> String {
    let starts = ["usage: ", "Usage: "];
    if let Some(at) = starts.iter().filter_map(|start| text.find(start)).min() {
        text.truncate(at);
        text += USAGE;
    }
    text
}

/// Replaces each of our errors with `COMPLAINT`, without the hint that follows it. They start with
/// the program's name or, if clap wrote them, with "error: ".
fn without_own_words(program: &str, err: &str) -> String {
    let name = format!("{program}: ");
    let has_help = err.ends_with(USAGE);
    let hint = format!("`{program} --help` lists the options.\n");
    let mut text = String::new();
    for line in err.split_inclusive('\n') {
        if line.starts_with(&name) || line.starts_with("error: ") {
            text += COMPLAINT;
        } else if line != hint && !(program == "getcap" && has_help && line != USAGE) {
            text += line;
        }
    }
    text
}

/// Sets the capabilities of the files in a directory.
fn set_files(dir: &Path, files: Files) {
    for (name, caps) in FILES.iter().zip(files) {
        let path = dir.join(name);
        if file::read(&path).unwrap() != caps {
            match caps {
                Some(caps) => drop(file::write(&path, &caps).unwrap()),
                None => drop(file::remove(&path).unwrap()),
            }
        }
    }
}

/// Twin directories, and the results of the cases in them.
struct Twins {
    ours: TempDir,
    theirs: TempDir,
    cases: usize,
    met: BTreeMap<&'static str, usize>,
    failures: Vec<String>,
}

impl Twins {
    fn new() -> Twins {
        let (ours, theirs) = (directory(), directory());
        create_files(ours.path());
        create_files(theirs.path());
        Twins { ours, theirs, cases: 0, met: BTreeMap::new(), failures: Vec::new() }
    }

    fn renew(&mut self) {
        let Twins { ours, theirs, .. } = Twins::new();
        (self.ours, self.theirs) = (ours, theirs);
    }

    fn run(&mut self, program: &'static str, args: &[String], input: &str) {
        self.compare(&Case { program, args: args.to_vec(), input: input.to_owned(), unset: &[] });
    }

    /// Runs a case with both programs.
    fn compare(&mut self, case: &Case) {
        let before = FILES.map(|name| file::read(self.theirs.path().join(name)).unwrap());
        let libcap = Libcap { dir: self.theirs.path(), before };
        let theirs = libcap.did(case);
        let mut expected = Expected { case: case.clone(), did: theirs.clone() };
        for Difference { name, programs, apply } in DIFFERENCES {
            if programs.contains(&case.program) {
                let without = expected.did.clone();
                apply(&libcap, &mut expected);
                if expected.did != without {
                    *self.met.entry(name).or_default() += 1;
                }
            }
        }
        let expected = expected.did;
        let mut ours = did(&mut program(case.program), self.ours.path(), case);
        ours.err = without_own_words(case.program, &ours.err);
        let [expected, ours] = [expected, ours].map(|did| ordered(case, did));
        self.cases += 1;
        if ours != expected {
            self.failures.push(format!(
                "{case:?}\n  ours:     {ours:?}\n  expected: {expected:?}\n  libcap's: {theirs:?}"
            ));
        }
        if [ours.files, expected.files] == [theirs.files; 2] {
            set_files(self.theirs.path(), theirs.files);
        } else {
            // The directories now differ.
            self.renew();
        }
    }

    /// Fails unless all cases matched and exactly these differences applied.
    fn finish(self, at_least: usize, differences: &[&str]) {
        let failures = self.failures.len();
        let shown = self.failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(failures == 0, "{failures} of {} cases differ:\n{shown}", self.cases);
        assert!(self.cases >= at_least, "{} cases only", self.cases);
        let met: Vec<_> = self.met.keys().copied().collect();
        assert_eq!(met, differences, "differences that are none any more, or new ones");
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/libcap-differences.md");
        let page = fs::read_to_string(page).unwrap();
        for name in met {
            assert!(page.contains(&format!("`{name}`")), "{name} has no reason in the page");
        }
    }
}

/// Sorts the lines of getcap's output, because the order of directory entries is undefined.
fn ordered(case: &Case, mut did: Did) -> Did {
    if case.program == "getcap" {
        let mut lines: Vec<_> = did.out.split_inclusive('\n').collect();
        lines.sort_unstable();
        did.out = lines.concat();
    }
    did
}

/// Creates the files of a twin directory.
fn create_files(dir: &Path) {
    for name in ["f", "g", "h"] {
        fs::write(dir.join(name), "").unwrap();
    }
    fs::create_dir(dir.join("d")).unwrap();
    fs::write(dir.join("d/e"), "").unwrap();
    fs::create_dir(dir.join("d/empty")).unwrap();
    fs::create_dir_all(dir.join("root/etc")).unwrap();
    fs::write(dir.join("root/etc/passwd"), "chief:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(dir.join("root/etc/group"), "chiefs:x:0:\n").unwrap();
    symlink("f", dir.join("link")).unwrap();
    symlink("nowhere", dir.join("broken")).unwrap();
    nix::unistd::mkfifo(&dir.join("fifo"), Mode::S_IRWXU).unwrap();
    let set = common::run(dir, "setcap", words("cap_net_raw=ep g cap_kill=p d/e = h"));
    assert_eq!(set.status, Some(0));
}

/// A reproducible random number generator. (Marsaglia's xorshift64)
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}
