//! The names of the kernel's functions. (proc_kallsyms(5))

/// Functions by where they are.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// In ascending order of their addresses.
    functions: Vec<(u64, Box<str>)>,
}

impl Symbols {
    /// The functions in a text of `/proc/kallsyms`. To those who may not see addresses all are 0,
    /// and there is none.
    pub fn parse(text: &str) -> Symbols {
        let mut functions: Vec<(u64, Box<str>)> = text.lines().filter_map(function).collect();
        functions.sort_by_key(|(address, _)| *address);
        Symbols { functions }
    }

    /// Whether no address is known.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The function that has `address` in it: the nearest one that begins at or before it.
    pub fn name(&self, address: u64) -> Option<&str> {
        let at = self.functions.partition_point(|(begin, _)| *begin <= address);
        let (_, name) = self.functions.get(at.checked_sub(1)?)?;
        Some(name)
    }
}

/// A line such as `ffffffff81234560 t cap_capable`, and the module behind a tab.
fn function(line: &str) -> Option<(u64, Box<str>)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok().filter(|&address| address != 0)?;
    matches!(words.next()?, "t" | "T" | "w" | "W").then_some(())?;
    Some((address, words.next()?.into()))
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
