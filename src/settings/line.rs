//! The command lines of `docker run`, `podman run` and the like.

use super::{
    Context, EngineKind, Kind, Settings, SettingsError,
    container::{self, Container},
    words::{names, options, user},
};

/// Reads the words after the name of the program.
pub(super) fn read(
    words: &[&str],
    kind: EngineKind,
    context: &Context<'_>,
) -> Result<Settings, SettingsError> {
    const VALUES: [&str; 5] = ["--cap-add", "--cap-drop", "--user", "-u", "--security-opt"];
    let mut container = Container::default();
    for (name, value) in options(words, |word| VALUES.contains(&word)) {
        match name {
            "--cap-drop" => {
                let names = names(value)?;
                container.drop.caps |= names.caps;
                container.drop.has_all |= names.has_all;
            }
            "--cap-add" => {
                let names = names(value)?;
                container.add.caps |= names.caps;
                container.add.has_all |= names.has_all;
            }
            "--user" | "-u" => container.user = user(value)?,
            "--security-opt" => container.no_new_privs |= container::is_no_new_privs(value),
            "--privileged" => container.is_privileged = value != "false",
            _ => {}
        }
    }
    let kinds = match kind {
        EngineKind::Podman => [EngineKind::Podman, EngineKind::Podman],
        _ => [EngineKind::Docker, EngineKind::Podman],
    };
    container.settings(Kind::Command, context.engine(&kinds))
}
