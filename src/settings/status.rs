//! A process, and the text of its `/proc/PID/status`. (proc_pid_status(5))

use super::{Id, Kind, Settings, User, Who};
#[cfg(feature = "settings")]
use super::{SettingsError, read::Found};
use crate::proc::Status;
#[cfg(feature = "settings")]
use crate::{CapSet, CapState};

/// The settings of a process: those that it executes its next program with. Its securebits, which
/// the kernel tells nobody else, are taken for none.
impl From<&Status> for Settings {
    fn from(status: &Status) -> Settings {
        let user = User::from(Id::Number(status.uid.effective));
        Settings {
            kind: Kind::Process,
            user: Who::User(user.with_group(Id::Number(status.gid.effective))),
            groups: status.groups.iter().map(|gid| Id::Number(*gid)).collect(),
            bounding: status.bounding,
            caps: status.caps,
            ambient: status.ambient,
            no_new_privs: status.no_new_privs.unwrap_or(false),
            ..Settings::default()
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
    let id = |name: &str| -> Result<Option<Id>, SettingsError> {
        let Some(ids) = field(name)? else { return Ok(None) };
        let effective = ids.split_whitespace().nth(1).unwrap_or_default();
        Ok(Some(effective.parse()?))
    };
    let mut user = id("Uid")?.map(User::from);
    if let (Some(named), Some(group)) = (&user, id("Gid")?) {
        user = Some(named.clone().with_group(group));
    }
    let groups = field("Groups")?.unwrap_or_default();
    let permitted = set("CapPrm")?.ok_or_else(|| SettingsError::value("CapPrm", "is missing"))?;
    Ok(Settings {
        kind: Kind::Process,
        user: user.map_or(Who::Anyone, Who::User),
        groups: groups.split_whitespace().map(str::parse).collect::<Result<_, _>>()?,
        bounding: set("CapBnd")?.unwrap_or(permitted),
        caps: CapState {
            effective: set("CapEff")?.unwrap_or(permitted),
            permitted,
            inheritable: set("CapInh")?.unwrap_or_default(),
        },
        ambient: set("CapAmb")?.unwrap_or_default(),
        no_new_privs: field("NoNewPrivs")? == Some("1"),
        ..Settings::default()
    })
}
