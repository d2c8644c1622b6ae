//! Sources, and the settings that are read from them.

use serde_json::{Value, json};

use super::{
    common::{directory, program, ran},
    export, subjects, write,
};

/// The names in a set of a subject, without their prefix; `all` and `14` for large ones.
fn brief(set: &Value) -> String {
    let names = set.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let names: Vec<&str> = names.map(|name| name.trim_start_matches("cap_")).collect();
    match names.len() {
        41.. => "all".to_owned(),
        6.. => names.len().to_string(),
        _ => names.join(","),
    }
}

/// Sources and their settings: the user, whether it is root, the bounding, permitted and ambient set,
/// no_new_privs, and a part of a remark.
pub(crate) fn sources() {
    let dir = directory();
    #[rustfmt::skip]
    let files: &[(&str, &str, [&str; 7])] = &[
        // Units: the words that systemd takes, and the settings that imply others.
        ("words.service",   "[Service]\nCapabilityBoundingSet=CAP_CHOWN,CAP_KILL\nExecStart=/opt/x\n",         ["0", "true", "", "", "", "false", "separated by blanks"]),
        ("every.service",   "[Service]\nCapabilityBoundingSet=ALL\n",                                           ["0", "true", "", "", "", "false", "skips \"ALL\""]),
        ("quotes.service",  "[Service]\nCapabilityBoundingSet='CAP_KILL' CAP_CHOWN\n",                          ["0", "true", "chown,kill", "chown,kill", "", "false", ""]),
        ("unknown.service", "[Service]\nCapabilityBoundingSet=CAP_KILL CAP_KIL\n",                              ["0", "true", "kill", "kill", "", "false", "skips \"CAP_KIL\""]),
        ("place.service",   "[Unit]\nUser=daemon\n[Service]\nCapabilityBoundingSet=\n",                         ["0", "true", "", "", "", "false", "User= is in [Unit]"]),
        ("spelled.service", "[Service]\nUser=daemon\nAmbientCapability=CAP_KILL\n",                            ["daemon", "false", "all", "", "", "false", "did you mean AmbientCapabilities=?"]),
        ("user.service",    "[Service]\nUser=daemon\n",                                                         ["daemon", "false", "all", "", "", "false", ""]),
        ("ambient.service", "[Service]\nUser=daemon\nAmbientCapabilities=CAP_KILL\n",                          ["daemon", "false", "all", "all", "kill", "false", ""]),
        ("plus.service",    "[Service]\nUser=daemon\nCapabilityBoundingSet=\nExecStart=+/opt/x\n",             ["0", "true", "all", "all", "", "false", "ExecStart=+"]),
        ("mark.service",    "[Service]\nUser=daemon\nCapabilityBoundingSet=CAP_KILL\nExecStart=!/opt/x\n",     ["0", "true", "kill", "kill", "", "false", "ExecStart=!"]),
        ("noroot.service",  "[Service]\nSecureBits=noroot\n",                                                   ["0", "true", "all", "all", "", "false", ""]),
        ("clock.service",   "[Service]\nCapabilityBoundingSet=CAP_SYS_TIME CAP_KILL\nProtectClock=yes\n",      ["0", "true", "kill", "kill", "", "false", ""]),
        ("filter.service",  "[Service]\nUser=daemon\nLockPersonality=yes\n",                                    ["daemon", "false", "all", "40", "", "false", "before systemd 255"]),
        ("x@.service",      "[Service]\nUser=%i\n",                                                             ["", "", "all", "", "", "false", "depends on the instance"]),
        ("x@www.service",   "[Service]\nUser=%i\n",                                                             ["www", "false", "all", "", "", "false", ""]),
        ("dynamic.service", "[Service]\nDynamicUser=yes\n",                                                     ["", "false", "all", "", "", "true", "takes a free user id"]),
        ("show",            "# of a machine\nId=a.service\nCapabilityBoundingSet=cap_kill\nUser=www\n",        ["www", "false", "kill", "", "", "false", ""]),
        ("web.container",   "[Container]\nImage=x\nDropCapability=ALL\nAddCapability=KILL\nUser=7\nNoNewPrivileges=yes\n[Service]\nRestart=no\n", ["7", "false", "kill", "kill", "kill", "true", ""]),
        // Compose.
        ("extends.yml",     "services:\n  a: {extends: b, cap_add: [KILL]}\n  b: {image: x, cap_drop: [ALL], user: 5}\n", ["5", "false", "kill", "kill", "", "false", ""]),
        ("variables.yml",   "services:\n  a: {image: x, user: \"${RCAP_NO:-7}:8\", cap_drop: [ALL], cap_add: [\"${RCAP_NO:-KILL}\"]}\n", ["7:8", "false", "kill", "kill", "", "false", ""]),
        ("one.yml",         "a:\n  image: x\n  cap_drop: [ALL]\n",                                              ["", "", "", "", "", "false", "docker-compose 1"]),
        ("yes.yml",         "services: {a: {image: x, privileged: \"true\"}}",                                  ["", "", "all", "all", "", "false", ""]),
        // Kubernetes.
        ("prefix.yaml",     "kind: Pod\nspec: {containers: [{name: a, securityContext: {capabilities: {drop: [ALL], add: [CAP_KILL]}}}]}", ["", "", "", "", "", "false", "write KILL"]),
        ("both.yaml",       "kind: Pod\nspec: {containers: [{name: a, securityContext: {capabilities: {drop: [ALL, KILL], add: [KILL, CHOWN]}}}]}", ["", "", "chown", "chown", "", "false", ""]),
        ("pod.yaml",        "kind: Pod\nspec: {securityContext: {capabilities: {drop: [ALL]}}, containers: [{name: a}]}", ["", "", "14", "14", "", "false", "of the pod is not a field"]),
        ("nonroot.yaml",    "kind: Pod\nspec: {containers: [{name: a, securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false}}]}", ["", "false", "14", "14", "", "true", ""]),
        ("custom.yaml",     "apiVersion: x/v1\nkind: Thing\nspec: {pool: {podTemplate: {spec: {containers: [{name: a, securityContext: {runAsUser: 7}}]}}}}", ["7", "false", "14", "14", "", "false", ""]),
        // OCI: exact names.
        ("config.json",     "{\"process\": {\"capabilities\": {\"bounding\": [\"KILL\", \"cap_chown\", \"CAP_KILL\"]}}}", ["0", "true", "kill", "", "", "false", "gives nothing with runc"]),
    ];
    #[rustfmt::skip]
    let lines: &[(&str, [&str; 7])] = &[
        ("docker run img prog --user=5",                        ["", "", "14", "14", "", "false", "after the image"]),
        ("docker run img prog --privileged",                    ["", "", "14", "14", "", "false", "after the image"]),
        ("docker run -u7 img",                                  ["7", "false", "14", "14", "", "false", "Docker up to 24"]),
        ("docker run -dtu 7 img",                               ["7", "false", "14", "14", "", "false", ""]),
        ("sudo -E docker run --cap-drop ALL img",               ["", "", "", "", "", "false", ""]),
        ("$ A=b docker --context x run --cap-drop=all img",     ["", "", "", "", "", "false", ""]),
        ("docker run --privileged=0 img",                       ["", "", "14", "14", "", "false", ""]),
        ("docker run --privileged img",                         ["", "", "all", "all", "", "false", ""]),
        ("docker run --security-opt no-new-privileges=1 img",   ["", "", "14", "14", "", "true", ""]),
        ("docker run --cap-add KILL --cap-drop KILL img",       ["", "", "14", "14", "", "false", ""]),
        ("podman run --cap-drop all --cap-add kill,chown -u 7 img", ["7", "false", "chown,kill", "chown,kill", "chown,kill", "false", ""]),
        ("docker run -u $(id -u) img",                          ["", "", "14", "14", "", "false", "set by the shell"]),
        ("nerdctl create --cap-drop all --cap-add kill img",    ["", "", "kill", "kill", "", "false", ""]),
        ("cri-o",                                               ["", "", "9", "9", "", "false", ""]),
    ];
    let files = files.iter().map(|(name, text, want)| (write(dir.path(), name, text), *want));
    let lines = lines.iter().map(|(line, want)| ((*line).to_owned(), *want));
    for (source, want) in files.chain(lines) {
        let subject = &subjects(&["--from", &source])[0];
        let flag = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
        let got = [
            subject["user"].as_str().unwrap_or_default().to_owned(),
            flag(&subject["root"]),
            brief(&subject["bounding"]),
            brief(&subject["permitted"]),
            brief(&subject["ambient"]),
            flag(&subject["no_new_privs"]),
        ];
        assert_eq!(got, want[..6], "{source}: {subject}");
        assert!(
            subject["notes"].to_string().contains(&want[6].replace('"', "\\\"")),
            "{source}: {subject}"
        );
    }
    let old = subjects(&[
        "--engine",
        "systemd@252",
        "--from",
        &write(dir.path(), "old.service", "[Service]\nUser=a\nLockPersonality=1\n"),
    ]);
    assert_eq!((&old[0]["no_new_privs"], &old[0]["engine"]), (&json!(true), &json!("systemd@252")));
    let old = subjects(&["--engine", "docker@24", "--from", "docker run -u 7 img"]);
    assert_eq!(old[0]["permitted"], json!([]));
    for (source, words) in [
        ("docker run --cap-add NET_ADMIN,SYS_TIME img", "takes one name for each option"),
        ("podman run --cap-add kill --cap-drop kill img", "both added and dropped"),
        ("docker run --no-such 3 img", "--no-such is not a known option"),
        ("docker run --cap-ad 3 img", "the next word; did you mean --cap-add?"),
        ("docker exec --privileged c sh", "is not run or create"),
        ("pid:4294967295", "does not exist"),
        (
            &*write(
                dir.path(),
                "argo.yaml",
                "apiVersion: a/v1\nkind: Workflow\nspec: {templates: [{container: {name: m}}]}",
            ),
            "no service or container in it",
        ),
        (
            &write(dir.path(), "typo.yml", "services: {a: {image: x, cap_add: [NET_BIND]}}"),
            "did you mean cap_net_bind_service",
        ),
    ] {
        let ran = export(&["--to", "json", "--from", source]);
        assert!(ran.status != Some(0) && ran.err.contains(words), "{source}: {ran:?}");
    }
}

/// Hundreds of aliases of one anchor are read.
pub(crate) fn many_aliases() {
    let dir = directory();
    let services: Vec<String> =
        (0..600).map(|n| format!("  s{n}: {{image: x, <<: *d}}\n")).collect();
    let services = services.concat();
    let many = format!("x-d: &d {{cap_drop: [ALL]}}\nservices:\n{services}");
    assert_eq!(subjects(&["--from", &write(dir.path(), "many.yml", &many)]).len(), 600);
}

pub(crate) fn directories() {
    let dir = directory();
    let at = |name: &str, text: &str| write(dir.path(), name, text);
    at(
        "compose.yaml",
        "services: {web: {image: x, cap_drop: [ALL]}, db: {extends: {file: base/b.yaml, service: b}}}",
    );
    at("compose.override.yaml", "services: {web: {cap_add: [KILL], user: $USER_OF_WEB}}");
    at(".env", "# a comment\nUSER_OF_WEB=\"7\"\n");
    at("base/b.yaml", "services: {b: {image: x, extends: {file: c.yaml, service: c}}}");
    at("base/c.yaml", "services: {c: {image: x, cap_add: [SYS_TIME]}}");
    at("a.service", "[Service]\nUser=daemon\n");
    at("a.service.d/1.conf", "[Service]\nAmbientCapabilities=CAP_KILL\n");
    at("README.md", "# no settings: [\n");
    at("pid", "1234\n");
    at("word", "net_raw\n");
    let all = subjects(&["--from", &dir.path().display().to_string()]);
    let names: Vec<&str> = all.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.service", "b", "c", "db", "web"]);
    assert_eq!(all[0]["ambient"], json!(["cap_kill"]));
    assert!(all[3]["bounding"].to_string().contains("cap_sys_time"), "{}", all[3]);
    assert_eq!((&all[4]["bounding"], &all[4]["user"]), (&json!(["cap_kill"]), &json!("7")));
    let compose = subjects(&["--from", &format!("compose:{}", dir.path().display())]);
    assert_eq!(compose.len(), 2);
    let diff = |one: &str, other: &str| {
        let paths = [one, other].map(|name| dir.path().join(name));
        ran(program("rcap").arg("diff").args(paths))
    };
    assert_eq!(diff("base", "base").status, Some(0));
    at("more/c.yaml", "services: {c: {image: x, cap_add: [SYS_TIME, SYS_ADMIN]}, b: {image: x}}");
    let more = diff("more", "base");
    assert_eq!(more.status, Some(1), "{more:?}");
    assert!(more.out.contains("bounding cap_sys_admin"), "{more:?}");
    assert_eq!(diff("base/c.yaml", "base/c.yaml").out, "");
}

pub(crate) fn ambiguous_names() {
    let dir = directory();
    let object = |name: &str, cap: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec: {{template: \
             {{spec: {{containers: [{{name: c, securityContext: {{capabilities: {{drop: [ALL], add: \
             [{cap}]}}}}}}]}}}}}}\n---\n"
        )
    };
    let path =
        write(dir.path(), "two.yaml", &[object("one", "KILL"), object("two", "CHOWN")].concat());
    let ran = export(&["--to", "docker", "--from", &format!("{path}:c")]);
    assert_eq!(ran.out, "");
    assert!(ran.err.contains("deployment/one:c, deployment/two:c"), "{ran:?}");
    let one = subjects(&["--from", &format!("{path}:deployment/two:c")]);
    assert_eq!((one.len(), &one[0]["bounding"]), (1, &json!(["cap_chown"])));
}
