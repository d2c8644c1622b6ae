//! The names of kernel functions. (proc_kallsyms(5))

use std::{fs, ops::Range};

/// Functions by address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Symbols {
    text: String,
    /// The functions in ascending order of their addresses, with the positions of their names in
    /// the text.
    functions: Vec<(u64, Range<u32>)>,
}

impl Symbols {
    /// Reads the functions of the running kernel, or returns none if they cannot be read.
    pub(crate) fn load() -> Symbols {
        Symbols::parse(fs::read_to_string("/proc/kallsyms").unwrap_or_default())
    }

    /// Parses the text of `/proc/kallsyms`. For users who cannot see addresses, all of them are 0,
    /// and the result is empty.
    pub(crate) fn parse(text: impl Into<String>) -> Symbols {
        let text = text.into();
        let mut functions = Vec::with_capacity(text.len() / 64);
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let place = function(line).and_then(|(address, name)| {
                let begin = u32::try_from(at + name.start).ok()?;
                Some((address, begin..u32::try_from(at + name.end).ok()?))
            });
            functions.extend(place);
            at += line.len();
        }
        functions.sort_by_key(|(address, _)| *address);
        Symbols { text, functions }
    }

    /// Returns whether no address is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Returns whether there is a function of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.functions.iter().any(|(_, at)| self.text[at.start as usize..at.end as usize] == *name)
    }

    /// Returns the function that contains `address`: the last one that begins at or before it.
    pub(crate) fn name(&self, address: u64) -> Option<&str> {
        let at = self.functions.partition_point(|(begin, _)| *begin <= address);
        let (_, name) = self.functions.get(at.checked_sub(1)?)?;
        self.text.get(name.start as usize..name.end as usize)
    }
}

/// Parses a line such as `ffffffff81234560 t cap_capable`, with the module after a tab, into the
/// address and the position of the name.
fn function(line: &str) -> Option<(u64, Range<usize>)> {
    let (address, rest) = line.split_once(' ')?;
    let address = u64::from_str_radix(address, 16).ok().filter(|&address| address != 0)?;
    let name = rest.strip_prefix(['t', 'T', 'w', 'W'])?.strip_prefix(' ')?;
    let begin = line.len() - name.len();
    let length = name.find(char::is_whitespace).unwrap_or(name.len());
    Some((address, begin..begin + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let symbols = Symbols::parse(
            "ffffffff81000300 T third\nffffffff81000100 T first\nffffffff81000200 t second\t[x]\n\
             ffffffff81000280 d data\n0000000000000000 T hidden\nnonsense\n",
        );
        let rows = [
            (0xffff_ffff_8100_00ff, None),
            (0xffff_ffff_8100_0100, Some("first")),
            (0xffff_ffff_8100_01ff, Some("first")),
            (0xffff_ffff_8100_0290, Some("second")),
            (u64::MAX, Some("third")),
        ];
        for (address, want) in rows {
            assert_eq!(symbols.name(address), want, "{address:x}");
        }
        assert!(Symbols::parse("0000000000000000 T hidden\n").is_empty());
    }
}
