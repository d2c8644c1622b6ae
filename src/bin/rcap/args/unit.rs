//! The options of the commands that restart a unit of systemd.

use std::time::Duration;

use clap::Parser;

use rcap::{
    CapSet,
    service::Conditions,
    trace::{Options, minimize::Plan},
};

use super::{
    Mistake, Request,
    measure::{Judging, Recording},
    values,
};

/// The unit that is restarted, and how it is treated.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UnitOptions {
    /// Restart a unit of systemd instead of a program
    #[arg(long, value_name = "NAME")]
    pub(crate) unit: Option<String>,
    /// Restart a unit of the user's own manager
    #[arg(long, value_name = "NAME", conflicts_with = "unit")]
    pub(crate) user_unit: Option<String>,
    /// Start a copy of the unit with its own network and state, and leave the unit alone
    #[arg(long, conflicts_with = "user_unit")]
    pub(crate) copy: bool,
    /// Restart a unit that is running without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// Let systemd restore the unit after so long if rcap is killed
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration)]
    pub(crate) restore_after: Duration,
}

impl UnitOptions {
    /// Returns how the unit is judged, recorded and restored.
    pub(crate) fn conditions(&self, judging: &Judging, recording: &Recording) -> Conditions {
        let mut conditions = Conditions::default();
        conditions.check.clone_from(&judging.check);
        conditions.settle = judging.settle;
        conditions.restore_after = self.restore_after;
        conditions.recording = Some(recording.options(true));
        conditions
    }

    /// Rejects options that a unit does not have, and the `others` of a command.
    ///
    /// # Errors
    ///
    /// [`Mistake`] with the name of the option.
    pub(crate) fn check(judging: &Judging, others: &[(&str, bool)]) -> Result<(), Mistake> {
        let own = [
            ("--check-in", judging.check_in.is_some()),
            ("--same-output", judging.same_output),
            ("--shared-volumes", judging.shared_volumes),
        ];
        match own.iter().chain(others).find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(Mistake::new(format!(
                "{name} cannot be used for a unit, which has its own settings"
            ))),
            None => Ok(()),
        }
    }
}

/// `rcap harden`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap harden [OPTION]... UNIT --check COMMAND\n       \
                      rcap harden UNIT --undo",
    after_help = "The unit is restarted several times, and restored at the end.\n\n\
                  Example: rcap harden nginx.service --check 'curl --fail --silent localhost'"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
pub(crate) struct HardenRequest {
    /// Run a shell command until it succeeds, which shows that the service works
    #[arg(long, value_name = "COMMAND")]
    pub(crate) check: Option<String>,
    /// Run on for so long after --check
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = values::duration)]
    pub(crate) settle: Duration,
    /// Exit status with which a service that ends succeeds
    #[arg(long, value_name = "STATUS", default_value_t = 0)]
    pub(crate) expect: u8,
    /// Time limit for one run [default: 10 times the longest time until --check plus 5s]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Restart a unit that is running without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// Let systemd restore the unit after so long if rcap is killed
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration)]
    pub(crate) restore_after: Duration,
    /// Write the drop-in file of the unit, and keep it if the unit works with it
    #[arg(long)]
    pub(crate) write: bool,
    /// Remove the drop-in file that --write has written
    #[arg(long, conflicts_with_all = ["write", "check"])]
    pub(crate) undo: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Harden a unit of the user's own manager
    #[arg(long)]
    pub(crate) user: bool,
    /// The service of systemd
    #[arg(value_name = "UNIT")]
    pub(crate) unit: String,
}

impl Request for HardenRequest {}

impl HardenRequest {
    /// Returns the options of the unit.
    pub(crate) fn service(&self) -> UnitOptions {
        let (system, user) =
            if self.user { (None, Some(&self.unit)) } else { (Some(&self.unit), None) };
        UnitOptions {
            unit: system.cloned(),
            user_unit: user.cloned(),
            copy: false,
            yes: self.yes,
            restore_after: self.restore_after,
        }
    }

    /// Returns how the unit is judged, recorded and restored.
    pub(crate) fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        conditions.check.clone_from(&self.check);
        conditions.settle = self.settle;
        conditions.restore_after = self.restore_after;
        let mut options = Options::default();
        options.outcomes = true;
        conditions.recording = Some(options);
        conditions
    }

    /// Returns the plan for runs with at most these capabilities.
    pub(crate) fn plan(&self, most: CapSet) -> Plan {
        let mut plan = Plan::new(most);
        plan.expect = self.expect.into();
        plan.timeout = self.timeout;
        plan
    }
}
