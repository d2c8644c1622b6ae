//! Recorded events.

use std::{ffi::OsString, ops::Range, os::unix::ffi::OsStringExt, sync::Arc};

use super::{Tracefs, format::Format, page::Page};
use crate::{
    Cap, CapSet, Result,
    exec::Credentials,
    trace::{object::Object, stack::Stack},
};

/// An action of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The time in nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) time: u64,
    /// The ID of the thread.
    pub(crate) tid: u32,
    /// The action.
    pub(crate) kind: EventKind,
}

/// The kind of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum EventKind {
    /// The kernel checked for a capability.
    Check(Check),
    /// The result of the thread's last check, if the check had none.
    Answer {
        /// Whether the capability was granted.
        granted: bool,
    },
    /// A system call returned.
    SystemCall {
        /// The number of the system call.
        number: i64,
        /// The return value; -1 to -4095 is an errno.
        returned: i64,
        /// The object of the system call, if known.
        call: Option<Box<Call>>,
    },
    /// The user-space stack of the thread's next check.
    UserStack(Box<UserStack>),
    /// The process with the ID of the thread changed what it executes.
    Memory(Change),
    /// The thread executed a program.
    Exec {
        /// The path of the program.
        path: OsString,
    },
    /// The thread started a thread or a process.
    Started {
        /// The ID of the new thread.
        tid: u32,
    },
    /// The thread ended.
    Ended,
}

/// A check of the kernel for a capability of a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Check {
    /// The number of the capability. A number that is not a [`Cap`] is the recorder's mark.
    pub(crate) number: u32,
    /// Whether the capability was granted, or `None` if an [`EventKind::Answer`] follows.
    pub(crate) granted: Option<bool>,
    /// The user namespace over which the capability was needed, as an opaque address.
    pub(crate) namespace: u64,
    /// The user namespace of the credentials, if known.
    pub(crate) own_namespace: Option<u64>,
    /// Whether the kernel did not audit the check (`CAP_OPT_NOAUDIT`).
    pub(crate) unaudited: bool,
    /// The addresses of the kernel functions, innermost first, or empty if unknown.
    pub(crate) stack: Vec<u64>,
}

impl Check {
    /// Returns the capability.
    pub(crate) fn cap(&self) -> Option<Cap> {
        u8::try_from(self.number).ok().and_then(Cap::from_number)
    }
}

/// A system call, and the memory that its arguments refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Call {
    pub(crate) arguments: [u64; 6],
    /// The strings at the first two arguments, up to 255 bytes; empty if they are not known.
    pub(crate) texts: [Vec<u8>; 2],
    /// The bytes at the second argument, if they are known.
    pub(crate) bytes: Option<[u8; 32]>,
    /// Whether it began. One that a filter refuses ends without having begun.
    pub(crate) began: Option<bool>,
    /// Whether the thread has restricted itself by Landlock.
    pub(crate) is_restricted: bool,
    /// Whether AppArmor has denied something in it, and did so aloud.
    pub(crate) is_denied_by_apparmor: bool,
    /// Whether SELinux has denied something in it, and did so aloud.
    pub(crate) is_denied_by_selinux: bool,
    /// The file's capabilities that its bounding set lacks, if it executes a file.
    pub(crate) beyond: CapSet,
    /// Whether no_new_privs has kept its program from the file's privileges, in words.
    pub(crate) withheld: Option<String>,
    /// Whether the number and the arguments are those of a 32-bit program.
    pub(crate) is_compat: bool,
    /// The object, once it was looked for.
    pub(crate) object: Option<Object>,
    /// Whether the object, if it was opened, was there before the recording.
    pub(crate) existed: bool,
    /// The name of the thread, up to 15 bytes; empty if it is not known.
    pub(crate) name: Vec<u8>,
    /// The credentials of the thread at the end of the call, or shortly after a denied one if it
    /// still existed.
    pub(crate) process: Option<Box<Credentials>>,
}

/// The user-space stack of a thread at a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserStack {
    /// The number of the capability.
    pub(crate) number: u32,
    /// The ID of the process.
    pub(crate) process: u32,
    /// The registers: the instruction pointer, the stack pointer, the frame pointer, and the link
    /// register where there is one.
    pub(crate) instruction: u64,
    pub(crate) pointer: u64,
    pub(crate) frame: u64,
    pub(crate) link: Option<u64>,
    /// The memory from the stack pointer on, as words.
    pub(crate) memory: Vec<u64>,
    /// Whether the program is a 32-bit one, whose stack is not looked at.
    pub(crate) is_compat: bool,
    /// The frames, once they were looked for.
    pub(crate) stack: Option<Arc<Stack>>,
}

/// A change of what a process executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It mapped a file.
    Mapped(Mapping),
    /// It executed a program, so that its mappings are gone.
    Executed,
    /// This process started it, with a copy of its own mappings.
    StartedBy(u32),
    /// It ended.
    Ended,
    /// Changes were lost.
    Lost,
}

/// A part of a file that a process can execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The addresses.
    pub(crate) range: Range<u64>,
    /// The position in the file.
    pub(crate) offset: u64,
    /// The device as major and minor number, and the inode.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    /// The path of the file in the file system of the process, or a name in brackets.
    pub(crate) path: OsString,
}

/// The layouts of the supported events. Events that the kernel does not have are not recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Formats {
    /// `capability/cap_capable`, or a probe of that function.
    pub(crate) check: Option<Format>,
    /// A probe of that function's return.
    pub(crate) answer: Option<Format>,
    /// `ftrace/kernel_stack`
    pub(crate) stack: Option<Format>,
    /// `raw_syscalls/sys_exit`
    pub(crate) system_call: Option<Format>,
    /// `sched/sched_process_exec`
    pub(crate) exec: Option<Format>,
    /// `task/task_newtask`
    pub(crate) started: Option<Format>,
    /// `sched/sched_process_exit`
    pub(crate) ended: Option<Format>,
}

impl Formats {
    /// Reads the layouts, with `check` and `answer` as the names of those events.
    ///
    /// # Errors
    ///
    /// A layout cannot be read.
    pub(super) fn of(tracefs: &Tracefs, check: &str, answer: Option<&str>) -> Result<Formats> {
        Ok(Formats {
            check: tracefs.format(check)?,
            answer: answer.map(|event| tracefs.format(event)).transpose()?.flatten(),
            stack: tracefs.format("ftrace/kernel_stack")?,
            system_call: tracefs.format("raw_syscalls/sys_exit")?,
            exec: tracefs.format("sched/sched_process_exec")?,
            started: tracefs.format("task/task_newtask")?,
            ended: tracefs.format("sched/sched_process_exit")?,
        })
    }

    /// Adds the events of a page to those of earlier pages of the same processor. A stack belongs
    /// to the preceding check, which may be the last record of the page before.
    pub(crate) fn read(&self, page: &Page<'_>, events: &mut Vec<Event>) {
        for record in page.records() {
            let Some((id, _)) = record.data.split_first_chunk::<2>() else { continue };
            let id = u16::from_ne_bytes(*id);
            let of = |format: &'_ Option<Format>| format.as_ref().is_some_and(|one| one.id == id);
            if of(&self.stack) {
                let Some(format) = &self.stack else { continue };
                if let Some(Event { tid, kind: EventKind::Check(check), .. }) = events.last_mut() {
                    if tid_of(format, record.data) == Some(*tid) {
                        if let Some(stack) = addresses(format, record.data) {
                            check.stack = stack;
                        }
                    }
                }
                continue;
            }
            let known = [
                (&self.check, check as fn(&Format, &[u8]) -> Option<EventKind>),
                (&self.answer, answer),
                (&self.system_call, system_call),
                (&self.exec, exec),
                (&self.started, started),
                (&self.ended, |_, _| Some(EventKind::Ended)),
            ];
            let known = known.into_iter().find(|(format, _)| of(format));
            let Some((Some(format), kind)) = known else { continue };
            if let (Some(tid), Some(kind)) =
                (tid_of(format, record.data), kind(format, record.data))
            {
                events.push(Event { time: record.time, tid, kind });
            }
        }
    }
}

fn check(format: &Format, data: &[u8]) -> Option<EventKind> {
    /// include/linux/security.h
    const CAP_OPT_NOAUDIT: u64 = 1 << 1;
    let granted = format.signed(data, "ret").map(|ret| ret == 0);
    Some(EventKind::Check(Check {
        number: u32::try_from(format.unsigned(data, "cap")?).ok()?,
        granted,
        namespace: format.unsigned(data, "target_ns")?,
        // The kernel provides it only if the capability was granted.
        own_namespace: format.unsigned(data, "capable_ns").filter(|&address| address != 0),
        unaudited: format.unsigned(data, "opts").is_some_and(|opts| opts & CAP_OPT_NOAUDIT != 0),
        stack: Vec::new(),
    }))
}

fn answer(format: &Format, data: &[u8]) -> Option<EventKind> {
    Some(EventKind::Answer { granted: format.signed(data, "ret")? == 0 })
}

fn system_call(format: &Format, data: &[u8]) -> Option<EventKind> {
    let [number, returned] = ["id", "ret"].map(|name| format.signed(data, name));
    Some(EventKind::SystemCall { number: number?, returned: returned?, call: None })
}

fn exec(format: &Format, data: &[u8]) -> Option<EventKind> {
    let path = OsString::from_vec(format.text(data, "filename")?.to_vec());
    Some(EventKind::Exec { path })
}

fn started(format: &Format, data: &[u8]) -> Option<EventKind> {
    let tid = u32::try_from(format.unsigned(data, "pid")?).ok()?;
    Some(EventKind::Started { tid })
}

fn tid_of(format: &Format, data: &[u8]) -> Option<u32> {
    u32::try_from(format.unsigned(data, "common_pid")?).ok()
}

/// Returns the addresses of a stack, up to its stated length.
fn addresses(format: &Format, data: &[u8]) -> Option<Vec<u64>> {
    let size = usize::try_from(format.unsigned(data, "size")?).ok()?;
    Some(format.words(data, "caller")?.take(size).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats() -> Formats {
        let format = |id: u16, fields: &[(&str, usize, usize)]| {
            let field = |(name, offset, size): &(&str, usize, usize)| {
                format!("\tfield:{name};\toffset:{offset};\tsize:{size};\tsigned:1;\n")
            };
            let fields: String =
                [("int common_pid", 4, 4)].iter().chain(fields).map(field).collect();
            Format::parse(&format!("ID: {id}\n{fields}"))
        };
        Formats {
            check: format(1, &[("u64 target_ns", 8, 8), ("int cap", 16, 4), ("int ret", 20, 4)]),
            stack: format(2, &[("int size", 8, 4), ("unsigned long caller[8]", 16, 64)]),
            system_call: format(3, &[("long id", 8, 8), ("long ret", 16, 8)]),
            exec: format(4, &[("__data_loc char[] filename", 8, 4)]),
            started: format(5, &[("pid_t pid", 8, 4)]),
            ended: format(6, &[]),
            answer: format(7, &[("int ret", 8, 4)]),
        }
    }

    fn record(id: u16, tid: u32, rest: &[u8]) -> Vec<u8> {
        let mut data = [&id.to_ne_bytes()[..], &[0; 2], &tid.to_ne_bytes(), rest].concat();
        data.resize(data.len().next_multiple_of(4), 0);
        let length = u32::try_from(data.len()).unwrap() + 4;
        [&(1_u32 << 5).to_ne_bytes()[..], &length.to_ne_bytes(), &data].concat()
    }

    fn events(pages: &[&[Vec<u8>]]) -> Vec<Event> {
        let mut events = Vec::new();
        for (time, records) in (100_u64..).step_by(100).zip(pages) {
            let records = records.concat();
            let length = u64::try_from(records.len()).unwrap();
            let bytes = [&time.to_ne_bytes()[..], &length.to_ne_bytes(), &records].concat();
            formats().read(&Page::parse(&bytes).unwrap(), &mut events);
        }
        events
    }

    fn check(tid: u32, cap: i32, ret: i32) -> Vec<u8> {
        let rest = [&7_u64.to_ne_bytes()[..], &cap.to_ne_bytes(), &ret.to_ne_bytes()].concat();
        record(1, tid, &rest)
    }

    fn stack(tid: u32, callers: &[u64]) -> Vec<u8> {
        let size = u64::try_from(callers.len()).unwrap();
        let callers: Vec<u8> = callers.iter().flat_map(|one| one.to_ne_bytes()).collect();
        record(2, tid, &[&size.to_ne_bytes()[..], &callers].concat())
    }

    #[test]
    fn what_threads_did() {
        let call = [&92_i64.to_ne_bytes()[..], &(-1_i64).to_ne_bytes()].concat();
        let path = [&(0xc_u32 | 5 << 16).to_ne_bytes()[..], b"/b/c\0"].concat();
        let got = events(&[&[
            check(5, 0, 0),
            stack(5, &[0xa, 0xb]),
            stack(6, &[0xc]),
            check(5, 9999, -1),
            record(3, 5, &call),
            record(4, 5, &path),
            record(5, 5, &6_u32.to_ne_bytes()),
            record(6, 5, b""),
            record(7, 5, &0_u32.to_ne_bytes()),
            record(99, 5, b"unknown!"),
        ]]);
        let asked = |number, granted, stack: &[u64]| {
            let (granted, stack) = (Some(granted), stack.to_vec());
            EventKind::Check(Check { number, granted, namespace: 7, stack, ..Check::default() })
        };
        let want = [
            (101, asked(0, true, &[0xa, 0xb])),
            (104, asked(9999, false, &[])),
            (105, EventKind::SystemCall { number: 92, returned: -1, call: None }),
            (106, EventKind::Exec { path: "/b/c".into() }),
            (107, EventKind::Started { tid: 6 }),
            (108, EventKind::Ended),
            (109, EventKind::Answer { granted: true }),
        ];
        assert_eq!(got, want.map(|(time, kind)| Event { time, tid: 5, kind }));
        // A check at the end of one page and its stack at the start of the next.
        let got = events(&[&[check(5, 0, 0)], &[stack(5, &[0xa])]]);
        assert_eq!(got, [Event { time: 101, tid: 5, kind: asked(0, true, &[0xa]) }]);
    }
}
