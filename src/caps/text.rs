//! The text form of the three sets, as in cap_from_text(3) and cap_to_text(3).
//!
//! Both directions are pure functions. They take the capabilities that the kernel supports, which
//! `all` and a missing list stand for, and which determine how a set is printed.
//!
//! ```text
//! text   := clause*                              clauses are separated by white space
//! clause := list? first flags* (('+'|'-') flags+)*
//! list   := item (',' item)*
//! item   := 'all' | NAME | NUMBER
//! first  := '=' | '+' | '-' | '=+' | '=-'        without a list, '=' alone
//! flags  := 'e' | 'i' | 'p'
//! ```

use std::fmt;

use super::{Cap, CapSet, CapState, ParseError};

/// One bit per set, in print order.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flags(u8);

impl Flags {
    const NONE: Flags = Flags(0);
    const ALL: Flags = Flags(7);
    const LETTERS: [(char, Flags); 3] = [('e', Flags(1)), ('i', Flags(4)), ('p', Flags(2))];

    fn letter(byte: u8) -> Option<Flags> {
        let &(_, flag) = Flags::LETTERS.iter().find(|(letter, _)| *letter == char::from(byte))?;
        Some(flag)
    }

    fn union(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    fn difference(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Returns the members of `within` that are in exactly the sets that the flags name.
    fn only(self, state: &CapState, within: CapSet) -> CapSet {
        let sets = [state.effective, state.permitted, state.inheritable];
        [1, 2, 4]
            .into_iter()
            .zip(sets)
            .fold(within, |within, (bit, set)| within & if self.0 & bit != 0 { set } else { !set })
    }

    /// Adds `list` to the sets that the flags name.
    fn raise(self, state: &mut CapState, list: CapSet) {
        self.each(state, |set| *set |= list);
    }

    /// Removes `list` from the sets that the flags name.
    fn lower(self, state: &mut CapState, list: CapSet) {
        self.each(state, |set| *set -= list);
    }

    fn each(self, state: &mut CapState, change: impl Fn(&mut CapSet)) {
        let sets = [&mut state.effective, &mut state.permitted, &mut state.inheritable];
        for (bit, set) in [1, 2, 4].into_iter().zip(sets) {
            if self.0 & bit != 0 {
                change(set);
            }
        }
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, flag) in Flags::LETTERS {
            if self.0 & flag.0 != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl CapState {
    /// Parses `text` for a kernel that supports the capabilities `all`.
    ///
    /// ```
    /// use rcap::{Cap, CapSet, CapState};
    ///
    /// let state = CapState::parse("cap_net_raw,cap_net_admin=p cap_net_raw+e", CapSet::NAMED)?;
    /// assert_eq!(state.effective, Cap::NET_RAW.into());
    ///
    /// let err = CapState::parse("cap_net_raw+x", CapSet::NAMED).unwrap_err();
    /// assert_eq!(err.offset(), 12);
    /// # Ok::<(), rcap::ParseError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ParseError`] with the position in the text.
    #[doc(alias = "cap_from_text")]
    pub fn parse(text: &str, all: CapSet) -> Result<CapState, ParseError> {
        CapState::EMPTY.and_parse(text, all)
    }

    /// Applies the clauses of `text` to this state, for a kernel that supports the capabilities
    /// `all`.
    ///
    /// ```
    /// use rcap::{CapSet, CapState};
    ///
    /// let state = CapState::parse("cap_net_raw=ep", CapSet::NAMED)?;
    /// let more = state.and_parse("cap_kill+p", CapSet::NAMED)?;
    /// assert_eq!(more.to_text(CapSet::NAMED).to_string(), "cap_net_raw=ep cap_kill+p");
    /// # Ok::<(), rcap::ParseError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ParseError`] with the position in the text.
    pub fn and_parse(mut self, text: &str, all: CapSet) -> Result<CapState, ParseError> {
        let mut input = Input { text, offset: 0 };
        loop {
            input.skip_while(is_space);
            if input.peek().is_none() {
                return Ok(self);
            }
            input.clause(&mut self, all)?;
        }
    }

    /// Returns the text of this state that cap_to_text(3) prints on a kernel that supports the
    /// capabilities `all`.
    ///
    /// ```
    /// use rcap::{CapSet, CapState};
    ///
    /// let state = CapState::parse("cap_kill,cap_bpf=ep", CapSet::NAMED)?;
    /// assert_eq!(state.to_text(CapSet::NAMED).to_string(), "cap_kill,cap_bpf=ep");
    /// // Linux 3.16 to 5.7 had 38 capabilities, and CAP_BPF was not one of them.
    /// assert_eq!(state.to_text(CapSet::first(38)).to_string(), "cap_kill=ep cap_bpf+ep");
    /// # Ok::<(), rcap::ParseError>(())
    /// ```
    #[doc(alias = "cap_to_text")]
    pub fn to_text(self, all: CapSet) -> impl fmt::Display {
        Text { state: self, all }
    }
}

/// Returns whether isspace(3) in the C locale is true.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The text, and the current position.
struct Input<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Input<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    /// Reads bytes while `wanted` is true. The bytes are delimited by ASCII characters.
    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let start = self.offset;
        while self.peek().is_some_and(&wanted) {
            self.offset += 1;
        }
        &self.text[start..self.offset]
    }

    fn expected(&self, what: &'static str) -> ParseError {
        ParseError::new(self.text, self.offset, what)
    }

    fn clause(&mut self, state: &mut CapState, all: CapSet) -> Result<(), ParseError> {
        if self.eat(b'=') {
            // Without a list, this means all capabilities, and no second operator may follow.
            Flags::ALL.lower(state, all);
            self.flags().raise(state, all);
        } else {
            let list = self.list(all)?;
            self.first_action(state, list)?;
            while let Some(action) = self.plus_or_minus() {
                action(self.some_flags()?, state, list);
            }
        }
        match self.peek() {
            None => Ok(()),
            Some(byte) if is_space(byte) => Ok(()),
            Some(_) => Err(self.expected("one of the flags e, i and p, or white space")),
        }
    }

    fn first_action(&mut self, state: &mut CapState, list: CapSet) -> Result<(), ParseError> {
        let assign = self.eat(b'=');
        if assign {
            Flags::ALL.lower(state, list);
        }
        match self.plus_or_minus() {
            Some(action) => action(self.some_flags()?, state, list),
            None if assign => self.flags().raise(state, list),
            None => return Err(self.expected("one of the operators =, + and -")),
        }
        Ok(())
    }

    fn plus_or_minus(&mut self) -> Option<fn(Flags, &mut CapState, CapSet)> {
        if self.eat(b'+') {
            Some(Flags::raise)
        } else if self.eat(b'-') {
            Some(Flags::lower)
        } else {
            None
        }
    }

    fn list(&mut self, all: CapSet) -> Result<CapSet, ParseError> {
        let mut list = CapSet::empty();
        loop {
            let start = self.offset;
            let ends = |byte| is_space(byte) || matches!(byte, b',' | b'=' | b'+' | b'-');
            let item = self.skip_while(|byte| !ends(byte));
            if item.eq_ignore_ascii_case("all") {
                list |= all;
            } else if let Some(cap) = Cap::lookup(item) {
                list = list.with(cap);
            } else {
                return Err(ParseError::new(self.text, start, ParseError::CAPABILITY));
            }
            if !self.eat(b',') {
                return Ok(list);
            }
        }
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::NONE;
        while let Some(flag) = self.peek().and_then(Flags::letter) {
            flags = flags.union(flag);
            self.offset += 1;
        }
        flags
    }

    fn some_flags(&mut self) -> Result<Flags, ParseError> {
        match self.flags() {
            Flags::NONE => Err(self.expected("one of the flags e, i and p")),
            flags => Ok(flags),
        }
    }
}

struct Text {
    state: CapState,
    all: CapSet,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Text { state, all } = self;
        // The flags of most capabilities are printed for all, and the rest as differences.
        let mut most = Flags::ALL;
        for flags in (0..7).rev().map(Flags) {
            if flags.only(state, *all).len() >= most.only(state, *all).len() {
                most = flags;
            }
        }
        let mut first = true;
        for flags in (0..8).rev().map(Flags).filter(|&flags| flags != most) {
            let list = flags.only(state, *all);
            if list.is_empty() {
                continue;
            }
            if first && most == Flags::NONE {
                write!(f, "{list}={flags}")?; // shorter than `= list+flags`
            } else {
                if first {
                    write!(f, "={most}")?;
                }
                write!(f, " {list}")?;
                for (sign, flags) in [('+', flags.difference(most)), ('-', most.difference(flags))]
                {
                    if flags != Flags::NONE {
                        write!(f, "{sign}{flags}")?;
                    }
                }
            }
            first = false;
        }
        if first {
            write!(f, "={most}")?;
        }
        // `=` says nothing about unsupported capabilities.
        for flags in (1..8).rev().map(Flags) {
            let list = flags.only(state, !*all);
            if !list.is_empty() {
                write!(f, " {list}+{flags}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
