//! Trace buffers that are too small.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rcap::{Cap, launch::Launcher, trace::Tracer};

use super::{
    common::{directory, program, wait_until},
    options,
};

/// A program that causes many checks on request.
const BURSTS: &str = "
import os, sys
for line in sys.stdin:
    for i in range(int(line)): os.chown(sys.argv[1], i % 2, 0)
    print('done', flush=True)
";

/// Many checks, with the smallest buffer, which is not read while they happen.
pub(crate) fn buffers_grow() {
    const CHECKS: usize = 3000;
    let dir = directory();
    let mut command = Command::new("python3");
    command.args(["-c", BURSTS]).arg(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tracer = Tracer::new(&options(64)).unwrap();
    let mut child = tracer.start(command, &Launcher::new()).unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    // Checks are held back until the names of kernel functions are known.
    let mut any = false;
    while !any {
        tracer.poll(|_| any = true).unwrap();
    }
    let mut burst = || {
        writeln!(input, "{CHECKS}").unwrap();
        assert_eq!(output.next().unwrap().unwrap(), "done");
        let mut count = 0;
        // The last millisecond is held back.
        thread::sleep(Duration::from_millis(2));
        tracer.poll(|one| count += usize::from(one.cap == Cap::CHOWN)).unwrap();
        count
    };
    assert!(burst() < CHECKS);
    // The buffer doubles each time records are lost.
    assert!((0..10).any(|_| burst() >= CHECKS));
    drop(input);
    child.wait().unwrap();
    // Records were lost, and the kernel did not count all of them.
    assert_eq!(tracer.finish(|_| ()).unwrap().lost, None);
}

/// The report names what the recording lacks.
pub(crate) fn lost_records() {
    let dir = directory();
    let pidfile = dir.path().join("pid");
    let script = format!("echo $$ > {}; exec python3 -c \"$0\" \"$1\"", pidfile.display());
    let mut child = program("rcap")
        .args(["trace", "--buffer", "64", "--", "sh", "-c", &script, BURSTS])
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| fs::read_to_string(&pidfile).is_ok_and(|text| text.ends_with('\n')));
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let signal = |signal| nix::sys::signal::kill(pid, signal).unwrap();
    let status = format!("/proc/{}/status", child.id());
    // The recorder does not read while the checks happen.
    signal(nix::sys::signal::Signal::SIGSTOP);
    wait_until(|| fs::read_to_string(&status).unwrap().contains("State:\tT"));
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "3000").unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "done");
    signal(nix::sys::signal::Signal::SIGCONT);
    drop(input);
    let text = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(text.contains("Records were lost: this is not complete"), "{text}");
}
