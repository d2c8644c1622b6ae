//! `rcap decode`: masks and other forms of a set, as names; and back.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Arg, ArgAction, Command};
use serde_json::{Value, json};

use super::{Escaped, Exit, Io, input, json::SCHEMA, parse_caps};
use rcap::{CapSet, CapState, UnknownCap};

pub(crate) fn command() -> Command {
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    Command::new("decode")
        .about("Print the capabilities in a mask, or the mask of capabilities")
        .override_usage("rcap decode [OPTION]... [TEXT]...")
        .args([
            flag("encode").help("Print masks only"),
            flag("decimal").help("Take digits alone for a decimal number, and not a hexadecimal"),
            flag("json").help("Print one JSON object"),
            Arg::new("TEXT").num_args(0..).help(
                "A mask, a line of /proc/PID/status, names with commas, or libcap's text; \
                 without any, standard input is read",
            ),
        ])
        .after_help(
            "Example: rcap decode 00000000a80425fb\n         \
             rcap decode < /proc/self/status\n         \
             rcap decode --encode net_raw,chown",
        )
}

/// A set and what it was called, such as `CapEff`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    set: CapSet,
}

/// The sets in a text: of several lines, those that are of `/proc/PID/status` count.
fn decode(text: &str, decimal: bool) -> Result<Vec<Named>, String> {
    let fields: Vec<Named> = text.lines().filter_map(field).collect();
    if !fields.is_empty() {
        return Ok(fields);
    }
    let text = text.trim();
    let one = |name: &str, set| Ok(vec![Named { name: name.to_owned(), set }]);
    if let Some(set) = mask(text, decimal).or_else(|| parse_caps(text).ok()) {
        return one("", set);
    }
    // Which an empty text is too.
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
    Err("it is no mask, no line of /proc/PID/status, no names and no text of libcap's".to_owned())
}

/// A set alone: a mask, or names.
pub(super) fn a_set(text: &str) -> Result<CapSet, UnknownCap> {
    CapSet::from_mask(text).or_else(|_| parse_caps(text))
}

/// A line such as `CapEff:\t00000000a80425fb`.
fn field(line: &str) -> Option<Named> {
    let (name, mask) = line.split_once(':')?;
    let name = name.trim();
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].contains(&name).then_some(())?;
    let bits = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(Named { name: name.to_owned(), set: CapSet::from_bits(bits) })
}

/// A mask, whose digits are decimal if `decimal` and it has no prefix.
fn mask(text: &str, decimal: bool) -> Option<CapSet> {
    if decimal && !text.starts_with("0x") && !text.starts_with("0X") {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        return text.parse().ok().filter(|_| is_plain).map(CapSet::from_bits);
    }
    CapSet::from_mask(text).ok()
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let mut texts: Vec<String> = matches.get_many("TEXT").into_iter().flatten().cloned().collect();
    if texts.is_empty() {
        match input::text(io.input) {
            Ok(text) => texts.push(text),
            Err(err) => {
                io.complain_in_words("rcap decode", &format!("standard input: {err}"))?;
                return Ok(Exit::FAILURE);
            }
        }
    }
    let mut sets = Vec::new();
    for text in &texts {
        match decode(text, matches.get_flag("decimal")) {
            Ok(found) => sets.extend(found),
            Err(words) => {
                let text = Escaped(text.trim().as_bytes()).to_string();
                let text: String = text.chars().take(60).collect();
                io.complain_in_words("rcap decode", &format!("{text}: {words}"))?;
                return Ok(Exit::FAILURE);
            }
        }
    }
    if matches.get_flag("json") {
        let set = |one: &Named| {
            let name = if one.name.is_empty() { Value::Null } else { one.name.clone().into() };
            json!({"name": name, "mask": format!("{:016x}", one.set.bits()), "set": one.set})
        };
        let sets: Vec<_> = sets.iter().map(set).collect();
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "sets": sets}))?;
        return Ok(Exit::SUCCESS);
    }
    let width = sets.iter().map(|one| one.name.len()).max().unwrap_or(0);
    for Named { name, set } in &sets {
        if width > 0 {
            write!(io.out, "{name:<width$}  ")?;
        }
        write!(io.out, "{:016x}", set.bits())?;
        if !matches.get_flag("encode") {
            let names = if set.is_empty() { "none".to_owned() } else { set.to_string() };
            write!(io.out, "  {names}")?;
        }
        writeln!(io.out)?;
    }
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
        let rows: [Row<'_>; 13] = [
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
            ("all",                               false, &[("", CapSet::supported())]),
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
