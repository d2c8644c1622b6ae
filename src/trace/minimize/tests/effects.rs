//! The comparison of what runs leave behind.

use proptest::prelude::*;

use super::*;

/// A file whose content is the time, a file with a random name, and one that needs CAP_CHOWN.
#[test]
fn noise_is_excluded_and_the_rest_is_compared() {
    let trial = |set: CapSet, run: u32| {
        let mut seen = asks(exited(0), &[uses(set, Cap::CHOWN)]);
        // The clock stands still at first.
        let time = (run / 3).to_string();
        let owner = if set.contains(Cap::CHOWN) { "33" } else { "0" };
        let created = (Aspect::Change, "created");
        file(&mut seen, "/log", &[(Aspect::Change, "changed"), (Aspect::Content, &time)]);
        let name = format!("/tmp/x.{run}");
        file(&mut seen, &name, &[created.clone(), (Aspect::Mode, "0700")]);
        file(&mut seen, &format!("{name}/y"), &[created, (Aspect::Owner, owner)]);
        seen
    };
    let (found, ended) = minimize(all(), trial);
    ended.unwrap();
    assert_eq!(found.minimum, Cap::CHOWN.into());
    assert_eq!(found.noise(), ["the names of new files in /tmp", "the content of /log"]);
    let evidence = &found.verdicts()[0].evidence;
    assert_eq!(evidence[0].words, "the owner of /tmp/*/y is 0 instead of 33");
}

/// An effect that comes and goes in runs with the same capabilities is noise, even if no run with all
/// of them has shown it.
#[test]
fn a_difference_has_to_last() {
    for period in [3, 4, 5, 7] {
        let trial = |set: CapSet, run: u32| {
            let mut seen = asks(exited(0), &[uses(set, Cap::CHOWN)]);
            if run % period == 2 {
                file(&mut seen, "/cache", &[(Aspect::Change, "changed"), (Aspect::Content, "1")]);
            }
            let owner = if set.contains(Cap::CHOWN) { "33" } else { "0" };
            file(&mut seen, "/f", &[(Aspect::Change, "created"), (Aspect::Owner, owner)]);
            seen
        };
        let (found, ended) = minimize(all(), trial);
        ended.unwrap();
        assert_eq!(found.minimum, Cap::CHOWN.into());
        let words = &found.verdicts()[0].evidence[0].words;
        assert_eq!(words, "the owner of /f is 0 instead of 33");
    }
}

#[test]
fn differences_in_words() {
    use Aspect::{Attribute, Change, Content, Device, Group, Kind, Mode, Owner, Target};
    type Row<'a> = (&'a [(Aspect, &'a str)], &'a [(Aspect, &'a str)], &'a [&'a str]);
    let created = || (Change, "created");
    let changed = || (Change, "changed");
    #[rustfmt::skip]
    let rows: [Row<'_>; 14] = [
        (&[created(), (Mode, "2755")], &[created(), (Mode, "0755")], &["/f is 0755 instead of 2755"]),
        (&[changed(), (Mode, "2755")], &[], &["the mode of /f is unchanged instead of 2755"]),
        (&[], &[changed(), (Mode, "0755")], &["the mode of /f is 0755 instead of unchanged"]),
        (&[created(), (Mode, "2755")], &[], &["/f is not created"]),
        (&[], &[created(), (Mode, "2755")], &["/f is created"]),
        (&[(Change, "removed")], &[], &["/f is not removed"]),
        (&[(Change, "removed")], &[changed(), (Mode, "1")], &["/f is changed instead of removed"]),
        (&[created(), (Owner, "5"), (Group, "6")], &[created(), (Owner, "0"), (Group, "0")],
            &["the owner of /f is 0 instead of 5", "the group of /f is 0 instead of 6"]),
        (&[created(), (Kind, "a file")], &[created(), (Kind, "a directory")], &["/f is a directory instead of a file"]),
        (&[created(), (Target, "/a")], &[created(), (Target, "/b")], &["the target of /f is /b instead of /a"]),
        (&[created(), (Device, "1:3")], &[created(), (Device, "1:5")], &["the device number of /f is 1:5 instead of 1:3"]),
        (&[created(), (Attribute("trusted.x".into()), "1")], &[created()], &["/f lacks the attribute trusted.x (1)"]),
        (&[changed(), (Content, "1")], &[changed(), (Content, "2")], &["/f has other content"]),
        (&[changed(), (Content, "1")], &[changed(), (Content, "1")], &[]),
    ];
    for (want, got, words) in rows {
        let [mut one, mut other] = [exited(0), exited(0)];
        file(&mut one, "/f", want);
        file(&mut other, "/f", got);
        let found = Noise::default().differences(&one.effects, &other.effects, CapSet::first(41));
        let found: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(found, words);
    }
}

#[test]
fn processes_that_are_left() {
    let process = |user| Process {
        name: "nginx".into(),
        users: [user; 3],
        groups: [user; 3],
        supplementary: Vec::new(),
    };
    let effects = |rows: &[(u32, CapSet)]| {
        let mut effects = Effects::default();
        for (user, set) in rows {
            let sets = ProcessSets::new([*set; 5]);
            effects.processes.entry(process(*user)).or_default().insert(sets);
        }
        effects
    };
    let most = CapSet::first(41);
    let compare = |want: &Effects, got: &Effects, set| {
        let found = Noise::default().differences(want, got, set);
        found.iter().map(Difference::to_string).collect::<Vec<_>>()
    };
    let want = effects(&[(0, most), (33, Cap::KILL.into())]);
    // With fewer, it has as many fewer.
    let fewer = CapSet::of(&[Cap::CHOWN]);
    assert_eq!(compare(&want, &effects(&[(0, fewer), (33, CapSet::empty())]), fewer), [""; 0]);
    assert_eq!(
        compare(&want, &effects(&[(0, fewer)]), fewer),
        ["process nginx of user 33 and group 33 is not left running"]
    );
    // It has not dropped what it drops with all of them.
    let kept = compare(&want, &effects(&[(0, fewer), (33, fewer)]), fewer);
    assert_eq!(kept.len(), 5);
    assert_eq!(
        kept[0],
        "the permitted set of process nginx of user 33 and group 33 is cap_chown instead of empty"
    );
    let mut noise = Noise::default();
    noise.learn(&want, &effects(&[(0, most)]), most);
    assert!(noise.differences(&want, &effects(&[]), most).is_empty());
    assert_eq!(noise.words(), ["the processes nginx"]);
}

fn effects() -> impl Strategy<Value = Effects> {
    let names = prop::sample::select(vec!["/a", "/a/b", "/a/c", "/d", "/d/x1", "/d/x2", "/d/x1/e"]);
    let change = prop::sample::select(vec!["created", "changed", "removed"]);
    let files = prop::collection::btree_map(names, (change, 0_u8..3, 0_u8..3), 0..7);
    files.prop_map(|files| {
        let mut run = exited(0);
        for (name, (change, mode, content)) in files {
            file(&mut run, name, &[(Aspect::Change, change)]);
            if change != "removed" {
                let [mode, content] = [mode, content].map(|value| value.to_string());
                file(&mut run, name, &[(Aspect::Mode, &mode), (Aspect::Content, &content)]);
            }
        }
        run.effects
    })
}

proptest! {
    /// Runs of the baseline do not differ from one another, whatever they are.
    #[test]
    fn what_was_learned_is_no_difference(runs in prop::collection::vec(effects(), 2..5)) {
        let all = CapSet::first(41);
        let mut noise = Noise::default();
        // A later run can show that a name is not stable, and so the first ones are looked at again.
        for run in runs[1..].iter().chain(&runs[1..]) {
            noise.learn(&runs[0], run, all);
        }
        for run in &runs {
            prop_assert_eq!(noise.differences(&runs[0], run, all), []);
        }
    }

    /// Without noise, equal effects are equal and others are not.
    #[test]
    fn differences_are_found(one in effects(), other in effects()) {
        let found = Noise::default().differences(&one, &other, CapSet::first(41));
        prop_assert_eq!(found.is_empty(), one == other);
        let back = Noise::default().differences(&other, &one, CapSet::first(41));
        prop_assert_eq!(found.len(), back.len());
    }

    /// A program that needs some capabilities for its work and others for what it leaves behind.
    #[test]
    fn exactly_what_is_needed(work: u64, result: u64, tolerated: u64) {
        let most = CapSet::first(41);
        let [work, result, tolerated] = [work, result, tolerated].map(|bits| CapSet::from_bits(bits & bits >> 7) & most);
        let (found, ended) = minimize(all(), |set, _| {
            let needs: Vec<_> = (work | result | tolerated).iter().map(|cap| uses(set, cap)).collect();
            let mut run = asks(exited(i32::from(!set.is_superset(work))), &needs);
            for cap in set & result {
                file(&mut run, &format!("/{cap}"), &[(Aspect::Change, "created")]);
            }
            run
        });
        ended.unwrap();
assert!(found.proved);
        prop_assert_eq!(found.minimum, work | result);
        prop_assert_eq!(found.with_verdict(VerdictKind::Required), work);
        prop_assert_eq!(found.with_verdict(VerdictKind::ChangesResult), result - work);
        prop_assert_eq!(found.with_verdict(VerdictKind::Tolerated), tolerated - work - result);
    }
}
