//! Arguments that name the place of settings.

use super::{Context, InputFormat, Settings, SettingsError, words};

/// The place of settings, as an argument of a command names it.
///
/// The argument alone decides whether it is words or names a file, never the files that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a command handles each place")]
pub enum Source<'a> {
    /// The settings themselves: a profile, a set or a command line.
    Words(Settings),
    /// A process: `pid:N`.
    Process(u32),
    /// A unit of systemd by its name: `unit:NAME`.
    Unit(&'a str),
    /// A container by its name: `container:NAME`.
    Container(&'a str),
    /// An image by its name: `image:NAME`.
    Image(&'a str),
    /// A file, with `:NAME` after its path for one of several services, or `-` for standard input.
    #[non_exhaustive]
    File {
        /// The format that stands before the path, as in `compose:PATH`.
        format: Option<InputFormat>,
        /// The path, and the name of a service if there is one.
        path: &'a str,
        /// For a path that looks like words: the reason why it is not. This is the error to report
        /// if there is no such file.
        not_words: Option<SettingsError>,
    },
}

impl<'a> Source<'a> {
    /// Parses an argument.
    ///
    /// ```
    /// use rcap::settings::{Context, InputFormat, Source};
    ///
    /// let parse = |argument| Source::parse(argument, &Context::default());
    /// assert_eq!(parse("pid:1"), Ok(Source::Process(1)));
    /// assert!(matches!(parse("docker"), Ok(Source::Words(_))));
    /// assert!(matches!(
    ///     parse("compose:docker:web"),
    ///     Ok(Source::File { format: Some(InputFormat::Compose), path: "docker:web", .. })
    /// ));
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingsError`] for a command line that is wrong, and for a process that is not named by
    /// its number.
    pub fn parse(argument: &'a str, context: &Context<'_>) -> Result<Source<'a>, SettingsError> {
        let prefixed = argument.split_once(':');
        if let Some(("pid", pid)) = prefixed {
            return pid.parse().map(Source::Process).map_err(|_| SettingsError::NotProcessId);
        }
        match prefixed {
            Some(("unit", name)) if name != "-" && !name.contains('/') => {
                return Ok(Source::Unit(name));
            }
            Some(("container", name)) => return Ok(Source::Container(name)),
            Some(("image", name)) => return Ok(Source::Image(name)),
            _ => {}
        }
        let format = prefixed.and_then(|(prefix, path)| {
            let format = InputFormat::ALL.into_iter().find(|format| format.name() == prefix);
            format.map(|format| (format, path))
        });
        if let Some((format, path)) = format {
            return Ok(Source::File { format: Some(format), path, not_words: None });
        }
        if let Some(settings) = words::read(argument, context) {
            return settings.map(Source::Words);
        }
        let is_path = argument.contains(['/', '.']);
        let not_words = (!is_path).then(|| words::refusal(argument));
        Ok(Source::File { format: None, path: argument, not_words })
    }
}
