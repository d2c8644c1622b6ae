//! Recording a program with all that it starts.

use std::{
    io::{self, Write},
    process::{Child, Command},
};

use super::{Event, Formats, Instance, Page, Reader, Symbols, Tracefs};
use crate::{Op, Result, sys};

/// What a program and its descendants did while they were recorded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recording {
    /// In the order of time. What comes before the first [`Check`](super::Check) of [`MARK`] is
    /// the making of the process.
    pub events: Vec<Event>,
    /// How many records had no place and are missing; `None`: some, and nobody counted. A
    /// recording that lacks some says nothing of what was not seen.
    pub lost: Option<u64>,
    /// The process of the program.
    pub process: u32,
    /// The functions of the kernel, to name the places of a stack.
    pub symbols: Symbols,
}

/// The capability that the process asks about itself, just before it executes the program.
pub const MARK: u32 = crate::Cap::SETPCAP.number() as u32;

/// A program that is being recorded.
#[derive(Debug)]
pub struct Recorder {
    /// The process of the program.
    pub child: Child,
    formats: Formats,
    /// One for each processor, with what it has read.
    readers: Vec<(Reader, Vec<Event>)>,
    lost: Option<u64>,
    instance: Instance,
    tracefs: Tracefs,
}

impl Recorder {
    /// Starts the program of `command` and records it, its threads and its descendants: the
    /// kernel's checks of capabilities, from where they came, the system calls that ended and the
    /// programs that were executed. `kilobytes` are kept for each processor.
    ///
    /// # Errors
    ///
    /// Those of setting up tracing, for which it takes root; [`Op::Execute`] if the program
    /// cannot be executed.
    pub fn start(mut command: Command, kilobytes: u32) -> Result<Recorder> {
        let tracefs = Tracefs::open()?;
        let instance = tracefs.instance(kilobytes)?;
        let formats = Formats {
            check: tracefs.format("capability/cap_capable")?,
            stack: tracefs.format("ftrace/kernel_stack")?,
            system_call: tracefs.format("raw_syscalls/sys_exit")?,
            exec: tracefs.format("sched/sched_process_exec")?,
            started: tracefs.format("task/task_newtask")?,
        };
        instance.write("events/capability/cap_capable/trigger", "stacktrace")?;
        let [processes, switch] = [instance.open("set_event_pid")?, instance.open("tracing_on")?];
        let readers = instance.readers()?.into_iter().map(|reader| (reader, Vec::new())).collect();
        for event in [
            "capability/cap_capable",
            "raw_syscalls/sys_exit",
            "sched/sched_process_exec",
            "task/task_newtask",
        ] {
            instance.enable(event)?;
        }
        sys::pre_exec(&mut command, move || {
            let mut number = [0; 12];
            let mut rest = &mut number[..];
            write!(rest, "{}", std::process::id())?;
            let length = 12 - rest.len();
            // As long as this list is empty, everybody would be recorded.
            (&processes).write_all(&number[..length])?;
            (&switch).write_all(b"1")?;
            // No such capability: it fails, and yet the kernel asks first.
            let _ = sys::capbset_drop(u8::MAX);
            Ok(())
        });
        let program = std::path::PathBuf::from(command.get_program());
        let spawned = command.spawn();
        // With it go two files of the instance, which could not be removed else.
        drop(command);
        let child = spawned.map_err(|err| Op::Execute.on(&*program, err))?;
        Ok(Recorder { child, formats, readers, lost: Some(0), instance, tracefs })
    }

    /// Takes what has been recorded so far out of the kernel's buffer. To be called now and then:
    /// what has no place there is lost.
    ///
    /// # Errors
    ///
    /// Only where the file system is gone.
    pub fn drain(&mut self) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        for (reader, events) in &mut self.readers {
            loop {
                let page = reader.page(&mut buffer).map_err(|err| Op::ReadTrace.thread(err))?;
                let Some(page) = page.and_then(Page::parse) else { break };
                self.lost = self.lost.zip(page.lost).map(|(lost, more)| lost + more);
                self.formats.read(&page, events);
            }
        }
        Ok(())
    }

    /// Ends the recording.
    ///
    /// # Errors
    ///
    /// Only where the file system is gone.
    pub fn finish(mut self) -> Result<Recording> {
        self.instance.write("tracing_on", "0")?;
        self.drain()?;
        for (reader, _) in &self.readers {
            let lost = reader.lost().map_err(|err: io::Error| Op::ReadTrace.thread(err))?;
            self.lost = self.lost.map(|known| known.max(lost));
        }
        let symbols = std::fs::read("/proc/kallsyms").unwrap_or_default();
        let symbols = Symbols::parse(&String::from_utf8_lossy(&symbols));
        let Recorder { child, readers, lost, instance, tracefs, .. } = self;
        let mut events: Vec<Event> = readers.into_iter().flat_map(|(_, events)| events).collect();
        events.sort_by_key(|event| event.time);
        // The kernel removes a buffer that nobody has open any more.
        drop(instance);
        drop(tracefs);
        Ok(Recording { events, lost, process: child.id(), symbols })
    }
}
