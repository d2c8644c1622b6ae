//! Units of systemd by their names, found where the system manager finds them. (systemd.unit(5),
//! "Unit File Load Path")

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::input::{self, Unread};

/// The directories of the system manager, the first of which wins.
pub(super) const DIRECTORIES: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// Returns the name of a service, with the suffix that systemctl(1) adds.
pub(super) fn full_name(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{name}.service") }
}

/// Returns the text of a unit with its drop-in files, as `systemctl cat` prints it.
pub(super) fn text(name: &str, directories: &[&Path]) -> Result<String, Unread> {
    let template = template(name);
    let names = std::iter::once(name.to_owned()).chain(template);
    let found = names.into_iter().find_map(|name| {
        let path = directories.iter().map(|dir| dir.join(&name)).find(|path| is_there(path))?;
        Some((name, path))
    });
    let missing = || Unread::Os(std::io::ErrorKind::NotFound.into());
    let (_, path) = found.ok_or_else(missing)?;
    // An alias is a link to a unit of another name, whose drop-in files count too.
    let target = fs::canonicalize(&path)?;
    if target == Path::new("/dev/null") {
        return Err(Unread::Kind("masked"));
    }
    let alias = target.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut text = input::text(&mut input::open(&target)?)?;
    let own = [Some(name.to_owned()), alias.filter(|alias| alias != name)];
    let mut files = BTreeMap::new();
    for directory in directories {
        for name in own.iter().flatten().flat_map(|name| drop_in_names(name)) {
            collect(&directory.join(format!("{name}.d")), &mut files);
        }
    }
    append(&mut text, files)?;
    Ok(text)
}

/// Appends the drop-in files in the directory beside a unit.
pub(super) fn with_drop_ins(text: &mut String, unit: &Path) -> Result<(), Unread> {
    let mut directory = unit.as_os_str().to_owned();
    directory.push(".d");
    let mut files = BTreeMap::new();
    collect(Path::new(&directory), &mut files);
    append(text, files)
}

/// Appends files in the order of their names. Each begins outside of every section.
fn append(text: &mut String, files: BTreeMap<String, PathBuf>) -> Result<(), Unread> {
    for path in files.into_values() {
        if fs::canonicalize(&path).is_ok_and(|target| target == Path::new("/dev/null")) {
            continue;
        }
        text.push_str("\n[Unit]\n");
        text.push_str(&input::text(&mut input::open(&path)?)?);
    }
    Ok(())
}

/// Adds the drop-in files of a directory whose names are not there yet.
fn collect(directory: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|end| end == "conf") && !name.starts_with('.') {
            files.entry(name).or_insert_with(|| entry.path());
        }
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Returns the name of the template of an instance, such as `a@.service` of `a@b.service`.
fn template(name: &str) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

/// Returns the names whose drop-in directories a unit has, the most specific first: its own, that
/// of its template, those of the parts of its name before a dash, and that of its type.
fn drop_in_names(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    names.extend(template(name));
    let Some((stem, suffix)) = name.rsplit_once('.') else { return names };
    let prefix = stem.split('@').next().unwrap_or(stem);
    let dashes = prefix.char_indices().rev().filter(|(_, char)| *char == '-');
    names.extend(dashes.map(|(at, _)| format!("{}.{suffix}", &prefix[..=at])));
    names.push(suffix.to_owned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            drop_in_names("a-b@c.service"),
            ["a-b@c.service", "a-b@.service", "a-.service", "service"]
        );
        assert_eq!(full_name("cron"), "cron.service");
    }

    #[test]
    fn found_as_systemd_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let [etc, lib] = ["etc", "lib"].map(|name| dir.path().join(name));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(lib.join("a.service"), "lib");
        write(etc.join("a.service"), "etc");
        write(lib.join("t@.service"), "template");
        write(lib.join("a.service.d/10.conf"), "ten");
        write(etc.join("a.service.d/10.conf"), "ten of etc");
        write(etc.join("service.d/20.conf"), "twenty");
        write(lib.join("a.service.d/30.conf"), "thirty");
        write(lib.join("a.service.d/not"), "not");
        std::os::unix::fs::symlink("/dev/null", etc.join("a.service.d/30.conf")).unwrap();
        std::os::unix::fs::symlink("/dev/null", etc.join("m.service")).unwrap();
        std::os::unix::fs::symlink("../lib/a.service", etc.join("alias.service")).unwrap();
        let directories = [&*etc, &*lib];
        let text = |name: &str| text(name, &directories).map_err(|err| err.to_string());
        let with = "etc\n[Unit]\nten of etc\n[Unit]\ntwenty";
        assert_eq!(text("a.service").as_deref(), Ok(with));
        assert_eq!(text("t@x.service").as_deref(), Ok("template\n[Unit]\ntwenty"));
        assert_eq!(text("alias.service").as_deref(), Ok("lib\n[Unit]\nten of etc\n[Unit]\ntwenty"));
        assert!(text("m.service").unwrap_err().contains("masked"));
        assert!(text("none.service").unwrap_err().contains("no such file"));
    }
}
