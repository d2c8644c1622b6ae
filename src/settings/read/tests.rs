use proptest::prelude::*;

use super::*;
use crate::{
    Cap, CapSet,
    settings::{Format, Profile, Source, User},
};

const RAW: CapSet = CapSet::of(&[Cap::NET_RAW]);
const TWO: CapSet = CapSet::of(&[Cap::NET_RAW, Cap::CHOWN]);

/// The part of settings that a row states: the name, the bounding and the ambient set, the user
/// and no_new_privs.
type Brief = (Option<String>, CapSet, CapSet, Option<String>, bool);

fn brief(settings: &Settings) -> Brief {
    let user = settings.user.user().map(User::to_string);
    let name = settings.name.clone();
    (name, settings.bounding, settings.ambient, user, settings.no_new_privs)
}

fn named(name: &str, brief: Brief) -> Brief {
    (Some(name.to_owned()), brief.1, brief.2, brief.3, brief.4)
}

fn ambient(set: CapSet, brief: Brief) -> Brief {
    (brief.0, brief.1, set, brief.3, brief.4)
}

fn with(caps: CapSet, user: Option<&str>, no_new_privs: bool) -> Brief {
    (None, caps, CapSet::empty(), user.map(str::to_owned), no_new_privs)
}

/// Returns an error with its causes.
fn words(err: &SettingsError) -> String {
    match err {
        SettingsError::Within { subject, source } => format!("{subject}: {}", words(source)),
        err => err.to_string(),
    }
}

/// Reads a text of whatever format.
fn parse(text: &str) -> Result<Vec<Brief>, SettingsError> {
    Ok(read(text, None)?.iter().map(brief).collect())
}

/// Reads an argument that is settings itself.
fn one(argument: &str) -> Result<Brief, SettingsError> {
    match Source::parse(argument, &Context::default()) {
        Ok(Source::Words(settings)) => Ok(brief(&settings)),
        Ok(Source::File { not_words: Some(err), .. }) | Err(err) => Err(err),
        other => panic!("{other:?}"),
    }
}

#[test]
fn documents() {
    let docker = Profile::Docker.given();
    let all = CapSet::NAMED;
    #[rustfmt::skip]
    let rows: &[(&str, &[Brief])] = &[
        // Compose: anchors and merges as well.
        ("services:\n  web:\n    cap_drop: [ALL]\n    cap_add: [NET_RAW, CAP_CHOWN]\n    user: 1000:5\n",
         &[named("web", with(TWO, Some("1000:5"), false))]),
        ("x-a: &a\n  cap_drop: [all]\nservices:\n  a:\n    <<: *a\n    user: 7\n  b:\n    security_opt: [\"no-new-privileges:true\"]\n",
         &[named("a", with(CapSet::empty(), Some("7"), false)), named("b", with(docker, None, true))]),
        ("services: {p: {privileged: true}, q: {cap_drop: [NET_RAW], user: root}}",
         &[named("p", with(all, None, false)), named("q", with(docker - RAW, Some("0"), false))]),
        ("services: {}\n", &[]),
        // Kubernetes.
        ("apiVersion: v1\nkind: Pod\nspec:\n  securityContext: {runAsUser: 1000, runAsGroup: 5}\n  containers:\n  - name: a\n    \
          securityContext:\n      allowPrivilegeEscalation: false\n      capabilities: {drop: [ALL], add: [NET_RAW]}\n  - name: b\n",
         &[named("a", with(RAW, Some("1000:5"), true)), named("b", with(docker, Some("1000:5"), false))]),
        ("apiVersion: v1\nkind: Service\n---\napiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      initContainers: [{name: i}]\n      \
          containers: [{name: c, securityContext: {privileged: true, runAsUser: 0}}]\n",
         &[named("i", with(docker, None, false)), named("c", with(all, Some("0"), false))]),
        ("apiVersion: batch/v1\nkind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, securityContext: {runAsNonRoot: true}}]}}}}}",
         &[named("c", with(docker, None, false))]),
        ("apiVersion: v1\nkind: List\nitems: [{kind: Pod, spec: {containers: [{name: c}]}}]", &[named("c", with(docker, None, false))]),
        ("apiVersion: v1\nkind: ConfigMap\n", &[]),
        // OCI.
        ("{\t\"process\": {\"user\": {\"uid\": 5}, \"noNewPrivileges\": true, \"capabilities\": \
          {\"bounding\": [\"CAP_NET_RAW\"], \"permitted\": [\"CAP_NET_RAW\"], \
           \"inheritable\": [\"CAP_NET_RAW\"], \"ambient\": [\"CAP_NET_RAW\"]}}}",
         &[ambient(RAW, with(RAW, Some("5"), true))]),
        ("{\"process\": {}}", &[with(CapSet::empty(), Some("0"), false)]),
        // docker inspect
        ("[{\"Name\": \"/web\", \"Config\": {\"User\": \"\"}, \"HostConfig\": {\"CapDrop\": [\"ALL\"], \
          \"CapAdd\": [\"CAP_NET_RAW\"], \"SecurityOpt\": [\"no-new-privileges\"], \"Privileged\": false}}]",
         &[named("web", with(RAW, Some("0"), true))]),
        ("[{\"Name\": \"/web\", \"Config\": {}, \"HostConfig\": {\"CapDrop\": null, \"Privileged\": true}}]",
         &[named("web", with(all, Some("0"), false))]),
        // Reports of rcap's.
        ("{\"schema\": 1, \"candidates\": [\"cap_net_raw\", \"63\"]}",
         &[with(RAW | CapSet::from_bits(1 << 63), None, false)]),
        ("{\"schema\": 1, \"candidates\": [\"cap_chown\"], \"minimum\": [\"cap_net_raw\"]}", &[with(RAW, None, false)]),
        // systemd
        ("[Unit]\nUser=x\n[Service]\nUser=www\nCapabilityBoundingSet=CAP_NET_RAW \\\n  # not this\n CAP_CHOWN\nAmbientCapabilities=CAP_NET_RAW\nNoNewPrivileges=true\n",
         &[ambient(RAW, with(TWO, Some("www"), true))]),
        ("[Service]\nExecStart=/bin/true\n", &[with(all, Some("0"), false)]),
        ("[Service]\nCapabilityBoundingSet=\n", &[with(CapSet::empty(), Some("0"), false)]),
        ("[Service]\nCapabilityBoundingSet=~CAP_NET_RAW\n", &[with(all - RAW, Some("0"), false)]),
        ("[Service]\nCapabilityBoundingSet=CAP_NET_RAW\nCapabilityBoundingSet=CAP_CHOWN\n", &[with(TWO, Some("0"), false)]),
        ("[Service]\nCapabilityBoundingSet=CAP_NET_RAW CAP_CHOWN\nCapabilityBoundingSet=~CAP_CHOWN\n", &[with(RAW, Some("0"), false)]),
        ("[Service]\nCapabilityBoundingSet=CAP_CHOWN\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_NET_RAW\n", &[with(RAW, Some("0"), false)]),
        ("[Service]\nCapabilityBoundingSet=~\n", &[with(all, Some("0"), false)]),
        ("[Service]\nDynamicUser=yes\nCapabilityBoundingSet=\n", &[with(CapSet::empty(), None, true)]),
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
    #[rustfmt::skip]
    let rows = [
        ("docker",                                          with(docker, None, false)),
        ("a80425fb",                                        with(docker, None, false)),
        ("cap_net_raw=ep",                                  with(RAW, None, false)),
        ("NET_RAW,chown",                                   with(TWO, None, false)),
        ("--cap-drop=ALL --cap-add=NET_RAW --user=7",       with(RAW, Some("7"), false)),
        ("docker run --cap-drop ALL --cap-add NET_RAW -u 0 i", with(RAW, Some("0"), false)),
        ("docker run --security-opt=no-new-privileges --privileged i", with(CapSet::NAMED, None, true)),
        ("podman run --cap-drop=all --cap-add=net_raw --user 5 i", ambient(RAW, with(RAW, Some("5"), false))),
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
        ("pid:x",             "by its number"),
        ("pid:4294967296",    "by its number"),
        ("--cap-add=net_row", "did you mean cap_net_raw"),
        ("cap_net_raw=x",     "cap_net_raw=x"),
        ("",                  "unknown capability"),
    ];
    for (text, part) in rows {
        let err = words(&one(text).unwrap_err());
        assert!(err.contains(part), "{text}: {err}");
    }
}

/// The argument alone decides, and not the files that exist.
#[test]
fn arguments_that_name_a_place() {
    let file = |format, path| Ok((format, path));
    #[rustfmt::skip]
    let rows = [
        ("/nonexistent",       file(None, "/nonexistent")),
        ("nonexistent.yaml:w", file(None, "nonexistent.yaml:w")),
        ("./docker",           file(None, "./docker")),
        ("-",                  Err("unknown capability \"-\"")),
        ("compose:docker:w",   file(Some(InputFormat::Compose), "docker:w")),
        ("unit:-",             file(Some(InputFormat::Unit), "-")),
        ("words:",             file(Some(InputFormat::Words), "")),
    ];
    for (argument, want) in rows {
        let got = match Source::parse(argument, &Context::default()) {
            Ok(Source::File { format, path, not_words: None }) => Ok((format, path)),
            Ok(Source::File { format: None, path, not_words: Some(err) }) if path == argument => {
                Err(err.to_string())
            }
            other => panic!("{argument}: {other:?}"),
        };
        assert_eq!(got, want.map_err(str::to_owned), "{argument}");
    }
    assert_eq!(Source::parse("pid:1", &Context::default()), Ok(Source::Process(1)));
}

#[test]
fn texts_that_are_refused() {
    #[rustfmt::skip]
    let rows = [
        ("a: 1\n",                                     "unknown format; not one of: a Compose file"),
        ("a: [",                                       "unclosed"),
        ("services: {w: {cap_add: [NET_ROW]}}",        "service w: unknown capability \"net_row\"; did you mean"),
        ("services: {w: {cap_add: [7.5]}}",            "service w: 7.5 is not the name"),
        ("{\"schema\": 1}",                            "unknown format; not one of: a Compose file"),
    ];
    for (text, part) in rows {
        let err = words(&parse(text).unwrap_err());
        assert!(err.contains(part), "{text}: {err}");
    }
}

/// A field of a file does not choose its reader.
#[test]
fn formats_by_structure() {
    let all = CapSet::NAMED;
    let hidden = "services:\n  web:\n    privileged: true\n    labels:\n      note: |\n        ";
    for text in ["[Service]\n        CapabilityBoundingSet=", "CapPrm: 0", "\"schema\": 1"] {
        let text = format!("{hidden}{text}\n");
        assert_eq!(
            parse(&text).as_deref(),
            Ok(&[named("web", with(all, None, false))][..]),
            "{text}"
        );
    }
    // A document of the file that begins in the first column.
    let text = "--- |\n[Service]\nCapabilityBoundingSet=\n---\nservices: {w: {privileged: true}}\n";
    assert_eq!(parse(text), Err(SettingsError::MixedDocuments { document: 1 }));
    #[rustfmt::skip]
    let ambiguous = [
        ("services: {w: {privileged: true}}\nprocess: {}\n", ["compose:FILE", "oci:FILE"]),
        ("services: {}\napiVersion: v1\nkind: Pod\n",        ["compose:FILE", "kubernetes:FILE"]),
        ("process: {}\nschema: 1\ncaps: []\n",               ["oci:FILE", "report:FILE"]),
        ("Name: x\nCapPrm: 0\nprocess: {capabilities: {bounding: [CAP_SYS_ADMIN]}}\n", ["oci:FILE", "status:FILE"]),
    ];
    for (text, prefixes) in ambiguous {
        let err = words(&parse(text).unwrap_err());
        assert!(
            err.starts_with("is ambiguous") && prefixes.iter().all(|one| err.contains(one)),
            "{err}"
        );
    }
    // The one that is named.
    let named_format = |prefix: &str, text: &str| {
        let format = InputFormat::ALL.into_iter().find(|format| format.name() == prefix);
        read(text, format)
    };
    assert_eq!(named_format("oci", ambiguous[0].0).unwrap()[0].bounding, CapSet::empty());
    assert_eq!(named_format("compose", ambiguous[0].0).unwrap()[0].bounding, all);
    let err = named_format("unit", ambiguous[0].0).unwrap_err();
    assert_eq!(err.to_string(), "is not a systemd unit");
    // A unit begins with a section, and has one of a service.
    for text in [
        "x: 1\n[Service]\n",
        "User=x\n[Service]\n",
        "[Unit]\n",
        "# [Service]\n[Unit]\n",
        "[Service\n",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    let service = parse("\n# comment\n; comment\n[Service]\n").unwrap();
    assert_eq!(service, [with(all, Some("0"), false)]);
    // Twice is resolved in different ways.
    let err = words(&parse("{\"process\": {}, \"process\": {}}").unwrap_err());
    assert!(err.contains("the key \"process\" is there twice"), "{err}");
    assert!(parse("services: {}\nservices: {}\n").is_err());
    assert!(parse("Name:\tx\nCapPrm:\t0\nCapPrm:\t1\n").is_err());
}

/// An unreadable value is an error, and not the default.
#[test]
fn values_that_are_not_read() {
    #[rustfmt::skip]
    let rows = [
        ("services: {w: {privileged: \"${P}\"}}",            "privileged: \"\" is not true or false"),
        ("services: {w: {privileged: \"${P\"}}",            "has a variable that Compose refuses"),
        ("services: {w: {privileged: 1}}",                   "privileged: 1 is not"),
        ("services: {w: {user: \"0x0\"}}",                 "expected a name, or a decimal number"),
        ("services: {w: {user: -1}}",                        "expected a name, or a decimal number"),
        ("services: {w: {user: [0]}}",                       "user: [0] is neither a number nor a name"),
        ("{\"process\": {\"user\": {\"uid\": 4294967295}}}", "expected a name, or a decimal number"),
        ("[Service]\nUser=a b\n",                            "expected a name, or a decimal number"),
    ];
    for (text, part) in rows {
        let err = words(&parse(text).unwrap_err());
        assert!(err.contains(part), "{text}: {err}");
    }
    for root in ["0", "00", "+0", "root", "0:0"] {
        let want = root.parse::<User>().unwrap().to_string();
        for text in [
            format!("services: {{w: {{user: \"{root}\"}}}}"),
            format!("[Service]\nUser={root}\n").replace(':', "\nGroup="),
        ] {
            assert_eq!(parse(&text).unwrap()[0].3.as_deref(), Some(&*want), "{text}");
        }
        assert_eq!(one(&format!("docker run --user {root} i")).unwrap().3.as_deref(), Some(&*want));
    }
    let quoted = "services: {w: {privileged: \"true\", user: \"a$$b\"}}";
    assert_eq!(parse(quoted), Ok(vec![named("w", with(CapSet::NAMED, Some("a$b"), false))]));
    // A backslash that is escaped does not join lines, nor does one before a blank.
    for end in ["\\\\", "\\ "] {
        let text = format!("[Service]\nExecStart=/bin/x {end}\nCapabilityBoundingSet=\n");
        assert_eq!(parse(&text).unwrap()[0].1, CapSet::empty(), "{text}");
    }
}

#[test]
fn written_settings_are_read() {
    let names = ["1000", "1000:5", "nobody", "www-data:adm", "machine$", "a%b\"c'", "DOM\\me"];
    for format in Format::ALL {
        for user in [None].into_iter().chain(names.map(Some)) {
            let wanted = user.map(|user| user.parse::<User>().unwrap());
            let settings = Settings::new(TWO);
            let settings = match wanted.clone() {
                Some(user) => settings.for_user(user),
                None => settings,
            };
            let Ok(written) = format.write(&settings) else { continue };
            if [Format::Label, Format::Quadlet].contains(&format) {
                continue;
            }
            let read = parse(&written).unwrap_or_else(|err| panic!("{written}: {err}")).remove(0);
            assert_eq!(read.1, TWO, "{written}");
            // A shell takes the quotes away, which is not done here.
            let is_quoted = ["--user='", "--reuid='"].iter().any(|text| written.contains(text));
            let got = read.3.map(|user| user.parse::<User>().unwrap());
            let id = |user: Option<&User>| user.map(|user| user.id().clone());
            let has_user = user.is_some() && ![Format::Setcap, Format::Label].contains(&format);
            if has_user && !is_quoted {
                assert_eq!(id(got.as_ref()), id(wanted.as_ref()), "{written}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text: String) {
        let _ = read(&text, None);
        let _ = Source::parse(&text, &Context::default());
    }
}
