//! docs/tutorial.md: every command prints what the page shows.

mod common;

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    debian::{DEBIAN, PATH_INSIDE, debian},
    directory,
    docker::{DOCKER, Daemon, root_file_system},
    program, ran, which,
};
use nix::sched::{CloneFlags, unshare};

tests! {
    Tracing [DEBIAN, DOCKER, "nc ping"]:
        with_docker;
    Tracing [DOCKER, "docker-compose ip ping"]:
        with_compose;
    Tracing [DEBIAN, "ip nc ping"]:
        without_docker;
}

const TUTORIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tutorial.md");

/// A command of the tutorial and its output. `...` stands for any lines.
struct Step {
    command: String,
    output: Vec<String>,
}

/// Returns the steps of a part, given its heading.
fn steps(heading: &str) -> Vec<Step> {
    let text = fs::read_to_string(TUTORIAL).unwrap();
    let part = text.split("\n## ").find(|part| part.starts_with(heading)).expect("the part");
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in part.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let (true, Some(command)) = (inside, line.strip_prefix("# ")) {
            steps.push(Step { command: command.to_owned(), output: Vec::new() });
        } else if let (true, Some(step)) = (inside, steps.last_mut()) {
            match step.command.strip_suffix('\\') {
                Some(command) if step.output.is_empty() => {
                    step.command = format!("{command}{}", line.trim_start_matches("> "));
                }
                _ => step.output.push(line.to_owned()),
            }
        }
    }
    let commands = part.matches("\n# ").count();
    assert_ne!(commands, 0, "{heading}");
    assert_eq!(steps.len(), commands, "{heading}");
    steps
}

/// Returns the file of a part, which its reader saves.
fn file(heading: &str) -> String {
    let text = fs::read_to_string(TUTORIAL).unwrap();
    let part = text.split("\n## ").find(|part| part.starts_with(heading)).expect("the part");
    let (_, file) = part.split_once("```yaml\n").expect("the file");
    file.split_once("```").unwrap().0.to_owned()
}

/// Returns whether the output matches.
fn fits(want: &[String], got: &[&str]) -> bool {
    match (want.split_first(), got.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "..." => {
            (0..=got.len()).any(|skipped| fits(rest, &got[skipped..]))
        }
        (Some((first, want)), Some((line, got))) => {
            first.trim_end() == line.trim_end() && fits(want, got)
        }
        _ => false,
    }
}

/// Runs all steps in a directory where `rcap` is found, and compares the output.
fn follow(heading: &str, dir: &Path, prepare: impl Fn(&mut Command, &str) -> String) {
    let bin = dir.join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(program("rcap").get_program(), bin.join("rcap")).unwrap();
    // A copy of ping with Debian's capabilities, which the installed file may have lost.
    fs::copy(which("ping").unwrap(), bin.join("ping")).unwrap();
    assert_eq!(common::run(&bin, "setcap", ["cap_net_raw=ep", "ping"]).status, Some(0));
    let others = env::var("PATH").unwrap();
    let path = format!("{}:{others}:{PATH_INSIDE}", bin.display());
    let mut differing = Vec::new();
    for Step { command, output } in steps(heading) {
        let mut shell = Command::new("timeout");
        shell.args(["1h", "bash"]);
        shell.current_dir(dir).env("PATH", &path).env_remove("LD_LIBRARY_PATH");
        let real = prepare(&mut shell, &command);
        let ran = ran(shell.args(["-c", &format!("({real}) 2>&1")]).stdin(Stdio::null()));
        let out = ran
            .out
            .replace("rcap-test", "hello")
            .replace("docker run --network none", "docker run")
            .replace("docker-compose", "docker compose")
            .replace(bin.to_str().unwrap(), "/usr/bin");
        let lines: Vec<&str> = out.lines().collect();
        if !fits(&output, &lines) {
            let want = output.join("\n");
            differing.push(format!("# {command}\n{}\n-- and not\n{want}\n", ran.out));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

fn with_docker() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &debian());
    assert_eq!(daemon.docker(&["tag", "rcap-test:1", "debian"]).status, Some(0));
    let root = root_file_system(&dir.path().join("small"));
    for name in ["nc", "timeout", "id"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let import = "tar -C \"$0\" -c . | docker import - busybox";
    assert_eq!(ran(daemon.client("sh").args(["-c", import]).arg(root)).status, Some(0));
    let client = daemon.client("docker");
    let variables: Vec<_> = client
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()))
        .collect();
    follow("With Docker", dir.path(), |shell, command| {
        shell.envs(variables.clone());
        // The test's daemon has no bridge, and the package is in the image.
        let command = command.replace("docker run", "docker run --network none");
        command.replace(" hello", " rcap-test")
    });
}

fn with_compose() {
    let dir = directory();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    assert_eq!(ran(Command::new("ip").args("link set lo up".split(' '))).status, Some(0));
    let root = root_file_system(dir.path());
    for name in ["httpd", "wget"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let daemon = Daemon::start(dir.path(), &root);
    assert_eq!(daemon.docker(&["tag", "rcap-test:1", "busybox"]).status, Some(0));
    let project = dir.path().join("shop");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("compose.yaml"), file("With Compose")).unwrap();
    let client = daemon.client("docker");
    let variables: Vec<_> = client
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()))
        .collect();
    follow("With Compose", &project, |shell, command| {
        shell.envs(variables.clone());
        // Debian 12 has docker-compose 1, which is a program of its own.
        command.replace("docker compose", "docker-compose")
    });
}

fn without_docker() {
    let dir = directory();
    symlink(debian(), dir.path().join("debian")).unwrap();
    // In this network namespace, every port is free.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    assert_eq!(ran(Command::new("ip").args("link set lo up".split(' '))).status, Some(0));
    follow("Without Docker", dir.path(), |_, command| command.replace(" hello", " rcap-test"));
}
