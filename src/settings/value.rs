//! Values in documents.

use serde_json::Value;

use super::{SettingsError, User, container::Names, words};
use crate::CapSet;

/// Returns the capabilities in a list of names, or in one name; none if there is no value.
pub(super) fn caps(value: &Value) -> Result<CapSet, SettingsError> {
    let names = match value {
        Value::Null => &[],
        Value::Array(names) => &**names,
        name => std::slice::from_ref(name),
    };
    names
        .iter()
        .map(|name| {
            let wrong = || SettingsError::value(name, "is not the name of a capability");
            let name = name.as_str().ok_or_else(wrong)?;
            // Reports have numbers for capabilities without a name.
            match name.parse::<u8>() {
                Ok(number @ ..64) => Ok(CapSet::from_bits(1 << number)),
                _ => Ok(words::caps(name)?),
            }
        })
        .collect()
}

/// Returns the capabilities in a list of names, which may have the word `all`.
pub(super) fn names(value: &Value) -> Result<Names, SettingsError> {
    let mut all = Names::default();
    let list = match value {
        Value::Null => &[],
        Value::Array(names) => &**names,
        name => std::slice::from_ref(name),
    };
    for name in list {
        let wrong = || SettingsError::value(name, "is not the name of a capability");
        let names = words::names(name.as_str().ok_or_else(wrong)?)?;
        all.caps |= names.caps;
        all.has_all |= names.has_all;
    }
    Ok(all)
}

/// Returns the strings in a list.
pub(super) fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Returns a user as in [`words::user`].
pub(super) fn user(value: &Value) -> Result<Option<User>, SettingsError> {
    words::user(&scalar("user", value)?)
}

/// Returns the user with a group as in [`words::with_group`].
pub(super) fn with_group(user: Option<User>, group: &Value) -> Result<Option<User>, SettingsError> {
    words::with_group(user, &scalar("group", group)?)
}

/// Returns the text of a number or a name; an empty one if there is no value.
fn scalar(field: &str, value: &Value) -> Result<String, SettingsError> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(SettingsError::value(other, "is neither a number nor a name").within(field)),
    }
}

/// Returns a switch, which is off if there is no value. Compose takes the words too.
pub(super) fn switch(field: &str, value: &Value) -> Result<bool, SettingsError> {
    let is_on = match value {
        Value::Null => Some(false),
        Value::Bool(is_on) => Some(*is_on),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    is_on.ok_or_else(|| SettingsError::value(value, "is not true or false").within(field))
}
