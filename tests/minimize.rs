//! `rcap minimize` on real programs.

mod common;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use common::{Ran, directory, program, ran, which};
use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use serde_json::{Value, json};

tests! {
    Nothing:
        usage;
    Tracing:
        a_file_is_given_away,
        nothing_is_needed,
        a_removed_file_of_another,
        no_baseline,
        a_program_that_is_flaky,
        another_exit_status,
        refused_and_yet_it_ends_well,
        the_same_output,
        every_run_begins_anew,
        a_run_that_finds_the_work_done,
        a_server_that_works_on_after_its_check,
        noise,
        settings_name_what_is_tolerated,
        output_is_not_kept,
        output_is_opened_by_another_user,
        kept_and_dropped,
        interrupted_in_each_run,
        a_first_run_that_does_not_end,
        a_set_uid_program;
    Tracing ["setpriv"]:
        left_running;
    Tracing ["setsid"]:
        a_daemon_that_forks_twice;
    Tracing ["mount unshare"]:
        mounts_that_refuse;
    Tracing ["python3"]:
        a_filter_of_its_own,
        a_hundred_threads;
    Tracing ["ip nc unshare"]:
        netcat_on_port_80,
        netcat_where_any_port_may_be_bound,
        netcat_as_another_user;
    Tracing ["ip ping unshare"]:
        ping;
    Tracing ["ping tcpdump"]:
        tcpdump;
}

/// Cargo has programs look for their libraries in directories that other users may not enter, and
/// each would be refused that.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

fn minimize(args: &[&str]) -> Ran {
    let mut command = program("rcap");
    command.arg("minimize");
    // Its own limit is a multiple of the first run, and the machine may be busy later.
    if !args.contains(&"--timeout") {
        command.args(LONG);
    }
    ran(command.args(args).stdin(Stdio::null()).env_remove(LIBRARIES))
}

const LONG: [&str; 2] = ["--timeout", "10m"];

/// The object, and the names of the minimum.
fn minimum(args: &[&str]) -> (Value, Vec<String>) {
    let ran = minimize(&[&["--json"], args].concat());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let object: Value = serde_json::from_str(&ran.out).unwrap();
    let names = object["minimum"].as_array().unwrap();
    let names = names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    (object, names)
}

fn file_in(dir: &Path) -> String {
    let file = dir.join("file");
    fs::write(&file, "text\n").unwrap();
    file.to_str().unwrap().to_owned()
}

fn usage() {
    for args in [
        &[][..],
        &["--keep", "cap_nothing", "true"],
        &["--repeat", "0", "true"],
        &["--expect", "256", "true"],
        &["--net", "--in-place", "true"],
        &["--nonsense"],
    ] {
        let ran = minimize(args);
        assert_eq!((ran.status, &*ran.out), (Some(125), ""), "{args:?}");
        assert!(!ran.err.is_empty());
    }
    assert!(minimize(&["--help"]).out.contains("rcap minimize -- ping"));
}

/// The verdict on a capability, and its evidence in words.
fn verdict(object: &Value, cap: &str) -> (String, String) {
    let verdicts = object["verdicts"].as_array().unwrap();
    let verdict = verdicts.iter().find(|verdict| verdict["cap"] == cap);
    let verdict = verdict.unwrap_or_else(|| panic!("no {cap}: {object}"));
    let words = verdict["evidence"][0]["words"].as_str().unwrap().to_owned();
    (verdict["verdict"].as_str().unwrap().to_owned(), words)
}

fn a_file_is_given_away() {
    let dir = directory();
    let file = file_in(dir.path());
    let ran = minimize(&["--", "chown", "1000", &file]);
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    assert!(
        ran.out.starts_with(
            "Minimum: cap_chown\n\ncap_chown  required: otherwise it exits with status 1: chown: "
        ),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("and chown was refused cap_chown: change the owner, mode or times of a file (fchownat = EPERM)"), "{}", ran.out);
    // Settings alone are on standard output, and the report is on standard error.
    let ran = minimize(&["--to", "docker", "--", "chown", "1002", &file]);
    assert_eq!(ran.out, "--cap-drop=ALL --cap-add=CHOWN --security-opt=no-new-privileges\n");
    assert!(ran.err.starts_with("Minimum: cap_chown\n"), "{}", ran.err);
    let (object, _) = minimum(&["--", "chown", "1001", &file]);
    assert_eq!(object["schema"], 2);
    assert_eq!(object["command"][0], "chown");
    let baseline =
        json!({ "exit": { "code": 0, "signal": null }, "message": "", "runs": 2, "noise": [] });
    assert_eq!(object["baseline"], baseline);
    assert_eq!(object["proved"], true);
    assert_eq!(verdict(&object, "cap_chown").0, "required");
    assert_eq!(object["verdicts"][0]["evidence"][0]["kind"], "exit");
    // Twice with all, with the candidate, without it, and the proof.
    let sets: Vec<Value> =
        object["runs"].as_array().unwrap().iter().map(|run| run["set"].clone()).collect();
    assert_eq!(sets[0], sets[1]);
    assert_eq!(sets[2..], [json!(["cap_chown"]), json!([]), json!(["cap_chown"])]);
}

fn nothing_is_needed() {
    let (object, names) = minimum(&["true"]);
    assert!(names.is_empty());
    assert_eq!(object["runs"].as_array().unwrap().len(), 4);
}

/// No capability helps against a read-only mount and the option noexec.
fn mounts_that_refuse() {
    let dir = directory();
    file_in(dir.path());
    for name in ["fixed", "inert"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let setup = "mount -t tmpfs -o ro t fixed && mount -t tmpfs -o noexec t inert \
                 && cp \"${PATH%%:*}\"/chown inert && exec \"$RCAP\" minimize --json \"$@\"";
    let within = |args: &[&str]| {
        let mut ran = Command::new("unshare");
        ran.args(["-m", "--propagation", "private", "sh", "-c", setup, "sh"]);
        ran.args(LONG).args(args).env("RCAP", program("rcap").get_program());
        common::ran(ran.current_dir(dir.path()).stdin(Stdio::null()).env_remove(LIBRARIES))
    };
    for script in ["touch fixed/new; chown 5 file", "inert/chown 5 file || chown 5 file"] {
        let ran = within(&["--", "sh", "-c", script]);
        assert_eq!(ran.status, Some(0), "{script}: {ran:?}");
        let object: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(object["minimum"], json!(["cap_chown"]), "{script}: {object}");
        assert_eq!(object["verdicts"].as_array().unwrap().len(), 1, "{script}: {object}");
        assert_eq!(object["proved"], true);
    }
    let none = within(&["--", "inert/chown", "5", "file"]);
    assert!(none.status != Some(0) && none.out.is_empty(), "{none:?}");
    assert!(none.err.contains("inert/chown: Permission denied"), "{none:?}");
}

/// A program refuses itself a call, and goes another way: only that way needs the capability.
fn a_filter_of_its_own() {
    let dir = directory();
    let file = file_in(dir.path());
    let script = format!(
        "import ctypes, os, struct, sys\n\
         libc = ctypes.CDLL(None)\n\
         code = [(0x20, 0, 0, 0), (0x15, 0, 1, {}), (6, 0, 0, 0x50001), (6, 0, 0, 0x7fff0000)]\n\
         code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *one) for one in code))\n\
         filter = struct.pack('HL', 4, ctypes.addressof(code))\n\
         libc.prctl(38, 1, 0, 0, 0)\n\
         if libc.prctl(22, 2, filter, 0, 0): sys.exit(7)\n\
         try:\n\
         \x20   os.fchown(os.open(sys.argv[1], os.O_RDONLY), 5, 5)\n\
         \x20   sys.exit(8)\n\
         except PermissionError: os.chown(sys.argv[1], 6, 6)\n",
        libc::SYS_fchown
    );
    let (object, names) = minimum(&["--", "python3", "-c", &script, &file]);
    assert_eq!(names, ["cap_chown"], "{object}");
    assert_eq!(object["verdicts"].as_array().unwrap().len(), 1, "{object}");
    assert_eq!(object["proved"], true);
}

/// Runs in a network of its own, where no port is taken, and leaves the machine's alone.
fn netcat(dir: &Path, setting: &str, args: &[&str]) -> Ran {
    let copy = dir.join("nc");
    fs::copy(which("nc").unwrap(), &copy).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let rcap = program("rcap").get_program().to_owned();
    let script = format!(
        "ip link set lo up; {setting}; exec \"$0\" minimize --timeout 10m --check 'echo | {0} -N 127.0.0.1 80' \"$@\" -- {0} -l -p 80",
        copy.display()
    );
    let mut command = Command::new("unshare");
    ran(command.args(["-n", "sh", "-c", &script]).arg(rcap).args(args).env_remove(LIBRARIES))
}

fn netcat_on_port_80() {
    let dir = directory();
    let ran = netcat(dir.path(), "true", &[]);
    assert!(ran.out.starts_with("Minimum: cap_net_bind_service\n"), "{ran:?}");
    assert!(ran.out.contains("Permission denied\n"), "{ran:?}");
    assert!(ran.out.contains("bind a port below 1024 (bind = EACCES)"), "{ran:?}");
}

fn netcat_where_any_port_may_be_bound() {
    let dir = directory();
    let ran = netcat(dir.path(), "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start", &[]);
    assert!(ran.out.starts_with("Minimum: none\n"), "{ran:?}");
}

fn netcat_as_another_user() {
    let dir = directory();
    let ran = netcat(dir.path(), "true", &["--user", "nobody", "--no-new-privs"]);
    assert!(ran.out.starts_with("Minimum: cap_net_bind_service\n"), "{ran:?}");
}

/// In a directory that is another's, that is the right to write there; and if it is sticky, to
/// do as the owner of the file.
fn a_removed_file_of_another() {
    for (mode, want) in [(0o755, "cap_dac_override"), (0o1777, "cap_fowner")] {
        let dir = directory();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).unwrap();
        chown(&inner, Some(1000), Some(1000)).unwrap();
        let file = inner.join("file");
        let reset = format!("touch {0} && chown 1000 {0}", file.display());
        let (_, names) = minimum(&["--reset", &reset, "--", "rm", file.to_str().unwrap()]);
        assert_eq!(names, [want], "{mode:o}");
    }
}

/// Nothing is said about what a program needs that does not work.
fn no_baseline() {
    assert_eq!(minimize(&["/nonexistent"]).status, Some(127));
    #[rustfmt::skip]
    let rows: &[(&[&str], &str)] = &[
        (&["cat", "/nofile"], "it exits with status 1: cat: /nofile: No such file or directory"),
        (&["false"], "it exits with status 1"),
        (&["sh", "-c", "nosuchcommand"], "it exits with status 127: sh: 1: nosuchcommand: not found"),
        (&["sh", "-c", "kill -9 $$"], "it is ended by SIGKILL"),
        (&["--check", "true", "--", "sh", "-c", "exit 3"], "it exits with status 3"),
        (&["--timeout", "200ms", "--", "sleep", "100"], "it does not end in time (--timeout; for a server, --check)"),
        (&["--check", "false", "--", "true"], "--check 'false' fails with exit status 1"),
        (&["--timeout", "1s", "--check", "echo not yet >&2; exit 3", "--", "sleep", "100"],
            "--check 'echo not yet >&2; exit 3' fails with exit status 3: not yet"),
        (&["--timeout", "1s", "--check", "sleep 100", "--", "sleep", "100"], "--check 'sleep 100' does not end"),
    ];
    for (args, words) in rows {
        let ran = minimize(args);
        assert_eq!((ran.status, &*ran.out), (Some(1), ""), "{args:?}: {ran:?}");
        assert_eq!(ran.err, format!("rcap minimize: with all capabilities {words}\n"));
    }
    let reset = minimize(&["--reset", "exit 3", "true"]);
    assert_eq!(reset.status, Some(1), "{reset:?}");
    assert!(reset.err.contains("--reset failed: exit status 3"), "{reset:?}");
}

fn another_exit_status() {
    let (object, names) = minimum(&["--expect", "3", "--", "sh", "-c", "exit 3"]);
    assert!(names.is_empty());
    assert_eq!(object["baseline"]["exit"]["code"], 3);
    let ran = minimize(&["--expect", "3", "true"]);
    assert_eq!(ran.err, "rcap minimize: with all capabilities it exits with status 0\n");
}

fn a_program_that_is_flaky() {
    let dir = directory();
    let file = file_in(dir.path());
    // Every third run fails.
    let script = format!("echo x >> {file}; exit $(( $(wc -l < {file}) % 3 == 0 ))");
    for repeat in ["1", "3"] {
        let ran = minimize(&["--in-place", "--repeat", repeat, "--", "sh", "-c", &script]);
        assert_eq!((ran.status, &*ran.out), (Some(1), ""), "{ran:?}");
        let words = " of 10 runs with the same capabilities, it exits with status 1\n";
        assert!(ran.err.contains("it fails at random: in "), "{ran:?}");
        assert!(ran.err.ends_with(words), "{ran:?}");
    }
}

fn refused_and_yet_it_ends_well() {
    let dir = directory();
    let file = file_in(dir.path());
    // It is given away and taken back: nothing is left of that.
    let script = format!("chown 1000 {file} 2>/dev/null && chown 0 {file}; true");
    let (object, names) = minimum(&["--", "sh", "-c", &script]);
    assert!(names.is_empty());
    let (kind, words) = verdict(&object, "cap_chown");
    assert_eq!(kind, "tolerated");
    assert!(words.starts_with("chown was refused cap_chown: "), "{words}");
    let (object, names) = minimum(&["--strict", "--", "sh", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
    assert_eq!(verdict(&object, "cap_chown").0, "tolerated");
}

fn settings_name_what_is_tolerated() {
    let dir = directory();
    let file = file_in(dir.path());
    let script = format!("nice -n -5 true; chown 1000 {file} 2>/dev/null && chown 0 {file}; true");
    let ran = minimize(&["--to", "systemd", "--", "sh", "-c", &script]);
    assert!(ran.out.contains("\nCapabilityBoundingSet=\n"), "{ran:?}");
    let comment = "\n# Refused, and the program went on with the same result: cap_chown";
    assert!(ran.out.contains(comment), "{ran:?}");
}

fn the_same_output() {
    let dir = directory();
    let file = file_in(dir.path());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&file, Some(1000), Some(1000)).unwrap();
    let script = format!("cat {file} 2>/dev/null; true");
    let args = ["--", "sh", "-c", &script];
    assert!(minimum(&args).1.is_empty());
    let (object, names) = minimum(&[&["--same-output"], &args[..]].concat());
    assert_eq!(names, ["cap_dac_read_search"]);
    let want = ("changes-result".to_owned(), "it prints something else".to_owned());
    assert_eq!(verdict(&object, "cap_dac_read_search"), want);
    // Varying results cannot be compared.
    let script = "head -c 8 /dev/urandom";
    let ran = minimize(&["--same-output", "--", "sh", "-c", script]);
    assert_eq!((ran.status, &*ran.out), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains("prints something else in each run"), "{ran:?}");
}

fn every_run_begins_anew() {
    let dir = directory();
    let file = file_in(dir.path());
    // A second time, there is nothing to do: the first run would be the only one to show a need.
    let script = format!("test $(stat -c %u {file}) = 1000 || chown 1000 {file}");
    assert_eq!(minimum(&["--", "sh", "-c", &script]).1, ["cap_chown"]);
    let reset = format!("chown 0 {file}");
    let in_place = ["--in-place", "--reset", &reset, "--", "sh", "-c", &script];
    assert_eq!(minimum(&in_place).1, ["cap_chown"]);
    assert_eq!(fs::metadata(&file).unwrap().uid(), 1000);
}

/// On the real file system, the second run has nothing to do.
fn a_run_that_finds_the_work_done() {
    let dir = directory();
    let file = file_in(dir.path());
    let script = format!("[ -e {file}2 ] || {{ chown 5 {file} && touch {file}2; }}");
    assert_eq!(minimum(&["--", "sh", "-c", &script]).1, ["cap_chown"]);
    let ran = minimize(&["--in-place", "--", "sh", "-c", &script]);
    assert_eq!((ran.status, &*ran.out), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains("warning: with --in-place"), "{ran:?}");
    assert!(ran.err.contains("not every run with all capabilities uses cap_chown"), "{ran:?}");
}

/// It says that it is ready, and does some of its work afterwards.
fn a_server_that_works_on_after_its_check() {
    let dir = directory();
    let file = file_in(dir.path());
    let script = format!("touch {file}.ready; sleep 0.3; chown 5 {file}; exec sleep 1000");
    let check = format!("test -e {file}.ready");
    let args = ["--settle", "10s", "--check", &check, "--", "sh", "-c", &script];
    let (object, names) = minimum(&args);
    assert_eq!(names, ["cap_chown"]);
    let want = format!("the owner of {file} is unchanged instead of 5");
    assert_eq!(verdict(&object, "cap_chown"), ("changes-result".to_owned(), want));
    let ran = minimize(&["--settle", "0s", "--check", "true", "--", "sleep", "1000"]);
    assert!(
        ran.out.contains("Note: each run was stopped 0 s after --check had succeeded."),
        "{ran:?}"
    );
}

/// A daemon that has not dropped its privileges, or runs as another user.
fn left_running() {
    // The program ends when it is known what has become of the daemon.
    let script = "setpriv --reuid 1 --regid 1 --clear-groups --bounding-set -all sleep 1000 &
        while s=$(cat /proc/$!/status) && ! echo $s | grep -q -e '^Name: sleep' -e 'State: Z'; do
            sleep 0.1
        done";
    let (object, names) = minimum(&["--settle", "100ms", "--", "sh", "-c", script]);
    assert_eq!(names, ["cap_setgid", "cap_setuid", "cap_setpcap"], "{object}");
    let (kind, words) = verdict(&object, "cap_setuid");
    assert_eq!(kind, "changes-result");
    assert!(words.contains("process sleep of user 1 and group 1 is not left running"), "{words}");
}

/// The time, a process id, and names that nobody can know.
fn noise() {
    let dir = directory();
    let file = file_in(dir.path());
    let d = dir.path().display();
    let script = format!(
        "date +%N > {file}; mkdir {d}/run.$$; f=$(mktemp {d}/x.XXXXXX); chown 7 $f; chown 7 {file}"
    );
    let (object, names) = minimum(&["--", "sh", "-c", &script]);
    assert_eq!(names, ["cap_chown"], "{object}");
    let noise = json!([format!("the names of new files in {d}"), format!("the content of {file}")]);
    assert_eq!(object["baseline"]["noise"], noise);
}

/// The program prints 100 MB.
fn output_is_not_kept() {
    let script = "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end";
    let (object, _) = minimum(&["--same-output", "--", "sh", "-c", script]);
    assert_eq!(object["runs"][0]["message"], "the end");
    let kilobytes = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(kilobytes < 64_000, "{kilobytes} KB");
    // The last line is a long one.
    let script = "head -c 100000 /dev/zero | tr '\\0' x; printf end";
    let (object, _) = minimum(&["--", "sh", "-c", script]);
    let message = object["runs"][0]["message"].as_str().unwrap();
    assert_eq!(message.chars().count(), 4097);
    assert!(message.starts_with("\u{2026}xxx") && message.ends_with("xend"), "{message}");
}

fn output_is_opened_by_another_user() {
    let script = "echo words > /proc/self/fd/2";
    for options in [&[][..], &["--in-place"]] {
        let (object, _) =
            minimum(&[options, &["--user", "nobody", "--", "sh", "-c", script]].concat());
        assert_eq!(object["runs"][0]["message"], "words", "{object}");
        assert_eq!(object["runs"][0]["exit"]["code"], 0, "{object}");
    }
}

fn kept_and_dropped() {
    let dir = directory();
    let file = file_in(dir.path());
    let (object, names) = minimum(&["--keep", "NET_RAW,kill", "--", "chown", "1000", &file]);
    assert_eq!(names, ["cap_chown", "cap_kill", "cap_net_raw"]);
    assert!(
        object["runs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|run| run["set"].as_array().unwrap().contains(&json!("cap_kill")))
    );
    assert_eq!(object["verdicts"].as_array().unwrap().len(), 1);
    let expect = ["--expect", "1", "--drop", "chown", "--", "chown", "1001", &file];
    let (object, names) = minimum(&expect);
    assert!(names.is_empty());
    assert_eq!(object["runs"][0]["exit"]["code"], 1);
}

/// A terminal sends the signal to the program too, which it ends.
fn interrupted_in_each_run() {
    let dir = directory();
    let (runs, _) = minimum(&["--", "nice", "-n", "-5", "true"]);
    let runs = runs["runs"].as_array().unwrap().len();
    for last in 1..=runs {
        let count = dir.path().join(format!("{last}"));
        // Each run before that one adds a byte on the outside; that one waits for its end.
        let reset = format!("printf x >> {}", count.display());
        let script = format!(
            "test $(wc -c < {0}) = {last} && {{ echo waiting; kill -INT $PPID; kill -INT $$; sleep 1000; }}; nice -n -5 true",
            count.display()
        );
        let rcap = program("rcap").get_program().to_owned();
        let mut command = Command::new("sh");
        // In place, so that the program sees the number and this test's process ids.
        command.args([
            "-c",
            "exec \"$0\" minimize --in-place --json --timeout 10m --reset \"$1\" -- sh -c \"$2\"",
        ]);
        command.arg(rcap).args([&reset, &script]).stdin(Stdio::null()).env_remove(LIBRARIES);
        let ran = ran(&mut command);
        assert_eq!(ran.status, Some(130), "{last}: {ran:?}");
        let object: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(object["proved"], false, "{last}");
        assert_eq!(object["runs"].as_array().unwrap().len(), last - 1, "{object}");
    }
}

fn a_first_run_that_does_not_end() {
    let begin = |args: &[&str]| {
        let mut command = program("rcap");
        command.arg("minimize").args(args).args(["--", "sleep", "30"]).env_remove(LIBRARIES);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let limited = begin(&["--timeout", "12s"]);
    let mut endless = begin(&[]);
    let mut errors = BufReader::new(endless.stderr.take().unwrap());
    let mut words = String::new();
    while !words.contains("limits each run.") {
        assert_ne!(errors.read_line(&mut words).unwrap(), 0, "{words}");
    }
    assert!(words.contains("The first run has not ended yet. For a server, --check"), "{words}");
    kill(Pid::from_raw(endless.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(endless.wait().unwrap().code(), Some(130));
    let limited = limited.wait_with_output().unwrap();
    let words = String::from_utf8(limited.stderr).unwrap();
    assert_eq!(limited.status.code(), Some(1), "{words}");
    assert!(!words.contains("The first run"), "{words}");
}

fn a_hundred_threads() {
    let dir = directory();
    let file = file_in(dir.path());
    let script = format!(
        "import os, threading\n\
         ts = [threading.Thread(target=os.chown, args=('{file}', 1000, 1000)) for _ in range(100)]\n\
         [t.start() for t in ts]; [t.join() for t in ts]\n\
         os._exit(0 if os.stat('{file}').st_uid == 1000 else 1)\n"
    );
    let reset = format!("chown 0 {file}");
    let (_, names) = minimum(&["--reset", &reset, "--", "python3", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
}

fn a_daemon_that_forks_twice() {
    let dir = directory();
    let file = file_in(dir.path());
    // The parent has long ended when the daemon does its work.
    let script = format!("(setsid sh -c 'sleep 0.2; chown 1000 {file}' >/dev/null 2>&1 &) &");
    // On a busy machine, it takes a while; the run ends with its last process.
    let (_, names) = minimum(&["--settle", "1m", "--", "sh", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
}

/// A user becomes root by the file's bit, and root is what the bounding set allows.
fn a_set_uid_program() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = file_in(dir.path());
    let copy = dir.path().join("chown");
    fs::copy(which("chown").unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let (_, names) = minimum(&["--user", "nobody", "--", copy.to_str().unwrap(), "1000", &file]);
    assert_eq!(names, ["cap_chown"]);
    // With no-new-privs the bit does nothing, and what is ambient does it.
    let copy = copy.to_str().unwrap();
    let (_, names) = minimum(&["--user", "nobody", "--no-new-privs", "--", copy, "1001", &file]);
    assert_eq!(names, ["cap_chown"]);
}

/// A copy without the capabilities that Debian gives the file, and where no group may do without;
/// and then where every group may.
fn ping() {
    let dir = directory();
    let copy = dir.path().join("ping");
    fs::copy(which("ping").unwrap(), &copy).unwrap();
    for (groups, want) in [("1 0", "Minimum: cap_net_raw\n"), ("0 2147483647", "Minimum: none\n")] {
        let script = format!(
            "ip link set lo up; echo {groups} > /proc/sys/net/ipv4/ping_group_range; \
             exec \"$0\" minimize --timeout 10m -- {} -c 1 127.0.0.1",
            copy.display()
        );
        let rcap = program("rcap").get_program().to_owned();
        let ran = ran(Command::new("unshare").args(["-n", "sh", "-c", &script]).arg(rcap));
        assert!(ran.out.starts_with(want), "{ran:?}");
    }
    // With them, it is not even executed.
    assert_eq!(common::run(dir.path(), "setcap", ["cap_net_raw=ep", "ping"]).status, Some(0));
    let ran = minimize(&["--", copy.to_str().unwrap(), "-c", "1", "127.0.0.1"]);
    assert!(
        ran.out.contains(
            "cannot be executed: Operation not permitted, as its file has cap_net_raw=ep"
        ),
        "{ran:?}"
    );
}

fn tcpdump() {
    let dir = directory();
    let [file, over] = ["packets", "over"].map(|name| dir.path().join(name));
    let script = format!(
        "(until test -e {1}; do ping -c 1 127.0.0.1; done) >/dev/null 2>&1 & \
         tcpdump -i lo -c 1 -w {0}; ended=$?; touch {1}; wait; exit $ended",
        file.display(),
        over.display()
    );
    let reset = format!("rm -f {} {}", file.display(), over.display());
    let args = ["--keep", "net_raw", "--reset", &reset, "--", "sh", "-c", &script];
    let (object, names) = minimum(&args);
    // It becomes another user, who is given the file.
    assert_eq!(names, ["cap_chown", "cap_setgid", "cap_setuid", "cap_net_raw"], "{object}");
}
