//! A table of facts, and the findings that follow from each.

use super::*;
use crate::{
    file::FileCaps,
    proc::{Ids, Status},
    scan::{Expected, Protocol, Socket, inventory::Namespace},
};

fn file(path: &str, mode: u32, caps: &str) -> PrivilegedFile {
    let state = (!caps.is_empty()).then(|| crate::CapState::parse(caps, CapSet::NAMED).unwrap());
    PrivilegedFile {
        path: path.into(),
        mode,
        owner: Some("root".into()),
        caps: state.map(|state| FileCaps::try_from(state).unwrap()),
        ..PrivilegedFile::default()
    }
}

fn process(uid: u32, permitted: CapSet) -> PrivilegedProcess {
    let text = "Name:\tname\nState:\tS\nTgid:\t7\nPid:\t7\nPPid:\t1\nUid:\t0\t0\t0\t0\n\
         Gid:\t0\t0\t0\t0\nGroups:\t\nKthread:\t0\nThreads:\t1\nCapInh:\t0\nCapPrm:\t0\n\
         CapEff:\t0\nCapBnd:\t0\nCapAmb:\t0\n";
    let mut status = Status::parse(text.as_bytes()).unwrap();
    status.uid = Ids::same(uid);
    status.caps.permitted = permitted;
    status.bounding = CapSet::NAMED;
    PrivilegedProcess {
        status,
        threads: Vec::new(),
        program: None,
        user: None,
        unit: None,
        container: None,
        namespace: Namespace::Same,
        writable: Vec::new(),
    }
}

fn of(change: impl FnOnce(&mut Inventory)) -> Vec<(&'static str, Severity)> {
    let mut inventory =
        Inventory { bounding: CapSet::NAMED, supported: CapSet::NAMED, ..Inventory::default() };
    change(&mut inventory);
    findings(&inventory).iter().map(|finding| (finding.rule.id, finding.severity)).collect()
}

#[test]
fn files() {
    use Severity::{Critical, High, Low, Medium};
    let writable = |by| vec![Writable { path: "/usr".into(), by }];
    let ping = || file("/bin/ping", 0o755, "cap_net_raw=ep");
    let power = || file("/bin/power", 0o755, "cap_setuid=ep");
    #[rustfmt::skip]
    let rows: &[(PrivilegedFile, &[(&str, Severity)])] = &[
        (ping(),                                        &[]),
        (file("/bin/su", 0o4755, ""),                   &[]),
        (power(),                                       &[("file-root-equivalent", High)]),
        (file("/bin/power", 0o750, "cap_setuid=ep"),    &[]),
        (file("/bin/reads", 0o755, "cap_dac_read_search=p"), &[("file-root-equivalent", Medium)]),
        (file("/bin/python3.11", 0o755, "cap_setuid=ep"), &[("file-interpreter", Critical)]),
        (file("/bin/python3", 0o700, "cap_net_raw=ep"), &[("file-interpreter", Medium)]),
        (file("/bin/dash", 0o4755, ""),                 &[("file-interpreter", Critical)]),
        // Inheritable alone gives nothing by itself.
        (file("/bin/gdb", 0o755, "cap_sys_ptrace=i"),   &[]),
        (PrivilegedFile { writable: writable(Writer::Everyone), ..ping() }, &[("file-writable", Medium)]),
        (PrivilegedFile { writable: writable(Writer::User(7)), ..file("/bin/su", 0o4755, "") },
                                                        &[("file-writable", High)]),
        // No power, nothing to protect.
        (PrivilegedFile { writable: writable(Writer::Everyone), ..file("/bin/x", 0o2644, "") }, &[]),
        (PrivilegedFile { is_script: true, ..power() }, &[("file-unusable", Low)]),
        (PrivilegedFile { is_nosuid: true, ..power() }, &[("file-unusable", Low)]),
        (PrivilegedFile { package: Some(Package::Modified("p".into())), ..ping() },
                                                        &[("file-modified", High)]),
        (PrivilegedFile { package: Some(Package::None), ..ping() }, &[("file-unpackaged", Low)]),
        (PrivilegedFile { package: Some(Package::Intact("p".into())), ..ping() }, &[]),
        (PrivilegedFile { malformed: Some("short".into()), ..file("/bin/x", 0o755, "") },
                                                        &[("file-malformed", Low)]),
        (PrivilegedFile {
            is_unmapped: true,
            caps: Some(FileCaps { rootid: Some(9), permitted: CapSet::NAMED, ..FileCaps::EMPTY }),
            ..file("/bin/x", 0o755, "")
        },                                              &[("file-foreign-rootid", Low)]),
    ];
    for (file, want) in rows {
        assert_eq!(of(|all| all.files.push(file.clone())), *want, "{file:?}");
    }
    let lacking = of(|all| {
        all.bounding = CapSet::NAMED.without(Cap::NET_RAW);
        all.files.push(ping());
    });
    assert_eq!(lacking, [("file-unusable", Low)]);
    let expected = Expected {
        path: "/bin/ping".into(),
        text: "cap_net_raw+ep".into(),
        package: "iputils-ping".into(),
    };
    assert_eq!(of(|all| all.expected.push(expected)), [("file-lost", Low)]);
}

#[test]
fn processes() {
    use Severity::{Critical, High, Low, Medium};
    let net_raw: CapSet = Cap::NET_RAW.into();
    let named = |name: &str, change: fn(&mut PrivilegedProcess)| {
        let mut process = process(1000, net_raw);
        process.status.name = name.into();
        change(&mut process);
        process
    };
    let writable = |by| vec![Writable { path: "/usr".into(), by }];
    #[rustfmt::skip]
    let rows: &[(PrivilegedProcess, &[(&str, Severity)])] = &[
        (process(0, CapSet::NAMED),                     &[]),
        (process(1000, net_raw),                        &[]),
        (process(1000, Cap::SETUID.into()),             &[("process-root-equivalent", High)]),
        (PrivilegedProcess { namespace: Namespace::Other, ..process(1000, CapSet::NAMED) }, &[]),
        (PrivilegedProcess { container: Some("c".into()), ..process(1000, Cap::SETUID.into()) }, &[]),
        (PrivilegedProcess { container: Some("c".into()), ..process(1000, Cap::SYS_ADMIN.into()) },
                                                        &[("process-root-equivalent", High)]),
        (named("bash", |one| one.status.ambient = Cap::NET_RAW.into()), &[("process-ambient-shell", Medium)]),
        (named("bash", |one| one.status.ambient = Cap::DAC_READ_SEARCH.into()), &[("process-ambient-shell", High)]),
        (named("curl", |one| one.status.ambient = Cap::NET_RAW.into()), &[]),
        (PrivilegedProcess { writable: writable(Writer::User(7)), ..process(0, CapSet::NAMED) },
                                                        &[("process-writable-program", Critical)]),
        (PrivilegedProcess { writable: writable(Writer::User(7)), ..process(0, net_raw) }, &[]),
    ];
    for (process, want) in rows {
        assert_eq!(of(|all| all.processes.push(process.clone())), *want, "{process:?}");
    }
    let listening = |permitted, address: [u8; 4]| {
        of(|all| {
            all.processes.push(process(0, permitted));
            all.sockets.push(Socket {
                protocol: Protocol::Tcp,
                address: Some(address.into()),
                port: 80,
                inode: 1,
                pids: vec![7],
                namespace: None,
            });
        })
    };
    assert_eq!(listening(CapSet::NAMED, [0; 4]), [("socket-excess", Medium)]);
    assert_eq!(listening(CapSet::NAMED, [127, 0, 0, 1]), [("socket-excess", Low)]);
    assert_eq!(listening(Cap::NET_BIND_SERVICE.into(), [0; 4]), []);
}

#[test]
fn containers_and_units() {
    use Severity::{Critical, High, Medium};
    let group = |bounding| Group {
        name: "0123456789abcdef".repeat(4),
        bounding,
        is_same_namespace: true,
        ..Group::default()
    };
    let docker = Profile::Docker.given();
    let rows: &[(CapSet, &[(&str, Severity)])] = &[
        (docker, &[]),
        (docker.with(Cap::SYS_TIME), &[]),
        (docker.with(Cap::NET_ADMIN), &[("container-extra", Medium)]),
        (docker.with(Cap::SYS_ADMIN), &[("container-extra", High)]),
        (CapSet::NAMED, &[("container-privileged", Critical)]),
    ];
    for (bounding, want) in rows {
        assert_eq!(of(|all| all.containers.push(group(*bounding))), *want, "{bounding}");
    }
    let rootless = Group { is_same_namespace: false, ..group(CapSet::NAMED) };
    assert_eq!(of(|all| all.containers.push(rootless)), []);
    let unused = Group { unused: Some(Cap::NET_RAW.into()), ..group(CapSet::empty()) };
    assert_eq!(of(|all| all.units.push(unused)), [("unit-unused", Medium)]);
}

/// The worst come first, and a subject cannot hide another line in it.
#[test]
fn order_and_text() {
    let mut inventory = Inventory { bounding: CapSet::NAMED, ..Inventory::default() };
    inventory.files =
        vec![file("/bin/a\nb", 0o755, "cap_setuid=ep"), file("/bin/perl", 0o755, "cap_setuid=ep")];
    let found = findings(&inventory);
    let subjects: Vec<_> = found.iter().map(|finding| &*finding.subject).collect();
    assert_eq!(subjects, ["/bin/perl", r"/bin/a\012b"]);
    assert_eq!(found[0].text, "it is an interpreter and has cap_setuid=ep");
    let route = crate::knowledge::route_to_root(Cap::SETUID).unwrap();
    assert_eq!(found[0].route, Some(format!("cap_setuid: {route}")));
}
