//! `rcap verify` with real programs.

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use common::{Ran, directory, program, ran};
use serde_json::Value;

tests! {
    Nothing: usage;
    Tracing ["install"]: exactly_what_a_program_needs;
    Tracing ["setpriv"]: the_settings_of_a_source;
    Tracing: a_tolerated_refusal;
}

fn verify(dir: &Path, args: &[&str]) -> Ran {
    // An ordinary user's dynamic linker may have no access to the directories that Cargo names.
    ran(program("rcap").env_remove("LD_LIBRARY_PATH").current_dir(dir).arg("verify").args(args))
}

fn usage() {
    let dir = directory();
    #[rustfmt::skip]
    let rows: [(&[&str], &str); 4] = [
        (&["true"],                                      "a program requires --caps or --from"),
        (&["--caps", "kill", "--check-in", "x", "true"], "--check-in requires a container"),
        (&["--caps", "kill", "docker", "run", "x"],      "--caps cannot be used for a container"),
        (&["--caps", "kill", "systemctl", "restart", "x"], "--caps cannot be used for a unit"),
    ];
    for (args, words) in rows {
        let got = verify(dir.path(), args);
        assert_eq!(got.status, Some(125), "{got:?}");
        assert!(got.err.contains(words), "{got:?}");
    }
}

/// Returns the exit status, and the sets `missing` and `superfluous`.
fn answer(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let got = verify(dir, &[&["--json"], args].concat());
    let json: Value = serde_json::from_str(&got.out).unwrap_or_else(|_| panic!("{got:?}"));
    let names = |key: &str| json[key].to_string().replace(['[', ']', '"'], "");
    (got.status, names("missing"), names("superfluous"))
}

fn answers(status: i32, missing: &str, superfluous: &str) -> (Option<i32>, String, String) {
    (Some(status), missing.to_owned(), superfluous.to_owned())
}

fn exactly_what_a_program_needs() {
    let dir = directory();
    let install = ["--", "install", "-o", "1234", "-g", "555", "-m", "6755", "/bin/sh", "out"];
    #[rustfmt::skip]
    let rows = [
        ("chown,fowner,fsetid",      answers(0, "", "")),
        ("chown,fowner,fsetid,kill", answers(1, "", "cap_kill")),
        // Without FSETID, no call fails, but the file lacks the set-group-ID bit.
        ("chown",                    answers(1, "cap_fowner", "")),
        ("0",                        answers(1, "cap_chown", "")),
    ];
    for (caps, want) in rows {
        let got = answer(dir.path(), &[&["--caps", caps], &install[..]].concat());
        assert_eq!(got, want, "{caps}");
    }
    // --minimal compares the results.
    let minimal = ["--minimal", "--caps", "chown,fowner,fsetid"];
    let got = verify(dir.path(), &[&minimal, &install[..]].concat());
    assert_eq!(got.status, Some(0), "{got:?}");
    assert!(got.out.contains("cap_fsetid  required: otherwise "), "{got:?}");
    assert!(got.out.contains("/out is 4755 instead of 6755"), "{got:?}");
    assert!(!dir.path().join("out").exists());
    let got = verify(dir.path(), &["--caps", "kill", "--", "cat", "/nosuchfile"]);
    assert_eq!(got.status, Some(1));
    assert!(got.out.starts_with("It does not work with cap_kill: it exits with status 1: cat: "));
    assert!(got.out.contains("No capability was refused, so the reason is another one."));
    assert_eq!(verify(dir.path(), &["--caps", "kill", "--", "./nosuch"]).status, Some(127));
}

fn the_settings_of_a_source() {
    let dir = directory();
    let line = "setpriv --bounding-set=-all,+chown --inh-caps=-all";
    let chown = ["--", "chown", "1234", "."];
    assert_eq!(answer(dir.path(), &[&["--from", line], &chown[..]].concat()), answers(0, "", ""));
    let none = "setpriv --bounding-set=-all --inh-caps=-all";
    let got = answer(dir.path(), &[&["--from", none], &chown[..]].concat());
    assert_eq!(got, answers(1, "cap_chown", ""));
    // A user has what is ambient, and can search the directory.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let user = ["--user", "1234:1234", "--caps", "chown"];
    assert_eq!(answer(dir.path(), &[&user, &chown[..]].concat()), answers(0, "", ""));
}

fn a_tolerated_refusal() {
    let dir = directory();
    let script = ["--", "sh", "-c", "chown 5 . || true"];
    let got = answer(dir.path(), &[&["--caps", "0"], &script[..]].concat());
    assert_eq!(got, answers(1, "cap_chown", ""));
    let tolerant = ["--caps", "0", "--tolerate", "chown"];
    assert_eq!(answer(dir.path(), &[&tolerant, &script[..]].concat()), answers(0, "", ""));
}
