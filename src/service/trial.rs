//! A service as a trial: each run restarts the unit with a set of capabilities.

use super::{Facts, Failed, Session};
use crate::{
    CapSet,
    settings::{unit_capability, unit_lines, unit_words},
    trace::minimize::{Attempt, Observation, Trial},
};

/// A [`Trial`] that restarts a unit.
#[expect(missing_debug_implementations, reason = "a session contains a closure")]
pub struct Service {
    session: Session,
    bounding: CapSet,
    ambient: CapSet,
}

impl Service {
    /// Takes over a session, whose unit is run with at most the capabilities that it has now.
    ///
    /// # Errors
    ///
    /// `ExecStart=+`: the settings of the unit do not apply to its program.
    pub fn new(session: Session) -> Result<Service, Failed> {
        let facts = session.before();
        require_settings(facts)?;
        let [bounding, ambient] =
            ["CapabilityBoundingSet", "AmbientCapabilities"].map(|key| set(facts.get(key)));
        let bounding = bounding & CapSet::supported();
        Ok(Service { session, bounding, ambient: ambient & bounding })
    }

    /// Returns the largest set of a run: the bounding set of the unit as it was.
    pub fn most(&self) -> CapSet {
        self.bounding
    }

    /// Returns the settings with which the unit has exactly these capabilities in its bounding set,
    /// and those of its ambient set that are among them.
    pub fn settings(&self, set: CapSet) -> Vec<String> {
        let set = set & self.bounding;
        let mut lines = unit_lines("CapabilityBoundingSet", set);
        if !self.ambient.is_empty() {
            lines.extend(unit_lines("AmbientCapabilities", set & self.ambient));
        }
        lines
    }

    /// Returns the session.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Returns the session, which restores the unit when it is dropped.
    pub fn into_session(self) -> Session {
        self.session
    }
}

impl Trial for Service {
    type Error = Failed;

    fn run(&mut self, attempt: &Attempt) -> Result<Observation, Failed> {
        let settings = self.settings(attempt.set);
        self.session.run(&settings, attempt.limit)
    }
}

/// Returns the capabilities in a property.
fn set(value: &str) -> CapSet {
    unit_words(value).0.iter().map(|word| unit_capability(word)).collect()
}

/// Returns an error if the settings of a unit do not apply to its program.
pub(super) fn require_settings(facts: &Facts) -> Result<(), Failed> {
    if is_fully_privileged(facts) {
        let words = "ExecStart=+ runs the program with every capability, whatever the unit's \
                     settings are: remove the + first";
        return Err(Failed::Unfit(words.to_owned()));
    }
    Ok(())
}

/// Returns whether a command has the prefix `+`.
fn is_fully_privileged(facts: &Facts) -> bool {
    start_flags(facts).any(|flags| flags.contains("privileged"))
}

/// Returns whether a command has the prefix `!` or `!!`, with which `User=` does not apply.
pub(super) fn keeps_user(facts: &Facts) -> bool {
    start_flags(facts).any(|flags| flags.contains("no-setuid") || flags.contains("ambient"))
}

/// Returns the flags of each command. Its arguments, which come before, can contain anything.
fn start_flags(facts: &Facts) -> impl Iterator<Item = &str> {
    let commands = facts.get("ExecStartEx").lines();
    let rest = commands.filter_map(|line| line.rsplit_once(" ; flags=").map(|(_, rest)| rest));
    rest.map(|rest| rest.split(" ;").next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        #[rustfmt::skip]
        let rows = [
            ("{ path=/bin/a ; argv[]=/bin/a ; flags= ; start_time=[n/a] }",             [false, false]),
            ("{ path=/bin/a ; argv[]=/bin/a ; flags=privileged ; start_time=[n/a] }",   [true,  false]),
            ("{ path=/bin/a ; argv[]=/bin/a ; flags=no-setuid ; start_time=[n/a] }",    [false, true]),
            ("{ path=/bin/a ; argv[]=/bin/a ; flags=ambient ; start_time=[n/a] }",      [false, true]),
            ("{ path=/bin/a ; argv[]=/bin/a ; flags=ignore-failure privileged ; x }",   [true,  false]),
            ("{ path=/a ; argv[]=/a --flags=privileged ; flags= ; x }",                 [false, false]),
            ("{ path=/a ; argv[]=/a --flags=x ; flags=privileged ; x }",                [true,  false]),
            ("{ path=/a ; argv[]=/a ; flags=privileged ; x }\nExecStartEx={ path=/b ; argv[]=/b ; flags= ; x }", [true, false]),
            ("{ path=/a ; argv[]=/a ; flags= ; x }\nExecStartEx={ path=/b ; argv[]=/b ; flags=no-setuid ; x }", [false, true]),
            ("",                                                                        [false, false]),
        ];
        for (value, want) in rows {
            let facts = Facts::parse(&format!("ExecStartEx={value}\n"));
            assert_eq!([is_fully_privileged(&facts), keeps_user(&facts)], want, "{value}");
        }
    }
}
