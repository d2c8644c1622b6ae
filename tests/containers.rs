//! Containers started by real runtimes and a real Docker daemon.

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Followed, Ran, directory,
    docker::{DOCKER, Daemon, root_file_system, written},
    program, ran, which,
};
use serde_json::{Value, json};

tests! {
    Tracing ["busybox runc"]:
        a_container_is_told_from_its_runtime,
        a_hook_records_from_the_start;
    Tracing ["busybox runc", "mount unshare"]:
        nothing_is_proposed_that_it_does_not_have;
    Tracing ["busybox crun", "mount umount unshare"]:
        crun_is_no_other;
    Tracing [DOCKER]:
        docker_by_name_and_from_the_start;
    Tracing [DOCKER, "docker-compose"]:
        everything_dropped;
}

/// Docker's default set.
const LEFT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Creates a bundle for a container with these capabilities.
fn bundle(dir: &Path, caps: &[&str], script: &str) {
    root_file_system(dir);
    assert!(
        Command::new(which("runc").or_else(|| which("crun")).unwrap())
            .arg("spec")
            .current_dir(dir)
            .status()
            .unwrap()
            .success()
    );
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", script]);
    config["root"]["readonly"] = json!(false);
    config["process"]["capabilities"] =
        json!({"bounding": caps, "effective": caps, "permitted": caps});
    fs::write(&path, config.to_string()).unwrap();
}

/// Returns an ID that no other container has.
fn id(name: &str) -> String {
    format!("rcap-test-{name}-{}", std::process::id())
}

const SCRIPT: &str = "touch /tmp/f; chown 5 /tmp/f; rm -f /tmp/f; ping -c 1 127.0.0.1";

fn candidates(report: &str) -> Vec<String> {
    let report: Value =
        serde_json::from_str(report).unwrap_or_else(|err| panic!("{err}: {report}"));
    let names = report["candidates"].as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn rcap(dir: &Path, args: &[&str]) -> Ran {
    ran(program("rcap").current_dir(dir).args(args).stdin(Stdio::null()))
}

fn a_container_is_told_from_its_runtime() {
    let dir = directory();
    bundle(dir.path(), &LEFT, SCRIPT);
    let report = rcap(dir.path(), &["trace", "--json", "--", "runc", "run", &id("told")]);
    assert_eq!(report.status, Some(0), "{report:?}");
    assert_eq!(candidates(&report.out), ["cap_chown", "cap_net_raw"]);
    let report: Value = serde_json::from_str(&report.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|check| check["rule"] == "runtime" && check["cap"] == "cap_sys_admin")
    );
    assert!(
        checks.iter().all(|check| check["rule"] != "candidate" || check["program"] == "/bin/sh")
    );
}

/// Overlayfs accesses files with the credentials of the user who mounted it.
fn nothing_is_proposed_that_it_does_not_have() {
    let dir = directory();
    bundle(
        dir.path(),
        &["CAP_CHOWN"],
        "touch /tmp/f; chown 5 /tmp/f; cat /bin/sh > /tmp/g; rm /tmp/f; mount -t tmpfs t /tmp",
    );
    // The separate mount namespace removes the mounts.
    let script = "mount -t tmpfs t over && mkdir over/u over/w && \
                  mount -t overlay o -o lowerdir=rootfs,upperdir=over/u,workdir=over/w rootfs && \
                  exec \"$0\" trace --json -- runc run \"$1\"";
    fs::create_dir(dir.path().join("over")).unwrap();
    let report = ran(Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(program("rcap").get_program())
        .arg(id("overlay"))
        .current_dir(dir.path())
        .stdin(Stdio::null()));
    assert_eq!(candidates(&report.out), ["cap_chown"], "{report:?}");
    let report: Value = serde_json::from_str(&report.out).unwrap();
    assert!(report["checks"].as_array().unwrap().iter().any(|check| check["rule"] == "borrowed"));
    assert!(report["missing"].as_array().unwrap().contains(&json!("cap_sys_admin")));
}

fn a_hook_records_from_the_start() {
    let dir = directory();
    bundle(dir.path(), &LEFT, SCRIPT);
    let reports = dir.path().join("reports");
    fs::create_dir(&reports).unwrap();
    let save = reports.to_str().unwrap();
    // A hand-written config.json.
    let path = dir.path().join("config.json");
    let plain = fs::read(&path).unwrap();
    let mut config: Value = serde_json::from_slice(&plain).unwrap();
    let hook = json!({
        "path": program("rcap").get_program().to_str().unwrap(),
        "args": ["rcap", "oci-hook", "--save", save],
    });
    config["hooks"] = json!({"createRuntime": [hook]});
    fs::write(&path, config.to_string()).unwrap();
    let id = id("hook");
    let status = Command::new("runc")
        .args(["run", &id])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let report = written(&reports, &id);
    assert_eq!(candidates(&report), ["cap_chown", "cap_net_raw"]);
    let command = serde_json::from_str::<Value>(&report).unwrap()["command"].clone();
    assert_eq!(command, json!([format!("--container={id}")]));

    // A config.json with the hook of `rcap oci-runtime`.
    fs::write(&path, plain).unwrap();
    let id = format!("{id}-2");
    let wrapped = rcap(dir.path(), &["oci-runtime", "--save", save, "--", "runc", "run", &id]);
    assert_eq!(wrapped.status, Some(0), "{wrapped:?}");
    assert_eq!(candidates(&written(&reports, &id)), ["cap_chown", "cap_net_raw"]);

    // A second start adds a run, and the hook is not added twice.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let again = rcap(dir.path(), &["oci-runtime", "--save", save, "--", "runc", "run", &id]);
    assert_eq!(again.status, Some(0), "{again:?}");
    let report = reports.join(format!("{id}.json"));
    let report = rcap(dir.path(), &["report", "--wait", report.to_str().unwrap()]);
    assert!(report.out.contains("\nRun 2: --container="), "{report:?}");
    assert!(report.out.starts_with("Candidates: cap_chown,cap_net_raw\n"), "{report:?}");
    let config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(config["hooks"]["createRuntime"].as_array().unwrap().len(), 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);

    // Arguments of another command do not look like one that creates a container.
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("config.json"), "{}").unwrap();
    let exec = ["exec", &id, "create", "-b", other.to_str().unwrap()];
    let args = [&["oci-runtime", "--save", save, "--", "true"], &exec[..]].concat();
    assert_eq!(rcap(dir.path(), &args).status, Some(0));
    assert_eq!(fs::read_to_string(other.join("config.json")).unwrap(), "{}");

    // If the report cannot be written, the hook fails, and the container does not start.
    let missing = dir.path().join("missing");
    let id = format!("{id}-3");
    let refused = rcap(
        dir.path(),
        &["oci-runtime", "--save", missing.to_str().unwrap(), "--", "runc", "run", &id],
    );
    assert_ne!(refused.status, Some(0));
    assert!(refused.err.contains("cannot write"), "{refused:?}");
}

fn crun_is_no_other() {
    let dir = directory();
    bundle(dir.path(), &LEFT, SCRIPT);
    // The hierarchy must be unified, in a separate mount namespace.
    let script = "umount -R /sys/fs/cgroup; mount -t cgroup2 c /sys/fs/cgroup; \
                  exec \"$0\" trace --json -- crun --cgroup-manager=disabled run \"$1\"";
    let report = ran(Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(program("rcap").get_program())
        .arg(id("crun"))
        .current_dir(dir.path())
        .stdin(Stdio::null()));
    assert_eq!(candidates(&report.out), ["cap_chown", "cap_net_raw"], "{report:?}");
}

fn docker_by_name_and_from_the_start() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let run = |args: &[&str]| {
        let ran = daemon.docker(&[&["run", "--network", "none"], args].concat());
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran.out.trim().to_owned()
    };
    // Record from the first instruction, through Docker's runtime.
    let id_file = dir.path().join("id");
    run(&[
        "--rm",
        "--runtime",
        "rcap",
        "--cidfile",
        id_file.to_str().unwrap(),
        "rcap-test:1",
        "sh",
        "-c",
        SCRIPT,
    ]);
    let id = fs::read_to_string(id_file).unwrap();
    assert_eq!(
        candidates(&written(&dir.path().join("reports"), &id)),
        ["cap_chown", "cap_net_raw"]
    );

    // Record a running container by its name.
    let endless = "while :; do touch /tmp/f; chown 5 /tmp/f; rm -f /tmp/f; sleep 0.2; done";
    run(&["-d", "--rm", "--name", "named", "rcap-test:1", "sh", "-c", endless]);
    let mut trace = daemon.client(program("rcap").get_program().to_str().unwrap());
    let mut trace = Followed::start(trace.args(["trace", "--container", "named"]));
    trace.see("cap_chown");
    daemon.docker(&["kill", "named"]);
    let report = trace.report();
    assert_eq!(report["candidates"], json!(["cap_chown"]), "{report}");
}

fn everything_dropped() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let run = |caps: &[&str], command: &[&str]| {
        let args = ["run", "--rm", "--network", "none", "--cap-drop", "all"];
        daemon.docker(&[&args[..], caps, &["rcap-test:1"], command].concat())
    };
    let status = run(&[], &["grep", "CapEff", "/proc/self/status"]);
    assert_eq!(status.out, "CapEff:\t0000000000000000\n", "{status:?}");
    let ping = ["ping", "-c", "1", "127.0.0.1"];
    let with = |cap: &str| run(&["--cap-add", cap], &ping).status;
    assert_ne!(run(&[], &ping).status, Some(0));
    assert_ne!(with("CHOWN"), Some(0));
    assert_eq!(with("NET_RAW"), Some(0));

    // The same with Compose, without one capability.
    let compose = "services:\n  ping:\n    image: rcap-test:1\n    network_mode: none\n    cap_drop: [NET_RAW]\n    command: ping -c 1 127.0.0.1\n";
    fs::write(dir.path().join("compose.yaml"), compose).unwrap();
    let run = ran(daemon.client("docker-compose").args([
        "-f",
        dir.path().join("compose.yaml").to_str().unwrap(),
        "run",
        "--rm",
        "ping",
    ]));
    assert_ne!(run.status, Some(0));
    assert!(
        run.out.contains("permission denied")
            || run.err.contains("ermission denied")
            || run.out.contains("not permitted")
            || run.err.contains("not permitted"),
        "{run:?}"
    );
}
