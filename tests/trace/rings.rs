//! Threads that io_uring starts in the kernel.

use std::{
    ffi::CString,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, chown},
    },
    path::Path,
};

use io_uring::{IoUring, opcode, squeue, types};
use rcap::{
    Cap,
    trace::{Meaning, Target, Tracer},
};

use super::{common::directory, needs, options};

/// Worker threads of io_uring count for the program that owns the ring.
pub(crate) fn workers_of_io_uring() {
    opened_by(&IoUring::builder(), squeue::Flags::ASYNC);
}

/// So does the thread that polls a ring for requests.
pub(crate) fn a_ring_that_is_polled() {
    opened_by(IoUring::builder().setup_sqpoll(1000), squeue::Flags::empty());
}

/// Another user's file is opened by a thread of a ring.
#[expect(unsafe_code, reason = "a request has the address of a path")]
fn opened_by(builder: &io_uring::Builder, flags: squeue::Flags) {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    chown(&file, Some(1234), Some(1234)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let own = [Target::Process(std::process::id())];
    let mut tracer = Tracer::attach(&own, &options(1024)).unwrap();
    // Where the kernel has no io_uring, or forbids it, there is nothing to see.
    let Ok(mut ring) = builder.build(1) else { return };
    let path = CString::new(file.as_os_str().as_bytes()).unwrap();
    let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr());
    let open = open.flags(libc::O_RDONLY).build().flags(flags);
    // SAFETY: the path lives until the request has ended.
    unsafe { ring.submission().push(&open) }.unwrap();
    ring.submit_and_wait(1).unwrap();
    assert!(ring.completion().next().unwrap().result() >= 0);
    let recording = tracer.finish(|_| ()).unwrap();
    let needs = needs(&recording, Cap::DAC_READ_SEARCH);
    assert!(needs.len() == 1 && needs[0].meaning == Meaning::Candidate, "{recording:?}");
    assert_eq!(Path::new(&needs[0].program), std::env::current_exe().unwrap());
}
