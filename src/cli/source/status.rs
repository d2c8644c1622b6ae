//! The text of `/proc/PID/status`. (proc_pid_status(5))

use serde_json::Value;

use super::{Found, Source, user};
use crate::CapSet;

/// The settings of the process, if each line is a field and `Name` is the first.
pub(super) fn parse(text: &str) -> Found {
    let fields: Option<Vec<(&str, &str)>> =
        text.lines().map(|line| line.split_once(':').filter(|(key, _)| is_key(key))).collect();
    let fields = fields.filter(|fields| fields.first().is_some_and(|(key, _)| *key == "Name"))?;
    let all = |name: &str| fields.iter().filter(|(key, _)| *key == name).count();
    let field = |name: &str| {
        if all(name) > 1 {
            return Err(format!("{name} is there twice"));
        }
        Ok(fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim()))
    };
    let set = |name: &str| -> Result<Option<CapSet>, String> {
        let Some(value) = field(name)? else { return Ok(None) };
        let bits = u64::from_str_radix(value, 16).map_err(|_| format!("{name} is not a mask"))?;
        Ok(Some(CapSet::from_bits_retain(bits)))
    };
    let source = || {
        let ids = field("Uid")?.unwrap_or_default();
        let effective = ids.split_whitespace().nth(1).map_or(Value::Null, Value::from);
        Ok(vec![Source {
            caps: set("CapPrm")?.ok_or("CapPrm is missing")?,
            ambient: set("CapAmb")?.unwrap_or_default(),
            user: user(&effective)?,
            no_new_privs: field("NoNewPrivs")? == Some("1"),
            name: None,
        }])
    };
    Some(source())
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
