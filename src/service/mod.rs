//! Services of systemd as trials: a unit is restarted with more settings, checked, and restored.
//!
//! [`Session`] does that with any lines of the section `[Service]`, [`Service`] with sets of
//! capabilities, [`harden`] finds the protections with which a service works, and [`Rootless`] the
//! changes with which it does without capabilities. They talk to the system manager through
//! systemctl(1), so nothing here depends on D-Bus.
//!
//! While a session is open, the settings are in a drop-in file below /run/systemd/system, and a
//! timer of systemd restores the unit if this process is killed. (systemd.unit(5),
//! systemd.timer(5))

mod copies;
mod drop_in;
mod harden;
mod manager;
mod protection;
mod restore;
mod rootless;
mod scratch;
mod session;
mod trial;
mod unit;
mod writable;

pub use crate::container::Failed;
pub use drop_in::DropIn;
pub use harden::{Hardened, LeftOut, harden};
pub use manager::{Exposure, Manager, exposure};
pub use protection::{Protection, Protections};
pub use rootless::{Rootless, UnitLines};
pub use scratch::Scratch;
pub use session::{Conditions, Session};
pub use trial::Service;
pub use unit::{Activity, Facts};
pub use writable::Tried;
