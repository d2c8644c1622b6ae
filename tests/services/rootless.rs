//! `rcap minimize --rootless --unit`: the answer is applied by hand, as a whole and with each less.

use std::process::Stdio;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    assert_clean,
    common::{directory, program, systemd::Machine, wait_until},
    names, rcap,
};

/// A server that reads a key of root's, writes a file in /run and one in a directory of root's, and
/// becomes another user before it listens on a port.
fn server(port: u16) -> String {
    format!(
        r#"[Service]
ExecStart=python3 -c "import os, socket; \
    open('/etc/rcap-key').read(); open('/run/web.pid', 'w').write(str(os.getpid())); \
    open('/srv/rcap/state', 'a').write('x'); \
    os.path.exists('/srv/rcap/x') and os.unlink('/srv/rcap/x'); \
    s = socket.create_server(('127.0.0.1', {port})); \
    os.getuid() or (os.setgroups([]), os.setgid(33), os.setuid(33)); \
    [s.accept()[0].send(b'hello') for _ in iter(int, 1)]"
ExecStopPost=+rm -f /run/web.pid
"#
    )
}

/// The check sees the file that the server has written.
fn check(port: u16) -> String {
    format!(
        "test \"$(bash -c 'cat < /dev/tcp/127.0.0.1/{port}')\" = hello && \
         test \"$(cat /run/web.pid)\" = \"$(systemctl show --property=MainPID --value web)\""
    )
}

/// Starts a machine with the server and its files.
fn machine(dir: &std::path::Path, port: u16) -> Machine {
    let machine = Machine::start(dir, &[("web.service", server(port))]);
    let files = "umask 077; echo key > /etc/rcap-key; mkdir -p /srv/rcap; echo 1 > /srv/rcap/state";
    assert_eq!(machine.run(&["sh", "-c", files]).status, Some(0));
    machine
}

fn found(machine: &Machine, port: u16) -> (Option<i32>, Value) {
    let args = ["minimize", "--rootless", "--json", "--unit", "web", "--yes", "--settle", "100ms"];
    let ran = rcap(machine, &[&args[..], &["--check", &check(port)]].concat());
    (ran.status, serde_json::from_str(&ran.out).unwrap_or_else(|err| panic!("{err}: {ran:?}")))
}

/// The files of the machine that the server uses.
fn files(machine: &Machine) -> String {
    let script = "stat -c '%n %u %g %a' /etc/rcap-key /srv/rcap /srv/rcap/* /run/*.pid
        ls -d /var/lib/rcap-trial*";
    machine.run(&["sh", "-c", script]).out
}

pub(super) fn a_service_without_capabilities() {
    let dir = directory();
    let machine = machine(dir.path(), 8080);
    machine.run(&["systemctl", "start", "web"]);
    wait_until(|| machine.run(&["sh", "-c", &check(8080)]).status == Some(0));
    let before = files(&machine);
    let (status, found) = found(&machine, 8080);
    assert_eq!(status, Some(0), "{found}");
    assert_eq!((&found["user"]["name"], &found["works"]), (&"www-data".into(), &true.into()));
    assert_eq!(found["user"]["origin"], "the user that its processes become");
    let changes: Vec<&str> = found["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["words"].as_str().unwrap())
        .collect();
    let want = [
        "the user owns /etc/rcap-key",
        "the user owns /srv/rcap",
        "the user owns /srv/rcap/state",
        "the file /run/web.pid exists, and the user owns it",
    ];
    assert_eq!(changes, want, "{found}");
    // It runs as before, with the files as they were.
    wait_until(|| machine.run(&["sh", "-c", &check(8080)]).status == Some(0));
    assert_eq!(machine.property("web", "User"), "");
    assert_clean(&machine);

    // By hand: the service works with the printed lines.
    let text = |key: &str| found[key]["text"].as_str().unwrap().to_owned();
    let path = |key: &str| found[key]["path"].as_str().unwrap().to_owned();
    assert_eq!(text("tmpfiles"), "f /run/web.pid 0644 www-data www-data\n");
    let command = "chown -h www-data:www-data /srv/rcap/state /srv/rcap /etc/rcap-key";
    assert_eq!(found["commands"], serde_json::json!([command]));
    assert_eq!(before.lines().count(), 4, "{before}");
    let write = "mkdir -p \"$(dirname \"$1\")\"; printf '%s' \"$2\" > \"$1\"";
    let works = |command: &str, tmpfiles: &str| {
        let script = "systemctl stop web; chown -R 0:0 /etc/rcap-key /srv/rcap; rm -f /run/web.pid
            eval \"$2\"; systemd-tmpfiles --create \"$0\"
            systemctl reset-failed web; systemctl start web
            for _ in 1 2 3 4 5 6 7 8 9 10; do sh -c \"$1\" 2>/dev/null && exit; sleep 0.1; done; false";
        machine.run(&["sh", "-c", write, "-", &path("tmpfiles"), tmpfiles]);
        let words = ["sh", "-c", script, &path("tmpfiles"), &check(8080), command];
        machine.run(&words).status == Some(0)
    };
    machine.run(&["sh", "-c", write, "-", &path("unit"), &text("unit")]);
    machine.run(&["systemctl", "daemon-reload"]);
    assert!(!works(command, ""));
    for path in ["/srv/rcap/state", "/srv/rcap", "/etc/rcap-key"] {
        let less = format!("{command} ").replace(&format!(" {path} "), " ");
        assert!(!works(&less, &text("tmpfiles")), "without {path}");
    }
    assert!(works(command, &text("tmpfiles")));
    let pid = machine.property("web", "MainPID");
    let status = machine.run(&["grep", "-E", "^(Uid|Cap|NoNew)", &format!("/proc/{pid}/status")]);
    let none = "0000000000000000";
    let want = format!(
        "Uid:\t33\t33\t33\t33\nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\n\
         CapBnd:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t1\n"
    );
    assert_eq!(status.out, want);
}

/// A port below 1024 stays closed to other users of the machine.
pub(super) fn a_service_that_keeps_a_capability() {
    let dir = directory();
    let machine = machine(dir.path(), 80);
    let (status, found) = found(&machine, 80);
    assert_eq!(status, Some(1), "{found}");
    assert_eq!(found["works"], true, "{found}");
    assert_eq!(names(&found["minimum"]), ["cap_net_bind_service"], "{found}");
    let text = found["unit"]["text"].as_str().unwrap();
    assert!(text.contains("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"), "{text}");
    assert_eq!(machine.property("web", "ActiveState"), "inactive");
    assert_clean(&machine);
}

/// Units and options with which no user could be tried.
pub(super) fn units_without_another_user() {
    let units = [
        ("root.service", "[Service]\nType=oneshot\nExecStart=true\n"),
        ("kept.service", "[Service]\nType=oneshot\nUser=daemon\nExecStart=!true\n"),
        ("all.service", "[Service]\nType=oneshot\nExecStart=+true\n"),
        ("some.service", "[Service]\nType=oneshot\nExecStart=+true --flags=x\nExecStart=true\n"),
        ("state.service", "[Service]\nType=oneshot\nStateDirectory=rcap-state\nExecStart=true\n"),
        ("moved.service", "[Service]\nType=oneshot\nRootDirectory=/\nExecStart=true\n"),
        ("dynamic.service", "[Service]\nType=oneshot\nDynamicUser=yes\nExecStart=true\n"),
    ];
    let dir = directory();
    let machine = Machine::start(dir.path(), &units.map(|(name, text)| (name, text.to_owned())));
    // systemd would change the owner of what is below it too.
    let make =
        "mkdir -p /var/lib/rcap-state; : > /var/lib/rcap-state/x; chown 1 /var/lib/rcap-state/x";
    assert_eq!(machine.run(&["sh", "-c", make]).status, Some(0));
    #[rustfmt::skip]
    let rows: [(&[&str], &str); 11] = [
        (&["root"],                        "it has no user but root"),
        (&["root", "--user", "root"],      "the user of --user is root"),
        (&["root", "--user", "nobody-is"], "the user nobody-is has no entry in /etc/passwd"),
        (&["kept"],                        "ExecStart=! runs the program as root"),
        (&["all"],                         "ExecStart=+ runs the program with every capability"),
        (&["some"],                        "ExecStart=+ runs the program with every capability"),
        (&["state", "--user", "daemon"],   "systemd would give /var/lib/rcap-state (StateDirectory=) to daemon"),
        (&["moved"],                       "it has a root directory of its own"),
        (&["dynamic", "--user", "daemon"], "it has a user of its own"),
        (&["root", "--user", "a:b"],       "--user with a group cannot be used with --rootless"),
        (&["root", "--write"],             "--write cannot be used with --rootless"),
    ];
    for (words, want) in rows {
        let ran = rcap(&machine, &[&["minimize", "--rootless", "--unit"], words].concat());
        assert!(ran.err.contains(want) && ran.status == Some(125), "{words:?}: {ran:?}");
    }
    let owner = machine.run(&["stat", "-c", "%u", "/var/lib/rcap-state/x"]);
    assert_eq!(owner.out, "1\n");
    let ran = rcap(&machine, &["minimize", "--rootless", "--unit", "root", "--user", "daemon"]);
    assert!(ran.out.starts_with("As daemon (1:1), the user of --user: it works"), "{ran:?}");
    assert_clean(&machine);
}

/// systemd removes the copies and the files on which they are mounted.
pub(super) fn copies_of_a_killed_rcap() {
    let dir = directory();
    let machine = machine(dir.path(), 8080);
    let before = files(&machine);
    let name = program("rcap").get_program().to_str().unwrap().to_owned();
    let args =
        ["minimize", "--rootless", "--unit", "web", "--restore-after", "5s", "--settle", "1s"];
    let mut rcap = machine.command(&[&[&*name], &args[..], &["--check", &check(8080)]].concat());
    let mut child = rcap.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until(|| {
        assert_eq!(child.try_wait().unwrap(), None);
        machine
            .run(&[
                "test",
                "-e",
                "/run/web.pid",
                "-a",
                "-e",
                "/var/lib/rcap-trial-web.service/created",
            ])
            .status
            == Some(0)
            && machine.property("web", "User") == "www-data"
    });
    // nsenter(1) waits for its child.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let pid = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    wait_until(|| machine.property("web", "User").is_empty() && files(&machine) == before);
    wait_until(|| machine.property("rcap-restore-web.service", "ActiveState") == "inactive");
    assert_eq!(machine.property("web", "ActiveState"), "inactive");
    assert_clean(&machine);
}
