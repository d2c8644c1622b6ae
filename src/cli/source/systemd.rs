//! A unit of systemd. (systemd.exec(5), "Capabilities"; systemd.syntax(7))

use super::{Found, Source, user, with_group};
use crate::{CapSet, cli::parse_caps, deploy::Id};

/// The settings of a service, if the first line is the header of a section. What drop-in files
/// add is not in it.
pub(super) fn parse(text: &str) -> Found {
    let is_empty = |line: &&str| line.is_empty() || is_comment(line);
    section(text.lines().map(str::trim).find(|line| !is_empty(line))?)?;
    Some(service(&lines(text)).map(|source| vec![source]))
}

/// The name in a header of a section.
fn section(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_ ".contains(&byte);
    (!name.is_empty() && name.bytes().all(in_name)).then_some(name)
}

fn service(lines: &[String]) -> Result<Source, String> {
    let mut bounding = CapSet::supported();
    let mut is_bounded = false;
    let mut ambient = CapSet::empty();
    let mut source = Source::default();
    let [mut who, mut group] = [const { String::new() }; 2];
    let mut is_dynamic = false;
    let mut is_service = false;
    let mut has_service = false;
    for line in lines {
        if line.starts_with('[') {
            let name = section(line).ok_or_else(|| format!("{line:?} is not a section"))?;
            is_service = name == "Service";
            has_service |= is_service;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_service) else {
            continue;
        };
        let value = value.trim();
        let is_true = ["1", "yes", "true", "on", "y", "t"].contains(&&*value.to_lowercase());
        match key.trim() {
            "CapabilityBoundingSet" => {
                let before = if is_bounded { bounding } else { CapSet::empty() };
                bounding = merge(before, is_bounded, value)?;
                is_bounded = true;
            }
            "AmbientCapabilities" => ambient = merge(ambient, !ambient.is_empty(), value)?,
            "User" => who = literal(value)?,
            "Group" => group = literal(value)?,
            "NoNewPrivileges" => source.no_new_privs = is_true,
            "DynamicUser" => is_dynamic = is_true,
            _ => {}
        }
    }
    if !has_service {
        return Err("has no [Service] section".to_owned());
    }
    source.user = with_group(user(&who.into())?, &group.into())?;
    if is_dynamic {
        // One that has no lasting name, and no-new-privs.
        source.user.get_or_insert_with(|| Id::Name("nobody".into()).into());
        source.no_new_privs = true;
    }
    Ok(Source { caps: bounding, ambient, ..source })
}

/// A value without specifiers: two percent signs stand for one. (systemd.unit(5), "Specifiers")
fn literal(value: &str) -> Result<String, String> {
    let parts: Vec<&str> = value.split("%%").collect();
    if parts.iter().any(|part| part.contains('%')) {
        return Err(format!("{value:?} has a specifier, which is not resolved"));
    }
    Ok(parts.join("%"))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// Lines that say something, those that go on in the next as one.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continues = false;
    for line in text.lines().filter(|line| !is_comment(line)) {
        // Two backslashes are none that continues the line.
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        let goes_on = backslashes % 2 == 1;
        let part = if goes_on { &line[..line.len() - 1] } else { line };
        match lines.last_mut().filter(|_| continues) {
            Some(last) => last.extend([" ", part]),
            None => lines.push(part.to_owned()),
        }
        continues = goes_on;
    }
    let lines = lines.iter().map(|line| line.trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// A set and one more assignment: nothing empties it, names are added, names behind a ~ are taken
/// away, and from all that there are if nothing was assigned before.
fn merge(before: CapSet, is_assigned: bool, value: &str) -> Result<CapSet, String> {
    let (is_inverted, names) = match value.strip_prefix('~') {
        Some(names) => (true, names),
        None => (false, value),
    };
    let add = |all: CapSet, name: &str| Ok(all | parse_caps(name)?);
    let set =
        names.split_whitespace().try_fold(CapSet::empty(), add).map_err(|words: String| words)?;
    Ok(match (is_inverted, set.is_empty()) {
        (false, true) => CapSet::empty(),
        (true, true) => CapSet::supported(),
        (false, false) => before | set,
        (true, false) if is_assigned => before - set,
        (true, false) => CapSet::supported() - set,
    })
}
