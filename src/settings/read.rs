//! Texts, read by the reader whose structure they have.

use std::{fmt, io};

use serde_json::Value;

use super::{
    Engine, InputFormat, Settings, SettingsError, compose, docker, document, json, kubernetes, oci,
    quadlet, status, systemd, words,
};

/// The context in which a text is read. The library itself reads neither files nor the environment.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The engines whose rules apply to sources, at most one of each kind. The default of a kind is
    /// the newest known version.
    pub engines: &'a [Engine],
    /// The name of a unit, which the specifiers of systemd refer to.
    pub unit: Option<&'a str>,
    /// Returns the value of a variable that a Compose file refers to.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
    /// Reads another file that a Compose file refers to, relative to the directory of the first.
    pub files: &'a dyn Fn(&str) -> io::Result<String>,
    /// The texts of further Compose files, each merged onto those before it.
    pub overrides: &'a [String],
}

impl Default for Context<'_> {
    /// Returns a context without variables and other files.
    fn default() -> Self {
        Context {
            engines: &[],
            unit: None,
            variables: &|_| None,
            files: &|_| Err(io::ErrorKind::NotFound.into()),
            overrides: &[],
        }
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Context { engines, unit, .. } = self;
        f.debug_struct("Context")
            .field("engines", engines)
            .field("unit", unit)
            .finish_non_exhaustive()
    }
}

/// The settings that a reader finds in a text; `None` if the text does not have its structure.
pub(super) type Found = Option<Result<Vec<Settings>, SettingsError>>;

/// Reads the settings in the text of a file: of the format that is named, or of the only one whose
/// structure the text has.
///
/// The structure of the whole text decides on its format, so that no value in it chooses a reader.
///
/// ```
/// use rcap::{Cap, settings};
///
/// let text = "services:\n  web:\n    cap_drop: [ALL]\n    cap_add: [NET_BIND_SERVICE]\n";
/// let services = settings::read(text, None)?;
/// assert_eq!(services[0].name.as_deref(), Some("web"));
/// assert_eq!(services[0].bounding, Cap::NET_BIND_SERVICE.into());
/// # Ok::<(), settings::SettingsError>(())
/// ```
///
/// # Errors
///
/// [`SettingsError`] if the text does not have the structure of exactly one format, and for a
/// value that cannot be read: it is not taken for the default.
pub fn read(text: &str, format: Option<InputFormat>) -> Result<Vec<Settings>, SettingsError> {
    read_in(text, format, &Context::default())
}

/// Reads as [`read`], in a context.
///
/// # Errors
///
/// As of [`read`].
pub fn read_in(
    text: &str,
    format: Option<InputFormat>,
    context: &Context<'_>,
) -> Result<Vec<Settings>, SettingsError> {
    let input = Input::new(text, context);
    if let Some(format) = format {
        let found = input.read(format);
        let syntax = input.documents.err().map(|err| err.to_string().into());
        return found.unwrap_or(Err(SettingsError::NotFormat { format, syntax }));
    }
    let mut found: Vec<_> = InputFormat::ALL
        .into_iter()
        .filter_map(|format| Some((format, input.read(format)?)))
        .collect();
    match (found.pop(), &*found) {
        (Some((_, settings)), []) => settings,
        (Some((last, _)), _) => {
            let formats = found.iter().map(|(format, _)| *format).chain([last]).collect();
            Err(SettingsError::Ambiguous { formats })
        }
        (None, _) => Err(input.refusal()),
    }
}

/// Returns the settings of the service or container with this name, which can be `PLACE:NAME`, or
/// all settings if none is named. The result is not empty, and no two of its names are the same.
///
/// # Errors
///
/// [`SettingsError::NoService`], [`SettingsError::NoServiceNamed`] and
/// [`SettingsError::SameName`].
pub fn select(mut all: Vec<Settings>, name: Option<&str>) -> Result<Vec<Settings>, SettingsError> {
    if let Some(name) = name {
        let mut unique = all.clone();
        disambiguate(&mut unique);
        let unique = unique.into_iter().map(|settings| settings.name);
        let is_named = |(settings, unique): &(Settings, Option<String>)| {
            let names = [settings.name.clone(), full_name(settings), unique.clone()];
            names.iter().any(|one| one.as_deref() == Some(name))
        };
        all = all.into_iter().zip(unique).filter(is_named).map(|(settings, _)| settings).collect();
        return match all.len() {
            1 => Ok(all),
            0 => Err(SettingsError::NoServiceNamed { name: name.into() }),
            _ => {
                disambiguate(&mut all);
                let names = all.into_iter().filter_map(|settings| settings.name).collect();
                Err(SettingsError::SameName { name: name.into(), names })
            }
        };
    }
    disambiguate(&mut all);
    if all.is_empty() { Err(SettingsError::NoService) } else { Ok(all) }
}

/// Returns the name with the place before it.
fn full_name(settings: &Settings) -> Option<String> {
    let name = settings.name.as_ref()?;
    Some(settings.place.as_ref().map_or(name.clone(), |place| format!("{place}:{name}")))
}

/// Makes names that several settings have unambiguous: with the place, and a number if that does
/// not help.
fn disambiguate(all: &mut [Settings]) {
    let counted = |all: &[Settings]| {
        let mut counts = std::collections::BTreeMap::new();
        for name in all.iter().filter_map(|settings| settings.name.clone()) {
            *counts.entry(name).or_insert(0_usize) += 1;
        }
        counts
    };
    let counts = counted(all);
    for settings in &mut *all {
        let is_shared = |name: &String| counts.get(name).is_some_and(|count| *count > 1);
        if settings.name.as_ref().is_some_and(is_shared) {
            settings.name = full_name(settings);
            settings.place = None;
        }
    }
    let counts = counted(all);
    let mut seen = std::collections::BTreeMap::new();
    for settings in &mut *all {
        let Some(name) = settings.name.clone() else { continue };
        let nth = seen.entry(name.clone()).or_insert(0_usize);
        *nth += 1;
        if counts.get(&name).is_some_and(|count| *count > 1) {
            settings.name = Some(format!("{name}#{nth}"));
        }
    }
}

/// A text, and the documents in it if it is JSON or YAML.
struct Input<'a> {
    text: &'a str,
    context: &'a Context<'a>,
    documents: Result<Vec<Value>, SettingsError>,
}

impl Input<'_> {
    fn new<'a>(text: &'a str, context: &'a Context<'a>) -> Input<'a> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Input { text, context, documents: document::parse(text) }
    }

    fn read(&self, format: InputFormat) -> Found {
        match format {
            InputFormat::Compose => {
                let found = self.read_documents(compose::read);
                found.map(|read| compose::check_tags(self.text).and(read))
            }
            InputFormat::Kubernetes => self.read_documents(kubernetes::read),
            InputFormat::Oci => self.read_documents(oci::read),
            InputFormat::Inspect => self.read_documents(docker::read_inspect),
            InputFormat::Report => self.read_documents(json::read),
            InputFormat::Unit => systemd::read(self.text, self.context),
            InputFormat::Show => systemd::read_show(self.text, self.context),
            InputFormat::Quadlet => quadlet::read(self.text, self.context),
            InputFormat::Status => status::read(self.text),
            InputFormat::Words => {
                let read = words::read(self.text.trim(), self.context);
                let one = read.map(|read| read.map(|settings| vec![settings]));
                one.or_else(|| words::read_lines(self.text, self.context))
            }
        }
    }

    /// Reads all documents. If a reader takes one, it must take each.
    fn read_documents(&self, read: fn(&Value, &Context<'_>) -> Found) -> Found {
        let documents = self.documents.as_ref().ok()?;
        let found: Vec<Found> =
            documents.iter().map(|document| read(document, self.context)).collect();
        found.iter().any(Option::is_some).then(|| {
            found.into_iter().zip(1..).try_fold(Vec::new(), |mut all, (found, document)| {
                all.extend(found.unwrap_or(Err(SettingsError::MixedDocuments { document }))?);
                Ok(all)
            })
        })
    }

    /// Returns why no reader takes the text.
    fn refusal(self) -> SettingsError {
        let text = self.text.trim();
        match self.documents.as_deref() {
            _ if text.is_empty() => SettingsError::Empty,
            Err(err) => err.clone(),
            Ok([Value::String(_) | Value::Number(_)]) => words::refusal(text),
            Ok(_) => SettingsError::Unrecognized,
        }
    }
}

#[cfg(test)]
mod tests;
