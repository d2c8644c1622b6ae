//! The programs beside libcap's installed ones: generated cases, in twin directories. Exit status
//! and standard output are the same, or the difference has a name in docs/libcap-differences.md.

mod common;

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{directory, program};
use nix::sys::stat::Mode;
use rcap::{
    CapSet, CapState,
    file::{self, FileCaps},
};
use tempfile::TempDir;

tests! {
    UserNamespace ["setcap"]: setcap_lines;
    UserNamespace ["getcap setcap"]: setcap_texts, setcap_input;
    UserNamespace ["getcap"]: getcap_lines;
    UserNamespace ["getpcaps"]: getpcaps_lines;
    UserNamespace ["capsh"]: capsh_lines;
    Root ["capsh"]: capsh_lines_as_root;
}

/// Where it is right to differ: the name in docs/libcap-differences.md, and when it is the
/// reason. Each has to occur, so that none outlives it.
const DIFFERENCES: &[Difference] = &[
    Difference { program: "setcap", name: "argument-line", holds: argument_line },
    Difference {
        program: "setcap",
        name: "effective-alone",
        holds: |case| case.ours.err.contains("one effective bit"),
    },
    Difference {
        program: "setcap",
        name: "all-is-what-the-kernel-has",
        holds: all_is_what_the_kernel_has,
    },
    Difference {
        program: "setcap",
        name: "verify-of-no-file",
        holds: |case| case.ours.err.contains("No such file"),
    },
    Difference {
        program: "setcap",
        name: "white-space-on-stdin",
        holds: |case| case.input == " \n",
    },
    Difference {
        program: "setcap",
        name: "empty-line-ends-stdin",
        holds: |case| case.input.contains("\n\n"),
    },
    Difference { program: "capsh", name: "output-before-exec", holds: output_before_exec },
    Difference { program: "capsh", name: "errors-on-stderr", holds: errors_on_stderr },
    Difference {
        program: "capsh",
        name: "what-the-kernel-lacks-is-absent",
        holds: |case| {
            case.ours.status == Some(1) && (case.has("--has-a=63") || case.has("--has-b=63"))
        },
    },
    Difference {
        program: "capsh",
        name: "numbers-are-whole",
        holds: |case| {
            case.ours.err.contains("non-negative integer") || case.ours.err.contains("hexadecimal")
        },
    },
    Difference {
        program: "capsh",
        name: "options-are-whole",
        holds: |case| case.ours.err.contains("there is no option"),
    },
    Difference {
        program: "capsh",
        name: "user-environment",
        holds: |case| case.ours.out.contains("HOME=/") && case.theirs.out.contains("HOME=\n"),
    },
    Difference {
        program: "capsh",
        name: "securebits-of-exec",
        holds: |case| case.ours.out.contains(" secure-exec-"),
    },
    Difference {
        program: "capsh",
        name: "explanations",
        holds: |case| case.args.concat().contains("explain"),
    },
];

/// What libcap's capsh has printed and not yet written is lost when it executes a program, and
/// comes behind the output of a program that is its child, or twice if that cannot be executed.
fn output_before_exec(case: &Case) -> bool {
    let (ours, theirs) = (&case.ours.out, &case.theirs.out);
    let lost = || ours.ends_with(theirs);
    let behind = || (0..ours.len()).any(|at| [&ours[at..], &ours[..at]].concat() == *theirs);
    let twice = || ours.repeat(2) == *theirs;
    let runs = |args: [&str; 2]| args.iter().any(|arg| case.has(arg));
    case.ours.status == case.theirs.status
        && (runs(["--", "=="]) && lost() || runs(["-+", "=+"]) && (behind() || twice()))
}

fn errors_on_stderr(case: &Case) -> bool {
    let errors = ["unsupported mode", "failed to set mode", "unrecognized command"];
    let without: String = case
        .theirs
        .out
        .split_inclusive('\n')
        .filter(|line| !errors.iter().any(|error| line.starts_with(error)))
        .collect();
    case.ours.status == case.theirs.status && case.ours.out == without
}

/// The installed 2.66 does not print yet which argument is no text of capabilities.
fn argument_line(case: &Case) -> bool {
    case.ours.status == case.theirs.status
        && case.ours.out.split_once("argument: ").is_some_and(|(out, _)| out == case.theirs.out)
}

/// In the installed 2.66, "all" and an assignment without a list reach numbers that the kernel
/// does not have.
fn all_is_what_the_kernel_has(case: &Case) -> bool {
    case.ours.err.is_empty()
        && ["41", "63"].iter().any(|number| case.args.concat().contains(number))
}

struct Difference {
    program: &'static str,
    name: &'static str,
    holds: fn(&Case) -> bool,
}

/// What a program did.
#[derive(Debug, PartialEq, Eq)]
struct Did {
    status: Option<i32>,
    out: String,
    /// What the files in the directory have, if they are there.
    files: [Option<FileCaps>; FILES.len()],
    /// Not compared: it is in words.
    err: String,
}

struct Case {
    args: Vec<String>,
    input: String,
    ours: Did,
    theirs: Did,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} <<< {:?}", self.args, self.input)?;
        for (whose, did) in [("ours", &self.ours), ("theirs", &self.theirs)] {
            writeln!(f, "  {whose}: {:?} {:?} {:?}", did.status, did.out, did.err)?;
        }
        if self.ours.files != self.theirs.files {
            writeln!(f, "  {:?}\n  {:?}", self.ours.files, self.theirs.files)?;
        }
        Ok(())
    }
}

impl Case {
    fn has(&self, arg: &str) -> bool {
        self.args.iter().any(|other| other == arg)
    }
}

/// Twin directories, and what came of the cases in them.
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

    /// Runs a case with both programs, sorted if the order of lines is nobody's promise.
    fn run(&mut self, program: &'static str, args: &[String], input: &str, sorted: bool) {
        let libcap = common::which(program).unwrap();
        let did = |mut command: Command, dir: &TempDir| {
            let mut child = command
                .args(args)
                .current_dir(dir.path())
                .env("LC_ALL", "C")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // It may have ended without reading it.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            let output = child.wait_with_output().unwrap();
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let mut out = text(&output.stdout);
            // The help is in everybody's own words.
            if let Some(at) = out.find("usage: ") {
                out.truncate(at);
            }
            if sorted {
                let mut lines: Vec<_> = out.lines().collect();
                lines.sort_unstable();
                out = lines.join("\n");
            }
            let files = FILES.map(|name| file::read(dir.path().join(name)).ok().flatten());
            Did { status: output.status.code(), out, files, err: text(&output.stderr) }
        };
        let ours = did(self::program(program), &self.ours);
        let theirs = did(Command::new(libcap), &self.theirs);
        let case = Case { args: args.to_vec(), input: input.to_owned(), ours, theirs };
        self.cases += 1;
        let did = |did: &Did| (did.status, did.out.clone(), did.files);
        if did(&case.ours) == did(&case.theirs) {
            return;
        }
        match DIFFERENCES.iter().find(|one| one.program == program && (one.holds)(&case)) {
            Some(difference) => *self.met.entry(difference.name).or_default() += 1,
            None => self.failures.push(format!("{program} {case}")),
        }
        // They are no twins any more.
        self.renew();
    }

    /// With the differences that are met: each has its reason in the page, and none is stale.
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

/// A generator of numbers, the same ones every time. (Marsaglia's xorshift64)
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

/// A text of the grammar, or nearly.
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
        twins.run("setcap", &args, "", false);
        twins.run("getcap", &words("-v f"), "", false);
        twins.run("setcap", &[&["-v".to_owned()], &args[..]].concat(), "", false);
    }
    twins.finish(2000, &["all-is-what-the-kernel-has", "argument-line", "effective-alone"]);
}

/// The files of which the capabilities are compared.
const FILES: [&str; 4] = ["f", "g", "h", "d/e"];

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
        twins.run("setcap", &args, "", false);
    }
    for line in ["", "-h", "-q", "-q -v", "-q -h", "cap_kill=p f -h", "f"] {
        twins.run("setcap", &words(line), "", false);
    }
    twins.finish(400, &["argument-line", "verify-of-no-file"]);
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
            twins.run("setcap", &words(line), input, false);
        }
        twins.run("getcap", &words("f g"), "", false);
    }
    twins.finish(70, &["argument-line", "empty-line-ends-stdin", "white-space-on-stdin"]);
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
        twins.run("getcap", &args, "", true);
    }
    for line in ["-h", "-z f", "-v -h", "-rz", "--"] {
        twins.run("getcap", &words(line), "", true);
    }
    twins.finish(300, &[]);
}

fn getpcaps_lines() {
    let mut random = Random(0x5851_f42d_4c95_7f2d);
    let mut twins = Twins::new();
    let before = CapState::current().unwrap();
    let mut children: Vec<Child> = [0, 1 << 5, 1 << 40 | 1]
        .map(|bits| {
            // What is inheritable stays so when root executes a program.
            let inheritable = CapSet::from_bits_retain(bits);
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
        twins.run("getpcaps", &args, "", false);
    }
    for line in ["", "--help", "-h", "--usage", "1 --help", "--verbose"] {
        twins.run("getpcaps", &words(line), "", false);
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    twins.finish(300, &[]);
}

/// Of `capsh`, what changes something or asks for something.
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

/// What is at the end, so that the outcome shows.
const ENDS: &[&str] = &["", "--print", "--current", "--", "-+", "==", "=+"];

const SCRIPT: &str =
    "echo HOME=$HOME; grep -E '^(Cap|NoNewPrivs|Uid|Gid|Groups)' /proc/self/status; exit 3";

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
        twins.run("capsh", &capsh_args(&mut random, STEPS), "", false);
    }
    for line in ["", "--help", "-h", "--print --help", "--quiet", "--", "-+", "==", "=+", "== ==="]
    {
        twins.run("capsh", &words(line), "", false);
    }
    twins.finish(
        2000,
        &[
            "errors-on-stderr",
            "explanations",
            "numbers-are-whole",
            "options-are-whole",
            "output-before-exec",
            "securebits-of-exec",
            "what-the-kernel-lacks-is-absent",
        ],
    );
}

/// Steps that seldom fail, where every user can be had.
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
        twins.run("capsh", &capsh_args(&mut random, &steps), "", false);
    }
    twins.finish(
        2000,
        &["errors-on-stderr", "numbers-are-whole", "options-are-whole", "securebits-of-exec"],
    );
}
