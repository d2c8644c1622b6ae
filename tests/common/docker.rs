//! A real Docker daemon.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{Ran, program, ran, wait_for, which};

/// The programs of [`Daemon`], and of [`root_file_system`].
pub(crate) const DOCKER: &str =
    "busybox containerd containerd-shim-runc-v2 docker dockerd runc tar";

/// Creates a root file system with only busybox.
pub(crate) fn root_file_system(dir: &Path) -> PathBuf {
    let root = dir.join("rootfs");
    for name in ["bin", "tmp", "proc", "dev", "sys"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy(which("busybox").unwrap(), root.join("bin/busybox")).unwrap();
    for name in ["sh", "chown", "ping", "touch", "sleep", "cat", "mount", "rm", "mkdir", "grep"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    root
}

/// Returns the report that a hook writes after the container has ended.
pub(crate) fn written(dir: &Path, id: &str) -> String {
    let path = dir.join(format!("{id}.json"));
    wait_for(|| fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n')))
}

/// A Docker daemon for one test, with an image of a root file system: `rcap-test:1`. It is stopped
/// when dropped.
pub(crate) struct Daemon {
    dir: PathBuf,
    child: Child,
}

impl Daemon {
    pub(crate) fn start(dir: &Path, root: &Path) -> Daemon {
        let reports = dir.join("reports");
        fs::create_dir(&reports).unwrap();
        let args = json!(["oci-runtime", "--save", reports.to_str().unwrap(), "--", "runc"]);
        let runtime =
            json!({"path": program("rcap").get_program().to_str().unwrap(), "runtimeArgs": args});
        let config = dir.join("daemon.json");
        fs::write(&config, json!({"runtimes": {"rcap": runtime}}).to_string()).unwrap();
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let child = Command::new("dockerd")
            .args(["--config-file", &path("daemon.json"), "--data-root", &path("data")])
            .args(["--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["-H", &format!("unix://{}", path("socket"))])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .arg("--userland-proxy=false")
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut daemon = Daemon { dir: dir.to_owned(), child };
        while daemon.docker(&["version"]).status != Some(0) {
            let log = || fs::read_to_string(dir.join("log")).unwrap();
            assert_eq!(daemon.child.try_wait().unwrap(), None, "{}", log());
        }
        let script = "tar -C \"$0\" -c . | docker import - rcap-test:1";
        let import = ran(daemon.client("sh").args(["-c", script]).arg(root));
        assert_eq!(import.status, Some(0), "{import:?}");
        daemon
    }

    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DOCKER_HOST", format!("unix://{}", self.dir.join("socket").display()))
            .env("DOCKER_API_VERSION", "1.41")
            .stdin(Stdio::null());
        command
    }

    /// Returns the report of a container that has ended.
    pub(crate) fn report(&self, id: &str) -> Value {
        serde_json::from_str(&written(&self.dir.join("reports"), id)).unwrap()
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Ran {
        ran(self.client("docker").args(args))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
        // Leftover mounts must not prevent removing the directory.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|point| Path::new(point).starts_with(&self.dir)) {
            let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}
