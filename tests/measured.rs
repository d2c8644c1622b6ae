//! `rcap minimize`, `rcap verify` and `rcap trace` of `docker run`, compared with containers started by hand.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Ran, directory,
    docker::{DOCKER, Daemon, root_file_system},
    program, ran, wait_until, which,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

tests! {
    Nothing: clients_are_refused;
    Tracing [DOCKER]:
        a_container_and_not_the_client,
        a_server_with_a_health_check,
        the_settings_of_a_container,
        a_sysctl_for_a_user,
        volumes_are_copied,
        a_recording_from_the_first_instruction,
        processes_that_enter_a_container,
        nothing_is_left_behind;
    Tracing ["busybox conmon crun mount podman tar umount unshare"]: a_container_of_podman;
    Tracing ["busybox conmon crun mount podman runc tar unshare"]:
        a_pod_of_podman,
        a_container_of_several;
    Tracing [DOCKER, "setcap"]: a_file_capability_of_a_user;
}

fn rcap(daemon: &Daemon, args: &[&str]) -> Ran {
    let mut command = daemon.client(program("rcap").get_program().to_str().unwrap());
    ran(command.args(args))
}

/// Returns the minimum of `docker run` with these arguments.
fn minimum(daemon: &Daemon, options: &[&str], args: &[&str]) -> Vec<String> {
    let run = ["--", "docker", "run", "--network", "none"];
    let found = rcap(daemon, &[&["minimize", "--json"], options, &run, args].concat());
    assert_eq!(found.status, Some(0), "{found:?}");
    let found: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(found["proved"], true, "{found}");
    let names = found["minimum"].as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Starts the container by hand, and returns whether it passes.
fn passes(daemon: &Daemon, caps: &[&str], args: &[&str]) -> bool {
    let mut words = vec!["run", "--rm", "--network", "none", "--cap-drop", "ALL"];
    words.extend(caps.iter().flat_map(|cap| ["--cap-add", *cap]));
    words.extend(args);
    daemon.docker(&words).status == Some(0)
}

/// Returns whether the set suffices, and no set with one capability less.
fn is_minimal(daemon: &Daemon, caps: &[String], args: &[&str]) -> bool {
    let caps: Vec<&str> = caps.iter().map(String::as_str).collect();
    let without =
        |spare: &str| -> Vec<&str> { caps.iter().copied().filter(|cap| *cap != spare).collect() };
    passes(daemon, &caps, args) && caps.iter().all(|cap| !passes(daemon, &without(cap), args))
}

/// The containers, running or not.
fn containers(daemon: &Daemon) -> String {
    daemon.docker(&["ps", "--all", "--quiet"]).out
}

fn clients_are_refused() {
    let dir = directory();
    #[rustfmt::skip]
    let rows: [(&str, &[&str]); 8] = [
        ("minimize", &["docker", "compose", "start", "x"]),
        ("minimize", &["docker", "-H", "tcp://127.0.0.1:1", "run", "x"]),
        ("minimize", &["nerdctl", "run", "x"]),
        ("minimize", &["systemctl", "--user", "reload", "x"]),
        ("trace",    &["docker", "exec", "x", "y"]),
        ("trace",    &["docker", "--host=ssh://h", "run", "x"]),
        ("trace",    &["kubectl", "run", "x"]),
        ("trace",    &["sudo", "systemd-run", "--machine", "x", "id"]),
    ];
    for (command, words) in rows {
        let refused = ran(program("rcap").current_dir(&dir).arg(command).arg("--").args(words));
        assert_eq!(refused.status, Some(125), "{refused:?}");
        assert!(refused.err.contains("would not measure it: "), "{refused:?}");
    }
    let words = ["minimize", "--to", "compose-override", "--", "docker", "run", "x"];
    let refused = ran(program("rcap").args(words));
    assert_eq!(refused.status, Some(125), "{refused:?}");
    assert!(refused.err.contains("requires a service (--compose FILE SERVICE)"), "{refused:?}");
}

fn a_container_and_not_the_client() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let ping = ["rcap-test:1", "ping", "-c", "1", "127.0.0.1"];
    assert_eq!(minimum(&daemon, &[], &ping), ["cap_net_raw"]);
    let script = "touch /tmp/f && chown 5 /tmp/f && touch /tmp/f && rm /tmp/f && mkdir /tmp/d && \
                  chown 5 /tmp/d && touch /tmp/d/f";
    let both = ["rcap-test:1", "sh", "-c", script];
    let found = minimum(&daemon, &[], &both);
    assert_eq!(found, ["cap_chown", "cap_dac_override"]);
    assert!(is_minimal(&daemon, &found, &both));
    assert_eq!(minimum(&daemon, &[], &["rcap-test:1", "cat", "/bin/sh"]), [""; 0]);
    // Only the effect shows that the capability is missing.
    let owner = ["rcap-test:1", "sh", "-c", "touch /f; chown 5 /f; exit 0"];
    assert_eq!(minimum(&daemon, &[], &owner), ["cap_chown"]);
    // More than the default set.
    let mount = ["rcap-test:1", "mount", "-t", "tmpfs", "t", "/tmp"];
    let options = ["--security-opt", "apparmor=unconfined", "--security-opt", "seccomp=unconfined"];
    let mount = [&options[..], &mount].concat();
    assert_eq!(minimum(&daemon, &[], &mount), ["cap_sys_admin"]);
    // A line to paste.
    let run = ["minimize", "--", "docker", "run", "--rm", "--network", "none"];
    let printed = rcap(&daemon, &[&run[..], &ping].concat());
    let line = "docker run --rm --network none --cap-drop ALL --cap-add NET_RAW rcap-test:1 ping -c 1 127.0.0.1\n";
    assert!(printed.out.ends_with(line), "{printed:?}");
    assert!(printed.err.starts_with("Measuring the container of `docker run"), "{printed:?}");
    let pasted = ran(daemon.client("sh").args(["-c", line]));
    assert_eq!(pasted.status, Some(0), "{pasted:?}");
    // One that does not work at all.
    let broken = rcap(&daemon, &["minimize", "--", "docker", "run", "rcap-test:1", "cat", "/no"]);
    assert_eq!(broken.status, Some(1), "{broken:?}");
    assert_eq!(containers(&daemon), "");
}

fn a_server_with_a_health_check() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let server = "touch /tmp/ready; chown 5 /tmp/ready || exit 1; sleep 1000";
    let check = ["--health-cmd", "test -e /tmp/ready", "--health-interval", "1h"];
    let args = [&["-d"], &check[..], &["rcap-test:1", "sh", "-c", server]].concat();
    assert_eq!(minimum(&daemon, &[], &args), ["cap_chown"]);
    let args = ["-d", "rcap-test:1", "sh", "-c", server];
    assert_eq!(minimum(&daemon, &["--check-in", "test -e /tmp/ready"], &args), ["cap_chown"]);
    let refused = rcap(&daemon, &[&["minimize", "--", "docker", "run"], &args[..]].concat());
    assert!(refused.err.contains("--check-in"), "{refused:?}");
    assert_eq!(containers(&daemon), "");
}

fn a_file_capability_of_a_user() {
    let dir = directory();
    let root = root_file_system(dir.path());
    fs::remove_file(root.join("bin/chown")).unwrap();
    fs::copy(which("busybox").unwrap(), root.join("bin/chown")).unwrap();
    let set = common::run(&root.join("bin"), "setcap", ["cap_chown=ep", "chown"]);
    assert_eq!(set.status, Some(0), "{set:?}");
    let daemon = Daemon::start(dir.path(), &root);
    let import = "tar --xattrs --xattrs-include='*' -C \"$0\" -c . | docker import - rcap-test:2";
    assert_eq!(ran(daemon.client("sh").args(["-c", import]).arg(&root)).status, Some(0));
    let args = ["--user", "1000", "rcap-test:2", "chown", "5", "/bin/sh"];
    let found = minimum(&daemon, &[], &args);
    assert_eq!(found, ["cap_chown"]);
    assert!(is_minimal(&daemon, &found, &args));
}

/// A non-root user gets no capability without a file capability, and none is needed with a sysctl.
fn a_sysctl_for_a_user() {
    let dir = directory();
    let root = root_file_system(dir.path());
    for name in ["nc", "timeout"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let daemon = Daemon::start(dir.path(), &root);
    let sysctl = "net.ipv4.ip_unprivileged_port_start";
    let run = ["--user", "1000", "--network", "none", "--sysctl"];
    let server = ["rcap-test:1", "sh", "-c", "timeout 1 nc -l -p 80; exit $?"];
    let own = format!("{sysctl}=1024");
    let command = [&["docker", "run"], &run[..], &[&own], &server].concat();
    let found = rcap(&daemon, &[&["minimize", "--expect", "143", "--"], &command[..]].concat());
    assert_eq!(found.status, Some(0), "{found:?}");
    assert!(found.out.starts_with("Minimum: none\n"), "{found:?}");
    let line = format!(
        "\ndocker run --user 1000 --network none --sysctl '{sysctl}=0' --cap-drop ALL \
         rcap-test:1 sh -c '{}'\n",
        server[3]
    );
    assert!(found.out.ends_with(&line), "{found:?}");
    let note = format!("with --sysctl '{sysctl}=0', it requires no capability. The runs prove it.");
    assert!(found.err.contains(&note), "{found:?}");
    // A service of Compose has the options of the command line.
    for (format, lacks) in [("docker", true), ("compose", false)] {
        let options = ["minimize", "--expect", "143", "--to", format, "--"];
        let found = rcap(&daemon, &[&options, &command[..]].concat());
        assert_eq!(found.status, Some(0), "{found:?}");
        assert_eq!(found.err.contains("The settings lack these options."), lacks, "{found:?}");
        let sysctl = format!("    sysctls:\n      {sysctl}: \"0\"\n");
        assert_eq!(found.out.contains(&sysctl), !lacks, "{found:?}");
    }
    // A capability without such a sysctl, and a network whose sysctls are those of the host.
    for words in [
        &["--network", "none", "rcap-test:1", "chown", "5", "/tmp"][..],
        &["--network", "host", "rcap-test:1", "ping", "-c", "1", "127.0.0.1"],
    ] {
        let run = [&["minimize", "--", "docker", "run", "--user", "1000"], words].concat();
        let failed = rcap(&daemon, &run);
        assert_eq!(failed.status, Some(1), "{failed:?}");
        assert!(failed.err.contains("only by the program's file"), "{failed:?}");
        let is_host = words.contains(&"host");
        assert_eq!(failed.err.contains("either)"), is_host, "{failed:?}");
    }
    assert_eq!(containers(&daemon), "");
}

fn volumes_are_copied() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let volume = ["-v", "data:/data", "rcap-test:1", "sh", "-c"];
    assert!(passes(&daemon, &[], &[&volume[..], &["echo 1 > /data/f"]].concat()));
    // Without copies, the second run would find the work of the first one.
    let script = "grep -q 1 /data/f || exit 0; chown 5 /data/f && echo 2 > /data/f";
    let found = minimum(&daemon, &[], &[&volume[..], &[script]].concat());
    assert_eq!(found, ["cap_chown", "cap_dac_override"]);
    assert!(passes(&daemon, &[], &[&volume[..], &["grep 1 /data/f"]].concat()));
    assert_eq!(daemon.docker(&["volume", "ls", "--quiet"]).out, "data\n");
}

/// `rcap verify` answers what starting the container by hand shows.
fn the_settings_of_a_container() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let verify = |options: &[&str], caps: &[&str], args: &[&str]| {
        let run = [&["--", "docker", "run", "--network", "none"], caps].concat();
        let verified = rcap(&daemon, &[&["verify", "--json"], options, &run, args].concat());
        let json: Value = serde_json::from_str(&verified.out).unwrap();
        let names = |key: &str| json[key].to_string().replace(['[', ']', '"'], "");
        (verified.status, names("missing"), names("superfluous"), names("given"))
    };
    let answer = |status, missing: &str, superfluous: &str, given: &str| {
        (Some(status), missing.to_owned(), superfluous.to_owned(), given.to_owned())
    };
    let ping = ["rcap-test:1", "ping", "-c", "1", "127.0.0.1"];
    let exact = ["--cap-drop", "ALL", "--cap-add", "NET_RAW"];
    assert_eq!(verify(&[], &exact, &ping), answer(0, "", "", "cap_net_raw"));
    assert_eq!(verify(&["--minimal"], &exact, &ping), answer(0, "", "", "cap_net_raw"));
    let none = ["--cap-drop", "ALL"];
    assert_eq!(verify(&[], &none, &ping), answer(1, "cap_net_raw", "", ""));
    let more = [&exact[..], &["--cap-add", "KILL"]].concat();
    let want = answer(1, "", "cap_kill", "cap_kill,cap_net_raw");
    assert_eq!(verify(&[], &more, &ping), want);
    assert_eq!(verify(&["--minimal"], &more, &ping), want);
    assert_eq!(verify(&["--keep", "kill"], &more, &ping).0, Some(0));
    // The container ends well, without a part of its work.
    let owner = ["rcap-test:1", "sh", "-c", "touch /f; chown 5 /f; exit 0"];
    assert_eq!(verify(&[], &none, &owner), answer(1, "cap_chown", "", ""));
    assert_eq!(verify(&["--tolerate", "chown"], &none, &owner).0, Some(0));
    let (status, missing, superfluous, given) = verify(&[], &[], &owner);
    assert_eq!((status, &*missing), (Some(1), ""));
    assert_eq!(given, format!("cap_chown,{superfluous}"));
    assert_eq!(given.split(',').count(), 14);
    // A non-root user gets nothing of what is added.
    let user = ["--user", "1000", "--cap-drop", "ALL", "--cap-add", "CHOWN"];
    let args = ["rcap-test:1", "chown", "5", "/bin/sh"];
    assert_eq!(verify(&[], &user, &args), answer(1, "cap_chown", "", "cap_chown"));
    // No answer is not the answer no.
    let unknown = rcap(&daemon, &["verify", "--", "docker", "run", "nosuch:1", "x"]);
    assert_eq!(unknown.status, Some(125), "{unknown:?}");
    assert_eq!(containers(&daemon), "");
}

fn a_recording_from_the_first_instruction() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let run = ["docker", "run", "--rm", "--network", "none", "rcap-test:1", "sh", "-c"];
    let script = "touch /f; chown 5 /f; exit 7";
    let report = rcap(&daemon, &[&["trace", "--json", "--"], &run[..], &[script]].concat());
    assert_eq!(report.status, Some(7), "{report:?}");
    let report: Value = serde_json::from_str(&report.out).unwrap();
    assert_eq!(report["candidates"], serde_json::json!(["cap_chown"]), "{report}");
    assert_eq!(report["lost"], 0);
}

/// Podman starts the container itself, and leaves health checks to systemd.
fn a_container_of_podman() {
    let dir = directory();
    root_file_system(dir.path());
    // With the unified hierarchy alone, and with storage of its own.
    let script = "set -e; umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup\n\
        set -- podman --root $0/store --runroot $0/run --cgroup-manager cgroupfs --runtime crun\n\
        tar -C $0/rootfs -c . | \"$@\" import - rcap-test:1 >/dev/null 2>&1\n\
        options='--network none --cgroups=disabled --ulimit nofile=1024:1024'\n\
        options=\"$options --ulimit nproc=1024:1024\"\n\
        start='touch /tmp/f; chown 5 /tmp/f && touch /tmp/ready'\n\
        $RCAP minimize --json -- \"$@\" run $options rcap-test:1 sh -c \"$start\"\n\
        $RCAP minimize --json -- \"$@\" run -d --health-cmd 'cat /tmp/ready' $options \
            rcap-test:1 sh -c \"$start; sleep 1000\"\n\
        for caps in '' '--cap-add CHOWN'; do\n\
            \"$@\" run --rm $options --cap-drop ALL $caps rcap-test:1 sh -c \"$start\" >/dev/null 2>&1 \
                && echo passes || echo fails\n\
        done\n\
        $RCAP minimize --json -- \"$@\" run --ulimit nofile=1:1 --network none rcap-test:1 nosuch \
            2>&1 || echo failed $?\n\
        \"$@\" ps --all --quiet\n";
    let mut command = Command::new("unshare");
    command.env("RCAP", program("rcap").get_program());
    let ran = ran(command.args(["-m", "sh", "-c", script]).arg(dir.path()));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    for found in &lines[..2] {
        let found: Value = serde_json::from_str(found).unwrap();
        let result = (&found["minimum"], &found["proved"]);
        assert_eq!(result, (&serde_json::json!(["cap_chown"]), &true.into()));
    }
    assert_eq!(lines[2..4], ["fails", "passes"]);
    // Never the client in the place of a container that did not start, and nothing is left.
    assert_eq!(lines.last(), Some(&"failed 125"), "{ran:?}");
}

/// A pod whose container ends, and one that is a server.
const PODS: [(&str, &str); 2] = [
    ("job", "[/bin/sh, -c, 'touch /tmp/f; chown 5 /tmp/f']"),
    ("server", "[/bin/sh, -c, 'touch /tmp/f; chown 5 /tmp/f && touch /tmp/ready; sleep 1000']"),
];

/// Runs a script in a directory with images for pods. `$@` is Podman with its own storage.
fn with_podman(dir: &Path, script: &str) -> Ran {
    let root = root_file_system(dir);
    // The first process of a pod ends on a signal that it handles.
    fs::write(root.join("end"), "trap 'exit 0' TERM\nsleep 1000 & wait\n").unwrap();
    let configuration = "[engine]\ninfra_image = \"localhost/rcap-pause:1\"\n[containers]\n\
        default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\npids_limit = 0\n";
    fs::write(dir.join("conf"), configuration).unwrap();
    let start = "set -e; cd $0; mount --make-rprivate /\n\
        runtime=runc; if [ -e /sys/fs/cgroup/cgroup.controllers ]; then runtime=crun; fi\n\
        set -- podman --root $0/store --runroot $0/run --storage-driver vfs \
            --cgroup-manager cgroupfs --runtime $runtime\n\
        tar -C rootfs -c . | \"$@\" import - rcap-test:1 >/dev/null 2>&1\n\
        tar -C rootfs -c . | \"$@\" import --change 'ENTRYPOINT [\"/bin/sh\",\"/end\"]' - \
            rcap-pause:1 >/dev/null 2>&1\n";
    let left =
        "echo left: $(\"$@\" pod ls --quiet; \"$@\" ps --all --quiet; \"$@\" volume ls --quiet)\n";
    let mut command = Command::new("unshare");
    command.env("RCAP", program("rcap").get_program());
    command.env("CONTAINERS_CONF", dir.join("conf"));
    let script = [start, script, left].concat();
    ran(command.args(["-m", "-n", "sh", "-c", &script]).arg(dir))
}

/// `podman kube play`, compared with what it starts by hand.
fn a_pod_of_podman() {
    let dir = directory();
    for (name, command) in PODS {
        let policy = if name == "job" { "Never" } else { "Always" };
        let text = format!(
            "kind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: {policy}\n  \
             hostNetwork: true\n  containers: [{{name: c, image: 'localhost/rcap-test:1', \
             command: {command}}}]\n"
        );
        fs::write(dir.path().join(format!("{name}.yaml")), text).unwrap();
    }
    let script = "\
        $RCAP minimize --json -- \"$@\" kube play job.yaml\n\
        $RCAP minimize --json --check-in 'cat /tmp/ready' -- \"$@\" play kube server.yaml\n\
        $RCAP minimize -- \"$@\" kube play server.yaml 2>&1 >/dev/null | tail -n 1\n\
        for add in '' CHOWN; do\n\
            sed \"s/name: c,/&  securityContext: {capabilities: {drop: [ALL], add: [$add]}},/\" \
                job.yaml >hand.yaml\n\
            \"$@\" kube play hand.yaml >/dev/null; \"$@\" wait job-c; \"$@\" pod rm -f -t 0 job >/dev/null\n\
        done\n";
    let ran = with_podman(dir.path(), script);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    for found in &lines[..2] {
        let found: Value = serde_json::from_str(found).unwrap();
        let result = (&found["minimum"], &found["proved"]);
        assert_eq!(result, (&serde_json::json!(["cap_chown"]), &true.into()));
    }
    assert!(lines[2].contains("--check-in"), "{ran:?}");
    assert_eq!(lines[3..], ["1", "0", "left:"], "{ran:?}");
}

/// Containers that need each other: `work` needs the file of `first` and that `side` is running,
/// which never stops to use `CAP_CHOWN`.
const SEVERAL: &str = "
kind: Pod
metadata: {name: several}
spec:
  restartPolicy: Never
  hostNetwork: true
  volumes: [{name: claim, persistentVolumeClaim: {claimName: shared}}]
  initContainers:
  - name: first
    image: localhost/rcap-test:1
    command: [/bin/sh, -c, 'test ! -e /s/f && touch /s/f && chown 5 /s/f']
    volumeMounts: [{name: claim, mountPath: /s}]
  containers:
  - name: work
    image: localhost/rcap-test:1
    command: [/bin/sh, -c, 'until test -e /s/side; do sleep 0.1; done; echo 1 >>/s/f']
    volumeMounts: [{name: claim, mountPath: /s}]
  - name: side
    image: localhost/rcap-test:1
    command: [/bin/sh, -c, 'touch /s/side; while chown 6 /s/side; do sleep 0.01; done']
    volumeMounts: [{name: claim, mountPath: /s}]
";

/// A container of a pod with several, beside the others.
fn a_container_of_several() {
    let dir = directory();
    fs::write(dir.path().join("several.yaml"), SEVERAL).unwrap();
    fs::write(dir.path().join("hanging.yaml"), SEVERAL.replace("test ! -e", "sleep 1000; "))
        .unwrap();
    let endless = SEVERAL.replace("echo 1 >>/s/f", "sleep 1000");
    fs::write(dir.path().join("endless.yaml"), endless).unwrap();
    let script = "\
        ln -s busybox rootfs/bin/test\n\
        for name in work first; do\n\
            $RCAP minimize --json -c $name -- \"$@\" kube play several.yaml\n\
        done\n\
        for options in '' '-c other'; do\n\
            $RCAP verify $options -- \"$@\" kube play several.yaml 2>&1 >/dev/null | tail -n 1\n\
        done\n\
        for name in first work; do\n\
            if [ $name = first ]; then file=hanging.yaml signal=TERM; fi\n\
            if [ $name = work ]; then file=endless.yaml signal=KILL; fi\n\
            $RCAP minimize -c work -- \"$@\" kube play $file >/dev/null 2>&1 & pid=$!\n\
            until \"$@\" ps --format '{{.Names}}' | grep -q -- -$name; do sleep 0.1; done\n\
            kill -$signal $pid\n\
            wait $pid || echo $? $(\"$@\" ps --all --quiet | grep -c .)\n\
        done\n\
        $RCAP verify --json --container work -- \"$@\" kube play several.yaml || echo $?\n\
        \"$@\" volume rm shared >/dev/null\n";
    let ran = with_podman(dir.path(), script);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    let capability = |found: &str, list: &str| -> Vec<String> {
        let found: Value = serde_json::from_str(found).unwrap();
        let caps = found[list].as_array().unwrap().iter();
        caps.map(|cap| cap.get("cap").unwrap_or(cap).as_str().unwrap().to_owned()).collect()
    };
    // The other container's use of cap_chown is not that of `work`.
    for list in ["minimum", "verdicts"] {
        assert_eq!(capability(lines[0], list), ["cap_dac_override"], "{ran:?}");
        assert_eq!(capability(lines[1], list), ["cap_chown"], "{ran:?}");
    }
    let choice = "choose one of first, work, side with --container";
    assert!(lines[2].ends_with(choice) && lines[2].contains("several containers"), "{ran:?}");
    assert!(lines[3].ends_with(choice) && lines[3].contains("no container other"), "{ran:?}");
    // After an interruption, nothing is left; the next measurement removes what a killed one left.
    assert_eq!(lines[4..6], ["130 0", "137 4"], "{ran:?}");
    let verified: Value = serde_json::from_str(lines[6]).unwrap();
    assert_eq!(verified["missing"], serde_json::json!([]), "{verified}");
    assert!(!verified["superfluous"].to_string().contains("cap_dac_override"), "{verified}");
    assert_eq!(lines[7..], ["1", "left:"], "{ran:?}");
}

/// Returns the capabilities that a report has as candidates: those of the program, and those of
/// processes that entered its container.
fn candidates(report: &Value) -> [Vec<&str>; 2] {
    [false, true].map(|by_exec| {
        let checks = report["checks"].as_array().unwrap().iter();
        let checks = checks.filter(|one| one["rule"] == "candidate" && one["by_exec"] == by_exec);
        let mut caps: Vec<&str> = checks.map(|one| one["cap"].as_str().unwrap()).collect();
        caps.sort_unstable();
        caps.dedup();
        caps
    })
}

fn processes_that_enter_a_container() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let start = "touch /f; chown 5 /f; while ! test -e /end; do sleep 0.1; done";
    let health = "ping -c 1 127.0.0.1 && touch /healthy";
    let run = ["run", "--name", "one", "--network", "none", "--health-interval", "1s"];
    let run = [&run[..], &["--health-cmd", health]].concat();
    let program_in = ["rcap-test:1", "sh", "-c", start];
    // Two health checks end, so one has begun after the recording.
    let script = "for i in 1 2; do rm -f /healthy; while ! test -e /healthy; do sleep 0.1; done; \
                  done; mkdir /d; chown 7 /d; touch /d/x /end";
    let enter = || {
        let entered = daemon.docker(&["exec", "one", "sh", "-c", script]);
        assert_eq!(entered.status, Some(0), "{entered:?}");
    };
    let start_recording = |args: &[&str]| {
        let mut command = daemon.client(program("rcap").get_program().to_str().unwrap());
        let command = command.args(["trace", "--json"]).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let report = |child: std::process::Child| -> Value {
        let output = child.wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let entered = vec!["cap_chown", "cap_dac_override", "cap_net_raw"];
    // From the start.
    let child = start_recording(&[&["--", "docker"], &run[..], &program_in].concat());
    let state = ["inspect", "--format={{.State.Running}}", "one"];
    wait_until(|| daemon.docker(&state).out == "true\n");
    enter();
    let seen = report(child);
    assert_eq!(candidates(&seen), [vec!["cap_chown"], entered.clone()]);
    // A running container.
    assert_eq!(daemon.docker(&["rm", "one"]).status, Some(0));
    let detached = [&run[..], &["--detach"], &program_in].concat();
    assert_eq!(daemon.docker(&detached).status, Some(0));
    let mut child = start_recording(&["--container", "one"]);
    let mut says = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut says).unwrap();
    assert!(says.starts_with("Recording "), "{says}");
    enter();
    let seen = report(child);
    assert_eq!(candidates(&seen), [vec![], entered]);
    assert!(seen["unseen"].to_string().contains("--restart"), "{seen}");
    // The same container from its start. Its files exist, and it ends at once.
    let restarted = report(start_recording(&["--for", "20s", "--container", "one", "--restart"]));
    assert_eq!(candidates(&restarted), [vec!["cap_chown", "cap_fowner"], vec![]]);
}

/// An interrupted measurement removes its container, and the next one removes those of a killed one.
fn nothing_is_left_behind() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let endless =
        ["minimize", "--", "docker", "run", "--network", "none", "rcap-test:1", "sleep", "1000"];
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut rcap = daemon.client(program("rcap").get_program().to_str().unwrap());
        let rcap: &mut Command = rcap.args(endless).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = rcap.spawn().unwrap();
        wait_until(|| daemon.docker(&["ps", "--quiet"]).out.lines().count() == 1);
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::SIGINT {
            assert_eq!(status.code(), Some(130));
            assert_eq!(containers(&daemon), "");
        }
    }
    assert_ne!(containers(&daemon), "");
    assert_eq!(minimum(&daemon, &[], &["rcap-test:1", "cat", "/bin/sh"]), [""; 0]);
    assert_eq!(containers(&daemon), "");
}
