//! The command line: mistakes and what was meant, help, versions, JSON, pipes, and the width and
//! colours of terminals.

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use common::{Ran, directory, program, ran};
use serde_json::Value;

tests! {
    Nothing:
        names_that_are_meant,
        help_and_versions,
        exit_statuses,
        missing_files,
        the_empty_path,
        json_for_the_whole_line,
        a_step_that_is_not_followed,
        colors_in_a_pipe;
    Nothing ["script"]:
        help_fits_a_terminal,
        answers_fit_a_terminal,
        colors_on_a_terminal;
    UserNamespace:
        reasons_of_capsh;
    Root ["umount"]:
        without_proc;
    Root:
        settings_alone;
}

/// The tools that are programs of their own too.
const TOOLS: [&str; 5] = ["getcap", "setcap", "getpcaps", "capsh", "captree"];

fn run(line: &[&str]) -> Ran {
    ran(program(line[0]).args(&line[1..]).stdin(Stdio::null()))
}

/// The first line on standard error.
fn message(line: &[&str]) -> String {
    run(line).err.lines().next().unwrap_or_default().to_owned()
}

fn names_that_are_meant() {
    #[rustfmt::skip]
    let rows: [(&[&str], &str); 22] = [
        (&["rcap", "scna"],                       "unknown command scna; did you mean scan?"),
        (&["rcap", "deploy", "compose", "chown"], "unknown command deploy; did you mean export?"),
        (&["rcap", "help", "trcae"],              "unknown command trcae; did you mean trace?"),
        // As near to a command that changes files: the one that looks is proposed.
        (&["rcap", "etcap", "f"],                 "unknown command etcap; did you mean getcap?"),
        (&["rcap", "setcpa", "f"],                "unknown command setcpa; did you mean setcap?"),
        (&["rcap", "xyz"],                        "unknown command xyz"),
        (&["rcap", "--x"],                        "unknown option --x"),
        (&["rcap", "export", "--to", "k8s"],      "--to k8s: unknown name; did you mean kubernetes?"),
        (&["rcap", "export", "--to", "docker-compose"], "--to docker-compose: unknown name; did you mean compose?"),
        (&["rcap", "report", "--to", "dokcer", "f"], "--to dokcer: unknown name; did you mean docker?"),
        (&["rcap", "trace", "--folow", "true"],   "unknown option --folow; did you mean --follow?"),
        (&["rcap", "run", "--drop", "all", "true"], "unknown option --drop; did you mean --cap-drop?"),
        (&["rcap", "run", "--cap-add", "net_rwa", "true"], "unknown capability \"net_rwa\"; did you mean cap_net_raw?"),
        (&["rcap", "explain", "net_rwa"],         "unknown capability \"net_rwa\"; did you mean cap_net_raw?"),
        (&["rcap", "decode", "net_rwa"],          "unknown capability \"net_rwa\"; did you mean cap_net_raw?"),
        (&["rcap", "decode", "cap_net_rwa=ep"],   "unknown capability \"cap_net_rwa\"; did you mean cap_net_raw?"),
        (&["setcap", "cap_net_rwa=ep", "f"],      "setcap: unknown capability \"cap_net_rwa\"; did you mean cap_net_raw?"),
        (&["setcap", "--dryrun", "f"],            "did you mean --dry-run?"),
        (&["capsh", "--drop=cap_net_rwa"],        "unknown capability \"cap_net_rwa\"; did you mean cap_net_raw?"),
        (&["capsh", "--dorp=cap_net_raw"],        "capsh: --dorp=cap_net_raw: unknown option; did you mean --drop=?"),
        (&["captree", "--verbos"],                "captree: --verbos: unknown option; did you mean --verbose?"),
        (&["getcap", "--recursve", "f"],          "getcap: unknown option --recursve; did you mean --recursive?"),
    ];
    for (line, want) in rows {
        let message = message(line);
        assert!(message.ends_with(want), "{line:?}: {message}");
    }
}

/// Every command of `rcap --help`.
fn commands() -> Vec<String> {
    let help = run(&["rcap", "--help"]).out;
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let lines = lines.filter(|line| line.starts_with(|char: char| char.is_ascii_lowercase()));
    let names = lines.map(|line| line.split(' ').next().unwrap());
    let plumbing = help.lines().find_map(|line| line.strip_prefix("Plumbing: ")).unwrap();
    assert_eq!(plumbing, "decode, completions, man, oci-hook, oci-runtime");
    names.chain(plumbing.split(", ")).map(str::to_owned).collect()
}

fn help_and_versions() {
    let version = format!("rcap {}\n", env!("CARGO_PKG_VERSION"));
    let printed = |line: &[&str]| {
        let ran = run(line);
        assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{line:?}");
        ran.out
    };
    let groups = ["Look:", "Change:", "Run:", "Measure:", "Explain:", "Deliver:", "Plumbing:"];
    let help = printed(&["rcap", "--help"]);
    let headings = help.lines().filter(|line| groups.contains(&line.split(' ').next().unwrap()));
    assert_eq!(headings.count(), groups.len());
    for name in commands() {
        assert_eq!(printed(&["rcap", &name, "--version"]), version, "{name}");
        let help = run(&["rcap", "help", &name]);
        assert_eq!(help.status, Some(0), "{name}");
        let own = run(&["rcap", &name, "--help"]);
        assert_eq!((&help.out, &help.err), (&own.out, &own.err), "{name}");
        assert!(format!("{}{}", own.out, own.err).to_lowercase().contains("usage"), "{name}");
    }
    assert_eq!(printed(&["rcap", "help"]), help);
    assert_eq!(printed(&["rcap", "-V"]), version);
}

/// One table, with one meaning for each number. (rcap(1))
fn exit_statuses() {
    #[rustfmt::skip]
    let rows: [(&[&str], i32); 16] = [
        (&["rcap"],                                          2),
        (&["rcap", "xyz"],                                   2),
        (&["rcap", "decode", "xyz"],                         2),
        (&["rcap", "explain", "xyz"],                        2),
        (&["rcap", "explain", "--program", "xyz"],           1),
        (&["rcap", "suggest", "xyz"],                        1),
        (&["rcap", "report", "/nonexistent"],                2),
        (&["rcap", "diff", "docker", "docker"],              0),
        (&["rcap", "diff", "docker", "podman"],              1),
        (&["rcap", "diff", "docker", "/nonexistent"],        2),
        (&["rcap", "export", "--to", "oci", "--from", "/nonexistent"], 2),
        (&["rcap", "why", "/nonexistent"],                   2),
        (&["rcap", "oci-hook"],                              2),
        (&["rcap", "oci-runtime"],                           125),
        (&["rcap", "run", "--x"],                            125),
        (&["rcap", "run", "/nonexistent"],                   127),
    ];
    for (line, want) in rows {
        assert_eq!(run(line).status, Some(want), "{line:?}");
    }
    // Output that cannot be written is a failure, and never an answer.
    #[rustfmt::skip]
    let rows: [(&[&str], i32); 6] = [
        (&["rcap", "--help"],                                2),
        (&["rcap", "explain"],                               2),
        (&["rcap", "diff", "docker", "podman"],              2),
        (&["rcap", "run", "--help"],                         125),
        (&["rcap", "getcap", "--help"],                      1),
        (&["getcap", "--help"],                              1),
    ];
    for (line, want) in rows {
        let full = std::fs::File::create("/dev/full").unwrap();
        let status = program(line[0]).args(&line[1..]).stdout(full).stderr(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(want), "{line:?}");
    }
}

fn missing_files() {
    #[rustfmt::skip]
    let rows: [(&[&str], &str); 4] = [
        (&["rcap", "export", "--to", "oci", "--from", "nofile.yaml"], "rcap export: nofile.yaml: no such file"),
        (&["rcap", "diff", "./nofile", "docker"],                     "rcap diff: ./nofile: no such file"),
        (&["rcap", "why", "--from", "nofile.yaml:web", "true"],       "rcap why: nofile.yaml:web: no such file"),
        (&["rcap", "report", "nofile.json"],                          "rcap report: nofile.json: no such file"),
    ];
    for (line, want) in rows {
        assert_eq!(message(line), want);
    }
}

fn the_empty_path() {
    let ran = run(&["getcap", ""]);
    assert_eq!((ran.status, &*ran.out), (Some(0), ""));
    assert_eq!(ran.err, "getcap: cannot open '': No such file or directory\n");
}

fn json_for_the_whole_line() {
    let dir = directory();
    fs::write(dir.path().join("f"), "").unwrap();
    let of = |name: &str, args: &[&str]| -> Value {
        let ran = ran(program(name).args(args).current_dir(dir.path()).stdin(Stdio::null()));
        serde_json::from_str(&ran.out).unwrap_or_else(|err| panic!("{args:?}: {err}: {ran:?}"))
    };
    let own = std::process::id().to_string();
    for args in [&[&*own, "--json"][..], &["--json", &own], &["--iab", &own, "--json"]] {
        assert_eq!(of("getpcaps", args)["processes"][0]["pid"], std::process::id(), "{args:?}");
    }
    let all = of("getpcaps", &["--all", "--json"]);
    let pids: Vec<_> = all["processes"].as_array().unwrap().iter().map(|one| &one["pid"]).collect();
    assert!(pids.contains(&&1.into()) && pids.contains(&&std::process::id().into()), "{pids:?}");
    for args in [&["--dry-run", "cap_kill=p", "f", "--json"][..], &["--json", "-v", "-r", "f"]] {
        assert_eq!(of("setcap", args)["files"][0]["path"], "f", "{args:?}");
    }
}

fn a_step_that_is_not_followed() {
    let ran = run(&["capsh", "--dry-run", "==", "--user=nobody", "--", "-c", "id"]);
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    let last = ran.out.lines().last().unwrap();
    assert_eq!(last, "    not followed: capsh --user=nobody -- -c id");
}

fn reasons_of_capsh() {
    let ran = run(&["capsh", "--drop=cap_net_raw", "--iab=^cap_net_raw"]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.err.ends_with("(cap_net_raw is not in the bounding set)\n"), "{ran:?}");
    // A value that is wrong is not wrong for lack of a privilege.
    let without = run(&["capsh", "--caps=", "--mode=UNCERTAIN"]);
    assert_eq!(without.err, run(&["capsh", "--mode=UNCERTAIN"]).err);
    assert!(without.err.ends_with("at byte 0 of \"UNCERTAIN\"\n"), "{without:?}");
}

/// In a mount namespace of its own.
fn without_proc() {
    common::unshare_mounts();
    assert!(Command::new("umount").args(["-l", "/proc"]).status().unwrap().success());
    let ran = run(&["rcap", "trace", "true"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    assert!(ran.err.starts_with("rcap trace: /proc: not mounted"), "{ran:?}");
}

/// With `--to` and standard output for settings only, other messages go to standard error.
fn settings_alone() {
    let dir = directory();
    let text = r#"{"schema": 1, "command": ["x"], "exit": null, "backend": "kprobe",
        "candidates": ["cap_chown"], "missing": [], "checks": [], "lost": 0, "gaps": [], "unseen": []}"#;
    let saved = dir.path().join("saved");
    fs::write(&saved, text).unwrap();
    let report = run(&["rcap", "report", "--to", "docker", saved.to_str().unwrap()]);
    let want = "--cap-drop=ALL --cap-add=CHOWN --security-opt=no-new-privileges\n";
    assert_eq!((report.status, &*report.out), (Some(0), want), "{report:?}");
    assert!(report.err.starts_with("Candidates: cap_chown\n"), "{report:?}");
}

/// Output of a command on a terminal of so many columns.
fn on_terminal(columns: u32, variable: (&str, &str), line: &[&str]) -> String {
    let word = |arg: &&str| format!(" '{}'", arg.replace('\'', r"'\''"));
    let words: String = line[1..].iter().map(word).collect();
    let path = program(line[0]).get_program().display().to_string();
    let output = Command::new("script")
        .args(["-qec", &format!("stty rows 24 cols {columns}; exec {path}{words}"), "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env(variable.0, variable.1)
        .stdin(Stdio::null())
        .output()
        .expect("script(1)");
    String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
}

const NO_COLOR: (&str, &str) = ("NO_COLOR", "1");

/// The lines that do not fit, unless they are one word.
fn too_long(text: &str, columns: u32) -> Vec<&str> {
    let long = text.lines().filter(|line| line.chars().count() > columns as usize);
    long.filter(|line| line.trim().contains(' ')).collect()
}

/// Every line fits, and the words are those of a pipe, none broken.
#[track_caller]
fn assert_fits(line: &[&str]) {
    let piped = run(line);
    let piped = format!("{}{}", piped.out, piped.err);
    let words = |text: &str| {
        // A set of capabilities can break after a comma.
        let text = text.replace(',', ", ");
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for columns in [80, 50] {
        let text = on_terminal(columns, NO_COLOR, line);
        assert_eq!(too_long(&text, columns), [""; 0], "{line:?} in {columns} columns");
        assert_eq!(words(&text), words(&piped), "{line:?} in {columns} columns");
    }
}

fn help_fits_a_terminal() {
    for name in commands() {
        let name = &*name;
        // A usage line that clap does not wrap is checked by eye.
        let text = on_terminal(50, NO_COLOR, &["rcap", "help", name]);
        let options = text
            .lines()
            .skip_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.trim_start().starts_with("rcap "));
        let long: Vec<_> = options.filter(|line| line.chars().count() > 50).collect();
        assert_eq!(long, [""; 0], "{name}");
    }
    assert_fits(&["rcap", "--help"]);
    for name in TOOLS {
        assert_fits(&[name, "--help"]);
    }
}

fn answers_fit_a_terminal() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("a.yaml"), "services: {web: {cap_add: [NET_ADMIN]}, db: {user: '5'}}").unwrap();
    let own = std::process::id().to_string();
    let compose = path("a.yaml");
    for line in [
        &["rcap", "explain"][..],
        &["rcap", "explain", "sys_admin,net_raw"],
        &["rcap", "explain", "--syscall", "mount"],
        &["rcap", "suggest", "port 80"],
        &["rcap", "decode", "00000000a80425fb"],
        &["rcap", "decode", "CapEff:\t00000000a80425fb"],
        &["rcap", "diff", "docker", "podman"],
        &["rcap", "diff", &compose, "docker"],
        &["rcap", "why", "--user", "nobody", "/bin/true"],
        &["rcap", "why", "--pid", &own],
    ] {
        assert_fits(line);
    }
    // The machine can change between two runs.
    assert_eq!(too_long(&on_terminal(50, NO_COLOR, &["rcap", "scan", "--here"]), 50), [""; 0]);
}

fn report() -> String {
    let need = r#"{"cap": "cap_chown", "rule": "missing", "granted": false, "function": "f",
        "reason": null, "count": 3, "system_call": "chown", "returned": -1, "program": "p"}"#;
    format!(
        r#"{{"schema": 1, "command": ["x"], "exit": null, "backend": "kprobe", "candidates": [],
        "missing": ["cap_chown"], "checks": [{need}], "lost": 0, "gaps": [], "unseen": []}}"#
    )
}

fn saved_in(dir: &Path) -> String {
    let path = dir.join("saved");
    fs::write(&path, report()).unwrap();
    path.to_str().unwrap().to_owned()
}

const RED: &str = "\u{1b}[31mMissing: cap_chown\u{1b}[0m";

fn colors_on_a_terminal() {
    let dir = directory();
    let saved = saved_in(dir.path());
    let line = ["rcap", "report", &*saved];
    assert!(on_terminal(80, ("CLICOLOR", "1"), &line).contains(RED));
    for variable in [NO_COLOR, ("CLICOLOR", "0"), ("TERM", "dumb")] {
        let text = on_terminal(80, variable, &line);
        assert!(text.contains("\nMissing: cap_chown\n") && !text.contains('\u{1b}'), "{text}");
    }
}

fn colors_in_a_pipe() {
    let dir = directory();
    let saved = saved_in(dir.path());
    let with = |variable: &str, value: &str| {
        let mut command = program("rcap");
        command.args(["report", &saved]).env_remove("NO_COLOR").env(variable, value);
        ran(&mut command).out
    };
    assert!(!with("CLICOLOR", "1").contains('\u{1b}'));
    assert!(with("CLICOLOR_FORCE", "1").contains(RED));
    assert!(!with("CLICOLOR_FORCE", "0").contains('\u{1b}'));
}
