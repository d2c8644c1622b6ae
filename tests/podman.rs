//! Podman's readers and writers beside Podman itself: command lines, labels, manifests that it plays,
//! and Quadlets.

mod common;

use std::{fmt::Write, fs, path::Path, process::Command};

use common::{
    directory,
    docker::root_file_system,
    ran,
    sets::{Numbers, Sets, random_setpriv},
};
use rcap::{
    Cap,
    settings::{
        self, Context, Engine, Format, InputFormat, Profile, Settings, SettingsError, Source,
        Target,
    },
};

tests! {
    Root ["busybox crun mount podman tar umount unshare"]:
        lines;
    Root ["busybox crun mount podman runc tar unshare"]:
        manifests;
    Nothing ["quadlet"]:
        quadlets;
}

/// The version of Podman on this machine.
fn engine() -> Engine {
    let version = ran(Command::new("podman").args(["version", "--format", "{{.Client.Version}}"]));
    format!("podman@{}", version.out.trim()).parse().unwrap()
}

/// The settings of words, in this process.
fn read(words: &str) -> Settings {
    match Source::parse(words, &Context::default()) {
        Ok(Source::Words(settings)) => settings,
        other => panic!("{words}: {other:?}"),
    }
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Command lines, labels and what is written, beside Podman.
fn lines() {
    let dir = directory();
    let root = root_file_system(dir.path());
    // With the unified hierarchy alone, and with storage of its own. Podman can lose the output of a
    // container that ends at once, so it goes to a file.
    let script = "set -e; umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup\n\
        dir=$0; podman() { command podman --root $dir/store --runroot $dir/run --storage-driver vfs \
        --cgroup-manager cgroupfs --runtime crun \"$@\"; }\n\
        tar -C $dir/rootfs -c . | podman import - rcap-test:1 >/dev/null 2>&1\n\
        tar -C $dir/rootfs -c . | podman import --change \"$LABEL\" - rcap-test:2 >/dev/null 2>&1\n\
        mkdir -m 777 $dir/out; n=0\n\
        while read -r options; do n=$((n + 1)); podman run --rm --network none --cgroups=disabled \
        --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 -v $dir/out:/out $options \
        sh -c \"cat /proc/self/status >/out/$n\"; cat $dir/out/$n; echo ====; done";
    let mut lines: Vec<String> = [
        "",
        "--cap-add net_raw,sys_time",
        "--user 1000 --cap-add net_raw",
        "--user 1000",
        "--privileged",
        "--privileged --user 1000 --cap-add kill",
        "--cap-add all --cap-drop chown",
        "--user 0 --cap-add sys_time --security-opt no-new-privileges",
    ]
    .map(|options| format!("{options} localhost/rcap-test:1"))
    .to_vec();
    let lines_alone = lines.len();
    let mut numbers = Numbers(5);
    let mut sources = Vec::new();
    while sources.len() < 12 {
        let line = random_setpriv(&mut numbers);
        let source = read(&format!("{line} -- cat"));
        let Ok(options) = Format::Podman.write(&source) else { continue };
        lines.push(format!("{options} localhost/rcap-test:1"));
        sources.push((source, format!("{line}: {options}")));
    }
    let label = Format::Label.write(&read("kill,chown")).unwrap();
    lines.push("localhost/rcap-test:2".to_owned());
    let input = write(dir.path(), "lines", &(lines.join("\n") + "\n"));
    let ran = ran(Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(dir.path())
        .env("LABEL", &label)
        .stdin(fs::File::open(input).unwrap()));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let got: Vec<Sets> = ran.out.split("====\n").filter_map(Sets::of_status).collect();
    assert_eq!(got.len(), lines.len(), "{ran:?}");
    for (line, sets) in lines.iter().zip(&got).take(lines_alone) {
        let settings = read(&format!("podman run {line} cat"));
        assert_eq!(*sets, Sets::expected(&settings), "{line}");
    }
    for ((source, context), sets) in sources.iter().zip(&got[lines_alone..]) {
        sets.assert_within(&Sets::expected(source), context);
    }
    assert_eq!(got[lines.len() - 1].bounding, read("kill,chown").bounding, "{label}");
    drop(root);
}

/// Containers of pods, by their security contexts. The first is of the pod.
#[rustfmt::skip]
const CONTEXTS: &[[&str; 2]] = &[
    ["{}",                   "{}"],
    ["{}",                   "{capabilities: {add: [NET_RAW]}}"],
    ["{}",                   "{runAsUser: 1000}"],
    ["{}",                   "{runAsUser: 1000, capabilities: {add: [NET_RAW, CAP_KILL]}}"],
    ["{}",                   "{runAsUser: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}"],
    ["{}",                   "{capabilities: {drop: [all], add: [net_raw]}}"],
    ["{}",                   "{capabilities: {drop: [KILL, SETUID]}}"],
    ["{}",                   "{capabilities: {add: [ALL], drop: [SYS_ADMIN]}}"],
    ["{}",                   "{privileged: true}"],
    ["{}",                   "{privileged: true, runAsUser: 1000}"],
    ["{runAsUser: 7, runAsGroup: 8}", "{capabilities: {add: [KILL]}}"],
    ["{runAsUser: 7}",       "{runAsUser: 0, allowPrivilegeEscalation: true}"],
    ["{capabilities: {drop: [ALL]}}", "{allowPrivilegeEscalation: false}"],
    ["{runAsNonRoot: true}", "{}"],
    ["{}",                   "{capabilities: {drop: [KILL], add: [KILL]}}"],
    ["{}",                   "{capabilities: {drop: [ALL], add: [ALL]}}"],
    ["{}",                   "{capabilities: {add: [FOO]}}"],
];

/// A script that plays the manifests in its directory, one after another, without a daemon. Pods
/// need control groups: crun takes the unified hierarchy, runc the older ones too.
const PLAY: &str = "cd \"$0\"\n\
    runtime=runc; if [ -e /sys/fs/cgroup/cgroup.controllers ]; then runtime=crun; fi\n\
    podman() { command podman --root $PWD/store --runroot $PWD/run --storage-driver vfs \
    --cgroup-manager cgroupfs --runtime $runtime \"$@\"; }\n\
    tar -C rootfs -c . | podman import - rcap-test:1 >/dev/null 2>&1\n\
    tar -C rootfs -c . | podman import --change 'ENTRYPOINT [\"/bin/sh\",\"/end\"]' - \
    rcap-pause:1 >/dev/null 2>&1\n\
    while read -r name; do podman kube play --network host $name.yaml >log 2>&1 || cat log\n\
    if podman wait $name-c >/dev/null 2>&1; then podman logs $name-c; fi\n\
    podman pod rm -f -t 0 $name >/dev/null 2>&1; echo ====; done";

/// A configuration for a Podman without rights over control groups and limits.
const CONFIGURATION: &str = "[engine]\ninfra_image = \"localhost/rcap-pause:1\"\n[containers]\n\
    default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\npids_limit = 0\n";

fn pod(name: &str, of_pod: &str, own: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
         hostNetwork: true\n  securityContext: {of_pod}\n  containers:\n  - name: c\n    image: \
         localhost/rcap-test:1\n    command: [/bin/cat, /proc/self/status]\n    {own}\n"
    )
}

/// `podman kube play`, beside the reader and the writer of manifests for Podman.
fn manifests() {
    let engines = [engine()];
    let mut context = Context::default();
    context.engines = &engines;
    let mut target = Target::default();
    target.engine = Some(engines[0].clone());
    let mut pods: Vec<String> = (0..)
        .zip(CONTEXTS)
        .map(|(nth, [of_pod, own]): (u32, _)| {
            pod(&format!("p{nth}"), of_pod, &format!("securityContext: {own}"))
        })
        .collect();
    let mut numbers = Numbers(17);
    let mut sources = Vec::new();
    while sources.len() < 8 {
        let line = random_setpriv(&mut numbers);
        let source = read(&format!("{line} -- cat"));
        let Ok(written) = Format::Kubernetes.export(&source, &target) else { continue };
        let own = written.text.replace('\n', "\n    ").replace("RuntimeDefault", "Unconfined");
        pods.push(pod(&format!("p{}", pods.len()), "{}", &own));
        sources.push((source, format!("{line}: {}", written.text)));
    }
    let dir = directory();
    root_file_system(dir.path());
    // The first process of a container ends on a signal that it handles.
    write(dir.path(), "rootfs/end", "trap 'exit 0' TERM\nsleep 1000 & wait\n");
    let mut configuration = CONFIGURATION.to_owned();
    if !engines[0].is_at_least([4, 4, 0]) {
        // Built in are Docker's; the configuration of distributions has what later ones have.
        let given = Profile::Podman.given();
        let names: Vec<_> = given.iter().filter_map(Cap::constant_name).collect();
        let _ = writeln!(configuration, "default_capabilities = {names:?}");
    }
    let conf = write(dir.path(), "conf", &configuration);
    let mut names = String::new();
    for (nth, text) in pods.iter().enumerate() {
        write(dir.path(), &format!("p{nth}.yaml"), text);
        let _ = writeln!(names, "p{nth}");
    }
    let input = write(dir.path(), "names", &names);
    let script = format!("mount --make-rprivate /; {PLAY}");
    let ran = ran(Command::new("unshare")
        .args(["-m", "-n", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c", &script])
        .arg(dir.path())
        .env("CONTAINERS_CONF", conf)
        .stdin(fs::File::open(input).unwrap()));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let got: Vec<&str> = ran.out.split_terminator("====\n").collect();
    assert_eq!(got.len(), pods.len(), "{ran:?}");
    let ours = |text: &str| settings::read_in(text, Some(InputFormat::Kubernetes), &context);
    for ((text, got), [of_pod, own]) in pods.iter().zip(&got).zip(CONTEXTS) {
        let context = format!("{of_pod} {own}: {got}");
        match (ours(text), Sets::of_status(got)) {
            (Ok(settings), Some(sets)) => {
                let words = sets.differences(&Sets::expected(&settings[0]));
                assert_eq!(words, "", "{context}");
                assert_eq!(sets.uid, Sets::expected(&settings[0]).uid, "{context}");
            }
            (Err(_), None) => assert!(got.contains("rror"), "{context}"),
            (ours, theirs) => panic!("{context}: {ours:?} beside {theirs:?}"),
        }
    }
    for ((source, context), got) in sources.iter().zip(&got[CONTEXTS.len()..]) {
        let sets = Sets::of_status(got).unwrap_or_else(|| panic!("{context}: {got}"));
        sets.assert_within(&Sets::expected(source), context);
    }
}

/// The section `[Container]` of Quadlets.
const QUADLETS: &[&str] = &[
    "",
    "User=101",
    "User=101\nGroup=5\nGroupAdd=7\nGroupAdd=8",
    "DropCapability=all\nAddCapability=CAP_NET_BIND_SERVICE\nNoNewPrivileges=true\nUser=101",
    "DropCapability=all\nAddCapability=net_raw kill",
    "DropCapability=all\nAddCapability=NET_RAW\nAddCapability=KILL\nUser=9",
    "AddCapability=NET_RAW\nAddCapability=\nUser=9",
    "DropCapability=CAP_KILL CAP_SETUID",
    "AddCapability=all\nUser=9",
    "NoNewPrivileges=yes",
    "NoNewPrivileges=no",
    "Exec=cat -v 'a b'\nUser=9",
    "PodmanArgs=--cap-add sys_time --user 12",
    "PodmanArgs=--privileged\nUser=9",
    "AddCapability=\"CAP_NET_RAW\" CAP_KILL",
    "AddCapability=CAP_NET_RAW \\\n  CAP_KILL",
    "DropCapability=all\n[Service]\nUser=7\nAddCapability=x",
];

/// Quadlets, beside the command line that Podman's generator makes of them.
fn quadlets() {
    let dir = directory();
    let mut texts: Vec<String> =
        QUADLETS.iter().map(|text| format!("[Container]\nImage=localhost/x:1\n{text}\n")).collect();
    let mut numbers = Numbers(23);
    let mut written = 0;
    while written < 40 {
        let source = read(&format!("{} -- cat", random_setpriv(&mut numbers)));
        let Ok(text) = Format::Quadlet.write(&source) else { continue };
        written += 1;
        texts.push(text.replace("[Container]\n", "[Container]\nImage=localhost/x:1\n"));
    }
    for (nth, text) in texts.iter().enumerate() {
        write(dir.path(), &format!("units/q{nth}.container"), text);
    }
    let mut generator = Command::new("quadlet");
    generator.arg("--dryrun").env("QUADLET_UNIT_DIRS", dir.path().join("units"));
    let ran = ran(&mut generator);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    for (nth, text) in texts.iter().enumerate() {
        let (_, unit) = ran.out.split_once(&format!("---q{nth}.service---\n")).expect(text);
        let unit = unit.split("\n---").next().unwrap();
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect(text);
        let theirs = read(line);
        let ours: Result<_, SettingsError> = settings::read(text, None);
        let ours = ours.unwrap_or_else(|err| panic!("{text}: {err}")).remove(0);
        for (what, ours, theirs) in [
            ("user", format!("{:?}", ours.user), format!("{:?}", theirs.user)),
            ("groups", format!("{:?}", ours.groups), format!("{:?}", theirs.groups)),
            ("command", format!("{:?}", ours.command), format!("{:?}", theirs.command)),
            ("sets", Sets::expected(&ours).differences(&Sets::expected(&theirs)), String::new()),
        ] {
            assert_eq!(ours, theirs, "{what}: {text}: {line}");
        }
    }
}
