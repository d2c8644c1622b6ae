//! The standard output and error of a command. All output uses them, so that untrusted bytes are
//! escaped before they reach a terminal.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, BufWriter, IsTerminal, LineWriter, Write},
    os::fd::AsFd,
};

use super::is_printable;

/// How a text looks on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Plain,
    /// Missing items, in red.
    Missing,
    /// Ignored items, dim.
    Aside,
}

/// An output stream.
pub struct Stream {
    to: Box<dyn Write + Send>,
    escapes: bool,
    colors: bool,
    /// The columns of the terminal.
    width: Option<usize>,
    /// The start of an incomplete character.
    partial: Vec<u8>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("escapes", &self.escapes).finish_non_exhaustive()
    }
}

impl Stream {
    /// Returns a stream that writes to `to`. With `escapes`, characters that are not printable, a
    /// newline or a tab are written as `\u001b`, an escape that is also valid in JSON, and invalid
    /// UTF-8 as `\xff`.
    pub fn new(to: impl Write + Send + 'static, escapes: bool) -> Stream {
        Stream { to: Box::new(to), escapes, colors: false, width: None, partial: Vec::new() }
    }

    /// The same stream, with the width of the terminal `file` and in colours if it is one that
    /// shows them.
    fn like(mut self, file: impl AsFd + IsTerminal) -> Stream {
        let is_terminal = file.is_terminal();
        self.colors = has_colors(is_terminal, |name| std::env::var_os(name));
        let size = is_terminal.then(|| terminal_size::terminal_size_of(file)).flatten();
        self.width = size.map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0);
        self
    }

    /// Returns the number of columns of the terminal; `None` for a pipe or a file.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Returns whether the stream shows colours.
    pub(super) fn colors(&self) -> bool {
        self.colors
    }

    /// Writes a text in a style, if the stream shows colours.
    ///
    /// # Errors
    ///
    /// Writing to the stream.
    pub fn paint(&mut self, style: Style, text: &str) -> io::Result<()> {
        let sequence = match style {
            Style::Missing if self.colors => "\x1b[31m",
            Style::Aside if self.colors => "\x1b[2m",
            _ => return self.write_all(text.as_bytes()),
        };
        self.control(sequence)?;
        self.write_all(text.as_bytes())?;
        self.control("\x1b[0m")
    }

    /// Returns standard output: escaped and line-buffered on a terminal, and unchanged and
    /// block-buffered in a pipe or a file.
    pub(super) fn stdout() -> Stream {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            Stream::new(LineWriter::new(stdout), true).like(io::stdout())
        } else {
            Stream::new(BufWriter::with_capacity(32 * 1024, stdout), false).like(io::stdout())
        }
    }

    /// Returns standard error, which is always escaped.
    #[must_use]
    pub fn stderr() -> Stream {
        Stream::new(io::stderr(), true).like(io::stderr())
    }

    /// Writes a control sequence of the program itself.
    pub(super) fn control(&mut self, sequence: &'static str) -> io::Result<()> {
        self.to.write_all(sequence.as_bytes())
    }

    /// Writes escaped bytes, except an incomplete character at the end.
    fn write_escaped(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for char in chunk.valid().chars() {
                push(&mut text, char);
            }
            let invalid = chunk.invalid();
            let is_begun = std::str::from_utf8(invalid).is_err_and(|err| err.error_len().is_none());
            if is_begun && chunks.peek().is_none() {
                self.partial = invalid.to_vec();
            } else {
                push_bytes(&mut text, invalid);
            }
        }
        self.to.write_all(text.as_bytes())
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.escapes {
            return self.to.write(bytes);
        }
        if self.partial.is_empty() {
            self.write_escaped(bytes)?;
        } else {
            let mut all = std::mem::take(&mut self.partial);
            all.extend(bytes);
            self.write_escaped(&all)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut text = String::new();
        push_bytes(&mut text, &std::mem::take(&mut self.partial));
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}

/// Whether a stream shows colours, given the variables of the environment: NO_COLOR switches them
/// off, CLICOLOR_FORCE on, and CLICOLOR=0 and a dumb terminal off. (no-color.org,
/// bixense.com/clicolors)
fn has_colors(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is = |name, value: &str| variable(name).is_some_and(|it| it == OsStr::new(value));
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    if is_set("NO_COLOR") {
        false
    } else if is_set("CLICOLOR_FORCE") && !is("CLICOLOR_FORCE", "0") {
        true
    } else {
        is_terminal && !is("CLICOLOR", "0") && !is("TERM", "dumb")
    }
}

fn push(text: &mut String, char: char) {
    if is_printable(char) || matches!(char, '\n' | '\t') {
        return text.push(char);
    }
    for unit in char.encode_utf16(&mut [0; 2]) {
        // Writing to a String does not fail.
        let _ = fmt::Write::write_fmt(text, format_args!("\\u{unit:04x}"));
    }
}

fn push_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = fmt::Write::write_fmt(text, format_args!("\\x{byte:02x}"));
    }
}

/// The output of a test.
#[cfg(test)]
#[derive(Clone, Default)]
pub(super) struct Memory(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Memory {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

#[cfg(test)]
impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the result of these writes.
    fn written(escapes: bool, parts: &[&[u8]]) -> Vec<u8> {
        let memory = Memory::default();
        let mut stream = Stream::new(memory.clone(), escapes);
        for part in parts {
            stream.write_all(part).unwrap();
        }
        stream.flush().unwrap();
        memory.bytes()
    }

    #[test]
    fn colors() {
        /// Whether it is a terminal, the variables, and whether there are colours.
        type Row<'a> = (bool, &'a [(&'a str, &'a str)], bool);
        #[rustfmt::skip]
        let rows: [Row<'_>; 12] = [
            (true,  &[],                                              true),
            (false, &[],                                              false),
            (true,  &[("NO_COLOR", "1")],                             false),
            (true,  &[("NO_COLOR", "")],                              true),
            (true,  &[("CLICOLOR", "0")],                             false),
            (true,  &[("CLICOLOR", "1")],                             true),
            (true,  &[("TERM", "dumb")],                              false),
            (false, &[("CLICOLOR", "1")],                             false),
            (false, &[("CLICOLOR_FORCE", "1")],                       true),
            (false, &[("CLICOLOR_FORCE", "0")],                       false),
            (true,  &[("CLICOLOR_FORCE", "1"), ("CLICOLOR", "0")],    true),
            (true,  &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],    false),
        ];
        for (is_terminal, variables, want) in rows {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            };
            assert_eq!(has_colors(is_terminal, variable), want, "{is_terminal} {variables:?}");
        }
    }

    #[test]
    fn styles() {
        for (colors, want) in [(true, "\x1b[31mx\\u001b\x1b[0m"), (false, "x\\u001b")] {
            let memory = Memory::default();
            let mut stream = Stream::new(memory.clone(), true);
            stream.colors = colors;
            stream.paint(Style::Missing, "x\x1b").unwrap();
            assert_eq!(memory.bytes(), want.as_bytes());
        }
    }

    #[test]
    fn escaped() {
        #[rustfmt::skip]
        let rows: &[(&[&[u8]], &str)] = &[
            (&[b"plain\n\ttext \"' \\"],              "plain\n\ttext \"' \\"),
            (&["r\u{e9}sum\u{e9} \u{65e5}".as_bytes()], "r\u{e9}sum\u{e9} \u{65e5}"),
            (&[b"r\xc3", b"\xa9sum"],                 "r\u{e9}sum"),
            (&[b"\xe6", b"\x97", b"\xa5"],            "\u{65e5}"),
            (&[b"\x1b[31m\r\x07\x7f"],                r"\u001b[31m\u000d\u0007\u007f"),
            (&[b"\xc2", b"\x9b"],                     r"\u009b"),
            (&["\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}".as_bytes()],
             r"\u202a\u202e\u2066\u2069\u200e\u200f\u061c"),
            (&["\u{200b}\u{feff}\u{2028}\u{ad}\u{3164}\u{2800}".as_bytes()],
             r"\u200b\ufeff\u2028\u00ad\u3164\u2800"),
            (&["\u{e0041}".as_bytes()],               r"\udb40\udc41"),
            (&[b"\xff", b"\xc3", b"x\x9b", b"\xe6\x97"], r"\xff\xc3x\x9b\xe6\x97"),
        ];
        for &(parts, want) in rows {
            assert_eq!(String::from_utf8(written(true, parts)).unwrap(), want, "{parts:?}");
            assert_eq!(written(false, parts), parts.concat());
        }
        let memory = Memory::default();
        Stream::new(memory.clone(), true).control("\x1b[31m").unwrap();
        assert_eq!(memory.bytes(), b"\x1b[31m");
    }

    proptest! {
        #[test]
        fn whatever_is_written(bytes: Vec<u8>, at: prop::sample::Index) {
            let (left, right) = bytes.split_at(at.index(bytes.len() + 1));
            let text = String::from_utf8(written(true, &[left, right])).unwrap();
            prop_assert!(text.chars().all(|char| is_printable(char) || "\n\t".contains(char)));
            prop_assert_eq!(written(true, &[&bytes]), text.into_bytes());
            prop_assert_eq!(written(false, &[left, right]), bytes);
        }

        /// Escaping does not change the value of a JSON document.
        #[test]
        fn json_stays_json(text: String) {
            let document = serde_json::to_vec(&text).unwrap();
            let escaped = written(true, &[&document]);
            prop_assert_eq!(serde_json::from_slice::<String>(&escaped).unwrap(), text);
        }
    }
}
