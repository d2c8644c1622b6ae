//! Sets in the notation of people and configuration files: names in any case, with or without the
//! prefix `cap_`, and hexadecimal masks.

use std::{error, fmt};

use super::{Cap, CapSet, ParseError};

impl CapSet {
    /// Parses names separated by commas, in any case, with or without the prefix `cap_`. A number
    /// is parsed like [`Cap`]'s `FromStr`, and the word `all` stands for the set `all`.
    ///
    /// ```
    /// use rcap::{Cap, CapSet};
    ///
    /// let all = CapSet::NAMED;
    /// assert_eq!(CapSet::from_names("NET_RAW, cap_chown", all), Ok(Cap::NET_RAW | Cap::CHOWN));
    /// assert_eq!(CapSet::from_names("ALL", all), Ok(all));
    /// assert_eq!(CapSet::from_names("net_row", all).unwrap_err().name(), "net_row");
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownCap`] for the first unknown name.
    pub fn from_names(text: &str, all: CapSet) -> Result<CapSet, UnknownCap> {
        text.split(',')
            .map(|word| {
                let name = word.trim().to_ascii_lowercase();
                if name == "all" {
                    return Ok(all);
                }
                let cap = Cap::lookup(&name).or_else(|| Cap::lookup(&format!("cap_{name}")));
                cap.map(CapSet::from).ok_or_else(|| UnknownCap::new(&name))
            })
            .collect()
    }

    /// Parses a mask in the notation of `/proc/PID/status`: hexadecimal digits, with or without the
    /// prefix `0x`.
    ///
    /// ```
    /// use rcap::{Cap, CapSet};
    ///
    /// assert_eq!(CapSet::from_mask("0000000000002000"), Ok(Cap::NET_RAW.into()));
    /// ```
    ///
    /// # Errors
    ///
    /// [`ParseError`] for a sign, any other character, missing digits, or more than 64 bits.
    pub fn from_mask(text: &str) -> Result<CapSet, ParseError> {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        // from_str_radix also accepts a sign.
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u64::from_str_radix(digits, 16).ok().filter(|_| is_plain);
        bits.map(CapSet::from_bits).ok_or_else(|| ParseError::new(text, 0, ParseError::MASK))
    }
}

/// The error of an unknown capability name.
///
/// With the feature `settings`, the error's text suggests a similar name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCap {
    name: Box<str>,
    is_cut: bool,
}

impl UnknownCap {
    /// The longest word that is kept. Every name is shorter, but a whole file may appear instead of
    /// a name.
    const LONGEST: usize = 40;

    fn new(name: &str) -> UnknownCap {
        match name.char_indices().nth(UnknownCap::LONGEST) {
            Some((end, _)) => UnknownCap { name: name[..end].into(), is_cut: true },
            None => UnknownCap { name: name.into(), is_cut: false },
        }
    }

    /// Returns the name in lower case, or the first 40 characters of a longer one.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Returns the capability name most similar to this one, if any is similar enough.
#[cfg(feature = "settings")]
pub(super) fn alike(name: &str) -> Option<&'static str> {
    const ALIKE: f64 = 0.85;
    fn bare(name: &str) -> &str {
        name.strip_prefix("cap_").unwrap_or(name)
    }
    let name = name.to_ascii_lowercase();
    let names = Cap::ALL.iter().filter_map(|cap| cap.name());
    // The beginning of one name, such as net_bind, is that name.
    let word = bare(&name);
    let begun = names.clone().filter(|name| word.len() > 3 && bare(name).starts_with(word));
    if let [name] = *begun.take(2).collect::<Vec<&str>>() {
        return Some(name);
    }
    most_alike(bare(&name), names.map(|name| (bare(name), name)), ALIKE)
}

#[cfg(not(feature = "settings"))]
pub(super) fn alike(_: &str) -> Option<&'static str> {
    None
}

/// Returns how much two words are spelled alike, from 0 to 1.
#[cfg(feature = "settings")]
#[cfg_attr(not(feature = "cli"), expect(unreachable_pub, reason = "only the tools export it"))]
pub fn likeness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b)
}

/// Returns the value whose key is most similar to `word`, if the similarity, from 0 to 1, exceeds
/// `least`.
#[cfg(feature = "settings")]
#[cfg_attr(not(feature = "cli"), expect(unreachable_pub, reason = "only the tools export it"))]
pub fn most_alike<'a, T>(
    word: &str,
    known: impl IntoIterator<Item = (&'a str, T)>,
    least: f64,
) -> Option<T> {
    known
        .into_iter()
        .map(|(key, value)| (likeness(word, key), value))
        .filter(|(likeness, _)| *likeness > least)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, value)| value)
}

impl fmt::Display for UnknownCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dots = if self.is_cut { "..." } else { "" };
        write!(f, "unknown capability {:?}{dots}", self.name)?;
        alike(&self.name)
            .filter(|_| !self.is_cut)
            .map_or(Ok(()), |known| write!(f, "; did you mean {known}?"))
    }
}

impl error::Error for UnknownCap {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let all = CapSet::first(41);
        let two = Cap::NET_RAW | Cap::CHOWN;
        #[rustfmt::skip]
        let rows = [
            ("net_raw,chown",         Ok(two)),
            ("CAP_NET_RAW,cap_chown", Ok(two)),
            ("NET_RAW, CHOWN",        Ok(two)),
            ("13,0x0",                Ok(two)),
            ("cap_chown,63",          Ok(CapSet::from_bits(1 << 63 | 1))),
            ("all",                   Ok(all)),
            ("ALL",                   Ok(all)),
            ("",                      Err("")),
            ("net_row",               Err("net_row")),
            ("cap_",                  Err("cap_")),
            ("cap_13",                Err("cap_13")),
            ("all,X",                 Err("x")),
            ("chown,",                Err("")),
        ];
        for (text, want) in rows {
            let got = CapSet::from_names(text, all).map_err(|err| err.name().to_owned());
            assert_eq!(got, want.map_err(str::to_owned), "{text}");
        }
        let length = if cfg!(miri) { 1 << 10 } else { 1 << 24 };
        let err = CapSet::from_names(&"x".repeat(length), all).unwrap_err();
        assert_eq!(err.to_string(), format!("unknown capability {:?}...", "x".repeat(40)));
    }

    #[test]
    fn masks() {
        #[rustfmt::skip]
        let rows = [
            ("2000",              Some(0x2000)),
            ("0X3000",            Some(0x3000)),
            ("ffffffffffffffff",  Some(u64::MAX)),
            ("+2000",             None),
            ("0x+1",              None),
            ("1ffffffffffffffff", None),
            ("0x",                None),
            ("",                  None),
            ("2000 ",             None),
        ];
        for (text, want) in rows {
            assert_eq!(CapSet::from_mask(text).ok().map(CapSet::bits), want, "{text}");
        }
    }

    #[test]
    #[cfg(feature = "settings")]
    fn names_that_are_alike() {
        #[rustfmt::skip]
        let rows = [
            ("net_row",          Some("cap_net_raw")),
            ("CAP_SYSADMIN",     Some("cap_sys_admin")),
            ("dac_overide",      Some("cap_dac_override")),
            ("net_bind_sevice",  Some("cap_net_bind_service")),
            ("chwon",            Some("cap_chown")),
            ("xyz",              None),
            ("",                 None),
        ];
        for (text, want) in rows {
            let words = CapSet::from_names(text, CapSet::NAMED).unwrap_err().to_string();
            let meant =
                words.split_once("did you mean ").map(|(_, name)| name.trim_end_matches('?'));
            assert_eq!(meant, want, "{text}: {words}");
        }
    }
}
