//! The options of the commands that restart a unit of systemd.

use std::time::Duration;

use rcap::service::Conditions;

use super::{
    Mistake,
    requests::{Judging, Recording},
    values,
};

/// The unit that is restarted, and how it is treated.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UnitOptions {
    /// Restart a unit of systemd instead of a program
    #[arg(long, value_name = "NAME")]
    pub(crate) unit: Option<String>,
    /// Restart a unit that is running without asking
    #[arg(long, requires = "unit")]
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
