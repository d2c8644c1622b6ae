//! Units beside systemd itself, which runs as the first process of namespaces of the test's own.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use common::{
    directory, ran,
    sets::{Numbers, Sets, random_setpriv},
    systemd::{Manager, SYSTEMD},
};
use rcap::{
    CapSet, Securebits, bounding,
    exec::FileFacts,
    file::FileCaps,
    settings::{self, Context, Engine, Format, InputFormat, Settings, Source, Target},
};

tests! {
    Root [SYSTEMD]:
        units_as_systemd_starts_them;
    Root [SYSTEMD, "setpriv"]:
        a_running_unit;
    Root [SYSTEMD, "apt-get dpkg-deb tar"]:
        units_of_debian;
}

/// The version of the manager on this machine.
fn engine() -> Engine {
    let version = ran(Command::new("systemctl").arg("--version")).out;
    let version = version.split_whitespace().nth(1).unwrap().split('.').next().unwrap().to_owned();
    format!("systemd@{version}").parse().unwrap()
}

fn read(text: &str, name: &str, format: InputFormat) -> Result<Settings, settings::SettingsError> {
    let engines = [engine()];
    let mut context = Context::default();
    context.engines = &engines;
    context.unit = Some(name);
    Ok(settings::read_in(text, Some(format), &context)?.remove(0))
}

/// Settings of services.
const SERVICES: &[&str] = &[
    "CapabilityBoundingSet=CAP_KILL,CAP_CHOWN",
    "CapabilityBoundingSet=cap_kill Cap_Chown",
    "CapabilityBoundingSet=KILL CAP_CHOWN",
    "CapabilityBoundingSet=all",
    "CapabilityBoundingSet=~",
    "CapabilityBoundingSet=~CAP_FOO",
    "CapabilityBoundingSet=CAP_FOO",
    "CapabilityBoundingSet=",
    "CapabilityBoundingSet=\"CAP_KILL\" 'CAP_CHOWN'",
    "CapabilityBoundingSet=\"CAP_KILL CAP_CHOWN\"",
    "CapabilityBoundingSet=CAP_KILL \"CAP_CHOWN",
    "CapabilityBoundingSet=5 0x0",
    "CapabilityBoundingSet=CAP_KILL # CAP_CHOWN",
    "CapabilityBoundingSet=CAP_KILL \\\n  ; a comment\n  CAP_CHOWN",
    "CapabilityBoundingSet=CAP_KILL\nCapabilityBoundingSet=CAP_CHOWN",
    "CapabilityBoundingSet=CAP_KILL CAP_CHOWN\nCapabilityBoundingSet=~CAP_CHOWN",
    "CapabilityBoundingSet=~CAP_KILL\nCapabilityBoundingSet=CAP_KILL",
    "CapabilityBoundingSet=\nCapabilityBoundingSet=~CAP_KILL",
    "CapabilityBoundingSet=CAP_FOO\nCapabilityBoundingSet=CAP_KILL",
    "CapabilityBoundingSet=CAP_KILL ~CAP_CHOWN",
    "CapabilityBoundingSet=CAP_KILL\\x20CAP_CHOWN",
    "User=nobody\nAmbientCapabilities=~CAP_KILL",
    "User=nobody\nAmbientCapabilities=CAP_KILL CAP_CHOWN\nAmbientCapabilities=~CAP_KILL",
    "User=nobody\nAmbientCapabilities=CAP_KILL\nCapabilityBoundingSet=CAP_CHOWN",
    "AmbientCapabilities=CAP_KILL",
    "AmbientCapabilities=CAP_KILL\nCapabilityBoundingSet=CAP_CHOWN",
    "User=nobody",
    "User=nobody\nUser=",
    "User=0\nCapabilityBoundingSet=CAP_KILL",
    "Group=daemon",
    "User=nobody\nNoNewPrivileges=on",
    "User=nobody\nNoNewPrivileges=foo",
    "User=nobody\nNoNewPrivileges=Y\nNoNewPrivileges=",
    "SecureBits=noroot",
    "SecureBits=noroot noroot-locked\nAmbientCapabilities=CAP_KILL",
    "SecureBits=noroot\nSecureBits=",
    "SecureBits=NOROOT",
    "User=nobody\nSecureBits=noroot\nAmbientCapabilities=CAP_KILL",
    "User=nobody\nNoNewPrivileges=yes\nCapabilityBoundingSet=CAP_KILL\nExecStart=+CAT",
    "User=nobody\nSecureBits=noroot\nExecStart=+CAT",
    "User=nobody\nNoNewPrivileges=yes\nCapabilityBoundingSet=CAP_KILL\nExecStart=!CAT",
    "User=nobody\nAmbientCapabilities=CAP_KILL\nExecStart=!!CAT",
    "User=nobody\nExecStart=-:CAT",
    "ProtectClock=yes\nCapabilityBoundingSet=CAP_SYS_TIME CAP_KILL",
    "User=nobody\nProtectClock=yes\nAmbientCapabilities=CAP_SYS_TIME",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=1",
    "PrivateDevices=true",
    "User=nobody\nProtectKernelTunables=yes",
    "User=nobody\nProtectHostname=yes",
    "User=nobody\nProtectControlGroups=yes",
    "User=nobody\nLockPersonality=yes",
    "LockPersonality=yes",
    "User=nobody\nMemoryDenyWriteExecute=yes",
    "User=nobody\nRestrictRealtime=yes",
    "User=nobody\nRestrictSUIDSGID=yes",
    "User=nobody\nRestrictNamespaces=yes",
    "User=nobody\nRestrictNamespaces=no",
    "User=nobody\nRestrictAddressFamilies=AF_UNIX",
    "User=nobody\nSystemCallArchitectures=native",
    "User=nobody\nSystemCallFilter=@system-service",
    "User=nobody\nSystemCallFilter=@system-service\nSystemCallFilter=",
    "User=nobody\nSystemCallLog=chown",
    "User=nobody\nLockPersonality=yes\nNoNewPrivileges=no",
    "User=nobody\nProtectClock=foo",
    // A filter, and sets that may lack what installs it.
    "User=nobody\nLockPersonality=yes\nCapabilityBoundingSet=CAP_KILL",
    "User=nobody\nLockPersonality=yes\nCapabilityBoundingSet=CAP_SYS_ADMIN",
    "User=nobody\nLockPersonality=yes\nCapabilityBoundingSet=CAP_KILL\nAmbientCapabilities=CAP_KILL",
    "User=nobody\nLockPersonality=yes\nAmbientCapabilities=CAP_KILL",
    "User=nobody\nLockPersonality=yes\nAmbientCapabilities=CAP_SYS_ADMIN",
    "User=nobody\nLockPersonality=yes\nNoNewPrivileges=yes",
    "User=nobody\nLockPersonality=yes\nNoNewPrivileges=yes\nAmbientCapabilities=CAP_KILL",
    "User=nobody\nLockPersonality=yes\nExecStart=!CAT",
    "User=nobody\nLockPersonality=yes\nExecStart=FILE-CAT",
    "User=nobody\nLockPersonality=yes\nNoNewPrivileges=yes\nExecStart=FILE-CAT",
    "User=nobody\nLockPersonality=yes\nExecStart=POWER-CAT",
    "User=nobody\nLockPersonality=yes\nNoNewPrivileges=yes\nExecStart=POWER-CAT",
    "User=nobody\nLockPersonality=yes\nNoNewPrivileges=yes\nAmbientCapabilities=CAP_KILL CAP_SYS_ADMIN\nExecStart=POWER-CAT",
    "User=nobody\nNoNewPrivileges=yes\nAmbientCapabilities=CAP_KILL\nExecStart=POWER-CAT",
    "User=0\nLockPersonality=yes\nNoNewPrivileges=yes\nExecStart=POWER-CAT",
    "User=nobody\nLockPersonality=yes\nSecureBits=noroot",
    "User=nobody\nLockPersonality=yes\nSecureBits=keep-caps",
    "User=0\nLockPersonality=yes",
    "User=0\nLockPersonality=yes\nNoNewPrivileges=yes",
    "User=0\nLockPersonality=yes\nNoNewPrivileges=yes\nCapabilityBoundingSet=CAP_KILL CAP_SETUID",
    "DynamicUser=yes\nLockPersonality=yes",
    "DynamicUser=yes\nLockPersonality=yes\nAmbientCapabilities=CAP_KILL",
    // A program whose file has capabilities.
    "User=nobody\nExecStart=FILE-CAT",
    "User=nobody\nNoNewPrivileges=yes\nExecStart=FILE-CAT",
    "User=nobody\nNoNewPrivileges=yes\nAmbientCapabilities=CAP_CHOWN\nExecStart=FILE-CAT",
    "User=nobody\nNoNewPrivileges=yes\nAmbientCapabilities=CAP_CHOWN\nCapabilityBoundingSet=CAP_KILL CAP_NET_RAW\nExecStart=FILE-CAT",
    "NoNewPrivileges=yes\nCapabilityBoundingSet=CAP_KILL CAP_NET_RAW\nExecStart=FILE-CAT",
];

/// The capabilities of that file.
const FILE: FileCaps =
    FileCaps { permitted: CapSet::from_bits(1 << 5 | 1 << 13), effective: true, ..FileCaps::EMPTY };

/// Those of a file with everything: permitted, and what a process inherits.
const POWER: FileCaps = FileCaps {
    permitted: CapSet::from_bits((1 << 41) - 1),
    inheritable: CapSet::from_bits((1 << 41) - 1),
    ..FileCaps::EMPTY
};

/// Each service as the reader has it, and units that were written from random settings, which
/// never have more than their source.
fn units_as_systemd_starts_them() {
    let dir = directory();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let cat = common::which("cat").unwrap().display().to_string();
    let file_cat = dir.path().join("cat");
    fs::copy(&cat, &file_cat).unwrap();
    let _ = rcap::file::write(&file_cat, &FILE).unwrap();
    let power_cat = dir.path().join("power-cat");
    fs::copy(&cat, &power_cat).unwrap();
    let _ = rcap::file::write(&power_cat, &POWER).unwrap();
    let unit = |name: &str, body: &str| {
        let output = dir.path().join("out").join(name).display().to_string();
        let command = format!("{cat} /proc/self/status");
        let of_file = |path: &Path| format!("{} /proc/self/status", path.display());
        let body = body.replace("FILE-CAT", &of_file(&file_cat));
        let body = body.replace("POWER-CAT", &of_file(&power_cat)).replace("CAT", &command);
        let exec = if body.contains("ExecStart") {
            String::new()
        } else {
            format!("ExecStart={command}\n")
        };
        format!(
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nStandardOutput=truncate:{output}\n\
             StandardError=null\n{body}\n{exec}"
        )
    };
    let mut units = Vec::new();
    for (nth, body) in SERVICES.iter().enumerate() {
        let name = format!("row{nth}.service");
        units.push((name.clone(), unit(&name, body)));
    }
    let mut numbers = Numbers(11);
    let mut sources = Vec::new();
    while sources.len() < 120 {
        let line = random_setpriv(&mut numbers).replace("=1000", "=65534");
        let Ok(Source::Words(source)) = Source::parse(&line, &Context::default()) else {
            panic!("{line}");
        };
        let Ok(text) = Format::Systemd.export(&source, &Target::default()) else { continue };
        let name = format!("random{}.service", sources.len());
        units.push((name.clone(), unit(&name, text.text.trim_start_matches("[Service]\n"))));
        sources.push((name, source, format!("{line}: {}", text.text)));
    }
    let names: Vec<String> = units.iter().map(|(name, _)| name.clone()).collect();
    let manager = Manager::start(dir.path(), &units, &names);
    let mut differences = Vec::new();
    for ((name, text), body) in units.iter().zip(SERVICES) {
        let settings = read(text, name, InputFormat::Unit).unwrap();
        let sets = Sets::of_status(&manager.output(name)).unwrap_or_else(|| panic!("{body}"));
        let file = match body {
            _ if body.contains("FILE-CAT") => FileFacts::with_caps(FILE),
            _ if body.contains("POWER-CAT") => FileFacts::with_caps(POWER),
            _ => FileFacts::default(),
        };
        let expected = Sets::expected_of(&settings, &file);
        let words = sets.differences(&expected);
        if !words.is_empty() {
            differences.push(format!("{body}: the process: {words}"));
        }
        let is_user = body.contains("User=nobody") && settings.user.is_root() == Some(false);
        let is_dynamic = body.contains("DynamicUser=yes") && sets.uid != "0";
        assert!(is_dynamic || sets.uid == if is_user { "65534" } else { "0" }, "{body}: {sets:?}");
        // The output of systemctl(1) is read as the same settings, except for their words.
        let shown = manager.show(std::slice::from_ref(name));
        let shown = read(&shown.out, name, InputFormat::Show)
            .unwrap_or_else(|err| panic!("{err}: {shown:?}"));
        let words = Sets::expected(&shown).differences(&Sets::expected(&settings));
        if !words.is_empty() {
            differences.push(format!("{body}: systemctl show: {words}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    for (name, source, context) in &sources {
        let sets = Sets::of_status(&manager.output(name)).unwrap_or_else(|| panic!("{context}"));
        sets.assert_within(&Sets::expected(source), context);
    }
}

/// `rcap why --unit` of processes that run, and its advice.
fn a_running_unit() {
    let dir = directory();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let which = |name: &str| common::which(name).unwrap().display().to_string();
    let [sleep, setpriv] = [which("sleep"), which("setpriv")];
    let head = "[Unit]\nDefaultDependencies=no\n[Service]\n";
    let ambient = "User=nobody\nCapabilityBoundingSet=CAP_KILL CAP_NET_RAW\n";
    let units = [
        ("same", format!("{ambient}AmbientCapabilities=CAP_NET_RAW\nExecStart={sleep} 1000\n")),
        ("changed", format!("{ambient}AmbientCapabilities=CAP_KILL\nExecStart={sleep} 1000\n")),
        ("drops", format!("ExecStart={setpriv} --bounding-set=-all,+kill {sleep} 1000\n")),
        ("filter", format!("User=nobody\nLockPersonality=yes\nExecStart={sleep} 1000\n")),
    ];
    let units: Vec<(String, String)> = units
        .into_iter()
        .map(|(name, text)| (format!("{name}.service"), format!("{head}{text}")))
        .collect();
    let names: Vec<String> = units.iter().map(|(name, _)| name.clone()).collect();
    let manager = Manager::start(dir.path(), &units, &names);
    let rcap = common::program("rcap").get_program().to_str().unwrap().to_owned();
    let why = |name: &str| {
        // The command of a simple unit is executed after the unit has started. Until then, the name
        // of systemd's process has parentheses of its own.
        common::wait_for(|| {
            let ran = ran(manager.enter(&rcap).args(["why", "--unit", name]));
            (ran.status == Some(0) && ran.out.contains(" (sleep)")).then_some(ran.out)
        })
    };
    for name in ["same", "changed", "filter"] {
        let words = format!("Settings: the process has what unit:{name} gives");
        assert!(why(name).contains(&words), "{}", why(name));
    }
    let drops = why("drops");
    assert!(drops.contains("bounding: the process lacks cap_chown,"), "{drops}");
    assert!(drops.contains("the process gave this up itself"), "{drops}");
    // A unit that is changed: the advice is to restart it.
    let change = "sed -i s/^AmbientCapabilities=.*/AmbientCapabilities=CAP_NET_RAW/ \
                  /run/systemd/system/changed.service";
    assert_eq!(ran(manager.enter("sh").args(["-c", change])).status, Some(0));
    let changed = why("changed");
    let words = "ambient: the process has cap_kill, and the settings give cap_net_raw instead";
    assert!(changed.contains(words), "{changed}");
    assert!(changed.contains("`systemctl restart` applies it"), "{changed}");
    let json = ran(manager.enter(&rcap).args(["why", "--json", "--unit", "changed"]));
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let ambient = json["settings"]["differences"].as_array().unwrap();
    let ambient = ambient.iter().find(|row| row["what"] == "ambient").unwrap();
    assert_eq!(ambient["more"], serde_json::json!(["cap_kill"]));
    let restart = "systemctl daemon-reload && systemctl restart changed";
    let restarted = ran(manager.enter("sh").args(["-c", restart]));
    assert_eq!(restarted.status, Some(0), "{restarted:?}");
    let after = why("changed");
    assert!(after.contains("the process has what unit:changed gives"), "{after}");
}

/// Packages with services that are small, and name users, capabilities and protections.
const PACKAGES: &str = "anacron apache2 apt-cacher-ng arpwatch atd at avahi-daemon bind9 bluez \
    caddy chrony clamav-daemon clamav-freshclam collectd-core colord coturn cron cups-browsed \
    cups-daemon dbus-broker dnsdist dnsmasq dnscrypt-proxy dovecot-core exim4-base fail2ban \
    firewalld fwupd geoclue-2.0 haproxy haveged i2pd icecast2 iio-sensor-proxy inetutils-syslogd \
    iodine irqbalance iwd keepalived knot knot-resolver libvirt-daemon lighttpd lldpd mariadb-server \
    memcached modemmanager monit mosquitto munin-node murmur network-manager nftables nginx-common \
    ngircd nscd nsd ntpsec openntpd openssh-server openvpn pdns-recursor pdns-server polkitd \
    postfix postsrsd power-profiles-daemon privoxy prometheus prometheus-node-exporter \
    prosody radvd redis-server rng-tools5 rpcbind rsync rsyslog rtkit smartmontools snapd snmpd \
    stubby stunnel4 sysstat systemd systemd-timesyncd systemd-resolved thermald tinyproxy tor \
    transmission-daemon udisks2 unbound upower uuid-runtime varnish vnstat vsftpd wpasupplicant \
    zabbix-agent";

/// Downloads the packages, once for all runs, and returns the directory of their units.
fn downloaded() -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let units = cache.join("debian-units");
    if units.exists() {
        return units;
    }
    // Another run may do the same.
    let own = tempfile::tempdir_in(cache).unwrap();
    let [debs, tree, new] = ["debs", "tree", "units"].map(|name| own.path().join(name));
    for directory in [&debs, &new] {
        fs::create_dir(directory).unwrap();
    }
    for package in PACKAGES.split_ascii_whitespace() {
        // Not every release has each of them.
        let mut download = Command::new("apt-get");
        download.args(["-qq", "download", package]).current_dir(&debs);
        let _ = ran(download.stdin(Stdio::null()));
    }
    for deb in fs::read_dir(&debs).unwrap() {
        let deb = deb.unwrap().path();
        let mut extract = Command::new("dpkg-deb");
        extract.arg("-x").arg(&deb).arg(&tree);
        assert_eq!(ran(extract.stdin(Stdio::null())).status, Some(0), "{}", deb.display());
        for directory in ["lib/systemd/system", "usr/lib/systemd/system"] {
            for entry in fs::read_dir(tree.join(directory)).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_owned();
                let is_service = path.extension().is_some_and(|end| end == "service");
                let is_file = fs::symlink_metadata(&path).unwrap().is_file();
                if is_service && is_file {
                    let mut text = format!("# {}\n", deb.file_name().unwrap().display());
                    text.push_str(&fs::read_to_string(&path).unwrap());
                    fs::write(new.join(name), text).unwrap();
                }
            }
        }
        fs::remove_dir_all(&tree).unwrap();
    }
    let renamed = fs::rename(&new, &units);
    assert!(renamed.is_ok() || units.exists(), "{renamed:?}");
    units
}

/// The units of Debian's packages, beside what systemd has resolved of them.
fn units_of_debian() {
    let units: Vec<(String, String)> = fs::read_dir(downloaded())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    let packages: std::collections::BTreeSet<&str> = units
        .iter()
        .filter_map(|(_, text)| text.lines().next()?.strip_prefix("# ")?.split('_').next())
        .collect();
    assert!(packages.len() >= 70, "{} packages: {packages:?}", packages.len());
    let dir = directory();
    let manager = Manager::start(dir.path(), &units, &[]);
    let mut differences = Vec::new();
    let most = bounding::current().unwrap();
    let mut compared = 0;
    for (name, text) in &units {
        let shown_name = name.replace("@.", "@one.");
        let shown = manager.show(std::slice::from_ref(&shown_name)).out;
        let field = |key: &str| {
            let mut lines = shown.lines().filter_map(|line| line.split_once('='));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
        };
        // An action of the manager has no process.
        if field("LoadState").as_deref() != Some("loaded") || !text.contains("[Service]") {
            continue;
        }
        let ours = read(text, &shown_name, InputFormat::Unit).unwrap_or_else(|err| {
            panic!("{name}: {err}");
        });
        let theirs = read(&shown, &shown_name, InputFormat::Show).unwrap();
        compared += 1;
        let set = |caps: CapSet| caps & most;
        let mut differ = |what: &str, ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
            let [ours, theirs] = [format!("{ours:?}"), format!("{theirs:?}")];
            if ours != theirs {
                differences.push(format!("{name} {what}: {ours} beside {theirs}"));
            }
        };
        differ("bounding", &set(ours.bounding), &set(theirs.bounding));
        differ("permitted", &set(ours.caps.permitted), &set(theirs.caps.permitted));
        differ("ambient", &set(ours.ambient), &set(theirs.ambient));
        differ("user", &ours.user, &theirs.user);
        differ("no-new-privs", &ours.no_new_privs, &theirs.no_new_privs);
        let bits: [Securebits; 2] = [ours.securebits, theirs.securebits];
        differ("securebits", &bits[0], &bits[1]);
        differ("program", &ours.command.first(), &theirs.command.first());
    }
    assert!(compared >= 70, "{compared}");
    assert_eq!(differences, [""; 0], "{}", differences.join("\n"));
}
