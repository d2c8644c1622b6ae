//! `rcap explain` and `rcap suggest`.

mod common;

use common::{Ran, program, ran};
use serde_json::Value;

tests! {
    Nothing:
        a_capability,
        a_system_call_and_a_program,
        all_of_them,
        facts,
        suggestions,
        usage;
}

fn rcap(args: &[&str]) -> Ran {
    ran(program("rcap").args(args))
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&rcap(args).out).unwrap()
}

fn a_capability() {
    let ran = rcap(&["explain", "net_raw"]);
    assert_eq!(ran.status, Some(0));
    for words in
        ["raw and packet sockets", "Asked for by: socket", "Needed by: ping", "Instead: for ping"]
    {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert!(ran.out.lines().all(|line| line.len() <= 80), "{}", ran.out);
    let unused = rcap(&["explain", "net_broadcast"]);
    assert!(unused.out.contains("the kernel never checks for it"), "{}", unused.out);
}

fn a_system_call_and_a_program() {
    let bind = rcap(&["explain", "--syscall", "bind"]);
    assert!(bind.out.starts_with("cap_net_bind_service  a port below"), "{}", bind.out);
    // An entry "the same" is replaced by the text it refers to.
    let all = json(&["explain", "--json", "--syscall", "unlinkat"]);
    for row in all["capabilities"].as_array().unwrap() {
        assert_ne!(row["when"], "the same");
    }
    for name in ["ping", "/usr/bin/ping"] {
        let ping = rcap(&["explain", "--program", name]);
        assert!(ping.out.starts_with("ping needs, for something it does: cap_net_raw\n"));
    }
    for (args, meant) in [(["--program", "pnig"], "ping"), (["--syscall", "mountt"], "mount")] {
        let ran = rcap(&[&["explain"][..], &args].concat());
        assert_eq!((ran.status, &*ran.out), (Some(1), ""), "{args:?}");
        assert!(ran.err.contains(&format!("did you mean {meant}?")), "{}", ran.err);
    }
}

/// Facts that were measured.
fn facts() {
    let explain = |cap: &str| rcap(&["explain", cap]).out;
    #[rustfmt::skip]
    let rows = [
        ("net_raw",    "Granted to containers by default by: docker, containerd."),
        ("chown",      "Granted to containers by default by: docker, containerd, podman, cri-o."),
        ("sys_chroot", "Granted to containers by default by: docker, containerd, podman."),
        ("sys_admin",  "Granted to containers by default by: no engine."),
        ("net_bind_service", "Pod Security levels that allow adding it: privileged, baseline, restricted."),
        ("net_raw",    "Pod Security levels that allow adding it: privileged."),
        ("net_raw",    "SO_MARK"),
        ("sys_ptrace", "process_vm_readv"),
        ("sys_admin",  "PCI configuration"),
        ("sys_time",   "CLOCK_MONOTONIC"),
    ];
    let joined = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (cap, words) in rows {
        let out = joined(explain(cap));
        assert!(out.contains(words), "{cap}: {words}: {out}");
    }
    for (cap, words) in
        [("sys_rawio", "PCI"), ("wake_alarm", "rtcwake"), ("ipc_lock", "MAP_HUGETLB")]
    {
        assert!(!explain(cap).contains(words), "{cap}: {words}");
    }
    let nginx = json(&["explain", "--json", "--program", "nginx"]);
    let rows = nginx["capabilities"].as_array().unwrap().iter();
    let caps: Vec<_> = rows.map(|row| row["cap"].as_str().unwrap()).collect();
    for cap in ["cap_chown", "cap_dac_override", "cap_setgid", "cap_setuid"] {
        assert!(caps.contains(&cap), "{cap}: {caps:?}");
    }
    let seccomp = json(&["explain", "--json", "sys_admin"]);
    assert_eq!(seccomp["capabilities"][0]["seccomp"].as_array().unwrap().len(), 26);
}

fn all_of_them() {
    assert_eq!(rcap(&["explain"]).out.lines().count(), 41);
    let all = json(&["explain", "--json"]);
    assert_eq!(all["capabilities"].as_array().unwrap().len(), 41);
}

fn suggestions() {
    for (question, cap) in [
        (&["remove a file owned by someone else"][..], "cap_dac_override"),
        (&["netcat", "on", "port", "80"], "cap_net_bind_service"),
    ] {
        let ran = rcap(&[&["suggest"], question].concat());
        assert_eq!(ran.status, Some(0));
        assert!(ran.out.starts_with(cap), "{}", ran.out);
        let value = json(&[&["suggest", "--json"], question].concat());
        assert_eq!(value["answers"][0]["caps"][0], cap);
    }
    // The setting of this machine.
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let value = std::fs::read_to_string(path).unwrap();
    let words = format!("net.ipv4.ip_unprivileged_port_start is {}", value.trim());
    assert!(rcap(&["suggest", "port 80"]).out.contains(&words));
    let none = rcap(&["suggest", "bake a cake"]);
    assert_eq!((none.status, &*none.out), (Some(1), ""));
    assert!(none.err.contains("rcap trace"), "{}", none.err);
}

fn usage() {
    for args in [
        &["suggest"][..],
        &["suggest", "--x"],
        &["explain", "net_row"],
        &["explain", "--syscall", "bind", "net_raw"],
    ] {
        let ran = rcap(args);
        assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{args:?}");
    }
    assert!(rcap(&["explain", "net_row"]).err.contains("did you mean cap_net_raw?"));
}
