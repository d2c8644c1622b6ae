//! The man pages match the help and the options of the programs.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// A program and its man page.
struct Program {
    name: &'static str,
    binary: &'static str,
    /// Arguments that precede the tested ones.
    before: &'static [&'static str],
    /// Arguments that follow the tested ones.
    after: &'static [&'static str],
    page: &'static str,
    /// The options that print the help.
    help: &'static [&'static str],
    /// Returns whether the program recognized an option and its argument.
    knows: fn(&Output) -> bool,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "getcap",
        binary: env!("CARGO_BIN_EXE_getcap"),
        before: &[],
        after: &[],
        page: "getcap.8",
        help: &["-h", "--help"],
        // Without FILE, it always fails.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "setcap",
        binary: env!("CARGO_BIN_EXE_setcap"),
        before: &[],
        after: &[],
        page: "setcap.8",
        help: &["-h", "--help"],
        // An unknown option counts as capabilities, which this form is not.
        knows: |output| !text(output).contains("argument: "),
    },
    Program {
        name: "getpcaps",
        binary: env!("CARGO_BIN_EXE_getpcaps"),
        before: &[],
        after: &[],
        page: "getpcaps.8",
        help: &["-h", "--help", "--usage"],
        // An unknown option counts as a process.
        knows: |output| !text(output).contains("Cannot parse pid"),
    },
    Program {
        name: "capsh",
        binary: env!("CARGO_BIN_EXE_capsh"),
        before: &[],
        after: &[],
        page: "capsh.1",
        help: &["-h", "--help"],
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "captree",
        binary: env!("CARGO_BIN_EXE_captree"),
        before: &[],
        after: &[],
        page: "captree.8",
        help: &["-h", "--help"],
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "trace",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["trace"],
        after: &["--buffer", "1"],
        page: "rcap-trace.8",
        help: &["-h", "--help"],
        // The buffer size is too small, so it always fails before tracing.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "completions",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["completions"],
        after: &[],
        page: "rcap-completions.1",
        help: &["-h", "--help"],
        // No program has the sample name, so it always fails.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "man",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["man"],
        after: &[],
        page: "rcap-man.1",
        help: &["-h", "--help"],
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "suggest",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["suggest"],
        after: &[],
        page: "rcap-suggest.1",
        help: &["-h", "--help"],
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "why",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["why"],
        after: &[],
        page: "rcap-why.1",
        help: &["-h", "--help"],
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "diff",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["diff"],
        after: &[],
        page: "rcap-diff.1",
        help: &["-h", "--help"],
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "minimize",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["minimize"],
        after: &[],
        page: "rcap-minimize.8",
        help: &["-h", "--help"],
        // Without PROGRAM, it always fails.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "harden",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["harden"],
        after: &[],
        page: "rcap-harden.8",
        help: &["-h", "--help"],
        // Without UNIT, it always fails.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "verify",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["verify"],
        after: &[],
        page: "rcap-verify.8",
        help: &["-h", "--help"],
        // Without PROGRAM, it always fails.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "report",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["report"],
        after: &[],
        page: "rcap-report.1",
        help: &["-h", "--help"],
        // Without FILE, it always fails.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "oci-hook",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["oci-hook"],
        after: &[],
        page: "rcap-oci-hook.8",
        help: &["-h", "--help"],
        // Without a state, it always fails.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "oci-runtime",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["oci-runtime"],
        after: &[],
        page: "rcap-oci-hook.8",
        help: &["-h", "--help"],
        // Without RUNTIME, it always fails.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "run",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["run"],
        after: &[],
        page: "rcap-run.1",
        help: &["-h", "--help"],
        // Without PROGRAM, it always fails.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "decode",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["decode"],
        after: &[],
        page: "rcap-decode.1",
        help: &["-h", "--help"],
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "export",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["export"],
        after: &[],
        page: "rcap-export.1",
        help: &["-h", "--help"],
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "explain",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["explain"],
        after: &[],
        page: "rcap-explain.1",
        help: &["-h", "--help"],
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "check",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["check"],
        after: &["/nonexistent/file"],
        page: "rcap-check.1",
        help: &["-h", "--help"],
        // The file does not exist, so little happens.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "scan",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["scan"],
        after: &["/nonexistent/file"],
        page: "rcap-scan.8",
        help: &["-h", "--help"],
        // The file does not exist, so little happens.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "save",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["save"],
        after: &["/nonexistent/file"],
        page: "rcap-save.8",
        help: &["-h", "--help"],
        // The file does not exist, so little happens.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "restore",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &["restore"],
        after: &["/nonexistent/file"],
        page: "rcap-restore.8",
        help: &["-h", "--help"],
        // The file does not exist, so little happens.
        knows: |output| !text(output).contains("unknown option"),
    },
    Program {
        name: "rcap",
        binary: env!("CARGO_BIN_EXE_rcap"),
        before: &[],
        after: &[],
        page: "rcap.1",
        help: &["-h", "--help"],
        knows: |output| output.status.success(),
    },
];

impl Program {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(self.binary);
        command.args(self.before).args(args).args(self.after).stdin(Stdio::null()).output().unwrap()
    }

    fn page(&self) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "man", self.page].iter().collect()
    }

    fn source(&self) -> String {
        fs::read_to_string(self.page()).unwrap()
    }

    /// Returns whether the program recognizes an option, which is given with its argument after a
    /// space or an equals sign.
    fn takes(&self, option: &str) -> bool {
        let words: Vec<String> = option
            .split(' ')
            .map(|word| match word.split_once('=') {
                Some((option, argument)) => format!("{option}={}", sample(argument)),
                None if word.starts_with('-') => word.to_owned(),
                None => sample(word).to_owned(),
            })
            .collect();
        (self.knows)(&self.run(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    }
}

/// Returns a sample for an argument.
fn sample(argument: &str) -> &'static str {
    match argument {
        "ROOTID" => "1000",
        "CAPS" | "CAP" => "cap_kill",
        "GLOB" => "*.o",
        "N" => "2",
        "KB" => "64",
        "HEX" | "LIST" | "UID" | "GID" | "STATUS" => "0",
        "TEXT" => "=",
        "IAB" => "",
        "MODE" => "HYBRID",
        "SYSCALL" => "bind",
        "SIG" => "9",
        "PID" => "1",
        "ID" | "UNIT" => "none",
        "SEVERITY" => "high",
        "POLICY" => "pod-security-baseline",
        "IMAGE" => "/nonexistent/image",
        "FILE" => "/nonexistent/file",
        "DIRECTORY" => "/nonexistent",
        "DURATION" => "1ms",
        "BACKEND" => "tracepoint",
        "NAME" | "USER" | "GROUP" => "root",
        "PATH" => "/",
        "PROFILE" | "FORMAT" | "SOURCE" | "ENGINE" => "docker",

        "VARIABLE" => "A=b",
        "DIR" => "/proc",
        "PROGRAM" | "COMMAND" => "true",
        "[ARG]..." => "--version",
        _ => panic!("no sample for the argument {argument}"),
    }
}

fn text(output: &Output) -> String {
    let text = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// Returns the options of a help text, each spelling separately, with the argument after a space.
fn options_of_help(help: &str) -> BTreeSet<String> {
    let lines = help.lines().filter(|line| line.len() - line.trim_start().len() <= 6);
    let lines = lines.map(str::trim_start).filter(|line| line.starts_with('-'));
    let lists = lines.map(|line| line.split("  ").next().unwrap_or(line));
    lists.flat_map(|list| list.split(", ")).map(|option| option.replace(['<', '>'], "")).collect()
}

/// Returns the options of a man page's lists, in the same form.
fn options_of_page(source: &str) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for item in source.lines().filter_map(|line| line.strip_prefix(".It Fl")) {
        for option in item.split(" , ") {
            let words = option.trim().trim_start_matches("Fl ");
            let words = words.replace(" Ns = Ns Ar ", "=").replace("Op Ar ARG ...", "[ARG]...");
            let option = format!("-{}", words.replace("Ar ", ""));
            assert!(options.insert(option), "twice: {item}");
        }
    }
    options
}

/// Returns the commands of a help text or a man page: the first words of such lines.
fn words_behind<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(start));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

#[test]
fn options_of_texts() {
    let help =
        "Usage: x [-z]\n\n  -r, --all       Do -a  b\n      --n <N>\n  -  in\n  --add CAPS  add";
    let page = ".Op Fl z\n.It Fl r , Fl -all\n.It Fl -n Ar N\n.It Fl\n.It Fl -add Ar CAPS\n.It -w";
    let want = ["-", "-r", "--all", "--n N", "--add CAPS"].map(str::to_owned);
    assert_eq!(options_of_help(help), BTreeSet::from(want.clone()));
    assert_eq!(options_of_page(page), BTreeSet::from(want));
}

#[test]
fn pages_have_the_options_of_the_help() {
    for program in PROGRAMS {
        let page = options_of_page(&program.source());
        for help in program.help {
            let output = program.run(&[help]);
            assert_eq!(output.status.code(), Some(0), "{} {help}", program.name);
            assert_eq!(options_of_help(&text(&output)), page, "{} {help}", program.name);
        }
    }
}

#[test]
fn programs_take_the_options_of_the_pages() {
    for program in PROGRAMS {
        let name = program.name;
        assert!(!program.takes("--no-such-option"), "{name} takes anything");
        for option in options_of_page(&program.source()) {
            assert!(program.takes(&option), "{name} does not take {option}");
        }
    }
}

#[test]
fn rcap_has_the_commands_of_its_page() {
    let rcap = PROGRAMS.iter().find(|program| program.name == "rcap").unwrap();
    let [help, page] = [text(&rcap.run(&["--help"])), rcap.source()];
    let commands = words_behind(&page, ".It Cm ");
    let of_help = help.split("\nOptions:").next().unwrap();
    let plumbing = words_behind(of_help, "Plumbing: ");
    assert_eq!(plumbing.len(), 1);
    let mut listed = words_behind(of_help, "  ");
    listed.remove("");
    let line = of_help.lines().find_map(|line| line.strip_prefix("Plumbing: ")).unwrap();
    listed.extend(line.split(", "));
    listed.retain(|word| !word.is_empty());
    assert_eq!(listed, commands);
    for command in commands {
        let own = PROGRAMS.iter().find(|program| program.name == command);
        let own = own.unwrap_or_else(|| panic!("{command} has no page here"));
        assert_eq!(text(&rcap.run(&[command, "--help"])), text(&own.run(&["--help"])));
        let own = own.page.split('.').next().unwrap();
        assert!(page.contains(&format!(".Xr {own} ")), "no reference to {own}");
    }
}
