//! Mistakes in a command line, in words.

use std::{error::Error, fmt, num::ParseIntError};

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::caps::most_alike;

/// A command line that a program does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake(String);

impl Mistake {
    pub fn new(words: impl Into<String>) -> Mistake {
        Mistake(words.into())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Mistake {}

impl Mistake {
    /// Returns the mistake in a command line of `command`. The option that ends in the word of an
    /// unknown one comes before one that is spelled like it: `--cap-drop` for `--drop`.
    pub fn of(err: &clap::Error, command: &Command) -> Mistake {
        match (err.kind(), err.get(ContextKind::InvalidArg)) {
            (ErrorKind::UnknownArgument, Some(ContextValue::String(arg))) => {
                let meant = by_last_word(arg, command.get_arguments().filter_map(Arg::get_long));
                let unknown = |meant: String| {
                    Mistake(format!("unknown option {arg}{}", did_you_mean(Some(&meant))))
                };
                meant.map_or_else(|| Mistake::from(err), unknown)
            }
            _ => Mistake::from(err),
        }
    }
}

/// Returns the only option that ends in the word of an unknown one.
fn by_last_word<'a>(unknown: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let word = unknown.strip_prefix("--").filter(|word| !word.is_empty())?;
    let mut meant = names.filter(|name| name.rsplit('-').next() == Some(word));
    meant.next().filter(|_| meant.next().is_none()).map(|name| format!("--{name}"))
}

impl From<&clap::Error> for Mistake {
    fn from(err: &clap::Error) -> Mistake {
        let context = |kind| err.get(kind).map(strings).unwrap_or_default();
        let arg = context(ContextKind::InvalidArg);
        let first = arg.first().map(|arg| bare(arg)).unwrap_or_default();
        let value = context(ContextKind::InvalidValue).join(" ");
        // An empty value is still to be seen.
        let shown = if value.is_empty() { "''" } else { &value };
        let meant = [ContextKind::SuggestedArg, ContextKind::SuggestedValue].map(context).concat();
        let meant = did_you_mean(meant.first().map(|meant| bare(meant)).as_deref());
        let prefix =
            if first.starts_with('-') { format!("{} ", name(&first)) } else { String::new() };
        Mistake(match err.kind() {
            ErrorKind::UnknownArgument if first.starts_with('-') => {
                format!("unknown option {first}{meant}")
            }
            ErrorKind::UnknownArgument => format!("unexpected argument {first}{meant}"),
            ErrorKind::InvalidValue if value.is_empty() => {
                format!("{} requires a value: {first}", name(&first))
            }
            ErrorKind::InvalidValue => {
                let valid = context(ContextKind::ValidValue).join(", ");
                let reason = if meant.is_empty() { format!(", not one of {valid}") } else { meant };
                format!("{prefix}{value}: unknown name{reason}")
            }
            ErrorKind::ValueValidation => {
                let reason = match err.source() {
                    Some(source) if source.is::<ParseIntError>() => "not a number here".to_owned(),
                    Some(source) => source.to_string(),
                    None => String::new(),
                };
                format!("{prefix}{shown}: {reason}")
            }
            ErrorKind::MissingRequiredArgument => {
                let missing: Vec<String> = arg.iter().map(|arg| bare(arg)).collect();
                format!("missing {}", missing.join(", "))
            }
            ErrorKind::ArgumentConflict => {
                let others = context(ContextKind::PriorArg);
                let others: Vec<String> = others.iter().map(|other| bare(other)).collect();
                let others: Vec<&str> = others.iter().map(|other| name(other)).collect();
                match &*others {
                    [] => format!("{} cannot be used with other options", name(&first)),
                    [other] if *other == name(&first) => format!("{other} is given twice"),
                    others => format!("{} cannot be used with {}", name(&first), others.join(", ")),
                }
            }
            ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
                let [want, got] = [ContextKind::ExpectedNumValues, ContextKind::ActualNumValues]
                    .map(|kind| context(kind).concat());
                let arg = first.split(' ').next().unwrap_or_default();
                let least = context(ContextKind::MinValues).concat();
                let at_least = if least.is_empty() { "" } else { "at least " };
                format!("{arg}: expected {at_least}{least}{want}, got {got}")
            }
            ErrorKind::TooManyValues => format!("unexpected argument {value}"),
            ErrorKind::InvalidUtf8 => "an argument is not UTF-8 text".to_owned(),
            _ => {
                let text = err.to_string();
                let line = text.lines().next().unwrap_or_default();
                line.strip_prefix("error: ").unwrap_or(line).to_owned()
            }
        })
    }
}

fn strings(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::None => Vec::new(),
        ContextValue::Strings(values) => values.clone(),
        value => vec![value.to_string()],
    }
}

/// An argument as a usage line names it, without the signs of its grammar: `--to FORMAT`.
fn bare(arg: &str) -> String {
    arg.replace(['<', '>', '[', ']'], "").trim_end_matches("...").to_owned()
}

/// The option alone, without its value.
fn name(arg: &str) -> &str {
    arg.split([' ', '=']).next().unwrap_or_default()
}

/// Returns the name that is meant by another word for it, or that is spelled most like `word`.
pub fn meant<'a>(
    word: &str,
    names: impl IntoIterator<Item = &'a str>,
    aliases: &[(&str, &'a str)],
) -> Option<&'a str> {
    const ALIKE: f64 = 0.85;
    let word = word.to_lowercase();
    let alias = aliases.iter().find(|(alias, _)| *alias == word).map(|(_, name)| *name);
    alias.or_else(|| most_alike(&word, names.into_iter().map(|name| (name, name)), ALIKE))
}

/// Returns the question that ends a message, if there is a name to propose.
pub fn did_you_mean(meant: Option<&str>) -> String {
    meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// Proposes the option that is spelled most like an unknown one, as the end of a message.
pub(super) fn meant_option<'a>(word: &str, options: impl Iterator<Item = &'a str>) -> String {
    const ALIKE: f64 = 0.9;
    let word = word.split('=').next().unwrap_or_default();
    // The short ones are all alike.
    let options = options.filter(|option| option.len() > 2);
    let options = options.map(|option| (option.trim_end_matches('='), option));
    did_you_mean(most_alike(word, options, ALIKE))
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    fn command() -> Command {
        let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let number = |text: &str| text.parse::<u8>();
        Command::new("x").args([
            flag("json"),
            flag("verbose").conflicts_with("json"),
            Arg::new("level").long("level").value_name("N").value_parser(number),
            Arg::new("shell").long("shell").value_parser(["bash", "fish"]),
            Arg::new("FILE").required(true),
            Arg::new("PAIR").num_args(2),
        ])
    }

    #[test]
    fn words() {
        #[rustfmt::skip]
        let rows: [(&[&str], &str); 13] = [
            (&[],                              "missing FILE"),
            (&["f", "--jsn"],                  "unknown option --jsn; did you mean --json?"),
            (&["f", "--x=y"],                  "unknown option --x"),
            (&["f", "-x"],                     "unknown option -x"),
            (&["f", "--level"],                "--level requires a value: --level N"),
            (&["f", "--level", "x"],           "--level x: not a number here"),
            (&["f", "--level="],               "--level '': not a number here"),
            (&["f", "--shell", "fisch"],       "--shell fisch: unknown name; did you mean fish?"),
            (&["f", "--shell", "x"],           "--shell x: unknown name, not one of bash, fish"),
            (&["f", "--json", "--verbose"],    "--json cannot be used with --verbose"),
            (&["f", "--json", "--json"],       "--json is given twice"),
            (&["f", "a"],                      "PAIR: expected 2, got 1"),
            (&["f", "a", "b", "c"],            "PAIR: expected 2, got 3"),
        ];
        for (args, want) in rows {
            let argv = ["x"].iter().chain(args);
            let err = command().try_get_matches_from(argv).unwrap_err();
            assert_eq!(Mistake::from(&err).to_string(), want, "{args:?}: {err}");
        }
    }

    #[test]
    fn last_words() {
        let names = ["cap-add", "cap-drop", "no-add", "cap"];
        let rows = [
            ("--drop", Some("--cap-drop")),
            ("--add", None),
            ("--dro", None),
            ("-drop", None),
            ("--", None),
            ("drop", None),
        ];
        for (word, want) in rows {
            assert_eq!(by_last_word(word, names.into_iter()).as_deref(), want, "{word}");
        }
    }

    #[test]
    fn names_that_are_meant() {
        let meant = |word| meant(word, ["kubernetes", "docker"], &[("k8s", "kubernetes")]);
        assert_eq!(meant("K8s"), Some("kubernetes"));
        assert_eq!(meant("dokcer"), Some("docker"));
        assert_eq!(meant("x"), None);
    }
}
