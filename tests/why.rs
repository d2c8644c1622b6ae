//! `rcap why` compared with the kernel, and settings of other systems, compared and converted.

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
        users_of_images,
        usage,
        sources_that_differ,
        converted,
        a_format_that_no_field_chooses,
        words_before_files,
        files_that_are_not_read,
        nothing_to_compare;
    Root:
        a_file_that_demands_more_than_there_is,
        a_script_and_its_interpreter,
        ambient_and_a_file_with_empty_capabilities,
        who_may_not_execute_it,
        what_has_no_format,
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

/// Returns the path of a copy of a program that prints its sets, with these capabilities.
fn copy(dir: &Path, caps: &str) -> String {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.join("show");
    fs::copy(which("cat").unwrap(), &path).unwrap();
    let set = ran(program("setcap").args(["-q", caps]).arg(&path));
    assert_eq!(set.status, Some(0), "{set:?}");
    path.display().to_string()
}

/// A user of an image is not named by this system's users.
fn users_of_images() {
    for (source, user) in [
        ("docker run --user 1 x", "user 1 "),
        ("docker run --user 0 x", "root "),
        ("setpriv --reuid=0", "root "),
    ] {
        let ran = why(&["--from", source, "cat"]);
        assert!(ran.out.contains(&format!(", executed by {user}with the settings of")), "{ran:?}");
    }
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
    assert!(
        ran.out.contains("its file has cap_net_raw, which the bounding set lacks"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("Fix: Add `--cap-add=NET_RAW`."), "{}", ran.out);
    let refused = &json(&["--from", "--cap-drop=ALL", &path])["refused"];
    assert_eq!(refused["errno"], 1);
    // The kernel agrees.
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
        "script is a script: the file of its interpreter {path} decides; its own cap_chown=ep is ignored"
    );
    assert!(ran.out.contains(&words), "{}", ran.out);
    assert!(ran.out.contains("permitted gains cap_net_raw"), "{}", ran.out);
    // An interpreter that would grant it to every script.
    let python = dir.path().join("python3");
    fs::copy(&path, &python).unwrap();
    common::ran(program("setcap").args(["-q", "cap_net_raw=ep"]).arg(&python));
    let ran = why(&["--user", "nobody", &python.display().to_string()]);
    assert!(
        ran.out.contains("every user who may execute it has these capabilities for every script"),
        "{}",
        ran.out
    );
}

fn ambient_and_a_file_with_empty_capabilities() {
    let dir = directory();
    let path = copy(dir.path(), "=");
    let caps = ["run", "--user", "nobody", "--cap-add", "chown", "--allow-new-privs", "--"];
    let rcap = program("rcap").get_program().to_owned();
    let ran = ran(program("rcap").args(caps).arg(rcap).args(["why", &path]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let words = "ambient loses cap_chown: a file with a capability attribute, even an empty one,";
    assert!(ran.out.contains(words), "{}", ran.out);
    assert!(ran.out.contains("Fix: Take the file's own capabilities away"), "{}", ran.out);
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
    assert!(ran.out.contains("no user may execute"), "{}", ran.out);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let ran = why(&["--user", "nobody", &path]);
    let want = format!("this user may not search {}, which leads to", dir.path().display());
    assert!(ran.out.contains(&want), "{}", ran.out);
}

/// A file that the kernel executes with no interpreter, and one whose interpreter is missing.
fn what_has_no_format() {
    let dir = directory();
    let path = dir.path().join("x");
    let path = path.to_str().unwrap();
    let with = |text: &str| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        why(&[path])
    };
    let registered = fs::read_dir("/proc/sys/fs/binfmt_misc").map_or(0, Iterator::count);
    for text in ["", "echo\n", "#!\n", "\x7fELF no program"] {
        let ran = with(text);
        // An interpreter may be registered for it, beside `register` and `status`.
        assert_eq!(ran.status, Some(i32::from(registered <= 2)), "{text:?}: {ran:?}");
        let mut errno = || Command::new(path).status().err().and_then(|err| err.raw_os_error());
        // A child of another test may have the file open for writing.
        let errno = std::iter::repeat_with(&mut errno).find(|errno| *errno != Some(libc::ETXTBSY));
        assert!(registered > 2 || errno == Some(Some(libc::ENOEXEC)), "{text:?} {errno:?}");
        assert_eq!(ran.out.contains("neither a program nor a script"), registered <= 2, "{ran:?}");
    }
    assert_eq!(with("#!/bin/sh\n").status, Some(0));
    let ran = with("#!/no/such\n");
    assert!(
        ran.err.contains(&format!("{path}: its interpreter /no/such does not exist")),
        "{ran:?}"
    );
}

fn a_user_of_a_container() {
    let dir = directory();
    let compose = dir.path().join("compose.yaml");
    let text = "services:\n  web:\n    cap_drop: [ALL]\n    cap_add: [NET_RAW]\n    user: \"7\"\n";
    fs::write(&compose, text).unwrap();
    let source = format!("{}:web", compose.display());
    let ran = why(&["--from", &source, "cat"]);
    assert_eq!(ran.status, Some(0));
    assert!(ran.out.contains("permitted loses cap_net_raw"), "{}", ran.out);
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
    assert!(ran.out.contains("has cap_chown: ambient: inherited"), "{}", ran.out);
    assert!(ran.out.contains("An ordinary program that it executes:"), "{}", ran.out);
    assert_eq!(program["outcome"]["after"]["ambient"], serde_json::json!(["cap_chown"]));
    assert_eq!(program["outcome"]["after"]["no_new_privs"], true);
}

fn diff(args: &[&str]) -> Ran {
    ran(program("rcap").arg("diff").args(args))
}

fn sources_that_differ() {
    let ran = diff(&["docker", "podman"]);
    assert_eq!((ran.status, ran.out.lines().count()), (Some(1), 10), "{ran:?}");
    assert!(ran.out.contains("bounding cap_net_raw       yes     -"), "{}", ran.out);
    let same = diff(&["docker", "00000000a80425fb"]);
    assert_eq!((same.status, &*same.out), (Some(0), ""));
    // A process, given by its directory.
    let same = diff(&["/proc/self", "/proc/self/status"]);
    assert_eq!((same.status, &*same.out, &*same.err), (Some(0), "", ""));
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
    // Each service is compared with one set.
    let words = diff(&[&old, "docker"]).out;
    assert!(words.starts_with("a:\n"), "{words}");
    let several = why(&["--from", &old, "true"]);
    assert!(several.err.contains(&format!("name one: {old}:a, {old}:b")), "{}", several.err);
}

fn converted() {
    let dir = directory();
    let export = |from: &str, to: &str| {
        let ran = ran(program("rcap").args(["export", "--to", to, "--from", from]));
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran.out
    };
    // A round trip through every lossless format.
    let mut from =
        "docker run --user 0:0 --cap-drop=ALL --cap-add=NET_RAW --cap-add=CHOWN i".to_owned();
    for to in ["compose", "kubernetes", "oci", "systemd", "json"] {
        let path = dir.path().join(to).display().to_string();
        fs::write(&path, export(&from, to)).unwrap();
        let want = "setpriv --reuid=0 --regid=0 --clear-groups --inh-caps=-all --ambient-caps=-all \
                    --bounding-set=-all,+chown,+net_raw --no-new-privs --\n";
        assert_eq!(export(&path, "setpriv"), want, "{to}");
        from = path;
    }
    let several = dir.path().join("several").display().to_string();
    fs::write(&several, "services: {a: {cap_drop: [ALL]}, b: {cap_drop: [ALL], user: 5}}").unwrap();
    let text = export(&several, "podman");
    let want = "# a\n--cap-drop=ALL --security-opt=no-new-privileges\n\n# b\n--cap-drop=ALL \
                --security-opt=no-new-privileges --user=5\n";
    assert_eq!(text, want);
    let bad = ran(program("rcap").args(["export", "--to", "docker", "--from", "net_row"]));
    assert_eq!(bad.status, Some(2));
    assert!(bad.err.contains("did you mean cap_net_raw"), "{}", bad.err);
}

fn export(dir: &Path, from: &str) -> Ran {
    let args = ["30", "rcap", "export", "--to", "docker", "--from", from];
    limited(dir, &args)
}

/// Runs an rcap command with a time limit.
fn limited(dir: &Path, args: &[&str]) -> Ran {
    let rcap = program("rcap").get_program().to_owned();
    let args = args.iter().map(|arg| if *arg == "rcap" { rcap.clone() } else { arg.into() });
    ran(Command::new("timeout").args(args).current_dir(dir).stdin(Stdio::null()))
}

fn a_format_that_no_field_chooses() {
    let dir = directory();
    let dir = dir.path();
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    let privileged = "services:\n  web:\n    privileged: true\n";
    write("plain.yaml", privileged);
    let plain = export(dir, "plain.yaml");
    assert!(plain.out.contains("--cap-add=SYS_ADMIN"), "{plain:?}");
    for (name, hidden) in [
        ("unit.yaml", "[Service]\n        CapabilityBoundingSet="),
        ("status.yaml", "CapPrm: 0\n        Uid: 5 5 5 5"),
    ] {
        write(name, &format!("{privileged}    labels:\n      note: |\n        {hidden}\n"));
        assert_eq!(export(dir, name), plain, "{name}");
    }
    // The text matches two formats.
    let text = "services: {w: {privileged: true}}\nprocess: {capabilities: {bounding: []}}\n";
    write("both", text);
    let both = export(dir, "./both");
    assert_eq!(both.status, Some(2));
    assert!(both.err.contains("compose:FILE or oci:FILE"), "{}", both.err);
    assert_eq!(export(dir, "compose:both"), plain);
    assert_eq!(
        export(dir, "oci:both").out,
        "--cap-drop=ALL --security-opt=no-new-privileges --user=0\n"
    );
    assert!(export(dir, "unit:both").err.contains("is not a systemd unit"));
    // The name of the file looks like one with a service.
    write("plain.yaml:web", "services: {web: {cap_drop: [ALL]}}");
    assert!(export(dir, "plain.yaml:web").err.contains("plain.yaml is a file too"));
}

fn words_before_files() {
    let dir = directory();
    let nowhere = directory();
    for word in ["docker", "net_raw", "a80425fb", "cap_chown=ep", "net_raw,chown", "setpriv"] {
        fs::write(dir.path().join(word), "services: {w: {privileged: true}}").unwrap();
        let without = export(nowhere.path(), word);
        assert_eq!(without.status, Some(0), "{without:?}");
        assert_eq!(export(dir.path(), word), without, "{word}");
        let file = export(dir.path(), &format!("./{word}"));
        assert!(file.out.contains("--cap-add=SYS_ADMIN"), "{word}: {file:?}");
    }
    for (missing, words) in [
        ("nofile.yaml", "nofile.yaml: no such file"),
        ("./docker", "./docker: no such file"),
        ("nofile.yaml:web", "nofile.yaml:web: no such file"),
        ("net_rwa", "did you mean cap_net_raw"),
    ] {
        let ran = export(nowhere.path(), missing);
        assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{ran:?}");
        assert!(ran.err.contains(words), "{missing}: {}", ran.err);
    }
}

fn files_that_are_not_read() {
    let dir = directory();
    let dir = dir.path();
    let made = Command::new("mkfifo").arg(dir.join("x.fifo")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("/dev/zero", dir.join("x.zero")).unwrap();
    std::os::unix::fs::symlink("x.fifo", dir.join("x.link")).unwrap();
    fs::create_dir(dir.join("x.dir")).unwrap();
    fs::File::create(dir.join("x.long")).unwrap().set_len((16 << 20) + 1).unwrap();
    for (name, words) in [
        ("x.fifo", "is a FIFO, not a regular file"),
        ("x.link", "is a FIFO, not a regular file"),
        ("x.zero", "is a device, not a regular file"),
        ("x.long", "is longer than 16 MiB"),
        ("/dev/null", "is a device, not a regular file"),
    ] {
        for (command, status) in [
            (&["30", "rcap", "export", "--to", "oci", "--from", name][..], 2),
            (&["30", "rcap", "why", "--from", name, "true"], 2),
            (&["30", "rcap", "diff", name, "docker"], 2),
            (&["30", "rcap", "report", name], 2),
        ] {
            let ran = limited(dir, command);
            assert_eq!((ran.status, &*ran.out), (Some(status), ""), "{command:?}: {ran:?}");
            assert!(ran.err.contains(&format!("{name}: {words}")), "{command:?}: {}", ran.err);
        }
    }
    let empty = limited(dir, &["30", "rcap", "export", "--to", "oci", "--from", "x.dir"]);
    assert!(empty.err.contains("no service or container in it"), "{empty:?}");
    let stdin = |text: &str, args: &[&str]| {
        fs::write(dir.join("in"), text).unwrap();
        let input = fs::File::open(dir.join("in")).unwrap();
        ran(program("rcap").args(args).stdin(input))
    };
    let ran = stdin("services: {w: {cap_drop: [ALL]}, v: {}}", &["diff", "--", "-:w", "docker"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("bounding cap_chown"), "{ran:?}");
    assert_eq!(stdin("00002000", &["diff", "-", "net_raw"]).status, Some(0));
    // An endless input, with limited memory.
    let endless = "ulimit -v 2000000; exec timeout 60 \"$0\" \"$@\" < /dev/zero";
    for args in [&["diff", "-", "docker"][..], &["report", "-"], &["decode"]] {
        let rcap = program("rcap").get_program().to_owned();
        let ran = common::ran(Command::new("sh").args(["-c", endless]).arg(rcap).args(args));
        assert!(ran.err.contains("is longer than 16 MiB"), "{args:?}: {ran:?}");
    }
}

fn nothing_to_compare() {
    let dir = directory();
    for (name, text) in [("a.yaml", "services: {}"), ("b.yaml", "apiVersion: v1\nkind: ConfigMap")]
    {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let ran = limited(dir.path(), &["30", "rcap", "diff", "a.yaml", "b.yaml"]);
    assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{ran:?}");
    assert_eq!(ran.err, "rcap diff: a.yaml: no service or container in it\n");
    fs::write(dir.path().join("c"), "").unwrap();
    assert!(export(dir.path(), "./c").err.contains("./c: is empty"));
}
