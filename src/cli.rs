//! The programs: each parses its arguments, calls the library and prints.

use std::{
    error::Error,
    ffi::{OsStr, OsString},
    fmt,
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::{Cap, CapSet, CapState, file, sys};

pub mod capsh;
pub mod captree;
pub mod completions;
pub mod decode;
pub mod deploy;
pub mod diff;
pub mod explain;
pub mod getcap;
pub mod getpcaps;
mod input;
pub mod json;
pub mod minimize;
pub mod oci;
pub mod rcap;
pub mod report;
pub mod run;
mod save;
pub mod setcap;
mod source;
mod stream;
pub mod suggest;
pub mod trace;
pub mod why;

pub use self::stream::Stream;

/// One command: the table of them feeds dispatch and help.
pub(crate) struct Applet {
    pub(crate) name: &'static str,
    /// One line that says what it is for.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&[OsString], &mut Io<'_>) -> io::Result<Exit>,
    /// Its options, for those who complete them.
    pub(crate) command: fn() -> clap::Command,
}

/// The world as a command sees it, so that a test can hand it another.
pub struct Io<'a> {
    /// Standard input.
    pub input: &'a mut (dyn Read + Send),
    /// Standard output.
    pub out: &'a mut Stream,
    /// Standard error.
    pub err: &'a mut Stream,
    /// Whether standard output is a terminal.
    pub out_terminal: bool,
    /// Whether standard error is a terminal.
    pub err_terminal: bool,
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").finish_non_exhaustive()
    }
}

impl Io<'_> {
    /// Prints an error and its causes to standard error, behind the name of the program.
    fn complain(&mut self, program: &str, err: &dyn Error) -> io::Result<()> {
        self.complain_in_words(program, &chain(err))
    }

    /// Prints the help that was asked for, or what was wrong with the command line: with what to
    /// exit then.
    fn usage(&mut self, err: &clap::Error, mistake: Exit) -> io::Result<Exit> {
        if err.use_stderr() {
            return write!(self.err, "{err}").map(|()| mistake);
        }
        write!(self.out, "{err}").map(|()| Exit::SUCCESS)
    }

    fn complain_in_words(&mut self, program: &str, words: &str) -> io::Result<()> {
        writeln!(self.err, "{program}: {}", Escaped(words.as_bytes()))
    }
}

/// The exit status of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    const SUCCESS: Exit = Exit(0);
    const FAILURE: Exit = Exit(1);
    /// The command line is wrong.
    const USAGE: Exit = Exit(2);
}

/// Runs a command on the standard streams of the process and its arguments.
pub fn main(run: fn(&[OsString], &mut Io<'_>) -> io::Result<Exit>) -> ExitCode {
    // A closed pipe ends libcap's programs by the signal. SIGPIPE always has a default action.
    let _ = sys::default_sigpipe();
    let argv: Vec<OsString> = std::env::args_os().collect();
    let mut io = Io {
        input: &mut io::stdin(),
        out: &mut Stream::stdout(),
        err: &mut Stream::stderr(),
        out_terminal: io::stdout().is_terminal(),
        err_terminal: io::stderr().is_terminal(),
    };
    let result = run(&argv, &mut io).and_then(|exit| io.out.flush().map(|()| exit));
    let exit = match result {
        Ok(exit) => exit,
        // The reader has gone away, as after `| head`: nobody to tell.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Exit::SUCCESS,
        Err(err) => {
            let name =
                argv.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
            let words = format!("{}: cannot write: {}", name.display(), chain(&err));
            let _ = writeln!(io.err, "{}", Escaped(words.as_bytes()));
            Exit::FAILURE
        }
    };
    exit.0.into()
}

/// The text of an error and of its causes, without the number that the standard library adds.
fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text.push_str(": ");
        text.push_str(&err.to_string());
        cause = err.source();
    }
    match text.rfind(" (os error ") {
        Some(end) if text.ends_with(')') => text[..end].to_owned(),
        _ => text,
    }
}

/// Names with commas, in any case, with or without `cap_`.
fn parse_caps(text: &str) -> Result<CapSet, String> {
    let cap = |name: &str| -> Result<CapSet, String> {
        let name = name.trim().to_ascii_lowercase();
        if name == "all" {
            return Ok(CapSet::supported());
        }
        let full = if name.starts_with("cap_") { name.clone() } else { format!("cap_{name}") };
        let cap: Result<Cap, _> = full.parse().or_else(|_| name.parse());
        cap.map(CapSet::from).map_err(|_| no_capability(&name))
    };
    text.split(',').try_fold(CapSet::empty(), |set, name| Ok(set | cap(name)?))
}

/// That there is none of this name, and which one may have been meant.
fn no_capability(name: &str) -> String {
    /// Less like it than this is another word.
    const ALIKE: f64 = 0.85;
    /// Longer than any name. A whole file can be in the place of one.
    const LONG: usize = 40;
    fn short(name: &str) -> &str {
        name.strip_prefix("cap_").unwrap_or(name)
    }
    if let Some((end, _)) = name.char_indices().nth(LONG) {
        return format!("there is no capability {:?}...", &name[..end]);
    }
    let alike = |known: &'static str| (strsim::jaro_winkler(short(name), short(known)), known);
    let names = CapSet::NAMED.caps().filter_map(Cap::name).map(alike);
    let best = names.max_by(|(a, _), (b, _)| a.total_cmp(b));
    let meant = best.filter(|(likeness, _)| *likeness > ALIKE);
    let meant = meant.map(|(_, known)| format!("; did you mean {known}?")).unwrap_or_default();
    format!("there is no capability {name:?}{meant}")
}

/// The directories of programs, for a process with more privileges than its caller.
const SAFE_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the directories of programs: those of `PATH`, unless this process has privileges that
/// its caller lacks.
fn search_path() -> Option<OsString> {
    if sys::is_privileged_by_file() {
        return Some(SAFE_PATH.into());
    }
    std::env::var_os("PATH")
}

/// Returns the command for a program that the user names. A name without a slash is looked for in
/// [`search_path`], below the root directory of the child.
fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    if sys::is_privileged_by_file() {
        command.env("PATH", SAFE_PATH);
    }
    command
}

/// Returns the command for a program that this one needs for itself. Variables such as `HOME` can
/// lead it to other programs, so it gets none of a caller with fewer privileges.
fn helper(name: &str) -> Command {
    let mut command = program(name);
    if sys::is_privileged_by_file() {
        command.env_clear().env("PATH", SAFE_PATH);
    }
    command
}

/// The directories in which the program of a command is looked for.
#[derive(Debug)]
struct Place<'a> {
    /// The root directory, if not this process's.
    root: Option<&'a Path>,
    /// The working directory below it, if not this process's or the root directory.
    directory: Option<&'a Path>,
    /// The directories of programs.
    path: OsString,
}

impl Default for Place<'_> {
    fn default() -> Self {
        // The default of the C library.
        let path = search_path().unwrap_or_else(|| "/bin:/usr/bin".into());
        Place { root: None, directory: None, path }
    }
}

impl Place<'_> {
    /// Finds the file that would be executed, and opens it with `O_PATH`.
    fn find(&self, program: &OsStr) -> Option<(PathBuf, File)> {
        let find = |path: PathBuf| {
            let file = self.open(&path).ok()?;
            let stat = file.metadata().ok()?;
            (stat.is_file() && stat.mode() & 0o111 != 0).then_some((path, file))
        };
        if program.as_bytes().contains(&b'/') {
            return find(program.into());
        }
        std::env::split_paths(&self.path).find_map(|dir| find(dir.join(program)))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let path = self.directory.map_or_else(|| path.into(), |dir| dir.join(path));
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(self.root.unwrap_or(&path))?;
        if self.root.is_none() {
            return Ok(opened);
        }
        // Symbolic links are followed as after chroot(2).
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        Ok(openat2(&opened, &path, how)?.into())
    }

    /// Returns the capabilities of a program's file.
    fn file_caps(&self, program: &OsStr) -> Option<CapState> {
        let (_, file) = self.find(program)?;
        file::read_fd(&file).ok()?.map(CapState::from)
    }
}

/// Returns the path of a program's file.
fn find_program(program: &OsStr) -> Option<PathBuf> {
    let (path, _) = Place::default().find(program)?;
    std::fs::canonicalize(path).ok()
}

/// A name as it is printed: as it is into a pipe or a file, escaped on a terminal.
struct Name<'a> {
    bytes: &'a [u8],
    terminal: bool,
}

impl<'a> Name<'a> {
    fn new(name: &'a (impl AsRef<OsStr> + ?Sized), terminal: bool) -> Name<'a> {
        Name { bytes: name.as_ref().as_bytes(), terminal }
    }

    fn write(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        if self.terminal {
            write!(out, "{}", Escaped(self.bytes))
        } else {
            out.write_all(self.bytes)
        }
    }
}

/// Bytes of others, safe to show: what is no printable character stands as a backslash sequence.
/// A backslash itself is doubled where there are any, so that the text says which.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(text) = str::from_utf8(self.0)
            && text.chars().all(is_printable)
        {
            return f.write_str(text);
        }
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if is_printable(char) && char != '\\' {
                    write!(f, "{char}")?;
                } else {
                    write!(f, "{}", char.escape_default())?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Whether a terminal shows the character, and does nothing else.
fn is_printable(char: char) -> bool {
    // Letters and a symbol that look like nothing, or like a space.
    let is_blank = matches!(char, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}');
    // What escape_debug leaves alone, and the quotes, which mean nothing here.
    matches!(char, '"' | '\'' | '\\') || (char.escape_debug().len() == 1 && !is_blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped() {
        #[rustfmt::skip]
        let rows: &[(&[u8], &str)] = &[
            (b"plain name",              "plain name"),
            ("r\u{e9}sum\u{e9} \u{65e5}".as_bytes(), "r\u{e9}sum\u{e9} \u{65e5}"),
            (br#"quo"te's \ "#,          r#"quo"te's \ "#),
            (b"two\nlines",              r"two\nlines"),
            (b"\x1b[31m",                r"\u{1b}[31m"),
            (b"\\ \r",                   r"\\ \r"),
            (b"\xff\xfe",                r"\xff\xfe"),
            (b"a\x7f\xc2\x9b",           r"a\u{7f}\u{9b}"),
            ("\u{202e}txt".as_bytes(),   r"\u{202e}txt"),
            (b"",                        ""),
        ];
        for &(bytes, want) in rows {
            assert_eq!(Escaped(bytes).to_string(), want, "{bytes:?}");
        }
    }

    #[test]
    fn names() {
        let two = CapSet::of(&[Cap::NET_RAW, Cap::CHOWN]);
        for text in ["net_raw,chown", "CAP_NET_RAW,cap_chown", "NET_RAW, CHOWN"] {
            assert_eq!(parse_caps(text), Ok(two), "{text}");
        }
        assert_eq!(parse_caps("all"), Ok(CapSet::supported()));
        let words = parse_caps(&"x".repeat(1 << 24)).unwrap_err();
        assert_eq!(words, format!("there is no capability {:?}...", "x".repeat(40)));
        for text in ["", "net_row", "cap_", "all,x"] {
            assert!(parse_caps(text).is_err(), "{text}");
        }
        #[rustfmt::skip]
        let rows = [
            ("net_row",          Some("cap_net_raw")),
            ("CAP_SYSADMIN",     Some("cap_sys_admin")),
            ("dac_overide",      Some("cap_dac_override")),
            ("net_bind_sevice",  Some("cap_net_bind_service")),
            ("chwon",            Some("cap_chown")),
            ("xyz",              None),
            ("",                 None),
        ];
        for (text, want) in rows {
            let words = parse_caps(text).unwrap_err();
            let meant =
                words.split_once("did you mean ").map(|(_, name)| name.trim_end_matches('?'));
            assert_eq!(meant, want, "{text}: {words}");
        }
    }

    #[test]
    fn no_number_behind_the_text() {
        let err = crate::CapState::of_pid(u32::MAX).unwrap_err();
        assert_eq!(chain(&err), "there is no process 4294967295");
        let err = crate::file::read("/nonexistent").unwrap_err();
        assert_eq!(
            chain(&err),
            "cannot read the capabilities of /nonexistent: No such file or directory"
        );
    }
}
