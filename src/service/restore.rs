//! The restoration of a unit: the script that systemd runs, and the lock of the directory in which
//! the settings of a run are.

use std::{
    fmt::Write,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    Facts, Failed,
    copies::Copies,
    scratch::{directories, is_scratch},
};
use crate::settings::shell_word;

/// The drop-in file of a run. Its name sorts after those that people use, because the last file
/// wins.
pub(super) const DROP_IN: &str = "zz-rcap-trial.conf";
/// The same file while the unit is being restored.
pub(super) const UNDO: &str = "zz-rcap-trial.undo";
/// A copy of the drop-in file that [`Session::write`] replaces, until the unit works with the new
/// one; or an empty file if there was none.
pub(super) const FORMER: [&str; 2] = ["zz-rcap-trial.former", "zz-rcap-trial.none"];

/// The directory of the unit's drop-in files, which is locked.
pub(super) struct Place {
    pub(super) directory: PathBuf,
    _lock: Flock<File>,
}

impl Place {
    /// Locks the directory of a unit's drop-in files.
    pub(super) fn lock(unit: &Facts) -> Result<Place, Failed> {
        let parent = unit.manager().runtime_directory()?;
        let directory = parent.join(format!("{}.d", unit.id()));
        let failed = |err: io::Error| Failed::Unfit(format!("{}: {err}", directory.display()));
        loop {
            // Not every user has the directory of the user's units.
            match fs::create_dir_all(&parent).and_then(|()| fs::create_dir(&directory)) {
                Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(failed(err)),
                _ => {}
            }
            let file = File::open(&directory).map_err(failed)?;
            let own = file.metadata().map_err(failed)?;
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    nix::errno::Errno::EWOULDBLOCK => {
                        Failed::Unfit("another rcap is measuring it".to_owned())
                    }
                    errno => failed(errno.into()),
                },
            )?;
            // The session that had it may have removed the directory.
            let is_same = |there: fs::Metadata| {
                (there.dev(), there.ino()) == (own.dev(), own.ino()) && there.is_dir()
            };
            if fs::symlink_metadata(&directory).is_ok_and(is_same) {
                return Ok(Place { directory, _lock: lock });
            }
        }
    }
}

/// Returns the name of the timer and of the service that restore a unit, without the suffix.
pub(super) fn restorer(id: &str) -> String {
    // A name with an at sign is that of an instance.
    format!("rcap-restore-{}", id.trim_end_matches(".service").replace('@', "\\x40"))
}

/// Restores a unit by the service that the timer starts, and removes the timer.
///
/// # Errors
///
/// systemctl(1) fails, and the timer will try again; or everything is restored, and the unit does
/// not run.
pub(super) fn restore(unit: &Facts, directory: &Path) -> Result<(), Failed> {
    let (name, manager) = (restorer(unit.id()), unit.manager());
    let service = format!("{name}.service");
    let restored = manager.systemctl(&["start", "--", &service]);
    let is_left = [DROP_IN, UNDO].iter().any(|file| directory.join(file).exists());
    if restored.is_err() && is_left {
        return restored.map(drop);
    }
    manager.systemctl(&["stop", "--", &format!("{name}.timer")])?;
    if restored.is_err() {
        let _ = manager.systemctl(&["reset-failed", "--", &service]);
        let words = "it does not run with its own settings: `systemctl status` says why";
        return Err(Failed::Unfit(words.to_owned()));
    }
    Ok(())
}

/// Restores what a session has left whose process was killed. Returns whether there was something.
pub(super) fn restore_former(unit: &Facts, directory: &Path) -> Result<bool, Failed> {
    let (name, manager) = (restorer(unit.id()), unit.manager());
    let is_loaded = |suffix: &str| {
        let facts = Facts::of(manager, &format!("{name}.{suffix}"));
        facts.map(|facts| facts.get("LoadState") == "loaded")
    };
    let is_left = |name: &str| directory.join(name).exists();
    let has_timer = is_loaded("timer")?;
    if has_timer {
        restore(unit, directory)?;
    } else if is_left(DROP_IN) || is_left(UNDO) {
        let path = directory.join(DROP_IN);
        let words = "is left from an earlier run, without the timer that restores the unit: remove \
                     it, run `systemctl daemon-reload`, and restart the unit";
        return Err(Failed::Unfit(format!("{} {words}", path.display())));
    }
    if is_loaded("service")? {
        // One that has failed would keep its name.
        let _ = manager.systemctl(&["reset-failed", "--", &format!("{name}.service")]);
    }
    Ok(has_timer)
}

/// Returns the shell script that restores a unit. It does nothing without a drop-in file, and
/// goes on if it was interrupted. It has no dollar signs, which systemd would expand, and no
/// semicolons: systemd 252 escapes them in its own file, and then reads the backslash too.
pub(super) fn script(
    before: &Facts,
    is_up: bool,
    dependents: &[String],
    directory: &Path,
    file: &Path,
) -> String {
    let directory = shell_word(&directory.display().to_string());
    let systemctl = format!("systemctl {}", before.manager().option());
    let id = shell_word(before.id());
    let [former, none] = FORMER;
    let file_directory = file.parent().unwrap_or(file).display().to_string();
    let file_directory = shell_word(&file_directory);
    let file = shell_word(&file.display().to_string());
    let mut script = format!(
        "cd {directory} 2>/dev/null || exit 0\n\
         [ -e {DROP_IN} ] && mv -f {DROP_IN} {UNDO}\n\
         [ -e {UNDO} ] || exit 0\n\
         [ -e {former} ] && mv -f {former} {file}\n\
         [ -e {none} ] && rm -f {file} {none}\n\
         rmdir {file_directory} 2>/dev/null\n\
         {systemctl} daemon-reload\n\
         {systemctl} reset-failed -- {id} 2>/dev/null\n"
    );
    let _ = writeln!(script, "{systemctl} stop -- {id}");
    let _ = writeln!(script, "{systemctl} stop -- '{}' 2>/dev/null", slices());
    // The unit finds none of the files that were created for copies.
    script.push_str(&Copies::removal(before.id()));
    if is_up {
        let _ = writeln!(script, "{systemctl} start -- {id}");
        if !dependents.is_empty() {
            let names: Vec<String> = dependents.iter().map(|name| shell_word(name)).collect();
            let _ = writeln!(script, "{systemctl} start -- {}", names.join(" "));
        }
    }
    if is_scratch(before.id()) {
        let path = shell_word(before.get("FragmentPath"));
        let own = directories(before.id());
        let own: Vec<String> =
            own.iter().map(|path| shell_word(&path.display().to_string())).collect();
        let _ =
            writeln!(script, "rm -f {path}\nrm -rf {}\n{systemctl} daemon-reload", own.join(" "));
    }
    let _ = writeln!(script, "rm -f {UNDO}\ncd /\nrmdir {directory} 2>/dev/null");
    let is_active = format!("{systemctl} is-active -- {id}");
    let end = match before.get("Type") {
        _ if !is_up => "true".to_owned(),
        // It may have ended well.
        "oneshot" => format!("{is_active} || [ `{is_active}` = inactive ]"),
        _ => is_active,
    };
    script + &end
}

/// Returns the pattern of the names of these slices.
pub(super) fn slices() -> String {
    format!("rcap{}n*.slice", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts() {
        let facts =
            |state: &str| Facts::parse(&format!("Id=a\\x2db@c.service\nActiveState={state}\n"));
        let up = script(
            &facts("active"),
            true,
            &["b.service".to_owned()],
            Path::new("/run/d"),
            Path::new("/e"),
        );
        let down = script(
            &facts("failed"),
            false,
            &["b.service".to_owned()],
            Path::new("/run/d"),
            Path::new("/e"),
        );
        assert!(
            up.contains("systemctl --system start -- 'a\\x2db@c.service'\nsystemctl --system start -- b.service\n")
        );
        assert!(
            down.contains(
                "systemctl --system stop -- 'a\\x2db@c.service'\nsystemctl --system stop -- 'rcap"
            ),
            "{down}"
        );
        let at = |text: &str| up.find(text).unwrap();
        assert!(
            at(" stop -- 'a\\x2d") < at("rm -rf") && at("rm -rf") < at(" start -- 'a\\x2d"),
            "{up}"
        );
        assert!(!(up.clone() + &down).contains(['$', ';']));
        assert_eq!(restorer("a@c.service"), "rcap-restore-a\\x40c");
    }
}
