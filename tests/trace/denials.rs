//! Denied system calls: by which mechanism, and on which object.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    common::{self, directory, program},
    names, report, trace,
};

/// The rows of `refused`, as (system call, lock, object, capabilities).
fn refused(report: &Value) -> Vec<(String, String, String, Vec<String>)> {
    let rows = report["refused"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.map(|row| {
        let caps = names(&row["caps"]).into_iter().map(str::to_owned).collect();
        (text(&row["system_call"]), text(&row["lock"]), text(&row["object"]["name"]), caps)
    })
    .collect()
}

/// Each with the mechanism that denied it, and the object.
pub(crate) fn what_was_refused() {
    type Row<'a> = (&'a [&'a str], &'a str, &'a str, &'a str, &'a [&'a str]);
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let [secret, other, script] = ["secret", "other", "script"].map(path);
    for file in [&secret, &other, &script] {
        fs::write(file, "").unwrap();
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let reads = &["cap_dac_override", "cap_dac_read_search"][..];
    #[rustfmt::skip]
    let rows: [Row<'_>; 4] = [
        (&["cat", &secret],           "openat",   "capability", &secret, reads),
        (&["chown", "5", &other],     "fchownat", "capability", &other,  &["cap_chown"]),
        (&["sh", "-c", &script],      "execve",   "file-mode",  &script, &[]),
        (&["sh", "-c", "kill -9 1"],  "kill",     "capability", "process 1", &["cap_kill"]),
    ];
    for (command, call, lock, object, caps) in rows {
        let mut ran = program("rcap");
        ran.args(["trace", "--json", "--"]).arg(program("capsh").get_program());
        let words = ["--user=nobody", "--exec"];
        ran.args(words).args(command).stdin(Stdio::null());
        let report: Value = serde_json::from_str(&common::ran(&mut ran).out).unwrap();
        let all = refused(&report);
        let row = all.iter().find(|row| row.0 == call && row.2.starts_with(object));
        let row = row.unwrap_or_else(|| panic!("{command:?}: {all:?}"));
        assert!(row.1 == lock && row.3 == caps, "{row:?}");
    }
    let text = trace(&["--refusals", "--", "true"]).err;
    assert!(text.starts_with("Refused: none\n") && !text.contains("Candidates"), "{text}");
}

/// Mechanisms that have no capability, and the reason for which a program that has ended lacked one.
/// Everything is in a mount namespace of its own.
pub(crate) fn other_locks() {
    type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [&'a str], &'a str);
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let setup = "mount -t tmpfs t . && cd . && cd \"$PWD\" && touch immutable append secret \
                 && mkdir closed && chmod 755 . && chmod 600 secret && cp \"${PATH%%:*}\"/cat cat \
                 && cp \"${PATH%%:*}\"/true true && \"$SETCAP\" cap_sys_time=ep true \
                 && \"$SETCAP\" cap_dac_read_search=ep cat && chattr +i immutable closed \
                 && chattr +a append && exec \"$RCAP\" trace --json -- sh -c \"$1\"";
    let capsh = program("capsh").get_program().to_str().unwrap().to_owned();
    let without = |caps: &str, script: &str| format!("{capsh} --drop={caps} -- -c '{script}'");
    let [chown, executed] =
        [without("cap_chown", "chown 5 secret"), without("cap_sys_time", "./true")];
    let bound = format!("{capsh} --user=nobody --no-new-privs -- -c './cat secret; true'");
    let plain = format!("{capsh} --user=nobody -- -c 'cat secret; true'");
    let reads = &["cap_dac_override", "cap_dac_read_search"][..];
    #[rustfmt::skip]
    let rows: [Row<'_>; 8] = [
        ("rm immutable",   "unlinkat", "immutable",  "immutable",    &[],               ""),
        ("chown 5 append", "fchownat", "immutable",  "append",       &[],               ""),
        ("touch closed/n", "openat",   "immutable",  "closed/n",     &[],               ""),
        ("rm -r closed",   "unlinkat", "",           "",             &[],               ""),
        (&executed,        "execve",   "file-caps",  "true",         &["cap_sys_time"], ""),
        (&chown,           "fchownat", "capability", "secret",       &["cap_chown"],
         "not in the bounding set"),
        (&bound,           "openat",   "capability", "secret",       reads,
         "no_new_privs disabled the file capabilities of "),
        (&plain,           "openat",   "capability", "secret",       reads,
         "gets it neither from the ambient set nor from a file"),
    ];
    for (script, call, lock, object, caps, because) in rows {
        let mut ran = Command::new("unshare");
        ran.args(["-m", "--propagation", "private", "sh", "-c", setup, "sh", script]);
        ran.current_dir(dir.path()).stdin(Stdio::null());
        for name in ["rcap", "setcap"] {
            ran.env(name.to_uppercase(), program(name).get_program());
        }
        let ran = common::ran(&mut ran);
        let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
        let all = refused(&report);
        if lock.is_empty() {
            // An empty directory that is immutable itself can be removed by nobody, and has no file.
            assert!(all.iter().all(|row| row.0 != call || row.1 == "immutable"), "{report}");
            continue;
        }
        let object = dir.path().join(object).to_str().unwrap().to_owned();
        let row = all.iter().position(|row| row.0 == call && row.2 == object);
        let at = row.unwrap_or_else(|| panic!("{script}: {report}"));
        assert!(all[at].1 == lock && all[at].3 == caps, "{script}: {report}");
        let found = report["refused"][at]["because"].as_str().unwrap_or_default();
        assert!(found.contains(because) && because.is_empty() == found.is_empty(), "{report}");
    }
}

/// A program that restricts itself by Landlock is denied what its user may do.
pub(crate) fn refused_by_landlock() {
    let script = "import ctypes, struct, sys\n\
                  libc = ctypes.CDLL(None)\n\
                  call = libc.syscall\n\
                  try: open('/etc/hostname/none')\n\
                  except OSError: pass\n\
                  ruleset = call(444, struct.pack('Q', 1 << 2), ctypes.c_size_t(8), 0)\n\
                  if ruleset < 0: sys.exit(7)\n\
                  libc.prctl(38, 1, 0, 0, 0)\n\
                  if call(446, ruleset, 0): sys.exit(8)\n\
                  try: open('/etc/passwd')\n\
                  except PermissionError: sys.exit(0)\n\
                  sys.exit(9)\n";
    let report = report(&["--", "python3", "-c", script]);
    // A kernel without Landlock.
    if report["exit"]["code"] == 7 {
        return;
    }
    assert_eq!(report["exit"]["code"], 0, "{report}");
    let want = ("openat".into(), "landlock".into(), "/etc/passwd".into(), vec![]);
    assert_eq!(refused(&report), [want], "{report}");
}

/// A filter of system calls stops a call before it begins.
pub(crate) fn refused_by_a_filter() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // The children of this process inherit the filter, and this process makes no such call.
    common::refuse_calls_with(&[u32::try_from(libc::SYS_fchownat).unwrap()], libc::EPERM);
    let report = report(&["--", "chown", "5", file.to_str().unwrap()]);
    let want = ("fchownat".into(), "seccomp".into(), file.to_str().unwrap().into(), vec![]);
    assert_eq!(refused(&report), [want], "{report}");
    assert_eq!(names(&report["missing"]), [""; 0]);
}

/// A path with its owner, and the alternatives that follow from it.
pub(crate) fn objects_of_checks() {
    let dir = directory();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let [one, two] = ["one", "two"].map(|name| closed.join(name));
    for file in [&one, &two] {
        fs::write(file, "").unwrap();
        chown(file, Some(1234), Some(1234)).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let files = [one.to_str().unwrap(), two.to_str().unwrap()];
    let found = report(&["--", "cat", files[0], files[1]]);
    let checks = found["checks"].as_array().unwrap();
    let need = checks.iter().find(|one| one["cap"] == "cap_dac_read_search").unwrap();
    let objects = need["objects"].as_array().unwrap();
    let name_of = |object: &Value| object["name"].as_str().unwrap().to_owned();
    assert_eq!(objects.iter().map(name_of).collect::<Vec<_>>(), files, "{need}");
    assert_eq!(objects[0]["file"]["owner"], 1234);
    assert_eq!(objects[0]["file"]["mode"].as_u64().unwrap() & 0o7777, 0o600);
    let text = trace(&["--", "cat", files[0], files[1]]).err;
    let want = format!("needed for 2 files of user 1234 in {}.", closed.display());
    assert!(text.contains(&want) && text.contains("nothing else needed it"), "{text}");
}
