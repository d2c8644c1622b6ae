//! `rcap minimize` and `rcap verify` of services of Compose, compared with what docker-compose
//! starts.

mod common;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Ran, directory,
    docker::{DOCKER, Daemon, root_file_system},
    program, ran, wait_until,
};
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

tests! {
    Root [DOCKER, "docker-compose"]:
        services_of_a_profile;
    Tracing [DOCKER, "docker-compose"]:
        three_services_of_one_file,
        the_same_container_as_compose_starts,
        an_override_file_that_cannot_work,
        one_container_of_a_service,
        a_sysctl_for_the_user_of_a_service,
        nothing_is_left_of_a_project,
        a_service_of_a_command_line;
}

/// Three services with different needs: a server with a health check that depends on another one,
/// a server that needs nothing, and a job.
const FILE: &str = r#"
services:
  web:
    image: rcap-test:1
    command: sh -c 'nc 10.9.8.7 7000 && chown 5 /data && touch /data/f && exec httpd -f -p 80 -h /'
    depends_on: {db: {condition: service_healthy}}
    volumes: ["data:/data"]
    ports: ["8080:80"]
    healthcheck: {test: "wget -q -O /dev/null http://127.0.0.1/bin/busybox", interval: 1s}
    restart: always
  db:
    image: rcap-test:1
    command: sh -c 'touch /d/$$GREETING && exec nc -ll -p 7000 -e cat'
    environment: {GREETING: "${GREETING:-hi}"}
    volumes: ["dbdata:/d"]
    healthcheck: {test: "test -e /d/$GREETING", interval: 1s}
    networks: {default: {ipv4_address: 10.9.8.7}}
    restart: always
  job:
    image: rcap-test:1
    command: [ping, -c, "1", 127.0.0.1]
volumes: {data: , dbdata: }
networks: {default: {ipam: {config: [{subnet: 10.9.8.0/24}]}}}
"#;

/// A daemon in a network namespace of its own, and the file in a directory.
struct Lab {
    daemon: Daemon,
    project: std::path::PathBuf,
}

impl Lab {
    fn new(dir: &Path, file: &str) -> Lab {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let up = "ip link set lo up".split(' ');
        assert_eq!(ran(Command::new("busybox").args(up)).status, Some(0));
        let root = root_file_system(dir);
        for name in ["httpd", "nc", "test", "wget", "ls"] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let daemon = Daemon::start(dir, &root);
        let project = dir.join("shop");
        fs::create_dir(&project).unwrap();
        fs::write(project.join("compose.yaml"), file).unwrap();
        fs::write(project.join(".env"), "GREETING=hello\n").unwrap();
        Lab { daemon, project }
    }

    fn run(&self, program: &str, args: &[&str]) -> Ran {
        ran(self.daemon.client(program).current_dir(&self.project).args(args))
    }

    fn rcap(&self, args: &[&str]) -> Ran {
        self.run(program("rcap").get_program().to_str().unwrap(), args)
    }

    fn compose(&self, args: &[&str]) -> Ran {
        self.run("docker-compose", args)
    }

    /// Returns the minimum of a service.
    fn minimum(&self, args: &[&str]) -> Vec<String> {
        let found = self.rcap(&[&["minimize", "--json"], args].concat());
        assert_eq!(found.status, Some(0), "{found:?}");
        let found: Value = serde_json::from_str(&found.out).unwrap();
        assert_eq!(found["proved"], true, "{found}");
        let names = found["minimum"].as_array().unwrap().iter();
        names.map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// Starts a service with other capabilities by hand, and returns whether it works: a server is
    /// healthy, and a job ends with status 0.
    fn works(&self, service: &str, caps: &[&str]) -> bool {
        let caps = serde_json::json!({"cap_drop": ["ALL"], "cap_add": caps, "restart": "no"});
        let text = serde_json::json!({"version": "3.9", "services": {service: caps}}).to_string();
        fs::write(self.project.join("by-hand.json"), text).unwrap();
        let files = ["-f", "compose.yaml", "-f", "by-hand.json"];
        let up = self.compose(&[&files[..], &["up", "-d", service]].concat());
        assert_eq!(up.status, Some(0), "{up:?}");
        let id = self.compose(&[&files[..], &["ps", "-q", service]].concat()).out;
        let state = || {
            let format = "--format={{.State.Status}} {{.State.ExitCode}} {{if .State.Health}}{{.State.Health.Status}}{{end}}";
            self.daemon.docker(&["inspect", format, id.trim()]).out.trim().to_owned()
        };
        let is_known = |state: &str| state.starts_with("exited") || state.ends_with("healthy");
        wait_until(|| is_known(&state()));
        let state = state();
        self.down();
        state.ends_with(" healthy") && state.starts_with("running") || state == "exited 0"
    }

    /// Starts a service, waits until it is healthy, and returns the status of its process.
    fn healthy(&self, service: &str) -> String {
        assert_eq!(self.compose(&["up", "-d", service]).status, Some(0));
        let id = self.compose(&["ps", "-q", service]).out.trim().to_owned();
        let field =
            |format: &str| self.daemon.docker(&["inspect", format, &id]).out.trim().to_owned();
        wait_until(|| field("--format={{.State.Health.Status}}") == "healthy");
        let pid = field("--format={{.State.Pid}}");
        fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
    }

    fn down(&self) {
        let down = self.compose(&["down", "-v", "-t", "0"]);
        assert_eq!(down.status, Some(0), "{down:?}");
    }

    /// Everything that the engine has, but for images and its own networks.
    fn left(&self) -> String {
        let lists: [&[&str]; 3] = [
            &["ps", "--all", "--quiet"],
            &["volume", "ls", "--quiet"],
            &["network", "ls", "--quiet", "--filter", "type=custom"],
        ];
        lists.map(|list| self.daemon.docker(list).out).concat()
    }
}

fn three_services_of_one_file() {
    let dir = directory();
    let lab = Lab::new(dir.path(), FILE);
    let web = lab.minimum(&["--compose", "compose.yaml", "web"]);
    assert_eq!(web, ["cap_chown", "cap_dac_override"]);
    let db = lab.minimum(&["--", "docker-compose", "up", "-d", "db"]);
    assert_eq!(db, [""; 0]);
    let job = lab.minimum(&["--compose", "compose.yaml", "job"]);
    assert_eq!(job, ["cap_net_raw"]);
    assert_eq!(lab.left(), "");
    // By hand: the sets suffice, and each less does not.
    assert!(lab.works("web", &["CHOWN", "DAC_OVERRIDE"]));
    assert!(!lab.works("web", &["CHOWN"]) && !lab.works("web", &["DAC_OVERRIDE"]));
    assert!(lab.works("db", &[]));
    assert!(lab.works("job", &["NET_RAW"]) && !lab.works("job", &[]));
    // Before there is an override file, the default capabilities are too many.
    let verify = ["verify", "--compose", "compose.yaml", "web"];
    let much = lab.rcap(&verify);
    assert_eq!(much.status, Some(1), "{much:?}");
    assert!(much.out.contains("Superfluous: cap_fowner,"), "{much:?}");
    let written = lab.rcap(&["minimize", "--compose", "compose.yaml", "--write", "web"]);
    assert_eq!(written.status, Some(0), "{written:?}");
    let file = fs::read_to_string(lab.project.join("compose.override.yaml")).unwrap();
    let caps = "    cap_drop: [ALL]\n    privileged: false\n    cap_add: [CHOWN, DAC_OVERRIDE]\n";
    assert!(file.contains(caps), "{file}");
    let command = "\nTo verify it: rcap verify --compose compose.yaml web\n";
    assert!(written.out.ends_with(command), "{written:?}");
    for options in [&[][..], &["--minimal"]] {
        let verified = lab.rcap(&[&verify[..1], options, &verify[1..]].concat());
        assert_eq!(verified.status, Some(0), "{verified:?}");
    }
    // Compose finds the file, and the service is healthy with nothing but the minimum.
    let status = lab.healthy("web");
    assert!(status.contains("\nCapBnd:\t0000000000000003\n"), "{status}");
    assert!(status.contains("\nNoNewPrivs:\t0\n"), "{status}");
    lab.down();
    // It replaces no file, and says so before anything runs.
    let again = lab.rcap(&["minimize", "--compose", "compose.yaml", "--write", "web"]);
    assert_eq!(again.status, Some(125), "{again:?}");
    assert!(again.err.contains("compose.override.yaml: it exists"), "{again:?}");
    assert!(!again.err.contains("Measuring"), "{again:?}");
}

/// All settings of the container are those that Compose gives it, but for labels and names.
fn the_same_container_as_compose_starts() {
    let file = FILE.replace(
        "    restart: always\n  db:",
        r#"    environment: {A: "x$$y", B: }
    hostname: shop
    tmpfs: ["/run:size=1m"]
    sysctls: {net.ipv4.ip_unprivileged_port_start: "1024"}
    security_opt: ["no-new-privileges:true"]
    cap_add: [NET_ADMIN]
    ulimits: {nofile: 99}
    stop_signal: SIGINT
    extra_hosts: ["else:10.0.0.1"]
    working_dir: /tmp
    read_only: true
    group_add: ["7"]
    dns: [10.0.0.2]
  db:"#,
    );
    let dir = directory();
    let lab = Lab::new(dir.path(), &file);
    assert_eq!(lab.compose(&["up", "--no-start"]).status, Some(0));
    let id = lab.compose(&["ps", "--all", "-q", "web"]).out.trim().to_owned();
    let own = lab.daemon.docker(&["inspect", &id]).out;
    lab.down();
    // The check looks at the container of the run.
    let look = dir.path().join("look");
    let check = format!(
        "docker inspect $(docker ps -q --filter label=com.docker.compose.service=web) > {0}.new && \
         mv {0}.new {0}",
        look.display()
    );
    let verify = ["verify", "--check", &check, "--compose", "compose.yaml", "web"];
    let verified = lab.rcap(&verify);
    assert!(look.exists(), "{verified:?}");
    let measured = fs::read_to_string(look).unwrap();
    let [own, measured] = [own, measured].map(|text| {
        let all: Value = serde_json::from_str(&text).unwrap();
        let mut one = all[0].clone();
        // The engine changes the last one when it starts a container.
        for key in ["RestartPolicy", "NetworkMode", "OomKillDisable"] {
            one["HostConfig"][key].take();
        }
        one["Config"]["Labels"].take();
        // Compose 2 gives them in any order.
        let environment = one["Config"]["Env"].as_array_mut().unwrap();
        environment.sort_by_key(Value::to_string);
        one["Config"]["Healthcheck"]["Interval"].take();
        // The names of volumes and of links have the project's.
        one["HostConfig"]["Links"].take();
        for list in ["Binds", "Mounts"] {
            let text = one["HostConfig"][list].to_string();
            let (start, end) = (text.find("rcap-"), text.find("shop_data"));
            let of_project = start.zip(end).map(|(start, end)| start..end).unwrap_or_default();
            one["HostConfig"][list] = text.replace(&text[of_project], "").into();
        }
        (one["Config"].clone(), one["HostConfig"].clone())
    });
    assert_eq!(own, measured);
    assert_eq!(lab.left(), "");
    // The volume of the project is copied, and stays as it is.
    assert_eq!(lab.daemon.docker(&["volume", "create", "shop_data"]).status, Some(0));
    let fill = ["run", "--rm", "-v", "shop_data:/d", "--network", "none", "rcap-test:1"];
    let touch = ["sh", "-c", "touch /d/mine"];
    assert_eq!(lab.daemon.docker(&[&fill[..], &touch].concat()).status, Some(0));
    let check = ["--check-in", "test -e /data/mine && touch /data/other"];
    let args = [&["minimize"], &check[..], &["--compose", "compose.yaml", "web"]].concat();
    let found = lab.rcap(&args);
    assert_eq!(found.status, Some(0), "{found:?}");
    let list = lab.daemon.docker(&[&fill[..], &["ls", "/d"]].concat());
    assert_eq!(list.out, "mine\n");
}

/// Lists of several files are added up, so that an override file takes no capability away.
fn an_override_file_that_cannot_work() {
    let file = "services: {job: {image: 'rcap-test:1', network_mode: none, cap_add: [KILL], \
                command: [chown, '5', /tmp]}}\n";
    let dir = directory();
    let lab = Lab::new(dir.path(), file);
    let written = lab.rcap(&["minimize", "--compose", "compose.yaml", "--write", "job"]);
    assert_eq!(written.status, Some(125), "{written:?}");
    assert!(written.err.contains("gives the service cap_chown,cap_kill"), "{written:?}");
    assert!(!lab.project.join("compose.override.yaml").exists());
    for (args, words) in [
        (&["minimize", "--compose", "compose.yaml", "nosuch"][..], "no service nosuch, only job"),
        (&["minimize", "--compose", "compose.yaml", "job", "x"], "--compose takes one SERVICE"),
        (&["minimize", "--compose", "nosuch.yaml", "job"], "nosuch.yaml"),
        (&["minimize", "--write", "--", "true"], "--write requires --unit or a service of Compose"),
        (&["verify", "--", "docker-compose", "start", "job"], "would not measure it"),
        (&["minimize", "--", "docker-compose", "run", "--what", "job"], "unknown option --what"),
        (&["minimize", "--write", "--", "docker-compose", "run", "job"], "--write requires"),
    ] {
        let refused = lab.rcap(args);
        assert_eq!(refused.status, Some(125), "{refused:?}");
        assert!(refused.err.contains(words), "{refused:?}");
    }
}

/// Services whose profiles are not active, one of which has to be built. tests/trixie.sh runs this
/// test with Compose 2.
fn services_of_a_profile() {
    let file = "services:\n\
        \x20 other: {image: 'rcap-test:1'}\n\
        \x20 job: {build: built, profiles: [tools], network_mode: none}\n";
    let dir = directory();
    let lab = Lab::new(dir.path(), file);
    fs::create_dir(lab.project.join("built")).unwrap();
    let text = "FROM rcap-test:1\nCMD [\"chown\", \"5\", \"/tmp\"]\n";
    fs::write(lab.project.join("built/Dockerfile"), text).unwrap();
    assert_eq!(lab.minimum(&["--compose", "compose.yaml", "job"]), ["cap_chown"]);
    let written = lab.rcap(&["minimize", "--compose", "compose.yaml", "--write", "job"]);
    assert_eq!(written.status, Some(0), "{written:?}");
    let verified = lab.rcap(&["verify", "--minimal", "--compose", "compose.yaml", "job"]);
    assert_eq!(verified.status, Some(0), "{verified:?}");
    assert_eq!(lab.left(), "");
    // By hand, with the override file.
    for (caps, status) in [("", 0), ("CHOWN", 1)] {
        let path = lab.project.join("compose.override.yaml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace(caps, "")).unwrap();
        let up = lab.compose(&["--profile", "tools", "up", "--exit-code-from", "job", "job"]);
        assert_eq!(up.status, Some(status), "{up:?}");
    }
}

/// `docker-compose run` with other settings, compared with what it starts by hand.
fn one_container_of_a_service() {
    let dir = directory();
    let lab = Lab::new(dir.path(), FILE);
    let script = "touch /data/f && chown $WHO /data/f || exit 1";
    let run = ["docker-compose", "run", "--rm", "-T", "-e", "WHO=7", "web", "sh", "-c", script];
    let found = lab.minimum(&[&["--"], &run[..]].concat());
    assert_eq!(found, ["cap_chown"]);
    let verified = lab.rcap(&[&["verify", "--"], &run[..]].concat());
    assert_eq!(verified.status, Some(1), "{verified:?}");
    assert!(verified.out.contains("Superfluous: "), "{verified:?}");
    // By hand.
    for (caps, status) in [("[]", 1), ("[CHOWN]", 0)] {
        let text =
            format!("{{services: {{web: {{cap_drop: [ALL], cap_add: {caps}}}}}, version: '3.9'}}");
        fs::write(lab.project.join("by-hand.yaml"), text).unwrap();
        let files = ["-f", "compose.yaml", "-f", "by-hand.yaml"];
        let ended = lab.compose(&[&files[..], &run[1..]].concat());
        assert_eq!(ended.status, Some(status), "{caps}: {ended:?}");
        lab.down();
    }
    assert_eq!(lab.left(), "");
}

/// Docker gives a user other than root no capabilities, and none is needed with a sysctl, which is in
/// the override file.
fn a_sysctl_for_the_user_of_a_service() {
    let file = r#"services:
  web:
    image: rcap-test:1
    user: "1000"
    network_mode: none
    sysctls: {net.ipv4.ip_unprivileged_port_start: "1024"}
    command: httpd -f -p 80 -h /
    healthcheck: {test: "wget -q -O /dev/null http://127.0.0.1/bin/busybox", interval: 1s}
"#;
    let dir = directory();
    let lab = Lab::new(dir.path(), file);
    assert!(!lab.works("web", &["NET_BIND_SERVICE"]));
    let written = lab.rcap(&["minimize", "--compose", "compose.yaml", "--write", "web"]);
    assert_eq!(written.status, Some(0), "{written:?}");
    assert!(written.out.starts_with("Minimum: none\n"), "{written:?}");
    let note = "with --sysctl 'net.ipv4.ip_unprivileged_port_start=0', it requires no capability";
    assert!(written.err.contains(note), "{written:?}");
    // Compose finds the file, and the service is healthy without a capability.
    let status = lab.healthy("web");
    assert!(status.contains("\nCapBnd:\t0000000000000000\n"), "{status}");
    lab.down();
    assert_eq!(lab.left(), "");
}

/// An interrupted measurement removes its project, and the next one removes that of a killed one.
fn nothing_is_left_of_a_project() {
    let dir = directory();
    let lab = Lab::new(dir.path(), FILE);
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut rcap = lab.daemon.client(program("rcap").get_program().to_str().unwrap());
        let args = ["minimize", "--check", "false", "--compose", "compose.yaml", "web"];
        rcap.current_dir(&lab.project).args(args).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = rcap.spawn().unwrap();
        let running = ["ps", "--quiet", "--filter", "label=com.docker.compose.service=web"];
        wait_until(|| lab.daemon.docker(&running).out.lines().count() == 1);
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::SIGINT {
            assert_eq!(status.code(), Some(130));
            assert_eq!(lab.left(), "");
        }
    }
    assert_ne!(lab.left(), "");
    assert_eq!(lab.minimum(&["--compose", "compose.yaml", "job"]), ["cap_net_raw"]);
    assert_eq!(lab.left(), "");
}

/// Options of `docker run`, most of which have a key in Compose.
#[rustfmt::skip]
const OPTIONS: &[&str] = &[
    "--name=shop-1", "-p", "127.0.0.1:8080:80/tcp", "-v", "data:/data", "-v", "/etc:/e:ro",
    "--mount", "type=tmpfs,dst=/m,tmpfs-size=1048576", "--tmpfs", "/run:size=1m",
    "-e", "A=x$y", "-e", "B", "--user", "0:7", "--hostname", "h", "-w", "/tmp", "--read-only",
    "--init=false", "--sysctl", "net.ipv4.ip_unprivileged_port_start=1024", "--ulimit",
    "nofile=64:99", "--device", "/dev/null:/dev/n:r", "--security-opt", "no-new-privileges",
    "--group-add", "9", "--restart", "on-failure:3", "-l", "a=b$c", "-l", "d", "--add-host",
    "else:10.0.0.1", "--dns", "10.0.0.2", "-m", "64m", "--pids-limit", "50", "--shm-size", "1m",
    "--cpu-shares", "5", "--stop-signal", "INT", "--stop-timeout", "3", "--log-driver", "json-file",
    "--log-opt", "max-size=1m", "--oom-score-adj", "7", "--no-healthcheck",
    "--network", "net", "--network-alias", "other", "-it",
    "--entrypoint", "sh",
];

/// The facts about a container that options decide.
#[rustfmt::skip]
const FACTS: &[&str] = &[
    "/Config/Hostname", "/Config/User", "/Config/Env", "/Config/Cmd", "/Config/Entrypoint",
    "/Config/WorkingDir", "/Config/Image", "/Config/StopSignal", "/Config/StopTimeout",
    "/Config/Tty", "/Config/OpenStdin", "/Config/ExposedPorts", "/Config/Labels/a",
    "/Config/Labels/d", "/Config/Healthcheck/Test", "/Name",
    "/HostConfig/CapAdd", "/HostConfig/CapDrop", "/HostConfig/Privileged",
    "/HostConfig/PortBindings", "/HostConfig/ReadonlyRootfs", "/HostConfig/SecurityOpt",
    "/HostConfig/Tmpfs", "/HostConfig/Sysctls", "/HostConfig/Devices", "/HostConfig/Ulimits",
    "/HostConfig/GroupAdd", "/HostConfig/ExtraHosts", "/HostConfig/Dns", "/HostConfig/Memory",
    "/HostConfig/PidsLimit", "/HostConfig/ShmSize", "/HostConfig/CpuShares", "/HostConfig/Init",
    "/HostConfig/RestartPolicy", "/HostConfig/OomScoreAdj", "/HostConfig/LogConfig",
    "/HostConfig/PidMode", "/HostConfig/UTSMode", "/HostConfig/NetworkMode",
];

/// The service that `--to compose` prints is the container of the command line.
fn a_service_of_a_command_line() {
    let dir = directory();
    let lab = Lab::new(dir.path(), "");
    assert_eq!(lab.daemon.docker(&["network", "create", "net"]).status, Some(0));
    let program = ["rcap-test:1", "-c", "touch /data/f$A; chown 5 /data/f$A"];
    let left_out = ["--rm", "--cidfile", "id"];
    let found = [&["minimize", "--to", "compose", "--", "docker", "run"], &left_out[..]].concat();
    let found = lab.rcap(&[&found[..], OPTIONS, &program].concat());
    assert_eq!(found.status, Some(0), "{found:?}");
    let first = "# Left out, because Compose has no key for it: --rm, --cidfile \"id\"\n";
    assert!(found.out.starts_with(first), "{found:?}");
    assert!(found.out.contains("    cap_drop: [ALL]\n    cap_add: [CHOWN]\n"), "{found:?}");
    fs::write(lab.project.join("compose.yaml"), &found.out).unwrap();
    let config = lab.compose(&["config"]);
    assert_eq!(config.status, Some(0), "{config:?}\n{}", found.out);
    // Compose 2 names a network by its ID.
    let id = lab.daemon.docker(&["network", "inspect", "--format", "{{.Id}}", "net"]).out;
    let facts = || {
        let text = lab.daemon.docker(&["inspect", "shop-1"]).out;
        let all: Value = serde_json::from_str(&text).unwrap();
        let of = |path: &&str| {
            let mut fact = all[0].pointer(path).cloned().unwrap_or_default();
            // Compose gives variables in another order, and one without a value as it is.
            if let Some(list) = fact.as_array_mut() {
                list.retain(|one| one != "B");
                list.sort_by_key(Value::to_string);
            }
            let is_empty = ["[]", "{}"].contains(&&*fact.to_string());
            let fact = if is_empty { Value::Null } else { fact };
            // Clients have both names of a capability.
            format!("{path} = {fact}").replace("CAP_", "").replace(id.trim(), "net")
        };
        let mut mounts: Vec<String> = Vec::new();
        for mount in all[0]["Mounts"].as_array().unwrap() {
            let fields = ["Type", "Name", "Source", "Destination", "RW"];
            mounts.push(fields.map(|field| mount[field].to_string()).join(" "));
        }
        mounts.sort();
        let networks = all[0]["NetworkSettings"]["Networks"].as_object().unwrap();
        let aliases = networks["net"]["Aliases"].to_string().contains("\"other\"");
        (FACTS.iter().map(of).collect::<Vec<_>>(), mounts, networks.len(), aliases)
    };
    let create = [&["create", "--cap-drop=ALL", "--cap-add=CHOWN"], OPTIONS, &program].concat();
    let created = lab.daemon.docker(&create);
    assert_eq!(created.status, Some(0), "{created:?}");
    let by_hand = facts();
    assert_eq!(lab.daemon.docker(&["rm", "shop-1"]).status, Some(0));
    let up = lab.compose(&["up", "-d"]);
    assert_eq!(up.status, Some(0), "{up:?}");
    assert_eq!(facts(), by_hand);
    assert_eq!(lab.daemon.docker(&["wait", "shop-1"]).out, "0\n");
    lab.down();
    // A restriction that Compose cannot express is an error before anything runs.
    let network = ["--network", "name=net,driver-opt=a=b", "rcap-test:1", "true"];
    let refused =
        lab.rcap(&[&["minimize", "--to", "compose", "--", "docker", "run"], &network[..]].concat());
    assert_eq!(refused.status, Some(125), "{refused:?}");
    assert!(refused.err.contains("no equivalent in Compose"), "{refused:?}");
    assert!(!refused.err.contains("Measuring"), "{refused:?}");
}
