//! A Kubernetes manifest. (kubernetes.io/docs/reference/kubernetes-api, SecurityContext)

use std::fmt::Write;

use super::{
    EngineKind, Format, Settings, SettingsError, Target,
    container::{self, Changes},
    text::{bare, list, quoted},
};

#[cfg(feature = "settings")]
mod read;

#[cfg(feature = "settings")]
pub(super) use read::read;

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    container::check_ids(settings, Format::Kubernetes)?;
    let user = settings.numbers(Format::Kubernetes)?;
    let is_podman = settings.engine.as_ref().is_some_and(|one| one.kind() == EngineKind::Podman);
    let changes =
        if is_podman { Changes::with_ambient(settings) } else { Changes::only(settings.bounding) };
    let names = |caps| list(caps, |cap| quoted(&bare(cap)), ", ");
    let mut text = format!(
        "securityContext:\n  allowPrivilegeEscalation: {}\n  capabilities:\n    drop: [{}]\n",
        !settings.no_new_privs,
        changes.drop.map_or("\"ALL\"".to_owned(), names),
    );
    if !changes.add.is_empty() {
        let _ = writeln!(text, "    add: [{}]", names(changes.add));
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
