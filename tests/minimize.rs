//! `rcap minimize` on real programs.

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use common::{Ran, directory, program, ran, wait_until, which};
use serde_json::{Value, json};

tests! {
    Nothing:
        usage;
    Tracing:
        a_file_is_given_away,
        nothing_is_needed,
        a_removed_file_of_another,
        it_fails_with_everything,
        a_program_that_is_flaky,
        refused_and_yet_it_ends_well,
        the_same_output,
        every_run_begins_anew,
        an_overlay_is_thrown_away,
        kept_and_dropped,
        interrupted,
        a_set_uid_program;
    Tracing ["setsid"]:
        a_daemon_that_forks_twice;
    Tracing ["python3"]:
        a_hundred_threads;
    Tracing ["ip nc unshare"]:
        netcat_on_port_80,
        netcat_where_any_port_may_be_bound,
        netcat_as_another_user;
    Tracing ["ip ping unshare"]:
        ping;
    Tracing ["ping tcpdump"]:
        tcpdump;
}

/// Cargo has programs look for their libraries in directories that other users may not enter, and
/// each would be refused that.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

fn minimize(args: &[&str]) -> Ran {
    let mut command = program("rcap");
    command.arg("minimize");
    // Its own limit is a multiple of the first run, and the machine may be busy later.
    if !args.contains(&"--timeout") {
        command.args(LONG);
    }
    ran(command.args(args).stdin(Stdio::null()).env_remove(LIBRARIES))
}

const LONG: [&str; 2] = ["--timeout", "10m"];

/// The object, and the names of the minimum.
fn minimum(args: &[&str]) -> (Value, Vec<String>) {
    let ran = minimize(&[&["--json"], args].concat());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let object: Value = serde_json::from_str(&ran.out).unwrap();
    let names = object["minimum"].as_array().unwrap();
    let names = names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    (object, names)
}

fn file_in(dir: &Path) -> String {
    let file = dir.join("file");
    fs::write(&file, "text\n").unwrap();
    file.to_str().unwrap().to_owned()
}

fn usage() {
    for args in
        [&[][..], &["--keep", "cap_nothing", "true"], &["--repeat", "0", "true"], &["--nonsense"]]
    {
        let ran = minimize(args);
        assert_eq!((ran.status, &*ran.out), (Some(125), ""), "{args:?}");
        assert!(!ran.err.is_empty());
    }
    assert!(minimize(&["--help"]).out.contains("rcap minimize -- ping"));
}

fn a_file_is_given_away() {
    let dir = directory();
    let file = file_in(dir.path());
    let ran = minimize(&["--", "chown", "1000", &file]);
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    assert!(ran.out.starts_with("Minimum: cap_chown\n\ncap_chown  needed: without it, exit status 1, not exit status 0: chown: "), "{}", ran.out);
    assert!(ran.out.contains("and chown was refused cap_chown: change the owner, mode or times of a file (fchownat = EPERM)"), "{}", ran.out);
    let settings = minimize(&["--to", "docker", "--", "chown", "1002", &file]).out;
    let want = "\n\n--cap-drop=ALL --cap-add=CHOWN --security-opt=no-new-privileges\n";
    assert!(settings.ends_with(want), "{settings}");
    let (object, _) = minimum(&["--", "chown", "1001", &file]);
    assert_eq!(object["schema"], 1);
    assert_eq!(object["command"][0], "chown");
    assert_eq!(object["proved"], true);
    assert_eq!(object["verdicts"][0]["needed"], true);
    assert_eq!(object["verdicts"][0]["failures"][0]["kind"], "exit");
    // With all, with the candidate, and without it.
    let sets = object["runs"].as_array().unwrap().iter().map(|run| run["set"].clone());
    let sets: Vec<Value> = sets.skip(1).collect();
    assert_eq!(sets, [json!(["cap_chown"]), json!([])]);
}

fn nothing_is_needed() {
    let (object, names) = minimum(&["true"]);
    assert!(names.is_empty());
    assert_eq!(object["runs"].as_array().unwrap().len(), 2);
}

/// Runs in a network of its own, where no port is taken, and leaves the machine's alone.
fn netcat(dir: &Path, setting: &str, args: &[&str]) -> Ran {
    let copy = dir.join("nc");
    fs::copy(which("nc").unwrap(), &copy).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let rcap = program("rcap").get_program().to_owned();
    let script = format!(
        "ip link set lo up; {setting}; exec \"$0\" minimize --timeout 10m --check 'echo | {0} -N 127.0.0.1 80' \"$@\" -- {0} -l -p 80",
        copy.display()
    );
    let mut command = Command::new("unshare");
    ran(command.args(["-n", "sh", "-c", &script]).arg(rcap).args(args).env_remove(LIBRARIES))
}

fn netcat_on_port_80() {
    let dir = directory();
    let ran = netcat(dir.path(), "true", &[]);
    assert!(ran.out.starts_with("Minimum: cap_net_bind_service\n"), "{ran:?}");
    assert!(ran.out.contains("Permission denied\n"), "{ran:?}");
    assert!(ran.out.contains("bind a port below 1024 (bind = EACCES)"), "{ran:?}");
}

fn netcat_where_any_port_may_be_bound() {
    let dir = directory();
    let ran = netcat(dir.path(), "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start", &[]);
    assert!(ran.out.starts_with("Minimum: none\n"), "{ran:?}");
}

fn netcat_as_another_user() {
    let dir = directory();
    let ran = netcat(dir.path(), "true", &["--user", "nobody", "--no-new-privs"]);
    assert!(ran.out.starts_with("Minimum: cap_net_bind_service\n"), "{ran:?}");
}

/// In a directory that is another's, that is the right to write there; and if it is sticky, to
/// do as the owner of the file.
fn a_removed_file_of_another() {
    for (mode, want) in [(0o755, "cap_dac_override"), (0o1777, "cap_fowner")] {
        let dir = directory();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).unwrap();
        chown(&inner, Some(1000), Some(1000)).unwrap();
        let file = inner.join("file");
        let reset = format!("touch {0} && chown 1000 {0}", file.display());
        let (_, names) = minimum(&["--reset", &reset, "--", "rm", file.to_str().unwrap()]);
        assert_eq!(names, [want], "{mode:o}");
    }
}

fn it_fails_with_everything() {
    assert_eq!(minimize(&["/nonexistent"]).status, Some(127));
    let late = minimize(&["--timeout", "200ms", "--", "sleep", "100"]);
    assert_eq!(late.status, Some(1));
    assert!(late.err.contains("did not end in time"), "{late:?}");
    let killed = minimize(&["--", "sh", "-c", "kill -9 $$"]);
    assert!(killed.err.contains("was ended by a signal"), "{killed:?}");
    let check = minimize(&["--check", "false", "--", "true"]);
    assert!(check.err.contains("did not do what --check asks for"), "{check:?}");
    let reset = minimize(&["--reset", "exit 3", "true"]);
    assert!(reset.err.contains("--reset failed: exit status 3"), "{reset:?}");
}

fn a_program_that_is_flaky() {
    let dir = directory();
    let file = file_in(dir.path());
    // Every other run ends in another way.
    let script = format!("if test -s {file}; then : > {file}; exit 1; else echo x > {file}; fi");
    let ran = minimize(&["--repeat", "3", "--", "sh", "-c", &script]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.err.contains("does not do the same each time"), "{ran:?}");
}

fn refused_and_yet_it_ends_well() {
    let dir = directory();
    let file = file_in(dir.path());
    let script = format!("chown 1000 {file} 2>/dev/null; true");
    let (_, names) = minimum(&["--", "sh", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
    let ran = minimize(&["--no-strict", "--", "sh", "-c", &script]);
    assert!(ran.out.starts_with("Minimum: none\n"), "{ran:?}");
    assert!(ran.out.contains("It passed so, and yet:\n  chown was refused cap_chown"), "{ran:?}");
}

fn the_same_output() {
    let dir = directory();
    let file = file_in(dir.path());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&file, Some(1000), Some(1000)).unwrap();
    let script = format!("cat {file} 2>/dev/null; true");
    let args = ["--no-strict", "--", "sh", "-c", &script];
    assert!(minimum(&args).1.is_empty());
    assert_eq!(minimum(&[&["--same-output"], &args[..]].concat()).1, ["cap_dac_read_search"]);
}

fn every_run_begins_anew() {
    let dir = directory();
    let file = file_in(dir.path());
    // A second time, there is nothing to do: the first run would be the only one to show a need.
    let script = format!("test $(stat -c %u {file}) = 1000 || chown 1000 {file}");
    let reset = format!("chown 0 {file}");
    assert!(minimum(&["--", "sh", "-c", &script]).1.is_empty());
    assert_eq!(minimum(&["--reset", &reset, "--", "sh", "-c", &script]).1, ["cap_chown"]);
}

fn an_overlay_is_thrown_away() {
    let dir = directory();
    let file = file_in(dir.path());
    chown(&file, Some(0), Some(0)).unwrap();
    let script = format!(
        "test $(stat -c %u {file}) = 1000 && exit 1; chown 1000 {file}; mkdir {}/new",
        dir.path().display()
    );
    assert_eq!(minimum(&["--overlay", "--", "sh", "-c", &script]).1, ["cap_chown"]);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&file).unwrap());
    assert_eq!(owner, 0);
    assert!(!dir.path().join("new").exists());
}

fn kept_and_dropped() {
    let dir = directory();
    let file = file_in(dir.path());
    let (object, names) = minimum(&["--keep", "NET_RAW,kill", "--", "chown", "1000", &file]);
    assert_eq!(names, ["cap_chown", "cap_kill", "cap_net_raw"]);
    assert!(
        object["runs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|run| run["set"].as_array().unwrap().contains(&json!("cap_kill")))
    );
    let (object, names) = minimum(&["--drop", "chown", "--", "chown", "1001", &file]);
    assert!(names.is_empty());
    assert_eq!(object["runs"][0]["exit"]["code"], 1);
}

fn interrupted() {
    let dir = directory();
    let file = dir.path().join("file");
    let mut child = program("rcap")
        .args(["minimize", "--json", "--timeout", "10h", "--", "sh", "-c"])
        // The second run, with nothing, would take hours, and does not learn of the signal.
        .args([&format!(
            "test -e {0} && {{ touch {0}2; exec sleep 10000; }}; touch {0}; nice -n -5 true",
            file.display()
        )])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| dir.path().join("file2").exists());
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    let mut out = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut out).unwrap();
    assert_eq!(status.code(), Some(130), "{out}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["proved"], false);
}

fn a_hundred_threads() {
    let dir = directory();
    let file = file_in(dir.path());
    let script = format!(
        "import os, threading\n\
         ts = [threading.Thread(target=os.chown, args=('{file}', 1000, 1000)) for _ in range(100)]\n\
         [t.start() for t in ts]; [t.join() for t in ts]\n\
         os._exit(0 if os.stat('{file}').st_uid == 1000 else 1)\n"
    );
    let reset = format!("chown 0 {file}");
    let (_, names) = minimum(&["--reset", &reset, "--", "python3", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
}

fn a_daemon_that_forks_twice() {
    let dir = directory();
    let file = file_in(dir.path());
    // The parent has long ended when the daemon does its work.
    let script = format!("(setsid sh -c 'sleep 0.2; chown 1000 {file}' >/dev/null 2>&1 &) &");
    let (_, names) = minimum(&["--", "sh", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
}

/// A user becomes root by the file's bit, and root is what the bounding set allows.
fn a_set_uid_program() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = file_in(dir.path());
    let copy = dir.path().join("chown");
    fs::copy(which("chown").unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let (_, names) = minimum(&["--user", "nobody", "--", copy.to_str().unwrap(), "1000", &file]);
    assert_eq!(names, ["cap_chown"]);
    // With no-new-privs the bit does nothing, and what is ambient does it.
    let copy = copy.to_str().unwrap();
    let (_, names) = minimum(&["--user", "nobody", "--no-new-privs", "--", copy, "1001", &file]);
    assert_eq!(names, ["cap_chown"]);
}

/// A copy without the capabilities that Debian gives the file, and where no group may do without;
/// and then where every group may.
fn ping() {
    let dir = directory();
    let copy = dir.path().join("ping");
    fs::copy(which("ping").unwrap(), &copy).unwrap();
    for (groups, want) in [("1 0", "Minimum: cap_net_raw\n"), ("0 2147483647", "Minimum: none\n")] {
        let script = format!(
            "ip link set lo up; echo {groups} > /proc/sys/net/ipv4/ping_group_range; \
             exec \"$0\" minimize --timeout 10m -- {} -c 1 127.0.0.1",
            copy.display()
        );
        let rcap = program("rcap").get_program().to_owned();
        let ran = ran(Command::new("unshare").args(["-n", "sh", "-c", &script]).arg(rcap));
        assert!(ran.out.starts_with(want), "{ran:?}");
    }
    // With them, it is not even executed.
    assert_eq!(common::run(dir.path(), "setcap", ["cap_net_raw=ep", "ping"]).status, Some(0));
    let ran = minimize(&["--", copy.to_str().unwrap(), "-c", "1", "127.0.0.1"]);
    assert!(
        ran.out.contains(
            "it could not be executed: Operation not permitted, as its file has cap_net_raw=ep"
        ),
        "{ran:?}"
    );
}

fn tcpdump() {
    let dir = directory();
    let [file, over] = ["packets", "over"].map(|name| dir.path().join(name));
    let script = format!(
        "(until test -e {1}; do ping -c 1 127.0.0.1; done) >/dev/null 2>&1 & \
         tcpdump -i lo -c 1 -w {0}; ended=$?; touch {1}; wait; exit $ended",
        file.display(),
        over.display()
    );
    let reset = format!("rm -f {} {}", file.display(), over.display());
    let args = ["--keep", "net_raw", "--reset", &reset, "--", "sh", "-c", &script];
    let (object, names) = minimum(&args);
    // It becomes another user, who is given the file.
    assert_eq!(names, ["cap_chown", "cap_setgid", "cap_setuid", "cap_net_raw"], "{object}");
}
