//! The programs that `capsh` runs.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::Command,
};

use super::{Capsh, DryRun, Escaped, Exit, Failure};

/// The program to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Shell,
    Itself,
    /// The program named by the next argument.
    Named,
}

/// The way to run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Execute it in this process.
    Exec,
    /// Run it in a child, and exit with its status.
    Child,
}

/// The default shell, and the one for systems without bash.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

impl Capsh<'_, '_> {
    /// Runs a program with the remaining arguments.
    pub(super) fn run(&mut self, program: Program, way: Way) -> Result<Exit, Failure> {
        let rest = &self.argv[self.next..];
        self.next = self.argv.len();
        if self.dry_run.is_some() {
            DryRun::at_the_end(self.io)?;
            if let Program::Itself = program {
                let rest = rest.iter().map(|word| Escaped(word.as_encoded_bytes()).to_string());
                let rest = rest.collect::<Vec<_>>().join(" ");
                writeln!(self.io.out, "    not followed: capsh {rest}")?;
            }
            return Ok(Exit::SUCCESS);
        }
        // Pending output precedes that of the program.
        self.io.out.flush()?;
        let result = match (program, &self.shell) {
            (Program::Itself, _) => self.start(self.itself(rest), way),
            (Program::Named, _) => match rest {
                [program, rest @ ..] => self.start(command(program, rest), way),
                [] => return Err(Failure::Words("no program given".into())),
            },
            (Program::Shell, Some(shell)) => self.start(command(here(shell), rest), way),
            (Program::Shell, None) => {
                let [first, second] = SHELLS.map(|shell| command(shell, rest));
                self.start(first, way).or_else(|err| match err.source.kind() {
                    io::ErrorKind::NotFound => self.start(second, way).map_err(|_| err),
                    _ => Err(err),
                })
            }
        };
        result.map_err(|NotStarted { program, source }| {
            let program = Escaped(program.as_encoded_bytes());
            Failure::Words(format!("cannot execute {program}: {}", super::chain(&source)))
        })?
    }

    /// Returns a command for this program, including its command name if it is `rcap capsh`.
    fn itself(&self, rest: &[OsString]) -> Command {
        let words: Vec<_> = env::args_os().collect();
        let name = &words[..=words.len().saturating_sub(self.argv.len())];
        let mut command = command(&name[0], &name[1..]);
        if self.argv.get(1).is_some_and(|first| first == "--quiet") {
            command.arg("--quiet");
        }
        command.args(rest);
        command
    }

    fn start(&self, mut command: Command, way: Way) -> Result<Result<Exit, Failure>, NotStarted> {
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let started = match way {
            Way::Exec => Err(command.exec()),
            Way::Child => command.spawn(),
        };
        let mut child = started.map_err(|source| {
            let program = command.get_program().to_owned();
            NotStarted { program, source }
        })?;
        Ok(child.wait().map_err(Failure::from).and_then(|status| match status.signal() {
            None => Ok(Exit(status.code().and_then(|code| code.try_into().ok()).unwrap_or(1))),
            Some(signal) => Err(Failure::Answer(format!(
                "child PID={} terminated by signo={signal}",
                child.id()
            ))),
        }))
    }
}

struct NotStarted {
    program: OsString,
    source: io::Error,
}

fn command(program: impl AsRef<std::ffi::OsStr>, args: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Returns a path that is not searched for in `PATH`.
fn here(path: &Path) -> std::path::PathBuf {
    if path.as_os_str().as_encoded_bytes().contains(&b'/') {
        path.into()
    } else {
        Path::new(".").join(path)
    }
}
