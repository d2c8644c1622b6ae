//! Texts, read by the reader whose structure they have.

use serde_json::Value;

use super::{
    Engine, InputFormat, Settings, SettingsError, compose, docker, document, json, kubernetes, oci,
    status, systemd, words,
};

/// The context in which a text is read.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The engines whose rules apply to sources, at most one of each kind. The default of a kind is
    /// the newest known version.
    pub engines: &'a [Engine],
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
/// assert_eq!(services[0].caps, Cap::NET_BIND_SERVICE.into());
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

/// Returns the settings of the service or container with this name, or all settings if none is
/// named. The result is not empty.
///
/// # Errors
///
/// [`SettingsError::NoService`], [`SettingsError::NoServiceNamed`] and
/// [`SettingsError::SameName`].
pub fn select(mut all: Vec<Settings>, name: Option<&str>) -> Result<Vec<Settings>, SettingsError> {
    if let Some(name) = name {
        all.retain(|settings| settings.name.as_deref() == Some(name));
        return match all.len() {
            1 => Ok(all),
            0 => Err(SettingsError::NoServiceNamed { name: name.into() }),
            count => Err(SettingsError::SameName { name: name.into(), count }),
        };
    }
    if all.is_empty() { Err(SettingsError::NoService) } else { Ok(all) }
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
            InputFormat::Compose => self.read_documents(compose::read),
            InputFormat::Kubernetes => self.read_documents(kubernetes::read),
            InputFormat::Oci => self.read_documents(oci::read),
            InputFormat::Inspect => self.read_documents(docker::read_inspect),
            InputFormat::Report => self.read_documents(json::read),
            InputFormat::Unit => systemd::read(self.text, self.context),
            InputFormat::Status => status::read(self.text),
            InputFormat::Words => {
                let read = words::read(self.text.trim(), self.context);
                read.map(|read| read.map(|settings| vec![settings]))
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
