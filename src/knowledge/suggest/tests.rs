//! Common questions, and the expected first answer.

use proptest::prelude::*;

use super::*;

#[rustfmt::skip]
const QUESTIONS: &[(&str, Cap)] = &[
    ("netcat on port 80", Cap::NET_BIND_SERVICE),
    ("how can a non-root user bind to port 443", Cap::NET_BIND_SERVICE),
    ("node.js listen EACCES 0.0.0.0:80", Cap::NET_BIND_SERVICE),
    ("run nginx as an unprivileged user on port 80", Cap::NET_BIND_SERVICE),
    ("java web server on a low port", Cap::NET_BIND_SERVICE),
    ("dnsmasq cannot open port 53", Cap::NET_BIND_SERVICE),
    ("listening on a privileged port", Cap::NET_BIND_SERVICE),
    ("python http server port 80 permission denied", Cap::NET_BIND_SERVICE),
    ("caddy: listen tcp :443: bind: permission denied", Cap::NET_BIND_SERVICE),
    ("receive syslog messages on udp port 514", Cap::NET_BIND_SERVICE),
    ("ping", Cap::NET_RAW),
    ("ping: socket: Operation not permitted", Cap::NET_RAW),
    ("send an ICMP echo request", Cap::NET_RAW),
    ("traceroute as an ordinary user", Cap::NET_RAW),
    ("tcpdump without root", Cap::NET_RAW),
    ("let wireshark capture packets as normal user", Cap::NET_RAW),
    ("sniff traffic on eth0", Cap::NET_RAW),
    ("create a raw socket in python", Cap::NET_RAW),
    ("nmap SYN scan", Cap::NET_RAW),
    ("AF_PACKET socket", Cap::NET_RAW),
    ("SO_BINDTODEVICE fails", Cap::NET_RAW),
    ("a DHCP client in a container", Cap::NET_RAW),
    ("openvpn in docker: cannot open tun device", Cap::NET_ADMIN),
    ("wireguard container", Cap::NET_ADMIN),
    ("create a tap interface", Cap::NET_ADMIN),
    ("add a route", Cap::NET_ADMIN),
    ("change the ip address of an interface", Cap::NET_ADMIN),
    ("bring a network interface up", Cap::NET_ADMIN),
    ("run iptables in a container", Cap::NET_ADMIN),
    ("nft rules", Cap::NET_ADMIN),
    ("simulate latency with tc netem", Cap::NET_ADMIN),
    ("set SO_MARK on a socket", Cap::NET_ADMIN),
    ("create a bridge and a vlan", Cap::NET_ADMIN),
    ("transparent proxy", Cap::NET_ADMIN),
    ("bluetooth scan without sudo", Cap::NET_ADMIN),
    ("set the MTU", Cap::NET_ADMIN),
    ("read /etc/shadow", Cap::DAC_READ_SEARCH),
    ("backup all files without being root", Cap::DAC_READ_SEARCH),
    ("read another user's home directory", Cap::DAC_READ_SEARCH),
    ("view log files that I cannot read", Cap::DAC_READ_SEARCH),
    ("open_by_handle_at", Cap::DAC_READ_SEARCH),
    ("NFS server ganesha file handles", Cap::DAC_READ_SEARCH),
    ("remove a file owned by someone else", Cap::DAC_OVERRIDE),
    ("delete a file in a directory that root owns", Cap::DAC_OVERRIDE),
    ("rm: cannot remove: Permission denied", Cap::DAC_OVERRIDE),
    ("write to a file owned by another user", Cap::DAC_OVERRIDE),
    ("edit /etc/hosts", Cap::DAC_OVERRIDE),
    ("rename files in somebody else's folder", Cap::DAC_OVERRIDE),
    ("overwrite a read-only config file", Cap::DAC_OVERRIDE),
    ("create a file in a directory I do not own", Cap::DAC_OVERRIDE),
    ("remove someone else's file from /tmp", Cap::FOWNER),
    ("delete a file in a sticky directory", Cap::FOWNER),
    ("chmod a file I do not own", Cap::FOWNER),
    ("change permissions of another user's file", Cap::FOWNER),
    ("setfacl operation not permitted", Cap::FOWNER),
    ("touch a file of another user", Cap::FOWNER),
    ("set mtime of files", Cap::FOWNER),
    ("chown a file", Cap::CHOWN),
    ("change the owner of files", Cap::CHOWN),
    ("chown in an entrypoint of docker", Cap::CHOWN),
    ("give files to the group www-data with chgrp", Cap::CHOWN),
    ("keep the setuid bit after chown", Cap::FSETID),
    ("preserve suid bits when copying", Cap::FSETID),
    ("kill another user's process", Cap::KILL),
    ("send SIGHUP to a process owned by someone else", Cap::KILL),
    ("pkill: operation not permitted", Cap::KILL),
    ("supervisor that stops processes of other users with a signal", Cap::KILL),
    ("renice to -5", Cap::SYS_NICE),
    ("nice: cannot set niceness: negative", Cap::SYS_NICE),
    ("give a process a higher priority", Cap::SYS_NICE),
    ("real-time priority for audio", Cap::SYS_NICE),
    ("SCHED_FIFO", Cap::SYS_NICE),
    ("set cpu affinity of a process", Cap::SYS_NICE),
    ("chrt failed to set policy", Cap::SYS_NICE),
    ("mlock memory", Cap::IPC_LOCK),
    ("vault: failed to lock memory", Cap::IPC_LOCK),
    ("keep secrets from being swapped", Cap::IPC_LOCK),
    ("allocate huge pages", Cap::IPC_LOCK),
    ("attach a System V shared memory segment of another user", Cap::IPC_OWNER),
    ("raise ulimit -n", Cap::SYS_RESOURCE),
    ("increase the number of open files above the hard limit", Cap::SYS_RESOURCE),
    ("setrlimit: Operation not permitted", Cap::SYS_RESOURCE),
    ("lower oom_score_adj", Cap::SYS_RESOURCE),
    ("write although the disk quota is exceeded", Cap::SYS_RESOURCE),
    ("set the system time", Cap::SYS_TIME),
    ("run ntpd in a container", Cap::SYS_TIME),
    ("chrony cannot adjust the clock", Cap::SYS_TIME),
    ("hwclock", Cap::SYS_TIME),
    ("read dmesg", Cap::SYSLOG),
    ("dmesg: read kernel buffer failed: Operation not permitted", Cap::SYSLOG),
    ("kernel addresses in /proc/kallsyms are zero", Cap::SYSLOG),
    ("perf record as a user", Cap::PERFMON),
    ("perf_event_open permission", Cap::PERFMON),
    ("hardware performance counters", Cap::PERFMON),
    ("load an eBPF program", Cap::BPF),
    ("bpftrace without root", Cap::BPF),
    ("attach an XDP program", Cap::BPF),
    ("strace another user's process", Cap::SYS_PTRACE),
    ("gdb attach: ptrace: Operation not permitted", Cap::SYS_PTRACE),
    ("debug a process in another container", Cap::SYS_PTRACE),
    ("read the memory of another process", Cap::SYS_PTRACE),
    ("py-spy in docker", Cap::SYS_PTRACE),
    ("mount a disk", Cap::SYS_ADMIN),
    ("mount nfs inside a container", Cap::SYS_ADMIN),
    ("fuse: sshfs in docker", Cap::SYS_ADMIN),
    ("unshare a network namespace", Cap::SYS_ADMIN),
    ("docker in docker", Cap::SYS_ADMIN),
    ("nsenter into a container", Cap::SYS_ADMIN),
    ("change the hostname", Cap::SYS_ADMIN),
    ("pivot_root", Cap::SYS_ADMIN),
    ("turn swap on with swapon", Cap::SYS_ADMIN),
    ("set user quotas with setquota", Cap::SYS_ADMIN),
    ("chromium sandbox in a container", Cap::SYS_ADMIN),
    ("insmod a driver", Cap::SYS_MODULE),
    ("modprobe from a container", Cap::SYS_MODULE),
    ("load a kernel module", Cap::SYS_MODULE),
    ("reboot the machine", Cap::SYS_BOOT),
    ("kexec into a new kernel", Cap::SYS_BOOT),
    ("mknod a device node", Cap::MKNOD),
    ("create /dev/null in a chroot with mknod", Cap::MKNOD),
    ("chroot", Cap::SYS_CHROOT),
    ("sftp chroot jail", Cap::SYS_CHROOT),
    ("chattr +i", Cap::LINUX_IMMUTABLE),
    ("make a file undeletable and immutable", Cap::LINUX_IMMUTABLE),
    ("setcap on a binary", Cap::SETFCAP),
    ("drop capabilities from the bounding set", Cap::SETPCAP),
    ("set securebits", Cap::SETPCAP),
    ("switch to another user with setuid", Cap::SETUID),
    ("gosu in an entrypoint", Cap::SETUID),
    ("drop privileges to nobody", Cap::SETUID),
    ("setgroups: Operation not permitted", Cap::SETGID),
    ("change supplementary groups", Cap::SETGID),
    ("apt update in a container", Cap::SETUID),
    ("apt-get install fails with cap-drop all", Cap::SETUID),
    ("newuidmap rootless", Cap::SETUID),
    ("run sshd in a container", Cap::AUDIT_WRITE),
    ("pam audit log of logins", Cap::AUDIT_WRITE),
    ("auditctl rules", Cap::AUDIT_CONTROL),
    ("smartctl raw disk commands", Cap::SYS_RAWIO),
    ("access /dev/mem", Cap::SYS_RAWIO),
    ("dmidecode", Cap::SYS_RAWIO),
    ("wine mmap_min_addr", Cap::SYS_RAWIO),
    ("loadkeys on the console", Cap::SYS_TTY_CONFIG),
    ("process accounting with accton", Cap::SYS_PACCT),
    ("wake from suspend with a timer", Cap::WAKE_ALARM),
    ("prevent the machine from suspending", Cap::BLOCK_SUSPEND),
    ("criu checkpoint", Cap::CHECKPOINT_RESTORE),
    ("load an AppArmor profile", Cap::MAC_ADMIN),
    ("samba file lease", Cap::LEASE),
];

#[test]
fn what_people_ask() {
    assert_eq!(QUESTIONS.len(), 149);
    let wrong: Vec<String> = QUESTIONS
        .iter()
        .filter_map(|(question, want)| {
            let first = suggest(question).first().map(|answer| (answer.caps[0], answer.what));
            let is_right = first.is_some_and(|(cap, _)| cap == *want);
            (!is_right).then(|| format!("{question}: {first:?}, and not {want}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_nothing_is_known_of() {
    for question in
        ["", "bake a cake", "the", "how do I exit vim", "?!", "compile a haskell project"]
    {
        let answers = suggest(question);
        assert!(answers.is_empty(), "{question}: {}", answers[0].what);
    }
}

#[test]
fn settings() {
    let of = |question: &str| suggest(question)[0].sysctl.unwrap();
    #[rustfmt::skip]
    let rows = [
        ("port 80",       "0\n",               true),
        ("port 80",       "1024\n",            false),
        ("ping",          "0\t2147483647\n",   true),
        ("ping",          "1\t0\n",            false),
        ("ping",          "x",                 false),
        ("dmesg",         "1\n",               false),
        ("strace",        "0\n",               true),
        ("perf",          "2\n",               false),
        ("perf",          "-1\n",              true),
        ("mount a disk",  "15000\n",           true),
        ("mount a disk",  "0\n",               false),
    ];
    for (question, value, frees) in rows {
        assert_eq!(of(question).frees(value).is_some(), frees, "{question} {value}");
    }
}

#[test]
fn stems_of_words() {
    for (word, want) in [
        ("deleting", "delet"),
        ("delete", "delet"),
        ("stopping", "stop"),
        ("files", "fil"),
        ("file", "fil"),
        ("killed", "kill"),
        ("ping", "ping"),
        ("ed", "ed"),
        ("processes", "process"),
    ] {
        assert_eq!(stem(word), want);
    }
}

proptest! {
    #[test]
    fn no_question_panics(question: String) {
        prop_assert!(suggest(&question).len() <= 3);
    }
}
