//! `capsh`: applies each argument to itself, in order, and can then run a program.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    path::PathBuf,
    thread,
    time::Duration,
};

use super::{
    Escaped, Exit, Io, chain,
    mistake::meant_option,
    options,
    table::{Table, fit},
};
use crate::{
    CapSet, CapState, Iab, Mode, ambient, bounding, knowledge,
    launch::{Forked, Launcher},
    no_new_privs,
};

mod args;
mod change;
mod dry_run;
mod refusal;
mod run;
mod snapshot;

use args::{Action, Adjust, Named, OPTIONS, Opt, Set, Show, Test, find};
use dry_run::DryRun;
use snapshot::Snapshot;

/// The result of an argument: the exit status if the program is done.
type Step = Result<Option<Exit>, Failure>;

/// The reason for which an argument ends the program.
#[derive(Debug)]
enum Failure {
    /// A message about the argument.
    Words(String),
    /// A message about its value, which no privilege would make valid.
    Value(String),
    /// The answer to a test, printed alone.
    Answer(String),
    /// The answer to `--inmode=`, which libcap prints to standard output.
    Mismatch(String),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Failure {
        Failure::Io(err)
    }
}

impl From<crate::Error> for Failure {
    fn from(err: crate::Error) -> Failure {
        match err {
            crate::Error::Parse(err) => err.into(),
            err => Failure::Words(chain(&err)),
        }
    }
}

impl From<crate::ParseError> for Failure {
    fn from(err: crate::ParseError) -> Failure {
        Failure::Value(err.to_string())
    }
}

struct Capsh<'a, 'b> {
    io: &'a mut Io<'b>,
    /// All arguments, starting with the name of the program.
    argv: &'a [OsString],
    /// The index of the next argument.
    next: usize,
    strict: bool,
    json: bool,
    noenv: bool,
    shell: Option<PathBuf>,
    /// The variables that `--user` has set.
    environment: Vec<(&'static str, PathBuf)>,
    /// The child of `--forkfor`.
    child: Option<Forked>,
    dry_run: Option<DryRun>,
}

/// Returns the options as a clap command, for completions.
#[must_use]
pub fn command() -> clap::Command {
    // Arguments after `--` and the like belong to the shell.
    let is_option = |option: &&Opt| option.name.starts_with("--") && option.name.len() > 2;
    let rows = OPTIONS.iter().filter(is_option);
    options::by_rows("capsh", rows.map(|option| (option.name, option.value, option.about)))
}

/// Runs the program.
///
/// # Errors
///
/// Writing to the standard streams failed.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let mut capsh = Capsh {
        io,
        argv,
        next: 1,
        strict: false,
        json: false,
        noenv: false,
        shell: None,
        environment: Vec::new(),
        child: None,
        dry_run: None,
    };
    if argv.len() > 1 && argv[1] != "--quiet" {
        capsh.warn_of_unnamed()?;
    }
    while let Some(arg) = argv.get(capsh.next) {
        capsh.next += 1;
        if let Some(exit) = capsh.argument(arg)? {
            return Ok(exit);
        }
    }
    Ok(Exit::SUCCESS)
}

impl Capsh<'_, '_> {
    /// Processes one argument. Returns the exit status if the program is done.
    fn argument(&mut self, arg: &OsStr) -> io::Result<Option<Exit>> {
        let Some((option, value)) = find(arg) else {
            self.io.out.flush()?;
            self.unknown(arg)?;
            self.usage()?;
            return Ok(Some(Exit::FAILURE));
        };
        let step = option.parse(value).and_then(|action| self.act(action));
        let step = step.and_then(|exit| match &mut self.dry_run {
            Some(dry_run) if exit.is_none() => dry_run.after(arg, self.io),
            _ => Ok(exit),
        });
        if step.is_err() {
            // Pending output precedes the message.
            self.io.out.flush()?;
        }
        match step {
            Ok(exit) => return Ok(exit),
            Err(Failure::Io(err)) => return Err(err),
            Err(Failure::Mismatch(words)) => {
                writeln!(self.io.out, "{}", Escaped(words.as_bytes()))?;
            }
            Err(Failure::Answer(words)) => {
                writeln!(self.io.err, "{}", Escaped(words.as_bytes()))?;
            }
            Err(Failure::Value(words)) => {
                let [arg, words] = [arg.as_bytes(), words.as_bytes()].map(Escaped);
                writeln!(self.io.err, "capsh: {arg}: {words}")?;
            }
            Err(Failure::Words(words)) => {
                let [arg, words] = [arg.as_bytes(), words.as_bytes()].map(Escaped);
                writeln!(self.io.err, "capsh: {arg}: {words}{}", refusal::lacking(option.name))?;
            }
        }
        Ok(Some(Exit::FAILURE))
    }

    fn act(&mut self, action: Action<'_>) -> Step {
        match action {
            Action::Show(show) => self.show(show).map(|()| None),
            Action::Test(test) => answer(test).map(|()| None),
            Action::Change(change) => self.change(change).map(|()| None),
            Action::Adjust(adjust) => self.adjust(adjust).map(|()| None),
            Action::ForkFor(seconds) => self.fork_for(seconds).map(|()| None),
            Action::KillIt(signal) => self.kill_it(signal).map(|()| None),
            Action::Help => self.help().map(Some),
            Action::License => {
                writeln!(self.io.out, "capsh: MIT OR Apache-2.0")?;
                Ok(Some(Exit::SUCCESS))
            }
            Action::Run(program, way) => self.run(program, way).map(Some),
        }
    }

    /// Prints what is wrong with an argument that is not an option.
    fn unknown(&mut self, arg: &OsStr) -> io::Result<()> {
        let shown = Escaped(arg.as_bytes());
        let with_value = [arg.as_bytes(), b"="].concat();
        let with_value = OPTIONS.iter().find(|option| option.name.as_bytes() == with_value);
        if let Some(Opt { name, value, .. }) = with_value {
            return writeln!(self.io.err, "capsh: {shown}: needs a value: {name}{value}");
        }
        let names = OPTIONS.iter().map(|option| option.name);
        let meant = meant_option(&arg.to_string_lossy(), names);
        writeln!(self.io.err, "capsh: {shown}: unknown option{meant}")
    }

    fn usage(&mut self) -> io::Result<()> {
        let out = &mut *self.io.out;
        fit("usage: capsh [OPTION]... [-- | -+ | == | =+ | --exec PROGRAM [ARG]...]\n\n", out)?;
        let mut table = Table::new(2);
        for Opt { name, value, about, .. } in OPTIONS {
            let space = if value.is_empty() || name.starts_with("--") && name.ends_with('=') {
                ""
            } else {
                " "
            };
            table.row(&[&format!("{name}{space}{value}"), about]);
        }
        table.write(out)?;
        let words = "\nThey are acted on in their order, each at once; the first that fails ends capsh.\n\
                     A LIST has commas; with --drop, --addamb and --delamb it can be `all`.";
        fit(words, out)
    }

    fn help(&mut self) -> Result<Exit, Failure> {
        self.usage()?;
        // After another argument, it counts as a mistake.
        Ok(if self.next == 2 { Exit::SUCCESS } else { Exit::FAILURE })
    }

    /// Warns of a kernel with unnamed capabilities, for which a newer program may exist.
    fn warn_of_unnamed(&mut self) -> io::Result<()> {
        match (CapSet::supported() - CapSet::NAMED).iter().next_back() {
            Some(cap) => writeln!(
                self.io.out,
                "WARNING: rcap needs an update (cap={cap} should have a name)."
            ),
            None => Ok(()),
        }
    }

    fn adjust(&mut self, adjust: Adjust<'_>) -> Result<(), Failure> {
        match adjust {
            Adjust::Nothing => {}
            Adjust::Json => self.json = true,
            Adjust::Strict => self.strict = !self.strict,
            Adjust::LeaveEnvironment => self.noenv = true,
            Adjust::Shell(path) => self.shell = Some(path.into()),
            Adjust::DryRun if self.dry_run.is_some() => {}
            Adjust::DryRun => self.dry_run = Some(DryRun::begin()?),
        }
        Ok(())
    }

    fn show(&mut self, show: Show<'_>) -> Result<(), Failure> {
        match show {
            Show::All if self.json => writeln!(self.io.out, "{}", Snapshot::take()?.to_json())?,
            Show::All => Snapshot::take()?.print(self.io.out)?,
            Show::Sets => {
                writeln!(self.io.out, "Current: {}", CapState::current()?)?;
                writeln!(self.io.out, "Current IAB: {}", Iab::current()?)?;
            }
            Show::Mode => writeln!(self.io.out, "Mode: {}", mode_name(Mode::current()?))?,
            Show::Modes => {
                let names = Mode::ALL.map(|mode| mode.to_string()).join(" ");
                writeln!(self.io.out, "Supported modes: {names}")?;
            }
            Show::Mask(mask) => {
                writeln!(self.io.out, "0x{mask:016x}={}", CapSet::from_bits(mask))?;
            }
            Show::Explanation(cap) => snapshot::explain(cap, self.io.out)?,
            Show::Suggestions(text) => {
                for (index, cap) in knowledge::search(text).enumerate() {
                    if index > 0 {
                        writeln!(self.io.out)?;
                    }
                    snapshot::explain(cap, self.io.out)?;
                }
            }
        }
        Ok(())
    }

    fn fork_for(&mut self, seconds: u32) -> Result<(), Failure> {
        if self.child.is_some() {
            return Err(Failure::Value("a child already exists".into()));
        }
        if self.dry_run.is_none() {
            self.child = Some(Launcher::new().call(|| {
                thread::sleep(Duration::from_secs(seconds.into()));
                0
            })?);
        }
        Ok(())
    }

    fn kill_it(&mut self, signal: u32) -> Result<(), Failure> {
        let signal = i32::try_from(signal).unwrap_or(i32::MAX);
        if self.dry_run.is_some() {
            return Ok(());
        }
        let no_child = || Failure::Value("no child; start one with --forkfor=".into());
        let child = self.child.take().ok_or_else(no_child)?;
        child.kill(signal)?;
        let ended_by = child.wait()?.signal().unwrap_or(0);
        if ended_by == signal {
            return Ok(());
        }
        Err(Failure::Answer(format!("child terminated with odd signal ({signal} != {ended_by})")))
    }
}

/// Returns an error unless the answer to a test is yes.
fn answer(test: Test<'_>) -> Result<(), Failure> {
    let has = |set: CapSet, Named { cap, name }: Named<'_>, which: &str| {
        (set.contains(cap), format!("cap[{}] not {which}", name.display()))
    };
    let (holds, words) = match test {
        Test::Supports(Named { cap, name }) => (
            CapSet::supported().contains(cap),
            format!("cap[{}={}] not supported by kernel", name.display(), cap.number()),
        ),
        Test::Has(Set::Permitted, cap) => has(CapState::current()?.permitted, cap, "permitted"),
        Test::Has(Set::Effective, cap) => has(CapState::current()?.effective, cap, "effective"),
        Test::Has(Set::Inheritable, cap) => {
            has(CapState::current()?.inheritable, cap, "inheritable")
        }
        Test::Has(Set::Ambient, cap) => has(ambient::current()?, cap, "in ambient vector"),
        Test::Has(Set::Bounding, cap) => has(bounding::current()?, cap, "in bounding vector"),
        Test::Dropped(Named { cap, name }) => {
            let words = format!("cap[{}] raised in bounding vector", name.display());
            (!bounding::contains(cap)?, words)
        }
        Test::HasAmbient => (ambient::current().is_ok(), "ambient set not supported".into()),
        Test::HasNoNewPrivs => (no_new_privs::is_set()?, "no-new-privs not set".into()),
        Test::InMode(want) => {
            let got = mode_name(Mode::current()?);
            if want != got.as_str() {
                let want = want.display();
                return Err(Failure::Mismatch(format!("mismatched mode got={got} want={want}")));
            }
            return Ok(());
        }
        Test::IsUid(want) => {
            let got = nix::unistd::getuid();
            (got.as_raw() == want, format!("uid: got={got}, want={want}"))
        }
        Test::IsGid(want) => {
            let got = nix::unistd::getgid();
            (got.as_raw() == want, format!("gid: got={got}, want={want}"))
        }
    };
    if holds { Ok(()) } else { Err(Failure::Answer(words)) }
}

fn mode_name(mode: Option<Mode>) -> String {
    mode.map_or_else(|| "UNCERTAIN".to_owned(), |mode| mode.to_string())
}
