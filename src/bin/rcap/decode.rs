//! `rcap decode`: converts between masks and names.

use std::{error::Error, fmt, io::Write};

use serde_json::{Value, json};

use super::{
    Escaped, Exit, Io,
    args::{DecodeRequest, caps},
    failure::Failure,
    input,
    json::SCHEMA,
};
use rcap::{
    CapSet, CapState, ParseError, UnknownCap,
    tools::table::{Table, set_words},
};

/// A set and its name, such as `CapEff`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    set: CapSet,
}

/// The error of text that is not a set in any form.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Undecodable {
    /// A list of names, one of which is unknown.
    Names(UnknownCap),
    Text(ParseError),
    Other,
}

impl Undecodable {
    fn of(text: &str) -> Undecodable {
        let is_word = |char: char| char.is_ascii_alphanumeric() || "_, ".contains(char);
        if text.contains('=') && text.lines().count() == 1 {
            text.parse::<CapState>().err().map_or(Undecodable::Other, Undecodable::Text)
        } else if !text.is_empty() && text.chars().all(is_word) {
            caps(text).err().map_or(Undecodable::Other, Undecodable::Names)
        } else {
            Undecodable::Other
        }
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undecodable::Names(err) => write!(f, "not a mask, and {err}"),
            Undecodable::Text(err) => err.fmt(f),
            Undecodable::Other => {
                f.write_str("not a mask, a /proc status line, a list of names or capability text")
            }
        }
    }
}

impl Error for Undecodable {}

/// Returns the sets in a text. In several lines, only those of `/proc/PID/status` count.
fn decode(text: &str, decimal: bool) -> Result<Vec<Named>, Undecodable> {
    let fields: Vec<Named> = text.lines().filter_map(field).collect();
    if !fields.is_empty() {
        return Ok(fields);
    }
    let text = text.trim();
    let one = |name: &str, set| Ok(vec![Named { name: name.to_owned(), set }]);
    if let Some(set) = mask(text, decimal).or_else(|| caps(text).ok()) {
        return one("", set);
    }
    // Empty text is also valid here.
    if let Ok(state) = text.parse::<CapState>()
        && !text.is_empty()
    {
        let sets = [
            ("effective", state.effective),
            ("permitted", state.permitted),
            ("inheritable", state.inheritable),
        ];
        return Ok(sets.map(|(name, set)| Named { name: name.to_owned(), set }).into());
    }
    Err(Undecodable::of(text))
}

/// Parses a line such as `CapEff:\t00000000a80425fb`.
fn field(line: &str) -> Option<Named> {
    let (name, mask) = line.split_once(':')?;
    let name = name.trim();
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].contains(&name).then_some(())?;
    let bits = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(Named { name: name.to_owned(), set: CapSet::from_bits(bits) })
}

/// Parses a mask, which is decimal if `decimal` is set and it has no prefix.
fn mask(text: &str, decimal: bool) -> Option<CapSet> {
    if decimal && !text.starts_with("0x") && !text.starts_with("0X") {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        return text.parse().ok().filter(|_| is_plain).map(CapSet::from_bits);
    }
    CapSet::from_mask(text).ok()
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &DecodeRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let mut texts = request.texts.clone();
    if texts.is_empty() {
        let name = "standard input".to_owned();
        let text = input::text(io.input).map_err(|reason| Failure::Input { name, reason })?;
        texts.push(text);
    }
    let mut sets = Vec::new();
    for text in &texts {
        sets.extend(decode(text, request.decimal).map_err(|reason| {
            let text = Escaped(text.trim().as_bytes()).to_string();
            Failure::subject(text.chars().take(60).collect::<String>(), reason)
        })?);
    }
    if request.json {
        let set = |one: &Named| {
            let name = if one.name.is_empty() { Value::Null } else { one.name.clone().into() };
            json!({"name": name, "mask": format!("{:016x}", one.set.bits()), "set": one.set})
        };
        let sets: Vec<_> = sets.iter().map(set).collect();
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "sets": sets}))?;
        return Ok(Exit::SUCCESS);
    }
    let has_names = sets.iter().any(|one| !one.name.is_empty());
    let mut table = Table::new(0);
    for Named { name, set } in &sets {
        let mask = format!("{:016x}", set.bits());
        let names = set_words(*set);
        let cells = [name, &mask, &names];
        let cells = if request.encode { &cells[..2] } else { &cells };
        let cells = if has_names { cells } else { &cells[1..] };
        table.row(&cells.iter().map(|cell| cell as &dyn std::fmt::Display).collect::<Vec<_>>());
    }
    table.write(io.out)?;
    Ok(Exit::SUCCESS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use rcap::Cap;

    #[test]
    fn forms() {
        type Row<'a> = (&'a str, bool, &'a [(&'a str, CapSet)]);
        let raw = CapSet::of(&[Cap::NET_RAW]);
        let both = raw.with(Cap::NET_ADMIN);
        #[rustfmt::skip]
        let rows: [Row<'_>; 12] = [
            ("2000",                              false, &[("", raw)]),
            ("8192",                              true,  &[("", raw)]),
            ("0x2000",                            true,  &[("", raw)]),
            ("0000000000003000",                  false, &[("", both)]),
            (" 0X3000\n",                         false, &[("", both)]),
            ("net_raw,CAP_NET_ADMIN",             false, &[("", both)]),
            ("0",                                 false, &[("", CapSet::empty())]),
            ("CapEff:\t0000000000002000",         false, &[("CapEff", raw)]),
            ("Name:\tx\nCapPrm:\t3000\nCapEff:\t2000\n", false, &[("CapPrm", both), ("CapEff", raw)]),
            ("cap_net_raw=ep",                    false, &[("effective", raw), ("permitted", raw), ("inheritable", CapSet::empty())]),
            ("cap_net_raw=",                      false, &[("effective", CapSet::empty()), ("permitted", CapSet::empty()), ("inheritable", CapSet::empty())]),
            ("ffffffffffffffff",                  false, &[("", CapSet::from_bits(u64::MAX))]),
        ];
        for (text, decimal, want) in rows {
            let want: Vec<Named> =
                want.iter().map(|&(name, set)| Named { name: name.to_owned(), set }).collect();
            assert_eq!(decode(text, decimal), Ok(want), "{text:?}");
        }
        for text in
            ["", "+2000", "-1", "1ffffffffffffffff", "net_row", "CapEff: x", "18446744073709551616"]
        {
            assert!(decode(text, true).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = decode(&text, false);
        }

        #[test]
        fn masks_come_back(bits: u64) {
            let text = format!("{bits:016x}");
            let want = Named { name: String::new(), set: CapSet::from_bits(bits) };
            prop_assert_eq!(decode(&text, false), Ok(vec![want]));
        }
    }
}
