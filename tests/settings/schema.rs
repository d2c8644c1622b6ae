//! The document of `rcap export --to json`, by its schema.

use std::{fs, path::Path};

use serde_json::Value;

use super::{common::directory, export, write};

/// Whether a value is valid by the part of JSON Schema that docs/export.schema.json uses.
fn check(value: &Value, schema: &Value, root: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a definition");
        return check(value, target, root, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let is_typed = types.iter().any(|one| one == kind || one.is_null());
    assert!(is_typed, "{at}: {value} is not {types:?}");
    if let Some(want) = schema.get("const") {
        assert_eq!(value, want, "{at}");
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{at} lacks {required}");
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(key) {
            Some(schema) => check(value, schema, root, &format!("{at}.{key}")),
            None => assert_ne!(schema["additionalProperties"], false, "{at}.{key} is not in it"),
        }
    }
    for item in value.as_array().into_iter().flatten().filter(|_| schema.get("items").is_some()) {
        check(item, &schema["items"], root, &format!("{at}[]"));
    }
}

pub(crate) fn json_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/export.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let dir = directory();
    let two = write(
        dir.path(),
        "two.yml",
        "services: {a: {image: x, user: 5, command: a b}, b: {image: y, privileged: true}}",
    );
    let unit = write(
        dir.path(),
        "x@.service",
        "[Service]\nUser=%i\nSecureBits=noroot\nCapabilityBoundingSet=x\n",
    );
    for source in [&*two, &unit, "docker", "net_raw", "pid:1", "podman run -u 5 --group-add 7 i"] {
        let ran = export(&["--to", "json", "--from", source]);
        let document: Value = serde_json::from_str(&ran.out).unwrap();
        check(&document, &schema, &schema, "document");
        // It is a source itself, of the same settings.
        let path = write(dir.path(), "again.json", &ran.out);
        assert_eq!(export(&["--to", "json", "--from", &path]).out, ran.out, "{source}");
    }
}
