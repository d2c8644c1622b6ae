//! `capsh --dry-run`: the sets after each step, and the first step that loses a capability gained
//! before.
//!
//! The process performs the steps on itself, so the results are the kernel's. Only the program is
//! not run.

use std::{
    ffi::OsStr,
    fmt,
    io::{self, Write},
};

use super::{Escaped, Failure, Io, Step, snapshot::Snapshot};
use crate::{
    CapSet, CapState, Iab,
    exec::{self, Credentials, Effect, FileFacts, Kernel, Rule, Set},
    settings::few,
};

/// The sets whose losses are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sets {
    caps: CapState,
    ambient: CapSet,
}

/// The capabilities gained by earlier steps, and the last argument for each set.
#[derive(Debug, Default)]
struct Gained {
    inheritable: Option<(CapSet, String)>,
    ambient: Option<(CapSet, String)>,
}

pub(super) struct DryRun {
    before: Sets,
    gained: Gained,
    told: bool,
}

impl DryRun {
    pub(super) fn begin() -> Result<DryRun, Failure> {
        let now = Snapshot::take()?;
        Ok(DryRun { before: Sets::of(&now), gained: Gained::default(), told: false })
    }

    /// Shows the sets after the step `arg`.
    pub(super) fn after(&mut self, arg: &OsStr, io: &mut Io<'_>) -> Step {
        let now = Snapshot::take()?;
        let arg = Escaped(arg.as_encoded_bytes()).to_string();
        writeln!(io.out, "{arg:<30} {}", line(&now))?;
        let sets = Sets::of(&now);
        let losses = self.gained.step(&arg, self.before, sets);
        self.before = sets;
        if let (Some(words), false) = (losses.first(), self.told) {
            self.told = true;
            writeln!(io.out, "    {words}")?;
        }
        Ok(None)
    }

    /// Shows the sets of an ordinary program, without a set-user-ID bit and file capabilities. The
    /// program on the command line is not examined.
    pub(super) fn at_the_end(io: &mut Io<'_>) -> Result<(), Failure> {
        let now = Credentials::current()?;
        let outcome = exec::execute(&now, &FileFacts::default(), Kernel::running());
        let outcome = outcome.map_err(io::Error::from)?;
        let Credentials { caps, ambient, .. } = outcome.after;
        let dropped = CapSet::supported() - now.bounding;
        let words = sets(caps, Iab::new(caps.inheritable, ambient, CapSet::empty()), dropped);
        writeln!(io.out, "{:<30} {words}", "an ordinary program would have")?;
        // A capability that is also inheritable was meant to be passed on.
        let CapState { permitted, inheritable, .. } = now.caps;
        let meant = permitted & inheritable;
        let meant = if meant.is_empty() { permitted } else { meant };
        for change in outcome.changes.iter().filter(|change| change.set == Set::Permitted) {
            let lost = change.caps & meant;
            match (change.effect, change.rule) {
                // A capability that was dropped from the bounding set was meant to be lost.
                (Effect::Lost, Rule::Bounding) => {}
                (Effect::Lost, _) if !lost.is_empty() => writeln!(
                    io.out,
                    "    execution loses {}: a non-root user keeps only ambient capabilities",
                    few(lost),
                )?,
                (Effect::Gained, _) => writeln!(
                    io.out,
                    "    execution grants {} to user 0; --drop= and --securebits=noroot limit that",
                    few(change.caps)
                )?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn line(now: &Snapshot) -> impl fmt::Display {
    let some = |holds: bool, text: String| if holds { text } else { String::new() };
    let all = CapSet::supported();
    let iab = Iab::new(now.caps.inheritable, now.ambient.unwrap_or_default(), CapSet::empty());
    [
        sets(now.caps, iab, all - now.bounding),
        format!(" uid={}", now.uid),
        some(now.euid != now.uid, format!(" euid={}", now.euid)),
        some(!now.securebits.is_empty(), format!(" securebits={}", now.securebits)),
        some(now.no_new_privs, " no-new-privs".into()),
    ]
    .concat()
}

/// Returns the sets, and the capabilities missing from the bounding set.
fn sets(caps: CapState, iab: Iab, dropped: CapSet) -> String {
    let lacks =
        if dropped.is_empty() { String::new() } else { format!(" dropped={}", few(dropped)) };
    format!("{caps} [{iab}]{lacks}")
}

impl Sets {
    fn of(snapshot: &Snapshot) -> Sets {
        Sets { caps: snapshot.caps, ambient: snapshot.ambient.unwrap_or_default() }
    }
}

impl Gained {
    /// Records a step, and returns messages about unintended losses.
    fn step(&mut self, arg: &str, before: Sets, after: Sets) -> Vec<String> {
        let mut words = Vec::new();
        let is = |names: &[&str]| names.iter().any(|name| arg.starts_with(name));
        let permitted = before.caps.permitted - after.caps.permitted;
        if is(&["--uid="]) && !permitted.is_empty() {
            words.push(format!(
                "{arg} removes {} from the permitted set: put --keep=1 right before it, or use \
                 --cap-uid= or --user=",
                few(permitted)
            ));
        }
        let mut lost = |gained: &Option<(CapSet, String)>, which, lost: CapSet| {
            if let Some((caps, by)) = gained
                && !(*caps & lost).is_empty()
            {
                let lost = few(*caps & lost);
                // The right order of other options depends on their purpose.
                let advice = if is(&["--user=", "--cap-uid=", "--uid="]) {
                    format!("put it before {by}")
                } else {
                    format!("{by} added it")
                };
                words.push(format!("{arg} removes {lost} from the {which} set: {advice}"));
            }
        };
        if !is(&["--noamb", "--delamb="]) {
            lost(&self.ambient, "ambient", before.ambient - after.ambient);
        }
        let [inheritable, now] = [before, after].map(|sets| sets.caps.inheritable);
        if !is(&["--inh="]) {
            lost(&self.inheritable, "inheritable", inheritable - now);
        }
        let gain = |gained: &mut Option<(CapSet, String)>, gain: CapSet| {
            if !gain.is_empty() {
                *gained = Some((gain, arg.to_owned()));
            }
        };
        gain(&mut self.ambient, after.ambient - before.ambient);
        gain(&mut self.inheritable, now - inheritable);
        words
    }
}
