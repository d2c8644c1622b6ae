//! `rcap`: every command in one program, by the first argument or by the name that it is called
//! under.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::Path,
};

use clap::Command;

use super::{
    Applet, Exit, Io, capsh, captree, completions, decode, deploy, diff, explain, getcap, getpcaps,
    minimize, oci, report, run, setcap, suggest, trace, why,
};

/// Every command, in the groups of the help.
#[rustfmt::skip]
pub(super) const GROUPS: &[(&str, &[Applet])] = &[
    ("Look", &[
        applet("getcap", "Print the capabilities of files", getcap::run, getcap::command),
        applet("getpcaps", "Print the capabilities of processes", getpcaps::run, completions::getpcaps),
        applet("captree", "Draw processes and threads as a tree, with their capabilities", captree::run, completions::captree),
        applet("decode", "Print the capabilities in a mask, or the mask of capabilities", decode::run, decode::command),
        applet("explain", "Say what a capability permits, and what it is worth to an attacker", explain::run, explain::command),
        applet("suggest", "Say which capabilities something may take, in your own words", suggest::run, suggest::command),
        applet("why", "Say what executing a program would give it, and what not", why::run, why::command),
    ]),
    ("Change", &[
        applet("setcap", "Set, check or remove the capabilities of files", setcap::run, completions::setcap),
    ]),
    ("Run", &[
        applet("run", "Run a program with exactly the capabilities that are named", run::run, run::command),
        applet("capsh", "Change the privileges of a process step by step, and run a program", capsh::run, completions::capsh),
    ]),
    ("Measure", &[
        applet("trace", "Record which capabilities a program really asks the kernel for", trace::run, trace::command),
        applet("minimize", "Find the fewest that a program needs, by running it with fewer", minimize::run, minimize::command),
        applet("report", "Merge what several runs of `rcap trace` have saved", report::run, report::command),
        applet("oci-hook", "Record a container from its start, as a hook of its runtime", oci::hook, || Command::new("oci-hook")),
        applet("oci-runtime", "Call an OCI runtime with that hook, for the daemon of Docker", oci::runtime, || Command::new("oci-runtime")),
    ]),
    ("Deliver", &[
        applet("deploy", "Write the settings for Docker, Kubernetes, systemd and others", deploy::run, deploy::command),
        applet("diff", "Say what one source of settings has that another lacks", diff::run, diff::command),
        applet("completions", "Write what completes these commands in bash, zsh or fish", completions::run, completions::command),
    ]),
];

const fn applet(
    name: &'static str,
    about: &'static str,
    run: fn(&[OsString], &mut Io<'_>) -> io::Result<Exit>,
    command: fn() -> Command,
) -> Applet {
    Applet { name, about, run, command }
}

/// # Errors
///
/// Writing to the standard streams.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let called = argv.first().and_then(find);
    if let Some(applet) = called {
        return (applet.run)(argv, io);
    }
    if let Some(applet) = argv.get(1).and_then(find) {
        return (applet.run)(&argv[1..], io);
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

fn find(name: &OsString) -> Option<&'static Applet> {
    let name = Path::new(name).file_name()?;
    GROUPS.iter().flat_map(|(_, applets)| *applets).find(|applet| name == applet.name)
}

/// For the help and for what is no command.
fn command() -> Command {
    let line = |applet: &Applet| format!("  {:<11} {}\n", applet.name, applet.about);
    let group = |(group, applets): &(&str, &[Applet])| {
        format!("{group}:\n{}", applets.iter().map(line).collect::<String>())
    };
    let list: String = GROUPS.iter().map(group).collect();
    let commands = GROUPS.iter().flat_map(|(_, applets)| *applets);
    Command::new("rcap")
        .about("Linux capabilities: see them, change them, and find out which ones a program needs")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(commands.map(|applet| Command::new(applet.name).about(applet.about)))
        .disable_help_subcommand(true)
        .help_template("{about}\n\n{usage-heading} {usage}\n\n{after-help}\nOptions:\n{options}\n")
        .override_usage("rcap COMMAND [ARGUMENT]...")
        .after_help(format!(
            "{list}\nA link to rcap that has the name of a command is that command.\n\
             `rcap COMMAND --help` explains one; `man rcap` has the rest.\n"
        ))
}
