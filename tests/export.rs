//! `rcap export`: its output, read by the programs that it is for.

mod common;

use std::{
    fmt::Write,
    fs,
    process::{Command, Stdio},
};

use common::{
    directory,
    docker::{DOCKER, Daemon, root_file_system},
    program, ran, which,
};
use rcap::settings::{Format, Id, Settings, SettingsError};
use serde_json::Value;

tests! {
    Nothing:
        usage,
        one_service_of_several,
        users_by_value,
        names_for_a_shell;
    UserNamespace:
        setcap;
    UserNamespace ["capsh"]:
        capsh_is_there;
    Root ["setpriv"]:
        setpriv;
    Root ["busybox runc"]:
        oci;
    Nothing ["systemd-analyze"]:
        a_unit_that_systemd_understands;
    Root ["capsh", "setpriv"]:
        numbers_for_commands;
    Nothing ["docker-compose", "python3"]:
        names_for_compose;
    Root [DOCKER, "docker-compose"]:
        docker_and_compose;
}

fn export(args: &[&str]) -> String {
    let ran = ran(program("rcap").arg("export").args(args));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    ran.out.trim_end().to_owned()
}

/// Returns the sets of /proc/self/status that a shell command prints.
fn sets(command: &str) -> Vec<String> {
    let ran = ran(Command::new("sh").args(["-c", command]).stdin(Stdio::null()));
    assert_eq!(ran.status, Some(0), "{command}: {ran:?}");
    ran.out.lines().map(|line| line.trim_start_matches("Cap").replace('\t', "")).collect()
}

const RAW: &str = "0000000000002000";
const NONE: &str = "0000000000000000";

fn all_five(value: &str) -> Vec<String> {
    ["Inh", "Prm", "Eff", "Bnd", "Amb"].map(|name| format!("{name}:{value}")).to_vec()
}

fn usage() {
    for args in [&["export"][..], &["export", "--to", "x"], &["export", "--to", "oci", "no_cap"]] {
        let ran = ran(program("rcap").args(args));
        assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{args:?}");
    }
    let run = |engine: &str| {
        let mut command = program("rcap");
        ran(command.args(["export", "--to", "docker", "--user", "7", "--engine", engine, "2000"]))
    };
    let old = run("docker@24");
    assert_eq!(old.out, "--cap-drop=ALL --cap-add=NET_RAW --user=7\n");
    assert!(old.err.contains("a non-root user gets there what its program's file has"), "{old:?}");
    let new = run("docker");
    let want = "--cap-drop=ALL --cap-add=NET_RAW --security-opt=no-new-privileges --user=7\n";
    assert_eq!(new.out, want);
    assert!(new.err.contains("since Docker 25"), "{new:?}");
}

fn setpriv() {
    let show = "grep ^Cap /proc/self/status";
    let user = export(&["--to", "setpriv", "--user", "nobody", "net_raw"]);
    assert_eq!(sets(&format!("{user} {show}")), all_five(RAW));
    let number = export(&["--to", "setpriv", "--user", "1234", "net_raw"]);
    assert_eq!(sets(&format!("{number} {show}")), all_five(RAW));
    let root = export(&["--to", "setpriv", "net_raw"]);
    let got = sets(&format!("{root} {show}"));
    assert_eq!(got[1..4], all_five(RAW)[1..4]);
    assert_eq!(sets(&format!("{} {show}", export(&["--to", "setpriv"]))), all_five(NONE));
}

fn setcap() {
    let dir = directory();
    let copy = dir.path().join("PROGRAM");
    fs::copy(which("true").unwrap(), &copy).unwrap();
    let line = export(&["--to", "setcap", "net_raw,kill"]);
    let tools = std::path::Path::new(program("setcap").get_program()).parent().unwrap().to_owned();
    let path = format!("PATH={}:$PATH", tools.display());
    let got = sets(&format!("cd {} && {path} && {line} && getcap PROGRAM", dir.path().display()));
    assert_eq!(got, ["PROGRAM cap_kill,cap_net_raw=ep"]);
}

/// The user namespace of the test has one user, root.
fn capsh_is_there() {
    let show = "-c 'grep ^Cap /proc/self/status'";
    let root = export(&["--to", "capsh", "net_raw"]);
    let ours = program("capsh").get_program().to_owned();
    let ours = std::path::Path::new(&ours).parent().unwrap();
    for path in ["$PATH", &format!("{}:$PATH", ours.display())] {
        let got = sets(&format!("PATH={path} {root} {show}"));
        assert_eq!(got[1..4], all_five(RAW)[1..4], "{path}");
    }
}

/// systemd-analyze(1) reports every setting that it does not understand.
fn a_unit_that_systemd_understands() {
    let dir = directory();
    let path = dir.path().join("rcap-test.service");
    let verify = |text: &str| {
        fs::write(&path, text).unwrap();
        let mut command = Command::new("systemd-analyze");
        let ran = ran(command.args(["verify", "--man=no"]).arg(&path));
        [ran.out, ran.err].concat()
    };
    let users = ["daemon", "daemon:adm", "1234:5", "a%h", "DOM\\me", "host$", "a'b", "a\"b"];
    let users = users.map(|user| vec!["--user", user]);
    for user in std::iter::once(vec![]).chain(users) {
        let part =
            export(&[&["--to", "systemd"], &*user, &["net_raw,chown,checkpoint_restore"]].concat());
        let unit = format!("{part}\nExecStart=/bin/true\n");
        let said = verify(&unit);
        assert!(!said.contains("rcap-test"), "{unit}: {said}");
        let said = verify(&unit.replace("CapabilityBoundingSet", "CapabilityBindingSet"));
        assert!(said.contains("Unknown key 'CapabilityBindingSet'"), "{said}");
    }
}

fn oci() {
    let dir = directory();
    root_file_system(dir.path());
    assert!(Command::new("runc").arg("spec").current_dir(dir.path()).status().unwrap().success());
    let path = dir.path().join("config.json");
    let plain: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (user, want) in [(&[][..], [NONE, RAW, RAW, RAW, NONE]), (&["--user", "7"], [RAW; 5])] {
        let part: Value =
            serde_json::from_str(&export(&[&["--to", "oci"], user, &["net_raw"]].concat()))
                .unwrap();
        let mut config = plain.clone();
        for (key, value) in part["process"].as_object().unwrap() {
            config["process"][key] = value.clone();
        }
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["grep", "^Cap", "/proc/self/status"]);
        fs::write(&path, config.to_string()).unwrap();
        let id = format!("rcap-test-export-{}", std::process::id());
        let got = sets(&format!("cd {} && runc run {id}", dir.path().display()));
        let names = ["Inh", "Prm", "Eff", "Bnd", "Amb"];
        let want: Vec<_> =
            names.iter().zip(want).map(|(name, set)| format!("{name}:{set}")).collect();
        assert_eq!(got, want, "{user:?}");
    }
}

fn docker_and_compose() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &root_file_system(dir.path()));
    let show = ["grep", "-E", "^(CapEff|NoNewPrivs)", "/proc/self/status"];
    let options = export(&["--to", "docker", "net_raw"]);
    let options: Vec<&str> = options.split(' ').collect();
    let args =
        [&["run", "--rm", "--network", "none"], &options[..], &["rcap-test:1"], &show].concat();
    let want = format!("CapEff:\t{RAW}\nNoNewPrivs:\t1\n");
    assert_eq!(daemon.docker(&args).out, want);

    let indented = export(&["--to", "compose", "net_raw"]).replace('\n', "\n    ");
    let compose = format!(
        "services:\n  it:\n    image: rcap-test:1\n    container_name: it\n    network_mode: none\n    \
         command: {show:?}\n    {indented}\n"
    );
    let path = dir.path().join("compose.yaml");
    fs::write(&path, compose).unwrap();
    let mut client = daemon.client("docker-compose");
    let ran = ran(client.arg("-f").arg(&path).args(["up", "-d"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(daemon.docker(&["wait", "it"]).out, "0\n");
    assert_eq!(daemon.docker(&["logs", "it"]).out, want);
}

/// An override file changes one service, with the settings of that one.
fn one_service_of_several() {
    let dir = common::directory();
    let file = dir.path().join("compose.yaml");
    let text = "services:\n  web: {image: x, cap_drop: [ALL], cap_add: [KILL]}\n  \
                all: {image: x, privileged: true}\n";
    std::fs::write(&file, text).unwrap();
    let export = |service: &str| {
        let to = ["--to", "compose-override", "--service", service, "--from"];
        ran(program("rcap").arg("export").args(to).arg(&file))
    };
    let web = export("web");
    assert_eq!(web.status, Some(0), "{web:?}");
    assert_eq!(web.out.matches("cap_add: ").count(), 1, "{web:?}");
    assert!(web.out.contains("cap_add: [KILL]"), "{web:?}");
    let other = export("other");
    assert_eq!((other.status, &*other.out), (Some(2), ""), "{other:?}");
}

fn users_by_value() {
    let export = |to: &str, user: &str| {
        ran(program("rcap").args(["export", "--to", to, "--user", user, "net_raw"]))
    };
    for user in ["0", "00", "+0", "root", "0:0", "+00:000"] {
        let value: Value = serde_json::from_str(&export("oci", user).out).unwrap();
        let process = &value["process"];
        assert_eq!(process["user"]["uid"], 0, "{user}");
        assert_eq!(process["capabilities"]["ambient"], serde_json::json!([]), "{user}");
        let docker = export("docker", user);
        assert!(docker.out.contains("no-new-privileges"), "{docker:?}");
        assert_eq!(docker.err, "", "{user}");
    }
    for format in ["oci", "kubernetes"] {
        for user in ["nobody", "1:adm", "nobody:5"] {
            let ran = export(format, user);
            assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{ran:?}");
            let want =
                format!("rcap export: user {user}: {format} needs a number, UID or UID:GID\n");
            assert_eq!(ran.err, want);
        }
    }
    // The error precedes the first run.
    let args = ["minimize", "--user", "nobody", "--to", "oci", "--", "true"];
    let early = ran(program("rcap").args(args));
    assert_eq!((early.status, &*early.out), (Some(125), ""));
    assert!(early.err.contains("user nobody: oci needs a number"), "{}", early.err);
    let value: Value = serde_json::from_str(&export("oci", "7:5").out).unwrap();
    assert_eq!(value["process"]["user"], serde_json::json!({"uid": 7, "gid": 5}));
    // An empty user, and the ID that setresuid(2) ignores.
    for user in ["", ":", "4294967295", "0x0", " 0", "-1", "a\nb", "a\u{1b}[31m", "-x", "a b"] {
        for format in ["docker", "oci", "systemd", "setpriv", "json"] {
            let ran = export(format, user);
            assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{format} {user:?}");
            assert!(!ran.err.contains('\u{1b}'), "{ran:?}");
        }
    }
    let ran = export("systemd", "me\\");
    assert_eq!((ran.status, &*ran.out), (Some(2), ""));
    assert!(ran.err.contains("a backslash at the end would join the next line"), "{}", ran.err);
}

/// Returns user names with every character that a user name may have.
fn names() -> Vec<String> {
    let mut names: Vec<String> = r#"nobody www-data a'b a"b a$b $(id) `id` a\b \ ~ * ? #a a#b !a a! & ; | ( ) < > { } [a] %h %% = a=b @ é 日本 host$ $$ ${HOME} 'a' "a" , a, 3proxy"#
        .split(' ')
        .map(str::to_owned)
        .collect();
    // Every printable ASCII character, in a fixed sequence.
    let printable: Vec<char> = ('!'..='~').filter(|char| !":/".contains(*char)).collect();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..300 {
        let length = 1 + next(12);
        names.push((0..length).map(|_| printable[next(printable.len())]).collect());
    }
    names.retain(|name| matches!(name.parse(), Ok(Id::Name(_))));
    assert_eq!(names.len(), 333);
    names
}

fn write(format: Format, name: &str) -> Result<String, SettingsError> {
    format.write(&Settings::default().for_user(name.parse()?))
}

/// A shell parses the options.
fn names_for_a_shell() {
    let names = names();
    let mut script = String::from(
        "setpriv() { printf '%s\\0' \"$1\" \"$2\"; }\n\
         capsh() { printf '%s\\0' \"$1\"; }\n\
         docker() { for word; do last=$word; done; printf '%s\\0' \"$last\"; }\n\
         id() { printf %s \"$2\"; }\n",
    );
    let mut want = Vec::new();
    for name in &names {
        for (format, before, words) in [
            (Format::Docker, "docker ", vec![format!("--user={name}")]),
            (Format::Podman, "docker ", vec![format!("--user={name}")]),
            (Format::Capsh, "", vec![format!("--user={name}")]),
            (Format::Setpriv, "", vec![format!("--reuid={name}"), format!("--regid={name}")]),
        ] {
            writeln!(script, "{before}{}", write(format, name).unwrap()).unwrap();
            want.extend(words);
        }
    }
    let dir = directory();
    fs::write(dir.path().join("script"), script).unwrap();
    let ran = ran(Command::new("sh").arg("script").current_dir(dir.path()));
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    let got: Vec<&str> = ran.out.trim_end_matches('\0').split('\0').collect();
    assert_eq!(got, want);
}

/// Compose parses a service, and PyYAML parses JSON.
fn names_for_compose() {
    let names = names();
    let mut compose = String::from("version: '2.4'\nservices:\n");
    for (nth, name) in names.iter().enumerate() {
        let part = write(Format::Compose, name).unwrap().replace('\n', "\n    ");
        writeln!(compose, "  s{nth}:\n    image: x\n    {part}").unwrap();
    }
    let dir = directory();
    fs::write(dir.path().join("compose.yaml"), compose).unwrap();
    let read = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let pipe = "docker-compose -f compose.yaml config > out && python3 -c \"$0\" < out";
    let ran = ran(Command::new("sh").args(["-c", pipe, read]).current_dir(dir.path()));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    for (nth, name) in names.iter().enumerate() {
        // The user is ready to be read again.
        let user = value["services"][format!("s{nth}")]["user"].as_str().unwrap();
        assert_eq!(user.replace("$$", "$"), *name);
    }
}

/// A numeric user, for the two commands that change the user themselves.
fn numbers_for_commands() {
    for (format, show) in [
        ("capsh", "-c 'grep -E ^Cap /proc/self/status; id -u; id -g; id -G'"),
        ("setpriv", "sh -c 'grep -E ^Cap /proc/self/status; id -u; id -g; id -G'"),
    ] {
        for (user, ids) in [("1234", ["1234"; 3]), ("1234:5", ["1234", "5", "5"])] {
            let command = export(&["--to", format, "--user", user, "net_raw"]);
            let got = sets(&format!("{command} {show}"));
            assert_eq!(got[..5], all_five(RAW), "{command}");
            assert_eq!(got[5..], ids, "{command}");
        }
    }
}
