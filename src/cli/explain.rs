//! `rcap explain`: what a capability permits, and what it is worth.

use std::{ffi::OsString, io};

use clap::{Arg, ArgAction, Command};
use serde_json::json;

use super::{Exit, Io, json::SCHEMA, parse_caps};
use crate::{Cap, CapSet, knowledge, profile::Profile};

pub(crate) fn command() -> Command {
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    Command::new("explain")
        .about("Say what a capability permits, and what it is worth to an attacker")
        .override_usage("rcap explain [OPTION]... [CAPS]...")
        .args([
            flag("json").help("Print one JSON object"),
            Arg::new("CAPS")
                .num_args(0..)
                .value_parser(parse_caps)
                .help("Names with commas; without any, all of them, a line each"),
        ])
        .after_help("Example: rcap explain net_raw")
}

/// Who gives it to a container that asks for nothing.
fn given_by(cap: Cap) -> Vec<&'static str> {
    let gives = |profile: &Profile| profile.given().has(cap);
    Profile::ALL.into_iter().filter(gives).map(Profile::name).collect()
}

/// # Errors
///
/// Writing to the standard streams.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let named = matches.contains_id("CAPS");
    let sets = matches.get_many::<CapSet>("CAPS").into_iter().flatten();
    let caps = sets.fold(CapSet::empty(), |all, set| all | *set);
    let caps = if named { caps } else { CapSet::NAMED };
    if matches.get_flag("json") {
        let object = |cap: Cap| {
            let about = knowledge::about(cap);
            json!({
                "cap": cap,
                "number": cap.number(),
                "permits": about.map(|about| about.permits),
                "since": about.and_then(|about| about.since),
                "route_to_root": knowledge::route_to_root(cap),
                "given_by": given_by(cap),
            })
        };
        let caps: Vec<_> = caps.caps().map(object).collect();
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "capabilities": caps}))?;
        return Ok(Exit::SUCCESS);
    }
    for (index, cap) in caps.caps().enumerate() {
        let about = knowledge::about(cap);
        let permits = about.map_or("No name is known for it.", |about| about.permits);
        if !named {
            let first = permits.lines().next().unwrap_or_default();
            writeln!(io.out, "{:<22}  {first}", cap.to_string())?;
            continue;
        }
        let gap = if index > 0 { "\n" } else { "" };
        writeln!(io.out, "{gap}{cap} ({})\n", cap.number())?;
        for line in permits.lines() {
            writeln!(io.out, "  {line}")?;
        }
        let route = knowledge::route_to_root(cap).unwrap_or("none is known from it alone");
        writeln!(io.out, "\n  A way to what root has: {route}.")?;
        let given = given_by(cap);
        let given = if given.is_empty() { "nobody".to_owned() } else { given.join(", ") };
        writeln!(io.out, "  Given to every container by: {given}.")?;
        if let Some(version) = about.and_then(|about| about.since) {
            writeln!(io.out, "  Since Linux {version}.")?;
        }
    }
    Ok(Exit::SUCCESS)
}
