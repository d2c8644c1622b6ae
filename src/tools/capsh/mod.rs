//! `capsh`: does to itself what each argument says, in their order, and can then run a program.

use std::{
    ffi::{CString, OsStr, OsString},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    path::PathBuf,
    thread,
    time::Duration,
};

use nix::unistd::{Group, User};

use super::{Escaped, Exit, Io, chain, options};
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

/// An option: its name, which ends in `=` if a value follows, how that is shown, what it is for,
/// and what it does.
struct Opt {
    name: &'static str,
    value: &'static str,
    about: &'static str,
    act: fn(&mut Capsh<'_, '_>, &OsStr) -> Step,
}

/// What an argument came to: `Some` if there is nothing more to do.
type Step = Result<Option<Exit>, Failure>;

const DONE: Step = Ok(None);

fn done(result: crate::Result<()>) -> Step {
    result?;
    DONE
}

/// Why an argument ended everything. What there is to say has been said, or stands here.
#[derive(Debug)]
enum Failure {
    Said,
    /// About the argument.
    Words(String),
    /// The answer to a question, which stands alone.
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
        Failure::Words(chain(&err))
    }
}

impl From<crate::ParseError> for Failure {
    fn from(err: crate::ParseError) -> Failure {
        Failure::Words(err.to_string())
    }
}

macro_rules! options {
    ($($name:literal $value:literal $about:literal $act:expr;)+) => {
        /// Every option: the help and the dispatch are made from here.
        const OPTIONS: &[Opt] =
            &[$(Opt { name: $name, value: $value, about: $about, act: $act }),+];
    };
}

options! {
    "--print"            ""      "print the sets, securebits, ids and mode" |sh, _| sh.print();
    "--current"          ""      "print the sets" |sh, _| sh.current();
    "--json"             ""      "from here on, --print prints a JSON object" |sh, _| sh.json();
    "--mode"             ""      "print the mode" |sh, _| sh.mode();
    "--modes"            ""      "print the names of the modes" |sh, _| sh.modes();
    "--decode="          "HEX"   "print the capabilities of a mask" |sh, value| sh.decode(value);
    "--explain="         "CAP"   "print what a capability permits" |sh, value| sh.explain(value);
    "--suggest="         "TEXT"  "print what has TEXT in its explanation" |sh, value| sh.suggest(value);
    "--supports="        "CAP"   "exit with 1 unless the kernel has CAP" |_, value| supports(value);
    "--has-p="           "CAP"   "exit with 1 unless CAP is permitted" |_, value| has(value, CapState::current()?.permitted, "permitted");
    "--has-e="           "CAP"   "exit with 1 unless CAP is effective" |_, value| has(value, CapState::current()?.effective, "effective");
    "--has-i="           "CAP"   "exit with 1 unless CAP is inheritable" |_, value| has(value, CapState::current()?.inheritable, "inheritable");
    "--has-a="           "CAP"   "exit with 1 unless CAP is ambient" |_, value| has(value, ambient::current()?, "in ambient vector");
    "--has-b="           "CAP"   "exit with 1 unless CAP is in the bounding set" |_, value| has(value, bounding::current()?, "in bounding vector");
    "--dropped="         "CAP"   "exit with 1 if CAP is in the bounding set" |_, value| dropped(value);
    "--has-ambient"      ""      "exit with 1 unless the kernel has an ambient set" |_, _| answer(ambient::current().is_ok(), || "ambient set not supported".into());
    "--has-no-new-privs" ""      "exit with 1 unless no-new-privs is set" |_, _| answer(no_new_privs::is_set()?, || "no-new-privs not set".into());
    "--inmode="          "MODE"  "exit with 1 unless this is the mode" |sh, value| sh.in_mode(value);
    "--is-uid="          "UID"   "exit with 1 unless this is the real user id" |_, value| is_uid(value);
    "--is-gid="          "GID"   "exit with 1 unless this is the real group id" |_, value| is_gid(value);
    "--caps="            "TEXT"  "set the effective, permitted and inheritable set" |sh, value| sh.caps(value);
    "--inh="             "LIST"  "set the inheritable set" |sh, value| sh.inh(value);
    "--drop="            "LIST"  "drop from the bounding set" |sh, value| sh.drop(value);
    "--addamb="          "LIST"  "add to the ambient set" |_, value| addamb(value);
    "--delamb="          "LIST"  "remove from the ambient set" |_, value| delamb(value);
    "--noamb"            ""      "empty the ambient set" |_, _| done(ambient::clear());
    "--iab="             "IAB"   "set the inheritable and ambient set, and drop" |_, value| done(text(value)?.parse::<Iab>()?.apply());
    "--strict"           ""      "toggle: raise CAP_SETPCAP for no option" |sh, _| sh.toggle_strict();
    "--mode="            "MODE"  "enter a mode: NOPRIV, PURE1E_INIT, PURE1E or HYBRID" |_, value| done(text(value)?.parse::<Mode>()?.apply());
    "--secbits="         "N"     "set the securebits by their number" |_, value| done(securebits::set(Securebits::from_bits_retain(id(value)?)));
    "--securebits="      "LIST"  "set the securebits by their names, such as noroot" |sh, value| sh.securebits(value);
    "--keep="            "N"     "set keep-caps to 0 or 1" |_, value| keep(value);
    "--no-new-privs"     ""      "set no-new-privs, for good" |_, _| done(no_new_privs::set());
    "--uid="             "UID"   "setuid(2)" |_, value| done(identity::setuid(id(value)?));
    "--cap-uid="         "UID"   "change the user, and keep what is permitted" |_, value| done(identity::change_uid(id(value)?));
    "--gid="             "GID"   "setgid(2)" |_, value| done(identity::setgid(id(value)?));
    "--groups="          "LIST"  "setgroups(2), by names or numbers" |_, value| groups(value);
    "--user="            "NAME"  "become this user, and keep what is permitted" |sh, value| sh.user(value);
    "--noenv"            ""      "leave HOME and USER alone in a --user that follows" |sh, _| sh.leave_environment();
    "--chroot="          "PATH"  "chroot(2), and go to /" |_, value| chroot(value);
    "--forkfor="         "N"     "start a child that sleeps for N seconds" |sh, value| sh.fork_for(value);
    "--killit="          "SIG"   "send a signal to that child, and wait for its end" |sh, value| sh.kill_it(value);
    "--shell="           "PATH"  "what -- and -+ run, instead of /bin/bash" |sh, value| sh.set_shell(value);
    "--dry-run"          ""      "from here on, show each step, and run nothing" |sh, _| sh.begin_dry_run();
    "--quiet"            ""      "first: no warning of capabilities without a name" |_, _| DONE;
    "--license"          ""      "print the licence" |sh, _| sh.license();
    "--help"             ""      "print this" |sh, _| sh.help();
    "-h"                 ""      "print this" |sh, _| sh.help();
    "--"                 "[ARG]..."      "run the shell with the arguments that follow" |sh, _| sh.run(run::Program::Shell, run::Way::Exec);
    "-+"                 "[ARG]..."      "the same as a child, and end as it ends" |sh, _| sh.run(run::Program::Shell, run::Way::Child);
    "=="                 "[ARG]..."      "run capsh with the arguments that follow" |sh, _| sh.run(run::Program::Itself, run::Way::Exec);
    "=+"                 "[ARG]..."      "the same as a child, and end as it ends" |sh, _| sh.run(run::Program::Itself, run::Way::Child);
    "--exec"             "PROGRAM [ARG]..." "run a program, without a shell" |sh, _| sh.run(run::Program::Named, run::Way::Exec);
}

struct Capsh<'a, 'b> {
    io: &'a mut Io<'b>,
    /// All arguments, from the name of the program on.
    argv: &'a [OsString],
    /// Where in them the next one is.
    next: usize,
    strict: bool,
    json: bool,
    noenv: bool,
    shell: Option<PathBuf>,
    /// The variables that `--user` has set.
    environment: Vec<(&'static str, PathBuf)>,
    /// What `--forkfor` has started.
    child: Option<Forked>,
    dry_run: Option<DryRun>,
}

/// Returns the options as clap has them, for completions.
#[must_use]
pub fn command() -> clap::Command {
    // The options after which every argument is the shell's, and the other spellings, are words.
    let is_option = |option: &&Opt| option.name.starts_with("--") && option.name.len() > 2;
    let rows = OPTIONS.iter().filter(is_option);
    options::by_rows("capsh", rows.map(|option| (option.name, option.value, option.about)))
}

/// # Errors
///
/// Writing to the standard streams.
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
    /// Acts on one argument; with the exit status if there is nothing more to do.
    fn argument(&mut self, arg: &OsStr) -> io::Result<Option<Exit>> {
        let Some((option, value)) = find(arg) else {
            self.io.out.flush()?;
            let bytes = arg.as_bytes();
            let wanting = [bytes, b"="].concat();
            let wanting = OPTIONS.iter().find(|option| option.name.as_bytes() == wanting);
            match wanting {
                Some(Opt { name, value, .. }) => {
                    writeln!(
                        self.io.err,
                        "capsh: {} wants a value: {name}{value}",
                        Escaped(bytes)
                    )?;
                }
                None => writeln!(self.io.err, "capsh: there is no option {}", Escaped(bytes))?,
            }
            self.usage()?;
            return Ok(Some(Exit::FAILURE));
        };
        let step = (option.act)(self, value).and_then(|exit| match &mut self.dry_run {
            Some(dry_run) if exit.is_none() => dry_run.after(arg, self.io),
            _ => Ok(exit),
        });
        if step.is_err() {
            // What came before is read before.
            self.io.out.flush()?;
        }
        match step {
            Ok(exit) => return Ok(exit),
            Err(Failure::Io(err)) => return Err(err),
            Err(Failure::Said) => {}
            Err(Failure::Answer(words)) => {
                writeln!(self.io.err, "{}", Escaped(words.as_bytes()))?;
            }
            Err(Failure::Words(words)) => {
                let [arg, words] = [arg.as_bytes(), words.as_bytes()].map(Escaped);
                writeln!(self.io.err, "capsh: {arg}: {words}{}", refusal::lacking(option.name))?;
            }
        }
        Ok(Some(Exit::FAILURE))
    }

    fn usage(&mut self) -> io::Result<()> {
        writeln!(
            self.io.out,
            "usage: capsh [OPTION]... [-- | -+ | == | =+ | --exec PROGRAM [ARG]...]\n"
        )?;
        for Opt { name, value, about, .. } in OPTIONS {
            let space = if value.is_empty() || name.starts_with("--") && name.ends_with('=') {
                ""
            } else {
                " "
            };
            writeln!(self.io.out, "  {:<24}  {about}", format!("{name}{space}{value}"))?;
        }
        writeln!(
            self.io.out,
            "\nThey are acted on in their order, each at once; the first that fails ends capsh.\n\
             A LIST has commas; with --drop, --addamb and --delamb it can be `all`."
        )
    }

    fn help(&mut self) -> Step {
        self.usage()?;
        // Behind another argument it is taken for a mistake.
        Ok(Some(if self.next == 2 { Exit::SUCCESS } else { Exit::FAILURE }))
    }

    fn license(&mut self) -> Step {
        writeln!(self.io.out, "capsh: MIT OR Apache-2.0")?;
        Ok(Some(Exit::SUCCESS))
    }

    /// A kernel with more capabilities than this program has names for deserves a newer one.
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

/// Printing.
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
            .ok_or_else(|| Failure::Words("want a mask in hexadecimal, of 64 bits".into()))?;
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

/// A question.
impl Capsh<'_, '_> {
    fn in_mode(&mut self, value: &OsStr) -> Step {
        let got = mode_name(Mode::current()?);
        if value == got.as_str() {
            return DONE;
        }
        // To standard output, where libcap has it.
        writeln!(self.io.out, "mismatched mode got={got} want={}", Escaped(value.as_bytes()))?;
        Err(Failure::Said)
    }
}

/// Changes.
impl Capsh<'_, '_> {
    /// Calls `call`, with `CAP_SETPCAP` effective if it can be, unless strictness leaves that to
    /// the user.
    fn with_setpcap(&self, call: impl FnOnce() -> crate::Result<()>) -> crate::Result<()> {
        if self.strict { call() } else { CapState::with_setpcap(call) }
    }

    /// Applies `caps`, with `CAP_SETPCAP` effective before if it can be, unless strictness leaves
    /// that to the user.
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
            // What follows the list is part of it: libcap appends to a text as well.
            list => {
                format!("{list}+i").parse::<CapState>()?; // so that an error is about it alone
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
            return Err(Failure::Words("want a number of seconds that is not 0".into()));
        }
        if self.child.is_some() {
            return Err(Failure::Words("there is a child already".into()));
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
        let no_child = || Failure::Words("there is no child (--forkfor=)".into());
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
        _ => return Err(Failure::Words("want 0 or 1".into())),
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

/// The text of a value that is no path.
fn text(value: &OsStr) -> Result<&str, Failure> {
    value.to_str().ok_or_else(|| Failure::Words("it is no text in UTF-8".into()))
}

/// A number as strtoul(3) reads one with base 0, of 32 bits.
fn id(value: &OsStr) -> Result<u32, Failure> {
    let want = || Failure::Words("want a non-negative integer of 32 bits".into());
    number(text(value)?).ok_or_else(want)
}

/// The items of a list with commas; empty ones are passed over.
fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|item| !item.is_empty())
}

/// The capabilities of a list, in its order; `all` are those that the kernel has.
fn caps(value: &OsStr) -> Result<Vec<Cap>, Failure> {
    match text(value)? {
        "all" => Ok(CapSet::supported().iter().collect()),
        list => Ok(items(list).map(str::parse).collect::<Result<_, _>>()?),
    }
}

/// The group with this name, or with this number if it begins with a digit.
fn group(item: &str) -> Result<u32, Failure> {
    if item.starts_with(|c: char| c.is_ascii_digit()) {
        return id(item.as_ref());
    }
    let unknown = || Failure::Words(format!("there is no group {item:?}"));
    let group = Group::from_name(item).map_err(io::Error::from)?;
    group.map(|group| group.gid.as_raw()).ok_or_else(unknown)
}

/// Names the one capability of a list that failed.
fn about(cap: Cap) -> impl FnOnce(crate::Error) -> Failure {
    move |err| Failure::Words(format!("{cap}: {}", chain(&err)))
}

/// The capability that a question is about.
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
