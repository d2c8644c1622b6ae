//! The syntax of units: lines, words, booleans and specifiers. (systemd.syntax(7);
//! systemd.unit(5), "Specifiers")

use crate::CapSet;

/// An assignment in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Assignment<'a> {
    pub(in super::super) section: &'a str,
    pub(in super::super) key: &'a str,
    pub(in super::super) value: &'a str,
}

/// Returns the name in a header of a section.
pub(in super::super) fn section(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_ ".contains(&byte);
    (!name.is_empty() && name.bytes().all(in_name)).then_some(name)
}

pub(in super::super) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// Returns the lines without comments and empty lines, continued lines as one.
pub(in super::super) fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continues = false;
    for line in text.lines().filter(|line| !is_comment(line)) {
        // Two backslashes do not continue the line.
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        let goes_on = backslashes % 2 == 1;
        let part = if goes_on { &line[..line.len() - 1] } else { line };
        match lines.last_mut().filter(|_| continues) {
            Some(last) => last.extend([" ", part]),
            None => lines.push(part.to_owned()),
        }
        continues = goes_on;
    }
    let lines = lines.iter().map(|line| line.trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// Returns the assignments in these lines; a line that is neither one nor a header is skipped.
pub(in super::super) fn assignments(lines: &[String]) -> Vec<Assignment<'_>> {
    let mut at = "";
    let mut all = Vec::new();
    for line in lines {
        if line.starts_with('[') {
            // systemd skips the section of a header that is malformed.
            at = section(line).unwrap_or_default();
        } else if let Some((key, value)) = line.split_once('=') {
            all.push(Assignment { section: at, key: key.trim(), value: value.trim() });
        }
    }
    all
}

/// Splits a value into words as systemd does: quotes group, a backslash keeps the next character.
/// The second value is the last word if its quote is not closed.
pub(crate) fn words(value: &str) -> (Vec<String>, Option<String>) {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (_, '\\') => {
                let next = chars.next().unwrap_or('\\');
                word.get_or_insert_default().push(next);
            }
            (Some(open), char) if char == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\n' | '\r') => words.extend(word.take()),
            (_, char) => word.get_or_insert_default().push(char),
        }
    }
    if quote.is_some() {
        return (words, word);
    }
    words.extend(word);
    (words, None)
}

/// Returns a boolean. (parse_boolean of systemd)
pub(in super::super) fn boolean(value: &str) -> Option<bool> {
    match &*value.to_ascii_lowercase() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Returns a capability by the names and numbers that systemd takes. (capability_from_name)
pub(crate) fn capability(word: &str) -> CapSet {
    let number = match word.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16).ok(),
        None => word.parse().ok().filter(|_| !word.starts_with('+')),
    };
    if let Some(number) = number.filter(|number| *number < 63) {
        return CapSet::from_bits(1 << number);
    }
    let is_name = word.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("cap_"));
    let cap = is_name.then(|| word.to_ascii_lowercase().parse::<crate::Cap>().ok()).flatten();
    cap.map_or(CapSet::empty(), CapSet::from)
}

/// Resolves the specifiers that the name of a unit and the system manager determine; `None` for a
/// value that has another one.
pub(in super::super) fn specifiers(value: &str, unit: Option<&str>) -> Option<String> {
    let mut resolved = String::new();
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            resolved.push(char);
            continue;
        }
        let specifier = chars.next()?;
        match specifier {
            '%' => resolved.push('%'),
            'u' | 'g' => resolved.push_str("root"),
            'U' | 'G' => resolved.push('0'),
            'h' => resolved.push_str("/root"),
            specifier => resolved.push_str(&of_name(specifier, unit?)?),
        }
    }
    Some(resolved)
}

/// Returns the value of a specifier of a unit's name; `None` for the instance of a template.
fn of_name(specifier: char, unit: &str) -> Option<String> {
    let (name, _) = unit.rsplit_once('.')?;
    let (prefix, instance) = match name.split_once('@') {
        Some((prefix, instance)) => (prefix, Some(instance)),
        None => (name, None),
    };
    let is_template = instance == Some("");
    let instance = instance.unwrap_or_default();
    let last = prefix.rsplit('-').next().unwrap_or(prefix);
    match specifier {
        _ if is_template && "iInN".contains(specifier) => None,
        'i' => Some(instance.to_owned()),
        'I' => Some(unescape(instance)),
        'n' => Some(unit.to_owned()),
        'N' => Some(name.to_owned()),
        'p' => Some(prefix.to_owned()),
        'P' => Some(unescape(prefix)),
        'j' => Some(last.to_owned()),
        'J' => Some(unescape(last)),
        _ => None,
    }
}

/// Returns the text that systemd-escape(1) makes such a name of.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name;
    while let Some(char) = rest.chars().next() {
        let hex = rest.strip_prefix("\\x").and_then(|digits| digits.get(..2));
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &rest[4..];
            continue;
        }
        let plain = if char == '-' { '/' } else { char };
        bytes.extend(plain.encode_utf8(&mut [0; 4]).bytes());
        rest = &rest[char.len_utf8()..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quotes() {
        #[rustfmt::skip]
        let rows = [
            ("a b\tc",        &["a", "b", "c"][..], None),
            ("\"a b\" c",     &["a b", "c"],        None),
            ("'a'b",          &["ab"],              None),
            ("a \"b",         &["a"],               Some("b")),
            ("a\\x20b",       &["ax20b"],           None),
            ("a # b",         &["a", "#", "b"],     None),
            ("\"\"",          &[""],                None),
            ("",              &[],                  None),
        ];
        for (text, want, is_open) in rows {
            let (got, open) = words(text);
            let want = want.map_to_owned();
            assert_eq!((got.as_slice(), open.as_deref()), (&*want, is_open), "{text}");
        }
    }

    trait Owned {
        fn map_to_owned(&self) -> Vec<String>;
    }

    impl Owned for &[&str] {
        fn map_to_owned(&self) -> Vec<String> {
            self.iter().map(|word| (*word).to_owned()).collect()
        }
    }

    #[test]
    fn specifiers_of_names() {
        #[rustfmt::skip]
        let rows = [
            ("%i",      Some("a@web.service"),   Some("web")),
            ("%i",      Some("a@.service"),      None),
            ("%i",      None,                    None),
            ("x%%y",    None,                    Some("x%y")),
            ("%p-%n",   Some("a@b.service"),     Some("a-a@b.service")),
            ("%I",      Some("a@b-c\\x2dd.service"), Some("b/c-d")),
            ("%j",      Some("a-b.service"),     Some("b")),
            ("%U",      None,                    Some("0")),
            ("%H",      Some("a.service"),       None),
            ("%",       Some("a.service"),       None),
        ];
        for (value, unit, want) in rows {
            assert_eq!(specifiers(value, unit).as_deref(), want, "{value} {unit:?}");
        }
    }

    #[test]
    fn names_and_numbers() {
        let raw = CapSet::from(crate::Cap::NET_RAW);
        for word in ["CAP_NET_RAW", "cap_net_raw", "Cap_Net_Raw", "13", "0xd"] {
            assert_eq!(capability(word), raw, "{word}");
        }
        for word in
            ["NET_RAW", "all", "CAP_NET_RAW,CAP_CHOWN", "CAP_FOO", "63", "-1", "", "+13", "é"]
        {
            assert_eq!(capability(word), CapSet::empty(), "{word}");
        }
    }
}
