//! Bundles and command lines, beside runc, crun and Docker.

use std::{
    fs,
    process::{Command, Stdio},
};

use rcap::{
    Cap,
    exec::FileFacts,
    file::FileCaps,
    settings::{self, Context, Engine, Format, Source, Target},
};
use serde_json::{Value, json};

use super::{
    common::{
        directory,
        docker::{Daemon, root_file_system},
        program, ran,
        sets::{Numbers, Sets, random_setpriv},
    },
    read, write,
};

/// Runs a bundle with the unified hierarchy of control groups alone, which crun needs.
const CRUN: &str = "set -e; umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup\n\
    exec crun --cgroup-manager=disabled run \"$0\"";

/// Whether runc and crun give the sets of config.json that the model has, and never more than a
/// source that was converted.
pub(crate) fn bundles() {
    let dir = directory();
    root_file_system(dir.path());
    assert!(Command::new("runc").arg("spec").current_dir(dir.path()).status().unwrap().success());
    let path = dir.path().join("config.json");
    let plain: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let run = |runtime: &str, process: &Value, nth: usize| {
        let mut config = plain.clone();
        for (key, value) in process.as_object().unwrap() {
            config["process"][key] = value.clone();
        }
        config["process"]["terminal"] = false.into();
        config["process"]["rlimits"] = json!([]);
        config["process"]["args"] = json!(["cat", "/proc/self/status"]);
        fs::write(&path, config.to_string()).unwrap();
        let id = format!("rcap-settings-{}-{nth}", std::process::id());
        let mut command = Command::new(if runtime == "crun" { "unshare" } else { runtime });
        if runtime == "crun" {
            command.args(["-m", "sh", "-c", CRUN, &id]);
        } else {
            command.args(["run", &id]);
        }
        ran(command.current_dir(dir.path()).stdin(Stdio::null()))
    };
    // Names that are not exact.
    let names = json!({"capabilities": {"bounding": ["KILL", "cap_chown", "CAP_NET_RAW"], "permitted": ["CAP_NET_RAW"], "effective": ["CAP_NET_RAW"]}});
    let mut names = names;
    names["noNewPrivileges"] = false.into();
    let got = run("runc", &names, 0);
    let model = &settings::read(&json!({"process": names}).to_string(), None).unwrap()[0];
    assert_eq!(Sets::of_status(&got.out), Some(Sets::expected(model)), "{got:?}");
    let mut numbers = Numbers(7);
    for nth in 1..60 {
        let line = random_setpriv(&mut numbers);
        let source = read(&format!("{line} -- cat"));
        if source.user.user().is_none() {
            continue;
        }
        let text = Format::Oci.write(&source).unwrap();
        let part: Value = serde_json::from_str(&text).unwrap();
        let model = &settings::read(&text, None).unwrap()[0];
        for runtime in ["runc", "crun"] {
            let got = run(runtime, &part["process"], nth);
            let context = format!("{runtime}: {line}: {text}");
            let sets = Sets::of_status(&got.out).unwrap_or_else(|| panic!("{context}: {got:?}"));
            sets.assert_within(&Sets::expected(&source), &context);
            assert_eq!(sets, Sets::expected(model), "{context}");
        }
    }
}

/// Command lines, beside a daemon that runs them.
pub(crate) fn docker_lines() {
    let dir = directory();
    let root = root_file_system(dir.path());
    // Docker looks up a name, even that of root, in the image.
    write(&root, "etc/passwd", "root:x:0:0:root:/:/bin/sh\n");
    let daemon = Daemon::start(dir.path(), &root);
    let version = daemon.docker(&["version", "--format", "{{.Server.Version}}"]);
    let version = version.out.trim().split('+').next().unwrap().to_owned();
    let engine: Engine = format!("docker@{version}").parse().unwrap();
    let engines = [engine.clone()];
    let mut context = Context::default();
    context.engines = &engines;
    let show = ["cat", "/proc/self/status"];
    let run = |image: &str, options: &str| {
        let words = options.split_ascii_whitespace();
        let args: Vec<&str> =
            ["run", "--rm", "--network", "none"].into_iter().chain(words).collect();
        daemon.docker(&[&args[..], &[image], &show].concat())
    };
    for options in [
        "",
        "-u1000",
        "-iu 1000",
        "--cap-drop ALL",
        "--cap-drop=all --cap-add=CAP_NET_RAW --cap-add kill",
        "--cap-add KILL --cap-drop KILL",
        "--privileged=0",
        "--privileged --user 7:8",
        "--security-opt no-new-privileges=1",
        "--security-opt no-new-privileges --security-opt=no-new-privileges:false",
        "--user root --cap-add SYS_TIME",
    ] {
        let line = format!("docker run {options} rcap-test:1 cat");
        let settings = match Source::parse(&line, &context) {
            Ok(Source::Words(settings)) => settings,
            other => panic!("{line}: {other:?}"),
        };
        let got = run("rcap-test:1", options);
        let sets = Sets::of_status(&got.out).unwrap_or_else(|| panic!("{line}: {got:?}"));
        assert_eq!(sets, Sets::expected(&settings), "{line}");
    }
    // A program whose file has capabilities.
    let caps = FileCaps { permitted: Cap::NET_RAW | Cap::KILL, effective: true, ..FileCaps::EMPTY };
    let _ = rcap::file::write(root.join("bin/busybox"), &caps).unwrap();
    let import = "tar -C \"$0\" --xattrs --xattrs-include='*' -c . | docker import - rcap-test:2";
    let import = ran(daemon.client("sh").args(["-c", import]).arg(&root));
    assert_eq!(import.status, Some(0), "{import:?}");
    for options in [
        "",
        "-u 1000",
        "-u 1000 --security-opt no-new-privileges",
        "-u 1000 --security-opt no-new-privileges --cap-drop ALL --cap-add NET_RAW --cap-add KILL",
        "-u 1000 --cap-drop ALL --cap-add NET_RAW --cap-add KILL",
    ] {
        let line = format!("docker run {options} rcap-test:2 cat");
        let Ok(Source::Words(settings)) = Source::parse(&line, &context) else { panic!("{line}") };
        let got = run("rcap-test:2", options);
        let sets = Sets::of_status(&got.out).unwrap_or_else(|| panic!("{line}: {got:?}"));
        assert_eq!(sets, Sets::expected_of(&settings, &FileFacts::with_caps(caps)), "{line}");
    }
    // Names that the daemon may be too old for.
    for name in ["CHECKPOINT_RESTORE", "BPF", "AUDIT_READ"] {
        let line = format!("docker run --cap-add {name} rcap-test:1 cat");
        let is_known = Source::parse(&line, &context).is_ok();
        let got = run("rcap-test:1", &format!("--cap-add {name}"));
        assert_eq!(got.status == Some(0), is_known, "{line}: {got:?}");
    }
    let refused = run("rcap-test:1", "--cap-add NET_ADMIN,SYS_TIME");
    assert!(refused.status != Some(0) && refused.err.contains("invalid"), "{refused:?}");
    let mut target = Target::default();
    target.engine = Some(engine);
    let mut numbers = Numbers(3);
    for _ in 0..16 {
        let line = random_setpriv(&mut numbers);
        let source = read(&format!("{line} -- cat"));
        let options = Format::Docker.export(&source, &target).unwrap().text;
        let got = run("rcap-test:1", &options);
        let sets = Sets::of_status(&got.out).unwrap_or_else(|| panic!("{options}: {got:?}"));
        sets.assert_within(&Sets::expected(&source), &format!("{line}: {options}"));
    }
    // By the name of a container.
    let made = daemon.docker(&[
        "create",
        "--name",
        "rcap-c",
        "-u",
        "7",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "KILL",
        "rcap-test:1",
        "cat",
    ]);
    assert_eq!(made.status, Some(0), "{made:?}");
    let mut command = daemon.client(program("rcap").get_program().to_str().unwrap());
    let ran = ran(command.args(["export", "--to", "json", "--from", "container:rcap-c"]));
    let document: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let one = &document["subjects"][0];
    assert_eq!((&one["user"], &one["bounding"]), (&json!("7"), &json!(["cap_kill"])));
    assert_eq!(one["engine"], format!("docker@{version}"));
}
