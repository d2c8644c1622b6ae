//! `capsh` on the running kernel, and requirements of any capability toolkit.

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use common::{Ran, directory, program, ran, run};
use rcap::{Cap, CapSet};
use serde_json::Value;
use tempfile::TempDir;

tests! {
    Nothing:
        questions_that_need_no_privilege,
        masks_that_are_none,
        help_and_mistakes,
        an_answer_is_no_error;
    UserNamespace:
        steps_are_taken_in_their_order,
        effective_is_asked_for,
        securebits_by_name,
        securebits_are_locked,
        the_bounding_set_limits_what_is_permitted_and_not_what_is_inheritable,
        chroot_reads_the_passwd_of_the_new_root,
        print_as_json,
        output_comes_before_that_of_a_program,
        a_program_without_a_shell,
        capsh_again,
        a_child_that_is_killed,
        a_dry_run_runs_nothing,
        a_dry_run_tells_what_a_program_has,
        a_refusal_says_why;
    Root:
        keep_caps_across_a_change_of_the_user,
        a_user_with_ambient_capabilities,
        the_environment_of_a_user,
        a_file_with_an_empty_set_blocks_ambient,
        a_set_user_id_script_gains_nothing,
        a_namespaced_file_capability_has_no_power_outside,
        ambient_through_a_script,
        a_copy_under_another_name,
        a_dry_run_finds_the_step_that_loses;
}

fn capsh<'a>(args: impl IntoIterator<Item = &'a str>) -> Ran {
    ran(program("capsh").args(args))
}

/// Runs `capsh` with a line of words, followed by a shell that runs `script`.
fn shell(line: &str, script: &str) -> Ran {
    capsh(line.split(' ').filter(|word| !word.is_empty()).chain(["--", "-c", script]))
}

/// Prints the sets of a shell's child.
const STATUS: &str = "exec cat /proc/self/status";

fn field<'a>(ran: &'a Ran, name: &str) -> &'a str {
    let line = ran.out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("no {name} in {ran:?}")).trim()
}

fn set(ran: &Ran, name: &str) -> CapSet {
    CapSet::from_bits(u64::from_str_radix(field(ran, name), 16).unwrap())
}

fn answers(line: &str) -> bool {
    let Ran { status, out, err } = capsh(line.split(' '));
    assert_eq!(out, "", "{line}");
    assert_eq!(status == Some(0), err.is_empty(), "{line}: {status:?} {err}");
    status == Some(0)
}

/// Creates a directory that every user can enter, with a copy of `capsh`.
fn public() -> TempDir {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(program("capsh").get_program(), dir.path().join("copy")).unwrap();
    dir
}

fn script(dir: &Path, mode: u32) {
    let path = dir.join("script");
    fs::write(&path, format!("#!/bin/sh\n{STATUS}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs the copy of `capsh` in `dir`.
fn copy(dir: &Path, line: &str) -> Ran {
    ran(std::process::Command::new(dir.join("copy")).current_dir(dir).args(line.split(' ')))
}

const AS_NOBODY: &str = "--user=nobody --inh=cap_net_raw --addamb=cap_net_raw";

fn questions_that_need_no_privilege() {
    for (line, want) in [
        ("--supports=cap_chown", true),
        ("--supports=63", false),
        ("--has-a=63", false),
        ("--has-b=63", false),
        ("--has-e=63", false),
        ("--has-i=63", false),
        ("--dropped=63", true),
        ("--has-no-new-privs", false),
        ("--has-ambient", true),
        ("--has-p=cap_chown,", false),
        ("--has-p=chown", false),
        ("--is-uid=4294967296", false),
    ] {
        assert_eq!(answers(line), want, "{line}");
    }
}

fn masks_that_are_none() {
    let mask = capsh(["--decode=00000000a80425fb"]);
    assert!(mask.out.starts_with("0x00000000a80425fb=cap_chown,cap_dac_override,cap_fowner,"));
    assert_eq!(capsh(["--decode=0X1"]).out, "0x0000000000000001=cap_chown\n");
    for line in ["--decode=", "--decode=0x", "--decode=zz", "--decode=1g", "--decode=-1"] {
        assert_eq!(capsh([line]).status, Some(1), "{line}");
    }
    assert_eq!(capsh(["--decode=10000000000000000"]).status, Some(1));
}

fn help_and_mistakes() {
    let help = capsh(["--help"]);
    assert!(help.out.starts_with("usage: capsh "), "{}", help.out);
    assert_eq!((help.status, &*help.err), (Some(0), ""));
    assert_eq!(capsh(["-h"]), help);
    let wrong = capsh(["--bogus"]);
    assert_eq!((wrong.status, &wrong.out), (Some(1), &help.out));
    assert_eq!(wrong.err, "capsh: --bogus: unknown option\n");
    assert_eq!(capsh(["--mode", "--help"]).status, Some(1));
    assert_eq!(capsh([]), Ran { status: Some(0), out: String::new(), err: String::new() });
    let escaped = capsh(["--user=\x1b[31m"]);
    assert!(!escaped.err.contains('\x1b'), "{}", escaped.err);
}

fn an_answer_is_no_error() {
    assert_eq!(capsh(["--has-p=63"]).err, "cap[63] not permitted\n");
    assert_eq!(capsh(["--is-uid=7777"]).err.lines().count(), 1);
    let mode = capsh(["--inmode=NOPRIV"]);
    assert_eq!((&*mode.out, &*mode.err), ("mismatched mode got=HYBRID want=NOPRIV\n", ""));
}

fn steps_are_taken_in_their_order() {
    let ran = capsh(["--current", "--caps=cap_kill=p", "--current", "--bogus", "--current"]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.out.starts_with(
        "Current: =ep\nCurrent IAB: \nCurrent: cap_kill=p\nCurrent IAB: \nusage: capsh"
    ));
    let late = capsh(["--caps=cap_kill=p", "--drop=cap_kill"]);
    assert_eq!(late.status, Some(1));
    assert_eq!(
        late.err,
        "capsh: --drop=cap_kill: cap_kill: cannot drop a capability from the bounding set: \
         Operation not permitted (cap_setpcap is not permitted)\n"
    );
    assert_eq!(capsh(["--drop=cap_kill", "--caps=cap_kill=p"]).status, Some(0));
}

fn effective_is_asked_for() {
    assert!(answers("--has-e=cap_kill"));
    assert!(answers("--caps=cap_kill=p --has-p=cap_kill"));
    assert!(!answers("--caps=cap_kill=p --has-e=cap_kill"));
}

fn securebits_by_name() {
    let ran = capsh(["--securebits=noroot,no-setuid-fixup-locked,exec-restrict-file", "--print"]);
    assert!(ran.out.contains("Securebits: 0411/0x109/9'b100001001 (no-new-privs=0)\n"), "{ran:?}");
    assert!(ran.out.contains(" secure-noroot: yes (unlocked)\n"));
    assert!(ran.out.contains(" secure-no-suid-fixup: no (locked)\n"));
    assert!(ran.out.contains(" secure-exec-restrict-file: yes (unlocked)\n"));
    assert!(!ran.out.contains("secure-exec-deny-interactive"));
    // CAP_SETPCAP need only be permitted, except with --strict.
    assert!(answers("--caps==p --securebits=noroot"));
    assert!(!answers("--caps==p --strict --securebits=noroot"));
    assert!(!answers("--securebits=root"));
}

fn securebits_are_locked() {
    for bits in ["0x2f", "0xef"] {
        let set = format!("--secbits={bits}");
        assert!(answers(&set));
        assert!(!answers(&format!("{set} --secbits=0")), "{bits}");
        assert!(!answers(&format!("{set} --keep=1")), "{bits}");
        // User 0 is an ordinary user, so executing a program grants nothing.
        let ran = shell(&set, STATUS);
        assert_eq!(field(&ran, "Uid"), "0\t0\t0\t0");
        assert_eq!([self::set(&ran, "CapPrm"), self::set(&ran, "CapEff")], [CapSet::empty(); 2]);
    }
    let ambient = "--inh=cap_kill --addamb=cap_kill";
    let kept = shell(&format!("--secbits=0x2f {ambient}"), STATUS);
    assert_eq!(set(&kept, "CapPrm"), Cap::KILL.into());
    assert!(!answers(&format!("--secbits=0xef {ambient}")));
}

fn the_bounding_set_limits_what_is_permitted_and_not_what_is_inheritable() {
    let dropped = shell("--drop=cap_kill", STATUS);
    assert!(!set(&dropped, "CapPrm").contains(Cap::KILL));
    let inherited = shell("--inh=cap_kill --drop=cap_kill", STATUS);
    assert!(!set(&inherited, "CapBnd").contains(Cap::KILL));
    assert!(set(&inherited, "CapInh").contains(Cap::KILL));
    assert!(set(&inherited, "CapPrm").contains(Cap::KILL));
    // A dropped capability cannot become inheritable.
    assert!(!answers("--drop=cap_kill --inh=cap_kill"));
}

fn chroot_reads_the_passwd_of_the_new_root() {
    let dir = directory();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/passwd"), "chief:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(dir.path().join("etc/group"), "chiefs:x:0:\n").unwrap();
    let root = format!("--chroot={}", dir.path().display());
    let ran = capsh(["--caps==p", &root, "--print"]);
    assert!(ran.out.contains("Current: =p\n"), "{ran:?}");
    assert!(ran.out.contains("uid=0(chief) euid=0(chief)\ngid=0(chiefs)\n"), "{ran:?}");
    let none = capsh(["--chroot=/none", "--print"]);
    assert_eq!((none.status, &*none.out), (Some(1), ""));
    assert!(none.err.contains("/none") && none.err.contains("No such file"), "{}", none.err);
}

fn print_as_json() {
    let ran = capsh(["--iab=!cap_chown,^cap_kill", "--print", "--json", "--print"]);
    let (text, json) = ran.out.split_once("Guessed mode: HYBRID (4)\n").unwrap();
    assert!(text.starts_with("Current: =ep cap_kill+i\n"));
    assert_eq!(json.lines().count(), 1);
    let json: Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["text"], "=ep cap_kill+i");
    assert_eq!(json["iab"], "!cap_chown,^cap_kill");
    assert_eq!(json["ambient"], serde_json::json!(["cap_kill"]));
    assert_eq!(json["securebits"], 0);
    assert_eq!(json["no_new_privs"], false);
    assert_eq!(json["uid"], 0);
    assert_eq!(json["mode"], "HYBRID");
}

fn output_comes_before_that_of_a_program() {
    for line in [["--", "-c"], ["-+", "-c"]] {
        let ran = capsh(["--mode"].into_iter().chain(line).chain(["echo shell"]));
        assert_eq!(ran.out, "Mode: HYBRID\nshell\n");
    }
}

fn a_program_without_a_shell() {
    let ran = capsh(["--exec", "printf", "%s|", "a b", "$HOME", ""]);
    assert_eq!((ran.status, &*ran.out), (Some(0), "a b|$HOME||"));
    assert_eq!(capsh(["--exec", "sh", "-c", "exit 7"]).status, Some(7));
    let none = capsh(["--exec", "no-such-program"]);
    assert_eq!(none.status, Some(1));
    assert_eq!(
        none.err,
        "capsh: --exec: cannot execute no-such-program: No such file or directory\n"
    );
    assert_eq!(capsh(["--exec"]).status, Some(1));
    // The shell is a path, and is not searched for.
    assert_eq!(capsh(["--shell=sh", "--", "-c", "exit 7"]).status, Some(1));
    assert_eq!(capsh(["--shell=/bin/sh", "--", "-c", "exit 7"]).status, Some(7));
}

fn capsh_again() {
    for how in ["==", "=+"] {
        let ran = capsh(["--iab=^cap_kill", "--secbits=1", how, "--current"]);
        assert_eq!(ran.out, "Current: cap_kill=eip\nCurrent IAB: ^cap_kill\n", "{how}");
        // The name can also consist of two words.
        let ran = run(Path::new("/"), "rcap", ["capsh", "--secbits=1", how, "--current"]);
        assert_eq!(ran.out, "Current: =\nCurrent IAB: \n", "{how}");
        assert_eq!(capsh([how, "--bogus"]).status, Some(1));
    }
    let dir = directory();
    let link = dir.path().join("capsh");
    symlink(program("rcap").get_program(), &link).unwrap();
    let ran = ran(std::process::Command::new(&link).args(["==", "--mode"]));
    assert_eq!(ran.out, "Mode: HYBRID\n");
}

fn a_child_that_is_killed() {
    for signal in ["9", "15", "10"] {
        assert!(answers(&format!("--forkfor=60 --killit={signal}")), "{signal}");
    }
    assert!(!answers("--killit=9"));
    assert!(!answers("--forkfor=0"));
    assert!(!answers("--forkfor=1 --killit=99"));
    assert!(!answers("--forkfor=1 --killit=17"), "it ends by itself");
    let ran = capsh(["-+", "-c", "kill -9 $$"]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.err.starts_with("child PID=") && ran.err.ends_with(" terminated by signo=9\n"));
    assert_eq!(capsh(["-+", "-c", "exit 200"]).status, Some(200));
}

fn a_dry_run_runs_nothing() {
    let dir = directory();
    let file = dir.path().join("made");
    let touch = format!("touch {}", file.display());
    for how in ["--", "-+"] {
        let ran = capsh(["--dry-run", "--drop=cap_kill", how, "-c", &touch]);
        assert_eq!((ran.status, &*ran.err), (Some(0), ""));
        assert!(ran.out.contains("\n--drop=cap_kill "), "{}", ran.out);
        assert!(ran.out.contains(" [] dropped=cap_kill uid=0\n"), "{}", ran.out);
        assert!(ran.out.contains("\nan ordinary program would have "), "{}", ran.out);
        assert!(!file.exists());
    }
    let failed = capsh(["--dry-run", "--addamb=cap_kill", "--mode"]);
    assert_eq!(failed.status, Some(1));
    assert!(failed.err.contains("--addamb=cap_kill: "), "{}", failed.err);
}

fn keep_caps_across_a_change_of_the_user() {
    let lost = shell("--uid=65534", STATUS);
    assert_eq!(field(&lost, "Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(set(&lost, "CapPrm"), CapSet::empty());
    assert!(!answers("--uid=65534 --has-p=cap_net_raw"));
    assert!(answers("--keep=1 --uid=65534 --has-p=cap_net_raw"));
    assert!(!answers("--keep=1 --uid=65534 --has-e=cap_net_raw"));
    assert!(answers("--cap-uid=65534 --has-p=cap_net_raw"));
    let kept = shell("--keep=1 --uid=65534 --caps=cap_net_raw=eip --addamb=cap_net_raw", STATUS);
    assert_eq!(field(&kept, "Uid"), "65534\t65534\t65534\t65534");
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(set(&kept, name), Cap::NET_RAW.into(), "{name}");
    }
}

fn a_user_with_ambient_capabilities() {
    let ran = shell(AS_NOBODY, STATUS);
    assert_eq!(field(&ran, "Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(field(&ran, "Gid"), "65534\t65534\t65534\t65534");
    assert_eq!(field(&ran, "Groups"), "65534");
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(set(&ran, name), Cap::NET_RAW.into(), "{name}");
    }
    let ran = shell("--user=nobody --iab=^cap_net_raw", STATUS);
    assert_eq!(set(&ran, "CapAmb"), Cap::NET_RAW.into());
    // In the opposite order, changing the user clears the ambient set.
    let ran = shell("--inh=cap_net_raw --addamb=cap_net_raw --user=nobody", STATUS);
    assert_eq!(set(&ran, "CapPrm"), CapSet::empty());
}

fn the_environment_of_a_user() {
    let script = r#"echo "$HOME $USER""#;
    let line = ["--user=nobody", "--shell=/bin/sh", "--", "-c", script];
    let run = |noenv: &[&str]| {
        let mut capsh = program("capsh");
        ran(capsh.env_remove("USER").env("HOME", "/old").args(noenv).args(line)).out
    };
    assert_eq!(run(&[]), "/nonexistent nobody\n");
    assert_eq!(run(&["--noenv"]), "/old \n");
}

fn a_file_with_an_empty_set_blocks_ambient() {
    let dir = public();
    let asked = format!("{AS_NOBODY} --exec ./copy --has-a=cap_net_raw");
    assert_eq!(copy(dir.path(), &asked).status, Some(0));
    assert_eq!(run(dir.path(), "setcap", ["=", "copy"]).status, Some(0));
    let blocked = copy(dir.path(), &asked);
    assert_eq!(blocked.err, "cap[cap_net_raw] not in ambient vector\n");
    let nothing = copy(dir.path(), &format!("{AS_NOBODY} --exec ./copy --current"));
    assert_eq!(nothing.out.lines().next(), Some("Current: cap_net_raw=i"));
    assert_eq!(run(dir.path(), "setcap", ["-r", "copy"]).status, Some(0));
    assert_eq!(copy(dir.path(), &asked).status, Some(0));
}

fn a_set_user_id_script_gains_nothing() {
    let dir = public();
    script(dir.path(), 0o4755);
    let ran = copy(dir.path(), "--user=nobody --exec ./script");
    assert_eq!(field(&ran, "Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(set(&ran, "CapPrm"), CapSet::empty());
    // Only the script has no privileges: a program with this bit has them.
    fs::set_permissions(dir.path().join("copy"), fs::Permissions::from_mode(0o4755)).unwrap();
    let ran = copy(dir.path(), "--user=nobody --exec ./copy --has-p=cap_net_raw --print");
    assert!(ran.out.contains("uid=65534(nobody) euid=0(root)\n"), "{ran:?}");
}

fn a_namespaced_file_capability_has_no_power_outside() {
    let dir = public();
    let asked = "--user=nobody --exec ./copy --has-p=cap_net_raw";
    let set = |args: &[&str]| {
        assert_eq!(run(dir.path(), "setcap", args).status, Some(0), "{args:?}");
    };
    set(&["-n", "1", "cap_net_raw=ep", "copy"]);
    assert_eq!(copy(dir.path(), asked).err, "cap[cap_net_raw] not permitted\n");
    set(&["cap_net_raw=ep", "copy"]);
    assert_eq!(copy(dir.path(), asked).status, Some(0));
}

fn ambient_through_a_script() {
    let dir = public();
    script(dir.path(), 0o755);
    let ran = copy(dir.path(), &format!("{AS_NOBODY} --exec ./script"));
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(set(&ran, name), Cap::NET_RAW.into(), "{name}");
    }
}

fn a_copy_under_another_name() {
    let dir = public();
    // Operations of a program that has the capability from its file.
    assert_eq!(run(dir.path(), "setcap", ["cap_net_raw=p", "copy"]).status, Some(0));
    let line = "--user=nobody --exec ./copy --current --caps=cap_net_raw=ep --has-e=cap_net_raw";
    let ran = copy(dir.path(), line);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.out.lines().next(), Some("Current: cap_net_raw=p"));
}

fn a_dry_run_tells_what_a_program_has() {
    for line in [
        "--caps=",
        "--caps=cap_chown=ep --no-new-privs",
        "--no-new-privs --caps=cap_net_raw=eip --addamb=cap_net_raw",
        "--drop=cap_kill --no-new-privs",
        "--inh=cap_kill --drop=cap_kill",
        "--secbits=1 --iab=^cap_kill",
        "--secbits=1 --iab=^cap_kill --no-new-privs",
        "--secbits=1 --caps=cap_kill=eip",
        "--mode=PURE1E",
        "--mode=NOPRIV",
        "--iab=!cap_chown,^cap_kill",
    ] {
        let steps = || line.split(' ');
        let dry = capsh(["--dry-run"].into_iter().chain(steps()).chain(["==", "--current"]));
        let label = "an ordinary program would have ";
        let told = dry.out.lines().find_map(|line| line.strip_prefix(label)).unwrap();
        let real = capsh(steps().chain(["==", "--current"]));
        let has = real.out.lines().next().unwrap().strip_prefix("Current: ").unwrap();
        assert!(told.trim().starts_with(&format!("{has} [")), "{line}: {told} and {has}");
    }
}

fn a_dry_run_finds_the_step_that_loses() {
    let words = |line: &str| -> Vec<String> {
        let ran = capsh(line.split(' '));
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let words = ran.out.lines().filter_map(|line| line.strip_prefix("    "));
        words.map(str::to_owned).collect()
    };
    assert_eq!(
        words("--dry-run --inh=cap_net_raw --addamb=cap_net_raw --user=nobody"),
        ["--user=nobody removes cap_net_raw from the ambient set: put it before \
          --addamb=cap_net_raw"]
    );
    assert_eq!(words(&format!("--dry-run {AS_NOBODY} --exec true")), [""; 0]);
    assert_eq!(
        words("--dry-run --inh=cap_net_raw --addamb=cap_net_raw --caps=cap_kill=p")[0],
        "--caps=cap_kill=p removes cap_net_raw from the ambient set: --addamb=cap_net_raw \
         added it"
    );
    assert_eq!(
        words("--dry-run --caps=cap_setuid,cap_kill=ep --uid=65534 --inh="),
        ["--uid=65534 removes cap_kill,cap_setuid from the permitted set: put --keep=1 right \
          before it, or use --cap-uid= or --user="]
    );
    assert_eq!(
        words("--dry-run --user=nobody --inh=cap_net_raw --exec true"),
        ["execution loses cap_net_raw: a non-root user keeps only ambient capabilities"]
    );
    assert_eq!(
        words("--dry-run --drop=all --exec true"),
        [""; 0],
        "root loses what is dropped, and is not told to make it ambient"
    );
    let given = words("--dry-run --caps=cap_chown=ep --exec true");
    assert!(given[0].starts_with("execution grants ") && given.len() == 1, "{given:?}");
    assert_eq!(words("--dry-run --iab=^cap_kill --noamb --inh="), [""; 0]);
}

fn a_refusal_says_why() {
    for (line, why) in [
        ("--addamb=cap_kill", "(the capability is not inheritable; use --inh=)"),
        ("--caps= --addamb=cap_kill", "(the capability is not permitted)"),
        ("--secbits=0x40 --inh=cap_kill --addamb=cap_kill", "no-cap-ambient-raise is set)"),
        ("--caps=cap_kill=p --caps=cap_kill,cap_chown=p", "(cap_chown is not permitted)"),
        ("--caps=cap_kill=p --inh=cap_chown", "(cap_chown is not permitted, nor is cap_setpcap)"),
        ("--drop=cap_kill --inh=cap_kill", "(cap_kill is not in the bounding set)"),
        ("--caps=cap_setpcap=p --secbits=1", "(cap_setpcap is not effective)"),
        ("--caps=cap_kill=p --mode=PURE1E", "(cap_setpcap is not permitted)"),
        ("--caps=cap_kill=p --chroot=/", "(cap_sys_chroot is not permitted)"),
        ("--user", "capsh: --user: needs a value: --user=NAME\n"),
        ("--inh=cap_chown,none", "at byte 10 of \"cap_chown,none+i\"\n"),
    ] {
        let ran = capsh(line.split(' '));
        assert_eq!(ran.status, Some(1), "{line}");
        assert!(ran.err.trim_end().ends_with(why.trim_end()), "{line}: {}", ran.err);
    }
}
