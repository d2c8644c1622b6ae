use proptest::prelude::*;

use super::*;
use crate::Cap;

const NET_RAW: CapSet = CapSet::of(&[Cap::NET_RAW]);
const CHOWN: CapSet = CapSet::of(&[Cap::CHOWN]);
const NONE: CapSet = CapSet::empty();

fn user() -> Credentials {
    Credentials::of_user(1000, 1000)
}

fn root() -> Credentials {
    let caps = CapState { effective: CapSet::NAMED, permitted: CapSet::NAMED, inheritable: NONE };
    Credentials { caps, ..Credentials::of_user(0, 0) }
}

fn with_ambient(caps: CapSet) -> Credentials {
    let caps = CapState { effective: caps, permitted: caps, inheritable: caps };
    Credentials { caps, ambient: caps.permitted, ..user() }
}

fn with_caps(permitted: CapSet, inheritable: CapSet, effective: bool) -> FileFacts {
    FileFacts::with_caps(FileCaps { permitted, inheritable, effective, rootid: None })
}

/// Returns the permitted and effective sets after execution, and the changes of the permitted and
/// ambient sets.
fn outcome(process: &Credentials, file: &FileFacts) -> (CapSet, CapSet, Vec<(Effect, Rule)>) {
    let outcome = execute(process, file, Kernel::LATEST).unwrap();
    let rules = outcome.changes.iter().filter(|change| change.set != Set::Effective);
    let rules = rules.map(|change| (change.effect, change.rule)).collect();
    (outcome.after.caps.permitted, outcome.after.caps.effective, rules)
}

/// A name, a process, the file that it executes, and the result of [`outcome`].
type Row = (&'static str, Credentials, FileFacts, CapSet, CapSet, &'static [(Effect, Rule)]);

#[test]
fn what_people_lose_days_on() {
    use Effect::{Gained, Lost, Withheld};
    let set_uid_root = FileFacts { set_uid: Some(0), ..FileFacts::default() };
    let raw = with_caps(NET_RAW, NONE, true);
    let passes = with_caps(NONE, NET_RAW, true);
    let nosuid = FileFacts { is_nosuid: true, ..raw };
    let foreign = FileFacts { is_foreign: true, ..raw };
    let noroot = Credentials { securebits: Securebits::NOROOT, ..root() };
    let less = Credentials { bounding: CHOWN, ..root() };
    let all = CapSet::NAMED;
    let locked = Credentials { no_new_privs: true, ..user() };
    let inherits =
        Credentials { caps: CapState { inheritable: NET_RAW, ..CapState::EMPTY }, ..user() };
    let keeps = Credentials { ambient: NONE, ..with_ambient(NET_RAW) };
    let not_inherited =
        Credentials { caps: CapState { inheritable: NONE, ..keeps.caps }, ..keeps.clone() };
    let effective_root = Credentials {
        uid: Ids { real: 1000, ..Ids::same(0) },
        caps: CapState { effective: NONE, permitted: CHOWN, inheritable: NONE },
        ..root()
    };
    let locked_root = Credentials { no_new_privs: true, caps: CapState::EMPTY, ..root() };
    #[rustfmt::skip]
    let rows: &[Row] = &[
        ("root",            root(), FileFacts::default(), all, all, &[]),
        ("root, bounded",   less.clone(), FileFacts::default(), CHOWN, CHOWN, &[(Lost, Rule::Bounding)]),
        ("noroot",          noroot, FileFacts::default(), NONE, NONE, &[(Lost, Rule::NoRoot)]),
        ("a user",          user(), FileFacts::default(), NONE, NONE, &[]),
        ("a file with it",  user(), raw, NET_RAW, NET_RAW, &[(Gained, Rule::FilePermitted)]),
        ("without e",       user(), with_caps(NET_RAW, NONE, false), NET_RAW, NONE, &[(Gained, Rule::FilePermitted)]),
        ("nosuid",          user(), nosuid, NONE, NONE, &[(Withheld, Rule::NoSuid)]),
        ("foreign",         user(), foreign, NONE, NONE, &[(Withheld, Rule::ForeignRootid)]),
        ("no-new-privs",    locked.clone(), raw, NONE, NONE, &[(Withheld, Rule::NoNewPrivs)]),
        ("set-uid, nnp",    locked, set_uid_root, NONE, NONE, &[(Withheld, Rule::NoNewPrivs)]),
        ("set-uid",         user(), set_uid_root, all, all, &[(Gained, Rule::Root)]),
        ("set-uid, nosuid", user(), FileFacts { is_nosuid: true, ..set_uid_root }, NONE, NONE, &[(Withheld, Rule::NoSuid)]),
        ("set-uid, caps",   user(), FileFacts { set_uid: Some(0), ..raw }, NET_RAW, NET_RAW,
            &[(Gained, Rule::FilePermitted), (Withheld, Rule::CapsBeforeSetUid)]),
        ("inheritable",     inherits, passes, NET_RAW, NET_RAW, &[(Gained, Rule::FileInheritable)]),
        ("not inheritable", user(), passes, NONE, NONE, &[(Withheld, Rule::NotInheritable)]),
        ("ambient",         with_ambient(NET_RAW), FileFacts::default(), NET_RAW, NET_RAW, &[]),
        ("ambient, empty",  with_ambient(NET_RAW), with_caps(NONE, NONE, false), NONE, NONE,
            &[(Lost, Rule::FileCapsClearAmbient), (Lost, Rule::FileCapsClearAmbient)]),
        ("ambient, set-gid", with_ambient(NET_RAW), FileFacts { set_gid: Some(5), ..FileFacts::default() }, NONE, NONE,
            &[(Lost, Rule::IdsClearAmbient), (Lost, Rule::IdsClearAmbient)]),
        ("not ambient",     keeps.clone(), FileFacts::default(), NONE, NONE, &[(Lost, Rule::NotAmbient)]),
        ("not in the file", keeps, with_caps(CHOWN, NONE, true), CHOWN, CHOWN,
            &[(Gained, Rule::FilePermitted), (Lost, Rule::NotInFile)]),
        ("not inherited",   not_inherited, passes, NONE, NONE, &[(Lost, Rule::NotInheritable)]),
        // The file's capabilities take precedence only if the user changes to 0.
        ("root, set-uid, caps", root(), FileFacts { set_uid: Some(0), ..raw }, all, all, &[]),
        ("effective root, caps", effective_root, raw, NET_RAW, NET_RAW,
            &[(Gained, Rule::FilePermitted), (Lost, Rule::NotInFile)]),
        // User 0 would get the capabilities that the file does not grant.
        ("locked root, nosuid", locked_root, nosuid, NONE, NONE, &[(Withheld, Rule::NoNewPrivs)]),
    ];
    for (name, process, file, permitted, effective, rules) in rows {
        assert_eq!(outcome(process, file), (*permitted, *effective, rules.to_vec()), "{name}");
    }
    let refused = execute(&less, &raw, Kernel::LATEST).unwrap_err();
    assert_eq!(refused, ExecError::OutsideOfBounding(NET_RAW));
    assert_eq!(refused.raw_os_error(), Errno::EPERM as i32);
    assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::PermissionDenied);
    let without_e = with_caps(NET_RAW, NONE, false);
    assert_eq!(outcome(&less, &without_e), (CHOWN, CHOWN, vec![(Lost, Rule::Bounding)]));
}

/// For each rule, a set and the effect on one of its capabilities.
#[test]
fn every_rule_has_a_case() {
    use Effect::{Gained, Lost, Withheld};
    use Set::{Ambient, Effective, Permitted};
    let raw = with_caps(NET_RAW, NONE, true);
    let lowered = |permitted| {
        let caps = CapState { effective: NONE, permitted, inheritable: permitted };
        Credentials { caps, ambient: permitted, ..user() }
    };
    let real_root = Credentials { uid: Ids { real: 0, ..Ids::same(1000) }, ..root() };
    let root_file = FileFacts { set_uid: Some(0), ..FileFacts::default() };
    let no_new_privs = Credentials { no_new_privs: true, ..user() };
    let noroot = Credentials { securebits: Securebits::NOROOT, ..user() };
    let unbounded = Credentials { bounding: NONE, ..user() };
    let passes = with_caps(NONE, NET_RAW, false);
    let able = Credentials { ambient: NONE, ..with_ambient(NET_RAW) };
    let inherits = Credentials {
        caps: CapState { permitted: NONE, effective: NONE, ..able.caps },
        ..able.clone()
    };
    let set_gid = FileFacts { set_gid: Some(5), ..FileFacts::default() };
    #[rustfmt::skip]
    let rows: &[(Credentials, FileFacts, Set, Effect, Rule)] = &[
        (user(),                root_file,                                     Permitted, Gained,   Rule::Root),
        (user(),                raw,                                           Permitted, Gained,   Rule::FilePermitted),
        (inherits,              passes,                                        Permitted, Gained,   Rule::FileInheritable),
        (user(),                raw,                                           Effective, Gained,   Rule::AllEffective),
        (lowered(NET_RAW),      FileFacts::default(),                          Effective, Gained,   Rule::Ambient),
        (unbounded,             with_caps(NET_RAW, NONE, false),               Permitted, Withheld, Rule::Bounding),
        (user(),                passes,                                        Permitted, Withheld, Rule::NotInheritable),
        (able.clone(),          with_caps(CHOWN, NONE, true),                  Permitted, Lost,     Rule::NotInFile),
        (able.clone(),          FileFacts::default(),                          Permitted, Lost,     Rule::NotAmbient),
        (noroot,                root_file,                                     Permitted, Withheld, Rule::NoRoot),
        (no_new_privs,          raw,                                           Permitted, Withheld, Rule::NoNewPrivs),
        (user(),                FileFacts { is_nosuid: true, ..raw },          Permitted, Withheld, Rule::NoSuid),
        (user(),                FileFacts { is_foreign: true, ..raw },         Permitted, Withheld, Rule::ForeignRootid),
        (user(),                FileFacts { is_unmapped: true, ..root_file },  Permitted, Withheld, Rule::UnmappedOwner),
        (user(),                FileFacts { set_uid: Some(0), ..raw },         Permitted, Withheld, Rule::CapsBeforeSetUid),
        (with_ambient(CHOWN),   raw,                                           Ambient,   Lost,     Rule::FileCapsClearAmbient),
        (with_ambient(CHOWN),   set_gid,                                       Ambient,   Lost,     Rule::IdsClearAmbient),
        (able,                  with_caps(NET_RAW, NONE, false),               Effective, Lost,     Rule::NoEffectiveBit),
        (real_root,             FileFacts::default(),                          Effective, Lost,     Rule::RealRootAlone),
    ];
    for (process, file, set, effect, rule) in rows {
        let changes = execute(process, file, Kernel::LATEST).unwrap().changes;
        let is_it =
            |change: &Change| (change.set, change.effect, change.rule) == (*set, *effect, *rule);
        assert!(changes.iter().any(is_it), "{set:?} {effect:?} {rule:?}: {changes:?}");
    }
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

fn process() -> impl Strategy<Value = Credentials> {
    let id = || (0..3_u32).prop_map(|id| id * 500);
    let ids = move || {
        (id(), id()).prop_map(|(real, effective)| Ids {
            real,
            effective,
            saved: effective,
            filesystem: effective,
        })
    };
    let set = || (0..8_u64).prop_map(CapSet::from_bits);
    (ids(), ids(), (set(), set(), set()), (set(), set()), (0..3_u32, any::<bool>())).prop_map(
        |(uid, gid, (effective, permitted, inheritable), (bounding, ambient), (bits, locked))| {
            Credentials {
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

fn file() -> impl Strategy<Value = FileFacts> {
    let set = || (0..8_u64).prop_map(CapSet::from_bits);
    let id = || prop::option::of((0..3_u32).prop_map(|id| id * 500));
    let caps = prop::option::of((set(), set(), any::<bool>()).prop_map(
        |(permitted, inheritable, effective)| FileCaps {
            permitted,
            inheritable,
            effective,
            rootid: None,
        },
    ));
    (caps, id(), id(), prop::bits::u8::masked(7)).prop_map(|(caps, set_uid, set_gid, bits)| {
        FileFacts {
            caps,
            is_foreign: bits & 1 != 0,
            set_uid,
            set_gid,
            is_unmapped: bits & 2 != 0,
            is_nosuid: bits & 4 != 0,
        }
    })
}

/// Returns the union of the changes of a set with an effect. Fails if a capability is in two.
fn changed(changes: &[Change], set: Set, effect: Effect) -> Option<CapSet> {
    let mut changes = changes.iter().filter(|change| (change.set, change.effect) == (set, effect));
    changes.try_fold(CapSet::empty(), |all, change| {
        ((all & change.caps).is_empty() && !change.caps.is_empty()).then_some(all | change.caps)
    })
}

proptest! {
    /// The changes are the difference between before and after, and each capability has one rule.
    #[test]
    fn changes_explain_the_difference(
        before in process(), file in file(), compares_with_real_ids in any::<bool>()
    ) {
        let kernel = Kernel { compares_with_real_ids, ..Kernel::LATEST };
        let Ok(Outcome { after, changes, .. }) = execute(&before, &file, kernel) else {
            return Ok(());
        };
        let of = |set, effect| changed(&changes, set, effect).expect("one rule for each");
        // A capability that is no longer permitted is listed as lost from the permitted set only.
        let effective = before.caps.effective & after.caps.permitted;
        prop_assert_eq!(
            before.caps.effective - effective,
            before.caps.effective & of(Set::Permitted, Effect::Lost)
        );
        for (set, old, new) in [
            (Set::Permitted, before.caps.permitted, after.caps.permitted),
            (Set::Effective, effective, after.caps.effective),
            (Set::Ambient, before.ambient, after.ambient),
        ] {
            prop_assert_eq!(of(set, Effect::Gained), new - old, "{:?} gained", set);
            prop_assert_eq!(of(set, Effect::Lost), old - new, "{:?} lost", set);
            let withheld = of(set, Effect::Withheld);
            prop_assert!((withheld & (old | new)).is_empty(), "{:?} withheld {}", set, withheld);
        }
        prop_assert_eq!(after.caps.inheritable, before.caps.inheritable);
        prop_assert_eq!(after.bounding, before.bounding);
    }
}
