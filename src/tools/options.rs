//! The options of a tool with a hand-written parser as a clap command, for completions.

use clap::{Arg, Command, ValueHint};

pub(super) fn file() -> Arg {
    Arg::new("FILE").num_args(0..).value_hint(ValueHint::FilePath)
}

/// Returns each spelling of the options of a table, without the name of its value.
pub(super) fn spellings(
    table: &'static [(&'static str, &'static str)],
) -> impl Iterator<Item = &'static str> {
    let spellings = table.iter().flat_map(|(spellings, _)| spellings.split(", "));
    spellings.map(|spelling| spelling.split(' ').next().unwrap_or_default())
}

/// Converts options in the notation of a help text: `-h, --help` or `--add CAPS`.
pub(super) fn by_table(
    name: &'static str,
    table: impl Iterator<Item = (&'static str, &'static str)>,
) -> Command {
    let rows = table.flat_map(|(spelling, about)| {
        spelling.split(", ").map(move |one| match one.split_once(' ') {
            Some((option, value)) => (option, value, about),
            None => (one, "", about),
        })
    });
    by_rows(name, rows)
}

/// Converts rows of an option, the name of its value, and its description.
pub(super) fn by_rows(
    name: &'static str,
    rows: impl Iterator<Item = (&'static str, &'static str, &'static str)>,
) -> Command {
    let mut known = Vec::new();
    let args = rows.filter_map(|(option, value, about)| {
        let is_joined = option.ends_with('=');
        let word = option.trim_end_matches('=').trim_start_matches('-');
        // The same name may exist with a value and without one.
        if known.contains(&word) {
            return None;
        }
        known.push(word);
        let arg = Arg::new(option).help(about);
        let arg = match (option.strip_prefix("--"), word.chars().next()) {
            (Some(_), Some(_)) => arg.long(word),
            (None, Some(letter)) if word.len() == 1 => arg.short(letter),
            _ => return None,
        };
        Some(if value.is_empty() {
            arg.action(clap::ArgAction::SetTrue)
        } else {
            arg.value_name(value).require_equals(is_joined)
        })
    });
    Command::new(name).disable_help_flag(true).args(args)
}
