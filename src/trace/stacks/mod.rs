//! User-space stacks: from registers and memory to functions and lines.
//!
//! While a program is recorded, its stacks are unwound by the tables that exceptions use, which
//! programs have even if they were compiled without frame pointers. The names of functions are
//! looked up after the recording.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use framehop::{FrameAddress, Unwinder as _};

use super::{
    Analysis,
    record::{Change, Event, EventKind, Mapping, UserStack},
    stack::{Frame, Stack},
};

mod module;
mod names;

use module::{Modules, Table};

#[cfg(target_arch = "x86_64")]
use framehop::x86_64::{CacheX86_64 as Cache, UnwindRegsX86_64, UnwinderX86_64};
#[cfg(target_arch = "x86_64")]
type Unwinder = UnwinderX86_64<Table>;

#[cfg(not(target_arch = "x86_64"))]
use framehop::aarch64::{CacheAarch64 as Cache, UnwindRegsAarch64, UnwinderAarch64};
#[cfg(not(target_arch = "x86_64"))]
type Unwinder = UnwinderAarch64<Table>;

/// How many frames a stack has at most.
const FRAMES: usize = 64;
/// How many mappings of a process are kept.
const MAPPINGS: usize = 4096;
/// How many stacks are remembered.
const STACKS: usize = 4096;

/// Unwinds the stacks in events.
#[derive(Default)]
pub(super) struct Resolver {
    spaces: HashMap<u32, Space>,
    modules: Modules,
    cache: Cache,
    /// Stacks by their process and addresses.
    known: HashMap<(u32, Vec<u64>), Arc<Stack>>,
    /// Whether changes of mappings were lost.
    is_incomplete: bool,
    /// Whether a 32-bit program has made a check in this recording.
    has_compat: bool,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("modules", &self.modules).finish_non_exhaustive()
    }
}

/// The files that a process can execute.
#[derive(Default)]
struct Space {
    mappings: Arc<Vec<Mapping>>,
    /// The modules at the mappings, once a stack of the process was unwound.
    loaded: Option<Loaded>,
}

struct Loaded {
    unwinder: Unwinder,
    /// The module of each mapping, and the difference between addresses in memory and in it.
    places: Vec<Option<(usize, u64)>>,
}

impl Resolver {
    /// Adds the frames to the stacks in events, and removes the events that only serve this purpose.
    pub(super) fn resolve(&mut self, events: &mut Vec<Event>) {
        events.retain_mut(|Event { tid, kind, .. }| match kind {
            EventKind::Memory(change) => {
                self.change(*tid, change);
                false
            }
            EventKind::UserStack(user) if user.is_compat => {
                self.has_compat = true;
                false
            }
            EventKind::UserStack(user) => {
                user.stack = Some(self.unwind(user));
                user.memory = Vec::new();
                true
            }
            _ => true,
        });
    }

    fn change(&mut self, pid: u32, change: &mut Change) {
        match change {
            Change::Executed => drop(self.spaces.insert(pid, Space::default())),
            Change::Ended => drop(self.spaces.remove(&pid)),
            Change::StartedBy(parent) => {
                let mappings = self.spaces.get(parent).map(|space| Arc::clone(&space.mappings));
                let space = Space { mappings: mappings.unwrap_or_default(), loaded: None };
                self.spaces.insert(pid, space);
            }
            Change::Mapped(mapping) => {
                let space = self.spaces.entry(pid).or_default();
                let mappings = Arc::make_mut(&mut space.mappings);
                let range = &mapping.range;
                mappings.retain(|one| one.range.end <= range.start || range.end <= one.range.start);
                if mappings.len() < MAPPINGS {
                    mappings.push(mapping.clone());
                }
                space.loaded = None;
            }
            Change::Lost => {
                self.is_incomplete = true;
                return;
            }
        }
        self.known.retain(|(process, _), _| *process != pid);
    }

    fn unwind(&mut self, user: &UserStack) -> Arc<Stack> {
        let Resolver { spaces, modules, cache, known, .. } = self;
        let space = spaces.entry(user.process).or_default();
        let loaded = space.loaded.get_or_insert_with(|| {
            *cache = Cache::new();
            Loaded::new(&space.mappings, user.process, modules)
        });
        let mut read = |address: u64| {
            let offset = address.checked_sub(user.pointer).filter(|offset| offset % 8 == 0);
            let at = offset.and_then(|offset| usize::try_from(offset / 8).ok());
            at.and_then(|at| user.memory.get(at).copied()).ok_or(())
        };
        let mut frames = loaded.unwinder.iter_frames(
            user.instruction,
            registers(user, &loaded.unwinder),
            cache,
            &mut read,
        );
        let mut addresses = Vec::new();
        let is_whole = loop {
            match frames.next() {
                Ok(Some(_)) if addresses.len() == FRAMES => break false,
                Ok(Some(FrameAddress::InstructionPointer(address))) => addresses.push(address),
                // The instruction that called.
                Ok(Some(FrameAddress::ReturnAddress(address))) => addresses.push(address.get() - 1),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let key = (user.process, addresses);
        if let Some(stack) = known.get(&key).filter(|stack| stack.is_whole == is_whole) {
            return Arc::clone(stack);
        }
        let frames =
            key.1.iter().map(|&address| loaded.frame(&space.mappings, address, modules)).collect();
        let stack = Arc::new(Stack { frames, is_whole });
        if known.len() >= STACKS {
            known.clear();
        }
        known.insert(key, Arc::clone(&stack));
        stack
    }

    /// Adds the names of functions to the stacks of an analysis, and returns in words what is not
    /// known.
    pub(super) fn name(&mut self, analysis: &mut Analysis) -> Vec<String> {
        let stacks = || analysis.needs.iter().flat_map(|need| &need.stacks);
        let mut wanted: HashMap<usize, BTreeSet<u64>> = HashMap::new();
        for frame in stacks().flat_map(|stack| &stack.frames) {
            if let Some(module) = frame.module {
                wanted.entry(module).or_default().insert(frame.address);
            }
        }
        let is_cut = stacks().any(|stack| !stack.is_whole);
        let mut named = HashMap::new();
        let mut nameless = BTreeSet::new();
        for (number, addresses) in wanted {
            let Some(module) = self.modules.get(number) else { continue };
            let names = names::of(module, &addresses);
            if names.values().all(|frames| frames.iter().all(|frame| frame.function.is_none())) {
                nameless.insert(module.path.clone());
            }
            named.extend(names.into_iter().map(|(address, names)| ((number, address), names)));
        }
        for stack in analysis.needs.iter_mut().flat_map(|need| &mut need.stacks) {
            let frames = std::mem::take(&mut stack.frames);
            let expand = |frame: Frame| {
                let key = frame.module.map(|module| (module, frame.address));
                let names: Option<&Vec<Frame>> = key.and_then(|key| named.get(&key));
                names.cloned().unwrap_or_else(|| vec![Frame { module: None, ..frame }])
            };
            stack.frames = frames.into_iter().flat_map(expand).collect();
        }
        let nameless = (!nameless.is_empty()).then(|| {
            let paths: Vec<String> = nameless.into_iter().collect();
            format!("the functions of {}, which has no symbols", paths.join(", "))
        });
        let lost = self
            .is_incomplete
            .then(|| "some files that programs mapped, whose functions have no names".to_owned());
        let cut = is_cut.then(|| {
            "the outer functions of stacks that are longer than 8 KiB, or go through code without \
             tables for unwinding and without frame pointers"
                .to_owned()
        });
        let has_compat = std::mem::take(&mut self.has_compat);
        let compat = has_compat.then(|| "the user-space stacks of 32-bit programs".to_owned());
        nameless.into_iter().chain(lost).chain(cut).chain(compat).collect()
    }
}

impl Loaded {
    fn new(mappings: &[Mapping], process: u32, modules: &mut Modules) -> Loaded {
        let mut unwinder = Unwinder::new();
        let place = |mapping: &Mapping| {
            let number = modules.find(mapping, process)?;
            let module = modules.get(number)?;
            let bias = mapping.range.start.checked_sub(module.address(mapping.offset)?)?;
            unwinder.add_module(module.at(mapping.range.clone(), bias));
            Some((number, bias))
        };
        let places = mappings.iter().map(place).collect();
        Loaded { unwinder, places }
    }

    fn frame(&self, mappings: &[Mapping], address: u64, modules: &Modules) -> Frame {
        let at = mappings.iter().position(|mapping| mapping.range.contains(&address));
        let place = at.and_then(|at| *self.places.get(at)?);
        match (place, at) {
            (Some((number, bias)), _) => Frame {
                object: modules.get(number).map(|module| module.path.clone()).unwrap_or_default(),
                address: address - bias,
                module: Some(number),
                ..Frame::default()
            },
            (None, at) => {
                let path = at.map(|at| mappings[at].path.to_string_lossy().into_owned());
                Frame { object: path.unwrap_or_default(), address, ..Frame::default() }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn registers(user: &UserStack, _: &Unwinder) -> UnwindRegsX86_64 {
    UnwindRegsX86_64::new(user.instruction, user.pointer, user.frame)
}

#[cfg(not(target_arch = "x86_64"))]
fn registers(user: &UserStack, unwinder: &Unwinder) -> UnwindRegsAarch64 {
    let mask =
        framehop::aarch64::PtrAuthMask::from_max_known_address(unwinder.max_known_code_address());
    let link = user.link.unwrap_or_default();
    UnwindRegsAarch64::new_with_ptr_auth_mask(mask, link, user.pointer, user.frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_of_32_bit_programs() {
        let user = UserStack { is_compat: true, ..UserStack::default() };
        let kind = EventKind::UserStack(Box::new(user));
        let mut events = vec![Event { time: 1, tid: 1, kind }];
        let mut resolver = Resolver::default();
        resolver.resolve(&mut events);
        assert_eq!(events, []);
        let unseen = resolver.name(&mut Analysis::default());
        assert_eq!(unseen, ["the user-space stacks of 32-bit programs"]);
        assert_eq!(resolver.name(&mut Analysis::default()), [""; 0]);
    }
}
