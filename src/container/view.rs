//! The effects of a container: the changes of its file system, and its processes.

use std::{fs::File, io, os::fd::OwnedFd, path::Path, thread};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use serde_json::Value;

use super::{Engine, Failed};
use crate::{
    proc::Proc,
    trace::minimize::{Aspect, Effects, Layer, Subject},
};

/// Returns what a container has changed so far, and its processes.
pub(super) fn effects(engine: &Engine, id: &str, facts: &Value) -> Result<Effects, Failed> {
    let mut effects = Effects::default();
    let data = &facts["GraphDriver"]["Data"];
    let read = match (data["UpperDir"].as_str(), data["LowerDir"].as_str()) {
        (Some(upper), Some(lower)) => layer(Path::new(upper), lower, &mut effects),
        _ => Err(io::ErrorKind::Unsupported.into()),
    };
    if read.is_err() {
        // Without the directories of the layers, the engine tells which files have changed.
        effects = Effects::default();
        for line in engine.output(&["diff", id])?.lines() {
            let Some((letter, path)) = line.split_once(' ') else { continue };
            let change = match letter {
                "A" => "created",
                "D" => "removed",
                _ => "changed",
            };
            effects.insert(Subject::File(path.into()), Aspect::Change, change);
        }
    }
    let pid = facts["State"]["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    if let Some(pid) = pid.filter(|pid| *pid != 0) {
        let proc = Proc::default();
        let tree = proc.tree()?;
        if tree.get(pid).is_some() {
            let pids: Vec<u32> = tree.walk(&[pid]).map(|(_, pid)| pid).collect();
            effects.add_processes(&pids);
        }
    }
    Ok(effects)
}

/// Opens the root directory of an image.
///
/// # Errors
///
/// The engine does not tell its layers, or they cannot be mounted.
pub(super) fn image(facts: &Value) -> io::Result<OwnedFd> {
    let data = &facts["GraphDriver"]["Data"];
    let upper = data["UpperDir"].as_str().ok_or(io::ErrorKind::Unsupported)?;
    let layers: Vec<&str> = [upper].into_iter().chain(data["LowerDir"].as_str()).collect();
    merged(Path::new(upper), &layers.join(":"))
}

fn layer(upper: &Path, lower: &str, effects: &mut Effects) -> io::Result<()> {
    let upper_fd: OwnedFd = File::open(upper)?.into();
    let lower = Some(merged(upper, lower)?);
    Layer::new("/".into(), upper_fd, lower).read(effects)
}

/// Opens the union of an image's layers. It is mounted read-only, in a mount namespace that ends
/// with this function, so that nothing else can see it.
fn merged(point: &Path, layers: &str) -> io::Result<OwnedFd> {
    if !layers.contains(':') {
        return Ok(File::open(layers)?.into());
    }
    let open = || -> io::Result<OwnedFd> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let options = format!("lowerdir={layers}");
        mount(Some("overlay"), point, Some("overlay"), MsFlags::MS_RDONLY, Some(&*options))?;
        Ok(File::open(point)?.into())
    };
    let ended = thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, open).map(thread::ScopedJoinHandle::join)
    });
    ended?.unwrap_or_else(|_| Err(io::Error::other("the thread has panicked")))
}
