//! A unit of systemd. (systemd.exec(5), "Capabilities"; systemd.syntax(7))

use super::{Source, user};
use crate::{CapSet, cli::parse_caps};

/// The settings of a service. What drop-in files add is not in it.
pub(super) fn parse(text: &str) -> Result<Source, String> {
    let mut bounding = CapSet::supported();
    let mut is_bounded = false;
    let mut ambient = CapSet::empty();
    let mut source = Source::default();
    let mut section = String::new();
    for line in lines(text) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| section == "[Service]") else {
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
            "User" => source.user = user(&value.into()),
            "NoNewPrivileges" => source.no_new_privs = is_true,
            // One that has no lasting name, and no-new-privs.
            "DynamicUser" if is_true => {
                source.user.get_or_insert_with(|| "nobody".to_owned());
                source.no_new_privs = true;
            }
            _ => {}
        }
    }
    Ok(Source { caps: bounding, ambient, ..source })
}

/// Lines without comments, those that go on in the next as one.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continues = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| continues) {
            Some(last) => last.extend([" ", part]),
            None => lines.push(part.to_owned()),
        }
        continues = goes_on;
    }
    lines
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
