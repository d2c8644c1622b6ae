//! Documents of JSON or YAML, limited in the number of values that they expand to.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::SettingsError;

/// The largest number of values in a JSON document. A value takes 32 bytes. The caller limits the
/// text, and serde-saphyr limits what the aliases of YAML expand to.
const VALUES: usize = 1_000_000;

/// Returns the documents in a text, without those that are empty.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>, SettingsError> {
    // JSON is YAML, but its tabs are not.
    let left = Cell::new(VALUES);
    let mut json = serde_json::Deserializer::from_str(text);
    let document =
        Bounded(&left).deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    match document {
        Ok(document) => Ok(vec![document]),
        // The text is JSON, so its error is the one to report.
        Err(err) if err.is_data() => Err(syntax(&err)),
        Err(_) => {
            // Only the first line of a message is kept, which a snippet is not part of.
            let options = serde_saphyr::options! {
                with_snippet: false,
                // Real files have hundreds of aliases of one anchor. The number of replayed events
                // limits their expansion.
                budget: serde_saphyr::budget! { enforce_alias_anchor_ratio: false },
            };
            serde_saphyr::from_multiple_with_options(text, options).map_err(|err| syntax(&err))
        }
    }
}

/// Keeps the first line of a message.
fn syntax(err: &impl fmt::Display) -> SettingsError {
    let message = err.to_string();
    let line = message.lines().next().unwrap_or_default();
    SettingsError::Syntax { message: line.trim_start_matches("error: ").into() }
}

/// Reads a value of JSON that is neither too large nor has a key twice, which programs resolve in
/// different ways.
struct Bounded<'a>(&'a Cell<usize>);

impl Bounded<'_> {
    fn scalar<E: Error>(&self, value: impl Into<Value>) -> Result<Value, E> {
        self.count().map(|()| value.into())
    }

    fn count<E: Error>(&self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| E::custom("more than 1000000 values"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.count()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Bounded(self.0))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.count()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Bounded(self.0))?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} is there twice")));
            }
            map.insert(key, value);
        }
        Ok(map.into())
    }
}
