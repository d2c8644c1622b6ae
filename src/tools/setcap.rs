//! `setcap`: sets, checks and removes the capabilities of files.
//!
//! Arguments are processed from left to right, each pair of capabilities and file as soon as it is
//! complete. An option applies to all pairs after it.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, Write},
    path::Path,
};

use serde_json::{Map, Value, json};

use super::{
    Exit, Io, Name, Stream, chain,
    json::{SCHEMA, insert_name},
    mistake::meant_option,
    options,
    table::{Table, fit},
};
use crate::{
    Cap, CapSet, CapState, Error, ParseError, bounding, caps,
    exec::{Obstacle, Program},
    file::{self, FileCaps},
};

/// The options and their descriptions, from which the help is printed.
const OPTIONS: &[(&str, &str)] = &[
    ("-r", "in place of CAPS: remove the file's capabilities"),
    ("-", "in place of CAPS: read CAPS from standard input, up to an empty line"),
    ("--add CAPS", "in place of CAPS: add CAPS, and keep other capabilities"),
    ("--remove CAPS", "in place of CAPS: remove CAPS, and keep other capabilities"),
    ("-n ROOTID", "set capabilities for the user namespace whose root has this user ID"),
    ("-v", "compare the file with CAPS and change nothing"),
    ("-q", "print no prompt for standard input, and no results of -v"),
    ("-f", "allow capabilities that are only effective, and -r without capabilities"),
    ("--dry-run", "print the change, and whether it would be refused; change nothing"),
    ("--json", "with -v or --dry-run: print one JSON document with an object for each file"),
    ("-h, --help", "print this help; -h prints to standard error"),
    ("--license", "print the licence"),
];

/// The maximum size of standard input in bytes.
const INPUT_LIMIT: usize = 64 * 1024;

const SUCCESS: Option<Exit> = Some(Exit::SUCCESS);
const FAILURE: Option<Exit> = Some(Exit::FAILURE);

/// The wanted capabilities of a file.
enum Wanted {
    Exactly(CapState),
    Nothing,
    /// The present capabilities and these: a list without flags, or a clause.
    Added(String),
    /// The present capabilities without this list.
    Removed(String),
}

/// Returns whether `--json` is an option of this command line, and not a value or a file. It applies
/// to the whole line, since standard output is one document.
fn has_json(args: &[OsString]) -> bool {
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.to_str().unwrap_or_default() {
            "--json" => return true,
            "-f" | "-q" | "-v" | "--dry-run" => {}
            "--add" | "--remove" => {
                rest.nth(1);
            }
            _ => {
                rest.next();
            }
        }
    }
    false
}

#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
struct Setcap<'a, 'b> {
    io: &'a mut Io<'b>,
    force: bool,
    quiet: bool,
    verify: bool,
    dry_run: bool,
    json: bool,
    rootid: Option<u32>,
    /// The objects for `--json`.
    results: Vec<Value>,
}

/// Returns the options as a clap command, for completions.
#[must_use]
pub fn command() -> clap::Command {
    options::by_table("setcap", OPTIONS.iter().copied()).arg(options::file())
}

/// Runs the program.
///
/// # Errors
///
/// Writing to the standard streams failed.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let mut setcap = Setcap {
        io,
        force: false,
        quiet: false,
        verify: false,
        dry_run: false,
        json: has_json(argv.get(1..).unwrap_or_default()),
        rootid: None,
        results: Vec::new(),
    };
    let mut args = argv.iter().skip(1).map(OsString::as_os_str);
    if argv.len() < 2 {
        setcap.usage_error("no capabilities and no file")?;
        return Ok(Exit::FAILURE);
    }
    let mut code = None;
    while code.is_none() {
        let Some(arg) = args.next() else { break };
        code = setcap.act(arg, &mut args)?;
    }
    let Setcap { io, json, results, .. } = setcap;
    if json {
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "files": results}))?;
    }
    Ok(code.unwrap_or(Exit::SUCCESS))
}

fn usage(out: &mut Stream) -> io::Result<()> {
    fit("usage: setcap [OPTION]... CAPS FILE [[OPTION]... CAPS FILE]...\n\n", out)?;
    let mut table = Table::new(2);
    for (option, what) in OPTIONS {
        table.row(&[option, what]);
    }
    table.write(out)?;
    fit("\nCAPS is text such as cap_net_raw=ep. An option applies to the pairs after it.", out)
}

/// Sets an option.
fn set(option: &mut bool) -> Option<Exit> {
    *option = true;
    None
}

impl Setcap<'_, '_> {
    /// Processes one argument, and further ones that belong to it. Returns the exit status if the
    /// program is done.
    fn act<'c>(
        &mut self,
        arg: &OsStr,
        rest: &mut impl Iterator<Item = &'c OsStr>,
    ) -> io::Result<Option<Exit>> {
        let wanted = match arg.to_str().unwrap_or_default() {
            "--license" => {
                writeln!(self.io.out, "setcap: MIT OR Apache-2.0")?;
                return Ok(SUCCESS);
            }
            "-h" => {
                usage(self.io.err)?;
                return Ok(SUCCESS);
            }
            "--help" => {
                usage(self.io.out)?;
                return Ok(SUCCESS);
            }
            "-f" => return Ok(set(&mut self.force)),
            "-q" => return Ok(set(&mut self.quiet)),
            "-v" => return Ok(set(&mut self.verify)),
            "--dry-run" => return Ok(set(&mut self.dry_run)),
            "--json" => return Ok(None),
            "-n" => return self.set_rootid(rest.next()),
            "-r" => Some(Wanted::Nothing),
            "-" => self.read_input()?,
            "--add" | "--remove" if self.verify => {
                return self.usage_error("--add and --remove cannot be combined with -v");
            }
            "--add" | "--remove" => match rest.next() {
                Some(text) => self.change(arg == "--add", &text.to_string_lossy())?,
                None => return self.usage_error("--add and --remove need capabilities"),
            },
            _ => self.exactly(arg)?,
        };
        let Some(wanted) = wanted else { return Ok(FAILURE) };
        match rest.next() {
            Some(file) => self.pair(&wanted, Path::new(file)),
            None => self.usage_error("no file for the capabilities"),
        }
    }

    fn complain(&mut self, words: &str) -> io::Result<Option<Exit>> {
        self.io.complain_in_words("setcap", words).map(|()| FAILURE)
    }

    fn usage_error(&mut self, words: &str) -> io::Result<Option<Exit>> {
        self.complain(words)?;
        usage(self.io.err)?;
        Ok(FAILURE)
    }

    fn set_rootid(&mut self, arg: Option<&OsStr>) -> io::Result<Option<Exit>> {
        let Some(arg) = arg else { return self.usage_error("-n needs a root ID") };
        self.rootid = arg.to_str().and_then(caps::number).filter(|&id| id != 0 && id != u32::MAX);
        if self.rootid.is_some() {
            return Ok(None);
        }
        let arg = arg.display();
        self.complain(&format!("{arg}: not a root ID, which is a number from 1 to 4294967294"))
    }

    /// Parses the sets, or prints an error and returns `None`.
    fn exactly(&mut self, arg: &OsStr) -> io::Result<Option<Wanted>> {
        // Invalid UTF-8 is not part of a capability name, and the error shows its position.
        let text = arg.to_string_lossy();
        if text.trim_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']).is_empty() {
            self.complain("empty space is an invalid capability, did you mean -r?")?;
            return Ok(None);
        }
        match text.parse() {
            Ok(state) => Ok(Some(Wanted::Exactly(state))),
            Err(err) => {
                // With --json, standard output is one document.
                if !self.json {
                    write!(self.io.out, "argument: ")?;
                    Name::new(arg, self.io.out_terminal).write(self.io.out)?;
                    writeln!(self.io.out)?;
                }
                let options = OPTIONS.iter().flat_map(|(option, _)| option.split(", "));
                let options = options.filter_map(|option| option.split(' ').next());
                let meant = if text.starts_with('-') {
                    meant_option(&text, options)
                } else {
                    String::new()
                };
                let words = format!("{err}{meant}");
                self.complain(&words)?;
                Ok(None)
            }
        }
    }

    fn change(&mut self, add: bool, text: &str) -> io::Result<Option<Wanted>> {
        let wanted = if add { Wanted::Added(text.into()) } else { Wanted::Removed(text.into()) };
        if add && text.contains(['=', '-']) {
            self.usage_error("--add needs a list of capabilities, or a list, + and flags")?;
        } else if !add && !is_list(text) {
            self.usage_error("--remove needs a list of capabilities without flags")?;
        } else if let Err(err) = wanted.of(CapState::EMPTY) {
            self.complain(&err.to_string())?;
        } else {
            return Ok(Some(wanted));
        }
        Ok(None)
    }

    /// Reads text from standard input, up to an empty line. It reads single bytes, so the next call
    /// gets the rest.
    fn read_input(&mut self) -> io::Result<Option<Wanted>> {
        if !self.quiet {
            writeln!(self.io.err, "Please enter caps for file [empty line to end]:")?;
            self.io.err.flush()?;
        }
        let mut text = Vec::new();
        let mut byte = [0];
        while text.len() < INPUT_LIMIT && self.io.input.read(&mut byte)? == 1 {
            if byte == *b"\n" && (text.is_empty() || text.ends_with(b"\n")) {
                break;
            }
            text.push(byte[0]);
        }
        if text.is_empty() {
            self.usage_error("no capabilities on standard input")?;
            return Ok(None);
        }
        self.exactly(OsStr::new(&*String::from_utf8_lossy(&text)))
    }

    fn pair(&mut self, wanted: &Wanted, path: &Path) -> io::Result<Option<Exit>> {
        if self.json && !(self.verify || self.dry_run) {
            return self.usage_error("--json needs -v or --dry-run");
        }
        if self.verify {
            return self.verify(wanted, path);
        }
        if self.dry_run { self.announce(wanted, path) } else { self.set(wanted, path) }
    }

    /// Returns the new capabilities of a file with the capabilities `old`.
    fn caps(&self, wanted: &Wanted, old: Option<FileCaps>) -> crate::Result<Option<FileCaps>> {
        let state = wanted.of(old.unwrap_or_default().into())?;
        let kept = match wanted {
            Wanted::Nothing => return Ok(None),
            // An empty set would only clear the ambient set when the file is executed.
            Wanted::Removed(_) if state == CapState::EMPTY => return Ok(None),
            Wanted::Exactly(_) => None,
            Wanted::Added(_) | Wanted::Removed(_) => old.and_then(|caps| caps.rootid),
        };
        let caps = self.storable(state)?;
        Ok(Some(FileCaps { rootid: self.rootid.or(kept), ..caps }))
    }

    /// Returns the file capabilities with these sets. With -f, capabilities that are only effective
    /// set the effective bit.
    fn storable(&self, state: CapState) -> crate::Result<FileCaps> {
        let CapState { effective, permitted, inheritable } = state;
        if self.force && effective.is_superset(permitted | inheritable) {
            let effective = !effective.is_empty();
            return Ok(FileCaps { permitted, inheritable, effective, rootid: None });
        }
        FileCaps::try_from(state)
    }

    fn set(&mut self, wanted: &Wanted, path: &Path) -> io::Result<Option<Exit>> {
        match self.try_set(wanted, path) {
            Ok(Done::Fully) => {
                let caps = file::read(path).ok().flatten();
                self.warn(path, caps).map(|()| None)
            }
            Ok(Done::Ignored) => {
                self.complain(&format!("{}: {IGNORED}", path.display())).map(|_| None)
            }
            Ok(Done::NothingToRemove) => {
                self.complain(&format!("{}: {NOTHING_TO_REMOVE}", path.display()))?;
                Ok(if self.force { None } else { FAILURE })
            }
            Err(err) => self.complain(&naming(path, &err)),
        }
    }

    /// Prints the reasons for which capabilities do not have the effect that is meant.
    fn warn(&mut self, path: &Path, caps: Option<FileCaps>) -> io::Result<()> {
        let (Some(caps), false) = (caps, self.quiet) else { return Ok(()) };
        let (Ok(program), Ok(bounding)) = (Program::open(path), bounding::current()) else {
            return Ok(());
        };
        Obstacle::all(&program, &caps, bounding).iter().try_for_each(|obstacle| {
            self.complain(&format!("warning: {}: {obstacle}", path.display())).map(drop)
        })
    }

    fn try_set(&self, wanted: &Wanted, path: &Path) -> crate::Result<Done> {
        // Without the privilege, the attempt returns the reason.
        let setfcap = CapState::current()?.permitted & Cap::SETFCAP;
        CapState::with_raised(setfcap, || {
            let written = match wanted {
                Wanted::Nothing if file::remove(path)? => return Ok(Done::Fully),
                Wanted::Nothing => return Ok(Done::NothingToRemove),
                Wanted::Exactly(state) => {
                    let caps = FileCaps { rootid: self.rootid, ..self.storable(*state)? };
                    file::write(path, &caps)?
                }
                Wanted::Added(_) | Wanted::Removed(_) => {
                    file::update(path, |old| self.caps(wanted, old))?
                }
            };
            Ok(if written.nosuid { Done::Ignored } else { Done::Fully })
        })
    }

    /// Prints the change that [`Self::set`] would make.
    fn announce(&mut self, wanted: &Wanted, path: &Path) -> io::Result<Option<Exit>> {
        let outcome = file::read(path).and_then(|old| Ok((old, self.caps(wanted, old)?)));
        let refused = match &outcome {
            Ok((None, None)) if matches!(wanted, Wanted::Nothing) && !self.force => {
                Some(format!("{}: {NOTHING_TO_REMOVE}", path.display()))
            }
            Ok((_, new)) => match file::check_write(path, new.as_ref()) {
                Ok(written) if written.nosuid && new.is_some() => {
                    self.complain(&format!("{}: {IGNORED}", path.display()))?;
                    None
                }
                Ok(_) => {
                    self.warn(path, *new)?;
                    None
                }
                Err(err) => Some(naming(path, &err)),
            },
            Err(err) => Some(naming(path, err)),
        };
        let code = if refused.is_some() { FAILURE } else { None };
        if self.json {
            let (old, new) = outcome.unwrap_or_default();
            self.result(path, json!({"old": old, "new": new, "refused": refused}));
            return Ok(code);
        }
        if let Ok((old, new)) = outcome {
            Name::new(path, self.io.out_terminal).write(self.io.out)?;
            let equal = if old == new { " (unchanged)" } else { "" };
            writeln!(self.io.out, ": {} -> {}{equal}", Shown(old), Shown(new))?;
        }
        match refused {
            Some(words) => self.complain(&format!("would be refused: {words}")),
            None => Ok(code),
        }
    }

    fn verify(&mut self, wanted: &Wanted, path: &Path) -> io::Result<Option<Exit>> {
        let found = file::read(path).and_then(|got| Ok((got, wanted.of(CapState::EMPTY)?)));
        let (got, want) = match found {
            Ok(found) => found,
            Err(err) => {
                if self.json {
                    self.result(path, json!({"matches": false, "error": naming(path, &err)}));
                    return Ok(FAILURE);
                }
                return self.complain(&naming(path, &err));
            }
        };
        let differs = differing(got.unwrap_or_default().into(), want);
        let rootids =
            [got.and_then(|caps| caps.rootid), self.rootid].map(Option::unwrap_or_default);
        let matches = differs.is_empty() && rootids[0] == rootids[1];
        if self.json {
            self.result(
                path,
                json!({
                    "matches": matches,
                    "differs": differs.iter().map(|(_, name)| *name).collect::<Vec<_>>(),
                    "capabilities": got,
                    "wanted": {"text": want.to_string(), "rootid": self.rootid},
                }),
            );
        } else if !self.quiet {
            let [got, want] = rootids;
            if got != want {
                write!(self.io.out, "nsowner[got={got}, want={want}],")?;
            }
            Name::new(path, self.io.out_terminal).write(self.io.out)?;
            if matches {
                writeln!(self.io.out, ": OK")?;
            } else {
                let letters: String = differs.iter().map(|(letter, _)| *letter).collect();
                writeln!(self.io.out, " differs in [{letters}]")?;
            }
        }
        Ok(if matches { None } else { FAILURE })
    }

    /// Adds an object to the JSON document.
    fn result(&mut self, path: &Path, facts: Value) {
        let mut object = Map::new();
        insert_name(&mut object, "path", path.as_os_str());
        if let Value::Object(facts) = facts {
            object.extend(facts);
        }
        self.results.push(object.into());
    }
}

const IGNORED: &str =
    "the file system is mounted with nosuid, so executing the file grants no capabilities";
const NOTHING_TO_REMOVE: &str = "no capabilities to remove";

/// The result for a file.
enum Done {
    Fully,
    /// Success, but execve(2) ignores the capabilities.
    Ignored,
    NothingToRemove,
}

impl Wanted {
    /// Returns the new sets of a file with the sets `old`.
    fn of(&self, old: CapState) -> Result<CapState, ParseError> {
        let all = CapSet::supported();
        match self {
            Wanted::Exactly(state) => Ok(*state),
            Wanted::Nothing => Ok(CapState::EMPTY),
            Wanted::Removed(list) => old.and_parse(&format!("{list}-eip"), all),
            Wanted::Added(list) if is_list(list) => {
                let mut state = old.and_parse(&format!("{list}+p"), all)?;
                // The effective bit is kept, or is set with the first capabilities.
                if !old.effective.is_empty() || old == CapState::EMPTY {
                    state.effective = state.permitted | state.inheritable;
                }
                Ok(state)
            }
            Wanted::Added(clause) => old.and_parse(clause, all),
        }
    }
}

/// Returns whether a text has no operators, and therefore no flags.
fn is_list(text: &str) -> bool {
    !text.contains(['=', '+', '-'])
}

/// Returns the letters and names of the sets that differ, in print order.
fn differing(got: CapState, want: CapState) -> Vec<(char, &'static str)> {
    let sets = [
        ('p', "permitted", got.permitted == want.permitted),
        ('i', "inheritable", got.inheritable == want.inheritable),
        ('e', "effective", got.effective == want.effective),
    ];
    sets.into_iter()
        .filter(|(_, _, equal)| !equal)
        .map(|(letter, name, _)| (letter, name))
        .collect()
}

/// The capabilities of a file, with the root ID if there is one.
struct Shown(Option<FileCaps>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(caps) = self.0 else { return f.write_str("none") };
        write!(f, "{}", CapState::from(caps))?;
        match caps.rootid {
            Some(rootid) => write!(f, " [rootid={rootid}]"),
            None => Ok(()),
        }
    }
}

/// Returns the text of an error, with the file.
fn naming(path: &Path, err: &Error) -> String {
    match err {
        Error::UnstorableEffective { .. } | Error::Parse(_) => {
            format!("{}: {}", path.display(), chain(err))
        }
        _ => chain(err),
    }
}
