//! The package of a file, by the databases of dpkg and rpm and their own tools.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Sources, files::below, unread, users::read_below};
use crate::{
    CapState,
    scan::{Expected, Inventory, Package, PrivilegedFile},
};

pub(super) fn gather(sources: &Sources, inventory: &mut Inventory) {
    let root = sources.root.as_deref().unwrap_or(Path::new("/"));
    expected(root, sources, inventory);
    let is_dpkg = root.join("var/lib/dpkg/status").exists();
    let is_rpm = ["var/lib/rpm", "usr/lib/sysimage/rpm"].iter().any(|dir| root.join(dir).exists());
    let answer = match (is_dpkg, is_rpm) {
        (true, _) => ask_dpkg(root, &mut inventory.files),
        (false, true) => ask_rpm(root, &mut inventory.files),
        (false, false) => Err(io::Error::other("neither dpkg nor rpm has a database here")),
    };
    if let Err(err) = answer {
        inventory.unread.push(unread("packages", &err));
    }
}

/// Runs a package manager's tool, and returns what it printed, whatever its exit status: it fails
/// for a file that it does not know, and for one that differs.
fn output(command: &mut Command) -> io::Result<Vec<u8>> {
    let command = command.env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null());
    Ok(command.output()?.stdout)
}

/// How many paths one command line gets.
const AT_ONCE: usize = 500;

fn ask_dpkg(root: &Path, files: &mut [PrivilegedFile]) -> io::Result<()> {
    let mut owners: BTreeMap<PathBuf, String> = BTreeMap::new();
    // The database has the names from before /usr was merged, or those from after it.
    let names: Vec<PathBuf> = files.iter().flat_map(|file| aliases(&file.path)).collect();
    for names in names.chunks(AT_ONCE) {
        let mut command = tool("dpkg-query", root);
        owners.extend(parse_owners(&output(command.arg("--search").arg("--").args(names))?));
    }
    let packages: BTreeSet<&String> = owners.values().collect();
    let mut modified = BTreeSet::new();
    for packages in packages.iter().collect::<Vec<_>>().chunks(AT_ONCE) {
        let mut command = tool("dpkg", root);
        let command =
            command.arg("--verify").arg("--").args(packages.iter().map(|name| name.as_str()));
        modified.extend(parse_verify(&output(command)?));
    }
    for file in files {
        let names = aliases(&file.path);
        let owner = names.iter().find_map(|name| owners.get(name));
        file.package = Some(match owner {
            None => Package::None,
            Some(name) if names.iter().any(|name| modified.contains(name)) => {
                Package::Modified(name.clone())
            }
            Some(name) => Package::Intact(name.clone()),
        });
    }
    Ok(())
}

/// Returns the command for a tool of dpkg on the database below `root`.
fn tool(name: &str, root: &Path) -> Command {
    let mut command = crate::launch::helper(name);
    if root != Path::new("/") {
        let mut option = OsString::from(if name == "dpkg" { "--root=" } else { "--admindir=" });
        option.push(if name == "dpkg" { root.to_owned() } else { root.join("var/lib/dpkg") });
        command.arg(option);
    }
    command
}

/// Returns the names that a file has in the database: with and without `/usr`.
fn aliases(path: &Path) -> Vec<PathBuf> {
    let mut names = vec![path.to_owned()];
    if let Ok(rest) = path.strip_prefix("/usr")
        && ["bin", "sbin", "lib"].iter().any(|top| rest.starts_with(top))
    {
        names.push(Path::new("/").join(rest));
    }
    names
}

fn lines(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

/// Returns the package of each file in what `dpkg-query --search` prints: `one, two: /path`.
fn parse_owners(printed: &[u8]) -> BTreeMap<PathBuf, String> {
    let owner = |line: &[u8]| {
        let at = line.windows(3).position(|part| part == b": /")?;
        let packages = str::from_utf8(&line[..at]).ok()?;
        let first = packages.split(", ").next()?;
        // A line about a diversion names no package in this place.
        let is_name = !first.contains(' ');
        is_name.then(|| (path(&line[at + 2..]), first.to_owned()))
    };
    lines(printed).filter_map(owner).collect()
}

/// Returns the files in what `dpkg --verify` and `rpm --verify` print: nine characters of which
/// one is not a dot or a question mark where a check failed, an optional type, and the path.
fn parse_verify(printed: &[u8]) -> BTreeSet<PathBuf> {
    let modified = |line: &[u8]| {
        let (checks, rest) = line.split_at_checked(9)?;
        let at = rest.iter().position(|&byte| byte == b'/')?;
        let failed = checks != b"missing  " && checks.iter().any(u8::is_ascii_alphanumeric);
        // The kind of the file, such as c for a configuration file.
        let between = rest[..at].iter().filter(|byte| **byte != b' ').count();
        // P is a capability that differs, T a time alone.
        let is_time = checks.iter().all(|byte| matches!(byte, b'T' | b'.' | b'?'));
        (failed && !is_time && between <= 1).then(|| path(&rest[at..]))
    };
    lines(printed).filter_map(modified).collect()
}

fn ask_rpm(root: &Path, files: &mut [PrivilegedFile]) -> io::Result<()> {
    let rpm = || {
        let mut command = crate::launch::helper("rpm");
        if root != Path::new("/") {
            command.arg("--root").arg(root);
        }
        command
    };
    for file in files {
        let mut command = rpm();
        let command = command.args(["--query", "--queryformat", "%{NAME}\n", "--file"]);
        let printed = output(command.arg(&file.path))?;
        let first = lines(&printed).next().and_then(|line| str::from_utf8(line).ok());
        let Some(name) = first.filter(|name| !name.contains(' ')) else {
            file.package = Some(Package::None);
            continue;
        };
        let modified = parse_verify(&output(rpm().arg("--verify").arg("--nodeps").arg(name))?);
        file.package = Some(if modified.contains(&file.path) {
            Package::Modified(name.to_owned())
        } else {
            Package::Intact(name.to_owned())
        });
    }
    Ok(())
}

/// Adds the files among those that are searched that the script of a package gives capabilities,
/// and that have none and no set-user-ID bit in their place.
fn expected(root: &Path, sources: &Sources, inventory: &mut Inventory) {
    let Ok(entries) = fs::read_dir(root.join("var/lib/dpkg/info")) else { return };
    let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| name.as_bytes().ends_with(b".postinst"));
    names.sort();
    let searched: Vec<PathBuf> =
        sources.paths.iter().filter_map(|path| fs::canonicalize(below(root, path)).ok()).collect();
    for name in &names {
        let Some(name) = name.to_str() else { continue };
        let text = read_below(root, &format!("var/lib/dpkg/info/{name}")).unwrap_or_default();
        if !text.contains("setcap") {
            continue;
        }
        let package = name.trim_end_matches(".postinst");
        for (caps, path) in parse_script(&text) {
            let Ok(real) = fs::canonicalize(below(root, Path::new(&path))) else { continue };
            if searched.iter().any(|top| real.starts_with(top)) && has_none(&real) {
                let package = package.to_owned();
                inventory.expected.push(Expected { path: path.into(), text: caps, package });
            }
        }
    }
}

/// Returns whether a file has neither capabilities nor a set-user-ID bit.
fn has_none(path: &Path) -> bool {
    let stat = fs::symlink_metadata(path);
    let is_plain = stat.is_ok_and(|stat| stat.is_file() && stat.mode() & 0o4000 == 0);
    is_plain && crate::file::read(path).is_ok_and(|caps| caps.is_none())
}

/// Returns the capabilities and the paths that a shell script gives to setcap, where both can be
/// read without running it: a path as it is, or in a variable that is set once.
fn parse_script(text: &str) -> Vec<(String, String)> {
    let mut variables: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found = Vec::new();
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=')
            && is_name(name)
        {
            // PROGRAM=$(dpkg-divert --truename /bin/ping)
            let is_end = |char: char| " \"')`;".contains(char);
            if let Some(at) = value.find('/')
                && (at == 0 || value[..at].ends_with(is_end))
            {
                variables.insert(name, value[at..].split(is_end).next().unwrap_or_default());
            }
            continue;
        }
        let mut words = line
            .split([' ', '\t', ';', '(', ')', '&', '|'])
            .map(|word| word.trim_matches(['"', '\'']))
            .filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            if word.rsplit('/').next() != Some("setcap") {
                continue;
            }
            let mut rest = words.clone().filter(|word| !word.starts_with('-'));
            let (Some(caps), Some(path)) = (rest.next(), rest.next()) else { continue };
            let variable = path.strip_prefix('$').map(|name| name.trim_matches(['{', '}']));
            let path = variable.and_then(|name| variables.get(name)).unwrap_or(&path);
            if caps.parse::<CapState>().is_ok() && path.starts_with('/') {
                found.push((caps.to_owned(), (*path).to_owned()));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts() {
        #[rustfmt::skip]
        let rows: &[(&str, &[(&str, &str)])] = &[
            ("PROGRAM=$(dpkg-divert --truename /bin/ping)\n if command -v setcap > /dev/null; then\n\
              if setcap cap_net_raw+ep $PROGRAM; then\n chmod u-s $PROGRAM\n",
             &[("cap_net_raw+ep", "/bin/ping")]),
            ("setcap cap_net_raw,cap_net_admin=eip /usr/bin/dumpcap",
             &[("cap_net_raw,cap_net_admin=eip", "/usr/bin/dumpcap")]),
            ("if ! /sbin/setcap -q 'cap_net_raw+ep' \"${PROG}\"; then", &[]),
            ("PROG=/usr/bin/x\nif ! /sbin/setcap -q 'cap_net_raw+ep' \"${PROG}\"; then",
             &[("cap_net_raw+ep", "/usr/bin/x")]),
            ("# setcap cap_net_raw+ep /bin/ping", &[]),
            ("setcap -r /bin/ping", &[]),
            ("setcap $CAPS /bin/ping", &[]),
            ("echo setcap", &[]),
        ];
        for (text, want) in rows {
            let want: Vec<_> =
                want.iter().map(|(caps, path)| ((*caps).to_owned(), (*path).to_owned())).collect();
            assert_eq!(parse_script(text), want, "{text}");
        }
    }

    #[test]
    fn what_the_tools_print() {
        let owners = parse_owners(
            b"iputils-ping: /bin/ping\na, b:amd64: /etc/x y\n\
              diversion by dash from: /bin/sh\ndiversion by dash to: /bin/sh.distrib\n",
        );
        let owner = |path: &str| owners.get(Path::new(path)).map(String::as_str);
        assert_eq!(owner("/bin/ping"), Some("iputils-ping"));
        assert_eq!(owner("/etc/x y"), Some("a"));
        assert_eq!(owners.len(), 2);
        let modified = parse_verify(
            b"??5?????? c /etc/a\n??5??????   /bin/x y\n.......T.    /bin/t\nmissing     /bin/gone\n\
              .M.......    /bin/mode\n........P    /bin/caps\n",
        );
        let want = ["/bin/caps", "/bin/mode", "/bin/x y", "/etc/a"].map(PathBuf::from);
        assert_eq!(modified, BTreeSet::from(want));
        assert_eq!(aliases(Path::new("/usr/bin/a")), ["/usr/bin/a", "/bin/a"].map(PathBuf::from));
        assert_eq!(aliases(Path::new("/opt/a")), [PathBuf::from("/opt/a")]);
    }
}
