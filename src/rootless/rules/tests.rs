//! Refusals, and the changes that may avoid them.

use nix::errno::Errno;
use serde_json::json;

use super::*;

/// The files: path, owner and mode.
const FILES: [(&str, u32, u32); 21] = [
    ("/", 0, 0o755),
    ("/data", 0, 0o755),
    ("/etc", 0, 0o755),
    ("/etc/key", 1000, 0o600),
    ("/etc/secret", 0, 0o600),
    ("/etc/shadow", 42, 0o640),
    ("/etc/ssl", 0, 0o755),
    ("/etc/ssl/private", 112, 0o710),
    ("/host", 0, 0o755),
    ("/root", 0, 0o700),
    ("/root/app", 0, 0o755),
    ("/run", 0, 0o755),
    ("/run/web.pid", 0, 0o644),
    ("/srv", 0, 0o755),
    ("/srv/mixed", 0, 0o755),
    ("/srv/web", 0, 0o755),
    ("/tmp", 0, 0o1777),
    ("/var", 0, 0o755),
    ("/var/lib", 0, 0o755),
    ("/var/lib/nginx", 0, 0o755),
    ("/var/log", 0, 0o755),
];

fn denial(call: &str, name: Option<&str>, caps: &[&str], lock: &str) -> Denial {
    let object = name.map(|name| json!({ "name": name, "file": null }));
    serde_json::from_value(json!({
        "system_call": call, "errno": Errno::EACCES as i32, "lock": lock, "caps": caps,
        "object": object, "program": "/bin/p", "count": 1,
    }))
    .unwrap()
}

/// Returns what `of` returns for a container, or for a service of the machine.
fn with_ground<T>(is_service: bool, changes: &[&Change], of: impl FnOnce(&Ground<'_>) -> T) -> T {
    let find = |path: &Path| {
        let (name, owner, mode) = FILES.into_iter().find(|(name, ..)| path == Path::new(name))?;
        let is_directory =
            !["/etc/key", "/etc/secret", "/etc/shadow", "/run/web.pid"].contains(&name);
        Some(Found { is_directory, owner, group: owner, mode })
    };
    // /var/run is a symbolic link.
    let resolve = |path: &Path| match path.strip_prefix("/var/run") {
        Ok(rest) => Path::new("/run").join(rest),
        Err(_) => path.to_owned(),
    };
    let mounted = |path: &str, source: Source| Mounted { path: path.into(), source };
    let mounts = [
        mounted("/host", Source::Host("/outside".to_owned())),
        mounted("/data", Source::Volume(None)),
        mounted("/data/deep", Source::Volume(Some("deep".to_owned()))),
        mounted("/scratch", Source::Other),
    ];
    let variables = ["SKIP_CHOWN".to_owned()];
    let group = |gid| match gid {
        42 => Some("shadow".to_owned()),
        1000 => None,
        gid => Some(format!("group{gid}")),
    };
    let place = if is_service {
        let is_all_of_root = &|path: &Path| path != Path::new("/srv/mixed");
        Place::Service { unit: "web.service", group: &group, is_all_of_root }
    } else {
        Place::Container { mounts: &mounts, variables: &variables, has_entrypoint: true }
    };
    let account = Account { name: Some("web".to_owned()), uid: 33, gid: 33 };
    of(&Ground { account: &account, changes, find: &find, resolve: &resolve, place })
}

/// Returns the remedies in words.
fn words(denial: &Denial, is_service: bool) -> Vec<String> {
    with_ground(is_service, &[], |ground| {
        remedies(denial, ground).iter().map(ToString::to_string).collect()
    })
}

/// The system call, its object, the refused capabilities, and the remedies.
type Row<'a> = (&'a str, Option<&'a str>, &'a [&'a str], &'a [&'a str]);

#[test]
fn remedies_of_refusals() {
    let port = "net.ipv4.ip_unprivileged_port_start=0";
    let ping = "net.ipv4.ping_group_range=0 2147483647";
    let skip = "SKIP_CHOWN is set, which the entrypoint reads";
    let alone = "the command runs without the image's entrypoint";
    let run = "a tmpfs of the user on /run";
    let nginx = "the user owns /var/lib/nginx";
    let deep = "the user owns the files of the volume deep on /data/deep";
    let volume = "a volume whose files the user owns on /data";
    let files = &["cap_dac_override"][..];
    #[rustfmt::skip]
    let rows: [Row<'_>; 34] = [
        ("mkdir",     Some("/var/lib/x\nEND\nid"),    files, &[]),
        ("openat",    Some("/var/log/a:exec"),        files, &[]),
        ("openat",    Some("/var/log/$(id)"),         files, &[]),
        ("openat",    Some("/etc/key"),               files, &["the user owns /etc/key"]),
        ("chmod",     Some("/etc/key"),               &["cap_fowner"], &["the user owns /etc/key"]),
        ("mkdir",     Some("/var/lib/nginx/body"),    files, &[nginx]),
        ("mkdir",     Some("/var/lib/nginx/a/b"),     files, &[nginx]),
        ("mkdir",     Some("/var/lib/new"),           files, &["the directory /var/lib/new exists, and the user owns it"]),
        ("mkdir",     Some("/var/lib/new/a"),         files, &["the directory /var/lib/new exists, and the user owns it"]),
        ("openat",    Some("/var/log/new.log"),       files, &["the file /var/log/new.log exists, and the user owns it"]),
        ("unlink",    Some("/var/lib/nginx/x"),       files, &[nginx]),
        ("unlink",    Some("/etc/key"),               files, &[]),
        ("bind",      Some("unix:/var/lib/x.sock"),   files, &[]),
        ("openat",    Some("/run/x.pid"),             files, &[run, "the user owns /run"]),
        ("openat",    Some("/var/run/x.pid"),         files, &[run, "the user owns /run"]),
        ("mkdir",     Some("/run/x/y"),               files, &[run, "the user owns /run"]),
        ("chmod",     Some("/run"),                   &["cap_fowner"], &[run, "the user owns /run"]),
        ("bind",      Some("unix:/run/x.sock"),       files, &[run, "the user owns /run"]),
        ("openat",    Some("/root/app/x"),            files, &["the user owns /root"]),
        ("openat",    Some("/data/x"),                files, &[volume]),
        ("openat",    Some("/data/deep/x/y"),         files, &[deep]),
        ("openat",    Some("/host/x"),                files, &[]),
        ("openat",    Some("/scratch/x"),             files, &[]),
        ("openat",    Some("/proc/sys/x"),            files, &[]),
        ("openat",    Some("x"),                      files, &[]),
        ("openat",    None,                           files, &[]),
        ("bind",      Some("0.0.0.0:80"),             &["cap_net_bind_service"], &[port, "/bin/p has cap_net_bind_service"]),
        ("socket",    Some("AF_INET SOCK_DGRAM"),     &[],   &[ping]),
        ("socket",    Some("AF_INET SOCK_RAW"),       &["cap_net_raw"], &["/bin/p has cap_net_raw"]),
        ("setgroups", None,                           &["cap_setgid"], &[skip, alone]),
        ("setresuid", Some("user 33"),                &["cap_setuid"], &[skip, alone]),
        ("chown",     Some("/srv/web"),               &["cap_chown"], &["the user owns /srv/web", skip, alone]),
        ("mknod",     Some("/srv/web/null"),          &["cap_mknod"], &["/bin/p has cap_mknod"]),
        ("bpf",       None,                           &["cap_sys_admin", "cap_bpf"], &["/bin/p has cap_bpf"]),
    ];
    for (call, name, caps, want) in rows {
        let lock = if caps.is_empty() { "no-check" } else { "capability" };
        assert_eq!(words(&denial(call, name, caps, lock), false), want, "{call} {name:?}");
        assert_eq!(words(&denial(call, name, &[], "seccomp"), false), [""; 0]);
    }
}

#[test]
fn remedies_of_a_service() {
    let nginx = "the user owns /var/lib/nginx";
    let files = &["cap_dac_override"][..];
    #[rustfmt::skip]
    let rows: [Row<'_>; 22] = [
        ("openat",    Some("/etc/secret"),            files, &["the user owns /etc/secret"]),
        // It is another user's.
        ("openat",    Some("/etc/key"),               files, &[]),
        ("mkdir",     Some("/var/lib/nginx/body"),    files, &[nginx]),
        ("openat",    Some("/var/log/new.log"),       files, &["the file /var/log/new.log exists, and the user owns it"]),
        // Directories for runtime data are those of other services too.
        ("openat",    Some("/run/x.pid"),             files, &["the file /run/x.pid exists, and the user owns it"]),
        ("mkdir",     Some("/run/x/y"),               files, &["the directory /run/x exists, and the user owns it"]),
        ("openat",    Some("/run/web.pid"),           files, &["the file /run/web.pid exists, and the user owns it"]),
        ("unlink",    Some("/run/lock/x"),            files, &[]),
        ("mkdir",     Some("/run/systemd/x/y"),       files, &[]),
        ("openat",    Some("/tmp/x"),                 files, &[]),
        ("bind",      Some("unix:/run/x.sock"),       files, &[]),
        ("chmod",     Some("/run"),                   &["cap_fowner"], &[]),
        // A group that has access gives no other one.
        ("openat",    Some("/etc/ssl/private/x"),     files, &["the user is in the group group112"]),
        // These files are root's, and so are groups that lead to them.
        ("openat",    Some("/etc/shadow"),            files, &[]),
        ("openat",    Some("/root/app/x"),            files, &[]),
        ("openat",    Some("/etc/cron.d/x"),          files, &[]),
        ("openat",    Some("/etc/ld.so.preload"),     files, &[]),
        ("openat",    Some("/usr/lib/x"),             files, &[]),
        // A kernel parameter is the machine's.
        ("bind",      Some("0.0.0.0:80"),             &["cap_net_bind_service"], &["/bin/p has cap_net_bind_service"]),
        ("socket",    Some("AF_INET SOCK_DGRAM"),     &[],   &[]),
        ("setgroups", None,                           &["cap_setgid"], &[]),
        ("chown",     Some("/srv/web"),               &["cap_chown"], &["the user owns /srv/web"]),
    ];
    for (call, name, caps, want) in rows {
        let lock = if caps.is_empty() { "no-check" } else { "capability" };
        assert_eq!(words(&denial(call, name, caps, lock), true), want, "{call} {name:?}");
    }
}

/// A refusal below a directory that the user owns by now has other remedies.
#[test]
fn remedies_beside_other_changes() {
    let own = |path: &str, is_recursive| Change::Own { path: path.to_owned(), is_recursive };
    let create = Change::Create { path: "/var/lib/new".to_owned(), is_directory: true };
    let closed = own("/root", false);
    #[rustfmt::skip]
    let rows: [(&str, Option<&Change>, &str); 5] = [
        ("/root/app",       None,          "the user owns /root"),
        ("/root/app",       Some(&closed), "the user owns /root/app"),
        ("/root/app/x",     Some(&closed), "the user owns /root/app"),
        ("/var/lib/new/x",  None,          "the directory /var/lib/new exists, and the user owns it"),
        ("/var/lib/new/x",  Some(&create), "the user owns /var/lib/new"),
    ];
    for (path, change, want) in rows {
        let denial = denial("openat", Some(path), &["cap_dac_override"], "capability");
        let changes: Vec<&Change> = change.into_iter().collect();
        let found = with_ground(false, &changes, |ground| remedies(&denial, ground));
        assert_eq!(found[0].to_string(), want, "{path} {change:?}");
    }
}

#[test]
fn many_files_of_a_directory() {
    let own = |path: &str, is_recursive| Change::Own { path: path.to_owned(), is_recursive };
    let one = |path: &str| vec![own(path, false)];
    let all = ["/srv/w/a", "/srv/w/b", "/srv/w/c", "/srv/x", "/srv/y", "/srv/z", "/srv/z"];
    let found = with_ground(false, &[], |ground| joined(&all.map(one), ground));
    let first: Vec<_> = found.iter().map(|remedies| remedies[0].clone()).collect();
    let web = own("/srv/w", true);
    let rest = ["/srv/x", "/srv/y", "/srv/z"].map(|path| own(path, false));
    assert_eq!(first, [&[web.clone(), web.clone(), web][..], &rest].concat());
    // The entries are still there, if that does not help.
    assert_eq!(found[1][1], own("/srv/w/b", false));
    // A service gets no files of others.
    let entries = |path: &str| ["a", "b", "c"].map(|name| one(&format!("{path}/{name}")));
    for (path, is_joined) in [("/var/lib/nginx", true), ("/srv/mixed", false), ("/home/a", false)] {
        let found = with_ground(true, &[], |ground| joined(&entries(path), ground));
        assert_eq!(found[0].contains(&own(path, true)), is_joined, "{path}");
    }
}
