//! `capsh --dry-run`: what each step leaves, and the first that loses what an earlier one gave.
//!
//! The steps are taken, by this process and on itself, so that the kernel decides; what is not
//! done is to run anything with the result.

use std::{ffi::OsStr, fmt};

use super::{Escaped, Exit, Failure, Io, Step, snapshot::Snapshot};
use crate::{CapSet, CapState, Iab, securebits::Securebits};

/// The sets of which a loss is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sets {
    caps: CapState,
    ambient: CapSet,
}

/// What earlier steps gave, and by which argument, the last one for each set.
#[derive(Debug, Default)]
struct Gained {
    inheritable: Option<(CapSet, String)>,
    ambient: Option<(CapSet, String)>,
}

pub(super) struct DryRun {
    /// The bounding set at its beginning: what was dropped before is not shown.
    bounding: CapSet,
    before: Sets,
    gained: Gained,
    told: bool,
}

impl DryRun {
    pub(super) fn begin() -> Result<DryRun, Failure> {
        let now = Snapshot::take()?;
        Ok(DryRun {
            bounding: now.bounding,
            before: Sets::of(&now),
            gained: Gained::default(),
            told: false,
        })
    }

    /// Shows what the step `arg` has left.
    pub(super) fn after(&mut self, arg: &OsStr, io: &mut Io<'_>) -> Step {
        let now = Snapshot::take()?;
        let arg = Escaped(arg.as_encoded_bytes()).to_string();
        writeln!(io.out, "{arg:<30} {}", self.line(&now))?;
        let sets = Sets::of(&now);
        let losses = self.gained.step(&arg, self.before, sets);
        self.before = sets;
        if let (Some(words), false) = (losses.first(), self.told) {
            self.told = true;
            writeln!(io.out, "    {words}")?;
        }
        Ok(None)
    }

    /// Shows what a program would have that is run now.
    pub(super) fn at_the_end(&self, io: &mut Io<'_>) -> Step {
        let now = Snapshot::take()?;
        let program = exec(&now);
        let ambient = program.ambient;
        let iab = Iab::new(program.caps.inheritable, ambient, self.bounding - now.bounding);
        writeln!(io.out, "{:<30} {} [{iab}]", "a program would have", program.caps)?;
        // What is also inheritable is what somebody had in mind.
        let CapState { permitted, inheritable, .. } = now.caps;
        let meant = permitted & inheritable;
        let lost = if meant.is_empty() { permitted } else { meant } - program.caps.permitted;
        if !lost.is_empty() {
            writeln!(
                io.out,
                "    execution loses {}: for user {}, only what is ambient stays permitted \
                 (--inh= and --addamb= make it so)",
                some(lost),
                now.uid,
            )?;
        }
        Ok(Some(Exit::SUCCESS))
    }

    fn line(&self, now: &Snapshot) -> impl fmt::Display {
        let some = |holds: bool, text: String| if holds { text } else { String::new() };
        [
            format!("{} [{}] uid={}", now.caps, now.iab(self.bounding), now.uid),
            some(now.euid != now.uid, format!(" euid={}", now.euid)),
            some(!now.securebits.is_empty(), format!(" securebits={}", now.securebits)),
            some(now.no_new_privs, " no-new-privs".into()),
        ]
        .concat()
    }
}

impl Sets {
    fn of(snapshot: &Snapshot) -> Sets {
        Sets { caps: snapshot.caps, ambient: snapshot.ambient.unwrap_or_default() }
    }
}

impl Gained {
    /// Takes a step into account; in words, what it lost that it was not asked to lose.
    fn step(&mut self, arg: &str, before: Sets, after: Sets) -> Vec<String> {
        let mut words = Vec::new();
        let is = |names: &[&str]| names.iter().any(|name| arg.starts_with(name));
        let mut lost = |gained: &Option<(CapSet, String)>, which, lost: CapSet| {
            if let Some((caps, by)) = gained
                && !(*caps & lost).is_empty()
            {
                let lost = some(*caps & lost);
                words
                    .push(format!("{arg} takes {lost} out of the {which} set: put it before {by}"));
            }
        };
        if !is(&["--noamb", "--delamb="]) {
            lost(&self.ambient, "ambient", before.ambient - after.ambient);
        }
        let [inheritable, now] = [before, after].map(|sets| sets.caps.inheritable);
        if !is(&["--inh="]) {
            lost(&self.inheritable, "inheritable", inheritable - now);
        }
        let permitted = before.caps.permitted - after.caps.permitted;
        if is(&["--uid="]) && !permitted.is_empty() {
            words.push(format!(
                "{arg} takes {} out of the permitted set: put --keep=1 before it, or use \
                 --cap-uid= or --user=",
                some(permitted)
            ));
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

/// The set in words that fit a line.
fn some(set: CapSet) -> String {
    if set.len() > 4 { format!("{} capabilities", set.len()) } else { set.to_string() }
}

/// What this process would have after executing a file without a set-user-id bit and without
/// capabilities of its own. (capabilities(7), "Transformation of capabilities during execve()")
fn exec(now: &Snapshot) -> Sets {
    let ambient = now.ambient.unwrap_or_default();
    let inheritable = now.caps.inheritable;
    let root = !now.securebits.contains(Securebits::NOROOT);
    let permitted =
        if root && (now.uid == 0 || now.euid == 0) { inheritable | now.bounding } else { ambient };
    let effective = if root && now.euid == 0 { permitted } else { ambient };
    Sets { caps: CapState { effective, permitted, inheritable }, ambient }
}
