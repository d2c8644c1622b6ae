//! A capability, and the table of names.

use std::{error, fmt, str::FromStr};

use super::ParseError;

/// A capability: a number from 0 to 63, with or without a name.
///
/// This is a number and not an enumeration, because a newer kernel can report a capability that
/// this crate has no name for, which must survive a read and a write unchanged.
///
/// ```
/// use rcap::Cap;
///
/// assert_eq!(Cap::NET_RAW.number(), 13);
/// assert_eq!(Cap::NET_RAW.to_string(), "cap_net_raw");
/// assert_eq!("CAP_NET_RAW".parse(), Ok(Cap::NET_RAW));
/// assert_eq!(Cap::from_number(63).unwrap().to_string(), "63");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "cap_value_t")]
pub struct Cap(u8); // below 64

macro_rules! capabilities {
    ($($number:literal $constant:ident $name:literal $meaning:literal;)*) => {
        impl Cap {
            $(
                #[doc = concat!("`", $name, "` (", $number, "): ", $meaning, ".")]
                pub const $constant: Cap = Cap($number);
            )*
        }

        /// The names, indexed by number.
        const NAMES: &[&str] = &[$($name),*];

        /// The names in `<linux/capability.h>`, indexed by number.
        const CONSTANTS: &[&str] = &[$(concat!("CAP_", stringify!($constant))),*];

        const ALL: &[Cap] = &[$(Cap($number)),*];

        #[cfg(test)]
        const NUMBERS: &[u8] = &[$($number),*];
    };
}

capabilities! {
    0 CHOWN "cap_chown" "change the owner and group of any file";
    1 DAC_OVERRIDE "cap_dac_override" "read, write, search and remove regardless of file permissions";
    2 DAC_READ_SEARCH "cap_dac_read_search" "read files and search directories regardless of permissions";
    3 FOWNER "cap_fowner" "act as the owner of any file: chmod, utimes, delete in a sticky directory";
    4 FSETID "cap_fsetid" "keep the set-user-ID and set-group-ID bits of a changed file";
    5 KILL "cap_kill" "send signals to other users' processes";
    6 SETGID "cap_setgid" "change to any group ID and supplementary groups";
    7 SETUID "cap_setuid" "change to any user ID";
    8 SETPCAP "cap_setpcap" "drop from the bounding set, add to the inheritable set, change the securebits";
    9 LINUX_IMMUTABLE "cap_linux_immutable" "set the immutable and append-only attributes of a file";
    10 NET_BIND_SERVICE "cap_net_bind_service" "bind a port below 1024";
    11 NET_BROADCAST "cap_net_broadcast" "not used by the kernel";
    12 NET_ADMIN "cap_net_admin" "configure interfaces, routes, firewalls and all other parts of a network";
    13 NET_RAW "cap_net_raw" "open raw and packet sockets";
    14 IPC_LOCK "cap_ipc_lock" "lock memory beyond the limit";
    15 IPC_OWNER "cap_ipc_owner" "use System V IPC objects regardless of permissions";
    16 SYS_MODULE "cap_sys_module" "load and unload kernel modules";
    17 SYS_RAWIO "cap_sys_rawio" "access I/O ports, physical memory and devices directly";
    18 SYS_CHROOT "cap_sys_chroot" "chroot, and join the mount namespace of another process";
    19 SYS_PTRACE "cap_sys_ptrace" "trace any process and access its memory";
    20 SYS_PACCT "cap_sys_pacct" "enable and disable process accounting";
    21 SYS_ADMIN "cap_sys_admin" "mount, unshare namespaces, and most operations without a capability of their own";
    22 SYS_BOOT "cap_sys_boot" "reboot, and load another kernel";
    23 SYS_NICE "cap_sys_nice" "raise priorities, choose real-time scheduling and set the CPUs of other users' processes";
    24 SYS_RESOURCE "cap_sys_resource" "exceed resource limits, quotas and reserved space";
    25 SYS_TIME "cap_sys_time" "set the system clock and the hardware clock";
    26 SYS_TTY_CONFIG "cap_sys_tty_config" "hang up and configure terminals";
    27 MKNOD "cap_mknod" "create device files";
    28 LEASE "cap_lease" "take leases on other users' files";
    29 AUDIT_WRITE "cap_audit_write" "write to the audit log";
    30 AUDIT_CONTROL "cap_audit_control" "configure auditing";
    31 SETFCAP "cap_setfcap" "set the capabilities of files";
    32 MAC_OVERRIDE "cap_mac_override" "override the mandatory access control of Smack";
    33 MAC_ADMIN "cap_mac_admin" "configure the mandatory access control of Smack";
    34 SYSLOG "cap_syslog" "read and clear the kernel log, see kernel addresses";
    35 WAKE_ALARM "cap_wake_alarm" "set timers that wake the machine";
    36 BLOCK_SUSPEND "cap_block_suspend" "keep the machine from suspending";
    37 AUDIT_READ "cap_audit_read" "read the audit log by netlink multicast";
    38 PERFMON "cap_perfmon" "observe performance of the whole system";
    39 BPF "cap_bpf" "load BPF programs and create BPF maps";
    40 CHECKPOINT_RESTORE "cap_checkpoint_restore" "checkpoint and restore processes, choose process IDs";
}

/// The number of named capabilities. Their numbers start at 0.
#[expect(clippy::cast_possible_truncation, reason = "a test counts them")]
pub(crate) const NAMED: u8 = NAMES.len() as u8;

impl Cap {
    /// Every named capability, lowest number first.
    pub const ALL: &[Cap] = ALL;

    /// Returns the capability with this number, or `None` if the number is 64 or more.
    pub const fn from_number(number: u8) -> Option<Cap> {
        if number < 64 { Some(Cap(number)) } else { None }
    }

    /// Returns the number of this capability, which is below 64.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the name in lower case with its prefix, such as `cap_net_raw`, if it has one.
    #[doc(alias = "cap_to_name")]
    pub const fn name(self) -> Option<&'static str> {
        self.in_table(NAMES)
    }

    /// Returns the name in `<linux/capability.h>` and the OCI runtime specification, such as
    /// `CAP_NET_RAW`, if it has one.
    pub const fn constant_name(self) -> Option<&'static str> {
        self.in_table(CONSTANTS)
    }

    const fn in_table(self, names: &[&'static str]) -> Option<&'static str> {
        if self.0 < NAMED { Some(names[self.0 as usize]) } else { None }
    }

    /// Returns the capability with this name, in any case, or with this number, which is parsed
    /// like strtoul(3) with base 0.
    pub(crate) fn lookup(item: &str) -> Option<Cap> {
        if item.starts_with(|c: char| c.is_ascii_digit()) {
            return number(item).and_then(|n| u8::try_from(n).ok()).and_then(Cap::from_number);
        }
        (0u8..).zip(NAMES).find(|(_, name)| item.eq_ignore_ascii_case(name)).map(|(n, _)| Cap(n))
    }
}

/// Parses a number like strtoul(3) with base 0: decimal, octal after `0`, or hexadecimal after
/// `0x`. Rejects signs, surrounding characters and overflow.
pub(crate) fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // from_str_radix accepts a leading '+', which is an operator in every grammar here.
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, radix).ok() }
}

/// The error of a number that is 64 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidNumber(u8);

impl fmt::Display for InvalidNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a capability: the highest number is 63", self.0)
    }
}

impl error::Error for InvalidNumber {}

impl TryFrom<u8> for Cap {
    type Error = InvalidNumber;

    fn try_from(number: u8) -> Result<Cap, InvalidNumber> {
        Cap::from_number(number).ok_or(InvalidNumber(number))
    }
}

impl From<Cap> for u8 {
    fn from(cap: Cap) -> u8 {
        cap.number()
    }
}

/// Prints the name, or the decimal number of an unnamed capability.
impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cap({self})")
    }
}

/// Parses a name with its prefix, in any case, or a number from 0 to 63, like cap_from_name(3).
impl FromStr for Cap {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Cap, ParseError> {
        Cap::lookup(text).ok_or_else(|| ParseError::new(text, 0, ParseError::CAPABILITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_at_its_number() {
        assert!(NUMBERS.iter().copied().eq(0..NAMED));
        assert_eq!(NAMED, 41);
        for cap in Cap::ALL {
            let name = cap.name().expect("it is in the table");
            assert_eq!(cap.constant_name().map(str::to_ascii_lowercase).as_deref(), Some(name));
        }
        assert_eq!(Cap(63).constant_name(), None);
    }

    #[test]
    fn parse() {
        #[rustfmt::skip]
        let rows: &[(&str, Option<u8>)] = &[
            ("cap_chown",              Some(0)),
            ("CAP_Chown",              Some(0)),
            ("cap_checkpoint_restore", Some(40)),
            ("63",                     Some(63)), // unnamed, but valid
            ("0",                      Some(0)),
            ("010",                    Some(8)),  // octal, as strtoul(3)
            ("0x1F",                   Some(31)),
            ("000000000000000000000000000000000000012", Some(10)),
            ("64",                     None),
            ("0100",                   None), // 64
            ("08",                     None),
            ("0x",                     None),
            ("0x+5",                   None),
            ("4294967296",             None),     // no wrap to 0
            ("18446744073709551616",   None),
            ("+5",                     None),
            ("-1",                     None),
            ("chown",                  None),     // the prefix is required
            ("cap_chown2",             None),
            ("cap_chown=x",            None),
            ("all",                    None),
            ("",                       None),
            ("cap_chown ",             None),
            (" cap_chown",             None),
            ("cap_ch\u{f6}wn",         None),
        ];
        for &(text, want) in rows {
            assert_eq!(text.parse::<Cap>().ok().map(Cap::number), want, "input {text:?}");
        }
    }

    #[test]
    fn printing_and_parsing_are_inverse() {
        for cap in (0..64).filter_map(Cap::from_number) {
            assert_eq!(cap.to_string().parse(), Ok(cap));
        }
        assert_eq!(Cap::from_number(64), None);
        assert_eq!(Cap::try_from(63).map(u8::from), Ok(63));
        assert_eq!(Cap::try_from(64), Err(InvalidNumber(64)));
    }
}
