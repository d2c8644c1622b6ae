//! Probes of the kernel function, for kernels without the tracepoint.
//! (Documentation/trace/kprobetrace.rst)

use super::tracefs::{Instance, Tracefs};
use crate::Result;

/// The probes of one recording, in a separate group. They are removed when dropped.
#[derive(Debug)]
pub(super) struct Probes {
    group: String,
    tracefs: Tracefs,
}

impl Probes {
    /// Creates probes named after an instance, which identifies their owner.
    pub(crate) fn new(tracefs: &Tracefs, instance: &Instance) -> Result<Probes> {
        // The name of a group must be a C identifier.
        let group = instance.name().replace('-', "_");
        let probes = Probes { group, tracefs: tracefs.clone() };
        probes.tracefs.append("kprobe_events", &probes.definitions())?;
        Ok(probes)
    }

    /// Returns the definitions, with the field names of the tracepoint.
    fn definitions(&self) -> String {
        format!(
            "p:{0} cap_capable target_ns=$arg2:x64 cap=$arg3:s32 opts=$arg4:u32\n\
             r:{1} cap_capable ret=$retval:s32\n",
            self.check(),
            self.answer()
        )
    }

    pub(crate) fn check(&self) -> String {
        format!("{}/check", self.group)
    }

    pub(crate) fn answer(&self) -> String {
        format!("{}/answer", self.group)
    }

    /// Removes probes that ended processes left behind.
    pub(crate) fn reap(tracefs: &Tracefs, is_left: impl Fn(&str) -> bool) {
        let probes = tracefs.read("kprobe_events").unwrap_or_default();
        for line in probes.lines() {
            // `p:group/event function …`
            let name = line.split_once(':').and_then(|(_, rest)| rest.split(' ').next());
            let Some((group, event)) = name.and_then(|name| name.split_once('/')) else { continue };
            if is_left(&group.replace('_', "-")) {
                let _ = tracefs.append("kprobe_events", &format!("-:{group}/{event}"));
            }
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        // The next recorder removes leftovers.
        for event in [self.check(), self.answer()] {
            let _ = self.tracefs.append("kprobe_events", &format!("-:{event}"));
        }
    }
}
