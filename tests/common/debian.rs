//! A Debian for installing packages.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::fcntl::{Flock, FlockArg};

use super::ran;

/// The programs of [`debian`].
pub(crate) const DEBIAN: &str = "debootstrap dpkg-deb tar";

/// The program directories of a Debian.
const PATH_OF_DEBIAN: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A `PATH` that only exists inside of [`debian`].
pub(crate) const PATH_INSIDE: &str = "/inside/bin:/inside/sbin";

fn succeeds(command: &mut Command) {
    let ran = ran(command.stdin(Stdio::null()));
    assert_eq!(ran.status, Some(0), "{command:?}: {ran:?}");
}

/// Returns a minimal Debian with a repository of one package, created once for all runs.
pub(crate) fn debian() -> PathBuf {
    let root = created("debian", "repo", |root| {
        debootstrap(root, "--variant=minbase");
        repository(root);
    });
    fs::create_dir_all(root.join("inside")).unwrap();
    for name in ["bin", "sbin"] {
        let _ = symlink(Path::new("/usr").join(name), root.join("inside").join(name));
    }
    root
}

/// Returns a minimal Debian with servers, created once for all runs.
pub(crate) fn servers() -> PathBuf {
    created("servers", "complete", |root| {
        debootstrap(root, "--include=nginx-light,python3");
        fs::write(root.join("complete"), "").unwrap();
    })
}

/// Returns a directory of this name. The first test that needs it creates it, with this entry at last.
fn created(name: &str, last: &str, create: impl Fn(&Path)) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let lock = fs::File::create(root.with_extension("lock")).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    if !root.join(last).exists() {
        let _ = fs::remove_dir_all(&root);
        create(&root);
    }
    root
}

fn debootstrap(root: &Path, option: &str) {
    let mut debootstrap = Command::new("debootstrap");
    // The script finds its dependencies in the system's directories.
    debootstrap.env("PATH", PATH_OF_DEBIAN).args(["--variant=minbase", option, "bookworm"]);
    succeeds(debootstrap.arg(root));
}

fn repository(root: &Path) {
    let [package, repo] = ["rcap-test/DEBIAN", "repo.new"].map(|name| root.join(name));
    for path in [&package, &repo, &root.join("rcap-test/usr/share/rcap-test")] {
        fs::create_dir_all(path).unwrap();
    }
    let control = "Package: rcap-test\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a package\n";
    fs::write(package.join("control"), control).unwrap();
    fs::write(root.join("rcap-test/usr/share/rcap-test/file"), "").unwrap();
    fs::set_permissions(&package, fs::Permissions::from_mode(0o755)).unwrap();
    let deb = repo.join("rcap-test.deb");
    succeeds(Command::new("dpkg-deb").arg("--build").arg(root.join("rcap-test")).arg(&deb));
    let sum = ran(Command::new("sha256sum").arg(&deb));
    let sum = sum.out.split(' ').next().unwrap();
    let size = fs::metadata(&deb).unwrap().len();
    let packages = format!("{control}Filename: ./rcap-test.deb\nSize: {size}\nSHA256: {sum}\n");
    fs::write(repo.join("Packages"), packages).unwrap();
    fs::write(root.join("etc/apt/sources.list"), "deb [trusted=yes] file:/repo ./\n").unwrap();
    fs::rename(repo, root.join("repo")).unwrap();
    // As in a used image, apt's caches exist, and some belong to _apt.
    let path = format!("PATH={PATH_OF_DEBIAN}");
    succeeds(Command::new("chroot").arg(root).args(["/usr/bin/env", &path, "apt-get", "update"]));
}
