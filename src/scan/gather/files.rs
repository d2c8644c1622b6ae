//! Files with capabilities, and set-user-ID and set-group-ID files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    ops::ControlFlow,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    Names, Sources, unread,
    users::{read_below, subordinate},
};
use crate::{
    Error,
    exec::glance,
    file::{Entry, Found, Owner, Scan},
    scan::{
        Inventory, PrivilegedFile,
        inventory::Namespace,
        writable::{Node, Writable},
    },
};

/// The set-user-ID and the set-group-ID bit.
const SET_ID: u32 = 0o6000;

pub(super) fn gather(sources: &Sources, inventory: &mut Inventory, names: &mut Names) {
    let scan = Scan::default()
        .one_file_system(sources.one_file_system)
        .skip_kernel_file_systems(true)
        .owners(true)
        .threads(sources.threads);
    let scan = sources.exclude.iter().fold(scan, Scan::exclude);
    let found = Mutex::new((Vec::new(), Vec::new()));
    let root = sources.root.as_deref();
    for path in &sources.paths {
        let searched = match root {
            Some(root) => below(root, path),
            None => path.clone(),
        };
        scan.run(&searched, |entry| {
            match look(entry) {
                None => {}
                Some(Ok(file)) => lock(&found).0.push(file),
                Some(Err(err)) => lock(&found).1.push(err),
            }
            ControlFlow::Continue(())
        });
    }
    let (mut files, errors) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // Paths may overlap.
    files.dedup_by(|a, b| a.path == b.path);
    inventory.unread.extend(errors);
    let mapped = Mapped::gather(root, inventory);
    let mut ways = Ways::new(root);
    for file in &mut files {
        complete(file, root, names, &mut ways);
        let rootid = file.caps.and_then(|caps| caps.rootid);
        file.is_unmapped = rootid.is_some_and(|id| !mapped.has(id));
        if let Some(root) = root
            && let Ok(inside) = file.path.strip_prefix(root)
        {
            file.path = Path::new("/").join(inside);
        }
    }
    inventory.files = files;
}

/// Returns a path below a root directory.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix("/").unwrap_or(path) {
        inside if inside.as_os_str().is_empty() => root.to_owned(),
        inside => root.join(inside),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns what an entry of the scan is, unless it has no power.
fn look(entry: &Entry<'_>) -> Option<Result<PrivilegedFile, crate::scan::Unread>> {
    let (caps, malformed) = match entry.found() {
        Found::File(Ok(caps)) => (*caps, None),
        Found::File(Err(Error::MalformedFileCaps { source, .. })) => {
            (None, Some(source.to_string()))
        }
        Found::File(Err(Error::ForeignRootid { .. })) => {
            (None, Some("its root id has no id in this user namespace".into()))
        }
        Found::File(Err(err)) | Found::Unreadable(err) => {
            return Some(Err(unread(entry.path(), err)));
        }
        _ => return None,
    };
    let owner = entry.owner();
    let has_bits = owner.is_some_and(|owner| owner.mode & SET_ID != 0);
    (caps.is_some() || malformed.is_some() || has_bits).then(|| {
        let Some(Owner { mode, uid, gid }) = owner else {
            let err = io::Error::other("it was removed");
            return Err(unread(entry.path(), &err));
        };
        Ok(PrivilegedFile {
            path: entry.path(),
            mode,
            uid,
            gid,
            caps,
            malformed,
            ..Default::default()
        })
    })
}

/// Adds what takes more than a look at the file: names, its mount, and who can change it.
fn complete(file: &mut PrivilegedFile, root: Option<&Path>, names: &mut Names, ways: &mut Ways) {
    file.owner = names.user(file.uid);
    file.group = names.group(file.gid);
    // The kernel's own rules say what is a script. Below another root directory, the mount is that
    // of this machine and says nothing.
    if let Ok((is_script, is_nosuid)) = glance(&file.path) {
        file.is_script = is_script;
        file.is_nosuid = root.is_none() && is_nosuid;
    }
    let mut writable = ways.who_can_write(&file.path, file.mode, (file.uid, file.gid));
    if file.is_set_uid() {
        // A set-user-ID file gives its owner's power, so its owner gains nothing.
        writable.retain(|one| one.by != crate::scan::Writer::User(file.uid));
    }
    file.writable = writable;
}

/// The users besides root who can change the directories on the way to files, below a root
/// directory if there is one. Each directory is looked at once.
#[derive(Debug)]
pub(super) struct Ways {
    root: Option<PathBuf>,
    known: BTreeMap<PathBuf, Vec<Writable>>,
}

impl Ways {
    pub(super) fn new(root: Option<&Path>) -> Ways {
        let root = root.and_then(|root| std::path::absolute(root).ok());
        Ways { root, known: BTreeMap::new() }
    }

    /// Returns who can change the file at a path, or replace it.
    pub(super) fn who_can_write(
        &mut self,
        path: &Path,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> Vec<Writable> {
        let Ok(whole) = std::path::absolute(path) else { return Vec::new() };
        let file = Node { path: self.inside(&whole), mode, uid, gid };
        let mut writable = file.writers();
        let parent = whole.parent().map(|parent| self.of_directory(parent));
        writable.extend(parent.unwrap_or_default());
        writable
    }

    /// Returns who can change a directory or one above it.
    fn of_directory(&mut self, path: &Path) -> Vec<Writable> {
        if self.root.as_ref().is_some_and(|root| !path.starts_with(root)) {
            return Vec::new();
        }
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let mut writable = match fs::symlink_metadata(path) {
            Ok(stat) => {
                let (mode, uid, gid) = (stat.mode() & 0o7777, stat.uid(), stat.gid());
                Node { path: self.inside(path), mode, uid, gid }.writers_of_entries()
            }
            Err(_) => Vec::new(),
        };
        writable.extend(path.parent().map(|parent| self.of_directory(parent)).unwrap_or_default());
        self.known.insert(path.to_owned(), writable.clone());
        writable
    }

    /// Returns the path on the machine that it belongs to.
    fn inside(&self, path: &Path) -> PathBuf {
        let inside = self.root.as_ref().and_then(|root| path.strip_prefix(root).ok());
        inside.map_or_else(|| path.to_owned(), |inside| Path::new("/").join(inside))
    }
}

/// The ids outside of user namespaces that can be the root of one.
#[derive(Debug)]
struct Mapped {
    ids: BTreeSet<u32>,
    ranges: Vec<(u32, u32)>,
}

impl Mapped {
    fn gather(root: Option<&Path>, inventory: &Inventory) -> Mapped {
        let ranges = read_below(root.unwrap_or(Path::new("/")), "etc/subuid");
        let mut ids = BTreeSet::from([0]);
        let others = inventory.processes.iter().filter(|one| one.namespace != Namespace::Same);
        for process in others {
            let map = fs::read_to_string(format!("/proc/{}/uid_map", process.status.pid));
            ids.extend(root_outside(&map.unwrap_or_default()));
        }
        Mapped { ids, ranges: subordinate(&ranges.unwrap_or_default()) }
    }

    fn has(&self, id: u32) -> bool {
        let holds =
            |(first, count): &(u32, u32)| id.checked_sub(*first).is_some_and(|nth| nth < *count);
        self.ids.contains(&id) || self.ranges.iter().any(holds)
    }
}

/// Returns the id outside that is root inside, by a text of uid_map.
fn root_outside(map: &str) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        let (inside, outside) = (numbers.next()??, numbers.next()??);
        (inside == 0).then_some(outside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots() {
        assert_eq!(root_outside("         0     100000      65536\n"), Some(100_000));
        assert_eq!(root_outside("1000 0 1\n0 1 1\n"), Some(1));
        assert_eq!(root_outside("x\n"), None);
        let mapped = Mapped { ids: BTreeSet::from([0, 7]), ranges: vec![(100, 10), (u32::MAX, 5)] };
        let has = |id| mapped.has(id);
        assert!([0, 7, 100, 109, u32::MAX].into_iter().all(has));
        assert!(![1, 99, 110].into_iter().any(has));
    }
}
