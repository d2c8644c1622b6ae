//! Where the kernel keeps the credentials of a task.

use crate::{
    CapSet, CapState,
    exec::Credentials,
    proc::Ids,
    securebits::Securebits,
    trace::record::btf::{self, Types},
};

/// How many bytes of `struct cred` are read, from its member `uid` on.
pub(super) const CREDENTIALS: usize = 128;

/// The offsets of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// `cred` and `atomic_flags` of `struct task_struct`.
    pub(super) task: [u32; 2],
    /// The members of [`MEMBERS`] of `struct cred`.
    members: [u32; MEMBERS.len()],
}

const MEMBERS: [&str; 14] = [
    "uid",
    "gid",
    "suid",
    "sgid",
    "euid",
    "egid",
    "fsuid",
    "fsgid",
    "securebits",
    "cap_inheritable",
    "cap_permitted",
    "cap_effective",
    "cap_bset",
    "cap_ambient",
];

impl Layout {
    /// Returns the layout of the running kernel, or `None` if it does not describe its types.
    pub(super) fn load() -> Option<Layout> {
        Layout::parse(&btf::of_kernel().ok()?)
    }

    fn parse(bytes: &[u8]) -> Option<Layout> {
        let types = Types::new(bytes)?;
        let task = types.offsets("task_struct", &["cred", "atomic_flags"])?.try_into().ok()?;
        let members: [u32; MEMBERS.len()] = types.offsets("cred", &MEMBERS)?.try_into().ok()?;
        let first = members[0];
        let is_near = |&at: &u32| at >= first && (at - first) as usize + 8 <= CREDENTIALS;
        members.iter().all(is_near).then_some(Layout { task, members })
    }

    /// Returns the offset of the bytes to read in `struct cred`.
    pub(super) fn start(&self) -> u32 {
        self.members[0]
    }

    /// Decodes the bytes of `struct cred` from [`Layout::start`] on, and the flags of the task.
    /// Nothing is known about supplementary groups.
    pub(super) fn credentials(&self, bytes: &[u8], flags: u64) -> Option<Credentials> {
        /// include/linux/sched.h
        const PFA_NO_NEW_PRIVS: u64 = 1 << 0;
        let field = |at: usize| bytes.get((self.members[at] - self.members[0]) as usize..);
        let id = |at: usize| Some(u32::from_ne_bytes(*field(at)?.first_chunk()?));
        let set =
            |at: usize| Some(CapSet::from_bits(u64::from_ne_bytes(*field(at)?.first_chunk()?)));
        let ids = |at: usize| {
            Some(Ids {
                real: id(at)?,
                saved: id(at + 2)?,
                effective: id(at + 4)?,
                filesystem: id(at + 6)?,
            })
        };
        let (uid, gid) = (ids(0)?, ids(1)?);
        let mut found = Credentials::of_user(uid.effective, gid.effective);
        found.uid = uid;
        found.gid = gid;
        found.securebits = Securebits::from_bits_retain(id(8)?);
        found.caps = CapState { inheritable: set(9)?, permitted: set(10)?, effective: set(11)? };
        found.bounding = set(12)?;
        found.ambient = set(13)?;
        found.no_new_privs = flags & PFA_NO_NEW_PRIVS != 0;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(task: &[(&str, u32)], cred: &[(&str, u32)]) -> Vec<u8> {
        let mut names = vec![0_u8];
        let mut name = |text: &str| {
            let at = u32::try_from(names.len()).unwrap();
            names.extend(text.as_bytes());
            names.push(0);
            at
        };
        let mut types: Vec<u32> = vec![name("int"), 1 << 24, 4, 32];
        for (structure, members) in [("task_struct", task), ("cred", cred)] {
            let count = u32::try_from(members.len()).unwrap();
            types.extend([name(structure), 4 << 24 | count, 999]);
            for (member, offset) in members {
                types.extend([name(member), 1, offset * 8]);
            }
        }
        types.extend([0, 13 << 24 | 2, 1, 0, 1, 0, 1]);
        types.extend([name("cap_capable"), 12 << 24 | 1, 4]);
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let header = [24, 0, length(&types), length(&types), length(&names)];
        let header: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        [&0xeb9f_u16.to_ne_bytes()[..], &[1, 0], &header, &types, &names].concat()
    }

    #[test]
    fn layouts() {
        let ids = (0..9).map(|at| 8 + 4 * at);
        let offsets = ids.chain((0..5).map(|at| 48 + 8 * at));
        let cred: Vec<(&str, u32)> = MEMBERS.into_iter().zip(offsets).collect();
        let task = [("state", 0), ("cred", 1700), ("atomic_flags", 1200)];
        let bytes = described(&task, &cred);
        let layout = Layout::parse(&bytes).unwrap();
        assert_eq!((layout.task, layout.start()), ([1700, 1200], 8));
        let ids: Vec<u8> = (1_u32..10).flat_map(u32::to_ne_bytes).collect();
        let sets: Vec<u8> = (1_u64..6).flat_map(u64::to_ne_bytes).collect();
        let found = layout.credentials(&[&ids[..], &[0; 4], &sets].concat(), 1).unwrap();
        assert_eq!((found.uid.real, found.uid.effective, found.gid.filesystem), (1, 5, 8));
        assert_eq!(found.caps.permitted, CapSet::from_bits(2));
        assert_eq!(found.ambient, CapSet::from_bits(5));
        assert!(found.no_new_privs);
        assert_eq!(layout.credentials(&ids, 1), None);
        assert_eq!(Layout::parse(&described(&task, &cred[1..])), None);
        let types = Types::new(&bytes).unwrap();
        assert_eq!(types.function("cap_capable"), Some((5, 2)));
        assert_eq!(types.function("cred"), None);
        for end in 0..bytes.len() {
            let _ = Layout::parse(&bytes[..end]);
        }
    }
}
