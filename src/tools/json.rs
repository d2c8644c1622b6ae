//! JSON shared by the commands. (docs/json.md)

use serde_json::{Map, Value, json};

use crate::{CapSet, proc::Status};

pub use crate::scan::output::json::{SCHEMA, insert_name};

/// Returns the fields of a thread.
pub fn status(status: &Status) -> Map<String, Value> {
    let mut object = Map::new();
    let caps = status.caps;
    object.insert("pid".into(), status.pid.into());
    object.insert("tgid".into(), status.tgid.into());
    object.insert("ppid".into(), status.ppid.into());
    insert_name(&mut object, "name", &status.name);
    object.insert("kind".into(), json!(status.kind));
    object.insert("text".into(), caps.to_string().into());
    object.insert("effective".into(), json!(caps.effective));
    object.insert("permitted".into(), json!(caps.permitted));
    object.insert("inheritable".into(), json!(caps.inheritable));
    object.insert("bounding".into(), json!(status.bounding));
    object.insert("ambient".into(), json!(status.ambient));
    object.insert("iab".into(), status.iab(CapSet::supported()).to_string().into());
    object.insert("uid".into(), json!(status.uid));
    object.insert("gid".into(), json!(status.gid));
    object.insert("groups".into(), json!(status.groups));
    object.insert("no_new_privs".into(), json!(status.no_new_privs));
    object.insert("seccomp".into(), json!(status.seccomp));
    object
}
