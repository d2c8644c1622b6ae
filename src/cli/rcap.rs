//! `rcap`: every command in one program, by the first argument or by the name that it is called
//! under.

use std::{ffi::OsString, io, path::Path};

use clap::Command;

use super::{
    Applet, Exit, Io, capsh, captree, decode, deploy, diff, explain, getcap, getpcaps, minimize,
    oci, report, run, setcap, trace, why,
};

/// Every command, in the groups of the help.
const GROUPS: &[(&str, &[Applet])] = &[
    (
        "Look",
        &[
            Applet { name: "getcap", about: "Print the capabilities of files", run: getcap::run },
            Applet {
                name: "getpcaps",
                about: "Print the capabilities of processes",
                run: getpcaps::run,
            },
            Applet {
                name: "captree",
                about: "Draw processes and threads as a tree, with their capabilities",
                run: captree::run,
            },
            Applet {
                name: "decode",
                about: "Print the capabilities in a mask, or the mask of capabilities",
                run: decode::run,
            },
            Applet {
                name: "explain",
                about: "Say what a capability permits, and what it is worth to an attacker",
                run: explain::run,
            },
            Applet {
                name: "why",
                about: "Say what executing a program would give it, and what takes the rest away",
                run: why::run,
            },
        ],
    ),
    (
        "Change",
        &[Applet {
            name: "setcap",
            about: "Set, check or remove the capabilities of files",
            run: setcap::run,
        }],
    ),
    (
        "Measure",
        &[
            Applet {
                name: "trace",
                about: "Record which capabilities a program really asks the kernel for",
                run: trace::run,
            },
            Applet {
                name: "minimize",
                about: "Find the fewest capabilities that a program needs, by running it with fewer",
                run: minimize::run,
            },
            Applet {
                name: "report",
                about: "Merge what several runs of `rcap trace` have saved",
                run: report::run,
            },
            Applet {
                name: "oci-hook",
                about: "Record a container from its start, as a hook of its runtime",
                run: oci::hook,
            },
            Applet {
                name: "oci-runtime",
                about: "Call an OCI runtime with that hook, for the daemon of Docker",
                run: oci::runtime,
            },
        ],
    ),
    (
        "Run",
        &[
            Applet {
                name: "run",
                about: "Run a program with exactly the capabilities that are named",
                run: run::run,
            },
            Applet {
                name: "capsh",
                about: "Change the privileges of a process step by step, and run a program",
                run: capsh::run,
            },
        ],
    ),
    (
        "Deliver",
        &[
            Applet {
                name: "deploy",
                about: "Write the settings for Docker, Kubernetes, systemd and others",
                run: deploy::run,
            },
            Applet {
                name: "diff",
                about: "Say what one source of settings has that another lacks",
                run: diff::run,
            },
        ],
    ),
];

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
        .about("Linux capabilities: look at them, change them")
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
