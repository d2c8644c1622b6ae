//! Command lines and the resulting requests. Nothing is run.

use std::{fmt::Debug, time::Duration};

use rcap::{
    Cap, CapSet,
    settings::{Format, Profile},
    trace::{Backend, Options},
};

use super::{values::ProfileName, *};

fn parsed<R: Request>(line: &[&str]) -> Result<Parsed<R>, Mistake> {
    let argv: Vec<OsString> = ["x"].iter().chain(line).map(OsString::from).collect();
    parse::<R>(command::<R>("x", "about"), &argv)
}

fn request<R: Request>(line: &[&str]) -> R {
    match parsed(line) {
        Ok(Parsed::Request(request)) => request,
        Ok(Parsed::Help(text)) => panic!("{line:?}: {text}"),
        Err(err) => panic!("{line:?}: {err}"),
    }
}

#[track_caller]
fn mistakes<R: Request + Debug>(rows: &[(&[&str], &str)]) {
    for (line, want) in rows {
        let mistake = parsed::<R>(line).map(|_| ()).unwrap_err();
        assert_eq!(mistake.to_string(), *want, "{line:?}");
    }
}

#[test]
fn export() {
    let got: ExportRequest = request(&["--to", "oci", "--user", "7:8", "2000", "chown,kill"]);
    assert_eq!((got.to, got.from), (Format::Oci, None));
    assert_eq!(got.caps, [CapSet::from(Cap::NET_RAW), Cap::CHOWN | Cap::KILL]);
    assert_eq!(got.user.unwrap().to_string(), "7:8");
    let got: ExportRequest = request(&["--to", "docker", "--from", "--cap-drop=ALL"]);
    assert_eq!(got.from.as_deref(), Some("--cap-drop=ALL"));
    mistakes::<ExportRequest>(&[
        (&[], "missing --to FORMAT"),
        (&["--to"], "--to requires a value: --to FORMAT"),
        (&["--to", "k8s"], "--to k8s: unknown name; did you mean kubernetes?"),
        (&["--to", "docker-compose"], "--to docker-compose: unknown name; did you mean compose?"),
        (
            &["--to", "oci", "net_rwa"],
            "net_rwa: unknown capability \"net_rwa\"; did you mean cap_net_raw?",
        ),
        (&["--to", "oci", "--from", "x", "chown"], "--from cannot be used with CAPS"),
        (&["--format", "oci"], "unknown option --format; did you mean --from?"),
        (&["--to", "oci", "--use", "x"], "unknown option --use; did you mean --user?"),
    ]);
}

#[test]
fn run() {
    let got: RunRequest = request(&[
        "--cap-drop",
        "chown,fowner",
        "--cap-add=net_raw",
        "--cap-add",
        "kill",
        "--env",
        "A=b=c",
        "--groups",
        "",
        "--profile",
        "none",
        "ping",
        "--user",
        "-c",
    ]);
    assert_eq!(got.cap_drop, [Cap::CHOWN | Cap::FOWNER]);
    assert_eq!(got.cap_add, [CapSet::from(Cap::NET_RAW), Cap::KILL.into()]);
    assert_eq!(got.variables, [("A".to_owned(), "b=c".to_owned())]);
    assert_eq!(got.groups.unwrap().0, []);
    assert_eq!(got.profile, Some(ProfileName(None)));
    assert_eq!(
        (got.user, &*got.program),
        (None, &["ping", "--user", "-c"].map(OsString::from)[..])
    );
    let got: RunRequest = request(&["--profile", "podman", "--", "--odd"]);
    assert_eq!(got.profile, Some(ProfileName(Some(Profile::Podman))));
    assert_eq!(got.program, ["--odd"]);
    mistakes::<RunRequest>(&[
        (&[], "missing PROGRAM"),
        (
            &["--cap-set", "kill", "--cap-add", "chown", "x"],
            "--cap-set cannot be used with --cap-add",
        ),
        (
            &["--cap-add", "net_rwa", "x"],
            "--cap-add net_rwa: unknown capability \"net_rwa\"; did you mean cap_net_raw?",
        ),
        (&["--env", "A", "x"], "--env A: expected NAME=VALUE"),
        (
            &["--no-new-privs", "--allow-new-privs", "x"],
            "--no-new-privs cannot be used with --allow-new-privs",
        ),
    ]);
}

#[test]
fn trace() {
    let got: TraceRequest = request(&["--backend", "kprobe", "--", "sleep", "--for", "5"]);
    assert_eq!(got.program, ["sleep", "--for", "5"]);
    assert_eq!((got.recording.backend, got.duration), (Some(Backend::Kprobe), None));
    assert_eq!(got.recording.buffer, Options::default().kilobytes);
    let got: TraceRequest = request(&["--pid", "1", "--pid=2", "--unit", "u", "--for", "2m"]);
    assert_eq!(
        (&*got.pid, &*got.unit, &*got.program),
        (&[1, 2][..], &["u".to_owned()][..], &[][..])
    );
    assert_eq!(got.duration, Some(Duration::from_secs(120)));
    assert!(request::<TraceRequest>(&["--check"]).check);
    mistakes::<TraceRequest>(&[
        (
            &["--pid", "1", "true"],
            "PROGRAM cannot be used with --pid, --cgroup, --unit, --container",
        ),
        (&["--pid", "0"], "--pid 0: 0 is not in 1..=4294967295"),
        (&["--add", "true"], "missing --save FILE"),
        (&["--json", "--to", "oci", "true"], "--json cannot be used with --to"),
        (&["--backend", "ebpf", "true"], "--backend ebpf: unknown name; did you mean bpf?"),
        (&["--check", "true"], "--check cannot be used with other options"),
        (
            &["--for", "5x", "--pid", "1"],
            "--for 5x: expected a number with ms, s, m or h, such as 90s",
        ),
    ]);
}

#[test]
fn minimize() {
    let got: MinimizeRequest =
        request(&["--keep", "kill", "--keep", "chown", "--repeat=3", "a", "b"]);
    assert_eq!((got.keep, got.drop), (Some(Cap::CHOWN.into()), None));
    assert_eq!((got.measure.judging.repeat, got.measure.judging.expect, got.strict), (3, 0, false));
    assert_eq!(
        (got.measure.judging.settle, got.in_place, got.net),
        (Duration::from_secs(2), false, false)
    );
    assert_eq!(got.measure.program, ["a", "b"]);
    mistakes::<MinimizeRequest>(&[
        (&["--repeat", "0", "a"], "--repeat 0: 0 is not in 1..=1000"),
        (&["--expect", "256", "a"], "--expect 256: 256 is not in 0..=255"),
        (&["--net", "--in-place", "a"], "--net cannot be used with --in-place"),
        (
            &["--timeout", "1d", "a"],
            "--timeout 1d: expected a number with ms, s, m or h, such as 90s",
        ),
        (&["--to", "oci", "--json", "a"], "--to cannot be used with --json"),
    ]);
}

#[test]
fn verify() {
    let got: VerifyRequest =
        request(&["--minimal", "--tolerate", "net_admin", "docker", "run", "--minimal", "x"]);
    assert_eq!((got.minimal, got.tolerate), (true, Some(Cap::NET_ADMIN.into())));
    assert_eq!(got.measure.program, ["docker", "run", "--minimal", "x"]);
    // The service may be the only one.
    let got: VerifyRequest = request(&["--compose", "a.yaml"]);
    assert!(got.measure.program.is_empty());
    mistakes::<VerifyRequest>(&[
        (&[], "missing PROGRAM"),
        (&["--caps", "kill", "--from", "docker", "a"], "--caps cannot be used with --from"),
        (&["--check", "a", "--check-in", "b", "c"], "--check cannot be used with --check-in"),
    ]);
}

#[test]
fn others() {
    mistakes::<WhyRequest>(&[
        (&[], "missing PROGRAM"),
        (&["--pid", "1", "--user", "x"], "--pid cannot be used with --user"),
        (
            &["--user", "0x0", "a"],
            "--user 0x0: expected a name, or a decimal number from 0 to 4294967294, at byte 0 of \"0x0\"",
        ),
    ]);
    mistakes::<DiffRequest>(&[
        (&[], "missing SOURCE SOURCE"),
        (&["docker"], "SOURCE: expected at least 2, got 1"),
    ]);
    mistakes::<CompletionsRequest>(&[
        (&["tcsh"], "tcsh: unknown name, not one of bash, zsh, fish"),
        (&["fihs"], "fihs: unknown name; did you mean fish?"),
    ]);
    mistakes::<ReportRequest>(&[(&[], "missing FILE")]);
    mistakes::<HookRequest>(&[(&[], "missing --save DIRECTORY")]);
    mistakes::<RuntimeRequest>(&[(&["--save", "/d", "runc"], "unexpected argument runc")]);
    assert_eq!(
        request::<RuntimeRequest>(&["--save", "/d", "--", "runc", "-x"]).runtime,
        ["runc", "-x"]
    );
    assert_eq!(request::<SuggestRequest>(&["a", "b"]).words, ["a", "b"]);
    assert_eq!(request::<ExplainRequest>(&["--syscall", "bind"]).syscall.as_deref(), Some("bind"));
    assert_eq!(request::<DecodeRequest>(&["--encode", "x"]).texts, ["x"]);
}

#[test]
fn help() {
    for line in ["-h", "--help"] {
        let Ok(Parsed::Help(text)) = parsed::<DecodeRequest>(&[line]) else { panic!() };
        assert!(text.starts_with("about\n\nUsage: rcap decode"), "{text}");
        assert!(text.contains("-h, --help     Print this help"), "{text}");
    }
}
