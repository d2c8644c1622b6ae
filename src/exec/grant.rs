//! Reasons for which the capabilities of a file do not have the effect that was meant.

use std::{fmt, path::PathBuf};

use super::Program;
use crate::{CapSet, file::FileCaps};

/// A reason for which the capabilities of a file have no effect, or keep a program from working.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The file is a script: the capabilities of its interpreter apply, and not its own.
    Script {
        /// The interpreter.
        interpreter: PathBuf,
    },
    /// The bounding set of this process lacks these capabilities. With the effective bit, execve(2)
    /// fails, and without it, they are not granted.
    OutsideOfBounding {
        /// The capabilities.
        caps: CapSet,
        /// Whether the file has the effective bit.
        is_fatal: bool,
    },
    /// The program finds its libraries by `$ORIGIN` in its run path, which the dynamic linker
    /// ignores in a program that gains capabilities.
    Origin,
}

impl Obstacle {
    /// Returns the obstacles for a program whose file has these capabilities, and that is executed
    /// with a bounding set.
    ///
    /// ```
    /// use rcap::{Cap, CapSet, exec::{Obstacle, Program}, file::FileCaps};
    ///
    /// let caps = FileCaps { permitted: Cap::NET_RAW.into(), effective: true, ..FileCaps::EMPTY };
    /// let program = Program::open("/bin/sh")?;
    /// let obstacles = Obstacle::all(&program, &caps, CapSet::empty());
    /// assert!(matches!(obstacles[..], [Obstacle::OutsideOfBounding { .. }]));
    /// # Ok::<(), rcap::Error>(())
    /// ```
    pub fn all(program: &Program, caps: &FileCaps, bounding: CapSet) -> Vec<Obstacle> {
        let executed = program.executed();
        if !program.scripts().is_empty() {
            return vec![Obstacle::Script { interpreter: executed.path.clone() }];
        }
        // The kernel ignores capabilities of a file that it does not support.
        let lacking = (caps.permitted & CapSet::supported()) - bounding;
        let outside = (!lacking.is_empty())
            .then_some(Obstacle::OutsideOfBounding { caps: lacking, is_fatal: caps.effective });
        let gains = !caps.permitted.is_empty() && executed.uses_origin;
        outside.into_iter().chain(gains.then_some(Obstacle::Origin)).collect()
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Script { interpreter } => write!(
                f,
                "a script: only the capabilities of its interpreter {} apply, so start it with \
                 ambient capabilities (rcap run, or AmbientCapabilities= of systemd)",
                interpreter.display()
            ),
            Obstacle::OutsideOfBounding { caps, is_fatal: true } => {
                write!(f, "execve(2) fails here, as the bounding set lacks {caps}")
            }
            Obstacle::OutsideOfBounding { caps, is_fatal: false } => {
                write!(f, "not granted here, as the bounding set lacks {caps}")
            }
            Obstacle::Origin => f.write_str(
                "finds its libraries by $ORIGIN, which is ignored in a program that gains \
                 capabilities: start it with ambient capabilities instead (rcap run, or \
                 AmbientCapabilities= of systemd)",
            ),
        }
    }
}
