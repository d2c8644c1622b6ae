//! The ID mappings of a user namespace. (user_namespaces(7), "User and group ID mappings")

use super::own;

/// The IDs that a user namespace maps: `/proc/self/uid_map` or `gid_map`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMap(Vec<Range>);

/// Consecutive IDs, inside and outside of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    /// Returns the user ID map of the calling thread.
    pub(crate) fn of_users() -> IdMap {
        IdMap::read("uid_map")
    }

    /// Returns the group ID map of the calling thread.
    pub(crate) fn of_groups() -> IdMap {
        IdMap::read("gid_map")
    }

    /// Reads a map. Without /proc, all IDs are mapped.
    fn read(name: &str) -> IdMap {
        let all = |_| format!("0 0 {}", u32::MAX);
        IdMap::parse(&own::read(name).unwrap_or_else(all))
    }

    /// Parses lines of the first ID inside, the first ID outside, and the length.
    pub(crate) fn parse(text: &str) -> IdMap {
        let range = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
            let mut number = || numbers.next().flatten();
            Some(Range { inside: number()?, outside: number()?, count: number()? })
        };
        IdMap(text.lines().filter_map(range).collect())
    }

    pub(crate) fn has(&self, id: u32) -> bool {
        self.outside(id).is_some()
    }

    /// Returns whether a file or process shown with this ID probably has no ID in the namespace. It
    /// is shown with the overflow ID, which the namespace may also map.
    pub(crate) fn lacks(&self, id: u32) -> bool {
        const OVERFLOW: u32 = 65534;
        let is_initial = self.0.iter().any(|range| range.count == u32::MAX);
        !self.has(id) || (id == OVERFLOW && !is_initial)
    }

    /// Returns the ID outside of the namespace.
    pub(crate) fn outside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let nth = id.checked_sub(range.inside).filter(|nth| *nth < range.count)?;
            range.outside.checked_add(nth)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: &str = "         0          0 4294967295\n";

    #[test]
    fn id_maps() {
        let initial = IdMap::parse(INITIAL);
        assert!(initial.has(0) && initial.has(4_294_967_294) && !initial.has(u32::MAX));
        let two = IdMap::parse("0 1000 1\n1 100000 65536\n");
        assert!(two.has(0) && two.has(65536) && !two.has(65537));
        assert!(!initial.lacks(65534) && two.lacks(65534) && two.lacks(70000) && !two.lacks(1));
        assert_eq!([0, 2, 65537].map(|id| two.outside(id)), [Some(1000), Some(100_001), None]);
        let none = IdMap::parse("");
        assert!(!none.has(0));
        assert_eq!(IdMap::parse("0 0\nx 0 1\n7 7 -1\n"), none);
    }
}
