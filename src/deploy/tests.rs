//! Each format, word for word.

use proptest::prelude::*;

use super::*;

fn write(format: Format, caps: &[Cap], user: Option<&str>) -> String {
    format.write(&Settings { caps: CapSet::of(caps), user })
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
         "--cap-drop=ALL --cap-add=CHOWN --cap-add=NET_RAW --user=1000:1000"),
        (Format::Podman, "1000",
         "--cap-drop=ALL --cap-add=CHOWN --cap-add=NET_RAW --security-opt=no-new-privileges --user=1000"),
        (Format::Compose, "1000",
         "cap_drop: [ALL]\ncap_add: [CHOWN, NET_RAW]\nuser: \"1000\""),
        (Format::Kubernetes, "1000",
         "securityContext:\n  allowPrivilegeEscalation: true\n  capabilities:\n    drop: [\"ALL\"]\n    \
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
    let caps = Cap::NET_RAW.into();
    let caveat = |format: Format, caps, user| format.caveat(&Settings { caps, user });
    assert!(caveat(Format::Docker, caps, Some("1000")).is_some());
    assert!(caveat(Format::Kubernetes, caps, Some("1000")).is_some());
    for format in Format::ALL {
        assert_eq!(caveat(format, caps, None), None);
        assert_eq!(caveat(format, caps, Some("0:0")), None);
        assert_eq!(caveat(format, CapSet::empty(), Some("1000")), None);
        assert_eq!(Format::from_name(format.name()), Some(format));
    }
}

#[test]
fn hostile_names() {
    let user = Some("a b'; \"rm\n%n\u{1b}");
    assert!(write(Format::Docker, &[], user).ends_with("--user='a b'\\''; \"rm\n%n\u{1b}'"));
    assert!(write(Format::Compose, &[], user).ends_with("user: \"a b'; \\\"rm\\u000a%n\\u001b\""));
    assert!(write(Format::Systemd, &[], user).contains("\nUser=a b'; \"rm%%n\n"));
}

proptest! {
    /// What is JSON is that, whatever is in it.
    #[test]
    fn json_is_json(bits: u64, user: Option<String>) {
        let settings = Settings { caps: CapSet::from_bits_retain(bits), user: user.as_deref() };
        let text = Format::Oci.write(&settings);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let bounding = value["process"]["capabilities"]["bounding"].as_array().unwrap();
        prop_assert_eq!(bounding.len(), settings.caps.len() as usize);
        let value: serde_json::Value = serde_json::from_str(&Format::Json.write(&settings)).unwrap();
        prop_assert_eq!(value["user"].as_str(), user.as_deref());
    }
}
