//! The paths of writes that a read-only mount refused to the processes of a control group.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "offsets and lengths are small constants"
)]

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use super::program::{ARGUMENTS, NUMBER, REGISTERS, TEXT, WORDS};
use crate::{
    Op, Result,
    sys::bpf::{Cgroups, Queue, Scratch},
    trace::{
        calls::{self, Referent},
        record::{
            Call,
            assembly::{Code, R0, R1, R2, R3, R6, R7, R9, call},
            programs::{low, run},
        },
    },
};

/// The words of an event: the IDs, the result, the registers, the strings at the first two
/// arguments, and the address of a socket at the second one.
const EVENT: usize = 2 + WORDS + (2 * TEXT + ADDRESS) / 8;
/// The length of struct sockaddr_un and more. (unix(7))
const ADDRESS: usize = 112;
/// The number of events that wait at most. A service that is refused more writes than this between
/// two readings repeats them.
const EVENTS: u32 = 4 * 1024;
/// The number of paths that are kept.
const PATHS: usize = 1024;
/// The key of the scratch, below the frame pointer.
const KEY: i16 = -8;

/// Records the writes that a read-only mount refuses to the processes of a control group.
#[derive(Debug)]
pub(crate) struct RefusedWrites {
    events: Queue<EVENT>,
    /// The current directories of threads, as far as they have changed it by an absolute path.
    directories: HashMap<u32, PathBuf>,
    /// The last one of them, which a child of that thread has too.
    last: Option<PathBuf>,
    paths: BTreeSet<PathBuf>,
    _groups: Cgroups,
    _link: OwnedFd,
}

impl RefusedWrites {
    /// Records the processes of a directory of the unified hierarchy, and of its descendants.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_BPF` and `CAP_PERFMON`, or `CAP_SYS_ADMIN`.
    pub(crate) fn new(cgroup: &Path) -> Result<RefusedWrites> {
        let group = File::open(cgroup).map_err(|err| Op::Open.on(cgroup, err))?;
        let load = || -> io::Result<RefusedWrites> {
            let groups = Cgroups::new(1)?;
            groups.set(0, group.as_fd())?;
            let events = Queue::new(EVENTS)?;
            // Its descriptor is part of the program until that is loaded.
            let scratch = Scratch::new(8 * EVENT as u32)?;
            let program = end(&groups, &events, &scratch);
            Ok(RefusedWrites {
                events,
                directories: HashMap::new(),
                last: None,
                paths: BTreeSet::new(),
                _groups: groups,
                _link: run(c"sys_exit", &program)?,
            })
        };
        load().map_err(|err| Op::LoadBpf.thread(err))
    }

    /// Reads what has been recorded since the last call.
    ///
    /// # Errors
    ///
    /// The events cannot be read.
    pub(crate) fn poll(&mut self) -> Result<()> {
        for _ in 0..EVENTS {
            let event = self.events.pop().map_err(|err| Op::ReadTrace.thread(err))?;
            let Some(words) = event else { break };
            self.read(&words);
        }
        Ok(())
    }

    /// Ends the recording, and returns the paths. A relative one was not resolved.
    ///
    /// # Errors
    ///
    /// Those of [`RefusedWrites::poll`].
    pub(crate) fn finish(mut self) -> Result<BTreeSet<PathBuf>> {
        self.poll()?;
        Ok(self.paths)
    }

    fn read(&mut self, words: &[u64; EVENT]) {
        let (&[ids, returned], rest) = words.split_first_chunk().unwrap_or((&[0; 2], &[]));
        let (registers, texts) = rest.split_at(WORDS);
        let bytes: Vec<u8> = texts.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let text = |at: usize| bytes[at..at + TEXT].split(|&byte| byte == 0).next();
        let call = Call {
            arguments: ARGUMENTS.map(|at| registers[at]),
            texts: [text(0), text(TEXT)].map(|text| text.unwrap_or_default().to_vec()),
            ..Call::default()
        };
        let number = i64::from(i32::from_ne_bytes(low(registers[NUMBER]).to_ne_bytes()));
        let name = calls::name(number).unwrap_or_default();
        let path = if number == libc::SYS_chdir {
            Some(call.texts[0].clone())
        } else if number == libc::SYS_bind {
            // After the address family.
            bytes[2 * TEXT + 2..].split(|&byte| byte == 0).next().map(<[u8]>::to_vec)
        } else {
            match calls::target(name, &call) {
                Some(Referent::Path { directory: None, path }) => Some(path),
                Some(Referent::Path { path, .. }) if path.starts_with(b"/") => Some(path),
                _ => None,
            }
        };
        let Some(path) = path.filter(|path| !path.is_empty()) else { return };
        let path = Path::new(OsStr::from_bytes(&path));
        let directory = self.directories.get(&low(ids)).or(self.last.as_ref());
        let path = directory.map_or_else(|| path.to_owned(), |above| above.join(path));
        if returned == 0 {
            self.last = Some(path.clone());
            if self.directories.len() < PATHS {
                self.directories.insert(low(ids), path);
            }
        } else if self.paths.len() < PATHS {
            self.paths.insert(path);
        }
    }
}

/// At the tracepoint sys_exit, which has the registers and the result. Refused writes are reported,
/// and changes of the current directory.
fn end(groups: &Cgroups, events: &Queue<EVENT>, scratch: &Scratch) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(R6, R1).load(R7, R1, 8);
    let refused = code.jump_if(R7, -libc::EROFS);
    code.end_unless(R7, 0);
    code.land([refused]).map(R1, groups).set(R2, 0).call(call::CURRENT_TASK_UNDER_CGROUP);
    code.end_unless(R0, 1).store_value(KEY, 0).look_up(scratch, KEY).end_if(R0, 0).copy(R9, R0);
    code.call(call::GET_CURRENT_PID_TGID).store_at(R9, 0, R0).store_at(R9, 8, R7);
    let mut at = 16;
    for &(offset, words) in REGISTERS {
        let bytes = 8 * words as i32;
        code.copy(R1, R9).add(R1, at).set(R2, bytes).load(R3, R6, 0).add(R3, offset);
        code.call(call::PROBE_READ_KERNEL);
        at += bytes;
    }
    // Most calls succeed: only chdir(2) is of interest.
    let refused = code.jump_unless(R7, 0);
    code.load(R1, R9, 16 + 8 * NUMBER as i16).end_unless(R1, libc::SYS_chdir as i32);
    code.land([refused]);
    let text = (call::PROBE_READ_USER_STR, TEXT as i32);
    let parts = [(text, 0), (text, 1), ((call::PROBE_READ_USER, ADDRESS as i32), 1)];
    for ((function, length), argument) in parts {
        code.copy(R1, R9).add(R1, at).set(R2, length);
        code.load(R3, R9, 16 + 8 * ARGUMENTS[argument] as i16).call(function);
        at += length;
    }
    code.map(R1, events).copy(R2, R9).set(R3, 0).call(call::MAP_PUSH_ELEM);
    code.finish()
}
