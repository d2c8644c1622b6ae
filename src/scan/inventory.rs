//! The facts of a scan.

use std::{
    ffi::OsString,
    net::IpAddr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    Severity, Writable, encode,
    programs::{self, Role},
};
use crate::{
    Cap, CapSet,
    file::FileCaps,
    knowledge::{self, Worth},
    proc::Status,
    settings::{Context, InputFormat, Profile, Settings, SettingsError, read_in},
};

/// All facts of a scan.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Inventory {
    /// Where and when.
    pub host: Host,
    /// Files with capabilities, and set-user-ID and set-group-ID files, by their paths.
    pub files: Vec<PrivilegedFile>,
    /// Capabilities that the script of a package gives a file which has none.
    pub expected: Vec<Expected>,
    /// Processes with capabilities, by their ids.
    pub processes: Vec<PrivilegedProcess>,
    /// Sockets that are listened on.
    pub sockets: Vec<Socket>,
    /// Units of systemd with such processes.
    pub units: Vec<Group>,
    /// Containers with such processes.
    pub containers: Vec<Group>,
    /// The image, if it is one.
    pub image: Option<Image>,
    /// The bounding set of the process that scans, or that of a container of the image.
    pub bounding: CapSet,
    /// The capabilities that the kernel has.
    pub supported: CapSet,
    /// Files and processes that could not be read. If it is empty, the scan is complete.
    pub unread: Vec<Unread>,
}

/// Where and when a scan was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Host {
    /// The name of the machine, the directory or the image.
    pub name: String,
    /// The release of the kernel.
    pub kernel: String,
    /// The time, in UTC.
    pub time: String,
    /// The same in seconds since the beginning of 1970.
    pub seconds: u64,
}

/// An image of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// Its name and tag, if the archive has them.
    pub tag: Option<String>,
    /// The user that it runs as, as the image has it; empty for root.
    pub user: String,
    /// The capabilities that it asks for by the label `io.containers.capabilities`.
    pub capabilities: Option<CapSet>,
    /// How many layers it has.
    pub layers: usize,
    /// Files that lost their capabilities in a later layer.
    pub lost: Vec<LostCaps>,
}

/// A file that lost its capabilities in a later layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostCaps {
    /// The file.
    pub path: PathBuf,
    /// The capabilities that it had, if they can be understood.
    pub caps: Option<FileCaps>,
    /// The layer that gave them, from 1.
    pub given: usize,
    /// The layer that took them, from 1.
    pub taken: usize,
}

/// A file that gives privileges to the process that executes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrivilegedFile {
    /// Its path, on the machine that it belongs to.
    pub path: PathBuf,
    /// The permission bits, with the set-user-ID, set-group-ID and sticky bits.
    pub mode: u32,
    /// The user id of the owner.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The name of the owner, if it has one.
    pub owner: Option<String>,
    /// The name of the group, if it has one.
    pub group: Option<String>,
    /// The capabilities.
    pub caps: Option<FileCaps>,
    /// Why the attribute cannot be understood; execve(2) then fails.
    pub malformed: Option<String>,
    /// Whether it is on a mount with the option nosuid.
    pub is_nosuid: bool,
    /// Whether it is a script, whose own capabilities and bits the kernel ignores.
    pub is_script: bool,
    /// Whether the root id of the capabilities belongs to no user namespace and to nobody's range
    /// of subordinate ids.
    pub is_unmapped: bool,
    /// The users besides root that can change it.
    pub writable: Vec<Writable>,
    /// The package that it belongs to, if that was asked.
    pub package: Option<Package>,
}

/// A file's package.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Package {
    /// The file belongs to no package.
    None,
    /// The file is as its package brought it.
    Intact(String),
    /// The content, owner or mode of the file differs from its package.
    Modified(String),
}

/// Capabilities that the script of a package gives a file which has none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expected {
    /// The file.
    pub path: PathBuf,
    /// The text that the script gives to setcap.
    pub text: String,
    /// The package.
    pub package: String,
}

/// A process with capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrivilegedProcess {
    /// The status of its first thread.
    pub status: Status,
    /// The threads whose sets differ from those of the first one.
    pub threads: Vec<Status>,
    /// The file that it executes, if that may be read.
    pub program: Option<PathBuf>,
    /// The name of its user, if it has one.
    pub user: Option<String>,
    /// The unit of systemd that it belongs to.
    pub unit: Option<String>,
    /// The id of the container that it belongs to.
    pub container: Option<String>,
    /// The user namespace that its capabilities count in.
    pub namespace: Namespace,
    /// The users besides root that can change its program.
    pub writable: Vec<Writable>,
}

/// The user namespace of a process, seen from that of the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Namespace {
    /// The same.
    Same,
    /// Another one: the capabilities reach only what belongs to that one.
    Other,
    /// It may not be asked.
    Unknown,
}

/// A socket that is listened on, or receives from anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Socket {
    /// The protocol.
    pub protocol: Protocol,
    /// The local address; `None` for a packet socket.
    pub address: Option<IpAddr>,
    /// The local port, or the number of the protocol.
    pub port: u16,
    /// The inode of the socket.
    pub inode: u64,
    /// The processes that have it open, as far as that may be seen.
    pub pids: Vec<u32>,
    /// The inode of its network namespace; `None` if that may not be asked.
    pub namespace: Option<u64>,
}

/// The protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// A raw socket. (raw(7))
    Raw,
    /// A packet socket. (packet(7))
    Packet,
}

/// The processes of a unit or of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// The name of the unit, or the id of the container.
    pub name: String,
    /// The processes that are in the inventory.
    pub pids: Vec<u32>,
    /// The union of their bounding sets: all that one of them can get.
    pub bounding: CapSet,
    /// The union of their permitted sets.
    pub permitted: CapSet,
    /// The union of their ambient sets.
    pub ambient: CapSet,
    /// Whether all of them have no_new_privs set.
    pub no_new_privs: bool,
    /// Whether system calls are filtered in all of them.
    pub is_filtered: bool,
    /// Whether their user namespace is that of the scan.
    pub is_same_namespace: bool,
    /// The capabilities that they hold and never used while they were traced.
    pub unused: Option<CapSet>,
}

/// A file or a process that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Unread {
    /// The path or the process, as one word.
    pub subject: String,
    /// Why.
    pub reason: String,
}

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;

/// Groups whose members reach root, by the names that distributions give them.
const STRONG_GROUPS: &[&str] =
    &["root", "disk", "docker", "shadow", "kmem", "sudo", "wheel", "adm", "lxd"];

impl Image {
    /// Returns the settings of a container of the image, as the engine starts it without options.
    ///
    /// # Errors
    ///
    /// The image's user is not one.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let label = self.capabilities.map(|caps| caps.to_string());
        let described = json!([{
            "Config": { "User": self.user, "Labels": { "io.containers.capabilities": label } },
            "RepoTags": self.tag.iter().collect::<Vec<_>>(),
            "Id": "",
        }]);
        let context = Context::default();
        let all = read_in(&described.to_string(), Some(InputFormat::Inspect), &context)?;
        all.into_iter().next().ok_or(SettingsError::Empty)
    }
}

impl PrivilegedFile {
    /// Returns whether executing it changes the effective user id.
    pub fn is_set_uid(&self) -> bool {
        self.mode & S_ISUID != 0
    }

    /// Returns whether executing it changes the effective group id. Without the execute bit of the
    /// group, the bit stands for mandatory locking.
    pub fn is_set_gid(&self) -> bool {
        self.mode & 0o2010 == 0o2010
    }

    /// Returns what executing it is worth, by its owner, its group and its capabilities, whether or
    /// not something stands in the way. Capabilities that are inheritable alone take a process
    /// that has them.
    pub fn worth(&self) -> Worth {
        let ids = match (self.is_set_uid(), self.uid) {
            (true, 0) => Worth::Root,
            (true, _) => Worth::Narrow,
            _ => Worth::Nothing,
        };
        let is_strong = self.group.as_deref().is_some_and(|name| STRONG_GROUPS.contains(&name));
        let group = match self.is_set_gid() {
            true if self.gid == 0 || is_strong => Worth::Secrets,
            true => Worth::Narrow,
            false => Worth::Nothing,
        };
        let caps = self.caps.map_or(Worth::Nothing, |caps| {
            let inheritable = Worth::of(caps.inheritable).min(Worth::Narrow);
            Worth::of(caps.permitted).max(inheritable)
        });
        ids.max(group).max(caps)
    }

    /// Returns the severity of [`worth`](PrivilegedFile::worth).
    pub fn severity(&self) -> Severity {
        self.worth().into()
    }

    /// Returns a way from executing the file to root, if one is known.
    pub fn route(&self) -> Option<String> {
        if self.is_set_uid() && self.uid == 0 {
            return Some("it runs as root".into());
        }
        route(self.caps?.permitted)
    }

    /// Returns the power in words, such as `cap_net_raw=ep` or `set-uid root`.
    pub fn power(&self) -> String {
        let mut words = Vec::new();
        if self.is_set_uid() {
            words.push(format!("set-uid {}", name_or_id(self.owner.as_deref(), self.uid)));
        }
        if self.mode & S_ISGID != 0 {
            words.push(format!("set-gid {}", name_or_id(self.group.as_deref(), self.gid)));
        }
        if let Some(caps) = self.caps {
            let rootid = caps.rootid.filter(|id| *id != 0);
            let rootid = rootid.map(|id| format!(" [rootid={id}]")).unwrap_or_default();
            words.push(format!("{}{rootid}", crate::CapState::from(caps)));
        }
        if let Some(malformed) = &self.malformed {
            words.push(malformed.clone());
        }
        words.join(", ")
    }

    /// Returns the capabilities that executing it can give, if nothing stands in the way: all of
    /// them if it is set-user-ID root.
    pub fn grants(&self) -> CapSet {
        if self.is_set_uid() && self.uid == 0 {
            return CapSet::NAMED;
        }
        self.caps.map_or(CapSet::empty(), |caps| caps.permitted | caps.inheritable)
    }

    pub(super) fn role(&self) -> Option<Role> {
        programs::role(self.path.file_name()?.as_bytes())
    }
}

impl PrivilegedProcess {
    /// Returns what its sets are worth. In a container, the capabilities that every container has
    /// by default reach only what is in it; in another user namespace, none reaches the machine.
    pub fn worth(&self) -> Worth {
        let all = self
            .threads
            .iter()
            .fold(self.status.caps.permitted, |all, thread| all | thread.caps.permitted);
        let least = if all.is_empty() { Worth::Nothing } else { Worth::Narrow };
        match (self.namespace, &self.container) {
            (Namespace::Other, _) => least,
            (_, Some(_)) => Worth::of(all - Profile::Docker.given()).max(least),
            (_, None) => Worth::of(all),
        }
    }

    /// Returns the severity of [`worth`](PrivilegedProcess::worth).
    pub fn severity(&self) -> Severity {
        self.worth().into()
    }

    /// Returns whether none of its user ids is 0.
    pub fn is_non_root(&self) -> bool {
        let uid = self.status.uid;
        [uid.real, uid.effective, uid.saved, uid.filesystem].iter().all(|id| *id != 0)
    }

    /// Returns its name as one word.
    pub fn name(&self) -> String {
        encode(&self.status.name)
    }

    pub(super) fn program_name(&self) -> OsString {
        let file = self.program.as_deref().and_then(Path::file_name);
        file.unwrap_or(&self.status.name).to_owned()
    }

    /// Returns its sets in words: the permitted set, and what else there is.
    pub fn power(&self) -> String {
        let Status { caps, ambient, .. } = &self.status;
        let mut words = vec![set_in_words(caps.permitted)];
        if !ambient.is_empty() {
            words.push(format!("ambient {}", set_in_words(*ambient)));
        }
        if !(caps.inheritable - *ambient).is_empty() {
            words.push(format!("inheritable {}", set_in_words(caps.inheritable)));
        }
        words.join(", ")
    }
}

impl Socket {
    /// Returns whether the address is reachable from other machines, as far as the address says:
    /// it is not a loopback address. Packet filters are not looked at.
    pub fn is_reachable(&self) -> bool {
        self.address.is_none_or(|address| match address {
            IpAddr::V4(address) => !address.is_loopback(),
            IpAddr::V6(address) => {
                !address.is_loopback()
                    && !address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
            }
        })
    }

    /// Returns the address and the port, such as `0.0.0.0:80`.
    pub fn place(&self) -> String {
        match self.address {
            Some(address @ IpAddr::V6(_)) => format!("[{address}]:{}", self.port),
            Some(address) => format!("{address}:{}", self.port),
            None => format!("*:{}", self.port),
        }
    }
}

impl Protocol {
    /// Returns the name, such as `tcp`.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Raw => "raw",
            Protocol::Packet => "packet",
        }
    }
}

/// Returns a name, or the id without one.
pub(super) fn name_or_id(name: Option<&str>, id: u32) -> String {
    name.map_or_else(|| id.to_string(), encode)
}

/// Returns a set in few words: its names, or `all`, or all but some.
pub(super) fn set_in_words(set: CapSet) -> String {
    let missing = CapSet::NAMED - set;
    if set.is_empty() {
        return "none".into();
    }
    match missing.len() {
        0 => "all".into(),
        1..=8 => format!("all but {}", names(missing)),
        _ => names(set),
    }
}

/// Returns the names of capabilities without `cap_`, with commas.
fn names(set: CapSet) -> String {
    let name = |cap: Cap| cap.to_string().trim_start_matches("cap_").to_owned();
    set.iter().map(name).collect::<Vec<_>>().join(",")
}

/// Returns the way to root of the most valuable capability of a set, and the capability.
pub(super) fn route(set: CapSet) -> Option<String> {
    let worth = |cap: &Cap| Worth::of((*cap).into());
    // The first of the best ones.
    let best = set.iter().map(|cap| worth(&cap)).max()?;
    let cap = set.iter().find(|cap| worth(cap) == best)?;
    knowledge::route_to_root(cap).map(|route| format!("{cap}: {route}"))
}
