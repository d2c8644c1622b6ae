//! Names of files and processes as text: one word, whatever bytes they are.

use std::{
    error,
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// Returns a name as one printable word. Spaces, backslashes, control characters, bytes that are
/// not UTF-8 and characters that may look like nothing stand as `\ooo`, their bytes in octal.
///
/// ```
/// use rcap::scan::{decode, encode};
///
/// assert_eq!(encode("/bin/ping"), "/bin/ping");
/// assert_eq!(encode("two words\n"), r"two\040words\012");
/// assert_eq!(decode(r"two\040words\012").unwrap(), "two words\n");
/// ```
pub fn encode(name: impl AsRef<OsStr>) -> String {
    let bytes = name.as_ref().as_bytes();
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_plain(char) {
                text.push(char);
            } else {
                push_octal(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        push_octal(&mut text, chunk.invalid());
    }
    text
}

/// Returns a text of foreign words with each of them encoded.
pub(super) fn encode_words(text: &str) -> String {
    text.split(' ').map(encode).collect::<Vec<_>>().join(" ")
}

fn push_octal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = fmt::Write::write_fmt(text, format_args!("\\{byte:03o}"));
    }
}

/// Returns whether a character stands for itself: it is visible, and no other one looks like it
/// because it is blank.
fn is_plain(char: char) -> bool {
    let is_blank = matches!(char, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    (char.is_ascii_graphic() && char != '\\')
        || (!char.is_ascii() && char.is_alphanumeric() && !is_blank)
}

/// The error for a word that [`encode`] does not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    word: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: a backslash needs three octal digits, up to \\377", self.word.escape_debug())
    }
}

impl error::Error for DecodeError {}

/// Returns the name that a word stands for.
///
/// # Errors
///
/// A backslash is not followed by the three octal digits of a byte, or the name would hold a NUL.
pub fn decode(word: &str) -> Result<OsString, DecodeError> {
    let failed = || DecodeError { word: word.to_owned() };
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == 0 {
            return Err(failed());
        }
        if first != b'\\' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(3).ok_or_else(failed)?;
        let number = digits.iter().try_fold(0_u32, |number, digit| {
            matches!(digit, b'0'..=b'7').then(|| number * 8 + u32::from(digit - b'0'))
        });
        let byte = number.and_then(|number| u8::try_from(number).ok());
        bytes.push(byte.filter(|byte| *byte != 0).ok_or_else(failed)?);
        rest = after;
    }
    Ok(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words() {
        #[rustfmt::skip]
        let rows: &[(&[u8], &str)] = &[
            (b"/usr/bin/ping",        "/usr/bin/ping"),
            (b"a b",                  r"a\040b"),
            (br"back\slash",          r"back\134slash"),
            (b"line\nfeed\x1b[31m",   r"line\012feed\033[31m"),
            ("r\u{e9}sum\u{e9}".as_bytes(), "r\u{e9}sum\u{e9}"),
            ("\u{202e}x\u{3164}".as_bytes(), r"\342\200\256x\343\205\244"),
            (b"\xff",                 r"\377"),
            (b"",                     ""),
        ];
        for &(name, want) in rows {
            assert_eq!(encode(OsStr::from_bytes(name)), want);
        }
    }

    #[test]
    fn words_that_are_none() {
        for word in [r"\", r"\1", r"\12", r"\400", r"\12x", r"\\134", r"\000", r"a\8", "a\0b"] {
            assert!(decode(word).is_err(), "{word}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(bytes in prop::collection::vec(1_u8.., 0..40)) {
            let name = OsString::from_vec(bytes);
            let word = encode(&name);
            prop_assert!(word.chars().all(|char| !char.is_whitespace() && !char.is_control()));
            prop_assert_eq!(decode(&word).unwrap(), name);
        }

        #[test]
        fn no_word_panics(word: String) {
            let _ = decode(&word);
        }
    }
}
