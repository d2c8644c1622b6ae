//! The user who runs a program, as settings name one.

use std::{fmt, str::FromStr};

use crate::{
    Error, ParseError,
    identity::{self, Identity},
};

/// A user or a group, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a user database has numbers and names")]
pub enum Id {
    /// The id, at most 4294967294: setresuid(2) takes 4294967295 for "unchanged".
    Number(u32),
    /// The name. Its id depends on the system that the program runs on.
    Name(Box<str>),
}

/// The user who runs a program, and a group if one is named.
///
/// Ids are compared by value: `0`, `00`, `+0` and `root` are the same user.
///
/// ```
/// use rcap::settings::User;
///
/// let user: User = "+00:users".parse()?;
/// assert!(user.is_root());
/// assert_eq!(user.to_string(), "0:users");
/// # Ok::<(), rcap::ParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    user: Id,
    group: Option<Id>,
}

impl User {
    /// Returns the user.
    pub fn id(&self) -> &Id {
        &self.user
    }

    /// Returns the group, or `None` for the user's own.
    pub fn group(&self) -> Option<&Id> {
        self.group.as_ref()
    }

    /// Returns whether the user is root. A user with another name can still have the id 0 where
    /// the program runs.
    pub fn is_root(&self) -> bool {
        self.user == Id::Number(0)
    }

    /// Returns the same user with this group.
    #[must_use]
    pub fn with_group(self, group: Id) -> User {
        User { group: Some(group), ..self }
    }

    /// Looks the user and the group up in the user database of this system.
    ///
    /// # Errors
    ///
    /// [`Error::NoUser`], [`Error::NoGroup`], or that of asking the user database.
    pub fn look_up(&self) -> Result<Identity, Error> {
        let mut identity = match &self.user {
            Id::Number(uid) => Identity::of_uid(*uid)?,
            Id::Name(name) => Identity::of_user(name)?,
        };
        if let Some(group) = &self.group {
            identity.gid = group.look_up_group()?;
        }
        Ok(identity)
    }

    /// Returns the numbers of the user and of the group, or `None` if one of them is a name.
    pub(super) fn numbers(&self) -> Option<(u32, Option<u32>)> {
        let number = |id: &Id| match id {
            Id::Number(id) => Some(*id),
            Id::Name(_) => None,
        };
        let group = match &self.group {
            Some(group) => Some(number(group)?),
            None => None,
        };
        Some((number(&self.user)?, group))
    }
}

impl Id {
    /// Returns the number of this group, which is looked up if it is named.
    ///
    /// # Errors
    ///
    /// [`Error::NoGroup`].
    pub fn look_up_group(&self) -> Result<u32, Error> {
        match self {
            Id::Number(gid) => Ok(*gid),
            Id::Name(name) => identity::group_id(name),
        }
    }
}

impl FromStr for Id {
    type Err = ParseError;

    /// Parses a decimal number or a name. A text that programs read in different ways, such as
    /// `0x0`, is refused.
    fn from_str(text: &str) -> Result<Id, ParseError> {
        const EXPECTED: &str = "a name, or a decimal number from 0 to 4294967294";
        let wrong = || ParseError::new(text, 0, EXPECTED);
        if text == "root" {
            return Ok(Id::Number(0));
        }
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = digits.parse().map_err(|_| wrong())?;
            let is_id = number != u32::MAX && (number == 0 || !text.starts_with('-'));
            return if is_id { Ok(Id::Number(number)) } else { Err(wrong()) };
        }
        // A character that Debug escapes is not printable, but for quotes and backslashes.
        let is_printable = |char: char| "\"'\\".contains(char) || char.escape_debug().len() == 1;
        let in_name = |char: char| is_printable(char) && !" :/".contains(char);
        let is_option = text.starts_with(['+', '-']);
        // Hexadecimal, octal, with an exponent or with underscores.
        let is_number = text.starts_with(|char: char| char.is_ascii_digit())
            && text.chars().all(|char| char.is_ascii_hexdigit() || "xXoO._".contains(char));
        if text.is_empty() || is_option || is_number || !text.chars().all(in_name) {
            return Err(wrong());
        }
        Ok(Id::Name(text.into()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(id) => id.fmt(f),
            Id::Name(name) => f.write_str(name),
        }
    }
}

impl From<Id> for User {
    fn from(user: Id) -> User {
        User { user, group: None }
    }
}

impl FromStr for User {
    type Err = ParseError;

    /// Parses `USER` or `USER:GROUP`.
    fn from_str(text: &str) -> Result<User, ParseError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let id = |id: &str, offset: usize| {
            id.parse::<Id>().map_err(|err| ParseError::new(text, offset, err.expected()))
        };
        let group = group.map(|group| id(group, user.len() + 1)).transpose()?;
        Ok(User { user: id(user, 0)?, group })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.user.fmt(f)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_value() {
        #[rustfmt::skip]
        let rows = [
            ("0",            Some("0")),
            ("00",           Some("0")),
            ("+0",           Some("0")),
            ("-0",           Some("0")),
            ("root",         Some("0")),
            ("root:root",    Some("0:0")),
            ("0:0",          Some("0:0")),
            ("007:+08",      Some("7:8")),
            ("4294967294",   Some("4294967294")),
            ("nobody",       Some("nobody")),
            ("www-data:adm", Some("www-data:adm")),
            ("DOMAIN\\me",   Some("DOMAIN\\me")),
            ("host$",        Some("host$")),
            ("3proxy",       Some("3proxy")),
            ("a%b'\"#",      Some("a%b'\"#")),
            ("4294967295",   None),
            ("4294967296",   None),
            ("-1",           None),
            ("0x0",          None),
            ("0o0",          None),
            ("1e3",          None),
            ("0.0",          None),
            ("1_000",        None),
            (" 0",           None),
            ("0 ",           None),
            ("",             None),
            (":5",           None),
            ("5:",           None),
            ("1:2:3",        None),
            ("-x",           None),
            ("+x",           None),
            ("a b",          None),
            ("a\n",          None),
            ("a\u{1b}",      None),
            ("a\u{9b}",      None),
            ("a\u{202e}b",   None),
            ("a/b",          None),
        ];
        for (text, want) in rows {
            let got = text.parse::<User>().ok();
            assert_eq!(got.as_ref().map(User::to_string).as_deref(), want, "{text:?}");
            let is_root = want.is_some_and(|want| want.split(':').next() == Some("0"));
            assert_eq!(got.is_some_and(|user| user.is_root()), is_root, "{text:?}");
        }
        let err = "5:0x0".parse::<User>().unwrap_err();
        assert_eq!((err.text(), err.offset()), ("5:0x0", 2));
    }

    proptest! {
        #[test]
        fn canonical(text: String) {
            if let Ok(user) = text.parse::<User>() {
                prop_assert_eq!(user.to_string().parse::<User>(), Ok(user));
            }
        }
    }
}
