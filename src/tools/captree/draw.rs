//! The lines of a tree, wrapped to a terminal's width.

use std::io::{self, Write};

use crate::tools::Stream;

/// A line of the tree.
pub(super) struct Row {
    /// The columns before the tree.
    pub(super) columns: Vec<String>,
    /// The branches that lead to this line.
    pub(super) stem: String,
    /// The branches beside the lines below.
    pub(super) below: String,
    /// The name, the part that is coloured if selected, and the rest.
    pub(super) head: [String; 3],
    pub(super) marked: bool,
    pub(super) sets: String,
}

#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) color: bool,
    /// The width, or `None` to disable wrapping.
    pub(super) width: Option<usize>,
}

/// Writes rows with aligned columns.
pub(super) fn write(rows: &[Row], style: Style, out: &mut Stream) -> io::Result<()> {
    let count = rows.first().map_or(0, |row| row.columns.len());
    let widest = |at: usize| rows.iter().map(|row| row.columns[at].chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|at| widest(at).unwrap_or(0)).collect();
    let before: usize = widths.iter().map(|width| width + 2).sum();
    for row in rows {
        for (column, width) in row.columns.iter().zip(&widths) {
            write!(out, "{column:<width$}  ")?;
        }
        let [name, marked, rest] = &row.head;
        let (red, plain) =
            if style.color && row.marked { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
        write!(out, "{}{name}", row.stem)?;
        out.control(red)?;
        write!(out, "{marked}")?;
        out.control(plain)?;
        write!(out, "{rest}")?;
        let used = [&row.stem, name, marked, rest].map(|text| text.chars().count()).iter().sum();
        let indent = row.below.chars().count() + INDENT.len();
        let lines = match style.width {
            Some(width) => broken(&row.sets, width.saturating_sub(before), used, indent),
            None => vec![&*row.sets],
        };
        for (index, line) in lines.into_iter().enumerate() {
            if index > 0 {
                write!(out, "\n{:before$}{}{INDENT}", "", row.below)?;
            }
            write!(out, "{line}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The indentation of continuation lines, below the branches.
const INDENT: &str = "    ";

/// The minimum width of a line, at any depth.
const LEAST: usize = 20;

/// Wraps `text` after commas or before blanks. The first line starts in column `used`, and the
/// others in column `indent`.
fn broken(text: &str, width: usize, used: usize, indent: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    let mut room = width.saturating_sub(used);
    while rest.chars().count() > room {
        let end = rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at);
        let comma = rest[..end].rfind(',').map(|at| at + 1);
        let blank = rest[..end].rfind(' ').filter(|&at| at > 0);
        // The first line may stay empty, because the next one has more room.
        let at = match comma.max(blank) {
            Some(at) => at,
            None if lines.is_empty() => 0,
            None => rest.find(',').map_or(rest.len(), |at| at + 1),
        };
        lines.push(&rest[..at]);
        rest = rest[at..].trim_start();
        room = width.saturating_sub(indent).max(LEAST);
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_fit() {
        #[rustfmt::skip]
        let rows: &[(&str, usize, usize, usize, &[&str])] = &[
            ("",                          80,  5, 4, &[""]),
            (" \"=ep\"",                  80,  5, 4, &[" \"=ep\""]),
            (" \"a,b,c\" [d,e]",          12,  5, 0, &[" \"a,b,", "c\" [d,e]"]),
            (" \"aaaa,bbbb=ep\" [cccc]",  30, 10, 4, &[" \"aaaa,bbbb=ep\"", "[cccc]"]),
            (" [aaaaaaaaaa,bbbbbbbbbb]",  24, 24, 4, &["", "[aaaaaaaaaa,", "bbbbbbbbbb]"]),
            (" [aaaaaaaaaa,bbbbbbbbbb]",   0, 99, 9, &["", "[aaaaaaaaaa,", "bbbbbbbbbb]"]),
            (" [abcdefghijklmnopqrstuvwxyz]", 5, 5, 5, &["", "[abcdefghijklmnopqrstuvwxyz]"]),
        ];
        for &(text, width, used, indent, want) in rows {
            assert_eq!(broken(text, width, used, indent), want, "{text} {width}");
        }
    }
}
