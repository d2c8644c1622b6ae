//! The readers and writers of settings beside those that they describe: what is read is what the
//! real engine does, and what is written never starts a process with more than its source has.

mod common;

#[path = "settings/compose.rs"]
mod compose;
#[path = "settings/engines.rs"]
mod engines;
#[path = "settings/reading.rs"]
mod reading;
#[path = "settings/schema.rs"]
mod schema;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Ran, directory,
    docker::DOCKER,
    program, ran,
    sets::{Numbers, Sets, random_setpriv},
};
use compose::{compose_override, compose_resolves};
use engines::{bundles, docker_lines};
use rcap::{
    Cap,
    exec::FileFacts,
    file::FileCaps,
    settings::{self, Context, Engine, Format, Settings, Source, Target},
};
use reading::{ambiguous_names, directories, many_aliases, sources};
use schema::json_schema;
use serde_json::Value;

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
