//! Compares the tools with libcap's, over generated cases in twin directories.
//!
//! Exit status, standard output, standard error and files must match those of libcap's tool, byte
//! for byte. Each entry of `DIFFERENCES` turns libcap's result into the expected one, based on the
//! arguments, the input and libcap's results, and never on ours. docs/libcap-differences.md gives
//! the reason for each entry. An entry that never changes a result fails the test.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{directory, program};
use nix::{sys::stat::Mode, unistd::User};
use rcap::{
    Cap, CapSet, CapState,
    file::{self, FileCaps},
    knowledge,
};
use tempfile::TempDir;

tests! {
    UserNamespace ["setcap"]: setcap_lines;
    UserNamespace ["getcap setcap"]: setcap_texts, setcap_input;
    UserNamespace ["getcap"]: getcap_lines;
    UserNamespace ["getpcaps"]: getpcaps_lines;
    UserNamespace ["capsh stdbuf"]: capsh_lines;
    Root ["capsh stdbuf"]: capsh_lines_as_root;
}

/// A difference from libcap: its name in docs/libcap-differences.md, and a function that turns
/// libcap's result into ours where it applies. A test fails if one of its differences never changes
/// a result.
struct Difference {
    name: &'static str,
    programs: &'static [&'static str],
    apply: fn(&Libcap<'_>, &mut Expected),
}

/// The differences, in the order in which they are applied.
const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "all-is-what-the-kernel-has",
        programs: &["setcap"],
        apply: all_is_what_the_kernel_has,
    },
    Difference { name: "empty-text", programs: &["setcap"], apply: empty_text },
    Difference { name: "white-space-on-stdin", programs: &["setcap"], apply: white_space_on_stdin },
    Difference {
        name: "empty-line-ends-stdin",
        programs: &["setcap"],
        apply: empty_line_ends_stdin,
    },
    Difference { name: "verify-of-no-file", programs: &["setcap"], apply: verify_of_no_file },
    Difference { name: "effective-alone", programs: &["setcap"], apply: effective_alone },
    Difference { name: "argument-line", programs: &["setcap"], apply: argument_line },
    Difference { name: "output-before-exec", programs: &["capsh"], apply: output_before_exec },
    Difference {
        name: "numbers-are-whole",
        programs: &["capsh"],
        apply: |libcap, expected| {
            stop_at(libcap, expected, |arg| is_no_whole_number(arg).then(|| COMPLAINT.to_owned()));
        },
    },
    Difference {
        name: "options-are-whole",
        programs: &["capsh"],
        apply: |libcap, expected| {
            let is_option = |arg: &str| arg == "--noamb" || !arg.starts_with("--noamb");
            if stop_at(libcap, expected, |arg| (!is_option(arg)).then(|| COMPLAINT.to_owned())) {
                expected.did.out += USAGE;
            }
        },
    },
    Difference {
        name: "what-the-kernel-lacks-is-absent",
        programs: &["capsh"],
        apply: |libcap, expected| {
            stop_at(libcap, expected, answer_about_unsupported);
        },
    },
    Difference {
        name: "user-environment",
        programs: &["capsh"],
        apply: |_, expected| user_environment(expected),
    },
    Difference {
        name: "securebits-of-exec",
        programs: &["capsh"],
        apply: |_, expected| securebits_of_exec(&mut expected.did),
    },
    Difference {
        name: "explanations",
        programs: &["capsh"],
        apply: |_, expected| explanations(&mut expected.did),
    },
    Difference {
        name: "errors-on-stderr",
        programs: &["capsh"],
        apply: |_, expected| errors_on_stderr(expected),
    },
    Difference {
        name: "forkfor-0-without-help",
        programs: &["capsh"],
        apply: |_, expected| forkfor_0_without_help(&mut expected.did),
    },
    Difference {
        name: "usage-errors-have-a-reason",
        programs: &["capsh", "getcap", "setcap"],
        apply: |_, expected| usage_errors_have_a_reason(expected),
    },
    Difference {
        name: "errors-without-help",
        programs: &["getcap", "setcap"],
        apply: |_, expected| errors_without_help(expected),
    },
    Difference {
        name: "own-words",
        programs: &["capsh", "getcap", "getpcaps", "setcap"],
        apply: |_, expected| own_words(&mut expected.did),
    },
];

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
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may exit without reading its input.
    let _ = child.stdin.take().unwrap().write_all(case.input.as_bytes());
    let output = child.wait_with_output().unwrap();
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

/// A pair of capabilities and file on `setcap`'s command line.
struct Pair<'a> {
    /// The index of the capabilities in the arguments.
    at: usize,
    /// The text, which may come from standard input, or `None` for `-r`.
    text: Option<&'a str>,
    file: Option<&'a str>,
    verify: bool,
}

fn pairs(case: &Case) -> Vec<Pair<'_>> {
    let mut pairs = Vec::new();
    let mut verify = false;
    let mut args = case.args.iter().map(String::as_str).enumerate();
    while let Some((at, arg)) = args.next() {
        let text = match arg {
            "-v" => {
                verify = true;
                continue;
            }
            "-n" => {
                args.next();
                continue;
            }
            "-q" | "-h" => continue,
            "-r" => None,
            "-" => Some(&*case.input),
            text => Some(text),
        };
        let file = args.next().map(|(_, file)| file);
        pairs.push(Pair { at, text, file, verify });
    }
    pairs
}

/// libcap 2.66 applies "all", and an assignment without a list, to unsupported numbers. This
/// replaces them with the names of the kernel's capabilities.
fn all_is_what_the_kernel_has(libcap: &Libcap<'_>, expected: &mut Expected) {
    let has_unsupported =
        ["41", "63"].iter().any(|number| expected.case.args.concat().contains(number));
    if !has_unsupported || expected.did.err.starts_with("fatal error: ") {
        return;
    }
    let names: Vec<_> = (0..=last_cap()).map(|number| cap(number).to_string()).collect();
    let names = names.join(",");
    let ops = ['=', '+', '-'];
    let mut case = expected.case.clone();
    for pair in pairs(&expected.case) {
        let Some(text) = pair.text.filter(|_| expected.case.args[pair.at] != "-") else { continue };
        let clauses = text.split_ascii_whitespace().map(|clause| {
            let (list, flags) = clause.split_at(clause.find(ops).unwrap_or(clause.len()));
            let items = list.split(',').map(|item| match item.to_ascii_lowercase().as_str() {
                "" | "all" => names.clone(),
                _ => item.to_owned(),
            });
            items.collect::<Vec<_>>().join(",") + flags
        });
        case.args[pair.at] = clauses.collect::<Vec<_>>().join(" ");
    }
    expected.did = libcap.did(&case);
    expected.case = case;
}

/// libcap 2.66 treats empty text as empty sets.
fn empty_text(libcap: &Libcap<'_>, expected: &mut Expected) {
    refuse_empty(libcap, expected, |operand| operand != "-");
}

/// The same text is also rejected on standard input. If it began with a newline, it would be the
/// empty line that ends the input.
fn white_space_on_stdin(libcap: &Libcap<'_>, expected: &mut Expected) {
    let is_line = expected.case.input.starts_with([' ', '\t']);
    refuse_empty(libcap, expected, |operand| operand == "-" && is_line);
}

/// Rejects the first operand whose text is only white space.
fn refuse_empty(libcap: &Libcap<'_>, expected: &mut Expected, is_meant: impl Fn(&str) -> bool) {
    let Expected { case, did } = expected;
    let [Pair { at, text: Some(text), .. }, ..] = pairs(case)[..] else { return };
    if is_meant(&case.args[at]) && text.trim_ascii().is_empty() {
        let prompt = did.err.split_inclusive('\n').find(|line| line.starts_with(PROMPT));
        let err = prompt.unwrap_or_default().to_owned() + COMPLAINT;
        *did = Did { status: Some(1), out: String::new(), err, files: libcap.before };
    }
}

/// Input after an empty line is not read.
fn empty_line_ends_stdin(libcap: &Libcap<'_>, expected: &mut Expected) {
    let has_operand = expected.case.args.iter().any(|arg| arg == "-");
    if let Some(at) = expected.case.input.find("\n\n").filter(|_| has_operand) {
        expected.case.input.truncate(at + 1);
        expected.did = libcap.did(&expected.case);
    }
}

/// `-v` of a missing file is an error, after the operands before it.
fn verify_of_no_file(libcap: &Libcap<'_>, expected: &mut Expected) {
    let pairs = pairs(&expected.case);
    let is_missing =
        |pair: &Pair<'_>| pair.file.is_some_and(|file| !libcap.dir.join(file).exists());
    let Some(index) = pairs.iter().position(|pair| pair.verify && is_missing(pair)) else { return };
    let mut did =
        Did { status: Some(0), out: String::new(), err: String::new(), files: libcap.before };
    if let Some(last) = index.checked_sub(1) {
        // Each pair is an operand and a file.
        let mut case = expected.case.clone();
        case.args.truncate(pairs[last].at + 2);
        did = libcap.did(&case);
    }
    // Otherwise it exited earlier.
    if did.status == Some(0) {
        expected.did = Did { status: Some(1), err: did.err.clone() + COMPLAINT, ..did };
    }
}

/// libcap 2.66 writes a file whose effective set exceeds the others, which the file does not store:
/// its own `-v` then reports a difference.
fn effective_alone(libcap: &Libcap<'_>, expected: &mut Expected) {
    let [pair] = &pairs(&expected.case)[..] else { return };
    if expected.did.status != Some(0) || pair.verify || pair.text.is_none() {
        return;
    }
    let mut verify = expected.case.clone();
    verify.args.insert(0, "-v".to_owned());
    let found = libcap.did_with(expected.did.files, &verify, false);
    if found.out.ends_with(" differs in [e]\n") {
        expected.did = Did {
            status: Some(1),
            err: expected.did.err.clone() + COMPLAINT,
            files: libcap.before,
            ..expected.did.clone()
        };
    }
}

/// libcap 2.66 does not print which argument was invalid. It is the first one that is also invalid
/// alone.
fn argument_line(libcap: &Libcap<'_>, expected: &mut Expected) {
    if !expected.did.err.contains("fatal error: Invalid argument\n") {
        return;
    }
    let is_invalid = |text: &&str| {
        let args = ["-v", text, "none"].map(str::to_owned).to_vec();
        libcap.did(&Case { args, ..expected.case.clone() }).err.starts_with("fatal error: ")
    };
    let text = pairs(&expected.case).into_iter().filter_map(|pair| pair.text).find(is_invalid);
    expected.did.out += &["argument: ", text.unwrap(), "\n"].concat();
}

/// libcap's capsh loses buffered output when it executes a program, and prints it late or twice
/// when it executes one in a child. Without a buffer, it does not.
fn output_before_exec(libcap: &Libcap<'_>, expected: &mut Expected) {
    let Some(end) = end(&expected.case.args) else { return };
    let prints = ["--print", "--current", "--mode", "--modes", "--decode=", "--explain="];
    let prints = |arg: &String| prints.iter().any(|option| arg.starts_with(option));
    if expected.case.args[..end].iter().any(prints) {
        let Did { status, out, err, files } = libcap.did_with(libcap.before, &expected.case, true);
        expected.did.out = out;
        assert_eq!(expected.did, Did { status, out: expected.did.out.clone(), err, files });
    }
}

/// Returns the index of the argument that runs a program.
fn end(args: &[String]) -> Option<usize> {
    args.iter().position(|arg| ["--", "-+", "==", "=+"].contains(&&**arg))
}

/// Ends `capsh` at the first argument that libcap accepts and `refuse` rejects.
fn stop_at(
    libcap: &Libcap<'_>,
    expected: &mut Expected,
    refuse: impl Fn(&str) -> Option<String>,
) -> bool {
    let args = &expected.case.args;
    let options = &args[..end(args).unwrap_or(args.len())];
    let refused = options.iter().enumerate().find_map(|(at, arg)| Some((at, refuse(arg)?)));
    let Some((at, err)) = refused else { return false };
    let upto = |at| libcap.did(&Case { args: args[..at].to_vec(), ..expected.case.clone() });
    if upto(at + 1).status != Some(0) {
        return false;
    }
    let did = upto(at);
    if did.out.ends_with(USAGE) {
        // It exited earlier, for example after --help.
        return false;
    }
    expected.case.args.truncate(at);
    expected.did = Did { status: Some(1), err: did.err.clone() + &err, ..did };
    true
}

/// Returns whether an argument's value is a number that is not a whole number of 32 bits, or of 64
/// bits for a mask.
fn is_no_whole_number(arg: &str) -> bool {
    let Some((option, value)) = arg.split_once('=') else { return false };
    let hex = value.strip_prefix("0x");
    match option {
        "--decode" => u64::from_str_radix(hex.unwrap_or(value), 16).is_err(),
        "--uid" | "--cap-uid" | "--gid" | "--secbits" | "--keep" | "--is-uid" | "--is-gid"
        | "--forkfor" | "--killit" => match hex {
            Some(digits) => u32::from_str_radix(digits, 16).is_err(),
            None => value.parse::<u32>().is_err(),
        },
        _ => false,
    }
}

/// Returns the answer to `--has-a` and `--has-b` for an unsupported capability.
fn answer_about_unsupported(arg: &str) -> Option<String> {
    let (option, value) = arg.split_once('=')?;
    let set = match option {
        "--has-a" => "ambient",
        "--has-b" => "bounding",
        _ => return None,
    };
    let is_unsupported = value.parse::<u8>().is_ok_and(|number| number > last_cap());
    is_unsupported.then(|| format!("cap[{value}] not in {set} vector\n"))
}

/// libcap passes its original environment to the program: HOME and USER stay empty if they were
/// unset, and may be those of an earlier `--user`. Ours are those of the last `--user` that does
/// not follow `--noenv`.
fn user_environment(expected: &mut Expected) {
    let args = &expected.case.args;
    let before_noenv = args.split(|arg| arg == "--noenv").next().unwrap_or_default();
    let names = before_noenv.iter().filter_map(|arg| arg.strip_prefix("--user="));
    let users: Vec<_> = names.filter_map(|name| User::from_name(name).unwrap()).collect();
    let Some(last) = users.last() else { return };
    let callers = [format!("HOME={}\n", CALLER[0]), format!("USER={}\n", CALLER[1])];
    let line =
        |user: &User| [format!("HOME={}\n", user.dir.display()), format!("USER={}\n", user.name)];
    for [home, name] in
        users.iter().map(line).chain([["HOME=\n", "USER=\n"].map(str::to_owned), callers])
    {
        let [last_home, last_name] = line(last);
        let out = expected.did.out.replace(&home, &last_home).replace(&name, &last_name);
        expected.did.out = out;
    }
}

/// `--print` has a line for each pair of securebits above 0xff that is not 0.
fn securebits_of_exec(did: &mut Did) {
    let mut bits = 0;
    let mut out = String::new();
    for line in did.out.split_inclusive('\n') {
        out += line;
        if let Some(numbers) = line.strip_prefix("Securebits: ") {
            let number = numbers.split('/').nth(1).and_then(|number| number.strip_prefix("0x"));
            bits = u32::from_str_radix(number.unwrap(), 16).unwrap();
        }
        if line.starts_with(" secure-no-ambient-raise: ") {
            for (label, shift) in [("exec-restrict-file", 8), ("exec-deny-interactive", 10)] {
                let pair = bits >> shift & 3;
                if pair != 0 {
                    let is = if pair & 1 == 0 { "no" } else { "yes" };
                    let lock = if pair & 2 == 0 { "unlocked" } else { "locked" };
                    out += &[" secure-", label, ": ", is, " (", lock, ")\n"].concat();
                }
            }
        }
    }
    did.out = out;
}

/// The indented text after the first line of an explanation is rcap's.
fn explanations(did: &mut Did) {
    let mut explained = None;
    let mut out = String::new();
    for line in did.out.split_inclusive('\n') {
        if let Some((name, _)) = line.split_once(" [/proc/self/status:CapXXX: ") {
            explained = name.split(' ').next().and_then(|name| name.parse::<Cap>().ok());
        }
        match explained.and_then(knowledge::about) {
            Some(about) if line.starts_with("    ") => {
                explained = None;
                for line in about.permits.lines() {
                    out += &["    ", line, "\n"].concat();
                }
            }
            _ if line.starts_with("    ") => {}
            _ => out += line,
        }
    }
    did.out = out;
}

/// Errors that libcap's capsh prints to standard output.
fn errors_on_stderr(expected: &mut Expected) {
    let Expected { case, did } = expected;
    let is_error = |line: &str| {
        case.args.iter().any(|arg| {
            let mode = arg.strip_prefix("--mode=").unwrap_or("\n");
            line == format!("unrecognized command [{arg}]\n")
                || line == format!("unsupported mode: {mode}\n")
                || line.starts_with(&format!("failed to set mode [{mode}]: "))
        })
    };
    // An error ends capsh, so it is the last line, or the last one before the help.
    let end = did.out.strip_suffix(USAGE).unwrap_or(&did.out).len();
    let start = did.out[..end].trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
    if did.status == Some(1) && is_error(&did.out[start..end]) {
        did.out.replace_range(start..end, "");
        did.err += COMPLAINT;
    }
}

/// libcap adds its help to the error about `--forkfor=0`.
fn forkfor_0_without_help(did: &mut Did) {
    if did.err == "require non-zero --forkfor value\n" {
        let end = did.out.strip_suffix(USAGE).unwrap_or(&did.out).len();
        did.out.truncate(end);
    }
}

/// Arguments that are not options of `capsh`.
const NO_OPTIONS: [&str; 5] = ["--bogus", "--mod", "-x", "x", ""];

/// Where libcap only prints its help, ours first names the mistake.
fn usage_errors_have_a_reason(expected: &mut Expected) {
    let Expected { case, did } = expected;
    let help = ["--help", "-h"];
    let is_help = |arg: &String| help.contains(&&**arg);
    let first = case.args.iter().find(|arg| is_help(arg) || NO_OPTIONS.contains(&&***arg));
    if did.status != Some(1) || case.program == "capsh" && first.is_some_and(is_help) {
        return;
    }
    let before = did.err.strip_suffix(USAGE).unwrap_or(&did.err);
    let is_alone = before.lines().all(|line| line.starts_with(PROMPT));
    if is_alone && (did.out.ends_with(USAGE) || did.err.ends_with(USAGE)) {
        did.err.insert_str(before.len(), COMPLAINT);
    }
}

/// After an error, libcap prints its help. Ours names the option that prints it, or in `setcap`
/// only prints the help for errors without a reason in libcap.
fn errors_without_help(expected: &mut Expected) {
    let Expected { case, did } = expected;
    let Some(before) = did.err.strip_suffix(USAGE) else { return };
    let has_reason = |line: &str| !line.starts_with(PROMPT) && line != COMPLAINT.trim_end();
    if did.status == Some(1) && (case.program == "getcap" || before.lines().any(has_reason)) {
        did.err.truncate(before.len());
    }
}

/// An error of libcap corresponds to one of ours with other words. Only answers to questions are
/// equal.
fn own_words(did: &mut Did) {
    const ANSWERS: [&str; 7] = [
        "cap[",
        "uid: got=",
        "gid: got=",
        "no-new-privs not set\n",
        "child PID=",
        PROMPT,
        "Capabilities for `",
    ];
    let mut err = String::new();
    for line in did.err.split_inclusive('\n') {
        if line == USAGE || ANSWERS.iter().any(|answer| line.starts_with(answer)) {
            err += line;
        } else if !line.starts_with("NOTE: ") && !line.starts_with("   ") {
            // The omitted lines belong to an error.
            err += COMPLAINT;
        }
    }
    did.err = err;
}

/// Returns the highest capability of the kernel.
fn last_cap() -> u8 {
    fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim_ascii().parse().unwrap()
}

fn cap(number: u8) -> Cap {
    Cap::from_number(number).unwrap()
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
        files(ours.path());
        files(theirs.path());
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

const ITEMS: &[&str] = &[
    "cap_chown",
    "CAP_KILL",
    "cap_net_raw",
    "cap_bpf",
    "Cap_Checkpoint_Restore",
    "0",
    "13",
    "0x1f",
    "010",
    "40",
    "41",
    "63",
    "all",
    "ALL",
];

fn clause(random: &mut Random) -> String {
    let mut text = String::new();
    let listless = random.below(5) == 0;
    if !listless {
        text += random.pick(ITEMS);
        for _ in 0..random.below(3) {
            text += ",";
            text += random.pick(ITEMS);
        }
    }
    text += if listless { "=" } else { random.pick(&["=", "=", "+", "-", "=+", "=-"]) };
    text += random.pick(&["p", "ep", "pe", "i", "ip", "eip", "e", "pp", ""]);
    if random.below(4) == 0 && !listless {
        text += random.pick(&["+p", "-e", "+i", "-p+i", "+ep-i"]);
    }
    text
}

/// Returns a text that is valid or almost valid.
fn text(random: &mut Random) -> String {
    let mut text = clause(random);
    for _ in 0..random.below(3) {
        text += random.pick(&[" ", "  ", "\t", "\n"]);
        text += &clause(random);
    }
    if random.below(3) == 0 {
        let at = random.below(text.len() + 1);
        let piece = random.pick(&[
            ",", "=", "+", "-", "e", "x", " ", "2", "_", "64", "0x", "all", "08", "cap_", "=p", "P",
        ]);
        text.insert_str(at, piece);
    }
    text
}

fn setcap_texts() {
    let mut twins = Twins::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..700 {
        let args = [text(&mut random), "f".to_owned()];
        twins.run("setcap", &args, "");
        twins.run("getcap", &words("-v f"), "");
        twins.run("setcap", &[&["-v".to_owned()], &args[..]].concat(), "");
    }
    twins.finish(
        2100,
        &[
            "all-is-what-the-kernel-has",
            "argument-line",
            "effective-alone",
            "errors-without-help",
            "own-words",
        ],
    );
}

fn files(dir: &Path) {
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

fn setcap_lines() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut twins = Twins::new();
    for _ in 0..400 {
        twins.renew();
        let mut line = Vec::new();
        for _ in 0..=random.below(3) {
            if random.below(2) == 0 {
                line.push(random.pick(&["-q", "-v", "-v", "-n 1", "-n 0", "-n x", "-n"]));
            }
            line.push(random.pick(&[
                "cap_net_raw=ep",
                "cap_kill=p",
                "=",
                "-r",
                "cap_kill=ei",
                "bad",
                "cap_kill=p cap_chown=e",
            ]));
            line.push(random.pick(&["f", "g", "h", "d/e", "d", "none"]));
        }
        if random.below(6) == 0 {
            line.pop();
        }
        let args: Vec<_> = line
            .iter()
            .flat_map(|arg| match arg.strip_prefix("-n ") {
                Some(id) => vec!["-n".to_owned(), id.to_owned()],
                None => vec![(*arg).to_owned()],
            })
            .collect();
        twins.run("setcap", &args, "");
    }
    for line in ["", "-h", "-q", "-q -v", "-q -h", "cap_kill=p f -h", "f"] {
        twins.run("setcap", &words(line), "");
    }
    for text in ["", " ", "\t\n"] {
        for line in ["f", "f cap_kill=p g", "f -v = f", ""] {
            twins.run("setcap", &[&[text.to_owned()], &words(line)[..]].concat(), "");
        }
    }
    twins.finish(
        419,
        &[
            "argument-line",
            "empty-text",
            "errors-without-help",
            "own-words",
            "usage-errors-have-a-reason",
            "verify-of-no-file",
        ],
    );
}

fn setcap_input() {
    let mut twins = Twins::new();
    let inputs = [
        "cap_chown=p\n",
        "cap_chown=p",
        "cap_chown=p\ncap_kill+i\n",
        "\n",
        "",
        " \n",
        "bad\n",
        "cap_chown=p\n\n",
        "cap_chown=p \t\n",
        "=ep\n",
        "cap_chown=p\n\ncap_kill=p\n",
    ];
    for input in inputs {
        for line in ["- f", "-q - f", "-v - g", "-q -v - f", "- f cap_kill=p g", "-"] {
            twins.run("setcap", &words(line), input);
        }
        twins.run("getcap", &words("f g"), "");
    }
    twins.finish(
        77,
        &[
            "argument-line",
            "empty-line-ends-stdin",
            "errors-without-help",
            "own-words",
            "usage-errors-have-a-reason",
            "white-space-on-stdin",
        ],
    );
}

fn getcap_lines() {
    let mut random = Random(0xda94_2042_e4dd_58b5);
    let mut twins = Twins::new();
    for _ in 0..300 {
        let mut args = Vec::new();
        for _ in 0..random.below(3) {
            args.push(random.pick(&["-v", "-n", "-r", "-rv", "-vr", "-nv", "-rvn"]));
        }
        if random.below(8) == 0 {
            args.push("--");
        }
        for _ in 0..random.below(4) {
            args.push(random.pick(&[
                "f", "g", "h", "d", "d/e", "link", "broken", "fifo", "none", ".", "d/", "./d",
                "f/x", "-v",
            ]));
        }
        let args: Vec<_> = args.into_iter().map(str::to_owned).collect();
        twins.run("getcap", &args, "");
    }
    for line in ["-h", "-z f", "-v -h", "-rz", "--"] {
        twins.run("getcap", &words(line), "");
    }
    twins.finish(305, &["errors-without-help", "own-words", "usage-errors-have-a-reason"]);
}

fn getpcaps_lines() {
    let mut random = Random(0x5851_f42d_4c95_7f2d);
    let mut twins = Twins::new();
    let before = CapState::current().unwrap();
    let mut children: Vec<Child> = [0, 1 << 5, 1 << 40 | 1]
        .map(|bits| {
            // The inheritable set is preserved when root executes a program.
            let inheritable = CapSet::from_bits(bits);
            CapState { inheritable, ..before }.apply().unwrap();
            Command::new("sleep").arg("60").spawn().unwrap()
        })
        .into();
    let pids: Vec<_> = children.iter().map(|child| child.id().to_string()).collect();
    for _ in 0..300 {
        let mut args = Vec::new();
        for _ in 0..=random.below(4) {
            args.push(match random.below(3) {
                0 => random.pick(&["--verbose", "--ugly", "--legacy", "--iab"]).to_owned(),
                1 => pids[random.below(pids.len())].clone(),
                _ => random
                    .pick(&[
                        "1",
                        "-1",
                        "x",
                        "1x",
                        "4294967297",
                        "99999999999999999999",
                        "2147483647",
                        "--x",
                        "01",
                        " 1",
                        "+1",
                    ])
                    .to_owned(),
            });
        }
        twins.run("getpcaps", &args, "");
    }
    for line in ["", "--help", "-h", "--usage", "1 --help", "--verbose"] {
        twins.run("getpcaps", &words(line), "");
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    twins.finish(306, &["own-words"]);
}

/// Options of `capsh` that change or test something.
const STEPS: &[&str] = &[
    "--caps=",
    "--caps==ep",
    "--caps==p",
    "--caps=cap_setpcap,cap_kill=p",
    "--caps=cap_net_raw,cap_setpcap=eip",
    "--caps=cap_kill=i cap_chown+p",
    "--caps=cap_kill",
    "--caps=all=p",
    "--inh=",
    "--inh=none",
    "--inh=cap_kill,cap_net_raw",
    "--inh=all",
    "--inh=63",
    "--inh=cap_kill,",
    "--inh=cap_chown+p cap_kill",
    "--drop=cap_kill",
    "--drop=cap_net_raw,,cap_chown",
    "--drop=all",
    "--drop=63",
    "--drop=cap_kil",
    "--dropped=cap_kill",
    "--dropped=63",
    "--dropped=kill",
    "--strict",
    "--iab=!cap_kill,^cap_net_raw",
    "--iab=",
    "--iab=^cap_chown,%cap_kill",
    "--iab=!cap_chown",
    "--iab=cap_x",
    "--iab=all",
    "--addamb=cap_net_raw",
    "--addamb=cap_kill,cap_net_raw",
    "--addamb=all",
    "--addamb=",
    "--addamb=63",
    "--delamb=cap_net_raw",
    "--delamb=all",
    "--delamb=63",
    "--noamb",
    "--noamb=x",
    "--has-ambient",
    "--has-p=cap_kill",
    "--has-i=cap_kill",
    "--has-a=cap_net_raw",
    "--has-b=cap_kill",
    "--has-p=63",
    "--has-i=63",
    "--has-a=63",
    "--has-b=63",
    "--has-b=cap",
    "--supports=cap_bpf",
    "--supports=40",
    "--supports=41",
    "--supports=cap_x",
    "--decode=00000000a80425fb",
    "--decode=0x1",
    "--decode=8000020000000000",
    "--decode=zz",
    "--decode=10000000000000000",
    "--explain=41",
    "--explain=cap_chown",
    "--explain=cap_x",
    "--mode",
    "--modes",
    "--mode=NOPRIV",
    "--mode=PURE1E_INIT",
    "--mode=PURE1E",
    "--mode=HYBRID",
    "--mode=hybrid",
    "--mode=UNCERTAIN",
    "--inmode=HYBRID",
    "--inmode=PURE1E",
    "--inmode=UNCERTAIN",
    "--secbits=0",
    "--secbits=0x2f",
    "--secbits=0357",
    "--secbits=17",
    "--secbits=0x100",
    "--secbits=0x10000",
    "--secbits=1x",
    "--secbits=0x4",
    "--keep=0",
    "--keep=1",
    "--keep=2",
    "--keep=-1",
    "--no-new-privs",
    "--has-no-new-privs",
    "--uid=0",
    "--uid=1000",
    "--uid=-1",
    "--uid=4294967296",
    "--cap-uid=0",
    "--cap-uid=65534",
    "--gid=0",
    "--gid=7",
    "--gid=1x",
    "--groups=",
    "--groups=4,nogroup,5",
    "--groups=no-such-group",
    "--user=root",
    "--user=nobody",
    "--user=no-such-user",
    "--noenv",
    "--chroot=root",
    "--chroot=none",
    "--is-uid=0",
    "--is-uid=65534",
    "--is-uid=x",
    "--is-gid=0",
    "--is-gid=7",
    "--print",
    "--current",
    "--quiet",
    "--shell=/bin/sh",
    "--shell=/none",
    "--forkfor=0",
    "--forkfor=5 --killit=9",
    "--forkfor=5 --killit=15",
    "--killit=9",
    "--help",
    "--bogus",
    "--mod",
    "--modeX",
    "-x",
    "x",
    "",
];

/// Final options, which show the result.
const ENDS: &[&str] = &["", "--print", "--current", "--", "-+", "==", "=+"];

const SCRIPT: &str = "echo HOME=$HOME; echo USER=$USER; grep -E '^(Cap|NoNewPrivs|Uid|Gid|Groups)' /proc/self/status; exit 3";

fn capsh_args(random: &mut Random, steps: &[&str]) -> Vec<String> {
    let mut args = Vec::new();
    for _ in 0..=random.below(5) {
        let step = random.pick(steps);
        match step.split_once(" --killit") {
            Some((fork, signal)) => {
                args.extend([fork.to_owned(), format!("--killit{signal}")]);
            }
            None => args.push(step.to_owned()),
        }
    }
    match random.pick(ENDS) {
        "" => {}
        end @ ("--" | "-+") => args.extend([end, "-c", SCRIPT].map(str::to_owned)),
        end @ ("==" | "=+") => args.extend([end, "--print"].map(str::to_owned)),
        end => args.push(end.to_owned()),
    }
    args
}

fn capsh_lines() {
    let mut random = Random(0x6c07_8965_d1e2_f3a4);
    let mut twins = Twins::new();
    for _ in 0..2000 {
        twins.run("capsh", &capsh_args(&mut random, STEPS), "");
    }
    for line in ["", "--help", "-h", "--print --help", "--quiet", "--", "-+", "==", "=+", "== ==="]
    {
        twins.run("capsh", &words(line), "");
    }
    twins.finish(
        2010,
        &[
            "errors-on-stderr",
            "explanations",
            "forkfor-0-without-help",
            "numbers-are-whole",
            "options-are-whole",
            "output-before-exec",
            "own-words",
            "securebits-of-exec",
            "usage-errors-have-a-reason",
            "what-the-kernel-lacks-is-absent",
        ],
    );
}

/// Steps that rarely fail, run as root.
fn capsh_lines_as_root() {
    let mut random = Random(0x1b87_3593_cc9e_2d51);
    let mut twins = Twins::new();
    let steps: Vec<_> = STEPS
        .iter()
        .copied()
        .filter(|step| {
            ["caps", "inh", "drop=cap", "iab", "addamb", "mode=", "secbits", "keep", "uid", "gid"]
                .iter()
                .chain(&["groups", "user", "chroot=root", "no-new", "strict", "noamb"])
                .any(|name| step.trim_start_matches("--").starts_with(name))
        })
        .collect();
    for _ in 0..2000 {
        twins.run("capsh", &capsh_args(&mut random, &steps), "");
    }
    let numbers = ["0x200", "0x300", "0x400", "0x800", "0xc00", "0xd00", "0xf00", "0xfef"];
    for number in numbers {
        twins.run("capsh", &[format!("--secbits={number}"), "--print".to_owned()], "");
    }
    let unset: [&[_]; 4] = [&[], &["HOME"], &["USER"], &["HOME", "USER"]];
    for unset in unset {
        for line in [
            "--user=nobody",
            "--user=root",
            "--user=nobody --user=root",
            "--noenv --user=nobody",
            "--user=nobody --noenv --user=root",
            "",
        ] {
            for end in ["--", "-+"] {
                let args = [words(line), [end, "-c", SCRIPT].map(str::to_owned).into()].concat();
                twins.compare(&Case { program: "capsh", args, input: String::new(), unset });
            }
        }
    }
    twins.finish(
        2056,
        &[
            "errors-on-stderr",
            "numbers-are-whole",
            "options-are-whole",
            "own-words",
            "securebits-of-exec",
            "user-environment",
        ],
    );
}
