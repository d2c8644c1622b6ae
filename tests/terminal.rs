//! Untrusted bytes are escaped on a terminal, in every command.

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use common::{directory, program, ran};
use serde_json::Value;

tests! {
    Nothing ["script"]:
        arguments,
        documents,
        json;
    Nothing:
        messages_in_a_file;
    Root ["script"]:
        names_of_files;
}

/// A colour by ESC and by C1, a carriage return, changes of direction, and zero-width characters.
const HOSTILE: &str =
    "a\u{1b}[31m\u{9b}31m\r\u{202e}\u{202a}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}\u{200b}\u{7f}z";

/// Returns the terminal output of a command.
fn shown(dir: &Path, name: &str, args: &[&str]) -> String {
    let word = |arg: &&str| format!(" '{}'", arg.replace('\'', r"'\''"));
    let words: String = args.iter().map(word).collect();
    let line = format!("exec {}{words}", program(name).get_program().display());
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("NO_COLOR", "1")
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("script(1)");
    String::from_utf8(output.stdout).expect("what is not UTF-8 is escaped").replace("\r\n", "\n")
}

/// Asserts that a text is shown, and that it has no effect on the terminal.
fn is_harmless(text: &str, args: &[&str]) {
    let hostile: Vec<char> = HOSTILE.chars().filter(|char| !char.is_ascii_graphic()).collect();
    assert!(!text.is_empty(), "{args:?}");
    assert!(!text.contains(&*hostile), "{args:?}: {text:?}");
}

fn arguments() {
    let dir = directory();
    let dir = dir.path();
    let option = format!("--{HOSTILE}");
    let assigned = format!("--{HOSTILE}=x");
    let path = format!("./{HOSTILE}");
    for name in ["getcap", "setcap", "getpcaps", "captree", "capsh"] {
        for arg in [&*option, &assigned] {
            is_harmless(&shown(dir, name, &[arg]), &[name, arg]);
        }
    }
    #[rustfmt::skip]
    let tools: &[(&str, &[&str])] = &[
        ("getcap", &[&path]), ("getcap", &["-r", &path]), ("setcap", &[HOSTILE, &path]),
        ("setcap", &["cap_chown=ep", &path]), ("setcap", &["-v", "=", &path]), ("getpcaps", &[HOSTILE]),
        ("captree", &[HOSTILE]), ("captree", &["--unit", HOSTILE]), ("capsh", &[HOSTILE]),
        ("capsh", &[&*format!("--drop={HOSTILE}")]),
        ("capsh", &[&*format!("--user={HOSTILE}")]), ("capsh", &[&*format!("--explain={HOSTILE}")]),
        ("capsh", &[&*format!("--mode={HOSTILE}")]), ("capsh", &["--dry-run", &*format!("--inh={HOSTILE}")]),
    ];
    for (name, args) in tools {
        is_harmless(&shown(dir, name, args), args);
    }
    for command in [
        "getcap",
        "getpcaps",
        "captree",
        "decode",
        "explain",
        "suggest",
        "why",
        "setcap",
        "run",
        "capsh",
        "trace",
        "minimize",
        "verify",
        "report",
        "oci-hook",
        "oci-runtime",
        "export",
        "diff",
        "completions",
        "man",
    ] {
        for arg in [&*option, &assigned] {
            is_harmless(&shown(dir, "rcap", &[command, arg]), &[command, arg]);
        }
    }
    let from = format!("--cap-add={HOSTILE}");
    #[rustfmt::skip]
    let commands: &[&[&str]] = &[
        &[HOSTILE], &["decode", HOSTILE], &["explain", HOSTILE], &["explain", "--program", HOSTILE],
        &["suggest", HOSTILE], &["why", HOSTILE], &["why", &path], &["why", "--user", HOSTILE, "true"],
        &["why", "--from", HOSTILE, "true"], &["run", "--", &path], &["run", "--user", HOSTILE, "true"],
        &["run", "--cap-add", HOSTILE, "true"], &["run", "--profile", HOSTILE, "true"],
        &["trace", "--pid", HOSTILE], &["trace", "--backend", HOSTILE], &["minimize", "--drop", HOSTILE],
        &["report", &path], &["report", "--to", HOSTILE, &path], &["export", "--to", HOSTILE],
        &["export", "--to", "docker", "--user", HOSTILE], &["export", "--to", "docker", "--from", &path],
        &["export", "--to", "docker", "--from", &from], &["export", "--to", "docker", HOSTILE],
        &["diff", HOSTILE, "docker"], &["diff", "docker", &from], &["completions", HOSTILE],
        &["man", HOSTILE],
    ];
    for args in commands {
        is_harmless(&shown(dir, "rcap", args), args);
    }
}

/// Settings and reports that contain such names.
fn documents() {
    let dir = directory();
    let dir = dir.path();
    let document =
        |name: &str, value: &Value| fs::write(dir.join(name), value.to_string()).unwrap();
    let services = |user: &str| {
        let mut services = serde_json::Map::new();
        services.insert(HOSTILE.into(), serde_json::json!({"user": user}));
        services.insert(format!("{HOSTILE}2"), serde_json::json!({}));
        serde_json::json!({ "services": services })
    };
    document("a", &services("5"));
    document("b", &services("6"));
    document("c", &services(HOSTILE));
    document("d", &serde_json::json!({HOSTILE: HOSTILE}));
    fs::write(dir.join("e"), format!("[Service]\nUser={HOSTILE}\n")).unwrap();
    fs::write(dir.join("f"), format!("a: [{HOSTILE}")).unwrap();
    for file in ["./a", "./b", "./c", "./d", "./e", "./f"] {
        let commands = [
            &["export", "--to", "compose", "--from", file][..],
            &["why", "--from", file, "true"],
            &["diff", file, "docker"],
            &["report", file],
        ];
        for args in commands {
            is_harmless(&shown(dir, "rcap", args), args);
        }
    }
    is_harmless(&shown(dir, "rcap", &["diff", "./a", "./b"]), &["diff"]);
}

/// The escaped JSON is the same document.
fn json() {
    let dir = directory();
    let text = format!("{{\"services\": {{\"{}\": {{}}, \"x\": {{}}}}}}", r"a\u009b\u202e");
    fs::write(dir.path().join("a.json"), text).unwrap();
    let args = ["diff", "--json", "./a.json", "docker"];
    let text = shown(dir.path(), "rcap", &args);
    is_harmless(&text, &args);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["services"][0]["name"], "a\u{9b}\u{202e}");
    // A pipe receives it unchanged.
    let piped = ran(program("rcap").args(args).current_dir(dir.path()));
    assert!(piped.out.contains("a\u{9b}\u{202e}"), "{piped:?}");
    assert_eq!(serde_json::from_str::<Value>(&piped.out).unwrap(), value);
}

/// Messages are escaped even in a file, because they are read on a terminal later.
fn messages_in_a_file() {
    for args in
        [&[&*format!("--{HOSTILE}")][..], &["decode", HOSTILE], &["export", "--to", HOSTILE]]
    {
        let ran = ran(program("rcap").args(args));
        assert_eq!(ran.out, "");
        is_harmless(&ran.err, args);
    }
}

fn names_of_files() {
    let dir = directory();
    let dir = dir.path();
    fs::write(dir.join(HOSTILE), "").unwrap();
    let set = ran(program("setcap").arg("cap_chown=ep").arg(HOSTILE).current_dir(dir));
    assert_eq!(set.status, Some(0), "{set:?}");
    let path = format!("./{HOSTILE}");
    #[rustfmt::skip]
    let commands: &[(&str, &[&str])] = &[
        ("getcap", &[&path]), ("getcap", &["-r", "."]), ("getcap", &["-v", &path]), ("getcap", &["--json", "-r", "."]),
        ("setcap", &["-v", "cap_chown=ep", &path]), ("setcap", &["-v", "=", &path]),
        ("setcap", &["--dry-run", "--json", "--add", "cap_kill", &path]),
        ("rcap", &["why", &path]), ("rcap", &["why", "--json", &path]), ("rcap", &["run", "--", &path]),
    ];
    for (name, args) in commands {
        let text = shown(dir, name, args);
        is_harmless(&text, args);
        if args.contains(&"--json") {
            serde_json::from_str::<Value>(&text).unwrap_or_else(|err| panic!("{args:?}: {err}"));
        }
    }
    // libcap's output in a pipe.
    let piped = ran(program("getcap").arg(&path).current_dir(dir));
    assert_eq!(piped.out, format!("{path} cap_chown=ep\n"));
}
