//! `rcap completions`: prints or installs shell completions.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    io::Write,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use clap::{Command, ValueHint, builder::PossibleValuesParser, value_parser};
use clap_complete::Shell;
use nix::unistd::geteuid;

use rcap::{
    Cap, Op, knowledge,
    settings::{Format, Profile},
    tools::Mistake,
    trace::Backend,
};

use super::{
    Escaped, Exit, Io, args::CompletionsRequest, commands, failure::Failure, new_file::Target,
};

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &CompletionsRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let program = request.program.as_deref().unwrap_or("rcap");
    let tool = commands::all().find(|entry| entry.is_tool() && entry.name == program);
    let mut command = tool.map_or_else(everything, |tool| completing(tool.command()));
    let mut script = Vec::new();
    clap_complete::generate(request.shell, &mut command, program, &mut script);
    let script = asking(request.shell, &String::from_utf8_lossy(&script));
    if request.install {
        install(request.shell, program, &script, io)?;
    } else {
        io.out.write_all(script.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}

/// Values that the shell asks for when it completes them: a placeholder in the script, and the
/// command that prints them. The quotes of all three shells leave these commands as they are.
const ASKED: [(&str, &str); 3] = [
    ("@UNITS@", "systemctl list-units --all --plain --no-legend 2>/dev/null | cut -d\\  -f1"),
    (
        "@USER_UNITS@",
        "systemctl --user list-units --all --plain --no-legend 2>/dev/null | cut -d\\  -f1",
    ),
    (
        "@CONTAINERS@",
        "docker ps --format {{.Names}} 2>/dev/null; podman ps --format {{.Names}} 2>/dev/null",
    ),
];

/// Replaces the placeholders in a script.
fn asking(shell: Shell, script: &str) -> String {
    ASKED.iter().fold(script.to_owned(), |script, (placeholder, command)| match shell {
        Shell::Zsh => {
            script.replace(&format!("({placeholder})"), &format!("{{compadd -- $({command})}}"))
        }
        Shell::Fish => script.replace(&format!("{placeholder}\\t''"), &format!("({command})")),
        _ => script.replace(placeholder, &format!("$({command})")),
    })
}

/// Writes the script for all users, or for the calling user.
fn install(shell: Shell, program: &str, script: &str, io: &mut Io<'_>) -> Result<(), Failure> {
    let path = place(shell, program, geteuid().is_root(), |name| env::var_os(name))
        .ok_or_else(|| Mistake::new("--install needs HOME".to_owned()))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(|err| Op::Write.on(directory, err))?;
    Target::new(&path)?.publish(script.as_bytes())?;
    writeln!(io.out, "{}", Escaped(path.as_os_str().as_bytes()))?;
    if shell == Shell::Zsh && !geteuid().is_root() {
        writeln!(
            io.err,
            "Add to ~/.zshrc, before compinit: fpath=({} $fpath)",
            Escaped(directory.as_os_str().as_bytes())
        )?;
    }
    Ok(())
}

/// Returns the file in which a shell looks for the completions of a program: for all users, or for
/// the user of the environment.
fn place(
    shell: Shell,
    program: &str,
    is_root: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let below_home = |name: &str, otherwise: &str| {
        let set = variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = variable("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        set.or_else(|| home.map(|home| home.join(otherwise)))
    };
    let data = || {
        if is_root {
            Some(PathBuf::from("/usr/local/share"))
        } else {
            below_home("XDG_DATA_HOME", ".local/share")
        }
    };
    Some(match shell {
        Shell::Zsh => data()?.join("zsh/site-functions").join(format!("_{program}")),
        Shell::Fish if is_root => {
            data()?.join("fish/vendor_completions.d").join(format!("{program}.fish"))
        }
        Shell::Fish => below_home("XDG_CONFIG_HOME", ".config")?
            .join("fish/completions")
            .join(format!("{program}.fish")),
        _ => data()?.join("bash-completion/completions").join(program),
    })
}

/// Returns the command line of rcap with all commands.
fn everything() -> Command {
    let commands = commands::all().map(|entry| completing(entry.command()));
    Command::new("rcap").version(env!("CARGO_PKG_VERSION")).subcommands(commands)
}

/// Returns the same command with completions for its values. This is only for completing: it
/// accepts less than the command itself, for example one name instead of a list.
fn completing(command: Command) -> Command {
    let names = |names: &[&'static str]| PossibleValuesParser::new(names.to_vec());
    let command_name = command.get_name().to_owned();
    command.mut_args(|arg| {
        if !arg.get_action().takes_values() {
            return arg;
        }
        match arg.get_id().as_str() {
            "unit" => return arg.value_parser(names(&["@UNITS@"])),
            "user_unit" => return arg.value_parser(names(&["@USER_UNITS@"])),
            "container" if !matches!(&*command_name, "minimize" | "verify") => {
                return arg.value_parser(names(&["@CONTAINERS@"]));
            }
            "syscall" => {
                return arg.value_parser(known(|uses| {
                    uses.system_calls.iter().map(|(name, _)| *name).collect()
                }));
            }
            "program" if command_name == "explain" => {
                return arg.value_parser(known(|uses| uses.programs.to_vec()));
            }
            _ => {}
        }
        let value = arg.get_value_names().and_then(|names| names.first().map(ToString::to_string));
        let value = value.unwrap_or_else(|| arg.get_id().to_string());
        match value.as_str() {
            "CAPS" | "CAP" => {
                let caps = Cap::ALL.iter().filter_map(|cap| cap.name());
                let short = caps.clone().filter_map(|name| name.strip_prefix("cap_"));
                arg.value_parser(PossibleValuesParser::new(caps.chain(short).chain(["all"])))
            }
            "FORMAT" => arg.value_parser(names(&Format::ALL.map(Format::name))),
            "PROFILE" => arg.value_parser(names(&Profile::ALL.map(Profile::name))),
            "BACKEND" => arg.value_parser(names(&Backend::ALL.map(Backend::name))),
            "USER" => arg.value_hint(ValueHint::Username),
            "DIR" | "DIRECTORY" => arg.value_hint(ValueHint::DirPath),
            "FILE" | "PATH" | "SOURCE" => arg.value_hint(ValueHint::AnyPath),
            "PROGRAM" => {
                arg.value_parser(value_parser!(OsString)).value_hint(ValueHint::CommandName)
            }
            _ => arg,
        }
    })
}

/// Returns the names in what is known about all capabilities.
fn known(of: impl Fn(&knowledge::Use) -> Vec<&'static str>) -> PossibleValuesParser {
    let uses = Cap::ALL.iter().filter_map(|cap| knowledge::uses(*cap));
    PossibleValuesParser::new(uses.flat_map(of).collect::<BTreeSet<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let home = |name: &str| (name == "HOME").then(|| "/home/u".into());
        let data =
            |name: &str| Some(if name == "XDG_DATA_HOME" { "/d".into() } else { "/c".into() });
        #[rustfmt::skip]
        let rows = [
            (Shell::Bash, "/usr/local/share/bash-completion/completions/x", "/home/u/.local/share/bash-completion/completions/x", "/d/bash-completion/completions/x"),
            (Shell::Zsh, "/usr/local/share/zsh/site-functions/_x", "/home/u/.local/share/zsh/site-functions/_x", "/d/zsh/site-functions/_x"),
            (Shell::Fish, "/usr/local/share/fish/vendor_completions.d/x.fish", "/home/u/.config/fish/completions/x.fish", "/c/fish/completions/x.fish"),
        ];
        for (shell, root, user, set) in rows {
            assert_eq!(place(shell, "x", true, data), Some(root.into()));
            assert_eq!(place(shell, "x", false, home), Some(user.into()));
            assert_eq!(place(shell, "x", false, data), Some(set.into()));
            assert_eq!(place(shell, "x", false, |_| None), None);
            assert_eq!(place(shell, "x", false, |_| Some("relative".into())), None);
        }
    }

    #[test]
    fn every_command_is_sound() {
        everything().debug_assert();
        for entry in commands::all() {
            completing(entry.command()).debug_assert();
        }
    }
}
