//! The names of the kernel's functions. (proc_kallsyms(5))

use std::{fs, ops::Range};

/// Functions by where they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Symbols {
    text: String,
    /// In ascending order of their addresses, with where their names stand in the text.
    functions: Vec<(u64, Range<u32>)>,
}

impl Symbols {
    /// Those of the running kernel; none if they cannot be read.
    pub(crate) fn load() -> Symbols {
        Symbols::parse(fs::read_to_string("/proc/kallsyms").unwrap_or_default())
    }

    /// The functions in a text of `/proc/kallsyms`. To those who may not see addresses all are 0,
    /// and there is none.
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

    /// Whether no address is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The function that has `address` in it: the nearest one that begins at or before it.
    pub(crate) fn name(&self, address: u64) -> Option<&str> {
        let at = self.functions.partition_point(|(begin, _)| *begin <= address);
        let (_, name) = self.functions.get(at.checked_sub(1)?)?;
        self.text.get(name.start as usize..name.end as usize)
    }
}

/// A line such as `ffffffff81234560 t cap_capable`, and the module behind a tab: the address, and
/// where the name stands.
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
