//! The fixes of `rcap why`: applied to the source, they lead to the capability.

mod common;

#[path = "advice/engines.rs"]
mod engines;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Ran, directory, docker, program, ran, sets::Sets, systemd::SYSTEMD, wait_until, which,
};
use engines::{with_compose, with_docker, with_podman, with_runc, with_systemd};
use rcap::Cap;
use serde_json::{Value, json};

tests! {
    Nothing:
        nothing_to_fix;
    Root:
        in_the_words_of_the_source,
        with_an_engine,
        nothing_is_taken_from_the_system,
        a_program_of_the_source,
        a_known_program_of_a_unit,
        a_root_id;
    Root ["setpriv"]:
        with_setpriv,
        by_rcap_run,
        a_process_that_is_not_dumpable;
    Root ["busybox runc"]:
        with_runc;
    Root [SYSTEMD]:
        with_systemd;
    Root ["busybox crun mount podman tar umount unshare"]:
        with_podman;
    Root [docker::DOCKER, "setcap"]:
        with_docker;
    Root [docker::DOCKER, "docker-compose"]:
        with_compose;
}

fn why(args: &[&str]) -> Value {
    let ran = words(&[&["--json"], args].concat());
    serde_json::from_str(&ran.out).unwrap_or_else(|err| panic!("{err}: {ran:?}"))
}

fn words(args: &[&str]) -> Ran {
    ran(program("rcap").arg("why").args(args).stdin(Stdio::null()))
}

/// The changes between backquotes, in their order.
fn fixes(args: &[&str]) -> Vec<String> {
    let answer = why(args);
    let advice = answer["advice"].as_array().unwrap().iter();
    let parts = advice.flat_map(|words| words.as_str().unwrap().split('`').skip(1).step_by(2));
    parts.map(str::to_owned).collect()
}

/// The first change.
fn fix(args: &[&str]) -> String {
    let all = fixes(args);
    all.first().unwrap_or_else(|| panic!("no fix: {:?}", words(args))).clone()
}

/// Whether the program gets a capability.
fn has(args: &[&str], cap: &str) -> bool {
    let answer = why(args);
    let set = answer["outcome"]["after"]["effective"].as_array();
    set.is_some_and(|set| set.iter().any(|name| name == cap))
}

fn setcap(caps: &str, path: &str) {
    let set = ran(program("setcap").args(["-q", caps, path]));
    assert_eq!(set.status, Some(0), "{set:?}");
}

/// A copy of cat under this name, with these capabilities.
fn copy(dir: &Path, name: &str, caps: &str) -> String {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.join(name);
    fs::copy(which("cat").unwrap(), &path).unwrap();
    let path = path.display().to_string();
    if !caps.is_empty() {
        setcap(caps, &path);
    }
    path
}

/// A source before and after a fix, which stands in the place of `@`.
struct Row {
    name: &'static str,
    source: &'static str,
    /// The capabilities of the program's file.
    caps: &'static str,
    cap: &'static str,
    fix: &'static str,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // A service of a user who is not root, with the set that it may have and does not get.
    Row { name: "a.service", source: "[Service]\nUser=nobody\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n@\n",
        caps: "", cap: "cap_net_bind_service", fix: "AmbientCapabilities=CAP_NET_BIND_SERVICE" },
    // Ambient capabilities that the bounding set takes away.
    Row { name: "b.service", source: "[Service]\nUser=nobody\nCapabilityBoundingSet=CAP_CHOWN\nAmbientCapabilities=CAP_NET_RAW CAP_CHOWN\n@\n",
        caps: "", cap: "cap_net_raw", fix: "CapabilityBoundingSet=CAP_NET_RAW" },
    // exec: operation not permitted.
    Row { name: "", source: "docker run --cap-drop ALL @ img",
        caps: "cap_net_bind_service=ep", cap: "cap_net_bind_service", fix: "--cap-add=NET_BIND_SERVICE" },
    Row { name: "", source: "podman run --user 1000 @ img",
        caps: "cap_net_raw=ep", cap: "cap_net_raw", fix: "--cap-add=NET_RAW" },
    Row { name: "compose.yaml", source: "services:\n  web:\n    image: i\n    cap_drop: [ALL]\n    @\n",
        caps: "cap_net_raw=ep", cap: "cap_net_raw", fix: "cap_add: [NET_RAW]" },
    Row { name: "pod.yaml", source: "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: i\n    @\n",
        caps: "cap_sys_time=ep", cap: "cap_sys_time", fix: "securityContext: {capabilities: {add: [\"SYS_TIME\"]}}" },
];

fn in_the_words_of_the_source() {
    let dir = directory();
    for (index, row) in ROWS.iter().enumerate() {
        let path = copy(dir.path(), &format!("program{index}"), row.caps);
        let source = |fix: &str| {
            let text = row.source.replace('@', fix);
            if row.name.is_empty() {
                return text;
            }
            let file = dir.path().join(row.name);
            fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        let before = source("");
        assert!(!has(&["--from", &before, &path], row.cap), "{}", row.source);
        let found = fix(&["--from", &before, &path]);
        assert_eq!(found, row.fix, "{}", row.source);
        let after = source(&found);
        assert!(has(&["--from", &after, &path], row.cap), "{}: {found}", row.source);
    }
    // A container's user who is not root: the file in the image.
    for source in [
        "docker run --user 1000 --cap-add NET_RAW img",
        "docker create --user=7 --cap-add=net_raw img",
    ] {
        let path = copy(dir.path(), "cat", "");
        let args = ["--from", source, &path];
        let found = fix(&args);
        assert_eq!(found, format!("setcap cap_net_raw=ep {path}"));
        setcap("cap_net_raw=ep", &path);
        assert!(has(&args, "cap_net_raw"), "{source}");
        fs::remove_file(&path).unwrap();
    }
    // In Kubernetes, a safe sysctl comes first.
    let pod = dir.path().join("web.yaml").display().to_string();
    fs::write(
        &pod,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: i\n    \
         securityContext: {runAsUser: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}\n",
    )
    .unwrap();
    let path = copy(dir.path(), "web", "");
    let found = fixes(&["--from", &pod, &path]);
    assert!(found[0].contains("net.ipv4.ip_unprivileged_port_start"), "{found:?}");
    assert_eq!(found[1], format!("setcap cap_net_bind_service=ep {path}"));
    setcap("cap_net_bind_service=ep", &path);
    assert!(has(&["--from", &pod, &path], "cap_net_bind_service"));
}

/// A unit without a list of capabilities, whose program is known to need one.
fn a_known_program_of_a_unit() {
    let dir = directory();
    let unit = dir.path().join("a.service").display().to_string();
    let path = copy(dir.path(), "nc", "");
    #[rustfmt::skip]
    let rows = [
        ("User=nobody\n",                                                 true),
        ("User=nobody\nAmbientCapabilities=net_bind_service\n",          true),
        ("User=nobody\nCapabilityBoundingSet=\n",                        false),
        ("User=nobody\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n",      false),
        ("",                                                             false),
    ];
    for (lines, is_fixed) in rows {
        fs::write(&unit, format!("[Service]\nExecStart={path} -l -p 80\n{lines}")).unwrap();
        let found = why(&["--from", &unit, &path])["advice"].to_string();
        let has = found.contains("AmbientCapabilities=CAP_NET_BIND_SERVICE");
        assert_eq!(has, is_fixed, "{lines}: {found}");
    }
}

/// Defaults are not asked for.
fn nothing_to_fix() {
    for source in [
        "docker run --user 1000 img",
        "podman run --user 5 img",
        "docker",
        "setpriv --reuid 1000 --clear-groups",
    ] {
        let answer = why(&["--from", source, "ls"]);
        assert_eq!(answer["advice"], json!([]), "{source}");
        let answer = words(&["--from", source, "ls"]);
        assert!(answer.out.contains("Nothing to fix"), "{source}: {}", answer.out);
        assert!(!answer.out.contains("000000"), "{source}: a mask: {}", answer.out);
    }
    let answer = words(&["--from", "docker run --user 1000 img", "ls"]);
    assert!(answer.out.contains("the 14 of Docker's default"), "{}", answer.out);
}

/// The answer depends on the version of the engine.
fn with_an_engine() {
    let dir = directory();
    let path = copy(dir.path(), "show", "cap_net_raw=ep");
    let unit = dir.path().join("x.service").display().to_string();
    let text = "[Service]\nUser=nobody\nLockPersonality=yes\n";
    fs::write(&unit, text).unwrap();
    assert!(has(&["--from", &unit, "--engine", "systemd@257", &path], "cap_net_raw"));
    let old = ["--from", &*unit, "--engine", "systemd@252", &*path];
    assert!(!has(&old, "cap_net_raw"));
    let found = fix(&old);
    assert_eq!(found, "AmbientCapabilities=CAP_NET_RAW");
    fs::write(&unit, format!("{text}{found}\n")).unwrap();
    assert!(has(&old, "cap_net_raw"));
    let line = "docker run --user 1000 --cap-add net_raw --security-opt no-new-privileges img";
    assert!(has(&["--from", line, "--engine", "docker@26", &path], "cap_net_raw"));
    assert!(!has(&["--from", line, "--engine", "docker@20.10", &path], "cap_net_raw"));
}

/// A set-user-ID program in a unit whose bounding set keeps from it what it needs.
fn nothing_is_taken_from_the_system() {
    let dir = directory();
    let sudo = copy(dir.path(), "sudo", "");
    fs::set_permissions(&sudo, fs::Permissions::from_mode(0o4755)).unwrap();
    let unit = dir.path().join("x.service").display().to_string();
    fs::write(&unit, "[Service]\nUser=nobody\nCapabilityBoundingSet=CAP_NET_RAW\n").unwrap();
    let args = ["--from", &*unit, &*sudo];
    let answer = words(&args);
    let words = "The bounding set keeps cap_setgid,cap_setuid";
    assert!(answer.out.contains(words), "{}", answer.out);
    assert!(!answer.out.contains("chmod u-s"), "{}", answer.out);
    let found = fix(&args);
    fs::write(
        &unit,
        format!("[Service]\nUser=nobody\nCapabilityBoundingSet=CAP_NET_RAW\n{found}\n"),
    )
    .unwrap();
    assert!(has(&args, "cap_setuid"), "{found}");
    // No program of the system loses its bits or its capabilities.
    let path = Path::new("/usr/bin");
    let set_id = fs::read_dir(path).unwrap().flatten().filter(|entry| {
        entry.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o6000 != 0)
    });
    for entry in set_id {
        let path = entry.path().display().to_string();
        for source in
            ["docker run --user 1000 img", "podman run --user 1000 --cap-add chown img", &unit]
        {
            let advice = why(&["--from", source, &path])["advice"].to_string();
            assert!(
                !advice.contains("chmod u-s") && !advice.contains("setcap -r"),
                "{path}: {advice}"
            );
        }
    }
}

/// Without PROGRAM, the one that the source names.
fn a_program_of_the_source() {
    let dir = directory();
    let path = copy(dir.path(), "show", "cap_net_raw=ep");
    let container = json!([{
        "Name": "/x", "Path": path, "Args": [], "Config": {"User": ""},
        "HostConfig": {"CapAdd": null, "CapDrop": null, "Privileged": false, "SecurityOpt": null},
    }]);
    let file = dir.path().join("inspect.json");
    fs::write(&file, container.to_string()).unwrap();
    let answer = words(&["--from", file.to_str().unwrap()]);
    let nameless = words(&["--from", "docker"]);
    assert_eq!(nameless.status, Some(2), "{nameless:?}");
    assert!(nameless.err.contains("names no program"), "{}", nameless.err);
    assert!(answer.out.starts_with(&path), "{answer:?}");
    // Options after the program are its own.
    for line in [
        format!("setpriv --reuid 5 --regid=5 --clear-groups {path} --reuid 0 --no-new-privs"),
        format!("setpriv --reuid 5 --regid=5 --clear-groups -- {path}"),
    ] {
        let answer = why(&["--from", &line]);
        assert_eq!(answer["before"]["uid"]["effective"], 5, "{line}");
        assert_eq!(answer["outcome"]["after"]["permitted"], json!(["cap_net_raw"]), "{line}");
    }
    let answer = words(&["--from", "capsh --drop=cap_kill -- -c id"]);
    assert!(answer.out.starts_with("/bin/bash"), "{answer:?}");
}

fn a_root_id() {
    let dir = directory();
    let path = copy(dir.path(), "show", "");
    let set = ran(program("setcap").args(["-n", "100000", "cap_net_raw=ep", &path]));
    assert_eq!(set.status, Some(0), "{set:?}");
    let args = ["--user", "nobody", &*path];
    assert!(
        words(&args).out.contains("cap_net_raw=ep with the root ID 100000"),
        "{:?}",
        words(&args)
    );
    let found = fixes(&args);
    assert_eq!(found, [format!("rcap setcap cap_net_raw=ep {path}")]);
    let nobody = || {
        let mut command = program("rcap");
        command.args(["run", "--user", "nobody:nogroup", "--allow-new-privs", "--"]);
        ran(command.args([&*path, "/proc/self/status"])).out
    };
    let effective = |status: &str| Sets::of_status(status).map(|sets| sets.effective);
    assert!(effective(&nobody()).is_some_and(rcap::CapSet::is_empty), "{}", nobody());
    setcap("cap_net_raw=ep", &path);
    assert!(has(&args, "cap_net_raw"));
    assert_eq!(effective(&nobody()), Some(Cap::NET_RAW.into()), "{}", nobody());
}

/// The effective set of a program that setpriv starts.
fn started(options: &[&str], program: &str) -> String {
    let ran = ran(Command::new("setpriv").args(options).arg(program).arg("/proc/self/status"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let line = ran.out.lines().find(|line| line.starts_with("CapEff")).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

fn with_setpriv() {
    let dir = directory();
    for (caps, options) in [
        ("", "--reuid=1000 --regid=1000 --clear-groups --bounding-set=-all,+net_raw"),
        (
            "",
            "--reuid=1000 --regid=1000 --clear-groups --bounding-set=-all,+net_raw --no-new-privs",
        ),
    ] {
        let path = copy(dir.path(), "ping", caps);
        let line = format!("setpriv {options}");
        assert!(!has(&["--from", &line, &path], "cap_net_raw"), "{line}");
        let found = fix(&["--from", &line, &path]);
        let after = format!("{line} {found}");
        assert!(has(&["--from", &after, &path], "cap_net_raw"), "{after}");
        let options: Vec<&str> = after.split(' ').skip(1).collect();
        assert_eq!(started(&options, &path), "0000000000002000", "{after}");
        fs::remove_file(&path).unwrap();
    }
    // setpriv keeps its own permitted set, so no-new-privs takes nothing of the file's away.
    let path = copy(dir.path(), "ping", "cap_net_raw=ep");
    let options = ["--reuid=1000", "--regid=1000", "--clear-groups", "--no-new-privs"];
    assert!(has(&["--from", &format!("setpriv {}", options.join(" ")), &path], "cap_net_raw"));
    assert_eq!(started(&options, &path), "0000000000002000");
}

/// A script, an interpreter and a file without capabilities.
fn by_rcap_run() {
    let dir = directory();
    let show = copy(dir.path(), "tcpdump", "");
    let script = dir.path().join("ping").display().to_string();
    fs::write(&script, "#!/bin/sh\nexec grep CapEff /proc/self/status\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for path in [&show, &script] {
        let found = fix(&["--user", "nobody", path]);
        let args: Vec<&str> = found.split(' ').skip(1).collect();
        assert_eq!(args.last(), Some(&&**path), "{found}");
        let mut command = program("rcap");
        command.args(&args).stdin(Stdio::null());
        if path == &show {
            command.arg("/proc/self/status");
        }
        let out = ran(&mut command).out;
        let line = out
            .lines()
            .find(|line| line.starts_with("CapEff"))
            .unwrap_or_else(|| panic!("{found}: {out}"));
        let mask = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_eq!(mask & (1 << 13), 1 << 13, "{found}: {line}");
    }
}

/// One that its file has given capabilities.
fn a_process_that_is_not_dumpable() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("sleep").display().to_string();
    fs::copy(which("sleep").unwrap(), &path).unwrap();
    setcap("cap_net_raw=ep", &path);
    let mut setpriv = Command::new("setpriv");
    // setpriv itself keeps its capabilities up to the execution, and a shell has none.
    setpriv.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sh",
        "-c",
        "exec $0 100",
        &path,
    ]);
    let mut child = setpriv.spawn().unwrap();
    let pid = child.id().to_string();
    wait_until(|| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    });
    let as_root = words(&["--pid", &pid]);
    let rcap = program("rcap").get_program().to_owned();
    let mut as_user = Command::new("setpriv");
    as_user.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(rcap);
    let as_user = ran(as_user.args(["why", "--pid", &pid]));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(as_root.out.contains("has cap_net_raw: its file grants it"), "{}", as_root.out);
    for answer in [&as_root, &as_user] {
        assert!(answer.out.contains("it is not dumpable"), "{answer:?}");
    }
    assert!(
        as_user.out.contains("has cap_net_raw: unknown, as its file may not be read"),
        "{as_user:?}"
    );
    assert!(as_user.out.contains("its user namespace is unknown"), "{as_user:?}");
}
