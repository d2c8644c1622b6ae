use proptest::prelude::*;

use super::*;
use crate::{
    Cap,
    deploy::{Format, Settings},
};

const RAW: CapSet = CapSet::of(&[Cap::NET_RAW]);
const TWO: CapSet = CapSet::of(&[Cap::NET_RAW, Cap::CHOWN]);

fn named(name: &str, source: Source) -> Source {
    Source { name: Some(name.to_owned()), ..source }
}

fn with(caps: CapSet, user: Option<&str>, no_new_privs: bool) -> Source {
    Source { caps, user: user.map(str::to_owned), no_new_privs, ..Source::default() }
}

#[test]
fn documents() {
    let docker = Profile::Docker.given();
    let all = CapSet::supported();
    let ambient = |source: Source| Source { ambient: source.caps, ..source };
    #[rustfmt::skip]
    let rows: &[(&str, &[Source])] = &[
        // Compose: anchors and merges as well.
        ("services:\n  web:\n    cap_drop: [ALL]\n    cap_add: [NET_RAW, CAP_CHOWN]\n    user: 1000:5\n",
         &[named("web", with(TWO, Some("1000:5"), false))]),
        ("x-a: &a\n  cap_drop: [all]\nservices:\n  a:\n    <<: *a\n    user: 7\n  b:\n    security_opt: [\"no-new-privileges:true\"]\n",
         &[named("a", with(CapSet::empty(), Some("7"), false)), named("b", with(docker, None, true))]),
        ("services: {p: {privileged: true}, q: {cap_drop: [NET_RAW], user: root}}",
         &[named("p", with(all, None, false)), named("q", with(docker - RAW, None, false))]),
        ("services: {}\n", &[]),
        // Kubernetes.
        ("apiVersion: v1\nkind: Pod\nspec:\n  securityContext: {runAsUser: 1000, runAsGroup: 5}\n  containers:\n  - name: a\n    \
          securityContext:\n      allowPrivilegeEscalation: false\n      capabilities: {drop: [ALL], add: [NET_RAW]}\n  - name: b\n",
         &[named("a", with(RAW, Some("1000:5"), true)), named("b", with(docker, Some("1000:5"), false))]),
        ("kind: Service\n---\nkind: Deployment\nspec:\n  template:\n    spec:\n      initContainers: [{name: i}]\n      \
          containers: [{name: c, securityContext: {privileged: true, runAsUser: 0}}]\n",
         &[named("i", with(docker, None, false)), named("c", with(all, None, false))]),
        ("kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, securityContext: {runAsNonRoot: true}}]}}}}}",
         &[named("c", with(docker, Some("65534"), false))]),
        ("kind: List\nitems: [{kind: Pod, spec: {containers: [{name: c}]}}]", &[named("c", with(docker, None, false))]),
        ("kind: ConfigMap\n", &[]),
        // OCI.
        ("{\t\"process\": {\"user\": {\"uid\": 5}, \"noNewPrivileges\": true, \"capabilities\": \
          {\"bounding\": [\"CAP_NET_RAW\"], \"ambient\": [\"CAP_NET_RAW\"]}}}",
         &[ambient(with(RAW, Some("5"), true))]),
        ("{\"process\": {}}", &[with(CapSet::empty(), None, false)]),
        // docker inspect
        ("[{\"Name\": \"/web\", \"Config\": {\"User\": \"\"}, \"HostConfig\": {\"CapDrop\": [\"ALL\"], \
          \"CapAdd\": [\"CAP_NET_RAW\"], \"SecurityOpt\": [\"no-new-privileges\"], \"Privileged\": false}}]",
         &[named("web", with(RAW, None, true))]),
        ("[{\"Name\": \"/web\", \"Config\": {}, \"HostConfig\": {\"CapDrop\": null, \"Privileged\": true}}]",
         &[named("web", with(all, None, false))]),
        // Reports of rcap's.
        ("{\"schema\": 1, \"candidates\": [\"cap_net_raw\", \"63\"]}",
         &[with(RAW | CapSet::from_bits_retain(1 << 63), None, false)]),
        ("{\"schema\": 1, \"candidates\": [\"cap_chown\"], \"minimum\": [\"cap_net_raw\"]}", &[with(RAW, None, false)]),
        // systemd
        ("[Unit]\nUser=x\n[Service]\nUser=www\nCapabilityBoundingSet=CAP_NET_RAW \\\n  # not this\n CAP_CHOWN\nAmbientCapabilities=CAP_NET_RAW\nNoNewPrivileges=true\n",
         &[Source { ambient: RAW, ..with(TWO, Some("www"), true) }]),
        ("[Service]\nExecStart=/bin/true\n", &[with(all, None, false)]),
        ("[Service]\nCapabilityBoundingSet=\n", &[with(CapSet::empty(), None, false)]),
        ("[Service]\nCapabilityBoundingSet=~CAP_NET_RAW\n", &[with(all - RAW, None, false)]),
        ("[Service]\nCapabilityBoundingSet=CAP_NET_RAW\nCapabilityBoundingSet=CAP_CHOWN\n", &[with(TWO, None, false)]),
        ("[Service]\nCapabilityBoundingSet=CAP_NET_RAW CAP_CHOWN\nCapabilityBoundingSet=~CAP_CHOWN\n", &[with(RAW, None, false)]),
        ("[Service]\nCapabilityBoundingSet=CAP_CHOWN\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_NET_RAW\n", &[with(RAW, None, false)]),
        ("[Service]\nCapabilityBoundingSet=~\n", &[with(all, None, false)]),
        ("[Service]\nDynamicUser=yes\nCapabilityBoundingSet=\n", &[with(CapSet::empty(), Some("nobody"), true)]),
        // A process, and sets.
        ("Name:\tx\nUid:\t5\t6\t7\t8\nCapPrm:\t2000\nCapAmb:\t0\nNoNewPrivs:\t1\n", &[with(RAW, Some("6"), true)]),
        ("net_raw,chown\n", &[with(TWO, None, false)]),
        ("00002001\n", &[with(TWO, None, false)]),
    ];
    for (text, want) in rows {
        assert_eq!(parse(text).as_deref(), Ok(*want), "{text}");
    }
}

#[test]
fn arguments() {
    let docker = Profile::Docker.given();
    let ambient = |source: Source| Source { ambient: source.caps, ..source };
    #[rustfmt::skip]
    let rows = [
        ("docker",                                          with(docker, None, false)),
        ("a80425fb",                                        with(docker, None, false)),
        ("cap_net_raw=ep",                                  with(RAW, None, false)),
        ("NET_RAW,chown",                                   with(TWO, None, false)),
        ("--cap-drop=ALL --cap-add=NET_RAW --user=7",       with(RAW, Some("7"), false)),
        ("docker run --cap-drop ALL --cap-add NET_RAW -u 0 i", with(RAW, None, false)),
        ("docker run --security-opt=no-new-privileges --privileged i", with(CapSet::supported(), None, true)),
        ("podman run --cap-drop=all --cap-add=net_raw --user 5 i", ambient(with(RAW, Some("5"), false))),
        ("setcap cap_net_raw=ep /bin/x",                    with(RAW, None, false)),
        ("setcap -r /bin/x",                                with(CapSet::empty(), None, false)),
        ("setpriv --bounding-set=-all,+net_raw --nnp id",   with(RAW, None, true)),
        ("capsh --drop=all --no-new-privs -- -c id",        with(CapSet::empty(), None, true)),
    ];
    for (text, want) in rows {
        assert_eq!(one(text), Ok(want), "{text}");
    }
    #[rustfmt::skip]
    let rows = [
        ("net_row",           "did you mean cap_net_raw"),
        ("/nonexistent",      "no such file"),
        ("pid:x",             "by its number"),
        ("pid:4294967295",    "there is no process"),
        ("--cap-add=net_row", "did you mean cap_net_raw"),
        ("cap_net_raw=x",     "cap_net_raw=x"),
        ("",                  "there is no capability"),
    ];
    for (text, words) in rows {
        let err = one(text).unwrap_err();
        assert!(err.contains(words), "{text}: {err}");
    }
}

#[test]
fn what_is_none() {
    #[rustfmt::skip]
    let rows = [
        ("a: 1\n",                                     "it is no Compose file"),
        ("a: [",                                       "unclosed"),
        ("services: {w: {cap_add: [NET_ROW]}}",        "service w: there is no capability \"net_row\"; did you mean"),
        ("services: {w: {cap_add: [7.5]}}",            "service w: 7.5 is no name"),
        ("[Service]\nCapabilityBoundingSet=NET_ROW\n", "did you mean cap_net_raw"),
        ("{\"schema\": 1}",                            "it is no Compose file"),
    ];
    for (text, words) in rows {
        let err = parse(text).unwrap_err();
        assert!(err.contains(words), "{text}: {err}");
    }
}

#[test]
fn what_deploy_writes_is_read() {
    for format in Format::ALL {
        for user in [None, Some("1000")] {
            let written = format.write(&Settings { caps: TWO, user });
            let read =
                parse(&written).or_else(|_| super::text(&written).map(|source| vec![source]));
            let read = read.unwrap_or_else(|err| panic!("{written}: {err}")).remove(0);
            assert_eq!(read.caps, TWO, "{written}");
            if format != Format::Setcap {
                assert_eq!(read.user.as_deref(), user, "{written}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text: String) {
        let _ = parse(&text);
        let _ = super::text(&text);
    }
}
