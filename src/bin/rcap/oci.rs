//! `rcap oci-hook` and `rcap oci-runtime`: containers recorded from their first instruction,
//! whoever starts them. (github.com/opencontainers/runtime-spec, config.md and runtime.md)

use std::{
    ffi::{OsStr, OsString},
    io::{self, BufRead, BufReader, Read},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command as Program, Stdio},
};

use clap::{Arg, Command, value_parser};
use serde_json::{Value, json};

use super::{
    Exit, Io, input,
    new_file::{self, Target},
};

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
pub(crate) fn hook(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match hook_command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let directory = matches.get_one::<PathBuf>("save").cloned().unwrap_or_default();
    let state = input::text(io.input).map_err(|err| format!("standard input: {err}"));
    match state.and_then(|state| start_recording(&state, &directory)) {
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
pub(crate) fn runtime(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match runtime_command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let directory = matches.get_one::<PathBuf>("save").cloned().unwrap_or_default();
    let words: Vec<&OsString> = matches.get_many("RUNTIME").into_iter().flatten().collect();
    let Some((program, args)) = words.split_first() else { return Ok(Exit::USAGE) };
    match request(args) {
        Request::Container(bundle) => {
            if let Err(words) = add_hook(&bundle.join("config.json"), &directory) {
                io.complain_in_words("rcap oci-runtime", &words)?;
                return Ok(Exit::FAILURE);
            }
        }
        Request::Other => {}
        Request::Unknown(option) => {
            let words = format!(
                "{}: not a known option of runc or crun, so nothing is recorded",
                option.display()
            );
            io.complain_in_words("rcap oci-runtime", &words)?;
        }
    }
    // In this process's place, so that its caller sees the runtime and nothing else.
    let err = super::program(program).args(args).exec();
    let words = format!("cannot execute {}: {}", program.display(), super::chain(&err));
    io.complain_in_words("rcap oci-runtime", &words)?;
    Ok(Exit(127))
}

/// What the arguments of a runtime ask for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// A new container, of the bundle in this directory.
    Container(PathBuf),
    /// Something else.
    Other,
    /// An option that may or may not take the next word as its value.
    Unknown(OsString),
}

/// Options of runc and crun.
struct Options {
    /// Those that take a value, as the next word or after `=`.
    valued: &'static [&'static str],
    flags: &'static [&'static str],
}

/// Before the command.
const GLOBAL: Options = Options {
    valued: &["root", "log", "log-format", "log-level", "criu", "rootless", "cgroup-manager"],
    flags: &["debug", "systemd-cgroup"],
};

/// After `create` and `run`.
const CONTAINER: Options = Options {
    valued: &["bundle", "console-socket", "pid-file", "pidfd-socket", "preserve-fds"],
    flags: &["no-pivot", "no-new-keyring", "no-subreaper", "detach", "keep"],
};

/// Their short forms.
const SHORT: [(u8, &str); 2] = [(b'b', "bundle"), (b'd', "detach")];

/// Options that ask for text instead of the command.
const TEXT: [&str; 7] = ["--help", "--version", "--usage", "-h", "-v", "-V", "-?"];

fn request(args: &[&OsString]) -> Request {
    let mut rest = args.iter().copied();
    match GLOBAL.take(&mut rest, |_, _| ()) {
        Ok(Some(command)) if command == "create" || command == "run" => {}
        Ok(_) => return Request::Other,
        Err(option) => return Request::Unknown(option.clone()),
    }
    let mut bundle = PathBuf::from(".");
    let id = CONTAINER.take(&mut rest, |name, value| {
        if name == "bundle" {
            bundle = value.into();
        }
    });
    match id {
        // Whether options may follow the id depends on the runtime.
        Ok(Some(_)) => match rest.find(|word| word.as_bytes().starts_with(b"-")) {
            Some(option) => Request::Unknown(option.clone()),
            None => Request::Container(bundle),
        },
        Ok(None) => Request::Other,
        Err(option) => Request::Unknown(option.clone()),
    }
}

impl Options {
    /// Passes over options, whose values `each` is told, to the first word that is none; `None`
    /// if no word is left, or text is asked for. The error is an option that is not known.
    fn take<'a>(
        &self,
        words: &mut impl Iterator<Item = &'a OsString>,
        mut each: impl FnMut(&str, &OsStr),
    ) -> Result<Option<&'a OsString>, &'a OsString> {
        while let Some(word) = words.next() {
            let bytes = word.as_bytes();
            if word == "--" {
                return Ok(words.next());
            }
            if !bytes.starts_with(b"-") || word == "-" {
                return Ok(Some(word));
            }
            if TEXT.iter().any(|text| word == text) {
                return Ok(None);
            }
            let (name, value) = if let Some(long) = bytes.strip_prefix(b"--") {
                match long.iter().position(|&byte| byte == b'=') {
                    Some(at) => (&long[..at], Some(&long[at + 1..])),
                    None => (long, None),
                }
            } else {
                let short = SHORT.iter().find(|(short, _)| bytes.get(1) == Some(short));
                let (_, name) = short.ok_or(word)?;
                let value = bytes.get(2..).filter(|value| !value.is_empty());
                (name.as_bytes(), value.map(|value| value.strip_prefix(b"=").unwrap_or(value)))
            };
            let is = |known: &&&str| known.as_bytes() == name;
            if let Some(name) = self.valued.iter().find(is) {
                let value = match value {
                    Some(value) => OsStr::from_bytes(value),
                    None => words.next().ok_or(word)?,
                };
                each(name, value);
            } else if !self.flags.iter().any(|flag| is(&flag))
                || bytes[1] != b'-' && value.is_some()
            {
                return Err(word);
            }
        }
        Ok(None)
    }
}

/// Adds the hook to a container's configuration, if it does not have it.
fn add_hook(path: &Path, directory: &Path) -> Result<(), String> {
    let failed =
        |err: io::Error| format!("cannot change {}: {}", path.display(), super::chain(&err));
    let target = Target::new(path).map_err(|err| super::chain(&err))?;
    let missing = || failed(io::ErrorKind::NotFound.into());
    let file = target.open().map_err(failed)?.ok_or_else(missing)?;
    let text = new_file::text(&file).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let directory = std::path::absolute(directory).map_err(failed)?;
    let config = with_hook(&text, program.as_os_str(), directory.as_os_str())
        .map_err(|words| format!("cannot change {}: {words}", path.display()))?;
    match config {
        Some(config) => target.replace(config.as_bytes(), Some(&file)).map_err(failed),
        None => Ok(()),
    }
}

/// A configuration with the hook, after those that it has; `None` if it has the hook.
fn with_hook(config: &str, program: &OsStr, directory: &OsStr) -> Result<Option<String>, String> {
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
    let list = list.as_array_mut().ok_or("its hooks are no list")?;
    if list.contains(&hook) {
        return Ok(None);
    }
    list.push(hook);
    Ok(Some(config.to_string()))
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
    fn requests() {
        let container = |path: &str| Request::Container(path.into());
        let unknown = |option: &str| Request::Unknown(option.into());
        #[rustfmt::skip]
        let rows: [(&[&str], Request); 28] = [
            (&["--root", "/r", "create", "--bundle", "/b", "id"],      container("/b")),
            (&["--root=/r", "--log", "run", "create", "-b/b", "id"],   container("/b")),
            (&["run", "-b", "/b", "id"],                               container("/b")),
            (&["run", "-b=/b", "id"],                                  container("/b")),
            (&["run", "--bundle=/a", "--bundle", "/b", "id"],          container("/b")),
            (&["run", "--pid-file", "--bundle", "-d", "id"],           container(".")),
            (&["run", "id"],                                           container(".")),
            (&["--", "run", "--", "id"],                               container(".")),
            (&["--systemd-cgroup", "--debug", "create", "-b", "/b", "run"], container("/b")),
            (&["--cgroup-manager=disabled", "--systemd-cgroup=true", "run", "--keep", "id"],
                                                                       container(".")),
            (&["kill", "run"],                                         Request::Other),
            (&["--root", "run", "kill", "create", "9"],                Request::Other),
            (&["exec", "C", "create", "-b", "/b"],                     Request::Other),
            (&["delete", "--force", "run"],                            Request::Other),
            (&["state", "create"],                                     Request::Other),
            (&["start", "id"],                                         Request::Other),
            (&["create", "--help"],                                    Request::Other),
            (&["--version"],                                           Request::Other),
            (&["create"],                                              Request::Other),
            (&["-"],                                                   Request::Other),
            (&[],                                                      Request::Other),
            (&["--new", "run", "id"],                                  unknown("--new")),
            (&["-x", "run", "id"],                                     unknown("-x")),
            (&["run", "--config", "c", "id"],                          unknown("--config")),
            (&["run", "-dk", "id"],                                    unknown("-dk")),
            (&["run", "id", "-b", "/b"],                               unknown("-b")),
            (&["run", "--bundle"],                                     unknown("--bundle")),
            (&["--root"],                                              unknown("--root")),
        ];
        for (args, want) in rows {
            let words: Vec<OsString> = args.iter().map(OsString::from).collect();
            let words: Vec<&OsString> = words.iter().collect();
            assert_eq!(request(&words), want, "{args:?}");
        }
    }

    #[test]
    fn hooks() {
        let added = |config: &str| with_hook(config, OsStr::new("/r"), OsStr::new("/d"));
        let hook = r#"{"args":["rcap","oci-hook","--save","/d"],"path":"/r"}"#;
        let want = format!(r#"{{"a":1,"hooks":{{"createRuntime":[{hook}]}}}}"#);
        assert_eq!(added(r#"{"a":1}"#), Ok(Some(want.clone())));
        assert_eq!(added(r#"{"a":1,"hooks":null}"#), Ok(Some(want.clone())));
        assert_eq!(added(&want), Ok(None));
        let behind = added(r#"{"hooks":{"createRuntime":[1],"poststop":[2]}}"#).unwrap().unwrap();
        assert_eq!(behind, format!(r#"{{"hooks":{{"createRuntime":[1,{hook}],"poststop":[2]}}}}"#));
        for config in ["", "[]", r#"{"hooks":[]}"#, r#"{"hooks":{"createRuntime":{}}}"#] {
            assert!(added(config).is_err(), "{config}");
        }
    }
}
