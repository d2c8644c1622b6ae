//! `rcap minimize --unit`, `rcap harden` and the like, with systemd as the first process of namespaces of the
//! test's own, compared with the same units restarted by hand.

mod common;
#[path = "services/rootless.rs"]
mod rootless;
#[path = "services/scratch.rs"]
mod scratch;

use std::process::Stdio;

use common::{
    Ran, directory, program,
    systemd::{MACHINE, Machine},
    wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rootless::{
    a_service_that_keeps_a_capability, a_service_without_capabilities, copies_of_a_killed_rcap,
    units_without_another_user,
};
use scratch::{a_copy_of_a_unit, a_dynamic_user, a_service_of_systemd_run, a_unit_of_a_user};
use serde_json::Value;

tests! {
    Tracing [MACHINE, "python3 systemd-analyze"]:
        a_service_hardened;
    Tracing [MACHINE, "cp python3"]:
        a_copy_of_a_unit;
    Tracing [MACHINE, "python3"]:
        a_service_of_systemd_run,
        a_unit_of_a_user,
        a_dynamic_user,
        a_server_on_a_port,
        a_user_with_ambient_capabilities,
        a_program_that_ends,
        the_settings_of_a_unit_verified,
        a_drop_in_that_stays,
        a_unit_of_a_killed_rcap,
        units_that_depend_on_it,
        a_recording_from_the_start;
    Tracing [MACHINE, "cp find python3 setpriv systemd-tmpfiles xargs"]:
        a_service_without_capabilities,
        a_service_that_keeps_a_capability,
        units_without_another_user,
        copies_of_a_killed_rcap;
    Tracing [MACHINE, "chown"]:
        a_recording_of_a_unit_that_fails;
}

/// A server that changes the owner of a file, and listens on port 80.
const SERVER: &str = r#"[Service]
ExecStart=python3 -c "import os, socket; \
    f = '/run/web-file'; os.path.exists(f) and os.unlink(f); open(f, 'w'); os.chown(f, 5, 5); \
    s = socket.create_server(('127.0.0.1', 80)); \
    [s.accept()[0].send(b'hello') for _ in iter(int, 1)]"
"#;
const CHECK: &str = "test \"$(bash -c 'cat < /dev/tcp/127.0.0.1/80')\" = hello";

fn web() -> Vec<(&'static str, String)> {
    vec![("web.service", SERVER.to_owned())]
}

fn rcap(machine: &Machine, args: &[&str]) -> Ran {
    let rcap = program("rcap").get_program().to_str().unwrap().to_owned();
    machine.run(&[&[&*rcap], args].concat())
}

/// The minimum of a unit.
fn minimum(machine: &Machine, unit: &str, options: &[&str]) -> Value {
    let common = ["minimize", "--json", "--yes", "--settle", "100ms", "--unit", unit];
    let found = rcap(machine, &[&common, options].concat());
    assert_eq!(found.status, Some(0), "{found:?}");
    let found: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(found["proved"], true, "{found}");
    found
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// Returns whether the unit works with a drop-in file that this test writes.
fn works(machine: &Machine, unit: &str, lines: &str, check: &str) -> bool {
    let script = "mkdir -p /run/systemd/system/$0.d
        printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\n%b' \"$1\" > /run/systemd/system/$0.d/by-hand.conf
        systemctl daemon-reload; systemctl restart $0
        for _ in 1 2 3 4 5 6 7 8 9 10; do sh -c \"$2\" 2>/dev/null && works=0 && break; sleep 0.1; done
        rm -r /run/systemd/system/$0.d; systemctl daemon-reload; exit ${works:-1}";
    machine.run(&["sh", "-c", script, unit, lines, check]).status == Some(0)
}

/// Nothing of a measurement is left on the machine.
fn assert_clean(machine: &Machine) {
    let left = machine.run(&["sh", "-c", "ls /run/systemd/system /run/systemd/transient"]);
    assert_eq!(left.out, "/run/systemd/system:\n\n/run/systemd/transient:\n");
    let units =
        machine.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "rcap*"]);
    assert!(
        units.out.starts_with("rcap-all.target") && units.out.lines().count() == 1,
        "{units:?}"
    );
}

/// A server that writes to a directory of its own, below /var/lib, by a relative path, and creates
/// a socket in /run. It can do without a file in /etc.
const WRITER: &str = r#"[Service]
ExecStart=rcap-python -c "import os, socket; os.chdir('/var/lib/rcap'); \
    open('state', 'w').write('x'); os.path.exists('/run/app') and os.unlink('/run/app'); \
    socket.socket(socket.AF_UNIX).bind('/run/app'); os.system('touch /etc/app'); \
    s = socket.create_server(('127.0.0.1', 8080)); \
    [s.accept()[0].send(b'hello') for _ in iter(int, 1)]"
PrivateTmp=yes
"#;

fn a_service_hardened() {
    let dir = directory();
    let machine = Machine::start(dir.path(), &[("app.service", WRITER.to_owned())]);
    // The directory of the other programs can be below /tmp.
    let copy = "cp -L $(command -v python3) /usr/local/bin/rcap-python && mkdir /var/lib/rcap";
    assert_eq!(machine.run(&["sh", "-c", copy]).status, Some(0));
    machine.run(&["systemctl", "start", "app"]);
    // IPAddressDeny= drops the packets of the check.
    let check = "test \"$(timeout 1 bash -c 'cat < /dev/tcp/127.0.0.1/8080')\" = hello";
    let args = ["harden", "app", "--yes", "--json", "--write", "--settle", "100ms"];
    let args = [&args[..], &["--timeout", "5s", "--check", check]].concat();
    let found = rcap(&machine, &args);
    assert_eq!(found.status, Some(0), "{found:?}");
    let found: Value = serde_json::from_str(&found.out).unwrap();

    // The drop-in file is loaded, and the service works with it.
    let text = found["unit"]["text"].as_str().unwrap();
    assert_eq!(machine.run(&["cat", found["unit"]["path"].as_str().unwrap()]).out, text);
    assert_eq!(machine.property("app", "ActiveState"), "active");
    assert_eq!(machine.property("app", "ProtectSystem"), "strict");
    assert_eq!(machine.property("app", "ReadWritePaths"), "/run /var/lib/rcap");
    assert_eq!(machine.property("app", "RestrictAddressFamilies"), "AF_INET AF_UNIX");
    assert_eq!(machine.property("app", "RestrictNamespaces"), "yes");
    assert_eq!(bounding(&machine, "app"), "");
    let pid = machine.property("app", "MainPID");
    let status =
        machine.run(&["grep", "-E", "NoNew|CapB|Seccomp:", &format!("/proc/{pid}/status")]);
    assert_eq!(status.out, "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n");
    assert_eq!(machine.run(&["sh", "-c", check]).status, Some(0));
    let score = |when: &str| found["exposure"][when]["score"].as_f64().unwrap();
    assert!(score("before") > 9.0 && score("after") < 3.0, "{found}");

    // Each protection that was left out breaks it.
    let left_out = found["left_out"].as_array().unwrap();
    let of = |key: &str, value: &str| {
        let is_it = |one: &&Value| one["setting"] == key && one["value"] == value;
        left_out.iter().find(is_it).unwrap_or_else(|| panic!("{key}={value}: {found}"))
    };
    let strict = |paths: &str| {
        let lines = format!("ProtectSystem=strict\nReadWritePaths=\nReadWritePaths={paths}\n");
        works(&machine, "app.service", &lines, check)
    };
    // /run stays writable beside some other protections before systemd 253.
    assert!(strict("/run /var/lib/rcap") && !strict("/run"));
    let family = of("RestrictAddressFamilies", "~AF_INET");
    assert!(family["failure"].as_str().unwrap().contains("Connection refused"), "{family}");
    of("PrivateNetwork", "yes");
    for left in left_out {
        let line = |key: &str| {
            let value = left[key].as_str()?.trim_end_matches(":EPERM");
            Some(format!("{}={value}\n", left["setting"].as_str().unwrap()))
        };
        assert!(!works(&machine, "app.service", &line("value").unwrap(), check), "{left}");
        if let Some(instead) = line("instead") {
            assert!(works(&machine, "app.service", &instead, check), "{left}");
        }
    }

    // The protections stay when the capabilities are written again, and go with the file.
    machine.run(&["systemctl", "restart", "app"]);
    minimum(&machine, "app", &["--check", check, "--write"]);
    assert_eq!(machine.property("app", "ProtectSystem"), "strict");
    assert_eq!(machine.property("app", "ReadWritePaths"), "/run /var/lib/rcap");
    let undone = rcap(&machine, &["harden", "app", "--yes", "--undo"]);
    assert_eq!(undone.status, Some(0), "{undone:?}");
    assert_eq!(machine.property("app", "ProtectSystem"), "no");
    assert_eq!(machine.property("app", "ActiveState"), "active");
    assert_clean(&machine);
}

fn bounding(machine: &Machine, unit: &str) -> String {
    machine.property(unit, "CapabilityBoundingSet")
}

fn a_server_on_a_port() {
    let dir = directory();
    let machine = Machine::start(dir.path(), &web());
    machine.run(&["systemctl", "start", "web"]);
    let all = bounding(&machine, "web");
    let found = minimum(&machine, "web", &["--check", CHECK]);
    let caps = ["cap_chown", "cap_net_bind_service"];
    assert_eq!(names(&found["minimum"]), caps, "{found}");
    let both = "CapabilityBoundingSet=CAP_CHOWN CAP_NET_BIND_SERVICE\n";
    assert!(works(&machine, "web.service", both, CHECK));
    for cap in ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"] {
        let one = format!("CapabilityBoundingSet={cap}\n");
        assert!(!works(&machine, "web.service", &one, CHECK), "{cap}");
    }
    let verdict = found["verdicts"].as_array().unwrap().iter().find(|one| one["cap"] == caps[1]);
    let evidence = verdict.unwrap()["evidence"].to_string();
    assert!(evidence.contains("python3 was refused cap_net_bind_service"), "{found}");
    assert!(evidence.contains("it exits with status 1"), "{found}");
    let text = "# Written by rcap.\n[Service]\nCapabilityBoundingSet=\n\
                CapabilityBoundingSet=CAP_CHOWN CAP_NET_BIND_SERVICE\n";
    assert_eq!(found["unit"]["text"], text);
    assert_eq!(found["unit"]["path"], "/etc/systemd/system/web.service.d/50-rcap.conf");

    // The unit is as it was.
    machine.run(&["systemctl", "restart", "web"]);
    let again = minimum(&machine, "web", &["--check", CHECK]);
    assert_eq!(names(&again["minimum"]), caps);
    assert_eq!(bounding(&machine, "web"), all);
    assert_eq!(machine.property("web", "ActiveState"), "active");
    assert_clean(&machine);

    // By the command line that starts it, and for people.
    let args = ["minimize", "--yes", "--settle", "100ms", "--check", CHECK];
    let words = ["--", "systemctl", "restart", "web"];
    let printed = rcap(&machine, &[&args[..], &words].concat());
    assert!(printed.err.starts_with("Measuring web.service by restarting it."), "{printed:?}");
    assert!(printed.out.ends_with(&format!("50-rcap.conf\n{text}")), "{printed:?}");

    // In use, and without a terminal.
    let refused = rcap(&machine, &["minimize", "--unit", "web", "--check", CHECK]);
    assert_eq!(refused.status, Some(125));
    assert!(refused.err.contains("web.service: it is running"), "{refused:?}");

    // A unit that is down is down again.
    machine.run(&["systemctl", "stop", "web"]);
    let found = minimum(&machine, "web", &["--check", CHECK]);
    assert_eq!(names(&found["minimum"]), caps);
    assert_eq!(machine.property("web", "ActiveState"), "inactive");
    assert_clean(&machine);

    // A check that never succeeds.
    machine.run(&["systemctl", "start", "web"]);
    let args = ["minimize", "--yes", "--unit", "web", "--timeout", "1s", "--check", "false"];
    let failed = rcap(&machine, &args);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert!(failed.err.contains("--check 'false' fails with exit status 1"), "{failed:?}");
    assert_eq!(machine.property("web", "ActiveState"), "active");
    assert_eq!(bounding(&machine, "web"), all);
    assert_clean(&machine);
}

fn a_user_with_ambient_capabilities() {
    let dir = directory();
    let user = "User=nobody\nAmbientCapabilities=CAP_CHOWN CAP_NET_BIND_SERVICE CAP_KILL\n\
                ExecStartPre=+/bin/rm -f /run/web-file\nExecStartPre=+/bin/chmod 777 /run\n";
    let text = SERVER.replace("[Service]\n", &format!("[Service]\n{user}"));
    let machine = Machine::start(dir.path(), &[("web@.service", text)]);
    let found = minimum(&machine, "web@a\\x2db", &["--check", CHECK, "--write"]);
    let caps = ["cap_chown", "cap_net_bind_service"];
    assert_eq!(names(&found["minimum"]), caps, "{found}");
    let lines = ["Capability-", "Ambient-"].len();
    let text = found["unit"]["text"].as_str().unwrap();
    assert_eq!(
        text.lines().filter(|line| line.contains("CAP_CHOWN CAP_NET_BIND_SERVICE")).count(),
        lines
    );
    assert_eq!(machine.property("web@a\\x2db", "ActiveState"), "inactive");
    assert_clean(&machine);
    machine.run(&["systemctl", "start", "web@a\\x2db"]);
    let pid = machine.property("web@a\\x2db", "MainPID");
    let status = machine.run(&["grep", "Cap", &format!("/proc/{pid}/status")]).out;
    let sets: Vec<&str> = status.split_whitespace().collect();
    let set = "0000000000000401";
    assert_eq!(
        sets,
        ["CapInh:", set, "CapPrm:", set, "CapEff:", set, "CapBnd:", set, "CapAmb:", set]
    );
}

fn a_program_that_ends() {
    let dir = directory();
    let unit = |command: &str| format!("[Service]\nType=oneshot\nExecStart={command}\n");
    let units = [
        (
            "once.service",
            unit("/bin/sh -c 'touch /run/f && chown 5 /run/f && rm -f /run/f && exit 3'"),
        ),
        ("full.service", unit("+/bin/true")),
        ("simple.service", "[Service]\nExecStart=/bin/sleep 1000\n".to_owned()),
    ];
    let machine = Machine::start(dir.path(), &units);
    let found = minimum(&machine, "once", &["--expect", "3"]);
    assert_eq!(names(&found["minimum"]), ["cap_chown"], "{found}");
    assert_clean(&machine);
    #[rustfmt::skip]
    let rows = [
        ("once",   1,   "it exits with status 3"),
        ("full",   125, "ExecStart=+"),
        ("simple", 125, "--check"),
        ("none",   125, "no such unit"),
        ("a.socket", 125, "no such unit"),
    ];
    for (unit, status, words) in rows {
        let refused = rcap(&machine, &["minimize", "--unit", unit]);
        assert_eq!(refused.status, Some(status), "{refused:?}");
        assert!(refused.err.contains(words), "{refused:?}");
        assert_clean(&machine);
    }
}

fn the_settings_of_a_unit_verified() {
    let dir = directory();
    let with = |caps: &str| {
        SERVER.replace("[Service]\n", &format!("[Service]\nCapabilityBoundingSet={caps}\n"))
    };
    let units = [
        ("right.service", with("CAP_CHOWN CAP_NET_BIND_SERVICE")),
        ("little.service", with("CAP_CHOWN")),
        ("much.service", with("CAP_CHOWN CAP_NET_BIND_SERVICE CAP_NET_RAW")),
    ];
    let machine = Machine::start(dir.path(), &units);
    #[rustfmt::skip]
    let rows: [(&str, i32, &[&str], &[&str]); 3] = [
        ("right",  0, &[],                       &[]),
        ("little", 1, &["cap_net_bind_service"], &[]),
        ("much",   1, &[],                       &["cap_net_raw"]),
    ];
    for (unit, status, missing, superfluous) in rows {
        let args =
            ["verify", "--json", "--minimal", "--settle", "100ms", "--check", CHECK, "--unit"];
        let found = rcap(&machine, &[&args[..], &[unit]].concat());
        assert_eq!(found.status, Some(status), "{found:?}");
        let found: Value = serde_json::from_str(&found.out).unwrap();
        assert_eq!(names(&found["missing"]), missing, "{found}");
        assert_eq!(names(&found["superfluous"]), superfluous, "{found}");
        assert_clean(&machine);
    }
}

/// `--write` and `--undo`.
fn a_drop_in_that_stays() {
    let dir = directory();
    let refused = "/etc/systemd/system/picky.service.d/50-rcap.conf";
    let picky = format!("[Service]\nExecStartPre=test ! -e {refused}\nExecStart=sleep infinity\n");
    let machine = Machine::start(dir.path(), &[web(), vec![("picky.service", picky)]].concat());
    machine.run(&["systemctl", "start", "web"]);
    let all = bounding(&machine, "web");
    let file = "/etc/systemd/system/web.service.d/50-rcap.conf";
    let has_file = || machine.run(&["test", "-e", file]).status == Some(0);
    let found = minimum(&machine, "web", &["--check", CHECK, "--write"]);
    assert_eq!(found["unit"]["written"], true);
    assert_eq!(machine.run(&["cat", file]).out, found["unit"]["text"].as_str().unwrap());
    assert_eq!(bounding(&machine, "web"), "cap_chown cap_net_bind_service");
    let pid = machine.property("web", "MainPID");
    let status = machine.run(&["grep", "CapEff", &format!("/proc/{pid}/status")]);
    assert_eq!(status.out, "CapEff:\t0000000000000401\n");
    assert_clean(&machine);
    let undone = rcap(&machine, &["minimize", "--unit", "web", "--yes", "--undo"]);
    assert_eq!(undone.status, Some(0), "{undone:?}");
    assert!(!has_file());
    assert_eq!(bounding(&machine, "web"), all);
    assert_eq!(machine.property("web", "ActiveState"), "active");

    // A service that does not work with the written file alone.
    let args = ["minimize", "--yes", "--write", "--settle", "100ms"];
    let active = ["--check", "systemctl is-active picky", "--unit", "picky"];
    let failed = rcap(&machine, &[&args[..], &active].concat());
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert!(failed.err.contains("removed again: with it, "), "{failed:?}");
    assert_eq!(machine.run(&["test", "-e", refused]).status, Some(1));
    let args = [&args[..], &["--unit", "web"]].concat();
    // One that another file overrules.
    let write = "mkdir -p $(dirname $0) && printf \"$1\" > $0 && systemctl daemon-reload";
    let other = "/etc/systemd/system/web.service.d/override.conf";
    let lines = "[Service]\nCapabilityBoundingSet=CAP_CHOWN CAP_KILL CAP_NET_BIND_SERVICE\n";
    machine.run(&["sh", "-c", write, other, lines]);
    let overruled = rcap(&machine, &[&args[..], &["--check", CHECK]].concat());
    assert_eq!(overruled.status, Some(125), "{overruled:?}");
    assert!(
        overruled.err.contains("override.conf sets CapabilityBoundingSet again"),
        "{overruled:?}"
    );
    assert!(!has_file());
    machine.run(&["rm", other]);
    // One that someone else has written.
    machine.run(&["sh", "-c", write, file, "[Service]\nCapabilityBoundingSet=~CAP_KILL\n"]);
    let foreign = rcap(&machine, &[&args[..], &["--check", CHECK]].concat());
    assert_eq!(foreign.status, Some(125), "{foreign:?}");
    assert!(foreign.err.contains("was not written by rcap"), "{foreign:?}");
    assert_eq!(machine.run(&["cat", file]).out, "[Service]\nCapabilityBoundingSet=~CAP_KILL\n");
    assert_eq!(machine.property("web", "ActiveState"), "active");
    assert_clean(&machine);
}

/// systemd restores the unit, or the next rcap does.
fn a_unit_of_a_killed_rcap() {
    let dir = directory();
    let machine = Machine::start(dir.path(), &web());
    machine.run(&["systemctl", "start", "web"]);
    let all = bounding(&machine, "web");
    let is_in_trial = || {
        let drop_ins = machine.property("web", "DropInPaths");
        drop_ins.contains("zz-rcap-trial.conf") && bounding(&machine, "web") != all
    };
    let name = program("rcap").get_program().to_str().unwrap().to_owned();
    for (signal, after) in
        [(Signal::SIGKILL, "10s"), (Signal::SIGKILL, "1h"), (Signal::SIGINT, "1h")]
    {
        let args =
            ["minimize", "--yes", "--unit", "web", "--restore-after", after, "--settle", "1s"];
        let mut rcap = machine.command(&[&[&*name], &args[..], &["--check", CHECK]].concat());
        let mut child = rcap.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until(|| {
            assert_eq!(child.try_wait().unwrap(), None);
            is_in_trial()
        });
        // nsenter(1) waits for its child.
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::SIGINT {
            assert_eq!(status.code(), Some(130));
        } else if after == "1h" {
            assert!(is_in_trial());
            let found = minimum(&machine, "web", &["--check", CHECK]);
            assert_eq!(names(&found["minimum"]), ["cap_chown", "cap_net_bind_service"]);
        } else {
            wait_until(|| !is_in_trial() && machine.property("web", "ActiveState") == "active");
            wait_until(|| {
                machine.property("rcap-restore-web.service", "ActiveState") == "inactive"
            });
        }
        assert_eq!(bounding(&machine, "web"), all);
        assert_eq!(machine.property("web", "ActiveState"), "active");
        assert_clean(&machine);
    }
}

/// `rcap trace` of a unit, which is up in the end.
fn a_recording_from_the_start() {
    let dir = directory();
    let machine = Machine::start(dir.path(), &web());
    let traced = |words: &[&str]| {
        let name = program("rcap").get_program().to_str().unwrap().to_owned();
        let mut rcap = machine.command(&[&[&*name, "trace", "--json"], words].concat());
        let child = rcap.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until(|| machine.run(&["sh", "-c", CHECK]).status == Some(0));
        // nsenter(1) waits for its child.
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        (serde_json::from_slice::<Value>(&output.stdout).unwrap(), err)
    };
    let caps = ["cap_chown", "cap_net_bind_service"];
    let (report, err) = traced(&["--", "systemctl", "start", "web"]);
    assert_eq!(names(&report["candidates"]), caps, "{report}");
    assert!(err.starts_with("Recording web.service from its start."), "{err}");
    assert_eq!(machine.property("web", "ActiveState"), "active");
    assert_clean(&machine);
    let refused = rcap(&machine, &["trace", "--unit", "web", "--restart"]);
    assert!(refused.err.contains("add --yes"), "{refused:?}");
    machine.run(&["systemctl", "stop", "web"]);
    let (report, _) = traced(&["--unit", "web", "--restart", "--yes"]);
    assert_eq!(names(&report["candidates"]), caps, "{report}");
    assert_eq!(machine.property("web", "ActiveState"), "active");
    assert_clean(&machine);
    let (report, _) = traced(&["--unit", "web"]);
    let unseen = names(&report["unseen"]);
    assert!(unseen.contains(&"the start of the unit, which --restart records"), "{report}");
}

/// The report is what shows why it fails.
fn a_recording_of_a_unit_that_fails() {
    let dir = directory();
    let works = "[Service]\nType=oneshot\nExecStart=chown 5 /run\n".to_owned();
    let fails = format!("{works}CapabilityBoundingSet=~CAP_CHOWN\n");
    let machine = Machine::start(dir.path(), &[("fails.service", fails), ("works.service", works)]);
    let ran = rcap(&machine, &["trace", "--json", "--unit", "fails", "--restart", "--yes"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(names(&report["missing"]), ["cap_chown"], "{report}");
    assert!(
        ran.err.ends_with(
            "fails: it does not run with its own settings: `systemctl status` says why\n"
        ),
        "{ran:?}"
    );
    assert_clean(&machine);
    // One that succeeds has ended too.
    let ran = rcap(&machine, &["trace", "--json", "--unit", "works", "--restart", "--yes"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(names(&report["candidates"]), ["cap_chown"], "{report}");
    assert_clean(&machine);
}

fn units_that_depend_on_it() {
    let dir = directory();
    let sleep = |unit: &str| format!("[Unit]\n{unit}[Service]\nExecStart=/bin/sleep 1000\n");
    let mut units = web();
    units.push(("needs.service", sleep("Requires=web.service\nAfter=web.service\n")));
    units.push(("part.service", sleep("PartOf=web.service\n")));
    units.push(("down.service", sleep("Requires=web.service\n")));
    let machine = Machine::start(dir.path(), &units);
    machine.run(&["systemctl", "start", "needs", "part"]);
    for options in [&["--check", CHECK][..], &["--check", CHECK, "--write"]] {
        minimum(&machine, "web", options);
        for (unit, state) in
            [("web", "active"), ("needs", "active"), ("part", "active"), ("down", "inactive")]
        {
            assert_eq!(machine.property(unit, "ActiveState"), state, "{unit}");
        }
        assert_clean(&machine);
    }
}
