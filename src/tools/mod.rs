//! The programs. Each parses its arguments, calls the library and prints.

use std::{
    error::Error,
    ffi::{OsStr, OsString},
    fmt,
    io::{self, IsTerminal, Read, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::ExitCode,
};

use crate::sys;

pub mod capsh;
pub mod captree;
pub mod getcap;
pub mod getpcaps;
pub mod json;
mod mistake;
mod options;
pub mod setcap;
pub mod signals;
mod stream;
pub mod table;

pub use self::{
    mistake::{Mistake, did_you_mean, meant},
    stream::{Stream, Style},
};
pub use crate::caps::{likeness, most_alike};
pub use crate::{
    error::chain,
    launch::{Place, find_program, helper, program},
};

/// The environment of a command, which a test can replace.
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
    /// The exit status if the output cannot be written.
    pub unwritten: Exit,
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").finish_non_exhaustive()
    }
}

impl Io<'_> {
    /// Prints an error and its causes to standard error, after the name of the program.
    pub fn complain(&mut self, program: &str, err: &dyn Error) -> io::Result<()> {
        self.complain_in_words(program, &chain(err))
    }

    pub fn complain_in_words(&mut self, program: &str, words: &str) -> io::Result<()> {
        table::fit(&format!("{program}: {}", Escaped(words.as_bytes())), self.err)
    }
}

/// The exit status of a command. (rcap(1), EXIT STATUS)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Done, or the answer is yes.
    pub const SUCCESS: Exit = Exit(0);
    /// The answer is no.
    pub const NO: Exit = Exit(1);
    /// The command has failed, or its command line is wrong.
    pub const FAILED: Exit = Exit(2);
    /// The same, of a command that runs a program, whose exit status may be lower.
    pub const OWN_FAILURE: Exit = Exit(125);
    /// The program was found and cannot be executed.
    pub const CANNOT_EXECUTE: Exit = Exit(126);
    /// The program was not found.
    pub const NOT_FOUND: Exit = Exit(127);
    /// Interrupted: 128 and the number of SIGINT, as of a shell.
    pub const INTERRUPTED: Exit = Exit(130);

    /// One of libcap's tools has failed.
    pub const FAILURE: Exit = Exit(1);
}

/// Runs a command with the arguments and standard streams of the process.
pub fn main(run: fn(&[OsString], &mut Io<'_>) -> io::Result<Exit>) -> ExitCode {
    // A closed pipe kills libcap's programs with a signal. SIGPIPE always has a default action.
    let _ = sys::signal::default_sigpipe();
    let argv: Vec<OsString> = std::env::args_os().collect();
    let mut io = Io {
        input: &mut io::stdin(),
        out: &mut Stream::stdout(),
        err: &mut Stream::stderr(),
        out_terminal: io::stdout().is_terminal(),
        err_terminal: io::stderr().is_terminal(),
        unwritten: Exit::FAILURE,
    };
    let result = run(&argv, &mut io).and_then(|exit| io.out.flush().map(|()| exit));
    let exit = match result {
        Ok(exit) => exit,
        // The reader has exited, as with `| head`.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Exit::SUCCESS,
        Err(err) => {
            let name =
                argv.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
            let words = format!("{}: cannot write: {}", name.display(), chain(&err));
            let _ = writeln!(io.err, "{}", Escaped(words.as_bytes()));
            io.unwritten
        }
    };
    exit.0.into()
}

/// A name for output: unchanged in a pipe or a file, escaped on a terminal.
#[derive(Debug)]
pub struct Name<'a> {
    bytes: &'a [u8],
    terminal: bool,
}

impl<'a> Name<'a> {
    pub fn new(name: &'a (impl AsRef<OsStr> + ?Sized), terminal: bool) -> Name<'a> {
        Name { bytes: name.as_ref().as_bytes(), terminal }
    }

    pub fn write(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        if self.terminal {
            write!(out, "{}", Escaped(self.bytes))
        } else {
            out.write_all(self.bytes)
        }
    }
}

/// Untrusted bytes, safe to print: unprintable characters are escaped with a backslash. If there
/// are any, backslashes are doubled, so that the text is unambiguous.
#[derive(Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(text) = std::str::from_utf8(self.0)
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

/// Returns whether a terminal shows the character and does nothing else.
fn is_printable(char: char) -> bool {
    // Letters and a symbol that are invisible or look like a space.
    let is_blank = matches!(char, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}');
    // Characters that escape_debug does not change, and quotes, which are safe here.
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
    fn no_number_behind_the_text() {
        let err = crate::CapState::of_pid(u32::MAX).unwrap_err();
        assert_eq!(chain(&err), "process 4294967295: does not exist");
        let err = crate::file::read("/nonexistent").unwrap_err();
        assert_eq!(
            chain(&err),
            "cannot read the capabilities of /nonexistent: No such file or directory"
        );
    }
}
