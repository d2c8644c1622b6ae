//! The kernel's own description of its types and functions. (Documentation/bpf/btf.rst)

use std::{fs, io};

/// Reads the description of the running kernel, some megabytes.
pub(super) fn of_kernel() -> io::Result<Vec<u8>> {
    fs::read("/sys/kernel/btf/vmlinux")
}

/// The types of a kernel.
pub(super) struct Types<'a> {
    types: &'a [u8],
    names: &'a [u8],
}

impl<'a> Types<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Types<'a>> {
        const MAGIC: u16 = 0xeb9f;
        let magic = u16::from_ne_bytes(*bytes.first_chunk()?);
        let [header, types, types_length, names, names_length] =
            [4, 8, 12, 16, 20].map(|at| word(bytes, at));
        let section = |at: Option<u32>, length: Option<u32>| {
            let start = (header? as usize).checked_add(at? as usize)?;
            bytes.get(start..start.checked_add(length? as usize)?)
        };
        let (types, names) = (section(types, types_length)?, section(names, names_length)?);
        (magic == MAGIC).then_some(Types { types, names })
    }

    fn name(&self, at: u32) -> &'a [u8] {
        let rest = self.names.get(at as usize..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// Returns the types in order: the name, the kind and further information, and what follows.
    fn all(&self) -> impl Iterator<Item = Type<'a>> + use<'_, 'a> {
        let mut rest = self.types;
        std::iter::from_fn(move || {
            let (head, after) = rest.split_at_checked(12)?;
            let [name, info, of] = [word(head, 0)?, word(head, 4)?, word(head, 8)?];
            let kind = info >> 24 & 0x1f;
            let (members, next) = after.split_at_checked(extra(kind, (info & 0xffff) as usize)?)?;
            rest = next;
            Some(Type { name: self.name(name), kind, is_packed: info >> 31 == 1, of, members })
        })
    }

    /// Returns the ID of a function, and the number of its arguments.
    pub(super) fn function(&self, name: &str) -> Option<(u32, usize)> {
        const FUNC: u32 = 12;
        const PROTOTYPE: u32 = 13;
        let is_it = |one: &Type<'_>| one.kind == FUNC && one.name == name.as_bytes();
        // Type 0 is void, and not among them.
        let (id, one) = (1..).zip(self.all()).find(|(_, one)| is_it(one))?;
        let prototype = self.all().nth((one.of as usize).checked_sub(1)?)?;
        (prototype.kind == PROTOTYPE).then_some((id, prototype.members.len() / 8))
    }

    /// Returns the offsets of members in the first structure with this name that has all of them.
    pub(super) fn offsets(&self, structure: &str, members: &[&str]) -> Option<Vec<u32>> {
        const STRUCT: u32 = 4;
        self.all().filter(|one| one.kind == STRUCT && one.name == structure.as_bytes()).find_map(
            |one| {
                // The upper bits are the size of a bit field.
                let mask = if one.is_packed { 0x00ff_ffff } else { u32::MAX };
                let offset = |wanted: &&str| {
                    let mut all = one.members.chunks_exact(12);
                    let found = all.find(|one| {
                        word(one, 0).is_some_and(|name| self.name(name) == wanted.as_bytes())
                    });
                    Some((word(found?, 8)? & mask) / 8)
                };
                members.iter().map(offset).collect()
            },
        )
    }
}

/// A type.
struct Type<'a> {
    name: &'a [u8],
    kind: u32,
    /// Whether the offsets of its members have the sizes of bit fields.
    is_packed: bool,
    /// The size, or the ID of the type that it refers to.
    of: u32,
    members: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Returns the length of what follows the head of a type of a kind. (include/uapi/linux/btf.h)
fn extra(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointers, forward declarations, names and qualifiers of types, functions, floats
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, tags
        1 | 14 | 17 => 4,
        // Arrays
        3 => 12,
        // Structures, unions, sections, enumerations of 64 bits
        4 | 5 | 15 | 19 => 12 * count,
        // Enumerations, prototypes of functions
        6 | 13 => 8 * count,
        _ => return None,
    })
}
