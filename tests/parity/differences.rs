//! The differences from libcap, each with the function that turns libcap's result into ours.

use std::fs;

use nix::unistd::User;
use rcap::{Cap, knowledge};

use super::{CALLER, COMPLAINT, Case, Did, Expected, Libcap, PROMPT, USAGE};

/// A difference from libcap: its name in docs/libcap-differences.md, and a function that turns
/// libcap's result into ours where it applies. A test fails if one of its differences never changes
/// a result.
pub(crate) struct Difference {
    pub(crate) name: &'static str,
    pub(crate) programs: &'static [&'static str],
    pub(crate) apply: fn(&Libcap<'_>, &mut Expected),
}

/// The differences, in the order in which they are applied.
pub(crate) const DIFFERENCES: &[Difference] = &[
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
