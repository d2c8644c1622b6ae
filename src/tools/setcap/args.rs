//! The command line of `setcap`.
//!
//! It is parsed item by item, since an item takes effect before the next one can be found wrong.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::Path,
    slice,
};

use super::{Failure, Wanted};
use crate::{
    CapState, caps,
    tools::{mistake::meant_option, options},
};

/// The options and their descriptions, from which the help is printed.
pub(super) const OPTIONS: &[(&str, &str)] = &[
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

/// The options that apply to the pairs after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) force: bool,
    pub(super) quiet: bool,
    pub(super) act: Act,
    pub(super) rootid: Option<u32>,
}

/// The action on one file. A later variant overrides an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    #[default]
    Set,
    DryRun,
    Verify,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// One document on standard output.
    Json,
}

/// A part of the command line that takes effect on its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    License,
    Help,
    /// The help on standard error.
    ShortHelp,
    Pair(Pair<'a>),
}

/// Capabilities and a file, with the options before them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub(super) options: Options,
    pub(super) wanted: Wanted,
    pub(super) path: &'a Path,
}

/// The command line that has not been parsed yet, and the options so far.
pub(super) struct Args<'a> {
    rest: slice::Iter<'a, OsString>,
    options: Options,
    pub(super) form: Form,
}

impl<'a> Args<'a> {
    pub(super) fn new(args: &'a [OsString]) -> Args<'a> {
        let form = if has_json(args) { Form::Json } else { Form::Text };
        Args { rest: args.iter(), options: Options::default(), form }
    }

    /// Parses the next item. `input` reads the text that `-` stands for, if there is any.
    pub(super) fn next(
        &mut self,
        mut input: impl FnMut(Options) -> io::Result<String>,
    ) -> Result<Option<Item<'a>>, Failure> {
        while let Some(arg) = self.rest.next() {
            let options = &mut self.options;
            let wanted = match arg.to_str().unwrap_or_default() {
                "--license" => return Ok(Some(Item::License)),
                "-h" => return Ok(Some(Item::ShortHelp)),
                "--help" => return Ok(Some(Item::Help)),
                "-f" => {
                    options.force = true;
                    continue;
                }
                "-q" => {
                    options.quiet = true;
                    continue;
                }
                "-v" => {
                    options.act = Act::Verify;
                    continue;
                }
                "--dry-run" => {
                    options.act = options.act.max(Act::DryRun);
                    continue;
                }
                // Known from the beginning.
                "--json" => continue,
                "-n" => {
                    let id = self.rest.next().ok_or(Failure::Usage("-n needs a root ID"))?;
                    options.rootid = Some(rootid(id)?);
                    continue;
                }
                "-r" => Wanted::Nothing,
                "-" => match &*input(*options)? {
                    "" => return Err(Failure::Usage("no capabilities on standard input")),
                    text => exactly(text.as_ref())?,
                },
                "--add" | "--remove" => self.change(arg == "--add")?,
                _ => exactly(arg)?,
            };
            return self.pair(wanted).map(Some);
        }
        Ok(None)
    }

    fn change(&mut self, add: bool) -> Result<Wanted, Failure> {
        if self.options.act == Act::Verify {
            return Err(Failure::Usage("--add and --remove cannot be combined with -v"));
        }
        let text =
            self.rest.next().ok_or(Failure::Usage("--add and --remove need capabilities"))?;
        let text = text.to_string_lossy().into_owned();
        if add && text.contains(['=', '-']) {
            let words = "--add needs a list of capabilities, or a list, + and flags";
            return Err(Failure::Usage(words));
        }
        if !add && !super::is_list(&text) {
            return Err(Failure::Usage("--remove needs a list of capabilities without flags"));
        }
        let wanted = if add { Wanted::Added(text) } else { Wanted::Removed(text) };
        // The text is valid for every file if it is for one.
        wanted.of(CapState::EMPTY).map_err(|err| Failure::Words(err.to_string()))?;
        Ok(wanted)
    }

    fn pair(&mut self, wanted: Wanted) -> Result<Item<'a>, Failure> {
        let path = self.rest.next().ok_or(Failure::Usage("no file for the capabilities"))?;
        if self.form == Form::Json && self.options.act == Act::Set {
            return Err(Failure::Usage("--json needs -v or --dry-run"));
        }
        Ok(Item::Pair(Pair { options: self.options, wanted, path: Path::new(path) }))
    }
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

fn rootid(arg: &OsStr) -> Result<u32, Failure> {
    let id = arg.to_str().and_then(caps::number).filter(|&id| id != 0 && id != u32::MAX);
    id.ok_or_else(|| {
        let arg = arg.display();
        Failure::Words(format!("{arg}: not a root ID, which is a number from 1 to 4294967294"))
    })
}

/// Parses the text of all sets.
fn exactly(arg: &OsStr) -> Result<Wanted, Failure> {
    // Invalid UTF-8 is not part of a capability name, and the error shows its position.
    let text = arg.to_string_lossy();
    if text.trim_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']).is_empty() {
        let words = "empty space is an invalid capability, did you mean -r?";
        return Err(Failure::Words(words.into()));
    }
    text.parse().map(Wanted::Exactly).map_err(|err| {
        let meant = if text.starts_with('-') {
            meant_option(&text, options::spellings(OPTIONS))
        } else {
            String::new()
        };
        Failure::Text { text: arg.to_owned(), reason: format!("{err}{meant}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a whole line, with `cap_kill=p` on standard input.
    fn parse(line: &[&str]) -> Vec<String> {
        let argv: Vec<OsString> = line.iter().map(OsString::from).collect();
        let mut args = Args::new(&argv);
        let mut items = Vec::new();
        loop {
            items.push(match args.next(|_| Ok("cap_kill=p".into())) {
                Ok(None) => return items,
                Ok(Some(Item::Pair(Pair { options, wanted, path }))) => {
                    let Options { force, quiet, act, rootid } = options;
                    let flags = [(force, "-f "), (quiet, "-q ")];
                    let flags = flags.map(|(is_set, flag)| if is_set { flag } else { "" }).concat();
                    let rootid = rootid.map(|id| format!("-n {id} ")).unwrap_or_default();
                    let wanted = match wanted {
                        Wanted::Exactly(state) => state.to_string(),
                        wanted => format!("{wanted:?}"),
                    };
                    format!("{act:?} {flags}{rootid}{wanted} {}", path.display())
                }
                Ok(Some(item)) => format!("{item:?}"),
                Err(err) => {
                    items.push(match err {
                        Failure::Usage(words) => format!("usage: {words}"),
                        Failure::Words(words) | Failure::Text { reason: words, .. } => words,
                        Failure::Io(err) => panic!("{err}"),
                    });
                    return items;
                }
            });
        }
    }

    #[test]
    fn lines() {
        #[rustfmt::skip]
        let rows: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["cap_chown=p", "f"], &["Set cap_chown=p f"]),
            (&["-", "f"], &["Set cap_kill=p f"]),
            (&["-r", "-r"], &["Set Nothing -r"]),
            // An option applies to the pairs after it.
            (&["=p", "a", "-n", "5", "-f", "-q", "=i", "b"], &["Set =p a", "Set -f -q -n 5 =i b"]),
            (&["-v", "--dry-run", "=", "f"], &["Verify = f"]),
            (&["--dry-run", "=", "f", "-v", "=", "f"], &["DryRun = f", "Verify = f"]),
            (&["--add", "cap_kill+i", "f"], &[r#"Set Added("cap_kill+i") f"#]),
            (&["--remove", "cap_kill", "f"], &[r#"Set Removed("cap_kill") f"#]),
            // The pairs before a mistake count.
            (&["=p", "a", "-v"], &["Set =p a"]),
            (&["=p", "a", "=i"], &["Set =p a", "usage: no file for the capabilities"]),
            (&["--help", "=i"], &["Help", "usage: no file for the capabilities"]),
            (&["-h"], &["ShortHelp"]),
            (&["--license"], &["License"]),
            (&["-"], &["usage: no file for the capabilities"]),
            (&["-n"], &["usage: -n needs a root ID"]),
            (&["-n", "0"], &["0: not a root ID, which is a number from 1 to 4294967294"]),
            (&["--add"], &["usage: --add and --remove need capabilities"]),
            (&["-v", "--add", "cap_kill", "f"], &["usage: --add and --remove cannot be combined with -v"]),
            (&["--add", "cap_kill=p", "f"], &["usage: --add needs a list of capabilities, or a list, + and flags"]),
            (&["--remove", "cap_kill+p", "f"], &["usage: --remove needs a list of capabilities without flags"]),
            (&[" ", "f"], &["empty space is an invalid capability, did you mean -r?"]),
            // --json holds for the whole line, but is a file after capabilities.
            (&["=p", "f", "--json"], &["usage: --json needs -v or --dry-run"]),
            (&["-v", "=", "f", "--json"], &["Verify = f"]),
            (&["=p", "--json"], &["Set =p --json"]),
        ];
        for (line, want) in rows {
            assert_eq!(parse(line), *want, "{line:?}");
        }
    }
}
