//! Each rule, with constructed events and with events recorded on kernels.

use super::{analyser::PIVOT_ROOT, places::is_borrowed, *};
use crate::trace::{
    record::{Call, Check, Event, EventKind, Symbols, UserStack},
    stack::{Frame, Stack},
};

/// Functions at 0x100, 0x200 and so on.
const FUNCTIONS: &[&str] = &[
    "cap_capable",
    "security_capable",
    "ns_capable",
    "__do_sys_prctl",
    "setattr_prepare",
    "__x64_sys_fchownat",
    "cap_vm_enough_memory",
    "ns_capable_noaudit",
    "ovl_setattr",
    "ovl_path_open",
    "generic_permission",
    "__x64_sys_openat",
    "inet_create",
    "__x64_sys_socket",
    "netlink_net_capable",
    "rtnetlink_rcv_msg",
    "netlink_rcv_skb",
    "__sys_sendmsg",
    "file_ns_capable",
    "map_write",
    "proc_uid_map_write",
    "mntns_install",
    "proc_fd_permission",
    "inode_permission",
    "may_o_create",
    "lookup_open",
    "may_open",
    "link_path_walk",
    "path_openat",
];

fn stack(names: &[&str]) -> Vec<u64> {
    let address = |name: &&str| {
        let at = FUNCTIONS.iter().position(|known| known == name).expect("it is listed");
        0x100 * (1 + u64::try_from(at).unwrap()) + 8
    };
    names.iter().map(address).collect()
}

const PID: u32 = 10;
const OWN: u64 = 0xabc;

fn check(cap: Cap, granted: bool, names: &[&str]) -> EventKind {
    let names = [&["cap_capable", "security_capable"], names].concat();
    EventKind::Check(Check {
        number: cap.number().into(),
        granted: Some(granted),
        namespace: OWN,
        stack: stack(&names),
        ..Check::default()
    })
}

fn returned(returned: i64) -> EventKind {
    EventKind::SystemCall { number: 1, returned, call: None }
}

fn exec(path: &str) -> EventKind {
    EventKind::Exec { path: path.into() }
}

fn symbols() -> Arc<Symbols> {
    let line = |(address, name): (u64, &&str)| format!("{address:x} T {name}\n");
    let lines: Vec<_> = (0x100..).step_by(0x100).zip(FUNCTIONS).map(line).collect();
    Arc::new(Symbols::parse(lines.concat()))
}

/// Analyses events of threads that follow the recorder's own check.
fn analyse_all(origin: Origin, held: CapSet, events: &[(u32, EventKind)]) -> Analysis {
    let mark = check(Cap::SETPCAP, false, &["ns_capable", "__do_sys_prctl"]);
    let mut analyser = Analyser::new(origin, held, true, symbols());
    let events = [&[(PID, mark), (PID, returned(-22))], events].concat();
    for (time, (tid, kind)) in (0..).zip(events) {
        analyser.push(Event { time, tid, kind });
    }
    analyser.finish()
}

/// Analyses events of the program.
fn analyse(held: CapSet, kinds: &[EventKind]) -> Analysis {
    let events = [&[exec("/bin/program")], kinds].concat();
    let events: Vec<_> = events.into_iter().map(|kind| (PID, kind)).collect();
    analyse_all(Origin::Started(PID), held, &events)
}

/// Returns the meaning of the first check, in the order of capabilities.
fn rule_of(kinds: &[EventKind]) -> Meaning {
    analyse(CapSet::NAMED, kinds).needs.first().expect("one").meaning
}

#[test]
fn each_rule() {
    let chown = ["setattr_prepare", "__x64_sys_fchownat"];
    let asked = |granted, names: &[&str], outcome| {
        vec![check(Cap::CHOWN, granted, names), returned(outcome)]
    };
    let with = |name: &'static str| [&[name], &chown[..]].concat();
    let [eperm, enoent] = [libc::EPERM, libc::ENOENT].map(|errno| -i64::from(errno));
    #[rustfmt::skip]
    let rows = [
        (asked(true,  &chown, 0),                            Meaning::Candidate),
        (asked(true,  &chown, 7),                            Meaning::Candidate),
        (asked(true,  &chown, enoent),                       Meaning::Weak),
        (asked(false, &chown, 0),                            Meaning::NotNeeded),
        (asked(false, &chown, eperm),                        Meaning::Missing),
        (asked(false, &chown, -i64::from(libc::EACCES)),     Meaning::Missing),
        (asked(false, &chown, enoent),                       Meaning::Unclear),
        (vec![check(Cap::CHOWN, false, &chown)],             Meaning::Unclear),
        (vec![check(Cap::CHOWN, true, &chown)],              Meaning::Candidate),
        (asked(true,  &with("cap_vm_enough_memory"), 0),     Meaning::Overcommit),
        (asked(false, &with("cap_vm_enough_memory"), eperm), Meaning::Overcommit),
        (asked(false, &with("ns_capable_noaudit"), eperm),   Meaning::Speculative),
        (asked(true,  &with("ovl_path_open"), 0),            Meaning::Borrowed),
    ];
    for (kinds, want) in rows {
        assert_eq!(rule_of(&kinds), want, "{kinds:?}");
    }
}

/// open(2) asks whether a file may be created before it knows whether there is one.
#[test]
fn files_that_were_there() {
    let opened = |names: &[&str], existed| {
        let call = Some(Box::new(Call { existed, ..Call::default() }));
        let returned = EventKind::SystemCall { number: 1, returned: 3, call };
        [check(Cap::DAC_OVERRIDE, true, names), returned]
    };
    let asks = ["generic_permission", "proc_fd_permission", "inode_permission"];
    let with = |callers: &[&'static str]| [&asks[..], callers, &["__x64_sys_openat"]].concat();
    #[rustfmt::skip]
    let rows = [
        (with(&["path_openat"]),                  true,  Meaning::Speculative),
        (with(&["lookup_open", "path_openat"]),   true,  Meaning::Speculative),
        (with(&["may_o_create", "lookup_open"]),  true,  Meaning::Speculative),
        (with(&["path_openat"]),                  false, Meaning::Candidate),
        // Permission for the file, and for a directory above it.
        (with(&["may_open", "path_openat"]),      true,  Meaning::Candidate),
        (with(&["link_path_walk", "path_openat"]), true, Meaning::Candidate),
    ];
    for (names, existed, want) in rows {
        assert_eq!(rule_of(&opened(&names, existed)), want, "{names:?} {existed}");
    }
}

/// A security module is named unless a capability was refused too.
#[test]
fn denied_by_a_security_module() {
    let chown = ["setattr_prepare", "__x64_sys_fchownat"];
    let apparmor = Call { is_denied_by_apparmor: true, ..Call::default() };
    let selinux = Call { is_denied_by_selinux: true, ..Call::default() };
    for (call, module) in [(apparmor, Lock::AppArmor), (selinux, Lock::SeLinux)] {
        let call = Some(Box::new(call));
        let denied = EventKind::SystemCall { number: 1, returned: -13, call };
        let lock = |granted| {
            let events = [check(Cap::CHOWN, granted, &chown), denied.clone()];
            analyse(CapSet::NAMED, &events).denials[0].lock
        };
        assert_eq!([lock(true), lock(false)], [module, Lock::Capability]);
    }
}

/// The checks of Linux 6.18 in an overlay on a tmpfs.
#[test]
fn overlays() {
    #[rustfmt::skip]
    let rows: [(&[&str], bool); 6] = [
        (&["generic_permission", "ovl_permission", "inode_permission", "may_open"],   false),
        (&["generic_permission", "inode_permission", "ovl_permission", "may_open"],   true),
        (&["setattr_prepare", "ovl_setattr", "notify_change", "chown_common"],        false),
        (&["setattr_prepare", "shmem_setattr", "notify_change", "ovl_setattr"],       true),
        (&["xattr_permission", "vfs_getxattr", "ovl_check_metacopy_xattr"],           true),
        (&["ovl_open_realfile", "ovl_open", "do_dentry_open"],                        true),
    ];
    for (functions, want) in rows {
        assert_eq!(is_borrowed(functions), want, "{functions:?}");
    }
}

#[test]
fn one_need_of_two() {
    let open = ["generic_permission", "__x64_sys_openat"];
    let search = check(Cap::DAC_READ_SEARCH, false, &open);
    let write = check(Cap::DAC_OVERRIDE, true, &open);
    let both = analyse(CapSet::NAMED, &[search.clone(), write.clone(), returned(3)]);
    assert_eq!(both.candidates, Cap::DAC_OVERRIDE.into());
    assert!(both.needs.iter().any(|need| need.meaning == Meaning::OneNeed));
    // In two system calls, they are separate needs.
    let apart = [search.clone(), returned(-13), write.clone(), returned(3)];
    let apart = analyse(CapSet::NAMED, &apart);
    assert_eq!(apart.missing, Cap::DAC_READ_SEARCH.into());
    // Without exits of system calls, the next check belongs to the same system call.
    let mut analyser = Analyser::new(Origin::Running, CapSet::NAMED, false, symbols());
    let chown = check(Cap::CHOWN, true, &["setattr_prepare", "__x64_sys_fchownat"]);
    for kind in [check(Cap::SETPCAP, true, &[]), chown.clone(), search, write, chown] {
        analyser.push(Event { time: 0, tid: PID, kind });
    }
    let analysis = analyser.finish();
    let rules: Vec<_> = analysis.needs.iter().map(|need| (need.meaning, need.count)).collect();
    assert_eq!(rules, [(Meaning::Candidate, 2), (Meaning::Candidate, 1), (Meaning::OneNeed, 1)]);
}

#[test]
fn nothing_that_is_not_held_is_proposed() {
    let kinds = [check(Cap::NET_RAW, true, &["inet_create", "__x64_sys_socket"]), returned(3)];
    assert_eq!(analyse(CapSet::NAMED, &kinds).candidates, Cap::NET_RAW.into());
    assert!(analyse(CapSet::empty(), &kinds).candidates.is_empty());
}

#[test]
fn namespaces() {
    let asked = |granted, namespace, own_namespace| {
        EventKind::Check(Check {
            number: Cap::NET_RAW.number().into(),
            granted: Some(granted),
            namespace,
            own_namespace,
            ..Check::default()
        })
    };
    #[rustfmt::skip]
    let rows: [(&[EventKind], Meaning); 7] = [
        (&[asked(true,  OWN, None),       returned(0)],  Meaning::Candidate),
        (&[asked(true,  0xd, None),       returned(0)],  Meaning::OtherNamespace),
        (&[asked(true,  OWN, Some(OWN)),  returned(0)],  Meaning::Candidate),
        // In a namespace that the program created.
        (&[asked(true,  0xd, Some(0xd)),  returned(0)],  Meaning::OtherNamespace),
        (&[asked(false, 0xd, None),       returned(0)],  Meaning::OtherNamespace),
        (&[asked(true,  0xd, Some(OWN)),  returned(0)],  Meaning::OtherNamespace),
        (&[asked(false, 0xd, None),       returned(-1)], Meaning::OtherNamespace),
    ];
    for (kinds, want) in rows {
        assert_eq!(rule_of(kinds), want, "{kinds:?}");
    }
    // A container that starts in another namespace has that one as its own.
    let pivoted = EventKind::SystemCall { number: PIVOT_ROOT, returned: 0, call: None };
    let granted = [asked(true, 0xd, Some(0xd)), returned(0)];
    let inside = [&[pivoted, exec("/bin/sh")], &granted[..]].concat();
    assert_eq!(analyse(CapSet::NAMED, &inside).candidates, Cap::NET_RAW.into());
}

#[test]
fn answers_that_come_later() {
    let mut asked = check(Cap::CHOWN, true, &["setattr_prepare", "__x64_sys_fchownat"]);
    let EventKind::Check(inner) = &mut asked else { unreachable!() };
    inner.granted = None;
    let eperm = -i64::from(libc::EPERM);
    let answer = |granted| EventKind::Answer { granted };
    assert_eq!(rule_of(&[asked.clone(), answer(true), returned(0)]), Meaning::Candidate);
    assert_eq!(rule_of(&[asked.clone(), answer(false), returned(eperm)]), Meaning::Missing);
    assert_eq!(rule_of(&[asked.clone(), returned(0)]), Meaning::NotNeeded);
    let EventKind::Check(inner) = &mut asked else { unreachable!() };
    inner.unaudited = true;
    assert_eq!(rule_of(&[asked, answer(true), returned(0)]), Meaning::Speculative);
}

#[test]
fn what_a_container_s_runtime_does() {
    const RUNTIME: u32 = PID;
    const INIT: u32 = PID + 1;
    let mount = || check(Cap::SYS_ADMIN, true, &["ns_capable", "__do_sys_prctl"]);
    let chown = || check(Cap::CHOWN, true, &["setattr_prepare", "__x64_sys_fchownat"]);
    let pivoted = EventKind::SystemCall { number: PIVOT_ROOT, returned: 0, call: None };
    let events = [
        (RUNTIME, exec("/usr/sbin/runc")),
        (RUNTIME, mount()),
        (RUNTIME, returned(0)),
        (RUNTIME, EventKind::Started { tid: INIT }),
        (INIT, exec("/proc/self/exe")),
        (INIT, pivoted),
        (INIT, mount()),
        (INIT, returned(0)),
        (INIT, exec("/bin/sh")),
        (INIT, EventKind::Started { tid: INIT + 1 }),
        (INIT + 1, chown()),
        (INIT + 1, returned(0)),
        (RUNTIME, mount()),
        (RUNTIME, returned(0)),
    ];
    let analysis = analyse_all(Origin::Started(RUNTIME), CapSet::NAMED, &events);
    assert_eq!(analysis.candidates, Cap::CHOWN.into());
    let rows = analysis.needs.iter().map(|need| (need.meaning, &*need.program, need.count));
    let want = [(Meaning::Candidate, "/bin/sh", 1), (Meaning::Runtime, "/usr/sbin/runc", 3)];
    assert_eq!(rows.collect::<Vec<_>>(), want);
    // `docker exec` and health checks enter a running container.
    let enter = || check(Cap::SYS_ADMIN, true, &["ns_capable", "mntns_install"]);
    let joined = [
        (RUNTIME, exec("/usr/sbin/runc")),
        (RUNTIME, enter()),
        (RUNTIME, returned(0)),
        (RUNTIME, mount()),
        (RUNTIME, returned(0)),
        (RUNTIME, exec("/bin/sh")),
        (RUNTIME, chown()),
        (RUNTIME, returned(0)),
    ];
    let analysis = analyse_all(Origin::Container, CapSet::NAMED, &joined);
    let rows = |analysis: &Analysis| {
        let rows = analysis.needs.iter().map(|need| (need.meaning, need.cap, need.by_exec));
        rows.collect::<Vec<_>>()
    };
    let want = [
        (Meaning::Candidate, Cap::CHOWN, true),
        (Meaning::Runtime, Cap::SYS_ADMIN, false),
        (Meaning::Runtime, Cap::SYS_ADMIN, false),
    ];
    let mut seen = rows(&analysis);
    seen.sort_by_key(|(_, cap, _)| *cap);
    assert_eq!(seen, want);
    // A program that enters a mount namespace by itself needs the capability for it.
    let analysis = analyse_all(Origin::Started(RUNTIME), CapSet::NAMED, &joined);
    assert_eq!(analysis.candidates, CapSet::of(&[Cap::CHOWN, Cap::SYS_ADMIN]));
    // A container that executes nothing after the hook has no checks.
    let analysis = analyse_all(Origin::Container, CapSet::NAMED, &events[1..3]);
    assert_eq!(
        analysis.needs.iter().map(|need| need.meaning).collect::<Vec<_>>(),
        [Meaning::Runtime]
    );
}

#[test]
fn a_row_says_what_and_where() {
    let socket = || check(Cap::NET_RAW, true, &["inet_create", "__x64_sys_socket"]);
    let kinds = [socket(), returned(3), socket(), returned(4), exec("/bin/other"), socket()];
    let needs = analyse(CapSet::NAMED, &kinds).needs;
    let row = |need: &Need| (need.program.clone(), need.count, need.returned);
    let want = [("/bin/other".to_owned(), 1, None), ("/bin/program".to_owned(), 2, Some(3))];
    assert_eq!(needs.iter().map(row).collect::<Vec<_>>(), want);
    assert_eq!(needs[0].function, "inet_create");
    assert_eq!(needs[0].reason.as_deref(), Some("create a raw socket"));
    assert_eq!(needs[0].system_call.as_deref(), Some("socket"));
}

/// A denied capability with a permission failure is a separate row, under any rule.
#[test]
fn refusals_are_not_hidden() {
    let asked = |granted| {
        check(Cap::CHOWN, granted, &["ns_capable_noaudit", "setattr_prepare", "__x64_sys_fchownat"])
    };
    let eperm = -i64::from(libc::EPERM);
    let kinds =
        [asked(true), returned(0), asked(false), returned(0), asked(false), returned(eperm)];
    let needs = analyse(CapSet::NAMED, &kinds).needs;
    assert!(needs.iter().all(|need| need.meaning == Meaning::Speculative && need.count == 1));
    let rows: Vec<_> = needs.iter().map(|need| (need.granted, need.is_refusal())).collect();
    assert_eq!(rows, [(false, false), (false, true), (true, false)]);
}

/// A system call that sends a message succeeds, whatever the message is answered with.
#[test]
fn answers_by_message() {
    let asked = |granted| {
        let stack =
            ["netlink_net_capable", "rtnetlink_rcv_msg", "netlink_rcv_skb", "__sys_sendmsg"];
        check(Cap::NET_ADMIN, granted, &stack)
    };
    assert_eq!(rule_of(&[asked(false), returned(32)]), Meaning::Missing);
    assert_eq!(rule_of(&[asked(true), returned(32)]), Meaning::Candidate);
    let place = &analyse(CapSet::NAMED, &[asked(false), returned(32)]).needs[0];
    assert_eq!(place.reason.as_deref(), Some("configure the network"));
}

/// A requirement without a check is named if a call shows it.
#[test]
fn maps_of_user_ids() {
    let asked =
        check(Cap::SYS_ADMIN, true, &["file_ns_capable", "map_write", "proc_uid_map_write"]);
    let analysis = analyse(CapSet::NAMED, &[asked, returned(4)]);
    assert!(analysis.unseen.len() == 1 && analysis.unseen[0].contains("/bin/program mapped"));
    assert_eq!(analyse(CapSet::NAMED, &[]).unseen, [""; 0]);
}

#[test]
fn a_thread_that_ends_in_a_check() {
    let kinds = [check(Cap::CHOWN, true, &["setattr_prepare"]), EventKind::Ended];
    assert_eq!(rule_of(&kinds), Meaning::Candidate);
}

/// Parses a recording in tests/data/, which the test `print_events` prints.
fn recorded(text: &str) -> Analysis {
    let addresses = |names: &str, known: &mut Vec<String>| -> Vec<u64> {
        let mut address = |name: &str| {
            let at = known.iter().position(|one| one == name).unwrap_or_else(|| {
                known.push(name.to_owned());
                known.len() - 1
            });
            16 * (1 + u64::try_from(at).unwrap())
        };
        names.split_whitespace().map(&mut address).collect()
    };
    let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
    let (mut names, mut process, mut events) = (Vec::new(), 0, Vec::new());
    for (time, line) in (0..).zip(text.lines().filter(|line| !line.starts_with('#'))) {
        let (tid, rest) = line.split_once(' ').unwrap();
        let tid = tid.parse().unwrap();
        let (head, stack) = rest.split_once(':').unwrap_or((rest, ""));
        let words: Vec<&str> = head.split_whitespace().collect();
        let kind = match *words {
            ["process", _] => {
                process = tid;
                continue;
            }
            ["check", number, answer, ref rest @ ..] => {
                let unaudited = rest.first() == Some(&"unaudited");
                let rest = if unaudited { &rest[1..] } else { rest };
                EventKind::Check(Check {
                    number: number.parse().unwrap(),
                    granted: (answer != "asked").then_some(answer == "granted"),
                    namespace: hex(rest[0]),
                    own_namespace: rest.get(2).map(|word| hex(word)),
                    unaudited,
                    stack: addresses(stack, &mut names),
                })
            }
            ["answer", answer] => EventKind::Answer { granted: answer == "true" },
            ["returned", number, returned] => EventKind::SystemCall {
                number: number.parse().unwrap(),
                returned: returned.parse().unwrap(),
                call: None,
            },
            ["exec", path] => exec(path),
            ["started", child] => EventKind::Started { tid: child.parse().unwrap() },
            ["ended"] => EventKind::Ended,
            ref other => panic!("{other:?}"),
        };
        events.push(Event { time, tid, kind });
    }
    let line = |(at, name): (usize, &String)| format!("{:x} T {name}\n", 16 * (at + 1));
    let symbols: String = names.iter().enumerate().map(line).collect();
    let symbols = Arc::new(Symbols::parse(symbols));
    let mut analyser = Analyser::new(Origin::Started(process), CapSet::NAMED, true, symbols);
    for event in events {
        analyser.push(event);
    }
    analyser.finish()
}

/// A check and its stack come in either order, and some stacks are lost.
#[test]
fn stacks_of_checks() {
    let stack = |cap: Cap, address| {
        let frames = vec![Frame { address, ..Frame::default() }];
        let stack = Some(Arc::new(Stack { frames, is_whole: true }));
        let user = UserStack { number: cap.number().into(), stack, ..UserStack::default() };
        EventKind::UserStack(Box::new(user))
    };
    let [chown, fowner] =
        [Cap::CHOWN, Cap::FOWNER].map(|cap| check(cap, true, &["setattr_prepare"]));
    let (one, other) = (stack(Cap::CHOWN, 1), stack(Cap::FOWNER, 2));
    let (done, late) = (returned(0), stack(Cap::CHOWN, 3));
    let rows: [(&[&EventKind], [&[u64]; 2]); 5] = [
        (&[&one, &chown, &other, &fowner, &done], [&[1], &[2]]),
        (&[&chown, &one, &fowner, &other, &done], [&[1], &[2]]),
        (&[&chown, &fowner, &other, &done], [&[], &[2]]),
        (&[&other, &chown, &done, &fowner, &done], [&[], &[]]),
        (&[&chown, &one, &done, &chown, &late, &done, &fowner, &done], [&[1, 3], &[]]),
    ];
    for (events, want) in rows {
        let events: Vec<EventKind> = events.iter().map(|&event| event.clone()).collect();
        let analysis = analyse(CapSet::all(), &events);
        let of = |cap| {
            let needs = analysis.needs.iter().filter(|need| need.cap == cap);
            let frames = needs.flat_map(|need| &need.stacks).flat_map(|stack| &stack.frames);
            frames.map(|frame| frame.address).collect::<Vec<_>>()
        };
        assert_eq!([of(Cap::CHOWN), of(Cap::FOWNER)], want, "{events:?}");
    }
}

#[test]
fn what_kernels_have_recorded() {
    let rules = |analysis: &Analysis, cap| {
        let of_cap = analysis.needs.iter().filter(|need| need.cap == cap);
        let rows = of_cap.filter(|need| need.meaning != Meaning::Overcommit);
        rows.map(|need| (need.meaning, need.count)).collect::<Vec<_>>()
    };
    // busybox: chown, ping, and chown without its capability.
    for text in [
        include_str!("../../../tests/data/linux-6.1-kprobe.events"),
        include_str!("../../../tests/data/linux-6.12-kprobe.events"),
    ] {
        let analysis = recorded(text);
        assert_eq!(analysis.candidates - Cap::SETPCAP, CapSet::of(&[Cap::CHOWN, Cap::NET_RAW]));
        assert_eq!(analysis.missing, Cap::CHOWN.into());
        assert_eq!(rules(&analysis, Cap::CHOWN), [(Meaning::Missing, 1), (Meaning::Candidate, 2)]);
        assert_eq!(rules(&analysis, Cap::NET_RAW), [(Meaning::Candidate, 1)]);
    }
    // Debian's chown and ping, with and without the needed capabilities; cat of another user's
    // file; and a new user namespace, in which mounting outside is not possible.
    let analysis = recorded(include_str!("../../../tests/data/linux-6.18-tracepoint.events"));
    assert_eq!(
        analysis.candidates,
        CapSet::of(&[Cap::CHOWN, Cap::DAC_OVERRIDE, Cap::SETPCAP, Cap::NET_RAW])
    );
    assert_eq!(analysis.missing, CapSet::of(&[Cap::CHOWN, Cap::SYS_ADMIN]));
    assert_eq!(rules(&analysis, Cap::DAC_READ_SEARCH), [(Meaning::OneNeed, 1)]);
    assert_eq!(rules(&analysis, Cap::DAC_OVERRIDE), [(Meaning::Candidate, 1)]);
    assert_eq!(rules(&analysis, Cap::SETUID), [(Meaning::NotNeeded, 1)]);
    assert!(!analysis.needs.iter().any(|need| need.meaning == Meaning::Unclear));
    let own = |need: &&Need| need.meaning == Meaning::OtherNamespace;
    let own: CapSet = analysis.needs.iter().filter(own).map(|need| need.cap).collect();
    assert_eq!(own, Cap::SYS_ADMIN.into());
}

/// In an overlay on Linux 6.18: chown of a file, cat of another user's file, and stat of a missing
/// file in another user's directory.
#[test]
fn what_an_overlay_has_recorded() {
    let analysis = recorded(include_str!("../../../tests/data/linux-6.18-overlay.events"));
    let count = |cap, rule| -> u64 {
        let alike = analysis.needs.iter().filter(|need| need.cap == cap && need.meaning == rule);
        alike.map(|need| need.count).sum()
    };
    assert_eq!(analysis.candidates, CapSet::of(&[Cap::CHOWN, Cap::DAC_READ_SEARCH]));
    assert_eq!(
        (count(Cap::CHOWN, Meaning::Candidate), count(Cap::CHOWN, Meaning::Borrowed)),
        (1, 2)
    );
    assert_eq!(count(Cap::DAC_READ_SEARCH, Meaning::Candidate), 1);
    assert_eq!(count(Cap::DAC_READ_SEARCH, Meaning::Weak), 1);
    assert_eq!(count(Cap::DAC_OVERRIDE, Meaning::Borrowed), 1);
    let speculative = count(Cap::SYS_ADMIN, Meaning::Speculative);
    assert_eq!((speculative, count(Cap::SYS_ADMIN, Meaning::Borrowed)), (1, 4));
}
