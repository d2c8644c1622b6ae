//! The drop-in file that keeps settings of a unit. (systemd.unit(5))

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{Facts, Failed, protection::LISTS};

/// The first line of every file that rcap has written.
const HEADER: &str = "# Written by rcap.";
/// A longer file is not one of rcap's.
const LONGEST: u64 = 64 * 1024;

/// A drop-in file below /etc/systemd/system, or below ~/.config/systemd/user, that rcap writes and
/// removes. It never changes a file that someone else has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    path: PathBuf,
}

impl DropIn {
    /// The name of the file.
    pub const FILE: &str = "50-rcap.conf";

    /// Returns the file with this name for a unit.
    ///
    /// # Errors
    ///
    /// The name cannot be that of a drop-in file, or the user's directory is not known.
    pub fn new(unit: &Facts, file: &str) -> Result<DropIn, Failed> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if Path::new(file).extension().is_none_or(|end| end != "conf")
            || file.starts_with('.')
            || !file.bytes().all(is_plain)
        {
            return Err(Failed::Unfit(format!("{file}: not the name of a drop-in file")));
        }
        let directory = unit.manager().directory()?.join(format!("{}.d", unit.id()));
        Ok(DropIn { path: directory.join(file) })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the text of the file with these lines of the section `[Service]`.
    ///
    /// # Errors
    ///
    /// A line that is not an assignment.
    pub fn text(settings: &[String]) -> Result<String, Failed> {
        Ok(format!("{HEADER}\n[Service]\n{}", section_lines(settings)?))
    }

    /// Returns these settings after those of the file that is there and that they do not replace.
    /// A file with the result is never weaker than the file that is there.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or rcap has not written it.
    pub fn with_kept(&self, settings: &[String]) -> Result<Vec<String>, Failed> {
        Ok(with_kept(&self.read()?.unwrap_or_default(), settings))
    }

    fn failed(&self, err: &io::Error) -> Failed {
        Failed::Unfit(format!("{}: {err}", self.path.display()))
    }

    /// Returns the text of the file that is there.
    ///
    /// # Errors
    ///
    /// It cannot be read, or rcap has not written it.
    pub fn read(&self) -> Result<Option<String>, Failed> {
        let read = || -> io::Result<Option<String>> {
            let stat = match fs::symlink_metadata(&self.path) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
                stat => stat?,
            };
            let is_own = stat.is_file() && stat.len() <= LONGEST;
            let text = if is_own { fs::read_to_string(&self.path)? } else { String::new() };
            if text.starts_with(HEADER) {
                Ok(Some(text))
            } else {
                Err(io::Error::other("it was not written by rcap, which does not change it"))
            }
        };
        read().map_err(|err| self.failed(&err))
    }

    /// Writes the file. systemd does not read it yet.
    pub(super) fn write(&self, settings: &[String]) -> Result<(), Failed> {
        let text = DropIn::text(settings)?;
        let written = self.path.parent().map_or(Ok(()), fs::create_dir_all);
        written.and_then(|()| write(&self.path, &text)).map_err(|err| self.failed(&err))
    }

    /// Returns an error if systemd does not read the file, or reads one of these settings again after
    /// it.
    pub(super) fn must_win(&self, unit: &Facts, settings: &[String]) -> Result<(), Failed> {
        let own = self.path.display();
        let drop_ins = unit.drop_ins();
        let Some(at) = drop_ins.iter().position(|path| *path == self.path) else {
            return Err(Failed::Unfit(format!("systemd does not read {own}")));
        };
        let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
        let keys: Vec<String> = settings.iter().filter_map(|line| key(line)).collect();
        for path in &drop_ins[at + 1..] {
            let text = fs::read_to_string(path).map_err(|err| self.failed(&err))?;
            if let Some(key) = text.lines().filter_map(key).find(|key| keys.contains(key)) {
                let path = path.display();
                let words = format!("{path} sets {key} again after {own}: remove it from there");
                return Err(Failed::Unfit(words));
            }
        }
        Ok(())
    }

    /// Removes the file, makes systemd forget its settings, and restarts the unit if it is running.
    /// Returns whether there was a file.
    ///
    /// # Errors
    ///
    /// The file is not rcap's or cannot be removed, or systemctl(1) fails.
    pub fn undo(&self, unit: &Facts) -> Result<bool, Failed> {
        if self.read()?.is_none() {
            return Ok(false);
        }
        fs::remove_file(&self.path).map_err(|err| self.failed(&err))?;
        if let Some(directory) = self.path.parent() {
            // Other files may be in it.
            let _ = fs::remove_dir(directory);
        }
        unit.manager().systemctl(&["daemon-reload"])?;
        if unit.activity().is_up() {
            unit.manager().systemctl(&["restart", "--", unit.id()])?;
        }
        Ok(true)
    }
}

/// Returns the lines of a file that the settings do not replace, and then the settings.
fn with_kept(text: &str, settings: &[String]) -> Vec<String> {
    let key = |line: &str| line.split_once('=').map(|(key, _)| key.to_owned());
    let replaced: Vec<String> = settings.iter().filter_map(|line| key(line)).collect();
    let is_kept = |line: &&str| {
        let adds_up = |key: &String| LISTS.contains(&key.as_str()) || key == "SupplementaryGroups";
        let is_kept = |key: String| !replaced.contains(&key) || adds_up(&key);
        key(line).is_some_and(is_kept) && !settings.iter().any(|own| own == line)
    };
    let kept = text.lines().filter(is_kept).map(str::to_owned);
    kept.chain(settings.iter().cloned()).collect()
}

/// Returns lines of the section `[Service]`.
pub(super) fn section_lines(settings: &[String]) -> Result<String, Failed> {
    let mut text = String::new();
    for line in settings {
        let is_line = line.contains('=')
            && !line.starts_with('[')
            && !line.ends_with('\\')
            && !line.contains(char::is_control);
        if !is_line {
            let words = format!("not a line of the section [Service]: {line:?}");
            return Err(Failed::Unfit(words));
        }
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

/// Writes a new file, and renames it into place. systemd lets every user read a unit.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_section() {
        #[rustfmt::skip]
        let rows = [
            ("ProtectHome=yes",        true),
            ("CapabilityBoundingSet=", true),
            ("",                       false),
            ("[Unit]",                 false),
            ("[x]=y",                  false),
            ("A=b\\",                  false),
            ("A=b\nC=d",               false),
        ];
        for (line, want) in rows {
            assert_eq!(section_lines(&[line.to_owned()]).is_ok(), want, "{line}");
        }
    }

    #[test]
    fn lines_that_are_kept() {
        let text = "# Written by rcap.\n[Service]\nA=1\nSystemCallFilter=a\nB=2\n";
        #[rustfmt::skip]
        let rows: [(&[&str], &[&str]); 4] = [
            (&[],                           &["A=1", "SystemCallFilter=a", "B=2"]),
            (&["B=3", "A=", "A=4"],         &["SystemCallFilter=a", "B=3", "A=", "A=4"]),
            (&["SystemCallFilter=a", "C=5"], &["A=1", "B=2", "SystemCallFilter=a", "C=5"]),
            (&["SystemCallFilter=~b"],      &["A=1", "SystemCallFilter=a", "B=2", "SystemCallFilter=~b"]),
        ];
        for (settings, want) in rows {
            let settings: Vec<String> = settings.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(with_kept(text, &settings), want, "{settings:?}");
        }
        // The runs had the groups of both.
        let groups = ["SupplementaryGroups=a", "SupplementaryGroups=b"].map(str::to_owned);
        assert_eq!(with_kept(&groups[0], &groups[1..]), groups);
    }

    #[test]
    fn names() {
        #[rustfmt::skip]
        let rows = [
            ("50-rcap.conf", true),
            ("a/b.conf",     false),
            (".conf",        false),
            ("a.txt",        false),
        ];
        for (name, want) in rows {
            let unit = Facts::parse("Id=a.service\n");
            assert_eq!(DropIn::new(&unit, name).is_ok(), want, "{name}");
        }
    }
}
