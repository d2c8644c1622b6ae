//! `captree`, with constructed and with real processes.

mod common;

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use common::{Ran, directory, program, ran};
use rcap::{Cap, CapSet, CapState};
use serde_json::Value;
use tempfile::TempDir;

tests! {
    Nothing:
        a_made_tree,
        depth,
        verbose,
        what_is_asked_for,
        what_is_not_there,
        only_what_holds_something,
        columns,
        json,
        go_flags,
        a_circle_and_an_orphan,
        a_chain_of_many,
        names_of_any_bytes;
    Nothing ["script"]:
        a_terminal;
    UserNamespace:
        a_thread_that_differs;
}

/// The sets of a constructed thread: permitted and effective, ambient and inheritable, dropped from
/// the bounding set.
type Caps = (CapSet, CapSet, CapSet);

const NONE: CapSet = CapSet::empty();
const RAW: CapSet = CapSet::of(&[Cap::NET_RAW]);
const PLAIN: Caps = (NONE, NONE, NONE);

struct Made(TempDir);

impl Made {
    fn new() -> Made {
        Made(directory())
    }

    fn status(path: &Path, ids: [u32; 3], name: &[u8], threads: usize, caps: Caps) {
        let [pid, tgid, ppid] = ids;
        let (held, ambient, dropped) = caps;
        let bounding = CapSet::supported() - dropped;
        let [held, ambient, bounding] = [held, ambient, bounding].map(rcap::CapSet::bits);
        let text = format!(
            "\nState:\tS (sleeping)\nTgid:\t{tgid}\nPid:\t{pid}\nPPid:\t{ppid}\n\
             Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t \nKthread:\t0\nThreads:\t{threads}\n\
             CapInh:\t{ambient:016x}\nCapPrm:\t{held:016x}\nCapEff:\t{held:016x}\n\
             CapBnd:\t{bounding:016x}\nCapAmb:\t{ambient:016x}\nNoNewPrivs:\t0\nSeccomp:\t0\n"
        );
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("status"), [b"Name:\t", name, text.as_bytes()].concat()).unwrap();
    }

    fn process(&self, pid: u32, ppid: u32, name: &str, caps: Caps) {
        self.with_threads(pid, ppid, name, caps, &[]);
    }

    fn with_threads(
        &self,
        pid: u32,
        ppid: u32,
        name: &str,
        caps: Caps,
        threads: &[(u32, &str, Caps)],
    ) {
        let dir = self.0.path().join(pid.to_string());
        Made::status(&dir, [pid, pid, ppid], name.as_bytes(), 1 + threads.len(), caps);
        for (tid, name, caps) in [(pid, name, caps)].iter().chain(threads) {
            let task = dir.join(format!("task/{tid}"));
            Made::status(&task, [*tid, pid, ppid], name.as_bytes(), 1 + threads.len(), *caps);
        }
    }

    fn tree(&self, line: &str) -> Ran {
        let args = line.split(' ').filter(|arg| !arg.is_empty());
        ran(program("captree").arg("--proc").arg(self.0.path()).args(args))
    }
}

/// A small system.
fn system() -> Made {
    let made = Made::new();
    let all = CapSet::supported();
    made.process(1, 0, "init", (all, NONE, NONE));
    made.process(2, 0, "kthreadd", (all, NONE, NONE));
    made.process(3, 2, "kworker/0:0", (all, NONE, NONE));
    let polkit = [
        (552, "gmain", (all, NONE, NONE)),
        (554, "gdbus", (all, NONE, NONE)),
        (555, "gmain", (all, NONE, NONE)),
    ];
    made.with_threads(551, 1, "polkitd", (all, NONE, NONE), &polkit);
    made.process(925, 1, "dbus-broker-lau", (NONE, NONE, RAW));
    made.process(965, 925, "dbus-broker", (RAW, RAW, RAW));
    made.process(1000, 1, "sh", PLAIN);
    let threads = [
        (1011, "server", PLAIN),
        (1012, "server", (RAW, NONE, NONE)),
        (1013, "server", (RAW, NONE, NONE)),
        (1014, "server", PLAIN),
    ];
    made.with_threads(1010, 1000, "server", PLAIN, &threads);
    made.process(1020, 1000, "sleep", PLAIN);
    made
}

fn a_made_tree() {
    let tree = system().tree("");
    assert_eq!((tree.status, &*tree.err), (Some(0), ""));
    assert_eq!(
        tree.out,
        "--init(1) \"=ep\"
  +-polkitd(551) \"=ep\"
  | :>-gmain{552,555} \"=ep\"
  | :>-gdbus{554} \"=ep\"
  +-dbus-broker-lau(925) [!cap_net_raw]
  | +-dbus-broker(965) \"cap_net_raw=eip\" [!^cap_net_raw]
  +-sh(1000)
    +-server(1010+{1011,1014})
    | :>-server{1012,1013} \"cap_net_raw=ep\"
    +-sleep(1020)
"
    );
}

fn depth() {
    let made = system();
    assert_eq!(made.tree("--depth 1").out, "--init(1) \"=ep\"\n");
    assert_eq!(
        made.tree("--depth=2 0").out,
        "--<kernel>(0)\n  +-init(1) \"=ep\"\n  +-kthreadd(2) \"=ep\"\n"
    );
    assert_eq!(made.tree("--depth=0").out, made.tree("").out);
}

fn verbose() {
    assert_eq!(
        system().tree("--verbose 1000").out,
        "--sh(1000) \"=\" []
  +-server(1010+{1011,1014}) \"=\" []
  | :>-server{1012,1013} \"cap_net_raw=ep\" []
  +-sleep(1020) \"=\" []
"
    );
}

fn what_is_asked_for() {
    let made = system();
    // Processes nearest to the root come first, and a part of a tree is not drawn twice.
    assert_eq!(
        made.tree("1020 965 925 kthread*").out,
        "--kthreadd(2) \"=ep\"
  +-kworker/0:0 (3) \"=ep\"
--dbus-broker-lau(925) [!cap_net_raw]
  +-dbus-broker(965) \"cap_net_raw=eip\" [!^cap_net_raw]
--sleep(1020)
"
        .replace("0:0 ", "0:0")
    );
    let by = |pattern| made.tree(&format!("--depth 1 {pattern}")).out;
    assert_eq!(by("kworker*"), "--kworker/0:0(3) \"=ep\"\n");
    assert_eq!(by("s?"), "--sh(1000)\n");
    assert_eq!(by("dbus-broker-launch"), "--dbus-broker-lau(925) [!cap_net_raw]\n");
    assert_eq!(by("dbus-broker"), by("965"));
    assert_eq!(by("[st]*ep"), by("1020"));
    assert_eq!(by("01020"), by("1020"));
    // The order and repetition of arguments do not matter.
    for twice in ["1020 sleep", "sleep 1020", "sl* sleep"] {
        assert_eq!(made.tree(twice), made.tree("1020"), "{twice}");
    }
}

fn what_is_not_there() {
    let made = system();
    let none = made.tree("none*");
    assert_eq!((none.status, &*none.out), (Some(1), ""));
    assert_eq!(none.err, "captree: \"none*\": no such process\n");
    assert_eq!(made.tree("none* 1020").out, "");
    let number = made.tree("4 1020");
    assert_eq!((number.status, &*number.out), (Some(1), "--sleep(1020)\n"));
    assert_eq!(number.err, "captree: \"4\": no such process\n");
    assert_eq!(made.tree("99999999999999999999").status, Some(1));
    let nowhere = ran(program("captree").args(["--proc", "/nonexistent"]));
    assert_eq!((nowhere.status, &*nowhere.out), (Some(1), ""));
    assert!(nowhere.err.contains("/nonexistent"), "{}", nowhere.err);
}

fn only_what_holds_something() {
    assert_eq!(
        system().tree("--capable 925 1000").out,
        "--dbus-broker-lau(925) [!cap_net_raw]
  +-dbus-broker(965) \"cap_net_raw=eip\" [!^cap_net_raw]
--sh(1000)
  +-server(1010+{1011,1014})
    :>-server{1012,1013} \"cap_net_raw=ep\"
"
    );
    assert_eq!(system().tree("--capable 1020").out, "");
}

fn columns() {
    let made = system();
    let cgroup = |pid: u32, text: &str| {
        fs::write(made.0.path().join(format!("{pid}/cgroup")), text).unwrap();
    };
    cgroup(1000, "0::/user.slice/session-3.scope\n");
    cgroup(1010, "0::/system.slice/server.service\n");
    cgroup(1020, "0::/\n");
    // A constructed process has no namespaces.
    assert_eq!(
        made.tree("--unit --user --userns 1000").out,
        "root  ?  session-3.scope  --sh(1000)
root  ?  server.service     +-server(1010+{1011,1014})
                            | :>-server{1012,1013} \"cap_net_raw=ep\"
root  ?  -                  +-sleep(1020)
"
    );
}

fn json() {
    let made = system();
    let object = |line: &str| -> Value { serde_json::from_str(&made.tree(line).out).unwrap() };
    let whole = object("--json");
    assert_eq!(whole["schema"], 1);
    let processes = whole["processes"].as_array().unwrap();
    let pids: Vec<_> = processes.iter().map(|process| process["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, [1, 551, 925, 965, 1000, 1010, 1020]);
    assert_eq!(processes[0]["children"], serde_json::json!([551, 925, 1000]));
    assert_eq!(processes[0]["asked"], true);
    assert_eq!(processes[5]["ppid"], 1000);
    assert_eq!(processes[5]["asked"], false);
    assert_eq!(processes[5]["threads"][1]["permitted"], serde_json::json!(["cap_net_raw"]));
    assert_eq!(processes[3]["iab"], "!^cap_net_raw");
    assert_eq!(processes[0].get("user"), None);
    let some = object("--json --capable --user --unit --depth 2 1000 2");
    let names: Vec<_> =
        some["processes"].as_array().unwrap().iter().map(|process| &process["name"]).collect();
    assert_eq!(names, ["kthreadd", "kworker/0:0", "sh", "server"]);
    assert_eq!(some["processes"][2]["user"], "root");
    assert_eq!(some["processes"][2]["unit"], Value::Null);
    assert_eq!(some["processes"][2]["children"], serde_json::json!([1010]));
}

fn go_flags() {
    let made = system();
    let one = made.tree("-depth 1").out;
    for line in ["--depth=1", "-depth=0x1", "--depth 1 -- 1", "-verbose=false -depth 1 1"] {
        assert_eq!(made.tree(line).out, one, "{line}");
    }
    // Arguments after the first operand are not options.
    assert_eq!(made.tree("1 --verbose").status, Some(1));
    for line in ["--bogus", "--depth", "--depth=-1", "--depth=x", "--verbose=maybe", "---x"] {
        let wrong = made.tree(line);
        assert_eq!((wrong.status, &*wrong.out), (Some(2), ""), "{line}");
        assert!(wrong.err.contains("usage: captree "), "{line}");
    }
    let help = made.tree("--help");
    assert_eq!((help.status, &*help.err), (Some(0), ""));
    assert_eq!(made.tree("-h"), help);
}

fn a_circle_and_an_orphan() {
    let made = Made::new();
    made.process(1, 0, "init", PLAIN);
    made.process(5, 4, "orphan", PLAIN);
    made.process(7, 8, "seven", PLAIN);
    made.process(8, 7, "eight", PLAIN);
    fs::create_dir(made.0.path().join("9")).unwrap();
    assert_eq!(
        made.tree("0").out,
        "--<kernel>(0)\n  +-init(1)\n  +-orphan(5)\n  +-seven(7)\n    +-eight(8)\n"
    );
}

fn a_chain_of_many() {
    let made = Made::new();
    for pid in 1..3000 {
        made.process(pid, pid - 1, "deep", PLAIN);
    }
    let tree = made.tree("");
    assert_eq!((tree.status, tree.out.lines().count()), (Some(0), 2999));
}

fn names_of_any_bytes() {
    let made = Made::new();
    Made::status(&made.0.path().join("1"), [1, 1, 0], b"\x1b[31m\\n\xff", 1, PLAIN);
    assert_eq!(made.tree("").out, "--\\u{1b}[31m\\n\\xff(1)\n");
    Made::status(&made.0.path().join("1"), [1, 1, 0], b"\x1b[31m", 1, PLAIN);
    assert_eq!(made.tree("").out, "--\x1b[31m(1)\n");
}

/// Returns the tree on a terminal with 40 columns and these environment variables.
fn on_a_terminal(made: &Made, line: &str, environment: &[(&str, &str)]) -> String {
    let captree = program("captree").get_program().to_owned();
    let command = format!(
        "stty rows 25 cols 40; {} --proc {} {line}",
        captree.display(),
        made.0.path().display()
    );
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("script(1)");
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
}

fn a_terminal() {
    let made = Made::new();
    made.process(1, 0, "init", (CapSet::of(&[Cap::CHOWN, Cap::KILL]), NONE, RAW));
    made.process(2, 1, "a\x1bb", PLAIN);
    let red = "--init(\x1b[31m1\x1b[0m)";
    let rest = " \"cap_chown,cap_kill=ep\"\n      [!cap_net_raw]\n  +-a\\u{1b}b(2)\n";
    assert_eq!(on_a_terminal(&made, "", &[]), format!("{red}{rest}"));
    let plain = format!("--init(1){rest}");
    assert_eq!(on_a_terminal(&made, "--color=false", &[]), plain);
    assert_eq!(on_a_terminal(&made, "", &[("NO_COLOR", "1")]), plain);
    assert_eq!(on_a_terminal(&made, "", &[("NO_COLOR", "")]), format!("{red}{rest}"));
    assert_eq!(on_a_terminal(&made, "", &[("TERM", "dumb")]), plain);
    assert_eq!(on_a_terminal(&made, "--color", &[("NO_COLOR", "1")]), format!("{red}{rest}"));
    // Output to a pipe is neither coloured nor wrapped.
    assert!(made.tree("--color").out.starts_with("--init(1) \"cap_chown,cap_kill=ep\" [!cap_net"));
}

fn a_thread_that_differs() {
    let pid = std::process::id();
    let (ready, is_ready) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    let other = thread::Builder::new()
        .name("other".into())
        .spawn(move || {
            let kill = Cap::KILL.into();
            CapState { permitted: kill, ..CapState::EMPTY }.apply().unwrap();
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = is_done.recv();
        })
        .unwrap();
    let tid = is_ready.recv().unwrap();
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // execve(2) releases the parent before the process has its new name.
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let tree = ran(program("captree").arg(pid.to_string()));
    let name = fs::read_to_string("/proc/self/comm").unwrap();
    let name = name.trim();
    assert!(tree.out.starts_with(&format!("--{name}({pid}) \"=ep\"\n")), "{}", tree.out);
    assert!(tree.out.contains(&format!("\n  :>-other{{{tid}}} \"cap_kill=p\"\n")), "{}", tree.out);
    assert!(tree.out.contains(&format!("\n  +-cat({}) \"=ep\"\n", child.id())), "{}", tree.out);
    drop(child.stdin.take());
    child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    child.wait().unwrap();
    drop(done);
    other.join().unwrap();
}
