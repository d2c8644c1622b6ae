//! The files of an image, or of the machine.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, File, Metadata},
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat},
    sys::stat::fstat,
};

use super::rules::{Account, Found};

/// A root directory, which is only read.
pub(crate) struct Files {
    root: OwnedFd,
}

/// The most bytes that are read of a file.
const BYTES: u64 = 1 << 20;

impl Files {
    pub(crate) fn new(root: OwnedFd) -> Files {
        Files { root }
    }

    fn open(&self, path: &Path, flags: OFlag) -> Option<OwnedFd> {
        let relative = path.strip_prefix("/").ok()?;
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC);
        openat2(&self.root, relative, how.resolve(ResolveFlag::RESOLVE_IN_ROOT)).ok()
    }

    /// Returns the facts about a file, at the end of all symbolic links.
    pub(crate) fn find(&self, path: &Path) -> Option<Found> {
        let stat = fstat(self.open(path, OFlag::O_PATH)?).ok()?;
        Some(Found {
            is_directory: stat.st_mode & libc::S_IFMT == libc::S_IFDIR,
            owner: stat.st_uid,
            group: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        })
    }

    /// Returns whether root owns everything below a directory, and no other user can write to it. With
    /// very many files, it does not.
    pub(crate) fn is_all_of_root(&self, path: &Path) -> bool {
        const MANY: usize = 10_000;
        let is_of_root = |metadata: &Metadata| {
            // The mode of a symbolic link has no meaning.
            metadata.uid() == 0 && (metadata.is_symlink() || metadata.mode() & 0o022 == 0)
        };
        let mut directories = vec![path.to_owned()];
        let mut left = MANY;
        while let Some(path) = directories.pop() {
            let opened = self.open(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map(File::from);
            let Some(directory) =
                opened.filter(|file| file.metadata().is_ok_and(|it| is_of_root(&it)))
            else {
                return false;
            };
            let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
            let Ok(entries) = fs::read_dir(link) else { return false };
            for entry in entries {
                let Ok(entry) = entry else { return false };
                let metadata = entry.metadata();
                if left == 0 || !metadata.as_ref().is_ok_and(is_of_root) {
                    return false;
                }
                left -= 1;
                if metadata.is_ok_and(|metadata| metadata.is_dir()) {
                    directories.push(path.join(entry.file_name()));
                }
            }
        }
        true
    }

    /// Returns a path without symbolic links, as far as it exists in the image.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        const LINKS: usize = 40;
        let mut left: VecDeque<OsString> = parts(path).collect();
        let mut done = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                done.pop();
                continue;
            }
            let at = done.join(&part);
            let relative = at.strip_prefix("/").unwrap_or(&at);
            match readlinkat(&self.root, relative) {
                Ok(target) if links < LINKS => {
                    links += 1;
                    if Path::new(&target).is_absolute() {
                        done = PathBuf::from("/");
                    }
                    for part in parts(Path::new(&target)).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(part);
                    }
                }
                _ => done = at,
            }
        }
        done
    }

    /// Returns the first bytes of a file as text.
    pub(crate) fn read(&self, path: &Path) -> Option<String> {
        let file = File::from(self.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        let mut bytes = Vec::new();
        file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        file.take(BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the user with this name or number.
    pub(crate) fn account(&self, user: &str) -> Account {
        let passwd = self.read(Path::new("/etc/passwd")).unwrap_or_default();
        account(user, &passwd)
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// Returns the account that an engine gives to `USER[:GROUP]`. A number without an entry has the
/// group 0. (github.com/moby/sys, user/user.go)
fn account(user: &str, passwd: &str) -> Account {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, group.parse().ok()),
        None => (user, None),
    };
    let entries = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        Some((name, uid, gid))
    });
    let entry = { entries }.find(|(name, uid, _)| *name == user || user.parse() == Ok(*uid));
    let uid = entry.map(|(_, uid, _)| uid).or_else(|| user.parse().ok()).unwrap_or_default();
    let gid = group.or(entry.map(|(_, _, gid)| gid)).unwrap_or_default();
    Account { name: entry.map(|(name, ..)| name.to_owned()), uid, gid }
}

/// Returns the variables of a shell script by which a step that only root can do is skipped, such as
/// `SKIP_DROP_PRIVS`.
pub(crate) fn variables(script: &str) -> Vec<String> {
    const SKIP: [&str; 4] = ["SKIP", "NO", "DISABLE", "WITHOUT"];
    const STEP: [&str; 10] = [
        "CHOWN",
        "CHMOD",
        "PERM",
        "PERMS",
        "PERMISSIONS",
        "PRIV",
        "PRIVS",
        "PRIVILEGES",
        "ROOT",
        "USER",
    ];
    if !script.starts_with("#!") {
        return Vec::new();
    }
    let is_name = |char: char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_';
    let mut found: Vec<String> = Vec::new();
    for part in script.split('$').skip(1) {
        let part = part.strip_prefix('{').unwrap_or(part);
        let name = &part[..part.find(|char| !is_name(char)).unwrap_or(part.len())];
        let words: Vec<&str> = name.split('_').collect();
        let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
        if has(&SKIP) && has(&STEP) && !found.iter().any(|one| one == name) {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn accounts() {
        let passwd = "root:x:0:0::/root:/bin/sh\nwww-data:x:33:34:w:/:/n\nbad:x:y:1\n";
        let rows = [
            ("www-data", Some("www-data"), 33, 34),
            ("33", Some("www-data"), 33, 34),
            ("33:5", Some("www-data"), 33, 5),
            ("1000", None, 1000, 0),
            ("1000:7", None, 1000, 7),
            ("bad", None, 0, 0),
        ];
        for (user, name, uid, gid) in rows {
            let want = Account { name: name.map(str::to_owned), uid, gid };
            assert_eq!(account(user, passwd), want, "{user}");
        }
    }

    #[test]
    fn variables_of_an_entrypoint() {
        let script = "#!/bin/sh\nif [ -z \"${SKIP_FIX_PERMS:-}\" ] && [ \"$SKIP_DROP_PRIVS\" ]\n\
                      then echo $NOTHING $USER ${SKIP_FIX_PERMS} $NO_COLOR; fi $";
        assert_eq!(variables(script), ["SKIP_FIX_PERMS", "SKIP_DROP_PRIVS"]);
        assert_eq!(variables("\x7fELF $SKIP_CHOWN"), [""; 0]);
    }

    #[test]
    fn links_stay_in_the_root_directory() {
        let dir = std::env::temp_dir().join(format!("rcap-files-{}", std::process::id()));
        fs::create_dir_all(dir.join("run/lock")).unwrap();
        fs::create_dir_all(dir.join("var")).unwrap();
        symlink("/run", dir.join("var/run")).unwrap();
        symlink("../../../run/lock", dir.join("var/lock")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let files = Files::new(fs::File::open(&dir).unwrap().into());
        let resolved = |path: &str| files.resolve(Path::new(path)).to_string_lossy().into_owned();
        assert_eq!(resolved("/var/run/x/y.pid"), "/run/x/y.pid");
        assert_eq!(resolved("/var/lock/../a"), "/run/a");
        assert_eq!(resolved("/loop/x"), "/loop/x");
        assert_eq!(resolved("/../none"), "/none");
        assert!(files.find(Path::new("/var/lock")).unwrap().is_directory);
        assert!(files.find(Path::new("/")).unwrap().is_directory);
        assert_eq!(files.find(Path::new("/none")), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
