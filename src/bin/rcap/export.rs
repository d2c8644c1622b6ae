//! `rcap export`: prints settings in the format of another system.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
};

use super::{Escaped, Exit, Io, args::ExportRequest, chain, failure::Failure, source};
use rcap::{
    CapSet,
    settings::{self, Context, Format, Kind, Settings, Target, Topic, Written},
};

/// One source in the target format.
struct Part {
    name: Option<String>,
    written: Written,
    remarks: Vec<String>,
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &ExportRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    // Either all of them or nothing is printed.
    let subjects = subjects(request, io.input)?;
    let parts = if request.to == Format::Json {
        let remarks = subjects.iter().flat_map(remarks).collect();
        let mut written = Written::default();
        written.text = settings::to_json(&subjects);
        vec![Part { name: None, written, remarks }]
    } else {
        let several = subjects.len() > 1;
        subjects.iter().map(|one| part(request, one, several)).collect::<Result<_, _>>()?
    };
    for (nth, part) in parts.iter().enumerate() {
        if let Some(name) = &part.name {
            let empty = if nth > 0 { "\n" } else { "" };
            writeln!(io.out, "{empty}# {}", Escaped(name.as_bytes()))?;
        }
        writeln!(io.out, "{}", part.written.text)?;
        io.out.flush()?;
        for words in part.remarks.iter().chain(&part.written.caveats) {
            io.complain_in_words("rcap export", words)?;
        }
    }
    Ok(Exit::SUCCESS)
}

/// Returns the settings to write.
fn subjects(request: &ExportRequest, stdin: &mut dyn Read) -> Result<Vec<Settings>, Failure> {
    let for_user = |settings: Settings| match &request.user {
        Some(user) => settings.for_user(user.clone()),
        None => settings,
    };
    let Some(from) = &request.from else {
        let caps = request.caps.iter().fold(CapSet::empty(), |all, set| all | *set);
        return Ok(vec![for_user(Settings::new(caps))]);
    };
    let mut context = Context::default();
    context.engines = &request.engine;
    let mut all = source::all(from, &context, stdin)?;
    if request.to == Format::ComposeOverride && request.service.is_some() && all.len() > 1 {
        // One service is changed, so only the settings with its name are meant.
        all = settings::select(all, request.service.as_deref())?;
    }
    Ok(all.into_iter().map(for_user).collect())
}

fn part(request: &ExportRequest, settings: &Settings, several: bool) -> Result<Part, Failure> {
    let format = request.to;
    let mut target = Target::default();
    let engines = request.engine.iter().cloned();
    target.engine = engines.into_iter().find(|engine| format.engines().contains(&engine.kind()));
    target.service = request.service.as_ref().or(settings.name.as_ref()).cloned();
    let name = settings.name.clone();
    let base = base(request, target.service.as_deref())?;
    target.base = base.as_ref().map(|base| base.service.clone());
    let export = || {
        let written = format.export(settings, &target)?;
        if let Some(base) = base {
            let merged =
                service(request, &base.argument, base.name, std::slice::from_ref(&written.text))?;
            settings::check_merged(&merged, settings)?;
        }
        Ok(written)
    };
    let written = export().map_err(|err: Failure| match &name {
        Some(name) if several => Failure::subject(name, chain(&err)),
        _ => err,
    })?;
    Ok(Part { remarks: remarks(settings).collect(), written, name: name.filter(|_| several) })
}

/// A service of a Compose file.
struct Base<'a> {
    /// The argument that names the file.
    argument: Cow<'a, str>,
    name: &'a str,
    service: Settings,
}

/// Returns the service that Compose merges with the one that is written: that of `--base`, or else
/// that of the source, if it is a Compose file with the service.
fn base<'a>(
    request: &'a ExportRequest,
    name: Option<&'a str>,
) -> Result<Option<Base<'a>>, Failure> {
    let Some(name) = name.filter(|_| request.to == Format::ComposeOverride) else {
        return Ok(None);
    };
    let base = |argument, service| Base { argument, name, service };
    match (&request.base, &request.from) {
        (Some(path), _) => {
            let argument = format!("compose:{path}");
            let service = service(request, &argument, name, &[])?;
            Ok(Some(base(Cow::from(argument), service)))
        }
        (None, Some(from)) => {
            let service = service(request, from, name, &[]).ok();
            let service = service.filter(|service| service.kind == Kind::Service);
            Ok(service.map(|service| base(Cow::from(from), service)))
        }
        (None, None) => Ok(None),
    }
}

/// Reads a service, with these texts merged onto its file.
fn service(
    request: &ExportRequest,
    argument: &str,
    name: &str,
    overrides: &[String],
) -> Result<Settings, Failure> {
    let mut context = Context::default();
    context.engines = &request.engine;
    context.overrides = overrides;
    let all = source::all(argument, &context, &mut io::empty())?;
    let mut named = settings::select(all, Some(name))?;
    Ok(named.remove(0))
}

/// The remarks about a source, in words.
pub(super) fn remarks(settings: &Settings) -> impl Iterator<Item = String> {
    settings.notes.iter().map(|note| {
        let name = settings.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        match (&settings.engine, note.topic) {
            (Some(engine), Topic::Engine) => format!("{name}taken for {engine}: {}", note.text),
            _ => format!("{name}{}", note.text),
        }
    })
}
