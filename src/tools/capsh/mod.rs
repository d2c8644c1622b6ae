//! `capsh`: applies each argument to itself, in order, and can then run a program.

use std::{
    ffi::{CString, OsStr, OsString},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    path::PathBuf,
    thread,
    time::Duration,
};

use nix::unistd::{Group, User};

use super::{
    Escaped, Exit, Io, chain,
    mistake::meant_option,
    options,
    table::{Table, fit},
};
use crate::{
    Cap, CapSet, CapState, Iab, Mode, ambient, bounding,
    caps::number,
    identity::{self, Identity},
    knowledge,
    launch::{Forked, Launcher, change_root},
    no_new_privs,
    securebits::{self, Securebits},
};

mod dry_run;
mod refusal;
mod run;
mod snapshot;

use dry_run::DryRun;
use snapshot::Snapshot;

/// An option: its name, which ends in `=` if it has a value, the name of the value, the
/// description, and the action.
struct Opt {
    name: &'static str,
    value: &'static str,
    about: &'static str,
    act: fn(&mut Capsh<'_, '_>, &OsStr) -> Step,
}

/// The result of an argument, which is `Some` if the program is done.
type Step = Result<Option<Exit>, Failure>;

const DONE: Step = Ok(None);

fn done(result: crate::Result<()>) -> Step {
    result?;
    DONE
}

/// The reason for which an argument ends the program.
#[derive(Debug)]
enum Failure {
    Said,
    /// A message about the argument.
    Words(String),
    /// A message about its value, which no privilege would make valid.
    Value(String),
    /// The answer to a test, printed alone.
    Answer(String),
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

macro_rules! options {
    ($($name:literal $value:literal $about:literal $act:expr;)+) => {
        /// Every option, from which the help and the dispatch are made.
        const OPTIONS: &[Opt] =
            &[$(Opt { name: $name, value: $value, about: $about, act: $act }),+];
    };
}

options! {
    "--print"            ""      "print the sets, securebits, IDs and mode" |sh, _| sh.print();
    "--current"          ""      "print the sets" |sh, _| sh.current();
    "--json"             ""      "make the following --print options print JSON" |sh, _| sh.json();
    "--mode"             ""      "print the mode" |sh, _| sh.mode();
    "--modes"            ""      "print the names of the modes" |sh, _| sh.modes();
    "--decode="          "HEX"   "print the capabilities of a mask" |sh, value| sh.decode(value);
    "--explain="         "CAP"   "print what a capability permits" |sh, value| sh.explain(value);
    "--suggest="         "TEXT"  "print capabilities that have TEXT in their explanation" |sh, value| sh.suggest(value);
    "--supports="        "CAP"   "exit with 1 unless the kernel supports CAP" |_, value| supports(value);
    "--has-p="           "CAP"   "exit with 1 unless CAP is permitted" |_, value| has(value, CapState::current()?.permitted, "permitted");
    "--has-e="           "CAP"   "exit with 1 unless CAP is effective" |_, value| has(value, CapState::current()?.effective, "effective");
    "--has-i="           "CAP"   "exit with 1 unless CAP is inheritable" |_, value| has(value, CapState::current()?.inheritable, "inheritable");
    "--has-a="           "CAP"   "exit with 1 unless CAP is ambient" |_, value| has(value, ambient::current()?, "in ambient vector");
    "--has-b="           "CAP"   "exit with 1 unless CAP is in the bounding set" |_, value| has(value, bounding::current()?, "in bounding vector");
    "--dropped="         "CAP"   "exit with 1 if CAP is in the bounding set" |_, value| dropped(value);
    "--has-ambient"      ""      "exit with 1 unless the kernel has an ambient set" |_, _| answer(ambient::current().is_ok(), || "ambient set not supported".into());
    "--has-no-new-privs" ""      "exit with 1 unless no-new-privs is set" |_, _| answer(no_new_privs::is_set()?, || "no-new-privs not set".into());
    "--inmode="          "MODE"  "exit with 1 unless MODE is the current mode" |sh, value| sh.in_mode(value);
    "--is-uid="          "UID"   "exit with 1 unless UID is the real user ID" |_, value| is_uid(value);
    "--is-gid="          "GID"   "exit with 1 unless GID is the real group ID" |_, value| is_gid(value);
    "--caps="            "TEXT"  "set the effective, permitted and inheritable sets" |sh, value| sh.caps(value);
    "--inh="             "LIST"  "set the inheritable set" |sh, value| sh.inh(value);
    "--drop="            "LIST"  "drop from the bounding set" |sh, value| sh.drop(value);
    "--addamb="          "LIST"  "add to the ambient set" |_, value| addamb(value);
    "--delamb="          "LIST"  "remove from the ambient set" |_, value| delamb(value);
    "--noamb"            ""      "clear the ambient set" |_, _| done(ambient::clear());
    "--iab="             "IAB"   "set the inheritable and ambient sets, and drop" |_, value| iab(value);
    "--strict"           ""      "toggle: do not raise CAP_SETPCAP for options" |sh, _| sh.toggle_strict();
    "--mode="            "MODE"  "enter a mode: NOPRIV, PURE1E_INIT, PURE1E or HYBRID" |_, value| done(text(value)?.parse::<Mode>()?.apply());
    "--secbits="         "N"     "set the securebits by number" |_, value| done(securebits::set(Securebits::from_bits_retain(id(value)?)));
    "--securebits="      "LIST"  "set the securebits by name, such as noroot" |sh, value| sh.securebits(value);
    "--keep="            "N"     "set keep-caps to 0 or 1" |_, value| keep(value);
    "--no-new-privs"     ""      "set no-new-privs permanently" |_, _| done(no_new_privs::set());
    "--uid="             "UID"   "setuid(2)" |_, value| done(identity::setuid(id(value)?));
    "--cap-uid="         "UID"   "change the user, and preserve the permitted set" |_, value| done(identity::change_uid(id(value)?));
    "--gid="             "GID"   "setgid(2)" |_, value| done(identity::setgid(id(value)?));
    "--groups="          "LIST"  "setgroups(2), by name or number" |_, value| groups(value);
    "--user="            "NAME"  "become this user, and preserve the permitted set" |sh, value| sh.user(value);
    "--noenv"            ""      "do not set HOME and USER in a --user that follows" |sh, _| sh.leave_environment();
    "--chroot="          "PATH"  "chroot(2), and change to /" |_, value| chroot(value);
    "--forkfor="         "N"     "start a child that sleeps for N seconds" |sh, value| sh.fork_for(value);
    "--killit="          "SIG"   "send a signal to that child, and wait for it" |sh, value| sh.kill_it(value);
    "--shell="           "PATH"  "use PATH as the shell instead of /bin/bash" |sh, value| sh.set_shell(value);
    "--dry-run"          ""      "show each following step, and do not run the program" |sh, _| sh.begin_dry_run();
    "--quiet"            ""      "as the first option: do not warn of unnamed capabilities" |_, _| DONE;
    "--license"          ""      "print the licence" |sh, _| sh.license();
    "--help"             ""      "print this help" |sh, _| sh.help();
    "-h"                 ""      "print this help" |sh, _| sh.help();
    "--"                 "[ARG]..."      "execute the shell with the following arguments" |sh, _| sh.run(run::Program::Shell, run::Way::Exec);
    "-+"                 "[ARG]..."      "the same in a child, and exit with its status" |sh, _| sh.run(run::Program::Shell, run::Way::Child);
    "=="                 "[ARG]..."      "execute capsh with the following arguments" |sh, _| sh.run(run::Program::Itself, run::Way::Exec);
    "=+"                 "[ARG]..."      "the same in a child, and exit with its status" |sh, _| sh.run(run::Program::Itself, run::Way::Child);
    "--exec"             "PROGRAM [ARG]..." "execute a program, without a shell" |sh, _| sh.run(run::Program::Named, run::Way::Exec);
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

fn find(arg: &OsStr) -> Option<(&'static Opt, &OsStr)> {
    let bytes = arg.as_bytes();
    OPTIONS.iter().find_map(|option| {
        let value = bytes.strip_prefix(option.name.as_bytes())?;
        (option.name.ends_with('=') && option.name.starts_with("--") || value.is_empty())
            .then(|| (option, OsStr::from_bytes(value)))
    })
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
        let step = (option.act)(self, value).and_then(|exit| match &mut self.dry_run {
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
            Err(Failure::Said) => {}
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

    fn help(&mut self) -> Step {
        self.usage()?;
        // After another argument, it counts as a mistake.
        Ok(Some(if self.next == 2 { Exit::SUCCESS } else { Exit::FAILURE }))
    }

    fn license(&mut self) -> Step {
        writeln!(self.io.out, "capsh: MIT OR Apache-2.0")?;
        Ok(Some(Exit::SUCCESS))
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

    fn toggle_strict(&mut self) -> Step {
        self.strict = !self.strict;
        DONE
    }

    fn json(&mut self) -> Step {
        self.json = true;
        DONE
    }

    fn leave_environment(&mut self) -> Step {
        self.noenv = true;
        DONE
    }

    fn set_shell(&mut self, path: &OsStr) -> Step {
        self.shell = Some(path.into());
        DONE
    }

    fn begin_dry_run(&mut self) -> Step {
        if self.dry_run.is_none() {
            self.dry_run = Some(DryRun::begin()?);
        }
        DONE
    }
}

/// Options that print.
impl Capsh<'_, '_> {
    fn print(&mut self) -> Step {
        let snapshot = Snapshot::take()?;
        if self.json {
            writeln!(self.io.out, "{}", snapshot.to_json())?;
        } else {
            snapshot.print(self.io.out)?;
        }
        DONE
    }

    fn current(&mut self) -> Step {
        writeln!(self.io.out, "Current: {}", CapState::current()?)?;
        writeln!(self.io.out, "Current IAB: {}", Iab::current()?)?;
        DONE
    }

    fn mode(&mut self) -> Step {
        writeln!(self.io.out, "Mode: {}", mode_name(Mode::current()?))?;
        DONE
    }

    fn modes(&mut self) -> Step {
        let names = Mode::ALL.map(|mode| mode.to_string()).join(" ");
        writeln!(self.io.out, "Supported modes: {names}")?;
        DONE
    }

    fn decode(&mut self, value: &OsStr) -> Step {
        let text = text(value)?;
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let mask = Some(digits)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or_else(|| Failure::Value("not a hexadecimal mask of at most 64 bits".into()))?;
        writeln!(self.io.out, "0x{mask:016x}={}", CapSet::from_bits(mask))?;
        DONE
    }

    fn explain(&mut self, value: &OsStr) -> Step {
        let cap = text(value)?.parse()?;
        snapshot::explain(cap, self.io.out)?;
        DONE
    }

    fn suggest(&mut self, value: &OsStr) -> Step {
        for (index, cap) in knowledge::search(text(value)?).enumerate() {
            if index > 0 {
                writeln!(self.io.out)?;
            }
            snapshot::explain(cap, self.io.out)?;
        }
        DONE
    }
}

/// Options that test.
impl Capsh<'_, '_> {
    fn in_mode(&mut self, value: &OsStr) -> Step {
        let got = mode_name(Mode::current()?);
        if value == got.as_str() {
            return DONE;
        }
        // libcap prints this to standard output.
        writeln!(self.io.out, "mismatched mode got={got} want={}", Escaped(value.as_bytes()))?;
        Err(Failure::Said)
    }
}

/// Options that change privileges.
impl Capsh<'_, '_> {
    /// Calls `call` with `CAP_SETPCAP` raised if it is permitted, except with --strict.
    fn with_setpcap(&self, call: impl FnOnce() -> crate::Result<()>) -> crate::Result<()> {
        if self.strict { call() } else { CapState::with_setpcap(call) }
    }

    /// Applies `caps` with `CAP_SETPCAP` raised if it is permitted, except with --strict.
    fn apply(&self, caps: CapState) -> Step {
        let now = CapState::current()?;
        let result = if self.strict { caps.apply() } else { caps.apply_with_setpcap() };
        result.map(|()| None).map_err(|err| {
            let bounding = bounding::current().unwrap_or(CapSet::all());
            let why = refusal::refused(caps, now, bounding).unwrap_or_default();
            Failure::Words(format!("{}{why}", chain(&err)))
        })
    }

    fn caps(&mut self, value: &OsStr) -> Step {
        self.apply(text(value)?.parse()?)
    }

    fn inh(&mut self, value: &OsStr) -> Step {
        let now = CapState { inheritable: CapSet::empty(), ..CapState::current()? };
        let wanted = match text(value)? {
            "" | "none" => now,
            // The rest belongs to the list, because libcap also appends it to text.
            list => {
                format!("{list}+i").parse::<CapState>()?; // an error names only the list
                format!("{now} {list}+i").parse()?
            }
        };
        self.apply(wanted)
    }

    fn drop(&mut self, value: &OsStr) -> Step {
        for cap in caps(value)? {
            self.with_setpcap(|| bounding::drop(cap)).map_err(about(cap))?;
        }
        DONE
    }

    fn securebits(&mut self, value: &OsStr) -> Step {
        let bits = text(value)?.parse()?;
        self.with_setpcap(|| securebits::set(bits))?;
        DONE
    }

    fn fork_for(&mut self, value: &OsStr) -> Step {
        let seconds = Duration::from_secs(id(value)?.into());
        if seconds.is_zero() {
            return Err(Failure::Value("not a number of seconds from 1".into()));
        }
        if self.child.is_some() {
            return Err(Failure::Value("a child already exists".into()));
        }
        if self.dry_run.is_none() {
            self.child = Some(Launcher::new().call(|| {
                thread::sleep(seconds);
                0
            })?);
        }
        DONE
    }

    fn kill_it(&mut self, value: &OsStr) -> Step {
        let signal = i32::try_from(id(value)?).unwrap_or(i32::MAX);
        if self.dry_run.is_some() {
            return DONE;
        }
        let no_child = || Failure::Value("no child; start one with --forkfor=".into());
        let child = self.child.take().ok_or_else(no_child)?;
        child.kill(signal)?;
        let ended_by = child.wait()?.signal().unwrap_or(0);
        answer(ended_by == signal, || {
            format!("child terminated with odd signal ({signal} != {ended_by})")
        })
    }

    fn user(&mut self, value: &OsStr) -> Step {
        let name = text(value)?;
        let identity = Identity::of_user(name)?;
        let home = User::from_name(name).ok().flatten().map_or_else(PathBuf::new, |user| user.dir);
        identity.change()?;
        if !self.noenv {
            self.environment = vec![("HOME", home), ("USER", name.into())];
        }
        DONE
    }
}

fn iab(value: &OsStr) -> Step {
    let iab: Iab = text(value)?.parse()?;
    let now = CapState::current()?;
    iab.apply().map(|()| None).map_err(|err| {
        let bounding = bounding::current().unwrap_or(CapSet::all());
        let wanted = CapState { inheritable: iab.inheritable(), ..now };
        let why = refusal::refused(wanted, now, bounding);
        let why =
            why.or_else(|| iab.ambient().iter().find_map(refusal::not_ambient).map(str::to_owned));
        Failure::Words(format!("{}{}", chain(&err), why.unwrap_or_default()))
    })
}

fn supports(value: &OsStr) -> Step {
    let cap = known(value)?;
    let holds = CapSet::supported().contains(cap);
    answer(holds, || format!("cap[{}={}] not supported by kernel", value.display(), cap.number()))
}

fn dropped(value: &OsStr) -> Step {
    let holds = !bounding::contains(known(value)?)?;
    answer(holds, || format!("cap[{}] raised in bounding vector", value.display()))
}

fn is_uid(value: &OsStr) -> Step {
    let [got, want] = [nix::unistd::getuid().as_raw(), id(value)?];
    answer(got == want, || format!("uid: got={got}, want={want}"))
}

fn is_gid(value: &OsStr) -> Step {
    let [got, want] = [nix::unistd::getgid().as_raw(), id(value)?];
    answer(got == want, || format!("gid: got={got}, want={want}"))
}

fn addamb(value: &OsStr) -> Step {
    for cap in caps(value)? {
        ambient::raise(cap).map_err(|err| {
            let why = refusal::not_ambient(cap).unwrap_or_default();
            Failure::Words(format!("{cap}: {}{why}", chain(&err)))
        })?;
    }
    DONE
}

fn delamb(value: &OsStr) -> Step {
    for cap in caps(value)? {
        ambient::lower(cap).map_err(about(cap))?;
    }
    DONE
}

fn keep(value: &OsStr) -> Step {
    let keep = match id(value)? {
        0 => false,
        1 => true,
        _ => return Err(Failure::Value("not 0 or 1".into())),
    };
    securebits::set_keep_caps(keep)?;
    DONE
}

fn groups(value: &OsStr) -> Step {
    let gids: Result<Vec<u32>, Failure> = items(text(value)?).map(group).collect();
    identity::setgroups(&gids?)?;
    DONE
}

fn chroot(value: &OsStr) -> Step {
    let path = CString::new(value.as_bytes()).map_err(io::Error::from)?;
    done(change_root(&path))
}

/// Returns the text of a value that is not a path.
fn text(value: &OsStr) -> Result<&str, Failure> {
    value.to_str().ok_or_else(|| Failure::Value("not valid UTF-8".into()))
}

/// Parses a 32-bit number like strtoul(3) with base 0.
fn id(value: &OsStr) -> Result<u32, Failure> {
    let want = || Failure::Value("not a number from 0 to 4294967295".into());
    number(text(value)?).ok_or_else(want)
}

/// Splits a list at commas, and skips empty items.
fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|item| !item.is_empty())
}

/// Parses a list of capabilities, in order. `all` stands for the supported ones.
fn caps(value: &OsStr) -> Result<Vec<Cap>, Failure> {
    match text(value)? {
        "all" => Ok(CapSet::supported().iter().collect()),
        list => Ok(items(list).map(str::parse).collect::<Result<_, _>>()?),
    }
}

/// Looks up a group by name, or by number if it begins with a digit.
fn group(item: &str) -> Result<u32, Failure> {
    if item.starts_with(|c: char| c.is_ascii_digit()) {
        return id(item.as_ref());
    }
    let unknown = || Failure::Value(format!("unknown group {item:?}"));
    let group = Group::from_name(item).map_err(io::Error::from)?;
    group.map(|group| group.gid.as_raw()).ok_or_else(unknown)
}

/// Adds the name of the capability that failed to an error.
fn about(cap: Cap) -> impl FnOnce(crate::Error) -> Failure {
    move |err| Failure::Words(format!("{cap}: {}", chain(&err)))
}

/// Parses the capability of a test.
fn known(value: &OsStr) -> Result<Cap, Failure> {
    let unknown = || Failure::Answer(format!("cap[{}] not recognized by library", value.display()));
    value.to_str().and_then(|name| name.parse().ok()).ok_or_else(unknown)
}

fn has(value: &OsStr, set: CapSet, which: &str) -> Step {
    answer(set.contains(known(value)?), || format!("cap[{}] not {which}", value.display()))
}

fn answer(holds: bool, words: impl FnOnce() -> String) -> Step {
    if holds { DONE } else { Err(Failure::Answer(words())) }
}

fn mode_name(mode: Option<Mode>) -> String {
    mode.map_or_else(|| "UNCERTAIN".to_owned(), |mode| mode.to_string())
}
