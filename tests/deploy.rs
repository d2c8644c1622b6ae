//! `rcap deploy`: what it writes, read by those for whom it is written.

mod common;

use std::{
    fs,
    process::{Command, Stdio},
};

use common::{
    directory,
    docker::{DOCKER, Daemon, root_file_system},
    program, ran, which,
};
use serde_json::Value;

tests! {
    Nothing:
        usage;
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
    Root [DOCKER, "docker-compose"]:
        docker_and_compose;
}

fn deploy(args: &[&str]) -> String {
    let ran = ran(program("rcap").arg("deploy").args(args));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    ran.out.trim_end().to_owned()
}

/// The sets of /proc/self/status that a command of the shell prints.
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
    for args in [&["deploy"][..], &["deploy", "--to", "x"], &["deploy", "--to", "oci", "no_cap"]] {
        let ran = ran(program("rcap").args(args));
        assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{args:?}");
    }
    let ran = ran(program("rcap").args(["deploy", "--to", "docker", "--user", "7", "2000"]));
    assert_eq!(ran.out, "--cap-drop=ALL --cap-add=NET_RAW --user=7\n");
    assert!(ran.err.starts_with("rcap deploy: another user than root"), "{ran:?}");
}

fn setpriv() {
    let show = "grep ^Cap /proc/self/status";
    let user = deploy(&["--to", "setpriv", "--user", "nobody", "net_raw"]);
    assert_eq!(sets(&format!("{user} {show}")), all_five(RAW));
    let number = deploy(&["--to", "setpriv", "--user", "1234", "net_raw"]);
    assert_eq!(sets(&format!("{number} {show}")), all_five(RAW));
    let root = deploy(&["--to", "setpriv", "net_raw"]);
    let got = sets(&format!("{root} {show}"));
    assert_eq!(got[1..4], all_five(RAW)[1..4]);
    assert_eq!(sets(&format!("{} {show}", deploy(&["--to", "setpriv"]))), all_five(NONE));
}

fn setcap() {
    let dir = directory();
    let copy = dir.path().join("PROGRAM");
    fs::copy(which("true").unwrap(), &copy).unwrap();
    let line = deploy(&["--to", "setcap", "net_raw,kill"]);
    let tools = std::path::Path::new(program("setcap").get_program()).parent().unwrap().to_owned();
    let path = format!("PATH={}:$PATH", tools.display());
    let got = sets(&format!("cd {} && {path} && {line} && getcap PROGRAM", dir.path().display()));
    assert_eq!(got, ["PROGRAM cap_kill,cap_net_raw=ep"]);
}

/// In the user namespace of the test there is one user: root.
fn capsh_is_there() {
    let show = "-c 'grep ^Cap /proc/self/status'";
    let root = deploy(&["--to", "capsh", "net_raw"]);
    let ours = program("capsh").get_program().to_owned();
    let ours = std::path::Path::new(&ours).parent().unwrap();
    for path in ["$PATH", &format!("{}:$PATH", ours.display())] {
        let got = sets(&format!("PATH={path} {root} {show}"));
        assert_eq!(got[1..4], all_five(RAW)[1..4], "{path}");
    }
}

/// systemd-analyze(1) names every setting that it does not understand.
fn a_unit_that_systemd_understands() {
    let dir = directory();
    let path = dir.path().join("rcap-test.service");
    let verify = |text: &str| {
        fs::write(&path, text).unwrap();
        let mut command = Command::new("systemd-analyze");
        let ran = ran(command.args(["verify", "--man=no"]).arg(&path));
        [ran.out, ran.err].concat()
    };
    for user in [&[][..], &["--user", "daemon"]] {
        let part =
            deploy(&[&["--to", "systemd"], user, &["net_raw,chown,checkpoint_restore"]].concat());
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
            serde_json::from_str(&deploy(&[&["--to", "oci"], user, &["net_raw"]].concat()))
                .unwrap();
        let mut config = plain.clone();
        for (key, value) in part["process"].as_object().unwrap() {
            config["process"][key] = value.clone();
        }
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["grep", "^Cap", "/proc/self/status"]);
        fs::write(&path, config.to_string()).unwrap();
        let id = format!("rcap-test-deploy-{}", std::process::id());
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
    let options = deploy(&["--to", "docker", "net_raw"]);
    let options: Vec<&str> = options.split(' ').collect();
    let args =
        [&["run", "--rm", "--network", "none"], &options[..], &["rcap-test:1"], &show].concat();
    let want = format!("CapEff:\t{RAW}\nNoNewPrivs:\t1\n");
    assert_eq!(daemon.docker(&args).out, want);

    let indented = deploy(&["--to", "compose", "net_raw"]).replace('\n', "\n    ");
    let compose = format!(
        "services:\n  it:\n    image: rcap-test:1\n    network_mode: none\n    {indented}\n"
    );
    let path = dir.path().join("compose.yaml");
    fs::write(&path, compose).unwrap();
    let mut client = daemon.client("docker-compose");
    let ran = ran(client.arg("-f").arg(&path).args(["run", "--rm", "it"]).args(show));
    assert_eq!(ran.out.replace('\r', ""), want, "{ran:?}");
}
