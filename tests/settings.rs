//! The readers and writers of settings beside those that they describe: what is read is what the
//! real engine does, and what is written never starts a process with more than its source has.

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Ran, directory,
    docker::{DOCKER, Daemon, root_file_system},
    program, ran,
    sets::{Numbers, Sets, random_setpriv},
};
use rcap::{
    Cap,
    exec::FileFacts,
    file::FileCaps,
    settings::{self, Context, Engine, Format, Settings, Source, Target},
};
use serde_json::{Value, json};

tests! {
    Nothing:
        sources,
        many_aliases,
        directories,
        ambiguous_names,
        json_schema;
    Nothing ["docker-compose"]:
        compose_resolves,
        compose_override;
    Root ["capsh", "setpriv"]:
        launchers_keep_what_a_file_has;
    Root ["setpriv"]:
        setpriv_is_never_given_more;
    Root ["busybox crun mount runc setpriv umount unshare"]:
        bundles;
    Root [DOCKER]:
        docker_lines;
    Root ["busybox crun mount podman tar umount unshare"]:
        podman_lines;
}

fn export(args: &[&str]) -> Ran {
    ran(program("rcap").arg("export").args(args).stdin(Stdio::null()))
}

/// The subjects of a source.
#[track_caller]
fn subjects(args: &[&str]) -> Vec<Value> {
    let ran = export(&[&["--to", "json"], args].concat());
    assert_eq!(ran.status, Some(0), "{args:?}: {ran:?}");
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(document["schema"], 2);
    document["subjects"].as_array().unwrap().clone()
}

/// The settings of words, in this process.
fn read(words: &str) -> Settings {
    match Source::parse(words, &Context::default()) {
        Ok(Source::Words(settings)) => settings,
        other => panic!("{words}: {other:?}"),
    }
}

/// The sets of a program that a command line starts.
#[track_caller]
fn started(line: &str) -> Sets {
    let ran = ran(Command::new("sh").args(["-c", &format!("{line} cat /proc/self/status")]));
    Sets::of_status(&ran.out).unwrap_or_else(|| panic!("{line}: {ran:?}"))
}

/// Launchers that keep their own permitted set until execve(2), and a program whose file has
/// capabilities.
fn launchers_keep_what_a_file_has() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let cat = dir.path().join("cat");
    fs::copy(common::which("cat").unwrap(), &cat).unwrap();
    let caps = FileCaps { permitted: Cap::NET_RAW | Cap::KILL, effective: true, ..FileCaps::EMPTY };
    let _ = rcap::file::write(&cat, &caps).unwrap();
    let cat = cat.display().to_string();
    let user = "--reuid=1000 --regid=1000 --clear-groups";
    let ids = "--gid=1000 --groups=1000";
    for (launcher, gained) in [
        (format!("setpriv {user} --"), 2),
        (format!("setpriv {user} --no-new-privs --"), 2),
        (format!("setpriv {user} --no-new-privs --bounding-set=-all,+kill,+net_raw --"), 2),
        (
            format!(
                "setpriv {user} --inh-caps=-all,+chown --ambient-caps=-all,+chown --no-new-privs --"
            ),
            2,
        ),
        ("setpriv --bounding-set=-all,+kill,+net_raw --no-new-privs --".to_owned(), 2),
        (format!("capsh {ids} --cap-uid=1000 --no-new-privs --shell={cat} --"), 2),
        (format!("capsh {ids} --uid=1000 --no-new-privs --shell={cat} --"), 0),
        (format!("capsh {ids} --uid=1000 --shell={cat} --"), 2),
    ] {
        let is_capsh = launcher.starts_with("capsh");
        let program = if is_capsh { "" } else { &cat };
        let line = format!("{launcher} {program} /proc/self/status");
        let ran = ran(Command::new("sh").args(["-c", &line]));
        let real = Sets::of_status(&ran.out).unwrap_or_else(|| panic!("{line}: {ran:?}"));
        let file = FileFacts::with_caps(caps);
        let source = read(&format!("{launcher} cat"));
        assert_eq!(real, Sets::expected_of(&source, &file), "{line}");
        assert_eq!((real.permitted & caps.permitted).len(), gained, "{line}");
        // The remark about no-new-privs is true of the command that is written.
        let written = Format::Setpriv.export(&source, &Target::default()).unwrap();
        let again = read(&format!("{} cat", written.text));
        let gained = again.execute(&file).map(|outcome| outcome.after.caps.permitted);
        let gives = gained.is_ok_and(|gained| !(gained - again.granted()).is_empty());
        let words = written.caveats.concat();
        assert!(
            !(gives && words.contains("file capabilities give nothing more")),
            "{line}: {words}"
        );
    }
}

/// Every format as a source, its process as the model has it, and setpriv as the target, which is
/// started: two thousand conversions.
fn setpriv_is_never_given_more() {
    let mut numbers = Numbers(1);
    let mut conversions = 0;
    for round in 0..600 {
        let line = random_setpriv(&mut numbers);
        let source = read(&format!("{line} -- cat"));
        // The model is what setpriv does.
        let real = started(&format!("{line} --"));
        assert_eq!(real, Sets::expected(&source), "{line}");
        let mut ways = vec![source.clone()];
        // By way of another format, which may lose something.
        let formats = [Format::Oci, Format::Json, Format::Systemd, Format::Docker, Format::Podman];
        for format in formats {
            let Ok(text) = format.write(&source) else { continue };
            let text = match format {
                Format::Docker | Format::Podman => format!("{} run {text} image", format.name()),
                _ => text,
            };
            let middle = settings::read(&text, None).unwrap_or_else(|err| {
                panic!("{text}: {err}");
            });
            ways.push(middle[0].clone());
        }
        for way in ways {
            if way.user.user().is_none() && way.engine.as_ref().is_some_and(Engine::has_images) {
                continue;
            }
            let written = Format::Setpriv.export(&way, &Target::default()).unwrap();
            let context = format!("{round}: {line} as {}", written.text);
            started(&written.text).assert_within(&real, &context);
            conversions += 1;
        }
    }
    assert!(conversions > 2000, "{conversions}");
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

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
fn sources() {
    let dir = directory();
    #[rustfmt::skip]
    let files: &[(&str, &str, [&str; 7])] = &[
        // Units: the words that systemd takes, and the settings that imply others.
        ("words.service",   "[Service]\nCapabilityBoundingSet=CAP_CHOWN,CAP_KILL\nExecStart=/opt/x\n",         ["0", "true", "", "", "", "false", "separated by blanks"]),
        ("every.service",   "[Service]\nCapabilityBoundingSet=ALL\n",                                           ["0", "true", "", "", "", "false", "skips \"ALL\""]),
        ("quotes.service",  "[Service]\nCapabilityBoundingSet='CAP_KILL' CAP_CHOWN\n",                          ["0", "true", "chown,kill", "chown,kill", "", "false", ""]),
        ("unknown.service", "[Service]\nCapabilityBoundingSet=CAP_KILL CAP_KIL\n",                              ["0", "true", "kill", "kill", "", "false", "skips \"CAP_KIL\""]),
        ("user.service",    "[Service]\nUser=daemon\n",                                                         ["daemon", "false", "all", "", "", "false", ""]),
        ("ambient.service", "[Service]\nUser=daemon\nAmbientCapabilities=CAP_KILL\n",                          ["daemon", "false", "all", "all", "kill", "false", ""]),
        ("plus.service",    "[Service]\nUser=daemon\nCapabilityBoundingSet=\nExecStart=+/opt/x\n",             ["0", "true", "all", "all", "", "false", "ExecStart=+"]),
        ("mark.service",    "[Service]\nUser=daemon\nCapabilityBoundingSet=CAP_KILL\nExecStart=!/opt/x\n",     ["0", "true", "kill", "kill", "", "false", "ExecStart=!"]),
        ("noroot.service",  "[Service]\nSecureBits=noroot\n",                                                   ["0", "true", "all", "all", "", "false", ""]),
        ("clock.service",   "[Service]\nCapabilityBoundingSet=CAP_SYS_TIME CAP_KILL\nProtectClock=yes\n",      ["0", "true", "kill", "kill", "", "false", ""]),
        ("filter.service",  "[Service]\nUser=daemon\nLockPersonality=yes\n",                                    ["daemon", "false", "all", "", "", "false", "before systemd 255"]),
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
        ("docker exec --privileged c sh", "is not run or create"),
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
fn many_aliases() {
    let dir = directory();
    let services: Vec<String> =
        (0..600).map(|n| format!("  s{n}: {{image: x, <<: *d}}\n")).collect();
    let services = services.concat();
    let many = format!("x-d: &d {{cap_drop: [ALL]}}\nservices:\n{services}");
    assert_eq!(subjects(&["--from", &write(dir.path(), "many.yml", &many)]).len(), 600);
}

fn directories() {
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

fn ambiguous_names() {
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

/// Whether a value is valid by the part of JSON Schema that docs/export.schema.json uses.
fn check(value: &Value, schema: &Value, root: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a definition");
        return check(value, target, root, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let is_typed = types.iter().any(|one| one == kind || one.is_null());
    assert!(is_typed, "{at}: {value} is not {types:?}");
    if let Some(want) = schema.get("const") {
        assert_eq!(value, want, "{at}");
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{at} lacks {required}");
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(key) {
            Some(schema) => check(value, schema, root, &format!("{at}.{key}")),
            None => assert_ne!(schema["additionalProperties"], false, "{at}.{key} is not in it"),
        }
    }
    for item in value.as_array().into_iter().flatten().filter(|_| schema.get("items").is_some()) {
        check(item, &schema["items"], root, &format!("{at}[]"));
    }
}

fn json_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/export.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let dir = directory();
    let two = write(
        dir.path(),
        "two.yml",
        "services: {a: {image: x, user: 5, command: a b}, b: {image: y, privileged: true}}",
    );
    let unit = write(
        dir.path(),
        "x@.service",
        "[Service]\nUser=%i\nSecureBits=noroot\nCapabilityBoundingSet=x\n",
    );
    for source in [&*two, &unit, "docker", "net_raw", "pid:1", "podman run -u 5 --group-add 7 i"] {
        let ran = export(&["--to", "json", "--from", source]);
        let document: Value = serde_json::from_str(&ran.out).unwrap();
        check(&document, &schema, &schema, "document");
        // It is a source itself, of the same settings.
        let path = write(dir.path(), "again.json", &ran.out);
        assert_eq!(export(&["--to", "json", "--from", &path]).out, ran.out, "{source}");
    }
}

/// A project and the output of `docker-compose config` for it are read as the same settings.
fn compose_resolves() {
    let base = "version: '2.4'\nservices:\n  base: {image: x, cap_drop: [ALL], security_opt: ['no-new-privileges:true'], user: '5'}\n";
    #[rustfmt::skip]
    let projects: &[(&str, Option<&str>)] = &[
        ("  a: {extends: base, cap_add: [KILL], user: '6'}\n", None),
        ("  a: {extends: {service: base}, privileged: true}\n", None),
        ("  a: {image: x, user: '${RCAP_A:-7}', cap_add: ['${RCAP_A-KILL}']}\n", None),
        ("  a: {image: x, user: '$$x', privileged: 'yes'}\n", None),
        ("  a: {image: x, user: '${RCAP_A}'}\n", None),
        ("  a: {image: x, cap_add: [KILL], cap_drop: [CHOWN], user: '1'}\n", Some("  a: {cap_add: [SYS_TIME], cap_drop: [ALL], user: '2', command: x}\n")),
        ("  a: {image: x, security_opt: ['label:disable']}\n", Some("  a: {security_opt: ['no-new-privileges:true'], privileged: true}\n")),
        ("  a: {image: x}\n", Some("  b: {image: y, cap_add: [KILL]}\n")),
    ];
    for (text, more) in projects {
        let dir = directory();
        let path = write(dir.path(), "docker-compose.yml", &format!("{base}{text}"));
        if let Some(more) = more {
            write(
                dir.path(),
                "docker-compose.override.yml",
                &format!("version: '2.4'\nservices:\n{more}"),
            );
        }
        let ran = ran(Command::new("docker-compose").arg("config").current_dir(dir.path()));
        assert_eq!(ran.status, Some(0), "{text}: {ran:?}");
        let resolved = write(dir.path(), "resolved/x.yml", &ran.out);
        assert_eq!(
            subjects(&["--from", &path]),
            subjects(&["--from", &resolved]),
            "{text}: {}",
            ran.out
        );
    }
    // An override file that rcap writes is merged.
    let dir = directory();
    let path =
        write(dir.path(), "c.yml", "version: '2.4'\nservices: {web: {image: x, privileged: true}}");
    let args = ["--to", "compose-override", "--service", "web", "--user", "7", "kill"];
    let unchecked = export(&args);
    assert!(unchecked.out.starts_with("# not compared with the file"), "{unchecked:?}");
    assert!(unchecked.err.contains("not compared with the file"), "{unchecked:?}");
    let text = format!("version: '2.4'\n{}", unchecked.out);
    let other = write(dir.path(), "o.yml", &text);
    let merged = ran(Command::new("docker-compose").args(["-f", &path, "-f", &other, "config"]));
    assert_eq!(merged.status, Some(0), "{merged:?}");
    let one = &subjects(&["--from", &write(dir.path(), "merged.yml", &merged.out)])[0];
    assert_eq!(
        (&one["bounding"], &one["user"]),
        (&json!(["cap_kill"]), &json!("7")),
        "{}",
        merged.out
    );
}

/// Services, what is exported for their override file, and the set in which the merged service has
/// more. The service that `docker-compose config` merges from both files never has more.
fn compose_override() {
    #[rustfmt::skip]
    let rows: &[(&str, &[&str], Option<&str>)] = &[
        ("{image: x, cap_add: [CHOWN]}",                  &["kill"],                            Some("bounding")),
        ("{image: x, cap_add: [KILL], user: '5'}",        &["kill,chown"],                      None),
        ("{image: x, privileged: true}",                  &["kill"],                            None),
        ("{image: x, cap_drop: [KILL]}",                  &["kill"],                            None),
        ("{extends: more}",                               &["kill"],                            Some("bounding")),
        ("{image: x, cap_add: [CHOWN], user: '5'}",       &["--from", "docker run -u 7 --cap-drop ALL --cap-add KILL i"], Some("bounding")),
        ("{image: x, security_opt: ['no-new-privileges:false']}", &["--from", "docker run --security-opt no-new-privileges i"], None),
        ("{image: x, group_add: ['7']}",                  &["--from", "docker run i"],          Some("group")),
        ("{image: x, group_add: ['7']}",                  &["--from", "docker run --group-add 7 i"], None),
        ("{image: x, security_opt: ['no-new-privileges:true']}", &["kill"],                     None),
        ("{image: x, cap_drop: [ALL], cap_add: [KILL]}",  &["kill"],                            None),
        ("{image: x, cap_add: [SYS_TIME], group_add: ['7']}", &["--from", "FILE:web"],          None),
        ("{image: x, cap_add: [SYS_TIME]}",               &["--from", "FILE", "--user", "7"],   None),
        ("{extends: more, user: '3', cap_drop: [ALL]}",   &["--from", "FILE:web"],              None),
    ];
    for (service, args, wider) in rows {
        let dir = directory();
        let text = format!(
            "version: '2.4'\nservices:\n  web: {service}\n{}",
            if service.contains("more") || args.contains(&"FILE:web") {
                "  more: {image: y, cap_add: [SYS_TIME, SYS_ADMIN]}\n"
            } else {
                ""
            }
        );
        let path = write(dir.path(), "c.yml", &text);
        let is_own = args.iter().any(|arg| arg.starts_with("FILE"));
        let args: Vec<String> = args.iter().map(|arg| arg.replace("FILE", &path)).collect();
        let mut all = vec!["--to", "compose-override", "--service", "web"];
        if !is_own {
            all.extend(["--base", &path]);
        }
        all.extend(args.iter().map(String::as_str));
        let ran = export(&all);
        if let Some(set) = wider {
            assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{service}: {ran:?}");
            assert!(ran.err.contains(&format!("in its {set} set")), "{service}: {ran:?}");
            continue;
        }
        assert!(ran.status == Some(0) && !ran.out.contains('#'), "{service}: {ran:?}");
        let other = write(dir.path(), "o.yml", &format!("version: '2.4'\n{}", ran.out));
        let mut compose = Command::new("docker-compose");
        let merged = common::ran(compose.args(["-f", &path, "-f", &other, "config"]));
        assert_eq!(merged.status, Some(0), "{service}: {merged:?}");
        let merged = write(dir.path(), "merged.yml", &merged.out);
        let merged = &subjects(&["--from", &format!("{merged}:web")])[0];
        let source: Vec<&str> = args.iter().map(String::as_str).collect();
        let source = &subjects(&source)[0];
        for set in ["bounding", "permitted", "effective", "inheritable", "ambient", "groups"] {
            let of = |one: &Value| one[set].as_array().unwrap().clone();
            let more: Vec<Value> =
                of(merged).into_iter().filter(|cap| !of(source).contains(cap)).collect();
            assert_eq!(more, [Value::Null; 0], "{service}: {set}");
        }
        let is_weaker = source["no_new_privs"] == true && merged["no_new_privs"] == false;
        assert!(!is_weaker, "{service}: {merged}");
    }
    // Files that are not the base.
    let dir = directory();
    let path = write(dir.path(), "c.yml", "services: {web: {image: x}}");
    let to = ["--to", "compose-override", "--service"];
    let typo = export(&[&to[..], &["wev", "--base", &path, "kill"]].concat());
    assert!(typo.status == Some(2) && typo.err.contains("wev"), "{typo:?}");
    let other = export(&[&to[..], &["wev", "--from", &path]].concat());
    assert!(other.status == Some(0) && other.out.starts_with("# not compared"), "{other:?}");
    let docker = export(&["--to", "docker", "--base", &path]);
    assert_eq!((docker.status, &*docker.out), (Some(2), ""), "{docker:?}");
}

/// Runs a bundle with the unified hierarchy of control groups alone, which crun needs.
const CRUN: &str = "set -e; umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup\n\
    exec crun --cgroup-manager=disabled run \"$0\"";

/// Whether runc and crun give the sets of config.json that the model has, and never more than a
/// source that was converted.
fn bundles() {
    let dir = directory();
    root_file_system(dir.path());
    assert!(Command::new("runc").arg("spec").current_dir(dir.path()).status().unwrap().success());
    let path = dir.path().join("config.json");
    let plain: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let run = |runtime: &str, process: &Value, nth: usize| {
        let mut config = plain.clone();
        for (key, value) in process.as_object().unwrap() {
            config["process"][key] = value.clone();
        }
        config["process"]["terminal"] = false.into();
        config["process"]["rlimits"] = json!([]);
        config["process"]["args"] = json!(["cat", "/proc/self/status"]);
        fs::write(&path, config.to_string()).unwrap();
        let id = format!("rcap-settings-{}-{nth}", std::process::id());
        let mut command = Command::new(if runtime == "crun" { "unshare" } else { runtime });
        if runtime == "crun" {
            command.args(["-m", "sh", "-c", CRUN, &id]);
        } else {
            command.args(["run", &id]);
        }
        ran(command.current_dir(dir.path()).stdin(Stdio::null()))
    };
    // Names that are not exact.
    let names = json!({"capabilities": {"bounding": ["KILL", "cap_chown", "CAP_NET_RAW"], "permitted": ["CAP_NET_RAW"], "effective": ["CAP_NET_RAW"]}});
    let mut names = names;
    names["noNewPrivileges"] = false.into();
    let got = run("runc", &names, 0);
    let model = &settings::read(&json!({"process": names}).to_string(), None).unwrap()[0];
    assert_eq!(Sets::of_status(&got.out), Some(Sets::expected(model)), "{got:?}");
    let mut numbers = Numbers(7);
    for nth in 1..60 {
        let line = random_setpriv(&mut numbers);
        let source = read(&format!("{line} -- cat"));
        if source.user.user().is_none() {
            continue;
        }
        let text = Format::Oci.write(&source).unwrap();
        let part: Value = serde_json::from_str(&text).unwrap();
        let model = &settings::read(&text, None).unwrap()[0];
        for runtime in ["runc", "crun"] {
            let got = run(runtime, &part["process"], nth);
            let context = format!("{runtime}: {line}: {text}");
            let sets = Sets::of_status(&got.out).unwrap_or_else(|| panic!("{context}: {got:?}"));
            sets.assert_within(&Sets::expected(&source), &context);
            assert_eq!(sets, Sets::expected(model), "{context}");
        }
    }
}

/// Command lines, beside a daemon that runs them.
fn docker_lines() {
    let dir = directory();
    let root = root_file_system(dir.path());
    // Docker looks up a name, even that of root, in the image.
    write(&root, "etc/passwd", "root:x:0:0:root:/:/bin/sh\n");
    let daemon = Daemon::start(dir.path(), &root);
    let version = daemon.docker(&["version", "--format", "{{.Server.Version}}"]);
    let version = version.out.trim().split('+').next().unwrap().to_owned();
    let engine: Engine = format!("docker@{version}").parse().unwrap();
    let engines = [engine.clone()];
    let mut context = Context::default();
    context.engines = &engines;
    let show = ["cat", "/proc/self/status"];
    let run = |options: &str| {
        let words = options.split_ascii_whitespace();
        let args: Vec<&str> =
            ["run", "--rm", "--network", "none"].into_iter().chain(words).collect();
        daemon.docker(&[&args[..], &["rcap-test:1"], &show].concat())
    };
    for options in [
        "",
        "-u1000",
        "-iu 1000",
        "--cap-drop ALL",
        "--cap-drop=all --cap-add=CAP_NET_RAW --cap-add kill",
        "--cap-add KILL --cap-drop KILL",
        "--privileged=0",
        "--privileged --user 7:8",
        "--security-opt no-new-privileges=1",
        "--security-opt no-new-privileges --security-opt=no-new-privileges:false",
        "--user root --cap-add SYS_TIME",
    ] {
        let line = format!("docker run {options} rcap-test:1 cat");
        let settings = match Source::parse(&line, &context) {
            Ok(Source::Words(settings)) => settings,
            other => panic!("{line}: {other:?}"),
        };
        let got = run(options);
        let sets = Sets::of_status(&got.out).unwrap_or_else(|| panic!("{line}: {got:?}"));
        let expected = Sets::expected(&settings);
        // A daemon that was built before the newest capabilities knows fewer of them.
        if options.contains("--privileged ") {
            sets.assert_within(&expected, &line);
            continue;
        }
        assert_eq!(sets, expected, "{line}");
    }
    let refused = run("--cap-add NET_ADMIN,SYS_TIME");
    assert!(refused.status != Some(0) && refused.err.contains("invalid"), "{refused:?}");
    let mut target = Target::default();
    target.engine = Some(engine);
    let mut numbers = Numbers(3);
    let mut conversions = 0;
    while conversions < 12 {
        let line = random_setpriv(&mut numbers);
        let source = read(&format!("{line} -- cat"));
        let options = Format::Docker.export(&source, &target).unwrap().text;
        let got = run(&options);
        // Docker 20.10 of Debian does not know the capabilities since CAP_PERFMON.
        if got.err.contains("unknown capability") {
            continue;
        }
        conversions += 1;
        let sets = Sets::of_status(&got.out).unwrap_or_else(|| panic!("{options}: {got:?}"));
        sets.assert_within(&Sets::expected(&source), &format!("{line}: {options}"));
    }
    // By the name of a container.
    let made = daemon.docker(&[
        "create",
        "--name",
        "rcap-c",
        "-u",
        "7",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "KILL",
        "rcap-test:1",
        "cat",
    ]);
    assert_eq!(made.status, Some(0), "{made:?}");
    let mut command = daemon.client(program("rcap").get_program().to_str().unwrap());
    let ran = ran(command.args(["export", "--to", "json", "--from", "container:rcap-c"]));
    let document: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let one = &document["subjects"][0];
    assert_eq!((&one["user"], &one["bounding"]), (&json!("7"), &json!(["cap_kill"])));
    assert_eq!(one["engine"], format!("docker@{version}"));
}

/// Command lines, labels and what is written, beside Podman.
fn podman_lines() {
    let dir = directory();
    let root = root_file_system(dir.path());
    // With the unified hierarchy alone, and with storage of its own.
    let script = "set -e; umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup\n\
        dir=$0; podman() { command podman --root $dir/store --runroot $dir/run --storage-driver vfs \
        --cgroup-manager cgroupfs --runtime crun \"$@\"; }\n\
        tar -C $dir/rootfs -c . | podman import - rcap-test:1 >/dev/null 2>&1\n\
        tar -C $dir/rootfs -c . | podman import --change \"$LABEL\" - rcap-test:2 >/dev/null 2>&1\n\
        while read -r options; do podman run --rm --network none --cgroups=disabled \
        --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 $options cat /proc/self/status; \
        echo ====; done";
    let mut lines: Vec<String> = [
        "",
        "--cap-add net_raw,sys_time",
        "--user 1000 --cap-add net_raw",
        "--user 1000",
        "--privileged",
        "--privileged --user 1000 --cap-add kill",
        "--cap-add all --cap-drop chown",
        "--user 0 --cap-add sys_time --security-opt no-new-privileges",
    ]
    .map(|options| format!("{options} localhost/rcap-test:1"))
    .to_vec();
    let lines_alone = lines.len();
    let mut numbers = Numbers(5);
    let mut sources = Vec::new();
    while sources.len() < 12 {
        let line = random_setpriv(&mut numbers);
        let source = read(&format!("{line} -- cat"));
        let Ok(options) = Format::Podman.write(&source) else { continue };
        lines.push(format!("{options} localhost/rcap-test:1"));
        sources.push((source, format!("{line}: {options}")));
    }
    let label = Format::Label.write(&read("kill,chown")).unwrap();
    lines.push("localhost/rcap-test:2".to_owned());
    let input = write(dir.path(), "lines", &(lines.join("\n") + "\n"));
    let ran = ran(Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(dir.path())
        .env("LABEL", &label)
        .stdin(fs::File::open(input).unwrap()));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let got: Vec<Sets> = ran.out.split("====\n").filter_map(Sets::of_status).collect();
    assert_eq!(got.len(), lines.len(), "{ran:?}");
    for (line, sets) in lines.iter().zip(&got).take(lines_alone) {
        let settings = read(&format!("podman run {line} cat"));
        assert_eq!(*sets, Sets::expected(&settings), "{line}");
    }
    for ((source, context), sets) in sources.iter().zip(&got[lines_alone..]) {
        sets.assert_within(&Sets::expected(source), context);
    }
    assert_eq!(got[lines.len() - 1].bounding, read("kill,chown").bounding, "{label}");
    drop(root);
}
