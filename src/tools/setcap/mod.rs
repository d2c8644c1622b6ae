//! `setcap`: sets, checks and removes the capabilities of files.
//!
//! Arguments are processed from left to right, each pair of capabilities and file as soon as it is
//! complete. An option applies to all pairs after it.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    path::Path,
};

use serde_json::{Map, Value, json};

use super::{
    Exit, Io, Name, Stream, chain,
    json::{SCHEMA, insert_name},
    options,
    table::{Table, fit},
};
use crate::{
    Cap, CapSet, CapState, Error, ParseError, bounding,
    exec::{Obstacle, Program},
    file::{self, FileCaps},
};

mod args;

use args::{Act, Args, Form, Item, OPTIONS, Options, Pair};

/// The maximum size of standard input in bytes.
const INPUT_LIMIT: usize = 64 * 1024;

/// The wanted capabilities of a file.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Exactly(CapState),
    Nothing,
    /// The present capabilities and these: a list without flags, or a clause.
    Added(String),
    /// The present capabilities without this list.
    Removed(String),
}

/// The reason for which the program ends.
#[derive(Debug)]
enum Failure {
    /// A mistake in the command line, printed with the help.
    Usage(&'static str),
    /// Text that is not capabilities.
    Text {
        text: OsString,
        reason: String,
    },
    Words(String),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Failure {
        Failure::Io(err)
    }
}

impl Failure {
    /// The exit status, like libcap's for every failure.
    const EXIT: Exit = Exit::FAILURE;

    fn print(&self, form: Form, io: &mut Io<'_>) -> io::Result<()> {
        match self {
            Failure::Usage(words) => {
                io.complain_in_words("setcap", words)?;
                usage(io.err)
            }
            Failure::Text { text, reason } => {
                if form == Form::Text {
                    write!(io.out, "argument: ")?;
                    Name::new(text, io.out_terminal).write(io.out)?;
                    writeln!(io.out)?;
                }
                io.complain_in_words("setcap", reason)
            }
            Failure::Words(words) => io.complain_in_words("setcap", words),
            Failure::Io(err) => io.complain("setcap", err),
        }
    }
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
    let args = argv.get(1..).unwrap_or_default();
    if args.is_empty() {
        let failure = Failure::Usage("no capabilities and no file");
        failure.print(Form::Text, io)?;
        return Ok(Failure::EXIT);
    }
    let mut args = Args::new(args);
    let form = args.form;
    let mut setcap = Setcap { io, form, results: Vec::new() };
    let exit = match setcap.items(&mut args) {
        Ok(exit) => exit,
        Err(Failure::Io(err)) => return Err(err),
        Err(failure) => {
            failure.print(form, setcap.io)?;
            Failure::EXIT
        }
    };
    let Setcap { io, results, .. } = setcap;
    if form == Form::Json {
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "files": results}))?;
    }
    Ok(exit)
}

struct Setcap<'a, 'b> {
    io: &'a mut Io<'b>,
    form: Form,
    /// The objects for `--json`.
    results: Vec<Value>,
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

/// Reads text from standard input, up to an empty line. It reads single bytes, so the next call
/// gets the rest.
fn read_input(options: Options, io: &mut Io<'_>) -> io::Result<String> {
    if !options.quiet {
        writeln!(io.err, "Please enter caps for file [empty line to end]:")?;
        io.err.flush()?;
    }
    let mut text = Vec::new();
    let mut byte = [0];
    while text.len() < INPUT_LIMIT && io.input.read(&mut byte)? == 1 {
        if byte == *b"\n" && (text.is_empty() || text.ends_with(b"\n")) {
            break;
        }
        text.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl Setcap<'_, '_> {
    /// Processes the command line up to the first file whose answer is no.
    fn items(&mut self, args: &mut Args<'_>) -> Result<Exit, Failure> {
        while let Some(item) = args.next(|options| read_input(options, self.io))? {
            match item {
                Item::License => {
                    writeln!(self.io.out, "setcap: MIT OR Apache-2.0")?;
                    break;
                }
                Item::Help => {
                    usage(self.io.out)?;
                    break;
                }
                Item::ShortHelp => {
                    usage(self.io.err)?;
                    break;
                }
                Item::Pair(pair) => {
                    let exit = match pair.options.act {
                        Act::Verify => self.verify(&pair)?,
                        Act::DryRun => self.announce(&pair)?,
                        Act::Set => self.set(&pair)?,
                    };
                    if exit != Exit::SUCCESS {
                        return Ok(exit);
                    }
                }
            }
        }
        Ok(Exit::SUCCESS)
    }

    fn complain(&mut self, words: &str) -> io::Result<()> {
        self.io.complain_in_words("setcap", words)
    }

    fn set(&mut self, pair: &Pair<'_>) -> Result<Exit, Failure> {
        let path = pair.path;
        let done = pair.write().map_err(|err| Failure::Words(naming(path, &err)))?;
        match done {
            Done::Fully => {
                let caps = file::read(path).ok().flatten();
                self.warn(pair, caps)?;
            }
            Done::Ignored => self.complain(&format!("{}: {IGNORED}", path.display()))?,
            Done::NothingToRemove => {
                let words = format!("{}: {NOTHING_TO_REMOVE}", path.display());
                if !pair.options.force {
                    return Err(Failure::Words(words));
                }
                self.complain(&words)?;
            }
        }
        Ok(Exit::SUCCESS)
    }

    /// Prints the reasons for which capabilities do not have the effect that is meant.
    fn warn(&mut self, pair: &Pair<'_>, caps: Option<FileCaps>) -> io::Result<()> {
        let (Some(caps), false) = (caps, pair.options.quiet) else { return Ok(()) };
        let (Ok(program), Ok(bounding)) = (Program::open(pair.path), bounding::current()) else {
            return Ok(());
        };
        Obstacle::all(&program, &caps, bounding).iter().try_for_each(|obstacle| {
            self.complain(&format!("warning: {}: {obstacle}", pair.path.display()))
        })
    }

    /// Prints the change that [`Self::set`] would make.
    fn announce(&mut self, pair: &Pair<'_>) -> Result<Exit, Failure> {
        let path = pair.path;
        let outcome = file::read(path).and_then(|old| Ok((old, pair.caps(old)?)));
        let refused = match &outcome {
            Ok((None, None)) if pair.wanted == Wanted::Nothing && !pair.options.force => {
                Some(format!("{}: {NOTHING_TO_REMOVE}", path.display()))
            }
            Ok((_, new)) => match file::check_write(path, new.as_ref()) {
                Ok(written) if written.nosuid && new.is_some() => {
                    self.complain(&format!("{}: {IGNORED}", path.display()))?;
                    None
                }
                Ok(_) => {
                    self.warn(pair, *new)?;
                    None
                }
                Err(err) => Some(naming(path, &err)),
            },
            Err(err) => Some(naming(path, err)),
        };
        if self.form == Form::Json {
            let (old, new) = outcome.unwrap_or_default();
            self.result(path, json!({"old": old, "new": new, "refused": refused}));
            return Ok(if refused.is_some() { Exit::NO } else { Exit::SUCCESS });
        }
        if let Ok((old, new)) = outcome {
            Name::new(path, self.io.out_terminal).write(self.io.out)?;
            let equal = if old == new { " (unchanged)" } else { "" };
            writeln!(self.io.out, ": {} -> {}{equal}", Shown(old), Shown(new))?;
        }
        match refused {
            Some(words) => Err(Failure::Words(format!("would be refused: {words}"))),
            None => Ok(Exit::SUCCESS),
        }
    }

    fn verify(&mut self, pair: &Pair<'_>) -> Result<Exit, Failure> {
        let Pair { options, wanted, path } = pair;
        let found = file::read(path).and_then(|got| Ok((got, wanted.of(CapState::EMPTY)?)));
        let (got, want) = match found {
            Ok(found) => found,
            Err(err) if self.form == Form::Json => {
                self.result(path, json!({"matches": false, "error": naming(path, &err)}));
                return Ok(Exit::NO);
            }
            Err(err) => return Err(Failure::Words(naming(path, &err))),
        };
        let differs = differing(got.unwrap_or_default().into(), want);
        let rootids =
            [got.and_then(|caps| caps.rootid), options.rootid].map(Option::unwrap_or_default);
        let matches = differs.is_empty() && rootids[0] == rootids[1];
        if self.form == Form::Json {
            self.result(
                path,
                json!({
                    "matches": matches,
                    "differs": differs.iter().map(|(_, name)| *name).collect::<Vec<_>>(),
                    "capabilities": got,
                    "wanted": {"text": want.to_string(), "rootid": options.rootid},
                }),
            );
        } else if !options.quiet {
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
        Ok(if matches { Exit::SUCCESS } else { Exit::NO })
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

impl Pair<'_> {
    /// Writes the capabilities, or removes them.
    fn write(&self) -> crate::Result<Done> {
        // Without the privilege, the attempt returns the reason.
        let setfcap = CapState::current()?.permitted & Cap::SETFCAP;
        CapState::with_raised(setfcap, || {
            let written = match &self.wanted {
                Wanted::Nothing if file::remove(self.path)? => return Ok(Done::Fully),
                Wanted::Nothing => return Ok(Done::NothingToRemove),
                Wanted::Exactly(state) => {
                    let caps = FileCaps { rootid: self.options.rootid, ..self.storable(*state)? };
                    file::write(self.path, &caps)?
                }
                Wanted::Added(_) | Wanted::Removed(_) => {
                    file::update(self.path, |old| self.caps(old))?
                }
            };
            Ok(if written.nosuid { Done::Ignored } else { Done::Fully })
        })
    }

    /// Returns the new capabilities of a file with the capabilities `old`.
    fn caps(&self, old: Option<FileCaps>) -> crate::Result<Option<FileCaps>> {
        let state = self.wanted.of(old.unwrap_or_default().into())?;
        let kept = match self.wanted {
            Wanted::Nothing => return Ok(None),
            // An empty set would only clear the ambient set when the file is executed.
            Wanted::Removed(_) if state == CapState::EMPTY => return Ok(None),
            Wanted::Exactly(_) => None,
            Wanted::Added(_) | Wanted::Removed(_) => old.and_then(|caps| caps.rootid),
        };
        let caps = self.storable(state)?;
        Ok(Some(FileCaps { rootid: self.options.rootid.or(kept), ..caps }))
    }

    /// Returns the file capabilities with these sets. With -f, capabilities that are only effective
    /// set the effective bit.
    fn storable(&self, state: CapState) -> crate::Result<FileCaps> {
        let CapState { effective, permitted, inheritable } = state;
        if self.options.force && effective.is_superset(permitted | inheritable) {
            let effective = !effective.is_empty();
            return Ok(FileCaps { permitted, inheritable, effective, rootid: None });
        }
        FileCaps::try_from(state)
    }
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
