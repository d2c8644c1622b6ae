use proptest::prelude::*;

use super::*;
use crate::Cap;

const NET_RAW: CapSet = CapSet::of(&[Cap::NET_RAW]);
const CHOWN: CapSet = CapSet::of(&[Cap::CHOWN]);
const NONE: CapSet = CapSet::empty();

fn user() -> Process {
    Process::of_user(1000, 1000)
}

fn root() -> Process {
    let caps = CapState { effective: CapSet::NAMED, permitted: CapSet::NAMED, inheritable: NONE };
    Process { caps, ..Process::of_user(0, 0) }
}

fn with_ambient(caps: CapSet) -> Process {
    let caps = CapState { effective: caps, permitted: caps, inheritable: caps };
    Process { caps, ambient: caps.permitted, ..user() }
}

fn with_caps(permitted: CapSet, inheritable: CapSet, effective: bool) -> File {
    let caps = FileCaps { permitted, inheritable, effective, rootid: None };
    File { caps: Some(caps), ..File::default() }
}

/// What comes of it: the permitted and the effective set, and the changes of the permitted and of
/// the ambient set.
fn outcome(process: &Process, file: &File) -> (CapSet, CapSet, Vec<(Effect, Rule)>) {
    let outcome = execute(process, file, Kernel::NAMED).unwrap();
    let rules = outcome.changes.iter().filter(|change| change.set != Set::Effective);
    let rules = rules.map(|change| (change.effect, change.rule)).collect();
    (outcome.after.caps.permitted, outcome.after.caps.effective, rules)
}

/// A name, who executes what, and what is permitted and effective then, and why.
type Row = (&'static str, Process, File, CapSet, CapSet, &'static [(Effect, Rule)]);

#[test]
fn what_people_lose_days_on() {
    use Effect::{Gained, Lost, Withheld};
    let set_uid_root = File { set_uid: Some(0), ..File::default() };
    let raw = with_caps(NET_RAW, NONE, true);
    let passes = with_caps(NONE, NET_RAW, true);
    let nosuid = File { is_nosuid: true, ..raw };
    let foreign = File { is_foreign: true, ..raw };
    let noroot = Process { securebits: Securebits::NOROOT, ..root() };
    let less = Process { bounding: CHOWN, ..root() };
    let all = CapSet::NAMED;
    let locked = Process { no_new_privs: true, ..user() };
    let inherits = Process { caps: CapState { inheritable: NET_RAW, ..CapState::EMPTY }, ..user() };
    #[rustfmt::skip]
    let rows: &[Row] = &[
        ("root",            root(), File::default(), all, all, &[]),
        ("root, bounded",   less.clone(), File::default(), CHOWN, CHOWN, &[(Lost, Rule::Bounding)]),
        ("noroot",          noroot, File::default(), NONE, NONE, &[(Lost, Rule::NoRoot)]),
        ("a user",          user(), File::default(), NONE, NONE, &[]),
        ("a file with it",  user(), raw, NET_RAW, NET_RAW, &[(Gained, Rule::FilePermitted)]),
        ("without e",       user(), with_caps(NET_RAW, NONE, false), NET_RAW, NONE, &[(Gained, Rule::FilePermitted)]),
        ("nosuid",          user(), nosuid, NONE, NONE, &[(Withheld, Rule::NoSuid)]),
        ("foreign",         user(), foreign, NONE, NONE, &[(Withheld, Rule::ForeignRootid)]),
        ("no-new-privs",    locked.clone(), raw, NONE, NONE, &[(Withheld, Rule::NoNewPrivs)]),
        ("set-uid, nnp",    locked, set_uid_root, NONE, NONE, &[(Withheld, Rule::NoNewPrivs)]),
        ("set-uid",         user(), set_uid_root, all, all, &[(Gained, Rule::Root)]),
        ("set-uid, nosuid", user(), File { is_nosuid: true, ..set_uid_root }, NONE, NONE, &[(Withheld, Rule::NoSuid)]),
        ("set-uid, caps",   user(), File { set_uid: Some(0), ..raw }, NET_RAW, NET_RAW,
            &[(Gained, Rule::FilePermitted), (Withheld, Rule::CapsBeforeSetUid)]),
        ("inheritable",     inherits, passes, NET_RAW, NET_RAW, &[(Gained, Rule::FileInheritable)]),
        ("not inheritable", user(), passes, NONE, NONE, &[(Withheld, Rule::NotInheritable)]),
        ("ambient",         with_ambient(NET_RAW), File::default(), NET_RAW, NET_RAW, &[]),
        ("ambient, empty",  with_ambient(NET_RAW), with_caps(NONE, NONE, false), NONE, NONE,
            &[(Lost, Rule::FileCapsClearAmbient), (Lost, Rule::FileCapsClearAmbient)]),
        ("ambient, set-gid", with_ambient(NET_RAW), File { set_gid: Some(5), ..File::default() }, NONE, NONE,
            &[(Lost, Rule::IdsClearAmbient), (Lost, Rule::IdsClearAmbient)]),
        ("not ambient",     Process { ambient: NONE, ..with_ambient(NET_RAW) }, File::default(), NONE, NONE,
            &[(Lost, Rule::NotAmbient)]),
    ];
    for (name, process, file, permitted, effective, rules) in rows {
        assert_eq!(outcome(process, file), (*permitted, *effective, rules.to_vec()), "{name}");
    }
    let refused = execute(&less, &raw, Kernel::NAMED).unwrap_err();
    assert_eq!(refused, Refusal::OutsideOfBounding(NET_RAW));
    assert_eq!(refused.errno(), Errno::EPERM);
    let without_e = with_caps(NET_RAW, NONE, false);
    assert_eq!(outcome(&less, &without_e), (CHOWN, CHOWN, vec![(Lost, Rule::Bounding)]));
}

#[test]
fn versions() {
    #[rustfmt::skip]
    let rows = [
        ("6.1.0-49-amd64", true), ("6.16.9", true), ("5.15", true), ("6.17.0", false),
        ("6.18-rc1", false), ("7.0", false), ("4.19.0-27", true),
    ];
    for (release, want) in rows {
        assert_eq!(is_before(release, (6, 17)), want, "{release}");
    }
}

fn process() -> impl Strategy<Value = Process> {
    let id = || (0..3_u32).prop_map(|id| id * 500);
    let ids = move || {
        (id(), id()).prop_map(|(real, effective)| Ids {
            real,
            effective,
            saved: effective,
            filesystem: effective,
        })
    };
    let set = || (0..8_u64).prop_map(CapSet::from_bits_retain);
    (ids(), ids(), (set(), set(), set()), (set(), set()), (0..3_u32, any::<bool>())).prop_map(
        |(uid, gid, (effective, permitted, inheritable), (bounding, ambient), (bits, locked))| {
            Process {
                uid,
                gid,
                groups: Vec::new(),
                caps: CapState { effective: effective & permitted, permitted, inheritable },
                bounding,
                ambient: ambient & permitted & inheritable,
                securebits: Securebits::from_bits_retain(bits & 1),
                no_new_privs: locked,
            }
        },
    )
}

fn file() -> impl Strategy<Value = File> {
    let set = || (0..8_u64).prop_map(CapSet::from_bits_retain);
    let id = || prop::option::of((0..3_u32).prop_map(|id| id * 500));
    let caps = prop::option::of((set(), set(), any::<bool>()).prop_map(
        |(permitted, inheritable, effective)| FileCaps {
            permitted,
            inheritable,
            effective,
            rootid: None,
        },
    ));
    (caps, id(), id(), prop::bits::u8::masked(7)).prop_map(|(caps, set_uid, set_gid, bits)| File {
        caps,
        is_foreign: bits & 1 != 0,
        set_uid,
        set_gid,
        is_unmapped: bits & 2 != 0,
        is_nosuid: bits & 4 != 0,
    })
}

proptest! {
    /// Each bit that a set has lost or gained has one rule, and nothing else has.
    #[test]
    fn each_change_has_its_rule(
        before in process(), file in file(), compares_with_real_ids in any::<bool>()
    ) {
        let kernel = Kernel { compares_with_real_ids, ..Kernel::NAMED };
        let Ok(Outcome { after, changes, .. }) = execute(&before, &file, kernel) else {
            return Ok(());
        };
        let sets = |process: &Process| {
            [
                (Set::Permitted, process.caps.permitted),
                (Set::Effective, process.caps.effective),
                (Set::Ambient, process.ambient),
            ]
        };
        for ((set, old), (_, new)) in sets(&before).into_iter().zip(sets(&after)) {
            let of = |effect| {
                let mut all = CapSet::empty();
                for change in &changes {
                    if change.set == set && change.effect == effect {
                        prop_assert!((all & change.caps).is_empty(), "twice: {changes:?}");
                        all |= change.caps;
                    }
                }
                Ok(all)
            };
            let lost = if set == Set::Effective { (old & after.caps.permitted) - new } else { old - new };
            prop_assert_eq!(of(Effect::Lost)?, lost, "{:?} lost", set);
            prop_assert_eq!(of(Effect::Gained)?, new - old, "{:?} gained", set);
            prop_assert!((of(Effect::Withheld)? & new).is_empty());
        }
    }
}
