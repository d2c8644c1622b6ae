//! The layout of registers is not known on this architecture: tracefs records the ends of all
//! system calls, without what they refer to.

use std::{io, os::fd::OwnedFd};

use super::Event;
use crate::{Result, sys::bpf::Table};

#[derive(Debug)]
pub(crate) enum CallRecorder {}

impl CallRecorder {
    pub(crate) fn new(_stacks: bool) -> io::Result<CallRecorder> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn of_groups(_groups: &[OwnedFd], _processes: &[u32]) -> io::Result<CallRecorder> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn roots(&self) -> Result<Table> {
        match *self {}
    }

    pub(crate) fn follow(&self, _tid: u32) -> Result<()> {
        match *self {}
    }

    pub(crate) fn sees_stacks(&self) -> bool {
        match *self {}
    }

    pub(crate) fn has_moved(&self) -> bool {
        match *self {}
    }

    pub(crate) fn mapped(&self, _pid: u32) -> Vec<Event> {
        match *self {}
    }

    pub(crate) fn take_until(&mut self, _until: u64) -> Result<Vec<Event>> {
        match *self {}
    }

    pub(crate) fn stop(&mut self) -> Result<(Vec<Event>, [u64; 2])> {
        match *self {}
    }
}

#[cfg(feature = "cli")]
#[derive(Debug)]
pub(crate) enum RefusedWrites {}

#[cfg(feature = "cli")]
impl RefusedWrites {
    pub(crate) fn new(_cgroup: &std::path::Path) -> Result<RefusedWrites> {
        Err(crate::Op::LoadBpf.thread(io::Error::from(io::ErrorKind::Unsupported)))
    }

    pub(crate) fn poll(&mut self) -> Result<()> {
        match *self {}
    }

    pub(crate) fn finish(self) -> Result<std::collections::BTreeSet<std::path::PathBuf>> {
        match self {}
    }
}
