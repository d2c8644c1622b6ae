//! The directories in which a service writes, by the writes that a read-only mount refused.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::trace::minimize::Observation;

/// One run of a service with protections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tried {
    /// The failures in words, if the service did not work.
    pub failure: Option<String>,
    /// The directories in which a read-only mount refused a write, if the run was recorded.
    pub unwritable: BTreeSet<PathBuf>,
}

impl Tried {
    /// Judges a run that has to end with `expect`, if it ends, and in which these writes were
    /// refused.
    pub fn of(seen: &Observation, refused_writes: &BTreeSet<PathBuf>, expect: i32) -> Tried {
        let failures = seen.failures(expect);
        let words = failures.iter().map(|failure| failure.with_message(&seen.message));
        let words: Vec<String> = words.collect();
        Tried {
            failure: (!words.is_empty()).then(|| words.join(", and ")),
            unwritable: refused_writes.iter().filter_map(|path| directory(path)).collect(),
        }
    }
}

/// Returns the directory that has to be writable for a change of a file: the nearest one that
/// exists. The root directory is not returned.
fn directory(path: &Path) -> Option<PathBuf> {
    let is_safe = |path: &&Path| {
        let text = path.to_str();
        path.is_absolute() && text.is_some_and(|text| !text.contains(char::is_control))
    };
    let path = Some(path).filter(is_safe)?;
    let found = path.ancestors().find_map(|path| fs::canonicalize(path).ok())?;
    let directory = if found.is_dir() { found } else { found.parent()?.to_owned() };
    // A link can lead to a name that is not safe.
    (directory.parent().is_some() && is_safe(&&*directory)).then_some(directory)
}

/// The value of `ProtectSystem=` with which the directories are read-only that no line names.
pub(super) const STRICT: (&str, &str) = ("ProtectSystem", "strict");

/// Directories of `ReadWritePaths=`, none of which is below another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writable(pub(super) BTreeSet<PathBuf>);

impl Writable {
    /// Adds directories, and returns whether there is a new one.
    pub(super) fn add(&mut self, more: BTreeSet<PathBuf>) -> bool {
        let before = self.0.clone();
        self.0.extend(more);
        let all = self.0.clone();
        let is_below = |path: &PathBuf| path.ancestors().skip(1).any(|above| all.contains(above));
        self.0.retain(|path| !is_below(path));
        self.0 != before
    }

    /// Returns the directories that are read-only with the next weaker value too.
    pub(super) fn of_system(&self) -> Vec<&Path> {
        self.0.iter().map(PathBuf::as_path).filter(|path| is_of_system(path)).collect()
    }

    /// Returns the directories without those of the system, except for some of them.
    pub(super) fn with_system(&self, some: &BTreeSet<&Path>) -> Writable {
        let is_kept = |path: &&PathBuf| !is_of_system(path) || some.contains(path.as_path());
        Writable(self.0.iter().filter(is_kept).cloned().collect())
    }

    /// Returns the line for these protections.
    pub(super) fn line(&self, chosen: &[(&str, &str)]) -> Option<String> {
        let has_own = chosen.contains(&("PrivateTmp", "yes"));
        let is_own = |path: &Path| ["/tmp", "/var/tmp"].iter().any(|own| path.starts_with(own));
        let paths = self.0.iter().filter(|path| !(has_own && is_own(path)));
        let words: Vec<String> = paths.map(|path| word(&path.display().to_string())).collect();
        let is_needed = chosen.contains(&STRICT) && !words.is_empty();
        is_needed.then(|| format!("ReadWritePaths={}", words.join(" ")))
    }
}

/// Returns whether `ProtectSystem=full` makes a directory read-only.
fn is_of_system(path: &Path) -> bool {
    ["/usr", "/boot", "/efi", "/etc"].iter().any(|above| path.starts_with(above))
}

/// Returns a path as one word of a unit. (systemd.syntax(7), systemd.unit(5), "Specifiers")
pub(super) fn word(path: &str) -> String {
    let path = path.replace('%', "%%");
    if !path.contains([' ', '"', '\'', '\\', ';']) {
        return path;
    }
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> BTreeSet<PathBuf> {
        text.split_whitespace().map(PathBuf::from).collect()
    }

    #[test]
    fn directories() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        fs::write(dir.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&dir, dir.join("link")).unwrap();
        for name in ["", "file", "new", "new/file", "link", "link/new", "file/none"] {
            assert_eq!(directory(&dir.join(name)), Some(dir.clone()), "{name}");
        }
        for name in ["/", "/a-new-file", "file", "", "/tmp/a\nb"] {
            assert_eq!(directory(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn fewest() {
        let mut all = Writable::default();
        assert!(all.add(paths("/var/log/a /run")));
        assert!(!all.add(paths("/run/b /var/log/a")));
        assert!(all.add(paths("/var/log /etc/c /varied")));
        assert_eq!(all.0, paths("/run /var/log /etc/c /varied"));
        let system = Path::new("/etc/c");
        assert_eq!(all.of_system(), [system]);
        assert_eq!(all.with_system(&BTreeSet::from([system])), all);
        assert_eq!(all.with_system(&BTreeSet::new()).0, paths("/run /var/log /varied"));
    }

    #[test]
    fn lines() {
        let all = Writable(paths("/run /tmp/x /var/tmp"));
        let strict = [STRICT];
        assert_eq!(all.line(&[]), None);
        assert_eq!(all.line(&strict).as_deref(), Some("ReadWritePaths=/run /tmp/x /var/tmp"));
        let private = [STRICT, ("PrivateTmp", "yes")];
        assert_eq!(all.line(&private).as_deref(), Some("ReadWritePaths=/run"));
        let odd = ["/a b", "/50%", "/a\"b\\c"].map(PathBuf::from);
        let odd = Writable(odd.into_iter().collect()).line(&strict).unwrap();
        assert_eq!(odd, "ReadWritePaths=/50%% \"/a b\" \"/a\\\"b\\\\c\"");
    }
}
