//! A Kubernetes manifest. (kubernetes.io/docs/reference/kubernetes-api, SecurityContext)

use std::fmt::Write;

use super::{
    Format, Settings, SettingsError, Target, container,
    text::{bare, list, quoted},
};

#[cfg(feature = "settings")]
mod read;

#[cfg(feature = "settings")]
pub(super) use read::read;

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    container::check_ids(settings, Format::Kubernetes)?;
    let user = settings.numbers(Format::Kubernetes)?;
    let mut text = format!(
        "securityContext:\n  allowPrivilegeEscalation: {}\n  capabilities:\n    drop: [\"ALL\"]\n",
        !settings.no_new_privs
    );
    if !settings.bounding.is_empty() {
        let names = list(settings.bounding, |cap| quoted(&bare(cap)), ", ");
        let _ = writeln!(text, "    add: [{names}]");
    }
    if settings.user.is_root() == Some(false) {
        text.push_str("  runAsNonRoot: true\n");
    }
    if let Some((uid, gid)) = user {
        let _ = writeln!(text, "  runAsUser: {uid}");
        if let Some(gid) = gid {
            let _ = writeln!(text, "  runAsGroup: {gid}");
        }
    }
    text.push_str("  seccompProfile:\n    type: RuntimeDefault");
    Ok(text)
}
