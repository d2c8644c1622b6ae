//! Tables and paragraphs that fit a terminal. Nothing breaks inside a word.

use std::{
    fmt::Display,
    io::{self, Write},
};

use super::{Stream, Style};
use crate::CapSet;

/// Rows of cells. On a terminal, the last column wraps between words and is
/// indented; a pipe or a file gets one line for each row.
#[derive(Debug)]
pub struct Table {
    indent: usize,
    gap: usize,
    right: Option<usize>,
    rows: Vec<(Style, Vec<String>)>,
}

impl Table {
    /// A narrower last column goes below the others instead.
    const NARROWEST: usize = 24;
    /// How far it is indented there.
    const BELOW: usize = 4;

    /// Returns a table whose lines begin with `indent` spaces.
    pub fn new(indent: usize) -> Table {
        Table { indent, gap: 2, right: None, rows: Vec::new() }
    }

    /// Puts `gap` spaces between columns.
    #[must_use]
    pub fn gap(self, gap: usize) -> Table {
        Table { gap, ..self }
    }

    /// Aligns a column, counted from 0, to the right.
    #[must_use]
    pub fn right(self, column: usize) -> Table {
        Table { right: Some(column), ..self }
    }

    pub fn row(&mut self, cells: &[&dyn Display]) {
        self.styled(Style::Plain, cells);
    }

    pub fn styled(&mut self, style: Style, cells: &[&dyn Display]) {
        self.rows.push((style, cells.iter().map(ToString::to_string).collect()));
    }

    /// # Errors
    ///
    /// Writing to `out`.
    pub fn write(&self, out: &mut Stream) -> io::Result<()> {
        let width = out.width();
        for (style, line) in self.lines(width) {
            out.paint(style, &line)?;
            writeln!(out)?;
        }
        Ok(())
    }

    fn lines(&self, width: Option<usize>) -> Vec<(Style, String)> {
        let columns = self.rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        let first = columns.saturating_sub(1);
        let widest = |at: usize| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..first).map(widest).collect();
        let start = self.indent + widths.iter().map(|width| width + self.gap).sum::<usize>();
        let whole = start + widest(first);
        let mut lines = Vec::new();
        for (style, cells) in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (at, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
                let gap = " ".repeat(width - cell.chars().count());
                let [before, after] = if self.right == Some(at) { [&gap, ""] } else { ["", &gap] };
                line.extend([before, cell, after, &" ".repeat(self.gap)]);
            }
            let last = cells.get(first).map(String::as_str).unwrap_or_default();
            let mut push = |line: String| lines.push((*style, line.trim_end().to_owned()));
            match width {
                Some(width) if whole > width && width < start + Table::NARROWEST => {
                    push(line);
                    let indent = self.indent + Table::BELOW;
                    for part in wrap(last, width.saturating_sub(indent)) {
                        push(format!("{:indent$}{part}", ""));
                    }
                }
                Some(width) if whole > width => {
                    let parts = wrap(last, width - start);
                    let mut parts = parts.iter();
                    push(line + parts.next().map(String::as_str).unwrap_or_default());
                    for part in parts {
                        push(format!("{:start$}{part}", ""));
                    }
                }
                _ => push(line + last),
            }
        }
        lines
    }
}

/// Splits a text between words into lines of at most `width` characters. A word that is longer, such
/// as a set of capabilities, is split after commas.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut length = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let is_long = word.chars().count() > width;
        let parts = word.split_inclusive(',').filter(|_| is_long);
        let parts = parts.chain((!is_long).then_some(word));
        for (nth, part) in parts.enumerate() {
            let gap = usize::from(nth == 0);
            let part_length = part.chars().count();
            match lines.last_mut() {
                Some(line) if length + gap + part_length <= width => {
                    line.extend([&" "[..gap], part]);
                    length += gap + part_length;
                }
                _ => {
                    lines.push(part.to_owned());
                    length = part_length;
                }
            }
        }
    }
    lines
}

/// Returns the width of prose: that of the terminal, but no more than can be read well; for a pipe
/// or a file, 80.
pub fn prose_width(out: &Stream) -> usize {
    out.width().map_or(80, |width| width.min(100))
}

/// Writes prose, indented by `indent` spaces; its other lines by two more, unless it is not indented
/// at all.
///
/// # Errors
///
/// Writing to `out`.
pub fn prose(indent: usize, text: &str, out: &mut Stream) -> io::Result<()> {
    lines(Style::Plain, indent, text, prose_width(out), out)
}

/// Writes a message like [`prose`], but as one line to a pipe or a file.
///
/// # Errors
///
/// Writing to `out`.
pub fn paragraph(style: Style, indent: usize, text: &str, out: &mut Stream) -> io::Result<()> {
    lines(style, indent, text, out.width().unwrap_or(usize::MAX), out)
}

fn lines(
    style: Style,
    indent: usize,
    text: &str,
    width: usize,
    out: &mut Stream,
) -> io::Result<()> {
    let others = if indent == 0 { 0 } else { indent + 2 };
    for (nth, line) in wrap(text, width.saturating_sub(others)).iter().enumerate() {
        let indent = if nth == 0 { indent } else { others };
        out.paint(style, &format!("{:indent$}{line}", ""))?;
        writeln!(out)?;
    }
    Ok(())
}

/// Writes lines. On a terminal, those that are too long wrap: below the last of their columns, which
/// are two spaces apart, or indented by two more spaces than they are.
///
/// # Errors
///
/// Writing to `out`.
pub fn fit(text: &str, out: &mut Stream) -> io::Result<()> {
    let width = out.width().unwrap_or(usize::MAX);
    text.lines().flat_map(|line| fitted(line, width)).try_for_each(|line| writeln!(out, "{line}"))
}

fn fitted(line: &str, width: usize) -> Vec<String> {
    if line.chars().count() <= width {
        return vec![line.to_owned()];
    }
    let indent = line.len() - line.trim_start().len();
    let column = line[indent..].rfind("  ").map(|at| indent + at + 2);
    let column = column.filter(|at| line[..*at].chars().count() + Table::NARROWEST <= width);
    let (head, rest) = line.split_at(column.unwrap_or(indent));
    let hang = if column.is_some() { head.chars().count() } else { indent + 2 };
    let parts = wrap(rest, width.saturating_sub(hang));
    let line = |(nth, part): (usize, &String)| {
        if nth == 0 { format!("{head}{part}") } else { format!("{:hang$}{part}", "") }
    };
    parts.iter().enumerate().map(line).collect()
}

/// Returns a set in words: `none` for the empty one.
pub fn set_words(set: CapSet) -> String {
    if set.is_empty() { "none".to_owned() } else { set.to_string() }
}

/// The length of a shortened id of a container.
const SHORT: usize = 12;

/// Shortens the ids of containers, 64 hexadecimal digits, as Docker and Podman do.
pub fn short_ids(text: &str) -> String {
    let is_digit = |char: char| char.is_ascii_digit() || ('a'..='f').contains(&char);
    let parts = text.split_inclusive(|char| !is_digit(char));
    let shorten = |part: &str| {
        let digits = part.trim_end_matches(|char| !is_digit(char));
        if digits.len() == 64 {
            format!("{}{}", &digits[..SHORT], &part[digits.len()..])
        } else {
            part.to_owned()
        }
    };
    parts.map(shorten).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(table: &Table, width: Option<usize>) -> Vec<String> {
        table.lines(width).into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn a_table_in_widths() {
        let mut table = Table::new(2).right(1);
        table.row(&[&"CAP", &"N", &"FOR"]);
        table.row(&[&"cap_net_raw", &12, &"a raw socket of the internet protocol"]);
        table.row(&[&"x", &1, &""]);
        #[rustfmt::skip]
        let rows: [(Option<usize>, &[&str]); 3] = [
            (None, &[
                "  CAP           N  FOR",
                "  cap_net_raw  12  a raw socket of the internet protocol",
                "  x             1",
            ]),
            (Some(48), &[
                "  CAP           N  FOR",
                "  cap_net_raw  12  a raw socket of the internet",
                "                   protocol",
                "  x             1",
            ]),
            (Some(30), &[
                "  CAP           N",
                "      FOR",
                "  cap_net_raw  12",
                "      a raw socket of the",
                "      internet protocol",
                "  x             1",
            ]),
        ];
        for (width, want) in rows {
            assert_eq!(lines(&table, width), want, "{width:?}");
        }
        assert_eq!(lines(&Table::new(0), Some(80)), [""; 0]);
    }

    #[test]
    fn lines_that_fit() {
        #[rustfmt::skip]
        let rows: [(&str, usize, &[&str]); 5] = [
            ("short",                              20, &["short"]),
            ("  a sentence that is long",          20, &["  a sentence that", "    is long"]),
            ("cap_kill  needed: it failed there, and so on", 34,
             &["cap_kill  needed: it failed there,", "          and so on"]),
            ("cap_kill  needed: it failed",        24, &["cap_kill needed: it", "  failed"]),
            ("",                                   20, &[""]),
        ];
        for (line, width, want) in rows {
            assert_eq!(fitted(line, width), want, "{line}");
        }
    }

    #[test]
    fn ids_of_containers() {
        let id = "0123456789abcdef".repeat(4);
        let rows = [
            (format!("docker-{id}.scope"), "docker-0123456789ab.scope".to_owned()),
            (id.clone(), "0123456789ab".to_owned()),
            (format!("{id}0"), format!("{id}0")),
            ("cafe /a/b".to_owned(), "cafe /a/b".to_owned()),
        ];
        for (text, want) in rows {
            assert_eq!(short_ids(&text), want);
        }
    }

    #[test]
    fn long_words() {
        assert_eq!(wrap("of a,bb,ccc,d e", 6), ["of a,", "bb,", "ccc,d", "e"]);
        assert_eq!(wrap("abcdefgh ij", 4), ["abcdefgh", "ij"]);
        assert_eq!(wrap("", 4), [""; 0]);
    }

    proptest! {
        #[test]
        fn nothing_breaks_inside_a_word(
            words in prop::collection::vec("[a-z]{1,12}", 0..30),
            width in 12_usize..60,
        ) {
            let lines = wrap(&words.join(" "), width);
            prop_assert!(lines.iter().all(|line| line.len() <= width));
            let again: Vec<&str> = lines.iter().flat_map(|line| line.split(' ')).collect();
            prop_assert_eq!(again, words);
        }
    }
}
