//! Each format, word for word.

use proptest::prelude::*;

use super::*;
use crate::{Cap, CapSet};

fn settings(caps: CapSet, user: Option<&str>) -> Settings {
    let settings = Settings::new(caps);
    match user {
        Some(user) => settings.for_user(user.parse().unwrap()),
        None => settings,
    }
}

fn write(format: Format, caps: &[Cap], user: Option<&str>) -> String {
    format.write(&settings(CapSet::of(caps), user)).unwrap_or_else(|err| err.to_string())
}

#[test]
fn nothing_for_root() {
    #[rustfmt::skip]
    let rows = [
        (Format::Docker,     "--cap-drop=ALL --security-opt=no-new-privileges"),
        (Format::Podman,     "--cap-drop=ALL --security-opt=no-new-privileges"),
        (Format::Compose,    "cap_drop: [ALL]\nsecurity_opt: [\"no-new-privileges:true\"]"),
        (Format::Systemd,    "[Service]\nCapabilityBoundingSet=\nNoNewPrivileges=yes"),
        (Format::Setcap,     "setcap -r PROGRAM"),
        (Format::Setpriv,    "setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all --no-new-privs --"),
    ];
    for (format, want) in rows {
        assert_eq!(write(format, &[], None), want, "{format:?}");
    }
}

#[test]
fn two_for_a_user() {
    let two = [Cap::NET_RAW, Cap::CHOWN];
    #[rustfmt::skip]
    let rows = [
        (Format::Docker, "1000:1000",
         "--cap-drop=ALL --cap-add=CHOWN --cap-add=NET_RAW --security-opt=no-new-privileges --user=1000:1000"),
        (Format::Podman, "1000",
         "--cap-drop=ALL --cap-add=CHOWN --cap-add=NET_RAW --security-opt=no-new-privileges --user=1000"),
        (Format::Compose, "1000",
         "cap_drop: [ALL]\ncap_add: [CHOWN, NET_RAW]\nsecurity_opt: [\"no-new-privileges:true\"]\nuser: \"1000\""),
        (Format::Kubernetes, "1000",
         "securityContext:\n  allowPrivilegeEscalation: false\n  capabilities:\n    drop: [\"ALL\"]\n    \
          add: [\"CHOWN\", \"NET_RAW\"]\n  runAsNonRoot: true\n  runAsUser: 1000\n  seccompProfile:\n    type: RuntimeDefault"),
        (Format::Systemd, "nobody",
         "[Service]\nCapabilityBoundingSet=CAP_CHOWN CAP_NET_RAW\nAmbientCapabilities=CAP_CHOWN CAP_NET_RAW\nUser=nobody\nNoNewPrivileges=yes"),
        (Format::Setcap, "nobody", "setcap cap_chown,cap_net_raw=ep PROGRAM"),
        (Format::Setpriv, "nobody",
         "setpriv --reuid=nobody --regid=\"$(id -g nobody)\" --init-groups --inh-caps=-all,+chown,+net_raw \
          --ambient-caps=-all,+chown,+net_raw --bounding-set=-all,+chown,+net_raw --no-new-privs --"),
    ];
    for (format, user, want) in rows {
        assert_eq!(write(format, &two, Some(user)), want, "{format:?}");
    }
}

#[test]
fn caveats() {
    let caps = Cap::SYS_TIME.into();
    let caveats = |format: Format, caps, user: Option<&str>| {
        format.export(&settings(caps, user), &Target::default()).map(|written| written.caveats)
    };
    for (format, user) in
        [(Format::Docker, "1000"), (Format::Kubernetes, "1000"), (Format::Setcap, "1000")]
    {
        assert_eq!(caveats(format, caps, Some(user)).unwrap().len(), 1, "{format:?}");
    }
    assert_eq!(caveats(Format::Setcap, CapSet::empty(), Some("1000")).unwrap().len(), 1);
    for format in Format::ALL {
        let target = Target {
            service: Some("x".to_owned()),
            base: Some(Settings::default()),
            ..Target::default()
        };
        let caveats = |caps, user| format.export(&settings(caps, user), &target);
        for root in ["0:0", "00", "+0", "root"] {
            assert!(
                caveats(caps, Some(root)).is_ok_and(|written| written.caveats.is_empty())
                    || format == Format::Label
            );
        }
        if ![Format::Setcap, Format::Label].contains(&format) {
            assert_eq!(caveats(CapSet::empty(), Some("1000")).unwrap().caveats, [""; 0]);
        }
        assert_eq!(Format::from_name(format.name()), Some(format));
    }
}

/// A user is written as such, or the format is said not to take it.
#[test]
fn every_user_in_every_format() {
    #[rustfmt::skip]
    let rows = [
        // The user, and what is in the text or the error of each format.
        (Format::Docker,     "nobody",     "--user=nobody"),
        (Format::Docker,     "3000000000", "docker needs ids up to 2147483647"),
        (Format::Podman,     "1:3000000000", "podman needs ids up to 2147483647"),
        (Format::Compose,    "host$",      "user: \"host$$\""),
        (Format::Kubernetes, "nobody",     "user nobody: kubernetes needs a number, UID or UID:GID"),
        (Format::Kubernetes, "1:adm",      "user 1:adm: kubernetes needs a number"),
        (Format::Kubernetes, "1:5",        "runAsNonRoot: true\n  runAsUser: 1\n  runAsGroup: 5\n"),
        (Format::Kubernetes, "00",         "\n  runAsUser: 0\n"),
        (Format::Oci,        "nobody",     "user nobody: oci needs a number, UID or UID:GID"),
        (Format::Oci,        "1:adm",      "user 1:adm: oci needs a number"),
        (Format::Oci,        "1:5",        "\"user\": {\"uid\": 1, \"gid\": 5}"),
        (Format::Oci,        "root",       "\"ambient\": []\n    },\n    \"user\": {\"uid\": 0, \"gid\": 0}"),
        (Format::Oci,        "+0",         "\"ambient\": []\n    },\n    \"user\": {\"uid\": 0, \"gid\": 0}"),
        (Format::Systemd,    "me:adm",     "User=me\nGroup=adm\n"),
        (Format::Systemd,    "a%b",        "User=a%%b\n"),
        (Format::Systemd,    "a\\b",       "User=a\\b\n"),
        (Format::Systemd,    "a\\",        "user a\\: systemd needs a number"),
        (Format::Systemd,    "me:a\\",     "user me:a\\: systemd needs a number"),
        (Format::Systemd,    "65535",      "user 65535: systemd needs another id"),
        (Format::Systemd,    "00",         "CAP_NET_RAW\nUser=0\n"),
        (Format::Capsh,      "me",         "capsh --user=me --iab="),
        (Format::Capsh,      "7",          "capsh --gid=7 --groups=7 --cap-uid=7 --iab="),
        (Format::Capsh,      "7:5",        "capsh --gid=5 --groups=5 --cap-uid=7 --iab="),
        (Format::Capsh,      "me:5",       "user me:5: capsh needs a name alone, or UID:GID"),
        (Format::Setpriv,    "7:5",        "setpriv --reuid=7 --regid=5 --clear-groups --inh"),
        (Format::Setpriv,    "me:adm",     "setpriv --reuid=me --regid=adm --clear-groups --inh"),
        (Format::Setpriv,    "00",         "--regid=0 --clear-groups --inh-caps=-all --ambient-caps=-all"),
        (Format::Json,       "007:adm",    "\"user\":\"7:adm\""),
    ];
    for (format, user, want) in rows {
        let text = write(format, &[Cap::NET_RAW], Some(user));
        assert!(text.contains(want), "{format:?} {user}: {text}");
    }
}

/// Where it would take away the capabilities of the program's file, no-new-privs is left out unless
/// the source has it.
#[test]
fn no_new_privs() {
    let without = settings(Cap::SYS_TIME.into(), Some("7"));
    let with = Settings { no_new_privs: true, ..without.clone() };
    for (format, engine, want) in [
        (Format::Docker, "docker@24", "--security-opt=no-new-privileges"),
        (Format::Compose, "docker@20.10", "no-new-privileges:true"),
    ] {
        let target = Target { engine: Some(engine.parse().unwrap()), ..Target::default() };
        let newest = Target::default();
        let write = |settings, target| format.export(settings, target).unwrap();
        assert!(write(&with, &target).text.contains(want), "{format:?}");
        assert!(write(&with, &target).caveats[0].contains("gets no capabilities"), "{format:?}");
        assert!(!write(&without, &target).text.contains(want), "{format:?}");
        assert!(write(&without, &newest).text.contains(want), "{format:?}");
        assert!(write(&without, &newest).caveats[0].contains("since Docker 25"), "{format:?}");
    }
}

/// The rule that takes capabilities from a program whose file has them.
#[cfg(feature = "settings")]
#[test]
fn file_capabilities() {
    let kept = "file capabilities are lost, 41 capabilities: with no-new-privs, a program's file \
                gives what is permitted before execve(2), and that is nothing here";
    let smaller = "the bounding set is smaller, without 41 capabilities: set-user-ID programs and \
                   files get nothing of it";
    let added = "no-new-privs is added, which the source lacks: set-user-ID programs and file \
                 capabilities give nothing more";
    let unit = |more: &str| format!("[Service]\nUser=1000\n{more}");
    #[rustfmt::skip]
    let rows = [
        ("setpriv --reuid=1000 --no-new-privs".to_owned(), Format::Oci,     kept),
        ("setpriv --reuid=1000 --no-new-privs".to_owned(), Format::Docker,  kept),
        ("setpriv --reuid=1000".to_owned(),                Format::Docker,  smaller),
        ("setpriv --reuid=1000".to_owned(),                Format::Oci,     added),
        (unit(""),                                         Format::Oci,     added),
        (unit(""),                                         Format::Kubernetes, smaller),
        (unit("LockPersonality=yes\nNoNewPrivileges=yes\n"), Format::Podman,  "file capabilities are lost"),
    ];
    let rows = rows.into_iter().chain([
        ("net_raw,chown".to_owned(), Format::Label, "cap_net_raw is left out"),
        ("docker".to_owned(), Format::Label, "cap_net_raw,cap_mknod"),
    ]);
    let context = Context { unit: Some("a.service"), ..Context::default() };
    for (text, format, want) in rows {
        let source = read_in(&text, None, &context).unwrap().remove(0);
        let caveats = format.export(&source, &Target::default()).unwrap().caveats;
        assert!(
            caveats.iter().any(|words| words.starts_with(want)),
            "{text} {format:?}: {caveats:?}"
        );
    }
}

/// Nothing is advised for the defaults of an engine.
#[cfg(feature = "settings")]
#[test]
fn defaults_are_not_asked_for() {
    let caveats = |line: &str| {
        let source = read_in(line, None, &Context::default()).unwrap().remove(0);
        Format::Systemd.export(&source, &Target::default()).unwrap().caveats.concat()
    };
    assert!(!caveats("docker run --user 1000 img").contains("setcap"));
    assert!(caveats("docker run --user 1000 --cap-add net_raw img").contains("setcap"));
}

/// Capabilities that an old engine has no name for.
#[test]
fn names_of_old_engines() {
    let caps = Cap::NET_RAW | Cap::BPF;
    for (format, engine, is_known) in [
        (Format::Docker, "docker@20.10", false),
        (Format::Compose, "docker@20.10", false),
        (Format::Podman, "podman@3.0", false),
        (Format::Quadlet, "podman@3.0", false),
        (Format::Docker, "docker@26", true),
        (Format::Podman, "podman@4.3", true),
    ] {
        let target = Target { engine: Some(engine.parse().unwrap()), ..Target::default() };
        let written = format.export(&settings(caps, Some("0")), &target).unwrap();
        let said = format!("{engine} does not know cap_bpf: left out");
        assert_eq!(written.text.contains("BPF"), is_known, "{engine}: {}", written.text);
        assert_eq!(written.caveats.contains(&said), !is_known, "{engine}: {:?}", written.caveats);
    }
}

#[test]
fn hostile_names() {
    let user = Some("a'b;\"rm%n$x");
    assert!(write(Format::Docker, &[], user).ends_with("--user='a'\\''b;\"rm%n$x'"));
    assert!(write(Format::Compose, &[], user).ends_with("user: \"a'b;\\\"rm%n$$x\""));
    assert!(write(Format::Systemd, &[], user).contains("\nUser=a'b;\"rm%%n$x\n"));
}

proptest! {
    /// JSON is valid with any name, and a unit has one line per setting.
    #[test]
    fn whatever_the_name(bits: u64, name in "\\PC{1,20}(:\\PC{1,20})?") {
        let user: Option<User> = name.parse().ok();
        let caps = CapSet::from_bits(bits);
        let settings = match user.clone() {
            Some(user) => Settings::new(caps).for_user(user),
            None => Settings::new(caps),
        };
        if let Ok(text) = Format::Oci.write(&settings) {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let bounding = value["process"]["capabilities"]["bounding"].as_array().unwrap();
            prop_assert_eq!(bounding.len(), caps.len());
            prop_assert_eq!(value["process"]["user"].is_object(), user.is_some());
        }
        let text = Format::Json.write(&settings).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let want = user.as_ref().map(User::to_string);
        prop_assert_eq!(value["subjects"][0]["user"].as_str(), want.as_deref());
        if let (Some(user), Ok(text)) = (&user, Format::Systemd.write(&settings)) {
            prop_assert!(text.ends_with("\nNoNewPrivileges=yes") && !text.contains("\\\n"));
            let has_ambient = !user.is_root() && !caps.is_empty();
            let want = 4 + usize::from(has_ambient) + usize::from(user.group().is_some());
            prop_assert_eq!(text.lines().count(), want);
        }
    }
}
