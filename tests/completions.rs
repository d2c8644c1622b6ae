//! `rcap completions` in real shells.

mod common;

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    process::Command,
};

use common::{directory, program, ran};
use nix::unistd::geteuid;
use rcap::CapSet;

tests! {
    Nothing:
        everything_is_in_it,
        usage,
        install,
        bash;
    Nothing ["zsh"]:
        zsh;
    Nothing ["fish"]:
        fish;
}

/// The user nobody, and its group.
const NOBODY: u32 = 65534;

const LIBCAPS: [&str; 5] = ["getcap", "setcap", "getpcaps", "capsh", "captree"];

fn script(args: &[&str]) -> String {
    let ran = ran(program("rcap").arg("completions").args(args));
    assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{args:?}");
    ran.out
}

fn usage() {
    for args in [&[][..], &["tcsh"], &["--for", "nc", "bash"]] {
        let ran = ran(program("rcap").arg("completions").args(args));
        assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{args:?}");
    }
}

fn install() {
    let home = directory();
    let rcap = home.path().join("program");
    fs::copy(program("rcap").get_program(), &rcap).unwrap();
    // Root would install for all users.
    let is_root = geteuid().is_root();
    if is_root {
        chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let as_user = || {
        let mut command = Command::new(&rcap);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.args(["completions", "--install"]).env_clear();
        command
    };
    for (shell, place) in [
        ("bash", ".local/share/bash-completion/completions/rcap"),
        ("zsh", ".local/share/zsh/site-functions/_rcap"),
        ("fish", ".config/fish/completions/rcap.fish"),
    ] {
        let place = home.path().join(place);
        for _again in 0..2 {
            let ran = ran(as_user().arg(shell).env("HOME", home.path()));
            assert_eq!((ran.status, ran.out), (Some(0), format!("{}\n", place.display())));
        }
        assert_eq!(fs::read_to_string(&place).unwrap(), script(&[shell]));
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o644);
        // No temporary file is left.
        let siblings = fs::read_dir(place.parent().unwrap()).unwrap().count();
        assert_eq!(siblings, 1, "{shell}");
    }
    let ran = ran(as_user().arg("bash"));
    assert_eq!((ran.status, &*ran.out), (Some(2), ""));
}

/// The commands of `rcap --help`, in order.
const COMMANDS: &[&str] = &[
    "getcap",
    "getpcaps",
    "captree",
    "scan",
    "check",
    "setcap",
    "save",
    "restore",
    "run",
    "capsh",
    "trace",
    "minimize",
    "harden",
    "verify",
    "report",
    "why",
    "explain",
    "suggest",
    "export",
    "diff",
    "decode",
    "completions",
    "man",
    "oci-hook",
    "oci-runtime",
];

/// Returns the commands that `rcap --help` lists.
fn commands() -> Vec<String> {
    let help = ran(program("rcap").arg("--help")).out;
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let names = lines.filter(|line| line.starts_with(|char: char| char.is_ascii_lowercase()));
    let names = names.map(|line| line.split(' ').next().unwrap());
    let plumbing = help.lines().find_map(|line| line.strip_prefix("Plumbing: ")).unwrap();
    names.chain(plumbing.split(", ")).map(str::to_owned).collect()
}

fn everything_is_in_it() {
    let commands = commands();
    assert_eq!(commands, COMMANDS);
    for shell in ["bash", "zsh", "fish"] {
        let script = script(&[shell]);
        for name in &commands {
            assert!(script.contains(&**name), "{shell}: {name}");
        }
        for option in ["cap-drop", "no-new-privs", "same-output", "follow", "capable", "securebits"]
        {
            assert!(script.contains(option), "{shell}: {option}");
        }
        for name in LIBCAPS {
            assert!(self::script(&["--for", name, shell]).contains(name));
        }
    }
}

/// Returns the completions of a line in a shell with the printed script.
fn completed(shell: &str, lines: &str) -> Vec<String> {
    let dir = directory();
    let path = dir.path().join("script");
    fs::write(&path, script(&[shell])).unwrap();
    // The programs that the shells ask.
    for (name, text) in [
        ("systemctl", "ssh.service loaded active running OpenSSH\nssh@1.service loaded active x\n"),
        ("docker", "web\ndb\n"),
        ("podman", "worker\n"),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\nprintf '{text}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let tools = std::path::Path::new(program("rcap").get_program()).parent().unwrap().to_owned();
    let path = path.display();
    let others = std::env::var("PATH").unwrap();
    let ran = ran(Command::new(shell)
        .args(["-c", &lines.replace("SCRIPT", &path.to_string())])
        .env("PATH", format!("{}:{}:{others}", tools.display(), dir.path().display())));
    assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{shell}");
    ran.out.split_whitespace().map(str::to_owned).collect()
}

fn bash() {
    let words = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let last = words.len() - 1;
        let before = if last > 0 { words[last - 1] } else { "" };
        let text = format!(
            ". SCRIPT; COMP_WORDS=({}); COMP_CWORD={last}; _rcap rcap '{}' '{before}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            quoted.join(" "),
            words[last]
        );
        completed("bash", &text)
    };
    assert_eq!(words("rcap tr"), ["trace"]);
    assert_eq!(words("rcap run --cap-d"), ["--cap-drop"]);
    assert_eq!(words("rcap run --profile podm"), ["podman"]);
    assert_eq!(words("rcap run --cap-add cap_net_r"), ["cap_net_raw"]);
    assert_eq!(words("rcap run --cap-add net_b"), ["net_bind_service", "net_broadcast"]);
    assert_eq!(words("rcap explain --syscall chro"), ["chroot"]);
    assert_eq!(words("rcap explain --program pin"), ["ping"]);
    assert_eq!(words("rcap trace --unit ssh"), ["ssh.service", "ssh@1.service"]);
    assert_eq!(words("rcap trace --container we"), ["web"]);
    assert_eq!(words("rcap export --to kub"), ["kubernetes"]);
    assert_eq!(words("rcap oci-hook --sa"), ["--save"]);
    assert_eq!(words("rcap setcap --dr"), ["--dry-run"]);
    let names = CapSet::NAMED.iter().map(|cap| cap.to_string());
    let names: Vec<_> = names.filter(|name| name.starts_with("cap_sys_")).collect();
    assert_eq!(words("rcap explain cap_sys_"), names);
}

fn zsh() {
    let dir = directory();
    for name in [None].into_iter().chain(LIBCAPS.map(Some)) {
        let args = name.map_or(vec!["zsh"], |name| vec!["--for", name, "zsh"]);
        let path = dir.path().join("_script");
        fs::write(&path, script(&args)).unwrap();
        let ran = ran(Command::new("zsh").arg("-n").arg(&path));
        assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{name:?}");
    }
    let loaded = "autoload -U compinit; compinit -u -D; . SCRIPT; print ${_comps[rcap]}";
    assert_eq!(completed("zsh", loaded), ["_rcap"]);
}

fn fish() {
    let words = |line: &str| completed("fish", &format!("source SCRIPT; complete -C '{line}'"));
    assert_eq!(words("rcap tra")[0], "trace");
    assert_eq!(words("rcap run --cap-dr")[0], "--cap-drop");
    assert_eq!(words("rcap run --profile podm")[0], "podman");
    assert_eq!(words("rcap export --to kub")[0], "kubernetes");
    assert_eq!(words("rcap trace --unit ssh")[0], "ssh.service");
    assert_eq!(words("rcap trace --container we")[0], "web");
    assert_eq!(words("rcap explain --syscall chro")[0], "chroot");
}
