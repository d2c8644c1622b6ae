//! `rcap why` beside what the kernel then does, and settings of other systems, compared and
//! converted.

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use common::{Ran, directory, program, ran, which};
use serde_json::Value;

tests! {
    Nothing:
        usage,
        sources_that_differ,
        converted;
    Root:
        a_file_that_demands_more_than_there_is,
        a_script_and_its_interpreter,
        ambient_and_a_file_with_empty_capabilities,
        who_may_not_execute_it,
        a_user_of_a_container,
        a_process_that_runs;
    Root ["setpriv"]:
        what_no_new_privs_takes;
}

fn why(args: &[&str]) -> Ran {
    ran(program("rcap").arg("why").args(args).stdin(Stdio::null()))
}

fn json(args: &[&str]) -> Value {
    let ran = why(&[&["--json"], args].concat());
    serde_json::from_str(&ran.out).unwrap_or_else(|err| panic!("{err}: {ran:?}"))
}

/// A copy of a program that shows its sets, with these capabilities.
fn copy(dir: &Path, caps: &str) -> String {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.join("show");
    fs::copy(which("cat").unwrap(), &path).unwrap();
    let set = ran(program("setcap").args(["-q", caps]).arg(&path));
    assert_eq!(set.status, Some(0), "{set:?}");
    path.display().to_string()
}

fn usage() {
    for args in [
        &[][..],
        &["--pid", "x"],
        &["--pid", "1", "--user", "root", "true"],
        &["/nonexistent"],
        &["--from", "/nonexistent/file", "true"],
        &["--user", "no such user", "true"],
        &["no-such-program"],
    ] {
        let ran = why(args);
        assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{args:?}: {ran:?}");
        assert!(!ran.err.is_empty());
    }
    assert!(why(&["--help"]).out.contains("rcap why --user nobody"));
}

fn a_file_that_demands_more_than_there_is() {
    let dir = directory();
    let path = copy(dir.path(), "cap_net_raw=ep");
    let ran = why(&["--from", "--cap-drop=ALL", &path]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.out.contains("execve(2) fails, Operation not permitted"), "{}", ran.out);
    assert!(ran.out.contains("demands cap_net_raw, which the bounding set lacks"), "{}", ran.out);
    assert!(ran.out.contains("Do: Give the bounding set cap_net_raw"), "{}", ran.out);
    let refused = &json(&["--from", "--cap-drop=ALL", &path])["refused"];
    assert_eq!(refused["errno"], 1);
    // And so it is.
    let real = common::ran(program("rcap").args(["run", "--cap-drop", "all", "--", &path]));
    assert_eq!(real.status, Some(126), "{real:?}");
}

fn what_no_new_privs_takes() {
    let dir = directory();
    let path = copy(dir.path(), "cap_net_raw=ep");
    let rcap = program("rcap").get_program().to_owned();
    let args = ["why", "--user", "nobody", &path];
    let ran = ran(Command::new("setpriv").arg("--no-new-privs").arg(rcap).args(args));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let words = "permitted is not given cap_net_raw: no-new-privs is set";
    assert!(ran.out.contains(words), "{}", ran.out);
    assert!(ran.out.contains("AT_SECURE"), "{}", ran.out);
    let without = json(&["--user", "nobody", &path]);
    assert_eq!(without["outcome"]["after"]["effective"], serde_json::json!(["cap_net_raw"]));
}

fn a_script_and_its_interpreter() {
    let dir = directory();
    let path = copy(dir.path(), "cap_net_raw=ep");
    let script = dir.path().join("script");
    fs::write(&script, format!("#!{path}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let set = ran(program("setcap").args(["-q", "cap_chown=ep"]).arg(&script));
    assert_eq!(set.status, Some(0));
    let ran = why(&["--user", "nobody", &script.display().to_string()]);
    let words = format!(
        "script is a script: what counts is its interpreter, {path}; its own cap_chown=ep counts for nothing"
    );
    assert!(ran.out.contains(&words), "{}", ran.out);
    assert!(ran.out.contains("permitted gains cap_net_raw"), "{}", ran.out);
    // An interpreter that would give it to every script.
    let python = dir.path().join("python3");
    fs::copy(&path, &python).unwrap();
    common::ran(program("setcap").args(["-q", "cap_net_raw=ep"]).arg(&python));
    let ran = why(&["--user", "nobody", &python.display().to_string()]);
    assert!(ran.out.contains("whoever may execute it has them for every script"), "{}", ran.out);
}

fn ambient_and_a_file_with_empty_capabilities() {
    let dir = directory();
    let path = copy(dir.path(), "=");
    let caps = ["run", "--user", "nobody", "--cap-add", "chown", "--allow-new-privs", "--"];
    let rcap = program("rcap").get_program().to_owned();
    let ran = ran(program("rcap").args(caps).arg(rcap).args(["why", &path]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let words = "ambient loses cap_chown: a file with capabilities, be they none, clears";
    assert!(ran.out.contains(words), "{}", ran.out);
    assert!(ran.out.contains("Do: Take the file's own capabilities away"), "{}", ran.out);
    let real = common::ran(program("rcap").args(caps).args([&*path, "/proc/self/status"]));
    assert!(real.out.contains("CapPrm:\t0000000000000000"), "{real:?}");
}

fn who_may_not_execute_it() {
    let dir = directory();
    let path = copy(dir.path(), "=");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let ran = why(&["--user", "nobody", &path]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.out.contains("Permission denied: this user may not execute"), "{}", ran.out);
    chown(&path, Some(65534), None).unwrap();
    assert_eq!(why(&["--user", "65534", &path]).status, Some(0));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let ran = why(&[&path]);
    assert!(ran.out.contains("may be executed by nobody: its mode is 0600"), "{}", ran.out);
}

fn a_user_of_a_container() {
    let dir = directory();
    let compose = dir.path().join("compose.yaml");
    let text = "services:\n  web:\n    cap_drop: [ALL]\n    cap_add: [NET_RAW]\n    user: \"7\"\n";
    fs::write(&compose, text).unwrap();
    let source = format!("{}:web", compose.display());
    let ran = why(&["--from", &source, "cat"]);
    assert_eq!(ran.status, Some(0));
    let words = "Know: the settings allow cap_net_raw, and give it to root alone";
    assert!(ran.out.contains(words), "{}", ran.out);
    let path = copy(dir.path(), "cap_net_raw=ep");
    let with_file = json(&["--from", &source, &path]);
    assert_eq!(with_file["outcome"]["after"]["effective"], serde_json::json!(["cap_net_raw"]));
    assert_eq!(with_file["before"]["uid"]["effective"], 7);
}

fn a_process_that_runs() {
    let mut command = program("rcap");
    command.args(["run", "--user", "nobody", "--cap-add", "chown", "--", "sleep", "100"]);
    let mut child = command.spawn().unwrap();
    let pid = child.id().to_string();
    let is_it =
        || fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    common::wait_until(is_it);
    let ran = why(&["--pid", &pid]);
    let program = json(&["--pid", &pid, "cat"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("has cap_chown: ambient: handed down"), "{}", ran.out);
    assert!(ran.out.contains("An ordinary program that it executes:"), "{}", ran.out);
    assert_eq!(program["outcome"]["after"]["ambient"], serde_json::json!(["cap_chown"]));
    assert_eq!(program["outcome"]["after"]["no_new_privs"], true);
}

fn diff(args: &[&str]) -> Ran {
    ran(program("rcap").arg("diff").args(args))
}

fn sources_that_differ() {
    let ran = diff(&["docker", "podman"]);
    assert_eq!((ran.status, ran.out.lines().count()), (Some(1), 4), "{ran:?}");
    assert!(ran.out.contains("cap_net_raw      yes     -"), "{}", ran.out);
    let same = diff(&["docker", "00000000a80425fb"]);
    assert_eq!((same.status, &*same.out), (Some(0), ""));
    for args in [&["docker"][..], &["docker", "/nonexistent/x"], &["docker", "net_row"]] {
        let ran = diff(args);
        assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{args:?}");
    }
    let dir = directory();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let old = file("old", "services: {a: {cap_drop: [ALL]}, b: {user: 5}}");
    let new = file("new", "services: {b: {user: 6}, c: {}}");
    let ran = diff(&["--json", &old, &new]);
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.status, &value["same"]), (Some(1), &Value::from(false)));
    let names: Vec<_> =
        value["services"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(value["services"][0]["right"].is_null() && value["services"][2]["left"].is_null());
    let words = diff(&[&old, &new]).out;
    assert!(words.contains(&format!("only in {old}: a")), "{words}");
    assert!(words.contains("b:\n"), "{words}");
    // Each service beside one set.
    let words = diff(&[&old, "docker"]).out;
    assert!(words.starts_with("a:\n"), "{words}");
    let several = why(&["--from", &old, "true"]);
    assert!(several.err.contains(&format!("name one: {old}:a, {old}:b")), "{}", several.err);
}

fn converted() {
    let dir = directory();
    let deploy = |from: &str, to: &str| {
        let ran = ran(program("rcap").args(["deploy", "--to", to, "--from", from]));
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran.out
    };
    // Through every format that says all, and back.
    let mut from = "docker run --cap-drop=ALL --cap-add=NET_RAW --cap-add=CHOWN".to_owned();
    for to in ["compose", "kubernetes", "oci", "systemd", "json"] {
        let path = dir.path().join(to).display().to_string();
        fs::write(&path, deploy(&from, to)).unwrap();
        assert_eq!(deploy(&path, "capsh"), deploy("chown,net_raw", "capsh"), "{to}");
        from = path;
    }
    let several = dir.path().join("several").display().to_string();
    fs::write(&several, "services: {a: {cap_drop: [ALL]}, b: {cap_drop: [ALL], user: 5}}").unwrap();
    let text = deploy(&several, "podman");
    let want = "# a\n--cap-drop=ALL --security-opt=no-new-privileges\n\n# b\n--cap-drop=ALL \
                --security-opt=no-new-privileges --user=5\n";
    assert_eq!(text, want);
    let bad = ran(program("rcap").args(["deploy", "--to", "docker", "--from", "net_row"]));
    assert_eq!(bad.status, Some(1));
    assert!(bad.err.contains("did you mean cap_net_raw"), "{}", bad.err);
}
