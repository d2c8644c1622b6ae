//! `rcap oci-hook` and `rcap oci-runtime`: containers recorded from their first instruction,
//! whoever starts them. (github.com/opencontainers/runtime-spec, config.md and runtime.md)

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, BufRead, BufReader, Read},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command as Program, Stdio},
};

use clap::{Arg, Command, value_parser};
use serde_json::{Value, json};

use super::{Exit, Io};

fn save_arg() -> Arg {
    Arg::new("save")
        .long("save")
        .value_name("DIRECTORY")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("Where the report is written, as ID.json")
}

pub(crate) fn hook_command() -> Command {
    Command::new("oci-hook")
        .about("Record a container from its start, as a hook of the OCI runtime that starts it")
        .override_usage("rcap oci-hook --save DIRECTORY < STATE")
        .arg(save_arg())
        .after_help(
            "The runtime calls it, as a createRuntime hook, with the container's state as its \
             input.\nThe report is written when the container has ended.",
        )
}

pub(crate) fn runtime_command() -> Command {
    Command::new("oci-runtime")
        .about("Call an OCI runtime, with the hook that records the container")
        .override_usage("rcap oci-runtime --save DIRECTORY -- RUNTIME [ARG]...")
        .args([
            save_arg(),
            Arg::new("RUNTIME")
                .required(true)
                .num_args(1..)
                .last(true)
                .value_parser(value_parser!(OsString))
                .help("The runtime, such as runc, and its arguments"),
        ])
}

/// `rcap oci-hook`
///
/// # Errors
///
/// Writing to the standard streams.
pub fn hook(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match hook_command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let directory = matches.get_one::<PathBuf>("save").cloned().unwrap_or_default();
    let mut state = String::new();
    io.input.read_to_string(&mut state)?;
    match start_recording(&state, &directory) {
        Ok(()) => Ok(Exit::SUCCESS),
        Err(words) => {
            io.complain_in_words("rcap oci-hook", &words)?;
            Ok(Exit::FAILURE)
        }
    }
}

/// The process and the id in a container's state. The id is to be a file's name.
fn state(text: &str) -> Result<(u32, String), String> {
    let state: Value =
        serde_json::from_str(text).map_err(|err| format!("the state is not JSON: {err}"))?;
    let pid = state["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0);
    let pid = pid.ok_or("the state has no pid")?;
    let id = state["id"].as_str().ok_or("the state has no id")?;
    let plain = |char: char| char.is_ascii_alphanumeric() || "_+-.".contains(char);
    if id.is_empty() || id.starts_with('.') || !id.chars().all(plain) {
        return Err(format!("the id {id:?} cannot be the name of a file"));
    }
    Ok((pid, id.to_owned()))
}

/// Leaves a process behind that records the container to its end.
fn start_recording(text: &str, directory: &Path) -> Result<(), String> {
    let (pid, id) = state(text)?;
    let mut recorder = Program::new("/proc/self/exe");
    recorder
        .arg0("rcap")
        .args(["trace", "--pid", &pid.to_string(), "--starting", &id, "--add", "--save"])
        .arg(directory.join(format!("{id}.json")))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = recorder.spawn().map_err(|err| super::chain(&err))?;
    // Its first line says that it records, or why it does not.
    let mut errors = BufReader::new(child.stderr.take().ok_or("no pipe")?);
    let mut line = String::new();
    errors.read_line(&mut line).map_err(|err| super::chain(&err))?;
    if line.starts_with("Recording ") {
        return Ok(());
    }
    let _ = errors.read_to_string(&mut line);
    let _ = child.wait();
    Err(line.trim_end().to_owned())
}

/// `rcap oci-runtime`
///
/// # Errors
///
/// Writing to the standard streams.
pub fn runtime(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match runtime_command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let directory = matches.get_one::<PathBuf>("save").cloned().unwrap_or_default();
    let words: Vec<&OsString> = matches.get_many("RUNTIME").into_iter().flatten().collect();
    let Some((program, args)) = words.split_first() else { return Ok(Exit::USAGE) };
    if let Some(bundle) = bundle(args)
        && let Err(words) = add_hook(&bundle.join("config.json"), &directory)
    {
        io.complain_in_words("rcap oci-runtime", &words)?;
        return Ok(Exit::FAILURE);
    }
    // In this process's place, so that its caller sees the runtime and nothing else.
    let err = Program::new(program).args(args).exec();
    let words = format!("cannot execute {}: {}", program.display(), super::chain(&err));
    io.complain_in_words("rcap oci-runtime", &words)?;
    Ok(Exit(127))
}

/// The directory of the container that these arguments of a runtime make; `None` if they make
/// none.
fn bundle(args: &[&OsString]) -> Option<PathBuf> {
    args.iter().position(|&arg| arg == "create" || arg == "run")?;
    let mut rest = args.iter();
    while let Some(&arg) = rest.next() {
        if arg == "--bundle" || arg == "-b" {
            return rest.next().map(PathBuf::from);
        }
        let value = |prefix: &str| arg.to_str().and_then(|arg| arg.strip_prefix(prefix));
        if let Some(path) = value("--bundle=").or_else(|| value("-b=")) {
            return Some(path.into());
        }
    }
    Some(PathBuf::from("."))
}

/// Adds the hook to a container's configuration.
fn add_hook(path: &Path, directory: &Path) -> Result<(), String> {
    let failed =
        |err: io::Error| format!("cannot change {}: {}", path.display(), super::chain(&err));
    let text = fs::read_to_string(path).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let directory = std::path::absolute(directory).map_err(failed)?;
    let config = with_hook(&text, program.as_os_str(), directory.as_os_str())
        .map_err(|words| format!("cannot change {}: {words}", path.display()))?;
    let new = path.with_extension("json.rcap");
    let _ = fs::remove_file(&new);
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&new);
    file.and_then(|mut file| io::Write::write_all(&mut file, config.as_bytes()))
        .and_then(|()| fs::rename(&new, path))
        .map_err(failed)
}

/// A configuration with the hook, behind those that it has.
fn with_hook(config: &str, program: &OsStr, directory: &OsStr) -> Result<String, String> {
    let mut config: Value = serde_json::from_str(config).map_err(|err| err.to_string())?;
    let [program, directory] = [program, directory].map(OsStr::to_str);
    let program = program.ok_or("this program's path is no UTF-8")?;
    let directory = directory.ok_or("the path of --save is no UTF-8")?;
    let hook = json!({"path": program, "args": ["rcap", "oci-hook", "--save", directory]});
    let root = config.as_object_mut().ok_or("it is no object")?;
    let hooks = root.entry("hooks").or_insert_with(|| json!({}));
    if hooks.is_null() {
        *hooks = json!({});
    }
    let hooks = hooks.as_object_mut().ok_or("its hooks are no object")?;
    let list = hooks.entry("createRuntime").or_insert_with(|| json!([]));
    list.as_array_mut().ok_or("its hooks are no list")?.push(hook);
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        let of = |id: &str| state(&json!({"pid": 7, "id": id}).to_string());
        assert_eq!(of("a1_b-c.d+e"), Ok((7, "a1_b-c.d+e".to_owned())));
        for id in ["", "..", ".x", "a/b", "a b", "a\n", "\u{e9}"] {
            assert!(of(id).is_err(), "{id:?}");
        }
        for text in
            ["", "{}", r#"{"pid": 7}"#, r#"{"pid": -1, "id": "x"}"#, r#"{"pid": 0, "id": "x"}"#]
        {
            assert!(state(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bundles() {
        #[rustfmt::skip]
        let rows: [(&[&str], Option<&str>); 6] = [
            (&["--root", "/r", "create", "--bundle", "/b", "id"], Some("/b")),
            (&["run", "-b", "/b", "id"],                          Some("/b")),
            (&["run", "--bundle=/b", "id"],                       Some("/b")),
            (&["run", "id"],                                      Some(".")),
            (&["start", "id"],                                    None),
            (&[],                                                 None),
        ];
        for (args, want) in rows {
            let words: Vec<OsString> = args.iter().map(OsString::from).collect();
            let words: Vec<&OsString> = words.iter().collect();
            assert_eq!(bundle(&words), want.map(PathBuf::from), "{args:?}");
        }
    }

    #[test]
    fn hooks() {
        let added = |config: &str| with_hook(config, OsStr::new("/r"), OsStr::new("/d"));
        let hook = r#"{"args":["rcap","oci-hook","--save","/d"],"path":"/r"}"#;
        let want = format!(r#"{{"a":1,"hooks":{{"createRuntime":[{hook}]}}}}"#);
        assert_eq!(added(r#"{"a":1}"#), Ok(want.clone()));
        assert_eq!(added(r#"{"a":1,"hooks":null}"#), Ok(want));
        let behind = added(r#"{"hooks":{"createRuntime":[1],"poststop":[2]}}"#).unwrap();
        assert_eq!(behind, format!(r#"{{"hooks":{{"createRuntime":[1,{hook}],"poststop":[2]}}}}"#));
        for config in ["", "[]", r#"{"hooks":[]}"#, r#"{"hooks":{"createRuntime":{}}}"#] {
            assert!(added(config).is_err(), "{config}");
        }
    }
}
