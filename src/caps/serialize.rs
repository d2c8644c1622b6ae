//! Serialization of the values: a capability is its name, or its number as a string if it is
//! unnamed, and a set is a list of capabilities.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected},
};

use super::{Cap, CapSet, Iab, Mode, Securebits};

impl Serialize for Cap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cap, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &"a capability"))
    }
}

impl Serialize for CapSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for CapSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CapSet, D::Error> {
        Ok(Vec::<Cap>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// The three sets of an `Iab`, by name.
#[derive(Serialize, Deserialize)]
struct IabSets {
    inheritable: CapSet,
    ambient: CapSet,
    dropped: CapSet,
}

impl Serialize for Iab {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [inheritable, ambient, dropped] = [self.inheritable(), self.ambient(), self.dropped()];
        IabSets { inheritable, ambient, dropped }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Iab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Iab, D::Error> {
        let IabSets { inheritable, ambient, dropped } = IabSets::deserialize(deserializer)?;
        Ok(Iab::new(inheritable, ambient, dropped))
    }
}

/// Serializes the name.
impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &"a mode"))
    }
}

/// Serializes the number that the kernel uses.
impl Serialize for Securebits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bits().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Securebits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Securebits, D::Error> {
        u32::deserialize(deserializer).map(Securebits::from_bits_retain)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, json, to_value};

    use super::*;
    use crate::{CapState, file::FileCaps};

    #[test]
    fn names_numbers_and_back() {
        let set = CapSet::from_bits(1 | 1 << 63);
        let state = CapState { permitted: set, ..CapState::EMPTY };
        let caps = FileCaps { permitted: set, rootid: Some(7), ..FileCaps::EMPTY };
        let iab = Iab::new(CapSet::empty(), set, CapSet::first(1));
        let names = json!(["cap_chown", "63"]);
        assert_eq!(
            to_value(state).unwrap(),
            json!({"effective": [], "permitted": names, "inheritable": []})
        );
        assert_eq!(
            to_value(caps).unwrap(),
            json!({"permitted": names, "inheritable": [], "effective": false, "rootid": 7})
        );
        let text = |value: serde_json::Value| value.to_string();
        assert_eq!(from_str::<CapState>(&text(to_value(state).unwrap())).unwrap(), state);
        assert_eq!(from_str::<FileCaps>(&text(to_value(caps).unwrap())).unwrap(), caps);
        assert_eq!(from_str::<Iab>(&text(to_value(iab).unwrap())).unwrap(), iab);
        assert_eq!(from_str::<Securebits>("4097").unwrap().bits(), 4097);
        let refused = "invalid value: string \"chown\", expected a capability at line 1 column 9";
        assert_eq!(from_str::<CapSet>(r#"["chown"]"#).unwrap_err().to_string(), refused);
        let refused = "invalid type: integer `64`, expected a string at line 1 column 2";
        assert_eq!(from_str::<Cap>("64").unwrap_err().to_string(), refused);
    }
}
