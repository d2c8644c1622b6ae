//! What rcap is for, shown on a real program: an ordinary user may not bind port 80, and may once
//! the program has a file capability.
//!
//!     cargo build --release && cargo run --release --example demo
//!
//! It works as root and as an ordinary user. It changes nothing on the machine: it copies the
//! program to a temporary directory, and gives it a network of its own to bind the port in.

#![allow(clippy::print_stdout)]

use std::{
    env,
    error::Error,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Programs that listen on port 80 with these arguments; the first that is installed is taken.
const PROGRAMS: &[(&str, &str)] = &[
    ("nc", "-l -p 80"),
    ("ncat", "-l 80"),
    ("busybox", "nc -l -p 80"),
    ("python3", "-m http.server 80"),
];

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("as-user") => become_a_user_and_execute(&args[1..]),
        Some("listen") => listen(),
        _ => demonstrate(),
    }
}

fn demonstrate() -> Result<()> {
    let rcap = env::current_exe()?.with_file_name("../rcap").canonicalize();
    let rcap = rcap.map_err(|_| "there is no rcap yet: run `cargo build --release` first")?;
    let root = geteuid().is_root() && is_initial()?;
    if root {
        println!("This is root, so the program is started as the user 65534 (nobody).");
    } else {
        println!(
            "This is not root. Setting a file capability takes CAP_SETFCAP, so a user namespace is\n\
             made, in which you have every capability, over your own files and nothing else. The\n\
             program is started in a second one inside it, as an ordinary user without any."
        );
        enter_user_namespace(0)?;
    }
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let (name, args) = copy_a_program(dir.path())?;
    let command = format!("./{name} {args}");

    println!("\nWithout a capability:\n  $ {command}");
    let output = start(dir.path(), &command)?.wait_with_output()?;
    print_indented(&[output.stdout, output.stderr].concat());

    println!("\nWith one:");
    show(dir.path(), &rcap, &format!("setcap cap_net_bind_service+ep ./{name}"))?;
    show(dir.path(), &rcap, &format!("getcap ./{name}"))?;
    println!("  $ {command} &");
    let mut child = start(dir.path(), &command)?;
    let bound = wait_until_it_listens(&mut child);
    if bound.is_ok() {
        let pid = child.id();
        let whose = if root { "the user 65534" } else { "the user 1000 of its user namespace" };
        println!("  process {pid} of {whose} listens on port 80");
        show(dir.path(), &rcap, &format!("getpcaps {pid}"))?;
    }
    child.kill()?;
    let output = child.wait_with_output()?;
    if bound.is_err() {
        print_indented(&[output.stdout, output.stderr].concat());
    }
    bound
}

/// Copies a program that can listen, or this one, and returns its name and arguments.
fn copy_a_program(dir: &Path) -> Result<(&'static str, &'static str)> {
    let path = env::var_os("PATH").unwrap_or_default();
    let find = |name| env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    let found = PROGRAMS.iter().find_map(|&(name, args)| Some((find(name)?, name, args)));
    let own = || -> Result<(PathBuf, _, _)> { Ok((env::current_exe()?, "server", "listen")) };
    let (file, name, args) = found.map_or_else(own, Ok)?;
    println!("\nThe program is a copy of {}.", file.display());
    fs::copy(file, dir.join(name))?;
    Ok((name, args))
}

/// Starts a command as an ordinary user, with a network of its own.
fn start(dir: &Path, command: &str) -> Result<Child> {
    let child = Command::new(env::current_exe()?)
        .arg("as-user")
        .args(command.split(' '))
        .current_dir(dir)
        .stdin(Stdio::piped()) // open, and silent: nc would end with it
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn become_a_user_and_execute(command: &[String]) -> Result<()> {
    if is_initial()? {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|err| {
            format!("a network of its own takes CAP_SYS_ADMIN, which this root lacks: {err}")
        })?;
        let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    } else {
        enter_user_namespace(1000)?;
        unshare(CloneFlags::CLONE_NEWNET)?;
    }
    let [program, args @ ..] = command else { return Err("as-user needs a program".into()) };
    Err(Command::new(program).args(args).exec().into())
}

/// Whether this is the user namespace that the machine started with.
fn is_initial() -> Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// Makes a user namespace in which this process has every capability and the user id `id`.
fn enter_user_namespace(id: u32) -> Result<()> {
    let (uid, gid) = (geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // In an inner one it has been denied before.
    let _ = fs::write("/proc/self/setgroups", "deny");
    fs::write("/proc/self/uid_map", format!("{id} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{id} {gid} 1"))?;
    Ok(())
}

fn wait_until_it_listens(child: &mut Child) -> Result<()> {
    /// Of a line of /proc/PID/net/tcp: port 80, and the state of a socket that listens.
    const LISTENING: (&str, &str) = (":0050", "0A");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        for table in ["tcp", "tcp6"] {
            let sockets = fs::read_to_string(format!("/proc/{}/net/{table}", child.id()));
            for line in sockets.unwrap_or_default().lines() {
                let fields: Vec<_> = line.split_ascii_whitespace().collect();
                if fields.len() > 3 && fields[1].ends_with(LISTENING.0) && fields[3] == LISTENING.1
                {
                    return Ok(());
                }
            }
        }
        if child.try_wait()?.is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err("the program does not listen on port 80".into())
}

/// Prints a command of rcap, runs it and prints what it prints.
fn show(dir: &Path, rcap: &Path, args: &str) -> Result<()> {
    println!("  $ rcap {args}");
    let output = Command::new(rcap).args(args.split(' ')).current_dir(dir).output()?;
    print_indented(&[output.stdout, output.stderr].concat());
    if output.status.success() { Ok(()) } else { Err("it failed".into()) }
}

fn print_indented(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    // Of a traceback, the last line says it.
    let skip = text.lines().count().saturating_sub(2);
    for line in text.lines().skip(skip) {
        println!("  {line}");
    }
}

/// Where none of the programs is installed, this is one.
fn listen() -> Result<()> {
    let _listener = std::net::TcpListener::bind(("0.0.0.0", 80))?;
    loop {
        thread::park();
    }
}
