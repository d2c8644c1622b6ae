//! Settings in files and directories, with the other files that belong to them.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rcap::settings::{self, Context, InputFormat, Kind, Settings, SettingsError};

use super::{NotFound, unit};
use crate::input::{self, Unread};

/// The most files of a directory that are read.
const FILES: usize = 10_000;
/// The deepest directory that is read.
const DEPTH: usize = 16;

/// The names under which Compose looks for its file, and for one that is merged onto it.
const COMPOSE: [(&str, &str); 4] = [
    ("compose.yaml", "compose.override.yaml"),
    ("compose.yml", "compose.override.yml"),
    ("docker-compose.yml", "docker-compose.override.yml"),
    ("docker-compose.yaml", "docker-compose.override.yaml"),
];

/// Opens a file, or the status in a directory such as /proc/1.
pub(super) fn open(path: &Path) -> Result<File, Unread> {
    input::open(path).or_else(|err| input::open_status(path).map_err(|_| err))
}

/// Reads the text of a file, with what belongs to it: drop-in files of a unit, and the files that a
/// Compose file names.
pub(super) fn read(
    path: &Path,
    mut text: String,
    format: Option<InputFormat>,
    context: &Context<'_>,
) -> Result<Vec<Settings>, NotFound> {
    let shown = path.display().to_string();
    let failed = |err: Unread| NotFound::new(&shown, err);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let is_unit = [".service", ".container"].iter().any(|end| name.ends_with(end));
    if is_unit {
        unit::with_drop_ins(&mut text, path).map_err(failed)?;
    }
    let environment = OnceCell::new();
    let variables = |name: &str| {
        let environment = environment.get_or_init(|| dot_env(&directory));
        std::env::var(name).ok().or_else(|| environment.get(name).cloned())
    };
    let files = |path: &str| read_other(&directory.join(path));
    let mut overrides = Vec::new();
    if let Some((_, other)) = COMPOSE.iter().find(|(file, _)| **file == name) {
        match input::open(&directory.join(other)) {
            Ok(mut file) => overrides.push(input::text(&mut file).map_err(failed)?),
            Err(err) if err.is_missing() => {}
            Err(err) => return Err(failed(err)),
        }
    }
    overrides.extend_from_slice(context.overrides);
    let mut context = *context;
    context.unit = if is_unit { Some(&name) } else { context.unit };
    context.variables = &variables;
    context.files = &files;
    context.overrides = &overrides;
    settings::read_in(&text, format, &context).map_err(|err| NotFound::new(&shown, err))
}

fn read_other(path: &Path) -> io::Result<String> {
    let text = input::open(path).and_then(|mut file| input::text(&mut file));
    text.map_err(|err| match err {
        Unread::Os(err) => err,
        other => io::Error::other(other.to_string()),
    })
}

/// Returns the variables in the file `.env` of a directory, which the environment precedes.
/// (docs.docker.com/compose/how-tos/environment-variables)
fn dot_env(directory: &Path) -> BTreeMap<String, String> {
    let text = read_other(&directory.join(".env")).unwrap_or_default();
    let line = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| {
            value.strip_prefix(*quote).and_then(|rest| rest.split(*quote).next())
        });
        let value = quoted.unwrap_or_else(|| value.split(" #").next().unwrap_or(value).trim());
        Some((name.trim().to_owned(), value.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// Reads the Compose file of a directory, as Compose finds it.
pub(super) fn compose_file(directory: &Path) -> Option<PathBuf> {
    let paths = COMPOSE.iter().map(|(file, _)| directory.join(file));
    paths.into_iter().find(|path| path.is_file())
}

/// Reads all settings in a directory and those below it. Files of no format are passed over.
pub(super) fn read_directory(
    directory: &Path,
    context: &Context<'_>,
) -> Result<Vec<Settings>, NotFound> {
    let mut paths = Vec::new();
    list(directory, 0, &mut paths)
        .map_err(|err| NotFound::new(&directory.display().to_string(), err))?;
    let mut all = Vec::new();
    for path in &paths {
        let Ok(text) = input::open(path).and_then(|mut file| input::text(&mut file)) else {
            continue;
        };
        let shown = path.strip_prefix(directory).unwrap_or(path).display().to_string();
        let read = match read(path, text, None, context) {
            // A number or a word in a file has another meaning.
            Ok(read) if read.iter().all(|settings| settings.kind == Kind::Set) => continue,
            Ok(read) => read,
            Err(err) if err.is_of_no_format() => continue,
            Err(err) => return Err(err),
        };
        let mut read = settings::select(read, None).or_else(|err| match err {
            SettingsError::NoService => Ok(Vec::new()),
            err => Err(NotFound::new(&shown, err)),
        })?;
        for settings in &mut read {
            settings.place = match &settings.place {
                Some(place) => Some(format!("{shown}:{place}")),
                None => Some(shown.clone()),
            };
            settings.name.get_or_insert_with(|| shown.clone());
        }
        all.extend(read);
    }
    Ok(all)
}

/// Lists the files in a directory in the order of their names, without drop-in files and without
/// those that are merged onto another one. Symbolic links to directories are not followed.
fn list(directory: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<(), Unread> {
    let mut entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        let is_merged =
            COMPOSE.iter().any(|(file, other)| *other == name && directory.join(file).is_file());
        if name.starts_with('.') || is_merged {
            continue;
        }
        if kind.is_dir() {
            if depth < DEPTH && !name.ends_with(".service.d") && !name.ends_with(".container.d") {
                list(&entry.path(), depth + 1, paths)?;
            }
        } else {
            paths.push(entry.path());
        }
        if paths.len() > FILES {
            return Err(Unread::TooMany);
        }
    }
    Ok(())
}
