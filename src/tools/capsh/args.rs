//! The options of `capsh`, and the action that each stands for.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use super::{
    Failure,
    run::{Program, Way},
};
use crate::{Cap, CapSet, CapState, Iab, Mode, caps::number, securebits::Securebits};

/// An option: its name, which ends in `=` if it has a value, the name of the value, the
/// description, and the parser of the value.
pub(super) struct Opt {
    pub(super) name: &'static str,
    pub(super) value: &'static str,
    pub(super) about: &'static str,
    parse: for<'a> fn(&'a OsStr) -> Result<Action<'a>, Failure>,
}

/// An argument with its parsed value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action<'a> {
    Show(Show<'a>),
    Test(Test<'a>),
    Change(Change<'a>),
    Adjust(Adjust<'a>),
    /// Start a child that sleeps for this number of seconds.
    ForkFor(u32),
    /// Send this signal to it.
    KillIt(u32),
    Help,
    License,
    Run(Program, Way),
}

/// An option that prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show<'a> {
    All,
    Sets,
    Mode,
    Modes,
    Mask(u64),
    Explanation(Cap),
    Suggestions(&'a str),
}

/// An option that tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test<'a> {
    Supports(Named<'a>),
    Has(Set, Named<'a>),
    Dropped(Named<'a>),
    HasAmbient,
    HasNoNewPrivs,
    InMode(&'a OsStr),
    IsUid(u32),
    IsGid(u32),
}

/// A capability as it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) cap: Cap,
    pub(super) name: &'a OsStr,
}

/// The set of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Permitted,
    Effective,
    Inheritable,
    Ambient,
    Bounding,
}

/// An option that changes the process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Caps(CapState),
    /// A list of inheritable capabilities. libcap appends it to the text of the current sets, so
    /// it can have further clauses.
    Inheritable(&'a str),
    Drop(Vec<Cap>),
    AddAmbient(Vec<Cap>),
    RemoveAmbient(Vec<Cap>),
    ClearAmbient,
    Iab(Iab),
    Mode(Mode),
    /// Securebits by number, without raising `CAP_SETPCAP`.
    SecurebitsNumber(u32),
    Securebits(Securebits),
    KeepCaps(bool),
    NoNewPrivs,
    Uid(u32),
    CapUid(u32),
    Gid(u32),
    Groups(Vec<&'a str>),
    User(&'a str),
    Root(&'a OsStr),
}

/// An option that changes what later ones do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adjust<'a> {
    Nothing,
    Json,
    Strict,
    LeaveEnvironment,
    Shell(&'a OsStr),
    DryRun,
}

macro_rules! options {
    ($($name:literal $value:literal $about:literal $parse:expr;)+) => {
        /// Every option, from which the help and the dispatch are made.
        pub(super) const OPTIONS: &[Opt] =
            &[$(Opt { name: $name, value: $value, about: $about, parse: $parse }),+];
    };
}

options! {
    "--print"            ""      "print the sets, securebits, IDs and mode" |_| Ok(Action::Show(Show::All));
    "--current"          ""      "print the sets" |_| Ok(Action::Show(Show::Sets));
    "--json"             ""      "make the following --print options print JSON" |_| Ok(Action::Adjust(Adjust::Json));
    "--mode"             ""      "print the mode" |_| Ok(Action::Show(Show::Mode));
    "--modes"            ""      "print the names of the modes" |_| Ok(Action::Show(Show::Modes));
    "--decode="          "HEX"   "print the capabilities of a mask" |value| Ok(Action::Show(Show::Mask(mask(value)?)));
    "--explain="         "CAP"   "print what a capability permits" |value| Ok(Action::Show(Show::Explanation(text(value)?.parse()?)));
    "--suggest="         "TEXT"  "print capabilities that have TEXT in their explanation" |value| Ok(Action::Show(Show::Suggestions(text(value)?)));
    "--supports="        "CAP"   "exit with 1 unless the kernel supports CAP" |value| Ok(Action::Test(Test::Supports(named(value)?)));
    "--has-p="           "CAP"   "exit with 1 unless CAP is permitted" |value| Ok(Action::Test(Test::Has(Set::Permitted, named(value)?)));
    "--has-e="           "CAP"   "exit with 1 unless CAP is effective" |value| Ok(Action::Test(Test::Has(Set::Effective, named(value)?)));
    "--has-i="           "CAP"   "exit with 1 unless CAP is inheritable" |value| Ok(Action::Test(Test::Has(Set::Inheritable, named(value)?)));
    "--has-a="           "CAP"   "exit with 1 unless CAP is ambient" |value| Ok(Action::Test(Test::Has(Set::Ambient, named(value)?)));
    "--has-b="           "CAP"   "exit with 1 unless CAP is in the bounding set" |value| Ok(Action::Test(Test::Has(Set::Bounding, named(value)?)));
    "--dropped="         "CAP"   "exit with 1 if CAP is in the bounding set" |value| Ok(Action::Test(Test::Dropped(named(value)?)));
    "--has-ambient"      ""      "exit with 1 unless the kernel has an ambient set" |_| Ok(Action::Test(Test::HasAmbient));
    "--has-no-new-privs" ""      "exit with 1 unless no-new-privs is set" |_| Ok(Action::Test(Test::HasNoNewPrivs));
    "--inmode="          "MODE"  "exit with 1 unless MODE is the current mode" |value| Ok(Action::Test(Test::InMode(value)));
    "--is-uid="          "UID"   "exit with 1 unless UID is the real user ID" |value| Ok(Action::Test(Test::IsUid(id(value)?)));
    "--is-gid="          "GID"   "exit with 1 unless GID is the real group ID" |value| Ok(Action::Test(Test::IsGid(id(value)?)));
    "--caps="            "TEXT"  "set the effective, permitted and inheritable sets" |value| Ok(Action::Change(Change::Caps(text(value)?.parse()?)));
    "--inh="             "LIST"  "set the inheritable set" |value| Ok(Action::Change(Change::Inheritable(inheritable(value)?)));
    "--drop="            "LIST"  "drop from the bounding set" |value| Ok(Action::Change(Change::Drop(caps(value)?)));
    "--addamb="          "LIST"  "add to the ambient set" |value| Ok(Action::Change(Change::AddAmbient(caps(value)?)));
    "--delamb="          "LIST"  "remove from the ambient set" |value| Ok(Action::Change(Change::RemoveAmbient(caps(value)?)));
    "--noamb"            ""      "clear the ambient set" |_| Ok(Action::Change(Change::ClearAmbient));
    "--iab="             "IAB"   "set the inheritable and ambient sets, and drop" |value| Ok(Action::Change(Change::Iab(text(value)?.parse()?)));
    "--strict"           ""      "toggle: do not raise CAP_SETPCAP for options" |_| Ok(Action::Adjust(Adjust::Strict));
    "--mode="            "MODE"  "enter a mode: NOPRIV, PURE1E_INIT, PURE1E or HYBRID" |value| Ok(Action::Change(Change::Mode(text(value)?.parse()?)));
    "--secbits="         "N"     "set the securebits by number" |value| Ok(Action::Change(Change::SecurebitsNumber(id(value)?)));
    "--securebits="      "LIST"  "set the securebits by name, such as noroot" |value| Ok(Action::Change(Change::Securebits(text(value)?.parse()?)));
    "--keep="            "N"     "set keep-caps to 0 or 1" |value| Ok(Action::Change(Change::KeepCaps(keep(value)?)));
    "--no-new-privs"     ""      "set no-new-privs permanently" |_| Ok(Action::Change(Change::NoNewPrivs));
    "--uid="             "UID"   "setuid(2)" |value| Ok(Action::Change(Change::Uid(id(value)?)));
    "--cap-uid="         "UID"   "change the user, and preserve the permitted set" |value| Ok(Action::Change(Change::CapUid(id(value)?)));
    "--gid="             "GID"   "setgid(2)" |value| Ok(Action::Change(Change::Gid(id(value)?)));
    "--groups="          "LIST"  "setgroups(2), by name or number" |value| Ok(Action::Change(Change::Groups(items(text(value)?).collect())));
    "--user="            "NAME"  "become this user, and preserve the permitted set" |value| Ok(Action::Change(Change::User(text(value)?)));
    "--noenv"            ""      "do not set HOME and USER in a --user that follows" |_| Ok(Action::Adjust(Adjust::LeaveEnvironment));
    "--chroot="          "PATH"  "chroot(2), and change to /" |value| Ok(Action::Change(Change::Root(value)));
    "--forkfor="         "N"     "start a child that sleeps for N seconds" |value| Ok(Action::ForkFor(seconds(value)?));
    "--killit="          "SIG"   "send a signal to that child, and wait for it" |value| Ok(Action::KillIt(id(value)?));
    "--shell="           "PATH"  "use PATH as the shell instead of /bin/bash" |value| Ok(Action::Adjust(Adjust::Shell(value)));
    "--dry-run"          ""      "show each following step, and do not run the program" |_| Ok(Action::Adjust(Adjust::DryRun));
    "--quiet"            ""      "as the first option: do not warn of unnamed capabilities" |_| Ok(Action::Adjust(Adjust::Nothing));
    "--license"          ""      "print the licence" |_| Ok(Action::License);
    "--help"             ""      "print this help" |_| Ok(Action::Help);
    "-h"                 ""      "print this help" |_| Ok(Action::Help);
    "--"                 "[ARG]..."      "execute the shell with the following arguments" |_| Ok(Action::Run(Program::Shell, Way::Exec));
    "-+"                 "[ARG]..."      "the same in a child, and exit with its status" |_| Ok(Action::Run(Program::Shell, Way::Child));
    "=="                 "[ARG]..."      "execute capsh with the following arguments" |_| Ok(Action::Run(Program::Itself, Way::Exec));
    "=+"                 "[ARG]..."      "the same in a child, and exit with its status" |_| Ok(Action::Run(Program::Itself, Way::Child));
    "--exec"             "PROGRAM [ARG]..." "execute a program, without a shell" |_| Ok(Action::Run(Program::Named, Way::Exec));
}

/// Returns the option of an argument, and its value.
pub(super) fn find(arg: &OsStr) -> Option<(&'static Opt, &OsStr)> {
    let bytes = arg.as_bytes();
    OPTIONS.iter().find_map(|option| {
        let value = bytes.strip_prefix(option.name.as_bytes())?;
        (option.name.ends_with('=') && option.name.starts_with("--") || value.is_empty())
            .then(|| (option, OsStr::from_bytes(value)))
    })
}

impl Opt {
    pub(super) fn parse<'a>(&self, value: &'a OsStr) -> Result<Action<'a>, Failure> {
        (self.parse)(value)
    }
}

/// Returns the text of a value that is not a path.
fn text(value: &OsStr) -> Result<&str, Failure> {
    value.to_str().ok_or_else(|| Failure::Value("not valid UTF-8".into()))
}

/// Parses a 32-bit number like strtoul(3) with base 0.
pub(super) fn id(value: &OsStr) -> Result<u32, Failure> {
    let want = || Failure::Value("not a number from 0 to 4294967295".into());
    number(text(value)?).ok_or_else(want)
}

fn mask(value: &OsStr) -> Result<u64, Failure> {
    let text = text(value)?;
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    Some(digits)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| Failure::Value("not a hexadecimal mask of at most 64 bits".into()))
}

fn inheritable(value: &OsStr) -> Result<&str, Failure> {
    match text(value)? {
        "" | "none" => Ok(""),
        list => {
            format!("{list}+i").parse::<CapState>()?; // an error names only the list
            Ok(list)
        }
    }
}

fn keep(value: &OsStr) -> Result<bool, Failure> {
    match id(value)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::Value("not 0 or 1".into())),
    }
}

fn seconds(value: &OsStr) -> Result<u32, Failure> {
    match id(value)? {
        0 => Err(Failure::Value("not a number of seconds from 1".into())),
        seconds => Ok(seconds),
    }
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

/// Parses the capability of a test.
fn named(value: &OsStr) -> Result<Named<'_>, Failure> {
    let unknown = || Failure::Answer(format!("cap[{}] not recognized by library", value.display()));
    let cap = value.to_str().and_then(|name| name.parse().ok()).ok_or_else(unknown)?;
    Ok(Named { cap, name: value })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the action of an argument, if an option has its name.
    fn parse(arg: &str) -> Option<Result<Action<'_>, Failure>> {
        find(OsStr::new(arg)).map(|(option, value)| option.parse(value))
    }

    fn words(failure: Failure) -> String {
        match failure {
            Failure::Value(words) | Failure::Answer(words) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arguments() {
        let chown = || Named { cap: Cap::CHOWN, name: OsStr::new("cap_chown") };
        #[rustfmt::skip]
        let rows = [
            ("--mode",            Ok(Action::Show(Show::Mode))),
            ("--mode=NOPRIV",     Ok(Action::Change(Change::Mode(Mode::NoPriv)))),
            ("--modes",           Ok(Action::Show(Show::Modes))),
            ("--decode=0X1f",     Ok(Action::Show(Show::Mask(0x1f)))),
            ("--decode=+1",       Err("not a hexadecimal mask of at most 64 bits")),
            ("--has-p=cap_chown", Ok(Action::Test(Test::Has(Set::Permitted, chown())))),
            ("--has-p=x",         Err("cap[x] not recognized by library")),
            ("--supports=",       Err("cap[] not recognized by library")),
            ("--is-uid=010",      Ok(Action::Test(Test::IsUid(8)))),
            ("--caps=cap_chown=p", Ok(Action::Change(Change::Caps("cap_chown=p".parse().unwrap())))),
            ("--inh=none",        Ok(Action::Change(Change::Inheritable("")))),
            ("--inh=chown",       Err("unknown capability \"chown\"; did you mean cap_chown?")),
            ("--drop=,cap_kill,cap_chown", Ok(Action::Change(Change::Drop(vec![Cap::KILL, Cap::CHOWN])))),
            ("--drop=",           Ok(Action::Change(Change::Drop(vec![])))),
            ("--keep=1",          Ok(Action::Change(Change::KeepCaps(true)))),
            ("--keep=2",          Err("not 0 or 1")),
            ("--uid=-1",          Err("not a number from 0 to 4294967295")),
            ("--groups=1,,users", Ok(Action::Change(Change::Groups(vec!["1", "users"])))),
            ("--forkfor=0",       Err("not a number of seconds from 1")),
            ("--killit=9",        Ok(Action::KillIt(9))),
            ("--strict",          Ok(Action::Adjust(Adjust::Strict))),
            ("--shell=sh",        Ok(Action::Adjust(Adjust::Shell("sh".as_ref())))),
            ("--",                Ok(Action::Run(Program::Shell, Way::Exec))),
            ("=+",                Ok(Action::Run(Program::Itself, Way::Child))),
            ("--exec",            Ok(Action::Run(Program::Named, Way::Exec))),
        ];
        for (arg, want) in rows {
            let got = parse(arg).map(|result| result.map_err(words));
            assert_eq!(got, Some(want.map_err(str::to_owned)), "{arg}");
        }
        for arg in ["--modesx", "--drop", "--execx", ""] {
            assert!(find(OsStr::new(arg)).is_none(), "{arg}");
        }
    }
}
