//! `rcap scan` compared with getcap, find, /proc and ss, on trees created for it and on this
//! machine.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

use common::{Ran, directory, program, ran, run};
use nix::sched::{CloneFlags, unshare};
use rcap::{
    Cap, CapSet,
    file::{self, FileCaps},
    launch::Launcher,
};
use serde_json::Value;

tests! {
    Nothing:
        findings_are_explained,
        mistakes;
    Root:
        an_unpacked_system,
        the_worst_things_first,
        baselines,
        accepted_findings,
        lines_of_json,
        hostile_names,
        processes_and_their_sets;
    UserNamespace:
        inside_of_a_sandbox;
    Root ["find getcap"]:
        files_of_a_tree,
        files_of_this_machine;
    Root ["ss"]:
        sockets;
    Root ["dpkg dpkg-query"]:
        packages;
}

fn give(path: &Path, caps: impl Into<CapSet>) {
    let caps = FileCaps { permitted: caps.into(), effective: true, ..FileCaps::EMPTY };
    let _ = file::write(path, &caps).unwrap();
}

/// Creates a file with a mode and, if not empty, capabilities.
fn make(path: &Path, mode: u32, caps: CapSet) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    if !caps.is_empty() {
        give(path, caps);
    }
}

#[track_caller]
fn scan(args: &[&OsStr]) -> Value {
    let output = program("rcap").arg("scan").arg("--json").args(args).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*err), (Some(0), ""), "{args:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the exact name that JSON has under a key.
fn name(object: &Value, key: &str) -> Vec<u8> {
    match object.get(format!("{key}_bytes")) {
        Some(bytes) => serde_json::from_value(bytes.clone()).unwrap(),
        None => object[key].as_str().unwrap().as_bytes().to_vec(),
    }
}

/// Returns the paths in the output of `find -print0`.
fn found(command: &mut Command) -> BTreeSet<Vec<u8>> {
    let out = command.arg("-print0").stderr(Stdio::null()).output().unwrap().stdout;
    out.split(|&byte| byte == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Compares a scan of a directory with libcap's getcap and with find.
#[track_caller]
fn agree(dir: &Path) -> usize {
    let json = scan(&[dir.as_os_str()]);
    let files = json["files"].as_array().unwrap();
    let with = |key: fn(&Value) -> bool| -> BTreeSet<Vec<u8>> {
        files.iter().filter(|file| key(file)).map(|file| name(file, "path")).collect()
    };
    let bits =
        with(|file| u32::from_str_radix(file["mode"].as_str().unwrap(), 8).unwrap() & 0o6000 != 0);
    let mut find = Command::new("find");
    assert_eq!(bits, found(find.arg(dir).args(["-type", "f", "-perm", "/6000"])));
    // Each line has a name and a text. A name can contain newlines, but not this separator.
    let getcap = Command::new("getcap").arg("-r").arg(dir).stderr(Stdio::null()).output().unwrap();
    let mut rest = getcap.stdout;
    for file in files.iter().filter(|file| !file["capabilities"].is_null()) {
        let line = [&name(file, "path"), b" ".as_slice(), text(file).as_bytes(), b"\n"].concat();
        let at = rest.windows(line.len()).position(|part| part == line);
        let at = at.unwrap_or_else(|| panic!("{}: {rest:?}", line.escape_ascii()));
        rest.drain(at..at + line.len());
    }
    assert_eq!(rest, b"", "{}", rest.escape_ascii());
    files.len()
}

fn text(file: &Value) -> &str {
    file["text"].as_str().unwrap()
}

fn files_of_a_tree() {
    let dir = directory();
    let hostile: &[&[u8]] =
        &[b"a b", b"line\nfeed", b"\xff\xfe", b"\x1b[31m", b"back\\slash", b"-"];
    for (nth, bytes) in hostile.iter().enumerate() {
        let below = dir.path().join(OsStr::from_bytes(bytes));
        let cap = Cap::ALL[nth];
        make(&below.join("caps"), 0o644, cap.into());
        make(&below.join(OsStr::from_bytes(bytes)), 0o4755, CapSet::empty());
        make(&below.join("both"), 0o6755, cap | Cap::KILL);
        make(&below.join("locking"), 0o2644, CapSet::empty());
        make(&below.join("plain"), 0o755, CapSet::empty());
    }
    fs::set_permissions(dir.path().join("a b"), PermissionsExt::from_mode(0o2755)).unwrap();
    std::os::unix::fs::symlink("a b/both", dir.path().join("link")).unwrap();
    // An empty attribute.
    make(&dir.path().join("empty"), 0o755, CapSet::empty());
    let _ = file::write(dir.path().join("empty"), &FileCaps::EMPTY).unwrap();
    assert_eq!(agree(dir.path()), 4 * hostile.len() + 1);
}

fn files_of_this_machine() {
    assert!(agree(Path::new("/usr")) > 0);
}

fn an_unpacked_system() {
    let dir = directory();
    let root = dir.path();
    make(&root.join("opt/tool"), 0o4755, CapSet::empty());
    make(&root.join("opt/ping"), 0o755, Cap::NET_RAW.into());
    nix::unistd::chown(&root.join("opt/tool"), Some(7777.into()), Some(8888.into())).unwrap();
    fs::set_permissions(root.join("opt/tool"), PermissionsExt::from_mode(0o4755)).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nmine:x:7777:1::/:\n").unwrap();
    // Links in the tree do not lead to this machine's files.
    std::os::unix::fs::symlink("/etc/group", root.join("etc/group")).unwrap();
    let json = scan(&["--root".as_ref(), root.as_os_str()]);
    let row = |file: &Value| {
        let [path, owner, group] = ["path", "owner", "group"].map(|key| file[key].to_string());
        format!("{path} {owner} {group}")
    };
    let rows: Vec<_> = json["files"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(rows, [r#""/opt/ping" "root" null"#, r#""/opt/tool" "mine" null"#]);
    assert_eq!(json["processes"], Value::Array(vec![]));
    assert_eq!(json["host"], rcap::scan::encode(root));
}

/// On a prepared system, one command shows the three most severe findings first.
fn the_worst_things_first() {
    let dir = directory();
    let bin = dir.path().join("opt");
    make(&bin.join("ping"), 0o755, Cap::NET_RAW.into());
    make(&bin.join("su"), 0o4755, CapSet::empty());
    make(&bin.join("passwd"), 0o4755, CapSet::empty());
    make(&bin.join("python3.11"), 0o755, Cap::SETUID.into());
    make(&bin.join("find"), 0o4755, CapSet::empty());
    make(&bin.join("backup"), 0o755, Cap::DAC_OVERRIDE.into());
    let args = ["scan".as_ref(), "--root".as_ref(), dir.path().as_os_str()];
    let Ran { status, out, err } = ran(program("rcap").args(args));
    assert_eq!((status, &*err), (Some(0), ""));
    let heads: Vec<_> = out
        .lines()
        .filter(|line| line.ends_with(')') && !line.starts_with(' '))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        heads,
        [
            "critical /opt/find (file-interpreter)",
            "critical /opt/python3.11 (file-interpreter)",
            "high /opt/backup (file-root-equivalent)",
        ],
        "{out}"
    );
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    for (severity, want) in [("critical", 1), ("high", 1), ("low", 1)] {
        let args = [&args[..], &["--fail-on".as_ref(), severity.as_ref()]].concat();
        assert_eq!(ran(program("rcap").args(args)).status, Some(want), "{severity}");
    }
    for name in ["find", "python3.11", "backup"] {
        fs::remove_file(bin.join(name)).unwrap();
    }
    let args = [&args[..], &["--fail-on".as_ref(), "info".as_ref()]].concat();
    assert_eq!(ran(program("rcap").args(args)).status, Some(0));
}

fn baselines() {
    let dir = directory();
    let tree = dir.path().join("tree");
    make(&tree.join("dash"), 0o4755, CapSet::empty());
    let scan = |args: &str| {
        let words = args.split(' ').filter(|word| !word.is_empty());
        run(dir.path(), "rcap", ["scan", "tree"].into_iter().chain(words))
    };
    assert_eq!(
        scan("--write-baseline known"),
        Ran { status: Some(0), out: String::new(), err: String::new() }
    );
    assert_eq!(fs::metadata(dir.path().join("known")).unwrap().permissions().mode() & 0o777, 0o600);
    let same = scan("--baseline known --fail-on info");
    assert_eq!(same.status, Some(0), "{same:?}");
    assert!(!same.out.contains("dash"), "{same:?}");
    make(&tree.join("perl"), 0o755, Cap::SETUID.into());
    let more = scan("--baseline known --fail-on info --json");
    assert_eq!(more.status, Some(1), "{more:?}");
    let json: Value = serde_json::from_str(&more.out).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 1);
    assert_eq!(json["files"][0]["path"], "tree/perl");
    fs::write(dir.path().join("other"), "x\n").unwrap();
    assert_eq!(scan("--baseline other").status, Some(2));
    assert_eq!(scan("--baseline missing").status, Some(2));
}

fn accepted_findings() {
    let dir = directory();
    make(&dir.path().join("tree/dash"), 0o4755, CapSet::empty());
    let scan = |line: &str| {
        fs::write(dir.path().join("ignore"), line).unwrap();
        run(dir.path(), "rcap", ["scan", "--ignore", "ignore", "--fail-on", "low", "tree"])
    };
    let accepted = scan("file-interpreter tree/* never it is a test\n");
    assert_eq!(accepted.status, Some(0), "{accepted:?}");
    assert!(accepted.err.contains("1 findings are accepted"), "{accepted:?}");
    let expired = scan("file-interpreter tree/* 2020-01-01 it was a test\n");
    assert_eq!(expired.status, Some(1));
    assert_eq!(expired.err, "rcap scan: line 1 of the ignore file has expired\n");
    assert_eq!(scan("file-interpreter tree/*\n").status, Some(2));
}

fn lines_of_json() {
    let dir = directory();
    make(&dir.path().join("dash"), 0o4755, CapSet::empty());
    make(&dir.path().join("ping"), 0o755, Cap::NET_RAW.into());
    let ran = run(dir.path(), "rcap", ["scan", "--jsonl", "."]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let lines: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["scan", "file", "file", "finding"]);
    for line in &lines {
        for key in ["host", "kernel", "time"] {
            assert_eq!(line[key], lines[0][key], "{line}");
        }
        assert_eq!(line["schema"], 1);
    }
    assert_eq!(lines[3]["id"], "file-interpreter");
}

/// Names chosen by other users are escaped on a terminal and in a pipe.
fn hostile_names() {
    let dir = directory();
    let names: &[&[u8]] = &[b"\x1b]0;x\x07bash", b"\xc2\x9b31mbash", b"\nFindings: none", b"\xff"];
    for name in names {
        make(&dir.path().join(OsStr::from_bytes(name)).join("dash"), 0o4755, CapSet::empty());
    }
    let output = program("rcap").arg("scan").arg(dir.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "{text:?}");
    assert_eq!(text.matches("Findings: ").count(), 1, "{text:?}");
    assert_eq!(text.matches("(file-interpreter)").count(), names.len());
}

/// Returns the sets in the text of a status file.
fn sets(status: &str) -> BTreeMap<&str, u64> {
    let field = |line: &'static str| line;
    let keys = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(field);
    let lines = status.lines().filter_map(|line| line.split_once(":\t"));
    let lines = lines.filter(|(key, _)| keys.contains(key));
    lines.map(|(key, value)| (key, u64::from_str_radix(value, 16).unwrap())).collect()
}

fn status_of(pid: u64) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/status")).ok()
}

/// The scan has exactly the processes that are alive before and after it, with their sets.
fn processes_and_their_sets() {
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    // Root's sets change when it executes a program, and another user's ambient set is preserved.
    let ambient: CapSet = Cap::NET_ADMIN | Cap::SYS_TIME;
    let iab = rcap::Iab::new(ambient, ambient, CapSet::empty());
    let mut child = Launcher::new().groups(12345, &[]).uid(12345).iab(iab).spawn(sleep).unwrap();
    let pids = || -> BTreeSet<u64> {
        let names = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.to_str()?.parse().ok()).collect()
    };
    let read = |pids: BTreeSet<u64>| -> BTreeMap<u64, String> {
        pids.into_iter().filter_map(|pid| Some((pid, status_of(pid)?))).collect()
    };
    let before = read(pids());
    let json = scan(&["--exclude".as_ref(), "*".as_ref()]);
    let after = read(pids());
    let listed: BTreeMap<u64, &Value> = json["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| (process["pid"].as_u64().unwrap(), process))
        .collect();
    let mut compared = 0;
    for (pid, status) in &before {
        let own = sets(status);
        if after.get(pid).map(|status| sets(status)) != Some(own.clone()) {
            continue;
        }
        let is_program = !status.contains("\nKthread:\t1") && !status.contains("\nState:\tZ");
        let holds = own["CapPrm"] | own["CapEff"] | own["CapInh"] | own["CapAmb"] != 0;
        match listed.get(pid) {
            Some(process) => {
                for (key, field) in [
                    ("CapInh", "inheritable"),
                    ("CapPrm", "permitted"),
                    ("CapEff", "effective"),
                    ("CapBnd", "bounding"),
                    ("CapAmb", "ambient"),
                ] {
                    let set: CapSet = serde_json::from_value(process[field].clone()).unwrap();
                    assert_eq!(set.bits(), own[key], "{pid} {field}");
                }
                compared += 1;
            }
            None => assert!(!is_program || !holds, "{status}"),
        }
    }
    assert!(compared > 0);
    let pid = u64::from(child.id());
    assert_eq!(listed[&pid]["ambient"], serde_json::json!(["cap_net_admin", "cap_sys_time"]));
    assert_eq!(listed[&pid]["uid"]["real"], 12345);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// In a separate network namespace, the list equals that of ss, line by line.
fn sockets() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    // The loopback interface is down, but its addresses can be bound.
    let _any = TcpListener::bind("0.0.0.0:8080").unwrap();
    let _local = TcpListener::bind("127.0.0.1:8081");
    let _six = TcpListener::bind("[::]:8082").unwrap();
    let _udp = UdpSocket::bind("0.0.0.0:5353").unwrap();
    let ss = ran(Command::new("ss").args(["-H", "-lntup"]));
    assert_eq!(ss.status, Some(0), "{ss:?}");
    let space = fs::read_link("/proc/self/ns/net").unwrap();
    let space = space.to_str().unwrap().trim_matches(|char: char| !char.is_ascii_digit());
    let space: u64 = space.parse().unwrap();
    let json = scan(&["--exclude".as_ref(), "*".as_ref()]);
    let own = json["sockets"].as_array().unwrap().iter();
    let own = own.filter(|socket| socket["network_namespace"] == space);
    let ours: BTreeSet<String> = own
        .map(|socket| {
            assert_eq!(socket["pids"], serde_json::json!([std::process::id()]), "{socket}");
            let address = socket["address"].as_str().unwrap();
            let address =
                if address.contains(':') { format!("[{address}]") } else { address.into() };
            format!("{} {address}:{}", socket["protocol"].as_str().unwrap(), socket["port"])
        })
        .collect();
    let theirs: BTreeSet<String> = ss
        .out
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            assert!(line.contains(&format!("pid={},", std::process::id())), "{line}");
            // An address of both families is shown as a star.
            format!("{} {}", fields[0], fields[4].replace('*', "[::]"))
        })
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 4, "{ours:?}");
    let reachable = |port: u64| {
        let mut all = json["sockets"].as_array().unwrap().iter();
        let is_it =
            |socket: &&Value| socket["port"] == port && socket["network_namespace"] == space;
        all.find(is_it).map(|socket| socket["reachable"].clone())
    };
    assert_eq!(reachable(8080), Some(true.into()));
    assert_ne!(reachable(8081), Some(true.into()));
}

/// The answers of the package manager, for a file of a package and for one without.
fn packages() {
    let dir = directory();
    let link = dir.path().join("other");
    make(&link, 0o755, Cap::NET_RAW.into());
    let json = scan(&["--packages".as_ref(), dir.path().as_os_str()]);
    assert_eq!(json["files"][0]["package"], Value::Null);
    assert_eq!(json["findings"][0]["id"], "file-unpackaged");
    // Privileged files of packages, unmodified.
    let json = scan(&["--packages".as_ref(), "/usr".as_ref()]);
    for file in json["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        let query = Command::new("dpkg-query").args(["-S", "--", path]).output().unwrap();
        let old = path.strip_prefix("/usr").unwrap();
        let older = Command::new("dpkg-query").args(["-S", "--", old]).output().unwrap();
        let is_owned = query.status.success() || older.status.success();
        assert_eq!(file["package"].is_string(), is_owned, "{file}");
    }
}

/// In a user namespace and under a filter, the ways are closed, and for these reasons.
fn inside_of_a_sandbox() {
    let look = || -> Value {
        let ran = ran(program("rcap").args(["scan", "--here", "--json"]));
        assert_eq!((ran.status, &*ran.err), (Some(0), ""));
        serde_json::from_str(&ran.out).unwrap()
    };
    let way = |json: &Value, name: &str| {
        let mut ways = json["ways"].as_array().unwrap().iter();
        ways.find(|way| way["name"] == name).cloned().unwrap()
    };
    let free = look();
    assert_eq!(free["initial_user_namespace"], false);
    let filtered = free["filtered"].as_array().unwrap();
    assert!(!filtered.contains(&"mount".into()) && !filtered.contains(&"unshare".into()), "{free}");
    assert_eq!(way(&free, "cap_sys_admin")["open"], false);
    assert_eq!(way(&free, "cap_sys_admin")["text"], "it counts only in this user namespace");
    let number = |call: libc::c_long| u32::try_from(call).unwrap();
    common::refuse_calls(&[number(libc::SYS_mount), number(libc::SYS_unshare)]);
    let caged = look();
    let filtered = caged["filtered"].as_array().unwrap();
    assert!(filtered.contains(&"mount".into()) && filtered.contains(&"unshare".into()), "{caged}");
    assert_eq!(caged["seccomp"], "filter");
    assert_eq!(
        (&caged["user_namespaces"], &way(&caged, "user namespaces")["open"]),
        (&false.into(), &false.into())
    );
    assert_eq!(caged["effective"], free["effective"]);
}

fn findings_are_explained() {
    for rule in rcap::scan::RULES {
        let ran = ran(program("rcap").args(["explain", rule.id]));
        assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{}", rule.id);
        assert!(ran.out.starts_with(&format!("{}: {}\n", rule.id, rule.title)), "{ran:?}");
        assert!(ran.out.lines().all(|line| line.len() <= 80), "{ran:?}");
    }
    let json = ran(program("rcap").args(["explain", "--json", "file-lost"])).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["finding"]["id"], "file-lost");
}

fn mistakes() {
    #[rustfmt::skip]
    let rows: [(&[&str], i32); 6] = [
        (&["--fail-on", "bad"],          2),
        (&["--json", "--jsonl"],         2),
        (&["--threads", "0"],            2),
        (&["--ignore", "/nonexistent"],  2),
        (&["/nonexistent"],              2),
        (&["--root", "/nonexistent"],    2),
    ];
    for (args, want) in rows {
        let ran = ran(program("rcap").arg("scan").args(args));
        assert_eq!((ran.status, &*ran.out), (Some(want), ""), "{args:?}");
        assert!(!ran.err.is_empty());
    }
}
