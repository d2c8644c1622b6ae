//! `rcap minimize --rootless`: its lines are built and run, and the container works as that user
//! without capabilities.

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Ran,
    debian::{DEBIAN, servers},
    directory,
    docker::{DOCKER, Daemon, root_file_system},
    page::Page,
    program, ran, wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

tests! {
    Nothing: only_of_containers;
    Tracing [DOCKER]:
        files_volumes_and_an_entrypoint,
        what_remains,
        nothing_is_left_behind;
    Tracing [DOCKER, DEBIAN]:
        a_python_server,
        nginx,
        the_page;
    Tracing ["busybox conmon crun mount podman runc tar unshare"]:
        an_image_of_podman;
}

/// A server that reads a key of another user, and then becomes www-data.
const SERVER: &str = "import http.server, os
open('/etc/key').read()
server = http.server.HTTPServer(('0.0.0.0', 80), http.server.SimpleHTTPRequestHandler)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(33)
    os.setuid(33)
server.serve_forever()
";

/// A connection to the server, made in its container.
const CONNECTS: &str = "bash -c ': < /dev/tcp/127.0.0.1/80'";

/// A Docker daemon with an image of servers: `rcap-test:1`.
fn daemon_with_servers(dir: &Path) -> Daemon {
    let root = servers();
    let daemon = Daemon::start(dir, &root);
    let files = dir.join("files");
    fs::create_dir_all(files.join("etc")).unwrap();
    fs::write(files.join("server.py"), SERVER).unwrap();
    fs::write(files.join("etc/key"), "key\n").unwrap();
    fs::set_permissions(files.join("etc/key"), fs::Permissions::from_mode(0o600)).unwrap();
    chown(files.join("etc/key"), Some(1000), Some(1000)).unwrap();
    let script = "id=$(docker create rcap-test:1 x) && tar -C \"$0\" -c server.py etc/key | \
                  docker cp --archive - $id:/ && docker commit $id rcap-test:1 && docker rm $id";
    let added = ran(daemon.client("sh").args(["-c", script]).arg(&files));
    assert_eq!(added.status, Some(0), "{added:?}");
    daemon
}

fn rcap(daemon: &Daemon, args: &[&str]) -> Ran {
    let mut command = daemon.client(program("rcap").get_program().to_str().unwrap());
    ran(command.args(["minimize", "--rootless", "--json"]).args(args))
}

/// Returns the answer for a container, and the kinds of the changes.
fn answer(daemon: &Daemon, options: &[&str], args: &[&str]) -> (Value, Vec<String>) {
    let before = left(daemon);
    let run = ["--", "docker", "run", "--network", "none"];
    let found = rcap(daemon, &[options, &run, args].concat());
    let value: Value =
        serde_json::from_str(&found.out).unwrap_or_else(|err| panic!("{err}: {found:?}"));
    assert_eq!(found.status == Some(0), value["works"] == true, "{found:?}");
    let kinds = value["changes"].as_array().unwrap().iter();
    let kinds = kinds.map(|change| change["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left(daemon), before);
    (value, kinds)
}

/// Returns all containers, volumes and images.
fn left(daemon: &Daemon) -> [String; 3] {
    [&["ps", "--all", "--quiet"][..], &["volume", "ls", "--quiet"], &["images", "--quiet", "--all"]]
        .map(|args| {
            let out = daemon.docker(args).out;
            let mut lines: Vec<&str> = out.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        })
}

/// Runs the commands of the answer as they are printed, and returns the output of the last one.
fn follow(daemon: &Daemon, answer: &Value) -> String {
    let mut last = String::new();
    for command in answer["commands"].as_array().unwrap() {
        let command = command.as_str().unwrap();
        let followed = ran(daemon.client("sh").args(["-c", command]));
        assert_eq!(followed.status, Some(0), "{command}: {followed:?}");
        last = followed.out;
    }
    last
}

/// Starts the container by the printed commands, and checks it: it works as a user other than root,
/// without capabilities.
fn works_as_printed(daemon: &Daemon, answer: &Value, check: &str) {
    let id = follow(daemon, answer);
    let id = id.trim();
    wait_until(|| daemon.docker(&["exec", id, "sh", "-c", check]).status == Some(0));
    let status = daemon.docker(&["exec", id, "cat", "/proc/1/status"]).out;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.split_whitespace().next().unwrap().to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{status}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Uid:"), answer["user"]["uid"].to_string());
    assert_ne!(field("Uid:"), "0");
    assert_eq!(daemon.docker(&["rm", "--force", id]).status, Some(0));
}

fn only_of_containers() {
    let dir = directory();
    let refused = |args: &[&str]| ran(program("rcap").current_dir(&dir).arg("minimize").args(args));
    let of_program = refused(&["--rootless", "--", "true"]);
    assert_eq!(of_program.status, Some(125), "{of_program:?}");
    assert!(of_program.err.contains("--rootless requires a container"), "{of_program:?}");
    let kept = refused(&["--rootless", "--keep", "chown", "--", "docker", "run", "x"]);
    assert!(kept.err.contains("--keep cannot be used with --rootless"), "{kept:?}");
}

/// An image is built with Podman, and its printed lines are run. Without an overlay, the files of an
/// image are not known.
fn an_image_of_podman() {
    let dir = directory();
    let root = root_file_system(dir.path());
    fs::write(root.join("key"), "secret\n").unwrap();
    fs::set_permissions(root.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let configuration = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \
                         \"nproc=1024:1024\"]\npids_limit = 0\n";
    fs::write(dir.path().join("conf"), configuration).unwrap();
    // Each script has mounts and a network of its own.
    let inside = |script: &str, arg: &str| {
        let mut command = Command::new("unshare");
        command.env("CONTAINERS_CONF", dir.path().join("conf"));
        command.env("RCAP", program("rcap").get_program()).arg("-mn");
        ran(command.args(["sh", "-ec", script]).arg(dir.path()).arg(arg).stdin(Stdio::null()))
    };
    let script = "mount --make-rprivate /
        runtime=runc; if [ -e /sys/fs/cgroup/cgroup.controllers ]; then runtime=crun; fi
        set -- podman --root $0/$1 --runroot $0/run --storage-driver $1 \
            --cgroup-manager cgroupfs --runtime $runtime
        tar -C $0/rootfs -c . | \"$@\" import - rcap-test:1 >/dev/null 2>&1
        $RCAP minimize --rootless --json -- \"$@\" run --network none --rm rcap-test:1 \
            sh -c 'cat /key /proc/self/status && touch /tmp/f'";
    let found = inside(script, "overlay");
    assert_eq!((found.status, found.err.contains("does not tell")), (Some(0), false), "{found:?}");
    // All runs but the first have a limit.
    assert!(!found.err.contains("has not ended"), "{found:?}");
    let answer: Value = serde_json::from_str(&found.out).unwrap();
    let changes = answer["changes"].as_array().unwrap().iter();
    let changes: Vec<&str> = changes.map(|change| change["words"].as_str().unwrap()).collect();
    assert_eq!(changes, ["a tmpfs of the user on /tmp", "the user owns /key"], "{answer}");
    let commands = answer["commands"].as_array().unwrap().iter();
    let commands: Vec<&str> = commands.map(|command| command.as_str().unwrap()).collect();
    let printed = inside(&commands.join("\n"), "");
    assert_eq!(printed.status, Some(0), "{commands:?}: {printed:?}");
    let uid = answer["user"]["uid"].as_u64().unwrap();
    let uid = format!("\nUid:\t{uid}\t");
    for line in [&uid, "secret\n", "\nCapBnd:\t0000000000000000\n", "\nNoNewPrivs:\t1\n"] {
        assert!(printed.out.contains(line), "{line:?}: {printed:?}");
    }
    let left = inside(&commands.last().unwrap().replace(" run ", " ps --all --quiet #"), "");
    assert_eq!((left.status, &*left.out), (Some(0), ""), "{left:?}");
    let unknown = inside(script, "vfs");
    let words = "the engine does not tell where the files of the image are";
    assert_eq!((unknown.status, unknown.err.contains(words)), (Some(0), true), "{unknown:?}");
}

/// The key belongs to the user, and the port is free for all.
fn a_python_server() {
    let dir = directory();
    let daemon = daemon_with_servers(dir.path());
    let ports = "net.ipv4.ip_unprivileged_port_start=1024";
    let run = ["-d", "--sysctl", ports, "rcap-test:1", "python3", "/server.py"];
    let (found, kinds) = answer(&daemon, &["--check-in", CONNECTS], &run);
    assert_eq!(kinds, ["sysctl", "own"], "{found}");
    assert_eq!((&found["user"]["name"], &found["user"]["uid"]), (&"www-data".into(), &33.into()));
    assert_eq!(found["dockerfile"], "FROM rcap-test:1\nRUN chown 33:33 /etc/key\nUSER 33\n");
    // Each change was left out once.
    for change in found["changes"].as_array().unwrap() {
        let failure = change["failure"].as_str().unwrap();
        assert!(failure.contains("PermissionError"), "{change}");
    }
    let has_failed = |without: &str| {
        found["runs"].as_array().unwrap().iter().any(|run| {
            let changes = run["changes"].as_array().unwrap();
            run["passed"] == false && changes.len() == 1 && changes[0]["kind"] != without
        })
    };
    assert!(has_failed("own") && has_failed("sysctl"), "{found}");
    works_as_printed(&daemon, &found, CONNECTS);
    // Echo requests are free for groups, if the kernel parameter says so.
    let closed = ["--sysctl", "net.ipv4.ping_group_range=0 0", "rcap-test:1", "python3", "-c"];
    let icmp = "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM, s.IPPROTO_ICMP)";
    let (found, kinds) = answer(&daemon, &[], &[&closed[..], &[icmp]].concat());
    assert_eq!(kinds, ["sysctl"], "{found}");
    follow(&daemon, &found);
}

fn nginx() {
    let dir = directory();
    let daemon = daemon_with_servers(dir.path());
    let run = ["-d", "rcap-test:1", "nginx", "-g", "daemon off;"];
    let (found, kinds) = answer(&daemon, &["--check-in", CONNECTS], &run);
    assert_eq!(kinds, ["tmpfs", "own"], "{found}");
    assert_eq!(found["user"]["name"], "www-data");
    works_as_printed(&daemon, &found, CONNECTS);
}

/// An image of busybox whose entrypoint runs as root unless a variable says otherwise.
fn daemon_with_entrypoint(dir: &Path) -> Daemon {
    let root = root_file_system(dir);
    let script = "#!/bin/sh\n[ \"$SKIP_CHOWN\" ] || chown 5 /data || exit 3\nexec \"$@\"\n";
    fs::write(root.join("entry"), script).unwrap();
    fs::set_permissions(root.join("entry"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(root.join("data")).unwrap();
    let daemon = Daemon::start(dir, &root);
    let import = "tar -C \"$0\" -c . | docker import --change 'ENTRYPOINT [\"/entry\"]' \
                  --change 'CMD [\"cat\", \"/bin/sh\"]' - rcap-test:2 && \
                  echo 'FROM rcap-test:1\nVOLUME /data' | \
                  docker build --network none --tag rcap-test:3 -";
    let imported = ran(daemon.client("sh").args(["-c", import]).arg(&root));
    assert_eq!(imported.status, Some(0), "{imported:?}");
    daemon
}

fn files_volumes_and_an_entrypoint() {
    let dir = directory();
    let daemon = daemon_with_entrypoint(dir.path());
    // No user is known, and nothing is refused.
    let (found, kinds) = answer(&daemon, &[], &["rcap-test:1", "cat", "/bin/sh"]);
    assert_eq!((kinds, &found["user"]["uid"]), (vec![], &65532.into()), "{found}");
    // The user of the command line.
    let touch = ["rcap-test:1", "touch", "/data/f"];
    let (found, kinds) = answer(&daemon, &[], &touch);
    assert_eq!((kinds, &found["user"]["gid"]), (vec!["own".to_owned()], &65532.into()), "{found}");
    follow(&daemon, &found);
    // The user of the command line, who cannot write there either.
    let own = [&["--user", "7"], &touch[..]].concat();
    assert_eq!(answer_status(&daemon, &own), Some(125));
    // An anonymous volume, into which the engine copies the image's directory.
    let write = "echo x > /data/f && grep x /data/f";
    let (found, kinds) = answer(&daemon, &[], &["rcap-test:3", "sh", "-c", write]);
    assert_eq!(kinds, ["volume"], "{found}");
    assert_eq!(follow(&daemon, &found), "x\n");
    assert_eq!(daemon.docker(&["volume", "ls", "--quiet"]).out, "rcap-test-data\n");
    // An existing one is copied, and its files are left alone.
    let kept = ["--network", "none", "-v", "kept:/data", "rcap-test:1", "sh", "-c"];
    let in_volume =
        |script: &str| daemon.docker(&[&["run", "--rm"], &kept[..], &[script]].concat());
    assert_eq!(in_volume("echo 1 > /data/f").status, Some(0));
    let more = [&kept[2..], &["echo 2 >> /data/f && grep -c . /data/f"]].concat();
    let (found, kinds) = answer(&daemon, &[], &more);
    assert_eq!(kinds, ["volume"], "{found}");
    assert_eq!(in_volume("cat /data/f").out, "1\n");
    assert_eq!(follow(&daemon, &found), "2\n");
    // The variable that the entrypoint offers.
    let (found, kinds) = answer(&daemon, &[], &["rcap-test:2"]);
    assert_eq!(kinds, ["variable"], "{found}");
    follow(&daemon, &found);
}

fn answer_status(daemon: &Daemon, args: &[&str]) -> Option<i32> {
    let run = ["--", "docker", "run", "--network", "none"];
    rcap(daemon, &[&run, args].concat()).status
}

fn what_remains() {
    let dir = directory();
    let root = root_file_system(dir.path());
    symlink("busybox", root.join("bin/mknod")).unwrap();
    let daemon = Daemon::start(dir.path(), &root);
    let mknod = ["rcap-test:1", "mknod", "/tmp/null", "c", "1", "3"];
    let (found, _) = answer(&daemon, &[], &mknod);
    assert_eq!(found["works"], false, "{found}");
    assert_eq!(found["missing"], serde_json::json!(["cap_mknod"]));
    assert_eq!((&found["dockerfile"], &found["commands"]), (&Value::Null, &Value::from([""; 0])));
    assert!(found["refused"].to_string().contains("EPERM mknodat /tmp/null"), "{found}");
    // A directory of the host keeps its owner.
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let mount = format!("{}:/data", outside.display());
    let (found, kinds) = answer(&daemon, &[], &["-v", &mount, "rcap-test:1", "touch", "/data/f"]);
    assert_eq!((&found["works"], kinds), (&false.into(), vec![]), "{found}");
    assert!(found["refused"].to_string().contains("of the host"), "{found}");
}

/// The images, containers and volumes of a killed search are removed by the next one.
fn nothing_is_left_behind() {
    let dir = directory();
    let root = root_file_system(dir.path());
    fs::create_dir(root.join("data")).unwrap();
    let daemon = Daemon::start(dir.path(), &root);
    let before = left(&daemon);
    let touch = "touch /data/f && sleep 1000";
    let run = ["docker", "run", "-d", "--network", "none", "rcap-test:1", "sh", "-c", touch];
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut rcap = daemon.client(program("rcap").get_program().to_str().unwrap());
        rcap.args(["minimize", "--rootless", "--check-in", "test -e /data/f", "--"]).args(run);
        let mut child = rcap.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The container runs with a change.
        wait_until(|| {
            let running = daemon.docker(&["ps", "--no-trunc", "--format={{.Command}}"]).out;
            left(&daemon)[2] != before[2] && running.contains("sleep 1000")
        });
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::SIGINT {
            assert_eq!(status.code(), Some(130));
            assert_eq!(left(&daemon), before);
        }
    }
    assert_ne!(left(&daemon), before);
    assert_eq!(answer_status(&daemon, &["rcap-test:1", "cat", "/bin/sh"]), Some(0));
    assert_eq!(left(&daemon), before);
}

fn the_page() {
    const PAGE: Page = Page("hardening.md");
    const HEADING: &str = "Run a container without root";
    let dir = directory();
    let daemon = daemon_with_servers(dir.path());
    assert_eq!(PAGE.file(HEADING, "python"), SERVER);
    assert_eq!(daemon.docker(&["tag", "rcap-test:1", "web:1"]).status, Some(0));
    let client = daemon.client("docker");
    let variables: Vec<_> = client
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()))
        .collect();
    let prepare = |shell: &mut Command, command: &str| {
        shell.envs(variables.clone());
        // The test's daemon has no bridge.
        command.replace("docker run", "docker run --network none")
    };
    PAGE.follow(HEADING, dir.path(), prepare, |out| {
        out.replace("docker run --network none", "docker run")
    });
}
