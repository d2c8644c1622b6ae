//! `rcap oci-hook` and `rcap oci-runtime`: record containers from their first instruction, for any
//! engine. (github.com/opencontainers/runtime-spec, config.md and runtime.md)

use std::{
    error::Error,
    ffi::{OsStr, OsString},
    fmt,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command as Program, Stdio},
};

use serde_json::{Value, json};

use super::{
    Exit, Io,
    args::{HookRequest, RuntimeRequest},
    failure::Failure,
    input,
    new_file::{self, Target},
};
use rcap::Op;

/// An invalid document of a runtime.
#[derive(Debug)]
enum Malformed {
    Syntax(serde_json::Error),
    /// A member is missing or has another type.
    Member(&'static str),
    /// The ID of the container cannot be a file name.
    Id(String),
    /// A path is not UTF-8, as JSON requires.
    Path(PathBuf),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Syntax(err) => write!(f, "not JSON: {err}"),
            Malformed::Member(name) => write!(f, "no valid {name}"),
            Malformed::Id(id) => write!(f, "container id {id:?} is not a file name"),
            Malformed::Path(path) => write!(f, "{}: path is not UTF-8", path.display()),
        }
    }
}

impl Error for Malformed {}

impl From<serde_json::Error> for Malformed {
    fn from(err: serde_json::Error) -> Malformed {
        Malformed::Syntax(err)
    }
}

/// `rcap oci-hook`
///
/// # Errors
///
/// [`Failure`]
pub(crate) fn hook(request: &HookRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let name = || "standard input".to_owned();
    let text = input::text(io.input);
    let text = text.map_err(|reason| Failure::Input { name: name(), reason })?;
    let (pid, id) = state(&text).map_err(|err| Failure::subject(name(), err))?;
    start_recording(pid, &id, &request.save, io)?;
    Ok(Exit::SUCCESS)
}

/// Parses the process and the ID of a container's state. The ID must be a valid file name.
fn state(text: &str) -> Result<(u32, String), Malformed> {
    let state: Value = serde_json::from_str(text)?;
    let pid = state["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0);
    let pid = pid.ok_or(Malformed::Member("pid"))?;
    let id = state["id"].as_str().ok_or(Malformed::Member("id"))?;
    let plain = |char: char| char.is_ascii_alphanumeric() || "_+-.".contains(char);
    if id.is_empty() || id.starts_with('.') || !id.chars().all(plain) {
        return Err(Malformed::Id(id.to_owned()));
    }
    Ok((pid, id.to_owned()))
}

/// Starts a process that records the container to its end.
fn start_recording(pid: u32, id: &str, directory: &Path, io: &mut Io<'_>) -> Result<(), Failure> {
    let mut recorder = Program::new("/proc/self/exe");
    recorder
        .arg0("rcap")
        .args(["trace", "--pid", &pid.to_string(), "--starting", id, "--add", "--save"])
        .arg(directory.join(format!("{id}.json")))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failed = |err| Failure::subject(format!("recorder of {id}"), err);
    let mut child = recorder.spawn().map_err(failed)?;
    // It writes a byte to standard output when recording has started, and closes standard output if
    // it fails.
    let has_started = match &mut child.stdout {
        Some(ready) => ready.read(&mut [0]).map_err(failed)? > 0,
        None => false,
    };
    if has_started {
        return Ok(());
    }
    if let Some(errors) = &mut child.stderr {
        let mut text = Vec::new();
        errors.read_to_end(&mut text).map_err(failed)?;
        io.err.write_all(&text)?;
    }
    let status = child.wait().map_err(failed)?;
    Err(Failure::subject(format!("recorder of {id}"), status.to_string()))
}

/// `rcap oci-runtime`
///
/// # Errors
///
/// [`Failure`]
pub(crate) fn runtime(request: &RuntimeRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let Some((program, args)) = request.runtime.split_first() else { return Ok(Exit::OWN_FAILURE) };
    match action(args) {
        Action::Container(bundle) => add_hook(&bundle.join("config.json"), &request.save)?,
        Action::Other => {}
        Action::Unknown(option) => {
            let words = format!(
                "{}: unknown option of runc and crun, so nothing is recorded",
                option.display()
            );
            io.complain_in_words("rcap oci-runtime", &words)?;
        }
    }
    // The runtime replaces this process, so that the caller only sees the runtime.
    let err = super::program(program).args(args).exec();
    Err(Op::Execute.on(Path::new(program), err).into())
}

/// The action that a runtime's arguments request.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// A new container, with its bundle directory.
    Container(PathBuf),
    /// Something else.
    Other,
    /// An unknown option, which may or may not have a value.
    Unknown(OsString),
}

/// Options of runc and crun.
struct Options {
    /// Options with a value, as the next word or after `=`.
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

/// Options that print text instead of running the command.
const TEXT: [&str; 7] = ["--help", "--version", "--usage", "-h", "-v", "-V", "-?"];

fn action(args: &[OsString]) -> Action {
    let mut rest = args.iter();
    match GLOBAL.take(&mut rest, |_, _| ()) {
        Ok(Some(command)) if command == "create" || command == "run" => {}
        Ok(_) => return Action::Other,
        Err(option) => return Action::Unknown(option.clone()),
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
            Some(option) => Action::Unknown(option.clone()),
            None => Action::Container(bundle),
        },
        Ok(None) => Action::Other,
        Err(option) => Action::Unknown(option.clone()),
    }
}

impl Options {
    /// Skips options, and calls `each` with their values. Returns the first word that is not an
    /// option, or `None` at the end or for an option that prints text. An unknown option is an
    /// error.
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

/// Adds the hook to a container's configuration, unless it is already present.
fn add_hook(path: &Path, directory: &Path) -> Result<(), Failure> {
    let failed = |err: io::Error| Failure::subject(path.display(), err);
    let target = Target::new(path)?;
    let missing = || failed(io::ErrorKind::NotFound.into());
    let file = target.open().map_err(failed)?.ok_or_else(missing)?;
    let text = new_file::text(&file).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let directory = std::path::absolute(directory).map_err(failed)?;
    let config = with_hook(&text, &program, &directory);
    match config.map_err(|err| Failure::subject(path.display(), err))? {
        Some(config) => target.replace(config.as_bytes(), Some(&file)).map_err(failed),
        None => Ok(()),
    }
}

/// Returns the configuration with the hook after the existing ones, or `None` if it is already
/// present.
fn with_hook(config: &str, program: &Path, directory: &Path) -> Result<Option<String>, Malformed> {
    let mut config: Value = serde_json::from_str(config)?;
    let utf8 = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Malformed::Path(path.to_owned()))
    };
    let (program, directory) = (utf8(program)?, utf8(directory)?);
    let hook = json!({"path": program, "args": ["rcap", "oci-hook", "--save", directory]});
    let root = config.as_object_mut().ok_or(Malformed::Member("object"))?;
    let hooks = root.entry("hooks").or_insert_with(|| json!({}));
    if hooks.is_null() {
        *hooks = json!({});
    }
    let hooks = hooks.as_object_mut().ok_or(Malformed::Member("hooks"))?;
    let list = hooks.entry("createRuntime").or_insert_with(|| json!([]));
    let list = list.as_array_mut().ok_or(Malformed::Member("hooks.createRuntime"))?;
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
        assert_eq!(of("a1_b-c.d+e").unwrap(), (7, "a1_b-c.d+e".to_owned()));
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
    fn actions() {
        let container = |path: &str| Action::Container(path.into());
        let unknown = |option: &str| Action::Unknown(option.into());
        #[rustfmt::skip]
        let rows: [(&[&str], Action); 28] = [
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
            (&["kill", "run"],                                         Action::Other),
            (&["--root", "run", "kill", "create", "9"],                Action::Other),
            (&["exec", "C", "create", "-b", "/b"],                     Action::Other),
            (&["delete", "--force", "run"],                            Action::Other),
            (&["state", "create"],                                     Action::Other),
            (&["start", "id"],                                         Action::Other),
            (&["create", "--help"],                                    Action::Other),
            (&["--version"],                                           Action::Other),
            (&["create"],                                              Action::Other),
            (&["-"],                                                   Action::Other),
            (&[],                                                      Action::Other),
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
            assert_eq!(action(&words), want, "{args:?}");
        }
    }

    #[test]
    fn hooks() {
        let added = |config: &str| with_hook(config, Path::new("/r"), Path::new("/d"));
        let hook = r#"{"args":["rcap","oci-hook","--save","/d"],"path":"/r"}"#;
        let want = format!(r#"{{"a":1,"hooks":{{"createRuntime":[{hook}]}}}}"#);
        assert_eq!(added(r#"{"a":1}"#).unwrap(), Some(want.clone()));
        assert_eq!(added(r#"{"a":1,"hooks":null}"#).unwrap(), Some(want.clone()));
        assert_eq!(added(&want).unwrap(), None);
        let behind = added(r#"{"hooks":{"createRuntime":[1],"poststop":[2]}}"#).unwrap().unwrap();
        assert_eq!(behind, format!(r#"{{"hooks":{{"createRuntime":[1,{hook}],"poststop":[2]}}}}"#));
        for config in ["", "[]", r#"{"hooks":[]}"#, r#"{"hooks":{"createRuntime":{}}}"#] {
            assert!(added(config).is_err(), "{config}");
        }
    }
}
