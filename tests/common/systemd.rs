//! A system manager of the test's own, as the first process of new namespaces.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Ran, ran, wait_until};

/// The programs of [`Manager`].
pub(crate) const SYSTEMD: &str = "mount nsenter systemctl systemd umount unshare";

/// A system manager with the units of a directory, and no other.
pub(crate) struct Manager {
    child: Child,
    dir: PathBuf,
}

impl Manager {
    /// Starts the manager with units by their names and texts, and waits until those that `start`
    /// names have ended or failed. The units see `dir` at its own path.
    pub(crate) fn start(dir: &Path, units: &[(String, String)], start: &[String]) -> Manager {
        let [own, out] = ["units", "out"].map(|name| dir.join(name));
        for path in [&own, &out] {
            fs::create_dir_all(path).unwrap();
        }
        for (name, text) in units {
            fs::write(own.join(name), text).unwrap();
        }
        let mut target = format!("[Unit]\nWants=rcap-done.service {}\n", start.join(" "));
        let _ = writeln!(target, "DefaultDependencies=no");
        fs::write(own.join("rcap-all.target"), target).unwrap();
        let done = format!(
            "[Unit]\nDefaultDependencies=no\nAfter={}\n[Service]\nType=oneshot\n\
             StandardOutput=truncate:{}\nExecStart=/bin/echo done\n",
            start.join(" "),
            out.join("done").display()
        );
        fs::write(own.join("rcap-done.service"), done).unwrap();
        // The mounts are those of a namespace of its own, and end with it.
        let script = "set -e; mount --make-rprivate /; mount -t proc proc /proc\n\
            umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup\n\
            mount -t tmpfs tmpfs /run; mkdir /run/units; cp \"$0\"/* /run/units\n\
            exec env -i container=rcap PATH=\"$PATH\" SYSTEMD_UNIT_PATH=/run/units systemd --system \
            --unit=rcap-all.target --log-target=console --show-status=no";
        let child = Command::new("unshare")
            .args(["-m", "-p", "-f", "--kill-child", "-u", "-i", "-C", "-n", "sh", "-c", script])
            .arg(&own)
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.join("log")).unwrap())
            .stderr(fs::File::create(dir.join("errors")).unwrap())
            .spawn()
            .unwrap();
        let mut manager = Manager { child, dir: dir.to_owned() };
        let is_done = || fs::read_to_string(out.join("done")).is_ok_and(|text| text == "done\n");
        wait_until(|| {
            let ended = fs::read_to_string(dir.join("errors")).unwrap();
            assert!(!ended.contains("unshare") && !ended.contains("mount:"), "{ended}");
            is_done()
        });
        assert_eq!(manager.child.try_wait().unwrap(), None);
        manager
    }

    /// Returns what a unit has printed to its file below the directory `out`.
    pub(crate) fn output(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join("out").join(name)).unwrap_or_default()
    }

    /// Runs `systemctl show` of units in the namespaces of the manager.
    pub(crate) fn show(&self, units: &[String]) -> Ran {
        let parent = self.child.id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let pid = fs::read_to_string(children).unwrap().trim().to_owned();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-m", "-r", "-p", "-C", "systemctl", "show", "--"]).args(units);
        ran(command.stdin(Stdio::null()))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Its children are killed with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
