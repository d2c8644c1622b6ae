//! The purpose of rcap, shown with a real program: an ordinary user cannot bind port 80 until the
//! program's file has a capability.
//!
//!     cargo build --release && cargo run --release --example demo
//!
//! The program is netcat or, if netcat is not installed, a copy of this one. Everything happens in
//! a temporary directory and in separate network namespaces, so the machine does not change. As
//! root, the demonstration also runs `rcap minimize` to find the capability that the program needs.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{
    env,
    error::Error,
    fs,
    io::Read,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::statvfs::{FsFlags, statvfs},
    unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid},
};
use rcap::{Cap, CapSet, CapState};
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The capabilities to create a network namespace, change the user and set file capabilities.
const NEEDED: CapSet = CapSet::of(&[Cap::SYS_ADMIN, Cap::SETUID, Cap::SETGID, Cap::SETFCAP]);

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// The name under which a copy of this program listens.
const LISTENER: &str = "listener";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let name = args.first().and_then(|path| Path::new(path).file_name());
    let result = match args.get(1).map(String::as_str) {
        _ if name.is_some_and(|name| name == LISTENER) => listen(),
        Some("as-user") => become_a_user_and_execute(&args[2..]),
        Some("in-network") => enter_network().and_then(|()| execute(&args[2..])),
        _ => demonstrate(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{}: {err}", name.unwrap_or_default().display());
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<()> {
    let rcap = env::current_exe()?.with_file_name("../rcap").canonicalize();
    let rcap = rcap.map_err(|_| "rcap is not built: run `cargo build --release` first")?;
    let root = is_initial()? && CapState::current()?.effective.is_superset(NEEDED);
    if root {
        println!("This is root, so the program runs as an ordinary user, nobody.");
    } else {
        println!(
            "This is not root. Setting a file capability needs CAP_SETFCAP, so this runs in a user\n\
             namespace, in which you have every capability, over your own files and nothing else.\n\
             The program runs in a second one inside it, as an ordinary user without any."
        );
        if let Err(err) = enter_user_namespace(0) {
            println!("\nThis machine does not let you create one ({err}). Run this as root.");
            return Ok(());
        }
    }
    let show = Show { dir: scratch()?, rcap, root };
    if let Some(netcat) = netcat() {
        println!("The program is a copy of {}.", netcat.display());
        if show.all(&netcat, "nc", "-l -p 80").is_ok() {
            return Ok(());
        }
        println!("\nThis netcat does not listen with these options. Again, with another program:");
    }
    println!("The program is a copy of this demonstration, which can also listen on a port.");
    show.all(&env::current_exe()?, LISTENER, "80")
}

/// Returns the file of netcat, unless it is a script, which cannot have capabilities.
fn netcat() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut files = env::split_paths(&path).filter_map(|dir| dir.join("nc").canonicalize().ok());
    files.find(|file| {
        let mut magic = [0; 4];
        let read = fs::File::open(file).and_then(|mut file| file.read_exact(&mut magic));
        read.is_ok() && magic == *b"\x7fELF"
    })
}

/// Creates a directory that other users can search, on a mount where file capabilities are valid.
fn scratch() -> Result<TempDir> {
    let ignores = FsFlags::ST_NOSUID | FsFlags::ST_NOEXEC;
    let works = |dir: &PathBuf| statvfs(dir).is_ok_and(|stat| !stat.flags().intersects(ignores));
    let built = env::current_exe()?.with_file_name("");
    let places = [env::temp_dir(), "/var/tmp".into(), built];
    let place = places.iter().find(|dir| works(dir)).unwrap_or(&places[0]);
    let dir = tempfile::tempdir_in(place)?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// The state of the demonstration.
struct Show {
    dir: TempDir,
    rcap: PathBuf,
    root: bool,
}

impl Show {
    /// Runs the demonstration with a copy of a program.
    fn all(&self, file: &Path, name: &str, args: &str) -> Result<()> {
        fs::copy(file, self.dir.path().join(name))?;
        let command = format!("./{name} {args}");

        println!("\nWithout a capability:\n  $ {command}");
        let mut child = self.start(&command)?;
        if listens(&mut child)? {
            child.kill()?;
            child.wait()?;
            return Err("every user may bind port 80 here".into());
        }
        print_output(child)?;

        if self.root {
            self.minimize(&command)?;
        }

        println!("\nWith one:");
        self.rcap(&format!("setcap cap_net_bind_service+ep ./{name}"))?;
        self.rcap(&format!("getcap ./{name}"))?;
        println!("  $ {command} &");
        let mut child = self.start(&command)?;
        if !listens(&mut child)? {
            print_output(child)?;
            return Err("the program does not listen on port 80".into());
        }
        let pid = child.id();
        let whose = if self.root { "nobody" } else { "an ordinary user" };
        println!("  process {pid} of {whose} listens on port 80");
        let shown = self.rcap(&format!("getpcaps {pid}"));
        child.kill()?;
        child.wait()?;
        shown
    }

    /// Starts a command as an ordinary user, in a separate network namespace.
    fn start(&self, command: &str) -> Result<Child> {
        let child = Command::new(env::current_exe()?)
            .arg("as-user")
            .args(command.split(' '))
            .current_dir(self.dir.path())
            .stdin(Stdio::piped()) // open and silent, because netcat exits at the end of its input
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(child)
    }

    /// Runs `rcap minimize` to find the capabilities that a command needs.
    fn minimize(&self, command: &str) -> Result<()> {
        let check = "grep -q ':0050 .* 0A ' /proc/net/tcp*";
        println!(
            "\nrcap runs it with fewer and fewer capabilities, and finds the one that it needs:"
        );
        println!("  $ rcap minimize --user nobody --check \"{check}\" \\");
        println!("      --to systemd -- {command}");
        if has_oopsed() {
            println!(
                "  (Not here: this kernel has oopsed, and recording can hang until a reboot.)"
            );
            return Ok(());
        }
        let child = Command::new(env::current_exe()?)
            .arg("in-network")
            .arg(&self.rcap)
            .args(["minimize", "--user", "nobody", "--check", check, "--to", "systemd", "--"])
            .args(command.split(' '))
            .current_dir(self.dir.path())
            .env_remove("LD_LIBRARY_PATH") // its directories are closed to nobody
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if !print_output(child)? {
            println!("  (`rcap trace --check` prints the requirements.)");
        }
        Ok(())
    }

    /// Prints an rcap command, runs it and prints its output.
    fn rcap(&self, args: &str) -> Result<()> {
        println!("  $ rcap {args}");
        let child = Command::new(&self.rcap)
            .args(args.split(' '))
            .current_dir(self.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if print_output(child)? { Ok(()) } else { Err("rcap failed".into()) }
    }
}

/// Waits for a child, prints its output indented, and returns whether it succeeded.
fn print_output(child: Child) -> Result<bool> {
    let output = child.wait_with_output()?;
    for line in String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).lines() {
        println!("{}", format!("  {line}").trim_end());
    }
    Ok(output.status.success())
}

/// Waits until a child listens on port 80 or exits, and returns whether it listens.
fn listens(child: &mut Child) -> Result<bool> {
    /// Port 80 and the state of a listening socket, in a line of /proc/PID/net/tcp.
    const LISTENING: (&str, &str) = (":0050", "0A");
    let begun = Instant::now();
    // The time limit is long, because the machine may be busy.
    while begun.elapsed() < Duration::from_secs(60) && child.try_wait()?.is_none() {
        for table in ["tcp", "tcp6"] {
            let sockets = fs::read_to_string(format!("/proc/{}/net/{table}", child.id()));
            for line in sockets.unwrap_or_default().lines() {
                let fields: Vec<_> = line.split_ascii_whitespace().collect();
                if fields.len() > 3 && fields[1].ends_with(LISTENING.0) && fields[3] == LISTENING.1
                {
                    return Ok(true);
                }
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    Ok(false)
}

/// Becomes an ordinary user in a new network namespace, and executes a command.
fn become_a_user_and_execute(command: &[String]) -> Result<()> {
    if is_initial()? {
        enter_network()?;
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    } else {
        enter_user_namespace(1000)?;
        enter_network()?;
    }
    execute(command)
}

fn execute(command: &[String]) -> Result<()> {
    let [program, args @ ..] = command else { return Err("no program is named".into()) };
    Err(Command::new(program).args(args).exec().into())
}

fn enter_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|err| format!("network namespace: {err}").into())
}

/// Returns whether the kernel has oopsed, which can leave tracing locked. (`TAINT_DIE`)
fn has_oopsed() -> bool {
    let flags = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    flags.trim_end().parse::<u64>().is_ok_and(|flags| flags & 1 << 7 != 0)
}

/// Returns whether this is the initial user namespace.
fn is_initial() -> Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// Creates a user namespace in which this process has every capability and the user ID `id`.
fn enter_user_namespace(id: u32) -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // An inner namespace inherits the denial.
    let _ = fs::write("/proc/self/setgroups", "deny");
    fs::write("/proc/self/uid_map", format!("{id} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{id} {gid} 1"))?;
    Ok(())
}

/// Listens on a port, for demonstrations without netcat.
fn listen() -> Result<()> {
    let port: u16 = env::args().nth(1).unwrap_or_default().parse()?;
    // netcat's message, without the errno.
    let refused = |err: std::io::Error| match err.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_owned(),
        None => err.to_string(),
    };
    let _listener = TcpListener::bind(("0.0.0.0", port)).map_err(refused)?;
    loop {
        thread::park();
    }
}
