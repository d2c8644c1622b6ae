//! Compose projects, beside docker-compose.

use std::process::Command;

use serde_json::{Value, json};

use super::{
    common::{self, directory, ran},
    export, subjects, write,
};

/// A project and the output of `docker-compose config` for it are read as the same settings.
pub(crate) fn compose_resolves() {
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
pub(crate) fn compose_override() {
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
