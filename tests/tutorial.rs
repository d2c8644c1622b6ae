//! docs/tutorial.md: every command prints what the page shows.

mod common;

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use common::{
    debian::{DEBIAN, debian},
    directory,
    docker::{DOCKER, Daemon, root_file_system},
    page::Page,
    ran, which,
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

const TUTORIAL: Page = Page("tutorial.md");

/// Runs all steps of a part of the page.
fn follow(heading: &str, dir: &Path, prepare: impl Fn(&mut Command, &str) -> String) {
    let bin = dir.join("bin");
    fs::create_dir(&bin).unwrap();
    // A copy of ping with Debian's capabilities, which the installed file may have lost.
    fs::copy(which("ping").unwrap(), bin.join("ping")).unwrap();
    assert_eq!(common::run(&bin, "setcap", ["cap_net_raw=ep", "ping"]).status, Some(0));
    TUTORIAL.follow(heading, dir, prepare, |out| {
        out.replace("rcap-test", "hello")
            .replace("docker run --network none", "docker run")
            .replace("docker-compose", "docker compose")
    });
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
    fs::write(project.join("compose.yaml"), TUTORIAL.file("With Compose", "yaml")).unwrap();
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
