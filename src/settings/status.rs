//! A process, and the text of its `/proc/PID/status`. (proc_pid_status(5))

use super::{Id, Settings};
#[cfg(feature = "settings")]
use super::{SettingsError, read::Found, words::user};
#[cfg(feature = "settings")]
use crate::CapSet;
use crate::proc::Status;

/// The settings of a process. Its permitted set stands for its bounding set, since it is what its
/// program can have.
impl From<&Status> for Settings {
    fn from(status: &Status) -> Settings {
        let uid = Some(status.uid.effective).filter(|uid| *uid != 0);
        Settings {
            name: None,
            caps: status.caps.permitted,
            ambient: status.ambient,
            user: uid.map(|uid| Id::Number(uid).into()),
            no_new_privs: status.no_new_privs.unwrap_or(false),
        }
    }
}

/// Reads a text in which each line is a field and `Name` is the first. It can lack fields that
/// [`Status`] has.
#[cfg(feature = "settings")]
pub(super) fn read(text: &str) -> Found {
    let fields: Option<Vec<(&str, &str)>> =
        text.lines().map(|line| line.split_once(':').filter(|(key, _)| is_key(key))).collect();
    let fields = fields.filter(|fields| fields.first().is_some_and(|(key, _)| *key == "Name"))?;
    Some(read_fields(&fields).map(|settings| vec![settings]))
}

#[cfg(feature = "settings")]
fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(feature = "settings")]
fn read_fields(fields: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let field = |name: &str| {
        let mut values =
            fields.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.trim());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(SettingsError::value(name, "is there twice")),
            (value, None) => Ok(value),
        }
    };
    let set = |name: &str| -> Result<Option<CapSet>, SettingsError> {
        let Some(value) = field(name)? else { return Ok(None) };
        let set = CapSet::from_mask(value);
        set.map(Some).map_err(|_| SettingsError::value(name, "is not a mask"))
    };
    let ids = field("Uid")?.unwrap_or_default();
    let effective = ids.split_whitespace().nth(1).unwrap_or_default();
    Ok(Settings {
        name: None,
        caps: set("CapPrm")?.ok_or_else(|| SettingsError::value("CapPrm", "is missing"))?,
        ambient: set("CapAmb")?.unwrap_or_default(),
        user: user(effective)?,
        no_new_privs: field("NoNewPrivs")? == Some("1"),
    })
}
