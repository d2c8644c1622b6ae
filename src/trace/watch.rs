//! A recording of what runs already.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::session::{Names, PULSE, Recorded, Session};
use crate::{
    CapSet, Error, Result,
    proc::Proc,
    sys,
    trace::{Backend, CgroupRecorder, Event, Options, Origin, Recorder, Rest, Seen, Target},
};

/// What records.
enum Source {
    Processes(Box<Recorder>),
    Cgroups(CgroupRecorder),
}

/// Records processes that run already, until they have ended, `duration` is over, or a signal
/// asks for the report. Without a `backend`, the best one for them is taken. `begun` is told how
/// many processes there are.
///
/// # Errors
///
/// Those of [`Recorder::new`], [`Recorder::attach`] and [`CgroupRecorder::new`].
pub fn watch(
    targets: &[Target],
    origin: Origin,
    (backend, options): (Option<Backend>, &dyn Fn(Backend) -> Options),
    duration: Option<Duration>,
    each: &mut dyn FnMut(&Seen),
    begun: &mut dyn FnMut(usize),
) -> Result<Recorded> {
    let processes = || -> Result<Vec<u32>> {
        let all = targets.iter().map(Target::processes).collect::<Result<Vec<_>>>()?;
        Ok(all.concat())
    };
    let mut names = Names::load();
    let first = processes()?;
    let held = first.iter().map(|&pid| held(pid)).fold(CapSet::empty(), |held, more| held | more);
    let (mut source, options) = Source::new(targets, backend, options)?;
    if let Source::Processes(recorder) = &mut source {
        recorder.attach(&first)?;
        // Some were started while the first were being taken.
        recorder.follow(&processes()?)?;
    }
    begun(first.len());
    let mut session = Session::new(&mut names, options, origin, held, each);
    let is_group = |target: &Target| matches!(target, Target::Cgroup(_));
    let enter = targets.iter().any(is_group).then_some(&processes);
    let start = Instant::now();
    loop {
        thread::sleep(PULSE[1]);
        session.analyse(source.drain()?);
        let over = duration.is_some_and(|duration| start.elapsed() >= duration);
        if over || sys::signal::outlived().is_some() || source.is_over(enter)? {
            break;
        }
    }
    Ok(session.finish(source.stop()?))
}

/// What a process can hold, and so what the kernel can grant to it.
fn held(pid: u32) -> CapSet {
    match Proc::default().status(pid) {
        Ok(status) => status.bounding | status.caps.permitted,
        // A control group lists a process of an outer PID namespace so: nothing is known of it.
        Err(_) if pid == 0 => CapSet::supported(),
        // It has ended.
        Err(_) => CapSet::empty(),
    }
}

impl Source {
    /// With how it records.
    fn new(
        targets: &[Target],
        backend: Option<Backend>,
        options: &dyn Fn(Backend) -> Options,
    ) -> Result<(Source, Options)> {
        let unified = |target: &Target| match target {
            Target::Cgroup(path) if CgroupRecorder::is_unified(path) => Some(path.clone()),
            _ => None,
        };
        let cgroups: Option<Vec<PathBuf>> = targets.iter().map(unified).collect();
        let by_ids = |backend| {
            let options = options(backend);
            Ok((Source::Processes(Box::new(Recorder::new(&options)?)), options))
        };
        match (cgroups, backend) {
            (Some(cgroups), None | Some(Backend::Bpf)) => {
                let options = options(Backend::Bpf);
                match CgroupRecorder::new(&cgroups, options.outcomes) {
                    Ok(recorder) => Ok((Source::Cgroups(recorder), options)),
                    Err(err) if backend.is_some() => Err(err),
                    // Where it cannot be loaded, the ids of the processes do, if they can be used.
                    Err(err) => match Backend::best() {
                        Err(Error::PidNamespace) => Err(err),
                        other => by_ids(other?),
                    },
                }
            }
            (None, Some(Backend::Bpf)) => Err(Error::UnsupportedTarget),
            (_, backend) => by_ids(backend.map_or_else(Backend::best, Ok)?),
        }
    }

    fn drain(&mut self) -> Result<Vec<Event>> {
        match self {
            Source::Processes(recorder) => recorder.drain(),
            Source::Cgroups(recorder) => recorder.drain(),
        }
    }

    /// Whether nobody is left; and what has entered a control group meanwhile is no descendant of
    /// those who were in it.
    fn is_over(&mut self, processes: Option<&impl Fn() -> Result<Vec<u32>>>) -> Result<bool> {
        match self {
            Source::Processes(recorder) => {
                if let Some(processes) = processes {
                    recorder.follow(&processes().unwrap_or_default())?;
                }
                Ok(recorder.living()?.is_empty())
            }
            Source::Cgroups(recorder) => Ok(recorder.living().is_empty()),
        }
    }

    fn stop(self) -> Result<Rest> {
        match self {
            Source::Processes(mut recorder) => recorder.stop(),
            Source::Cgroups(recorder) => recorder.stop(),
        }
    }
}
