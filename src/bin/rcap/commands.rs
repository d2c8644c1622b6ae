//! The table of commands, from which dispatch, help, completions and the tests of the man pages are
//! derived.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::Path,
};

use clap::Command;

use rcap::tools::{
    Mistake, Stream, capsh, captree, did_you_mean, getcap, getpcaps, likeness, most_alike, setcap,
    table::{Table, fit, prose, prose_width},
};

use super::{
    Exit, Io,
    args::{self, Parsed},
    check, completions, decode, diff, explain, export,
    failure::Failure,
    harden, man, minimize, oci, report, restore, run, save, scan, suggest, trace, verify, why,
};

/// A command.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// The description, in one line.
    pub(crate) about: &'static str,
    kind: Kind,
    /// Whether it can change the machine or run programs, so that it is not suggested in place of a
    /// command that only reads.
    acts: bool,
    /// Synonyms, for suggestions.
    aliases: &'static [&'static str],
}

enum Kind {
    /// One of libcap's tools, which also exist as separate programs.
    Tool { run: fn(&[OsString], &mut Io<'_>) -> io::Result<Exit>, command: fn() -> Command },
    /// A command of rcap.
    Own {
        run: fn(&Entry, &[OsString], &mut Io<'_>) -> Result<Exit, Failure>,
        command: fn(&Entry) -> Command,
        /// The exit status of its failures, including a wrong command line.
        failure: Exit,
    },
}

/// A command that parses its arguments into a request and executes it.
macro_rules! own {
    ($name:literal, $about:literal, $request:ident, $act:expr, $failure:expr) => {
        Entry {
            name: $name,
            about: $about,
            kind: Kind::Own {
                run: |entry, argv, io| {
                    let command = entry.command().term_width(prose_width(io.out));
                    match args::parse::<args::$request>(command, argv)? {
                        Parsed::Request(request) => $act(&request, io),
                        Parsed::Help(text) => {
                            Ok(fit(&text.to_string(), io.out).map(|()| Exit::SUCCESS)?)
                        }
                    }
                },
                command: |entry| args::command::<args::$request>(entry.name, entry.about),
                failure: $failure,
            },
            acts: false,
            aliases: &[],
        }
    };
}

const fn tool(
    name: &'static str,
    about: &'static str,
    run: fn(&[OsString], &mut Io<'_>) -> io::Result<Exit>,
    command: fn() -> Command,
) -> Entry {
    Entry { name, about, kind: Kind::Tool { run, command }, acts: false, aliases: &[] }
}

/// The failure status of commands that run a program, whose own status has the lower numbers.
const AROUND_A_PROGRAM: Exit = Exit::OWN_FAILURE;
const FAILED: Exit = Exit::FAILED;

/// A group of commands with a heading in the help.
struct Group {
    heading: &'static str,
    entries: &'static [Entry],
}

/// All commands, in the groups of the help.
#[rustfmt::skip]
const GROUPS: &[Group] = &[
    Group { heading: "Look", entries: &[
        tool("getcap", "Print the capabilities of files", getcap::run, getcap::command)
            .also(&["find", "file", "files", "list"]),
        tool("getpcaps", "Print the capabilities of processes", getpcaps::run, getpcaps::command)
            .also(&["ps", "process", "processes"]),
        tool("captree", "Print the tree of processes with their capabilities", captree::run, captree::command)
            .also(&["tree", "pstree"]),
        own!("scan", "List what holds power: files, processes, sockets, containers", ScanRequest, scan::run, FAILED)
            .also(&["audit", "inventory"]),
        own!("check", "Check settings, units and processes against a policy", CheckRequest, check::run, FAILED)
            .also(&["policy", "lint"]),
    ]},
    Group { heading: "Change", entries: &[
        tool("setcap", "Set, verify or remove the capabilities of files", setcap::run, setcap::command)
            .acting(),
        own!("save", "Save the capabilities of files as a text", SaveRequest, save::run, FAILED)
            .also(&["backup", "dump"]),
        own!("restore", "Put back the capabilities of files that `rcap save` wrote", RestoreRequest, restore::run, FAILED)
            .acting(),
    ]},
    Group { heading: "Run", entries: &[
        own!("run", "Run a program with exactly the capabilities you name", RunRequest, run::run, AROUND_A_PROGRAM)
            .acting(),
        tool("capsh", "Change privileges step by step, then run a program", capsh::run, capsh::command)
            .acting(),
    ]},
    Group { heading: "Measure", entries: &[
        own!("trace", "Record the capabilities that a program asks the kernel for", TraceRequest, trace::run, AROUND_A_PROGRAM)
            .also(&["record", "strace", "capable", "measure"]),
        own!("minimize", "Find the smallest set that a program works with, by running it", MinimizeRequest, minimize::run, AROUND_A_PROGRAM)
            .also(&["minimise", "minimum", "min", "shrink", "reduce"]),
        own!("harden", "Find the protections of systemd that a service works with, by restarting it", HardenRequest, harden::run, AROUND_A_PROGRAM)
            .also(&["sandbox", "secure", "protect"]),
        own!("verify", "Run with exactly what the settings give, and say what is too little or too much", VerifyRequest, verify::run, AROUND_A_PROGRAM)
            .also(&["prove", "test", "assert"]),
        own!("report", "Merge the reports of several recordings", ReportRequest, report::run, FAILED)
            .also(&["merge", "show"]),
    ]},
    Group { heading: "Explain", entries: &[
        own!("why", "Explain which capabilities a program would get, and why not more", WhyRequest, why::run, FAILED)
            .also(&["why-not", "whynot"]),
        own!("explain", "Describe a capability, and what it is worth to an attacker", ExplainRequest, explain::run, FAILED)
            .also(&["describe", "info", "about"]),
        own!("suggest", "Suggest the capabilities for a task, in your own words", SuggestRequest, suggest::run, FAILED)
            .also(&["ask", "search", "need", "needs"]),
    ]},
    Group { heading: "Deliver", entries: &[
        own!("export", "Write settings for Docker, Kubernetes, systemd and others", ExportRequest, export::run, FAILED)
            .also(&["deploy", "convert", "generate", "write", "import"]),
        own!("diff", "Compare two sources of settings", DiffRequest, diff::run, FAILED)
            .also(&["compare", "cmp"]),
    ]},
    Group { heading: PLUMBING, entries: &[
        own!("decode", "Convert capability masks to names, and back", DecodeRequest, decode::run, FAILED)
            .also(&["encode", "mask"]),
        own!("completions", "Write the completions of a shell", CompletionsRequest, completions::run, FAILED)
            .also(&["completion", "complete"]),
        own!("man", "Show the man page of a command", ManRequest, man::run, FAILED)
            .also(&["manual", "page"]),
        own!("oci-hook", "Record a container from its start, as a hook of its runtime", HookRequest, oci::hook, FAILED),
        own!("oci-runtime", "Run an OCI runtime and record its containers, for the Docker daemon", RuntimeRequest, oci::runtime, AROUND_A_PROGRAM),
    ]},
];

/// The group of commands that programs and scripts use.
const PLUMBING: &str = "Plumbing";

impl Entry {
    const fn acting(self) -> Entry {
        Entry { acts: true, ..self }
    }

    const fn also(self, aliases: &'static [&'static str]) -> Entry {
        Entry { aliases, ..self }
    }

    /// Returns the command line, for help and completions.
    pub(crate) fn command(&self) -> Command {
        match self.kind {
            Kind::Tool { command, .. } => command().about(self.about),
            Kind::Own { command, .. } => command(self),
        }
    }

    /// Returns whether it is one of libcap's tools.
    pub(crate) fn is_tool(&self) -> bool {
        matches!(self.kind, Kind::Tool { .. })
    }

    /// Runs the command with its arguments, of which the first is its name.
    fn run(&self, argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
        match self.kind {
            Kind::Tool { run, .. } => run(argv, io),
            Kind::Own { run, failure: own, .. } => {
                io.unwritten = own;
                let result = run(self, argv, io);
                finish(&format!("rcap {}", self.name), own, result, io)
            }
        }
    }
}

/// Returns the exit status of a command's result, and prints the message of a failure.
fn finish(
    name: &str,
    own: Exit,
    result: Result<Exit, Failure>,
    io: &mut Io<'_>,
) -> io::Result<Exit> {
    let failure = match result {
        Ok(exit) => return Ok(exit),
        Err(Failure::Output(err)) => return Err(err),
        Err(failure) => failure,
    };
    io.out.flush()?;
    io.complain(name, &failure)?;
    if let Some(hint) = failure.hint() {
        fit(hint, io.err)?;
    }
    if matches!(failure, Failure::Usage(_)) {
        writeln!(io.err, "`{name} --help` lists the options.")?;
    }
    Ok(failure.exit(own))
}

/// Returns every command, in the order of the help.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    GROUPS.iter().flat_map(|group| group.entries)
}

/// Runs the command named by the program's name or by the first argument.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    if let Some(exit) = minimize::init(argv) {
        return Ok(exit);
    }
    if let Some(entry) = argv.first().and_then(|path| find(Path::new(path).file_name()?)) {
        return entry.run(argv, io);
    }
    let args = argv.get(1..).unwrap_or_default();
    if !args.first().and_then(|name| find(name)).is_some_and(Entry::is_tool) {
        io.unwritten = Exit::FAILED;
    }
    let result = rcap(args, io);
    finish("rcap", Exit::FAILED, result, io)
}

fn find(name: &OsStr) -> Option<&'static Entry> {
    all().find(|entry| name == entry.name)
}

/// Runs `rcap` with these arguments.
fn rcap(args: &[OsString], io: &mut Io<'_>) -> Result<Exit, Failure> {
    let Some(first) = args.first() else {
        help(io.err)?;
        return Ok(Exit::FAILED);
    };
    if let Some(entry) = find(first) {
        return Ok(match &args[1..] {
            [only] if only == "--version" => version(io)?,
            _ => entry.run(args, io)?,
        });
    }
    match (first.to_str().unwrap_or_default(), &args[1..]) {
        ("-V" | "--version", []) => Ok(version(io)?),
        ("-h" | "--help" | "help", []) => {
            help(io.out)?;
            Ok(Exit::SUCCESS)
        }
        ("help", [name]) => match find(name) {
            Some(entry) => Ok(entry.run(&[name.clone(), "--help".into()], io)?),
            None => Err(unknown(name).into()),
        },
        ("-h" | "--help" | "-V" | "--version" | "help", [.., last]) => {
            Err(Mistake::new(format!("unexpected argument {}", last.display())).into())
        }
        _ => Err(unknown(first).into()),
    }
}

/// Returns the error of an unknown command.
fn unknown(word: &OsStr) -> Mistake {
    let shown = word.display();
    if word.as_encoded_bytes().starts_with(b"-") {
        return Mistake::new(format!("unknown option {shown}"));
    }
    let meant = did_you_mean(word.to_str().and_then(meant));
    Mistake::new(format!("unknown command {shown}{meant}"))
}

/// Returns the command that a word may have meant. A command that changes something is suggested
/// only if no reading command is similarly close.
fn meant(word: &str) -> Option<&'static str> {
    const ALIKE: f64 = 0.85;
    const ALIAS: f64 = 0.9;
    /// The additional similarity that a command which changes something needs.
    const MARGIN: f64 = 0.1;
    let word = word.to_lowercase();
    let aliases = all().flat_map(|entry| entry.aliases.iter().map(|alias| (*alias, entry.name)));
    if let Some(name) = most_alike(&word, aliases, ALIAS) {
        return Some(name);
    }
    let names = |acts| all().filter(move |entry| entry.acts == acts).map(|entry| entry.name);
    let best = |acts| {
        let rated = names(acts).map(|name| (likeness(&word, name), name));
        rated.filter(|(rate, _)| *rate > ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b))
    };
    match (best(false), best(true)) {
        (Some((looks, _)), Some((acts, name))) if acts > looks + MARGIN => Some(name),
        (Some((_, name)), _) | (None, Some((_, name))) => Some(name),
        (None, None) => None,
    }
}

fn version(io: &mut Io<'_>) -> io::Result<Exit> {
    writeln!(io.out, "rcap {}", env!("CARGO_PKG_VERSION"))?;
    Ok(Exit::SUCCESS)
}

/// Prints the help of rcap itself.
fn help(out: &mut Stream) -> io::Result<()> {
    prose(0, ABOUT, out)?;
    writeln!(out, "\nUsage: rcap COMMAND [ARGUMENT]...\n       rcap help COMMAND\n")?;
    for Group { heading, entries } in GROUPS {
        if *heading == PLUMBING {
            let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
            prose(0, &format!("{heading}: {}", names.join(", ")), out)?;
            continue;
        }
        writeln!(out, "{heading}:")?;
        let mut table = Table::new(2);
        for Entry { name, about, .. } in *entries {
            // The same width in every group.
            table.row(&[&format!("{name:<8}"), about]);
        }
        table.write(out)?;
    }
    writeln!(out, "\nOptions:")?;
    let mut table = Table::new(2);
    table.row(&[&"-h, --help", &"Print this help"]);
    table.row(&[&"-V, --version", &"Print the version; `rcap COMMAND --version` too"]);
    table.write(out)
}

const ABOUT: &str = "See and change Linux capabilities, and find the ones that a program needs.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_are_meant() {
        #[rustfmt::skip]
        let rows = [
            ("trcae",     Some("trace")),
            ("Trace",     Some("trace")),
            ("minimise",  Some("minimize")),
            ("deploy",    Some("export")),
            ("deplyo",    Some("export")),
            ("find",      Some("getcap")),
            ("expalin",   Some("explain")),
            ("getcaps",   Some("getcap")),
            ("getpcap",   Some("getpcaps")),
            // Both are equally close.
            ("etcap",     Some("getcap")),
            ("xetcap",    Some("getcap")),
            ("setcpa",    Some("setcap")),
            ("stcap",     Some("setcap")),
            ("runn",      Some("run")),
            ("compose",   None),
            ("chown",     None),
            ("x",         None),
            ("",          None),
        ];
        for (word, want) in rows {
            assert_eq!(meant(word), want, "{word}");
        }
    }

    #[test]
    fn every_command_line_is_sound() {
        for entry in all() {
            entry.command().debug_assert();
        }
    }

    /// The man page and the code have the same table.
    #[test]
    fn exit_statuses() {
        let page = include_str!("../../../man/rcap.1");
        let table = page.split(".Sh EXIT STATUS").nth(1).unwrap().split(".Sh ").next().unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix(".It "));
        let statuses: Vec<u8> =
            rows.filter_map(|row| row.split(' ').next()?.parse().ok()).collect();
        let own = [
            Exit::SUCCESS,
            Exit::NO,
            Exit::FAILED,
            Exit::OWN_FAILURE,
            Exit::CANNOT_EXECUTE,
            Exit::NOT_FOUND,
            Exit::INTERRUPTED,
        ];
        assert_eq!(statuses, own.map(|exit| exit.0));
    }
}
