//! The table of commands: dispatch, help and completions are made from it.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::Path,
};

use clap::Command;

use rcap::tools::{capsh, captree, getcap, getpcaps, setcap};

use super::{
    Exit, Io, completions, decode, diff, explain, export, minimize, oci, report, restore, run,
    save, scan, suggest, trace, why,
};

/// One command.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// One line that says what it is for.
    pub(crate) about: &'static str,
    /// Runs it with its arguments, of which the first is its name.
    run: fn(&[OsString], &mut Io<'_>) -> io::Result<Exit>,
    /// Returns its options.
    pub(crate) command: fn() -> Command,
    /// Whether it is one of libcap's tools, which are programs of their own too.
    pub(crate) is_tool: bool,
}

/// Every command, in the groups of the help.
#[rustfmt::skip]
const GROUPS: &[(&str, &[Entry])] = &[
    ("Look", &[
        tool("getcap", "Print the capabilities of files", getcap::run, getcap::command),
        tool("getpcaps", "Print the capabilities of processes", getpcaps::run, getpcaps::command),
        tool("captree", "Draw processes and threads as a tree, with their capabilities", captree::run, captree::command),
        entry("scan", "List what holds power: files, processes, sockets, containers", scan::run, scan::command),
        entry("decode", "Print the capabilities in a mask, or the mask of capabilities", decode::run, decode::command),
        entry("explain", "Say what a capability permits, and what it is worth to an attacker", explain::run, explain::command),
        entry("suggest", "Say which capabilities something may take, in your own words", suggest::run, suggest::command),
        entry("why", "Say what executing a program would give it, and what not", why::run, why::command),
    ]),
    ("Change", &[
        tool("setcap", "Set, check or remove the capabilities of files", setcap::run, setcap::command),
        entry("save", "Save the capabilities of files as a text", save::run, save::command),
        entry("restore", "Put back the capabilities of files that rcap save wrote", restore::run, restore::command),
    ]),
    ("Run", &[
        entry("run", "Run a program with exactly the capabilities that are named", run::run, run::command),
        tool("capsh", "Change the privileges of a process step by step, and run a program", capsh::run, capsh::command),
    ]),
    ("Measure", &[
        entry("trace", "Record which capabilities a program really asks the kernel for", trace::run, trace::command),
        entry("minimize", "Find the fewest that a program needs, by running it with fewer", minimize::run, minimize::command),
        entry("report", "Merge what several runs of `rcap trace` have saved", report::run, report::command),
        entry("oci-hook", "Record a container from its start, as a hook of its runtime", oci::hook, || Command::new("oci-hook")),
        entry("oci-runtime", "Call an OCI runtime with that hook, for the daemon of Docker", oci::runtime, || Command::new("oci-runtime")),
    ]),
    ("Deliver", &[
        entry("export", "Write the settings for Docker, Kubernetes, systemd and others", export::run, export::command),
        entry("diff", "Say what one source of settings has that another lacks", diff::run, diff::command),
        entry("completions", "Write what completes these commands in bash, zsh or fish", completions::run, completions::command),
    ]),
];

const fn entry(
    name: &'static str,
    about: &'static str,
    run: fn(&[OsString], &mut Io<'_>) -> io::Result<Exit>,
    command: fn() -> Command,
) -> Entry {
    Entry { name, about, run, command, is_tool: false }
}

const fn tool(
    name: &'static str,
    about: &'static str,
    run: fn(&[OsString], &mut Io<'_>) -> io::Result<Exit>,
    command: fn() -> Command,
) -> Entry {
    Entry { name, about, run, command, is_tool: true }
}

/// Returns every command, in the order of the help.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    GROUPS.iter().flat_map(|(_, entries)| *entries)
}

/// Runs the command that the name of the program or the first argument says.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    if let Some(entry) = argv.first().and_then(find) {
        return (entry.run)(argv, io);
    }
    if let Some(entry) = argv.get(1).and_then(find) {
        return (entry.run)(&argv[1..], io);
    }
    // What is left is --help, --version, nothing, or a mistake.
    let (result, failure) = match command().try_get_matches_from(argv) {
        Ok(_) => (command().render_help().to_string(), true),
        Err(err) => (err.to_string(), err.use_stderr()),
    };
    if failure {
        write!(io.err, "{result}")?;
        return Ok(Exit::FAILURE);
    }
    write!(io.out, "{result}")?;
    Ok(Exit::SUCCESS)
}

fn find(name: &OsString) -> Option<&'static Entry> {
    let name = Path::new(name).file_name()?;
    all().find(|entry| name == entry.name)
}

/// Returns `rcap` itself, for its help and for mistakes.
fn command() -> Command {
    let line = |entry: &Entry| format!("  {:<11} {}\n", entry.name, entry.about);
    let group = |(group, entries): &(&str, &[Entry])| {
        format!("{group}:\n{}", entries.iter().map(line).collect::<String>())
    };
    let list: String = GROUPS.iter().map(group).collect();
    Command::new("rcap")
        .about("Linux capabilities: see them, change them, and find out which ones a program needs")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(all().map(|entry| Command::new(entry.name).about(entry.about)))
        .disable_help_subcommand(true)
        .help_template("{about}\n\n{usage-heading} {usage}\n\n{after-help}\nOptions:\n{options}\n")
        .override_usage("rcap COMMAND [ARGUMENT]...")
        .after_help(format!(
            "{list}\nA link to rcap that has the name of a command is that command.\n\
             `rcap COMMAND --help` explains one; `man rcap` has the rest.\n"
        ))
}
