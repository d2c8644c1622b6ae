//! The capabilities of a whole tree as one value.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{FileCaps, Found, Scan};
use crate::{Error, Result};

/// The result of [`Scan::collect`].
#[derive(Debug, Default)]
#[non_exhaustive]
#[must_use = "files that could not be read are among the errors"]
pub struct Collected {
    /// The files that have capabilities, by their paths.
    pub files: BTreeMap<PathBuf, FileCaps>,
    /// The errors of files and directories that could not be read, in no particular order.
    pub errors: Vec<Error>,
}

impl Collected {
    /// Returns the files.
    ///
    /// # Errors
    ///
    /// The first of the errors: a file or a directory could not be read, and might have capabilities.
    pub fn complete(self) -> Result<BTreeMap<PathBuf, FileCaps>> {
        self.errors.into_iter().next().map_or(Ok(self.files), Err)
    }
}

impl Scan {
    /// Returns the capabilities of `root` and of all files below it.
    ///
    /// The result is in memory, which grows with the number of files that have capabilities or
    /// cannot be read. [`Scan::run`] needs no such memory.
    ///
    /// ```
    /// use rcap::file::Scan;
    ///
    /// for (path, caps) in Scan::default().collect("src").complete()? {
    ///     println!("{} {}", path.display(), rcap::CapState::from(caps));
    /// }
    /// # Ok::<(), rcap::Error>(())
    /// ```
    pub fn collect(&self, root: impl AsRef<Path>) -> Collected {
        let collected = Mutex::new(Collected::default());
        let lock = || collected.lock().unwrap_or_else(PoisonError::into_inner);
        self.walk(root.as_ref(), |entry| {
            match entry.found {
                Found::File(Ok(Some(caps))) => drop(lock().files.insert(entry.path(), caps)),
                Found::File(Err(err)) | Found::Unreadable(err) => lock().errors.push(err),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        collected.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
