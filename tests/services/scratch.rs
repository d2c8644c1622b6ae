//! Units in the place of which another one runs, and units of users.

use serde_json::Value;

use super::{
    CHECK, SERVER, assert_clean,
    common::{directory, program, systemd::Machine, wait_until},
    minimum, names, rcap, web,
};

/// Units that systemd-run would start.
pub(super) fn a_service_of_systemd_run() {
    let dir = directory();
    let machine = Machine::start(dir.path(), &[]);
    let measured = |options: &[&str], words: &[&str]| {
        let args = [&["minimize", "--json", "--settle", "100ms"], options, &["--"], words].concat();
        let found = rcap(&machine, &args);
        assert_eq!(found.status, Some(0), "{found:?}");
        serde_json::from_str::<Value>(&found.out).unwrap()
    };
    // One that ends, whose command has a semicolon.
    let script = "touch /run/f; chown 5 /run/f && rm -f /run/f";
    let found =
        measured(&[], &["systemd-run", "--wait", "--service-type=oneshot", "sh", "-c", script]);
    assert_eq!(names(&found["minimum"]), ["cap_chown"], "{found}");
    let command = format!(
        "systemd-run --wait '--service-type=oneshot' -p 'CapabilityBoundingSet=' \
         -p 'CapabilityBoundingSet=CAP_CHOWN' sh -c '{script}'"
    );
    assert_eq!(found["unit"]["command"], command);
    let run = |words: &str| machine.run(&["sh", "-c", words]).status;
    // There is no bus, which --wait requires. A program of this type is waited for without.
    let command = command.replace(" --wait", "");
    assert_eq!(run(&command), Some(0));
    assert_ne!(run(&command.replace("=CAP_CHOWN", "=CAP_KILL")), Some(0));
    machine.run(&["systemctl", "reset-failed"]);
    assert_clean(&machine);
    // A server with ambient capabilities, and an option that adds to them.
    let words = "systemd-run --unit=web -p User=nobody -p AmbientCapabilities=CAP_KILL -p \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE -- python3 -m http.server -d / 80";
    let words: Vec<&str> = words.split_whitespace().collect();
    let check = "bash -c 'echo > /dev/tcp/127.0.0.1/80'";
    let found = measured(&["--check", check], &words);
    assert_eq!(names(&found["minimum"]), ["cap_net_bind_service"], "{found}");
    assert_clean(&machine);
    assert_eq!(run(found["unit"]["command"].as_str().unwrap()), Some(0));
    wait_until(|| run(check) == Some(0));
    let pid = machine.property("web", "MainPID");
    let status = machine.run(&["grep", "-E", "CapPrm|CapBnd", &format!("/proc/{pid}/status")]);
    assert_eq!(status.out, "CapPrm:\t0000000000000400\nCapBnd:\t0000000000000400\n");
    machine.run(&["systemctl", "stop", "web"]);
    // The recording is that of the service, and not of the client.
    let words = ["systemd-run", "--wait", "sh", "-c", script];
    let traced = rcap(&machine, &[&["trace", "--json", "--"], &words[..]].concat());
    let report: Value = serde_json::from_str(&traced.out).unwrap();
    assert_eq!(names(&report["candidates"]), ["cap_chown"], "{report}");
    assert_clean(&machine);
    #[rustfmt::skip]
    let rows: [(&[&str], i32, &str); 3] = [
        (&["--", "systemd-run", "--on-active=5", "id"], 125, "starts the service later"),
        (&["--", "systemd-run", "-p", "A=b", "id"],     125, "systemd-run"),
        (&["--write", "--", "systemd-run", "id"],       125, "--write"),
    ];
    for (words, status, message) in rows {
        let refused = rcap(&machine, &[&["minimize"], words].concat());
        assert_eq!(refused.status, Some(status), "{refused:?}");
        assert!(refused.err.contains(message), "{refused:?}");
        assert_clean(&machine);
    }
}

/// A server with a state directory and a socket, of which a copy is measured.
const STATEFUL: &str = r#"[Service]
ExecStart=python3 -c "import os, socket; os.path.exists('/run/app/s') and os.unlink('/run/app/s'); \
    open('/var/lib/app/count', 'a').write('x'); u = socket.socket(socket.AF_UNIX); \
    u.bind('/run/app/s'); u.listen(); os.chown('/run/app/s', 5, 5); \
    s = socket.create_server(('127.0.0.1', 80)); \
    [s.accept()[0].send(open('/var/lib/app/count').read().encode()) for _ in iter(int, 1)]"
StateDirectory=app
RuntimeDirectory=app
"#;

pub(super) fn a_copy_of_a_unit() {
    let dir = directory();
    let mut units = web();
    units.push(("app.service", STATEFUL.to_owned()));
    let named = STATEFUL.replace("StateDirectory=app", "StateDirectory=%p");
    units.push(("named.service", named));
    let machine = Machine::start(dir.path(), &units);
    machine.run(&["systemctl", "start", "app"]);
    let pid = machine.property("app", "MainPID");
    let state = || machine.run(&["cat", "/var/lib/app/count"]).out;
    wait_until(|| state() == "x");
    // The check is run in the network and with the files of the copy: its state goes on from there.
    let check = "test -S /run/app/s && test \"$(bash -c 'cat < /dev/tcp/127.0.0.1/80')\" != x";
    let args =
        ["minimize", "--json", "--copy", "--settle", "100ms", "--unit", "app", "--check", check];
    let found = rcap(&machine, &args);
    assert_eq!(found.status, Some(0), "{found:?}");
    let found: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(names(&found["minimum"]), ["cap_chown", "cap_net_bind_service"], "{found}");
    assert_eq!(found["unit"]["path"], "/etc/systemd/system/app.service.d/50-rcap.conf");
    // The unit is the same process with the same state, and nothing is left of the copy.
    assert_eq!(machine.property("app", "MainPID"), pid);
    assert_eq!(state(), "x");
    let left = machine.run(&["sh", "-c", "ls -d /var/lib/rcap* /run/rcap*"]);
    assert_eq!(left.out, "");
    assert_clean(&machine);
    // Without capabilities, the copy does not work, although the unit does.
    let args = ["--copy", "--settle", "100ms", "--timeout", "2s", "--unit", "app"];
    let check = "bash -c 'cat < /dev/tcp/127.0.0.1/80' && false";
    let failed = rcap(&machine, &[&["minimize"], &args[..], &["--check", check]].concat());
    assert_eq!(failed.status, Some(1), "{failed:?}");
    #[rustfmt::skip]
    let rows = [
        ("named", 125, "its settings contain its own name"),
        // It writes to /run, which is not one of its directories.
        ("web",   1,   "with all capabilities it exits with status 1"),
    ];
    for (unit, status, words) in rows {
        let args = ["minimize", "--copy", "--unit", unit, "--check", CHECK];
        let refused = rcap(&machine, &args);
        assert_eq!(refused.status, Some(status), "{refused:?}");
        assert!(refused.err.contains(words), "{refused:?}");
        assert_eq!(machine.property("app", "MainPID"), pid);
        assert_clean(&machine);
    }
}

/// The manager of a user, who is root here.
pub(super) fn a_unit_of_a_user() {
    let dir = directory();
    let manager = "[Service]\nType=notify\nDelegate=yes\nRuntimeDirectory=own\n\
        Environment=XDG_RUNTIME_DIR=/run/own HOME=/root\n\
        ExecStartPre=mkdir -p /run/own/systemd/user\n\
        ExecStartPre=cp /usr/lib/systemd/system/app.unit /run/own/systemd/user/app.service\n\
        ExecStart=systemd --user --unit=basic.target\n";
    let units = [("manager.service", manager.to_owned()), ("app.unit", SERVER.to_owned())];
    let machine = Machine::start(dir.path(), &units);
    let program = program("rcap").get_program().to_str().unwrap().to_owned();
    let user = |words: &[&str]| {
        let env = ["env", "XDG_RUNTIME_DIR=/run/own", "HOME=/root"];
        machine.run(&[&env, words].concat())
    };
    assert_eq!(machine.run(&["systemctl", "start", "manager"]).status, Some(0));
    assert_eq!(user(&["systemctl", "--user", "start", "app"]).status, Some(0));
    let pid = || user(&["systemctl", "--user", "show", "-P", "MainPID", "app"]).out;
    let first = pid();
    let args = ["minimize", "--json", "--yes", "--write", "--settle", "100ms", "--check", CHECK];
    let found = user(&[&[&*program], &args[..], &["--user-unit", "app"]].concat());
    assert_eq!(found.status, Some(0), "{found:?}");
    let found: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(names(&found["minimum"]), ["cap_chown", "cap_net_bind_service"], "{found}");
    let path = "/root/.config/systemd/user/app.service.d/50-rcap.conf";
    assert_eq!(found["unit"]["path"], path);
    assert_ne!(pid(), first);
    let status = machine.run(&["grep", "CapEff", &format!("/proc/{}/status", pid().trim())]);
    assert_eq!(status.out, "CapEff:\t0000000000000401\n");
    let words = ["--", "systemctl", "--user", "restart", "app"];
    let again = user(&[&[&*program], &args[..], &words].concat());
    assert_eq!(again.status, Some(0), "{again:?}");
    let undone = user(&[&*program, "minimize", "--user-unit", "app", "--yes", "--undo"]);
    assert_eq!(undone.status, Some(0), "{undone:?}");
    assert_ne!(machine.run(&["test", "-e", path]).status, Some(0));
    let left = machine.run(&["ls", "/run/own/systemd/user"]);
    assert_eq!(left.out, "app.service\n");
    machine.run(&["systemctl", "stop", "manager"]);
}

pub(super) fn a_dynamic_user() {
    let dir = directory();
    let text = SERVER.replace("/run/web-file", "/run/app/file").replace(
        "[Service]\n",
        "[Service]\nDynamicUser=yes\nRuntimeDirectory=app\n\
         AmbientCapabilities=CAP_CHOWN CAP_NET_BIND_SERVICE CAP_KILL\n",
    );
    let machine = Machine::start(dir.path(), &[("app.service", text)]);
    let found = minimum(&machine, "app", &["--check", CHECK, "--write"]);
    assert_eq!(names(&found["minimum"]), ["cap_chown", "cap_net_bind_service"], "{found}");
    machine.run(&["systemctl", "start", "app"]);
    let pid = machine.property("app", "MainPID");
    let status = machine.run(&["grep", "-E", "Uid|CapAmb", &format!("/proc/{pid}/status")]).out;
    assert!(!status.starts_with("Uid:\t0") && status.contains("0000000000000401"), "{status}");
    assert_clean(&machine);
}
