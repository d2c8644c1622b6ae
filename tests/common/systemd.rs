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
            mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system\n\
            cp \"$0\"/* /run/systemd/system\n\
            exec env -i container=rcap PATH=\"$PATH\" SYSTEMD_UNIT_PATH=/run/systemd/system \
            systemd --system \
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

    /// Runs `systemctl show` of units.
    pub(crate) fn show(&self, units: &[String]) -> Ran {
        ran(self.enter("systemctl").args(["show", "--"]).args(units))
    }

    /// Returns a command in the namespaces of the manager.
    pub(crate) fn enter(&self, program: &str) -> Command {
        let parent = self.child.id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let pid = fs::read_to_string(children).unwrap().trim().to_owned();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-m", "-r", "-p", "-C", program]).stdin(Stdio::null());
        command
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Its children are killed with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The programs of [`Machine`].
pub(crate) const MACHINE: &str = "ip mount nsenter systemctl systemd systemd-run unshare";

/// A small machine: a system manager with a root directory of its own, in which it finds the units
/// of the test in its usual directories. Writes go to an overlay that ends with it.
pub(crate) struct Machine {
    child: Child,
    group: PathBuf,
}

/// Builds the root directory in a mount namespace, and becomes the system manager.
const BOOT: &str = r#"set -e
mount --make-rprivate /
cd "$1"
mkdir root
mount -t tmpfs tmpfs root
mkdir root/upper root/work root/merged
mount -t overlay -o lowerdir=/,upperdir=root/upper,workdir=root/work none root/merged
cd root/merged
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
for name in run dev usr/lib/systemd/system etc/systemd/system; do
    mkdir -p $name
    mount -t tmpfs -o mode=755 tmpfs $name
done
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/urandom c 1 9
cp "$1"/units/* usr/lib/systemd/system
# They may be on other file systems than the root directory.
for name in "$1" "$2" "$PATH"; do
    mkdir -p ".$name"
    mount --bind "$name" ".$name"
    mount -o remount,bind,ro ".$name"
done
ip link set lo up
exec chroot . env -i container=rcap PATH="$PATH" \
    systemd --system --unit=rcap-all.target --log-target=console --show-status=no
"#;

impl Machine {
    /// Starts a machine with these units, by their names and texts. It sees `dir` read-only.
    pub(crate) fn start(dir: &Path, units: &[(&str, String)]) -> Machine {
        let own = dir.join("units");
        fs::create_dir(&own).unwrap();
        // Services depend on them, and nothing of the machine's is started.
        for name in ["rcap-all", "sysinit", "basic", "shutdown", "timers", "time-set", "time-sync"]
        {
            let text = "[Unit]\nDefaultDependencies=no\n";
            fs::write(own.join(format!("{name}.target")), text).unwrap();
        }
        for (name, text) in units {
            fs::write(own.join(name), text).unwrap();
        }
        // Services of the same name in two managers must not share a control group.
        let group = super::unified().join(format!("rcap-test-{}", std::process::id()));
        fs::create_dir(&group).unwrap();
        fs::create_dir(group.join("commands")).unwrap();
        let rcap = super::program("rcap");
        let programs = Path::new(rcap.get_program()).parent().unwrap();
        let child = Command::new("sh")
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec unshare -m -p -f --kill-child -u -i -C -n sh -c \"$1\" boot \"$2\" \"$3\""])
            .args([&group, Path::new(BOOT), dir, programs])
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.join("log")).unwrap())
            .stderr(fs::File::create(dir.join("errors")).unwrap())
            .spawn()
            .unwrap();
        let machine = Machine { child, group };
        wait_until(|| {
            let errors = fs::read_to_string(dir.join("errors")).unwrap();
            assert!(!errors.contains("mount:") && !errors.contains("unshare:"), "{errors}");
            machine.pid().is_some()
                && machine.run(&["systemctl", "is-system-running"]).out == "running\n"
        });
        machine
    }

    /// The process that is the first one of the machine.
    fn pid(&self) -> Option<String> {
        let parent = self.child.id();
        let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
        Some(text.trim().to_owned()).filter(|pid| !pid.is_empty())
    }

    /// Returns a command on the machine.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let enter = "echo $$ > \"$0/commands/cgroup.procs\" && exec nsenter -t \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", enter]).arg(&self.group).arg(self.pid().unwrap());
        command
            .args(["-m", "-p", "-C", "-n", "-u", "-i", "-r", "--", "env", "-C", "/"])
            .args(words);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        ran(&mut self.command(words))
    }

    /// Returns a property of a unit.
    pub(crate) fn property(&self, unit: &str, key: &str) -> String {
        let shown = self.run(&["systemctl", "show", "--value", "--property", key, unit]);
        assert_eq!(shown.status, Some(0), "{shown:?}");
        shown.out.trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its children are killed with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Best effort: the groups are empty once the last process has ended.
        for _ in 0..50 {
            remove_groups(&self.group);
            if !self.group.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
