//! The answer for a service of Compose: the lines to paste, and the override file of `--write`.

use std::{fs::File, io::Write};

use rcap::{
    container::Service,
    settings::{self, Context, Format, Settings, Target, shell_word},
    tools::{Escaped, table::fit},
    trace::minimize::{Found, Verdict},
};

use super::{Failure, Io, MinimizeRequest};
use crate::{new_file, source};

/// Prints the lines of the service with the minimum.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn lines(service: &Service, found: &Found, io: &mut Io<'_>) -> Result<(), Failure> {
    let file = service.files().first().map(|file| file.display().to_string());
    let file = Escaped(file.unwrap_or_default().as_bytes()).to_string();
    let name = Escaped(service.name().as_bytes()).to_string();
    writeln!(io.out)?;
    let words = format!(
        "In {file}, replace `cap_drop`, `cap_add` and `privileged` of the service {name} by:"
    );
    fit(&words, io.out)?;
    writeln!(io.out)?;
    let mut target = Target::default();
    target.is_measured = true;
    for line in Format::Compose.export(&Settings::new(found.minimum), &target)?.text.lines() {
        writeln!(io.out, "    {line}")?;
    }
    if !service.added_sysctls().is_empty() {
        writeln!(io.out, "\nand set:\n\n{}", sysctls(service).trim_end())?;
    }
    Ok(())
}

/// Returns the lines of a service that set what [`Service::added_sysctls`] returns.
fn sysctls(service: &Service) -> String {
    let line = |(name, value): &(String, String)| format!("      {name}: \"{value}\"\n");
    let lines: String = service.added_sysctls().iter().map(line).collect();
    if lines.is_empty() { lines } else { format!("    sysctls:\n{lines}") }
}

/// Returns the place for an override file.
///
/// # Errors
///
/// [`Failure`] if there is such a file already, which is never replaced.
pub(super) fn place(service: &Service) -> Result<new_file::Target, Failure> {
    let (path, is_new) = service.override_file();
    if !is_new {
        let words =
            "it exists, and --write replaces no file; without --write, the lines are printed";
        return Err(Failure::subject(path.display(), words));
    }
    Ok(new_file::Target::new(&path)?)
}

/// Writes an override file that gives the service exactly the minimum.
///
/// # Errors
///
/// [`Failure`] if the file would not do that, because Compose adds up the lists of both files.
pub(super) fn write(
    service: &Service,
    place: &new_file::Target,
    found: &Found,
) -> Result<(), Failure> {
    let mut target = Target::default();
    target.service = Some(service.name().to_owned());
    target.base = Some(merged(service, None)?);
    target.is_measured = true;
    let written = Format::ComposeOverride.export(&Settings::new(found.minimum), &target)?;
    let merged = merged(service, Some(&written.text))?.bounding;
    if merged != found.minimum {
        let words = format!(
            "its `cap_add` and `cap_drop` are added up with those of an override file, which gives \
             the service {merged}: remove them there and use --write again"
        );
        let file = service.files().first().map(|file| file.display().to_string());
        return Err(Failure::subject(file.unwrap_or_default(), words));
    }
    let comment = |verdict: Verdict| {
        let first = verdict.evidence.first().map(|one| one.words.as_str()).unwrap_or_default();
        let first = Escaped(first.as_bytes());
        format!("# {}: {}: without it, {first}\n", verdict.cap, verdict.kind.name())
    };
    let verdicts = found.verdicts().into_iter();
    let comments: String =
        verdicts.filter(|one| found.minimum.contains(one.cap)).map(comment).collect();
    let text = format!(
        "# Capabilities measured by `rcap minimize`:\n{comments}{}\n{}",
        written.text,
        sysctls(service)
    );
    // The new file belongs to the owner of the Compose file, who can also read it.
    let like = service.files().first().and_then(|file| File::open(file).ok());
    place
        .create_new(text.as_bytes(), like.as_ref())
        .map_err(|err| Failure::subject(place.path().display(), err))
}

/// Returns the service after Compose has merged its files, with this text as the last one.
fn merged(service: &Service, text: Option<&str>) -> Result<Settings, Failure> {
    let mut overrides = Vec::new();
    for file in service.files().iter().skip(1) {
        let read = std::fs::read_to_string(file);
        overrides.push(read.map_err(|err| Failure::subject(file.display(), err))?);
    }
    overrides.extend(text.map(str::to_owned));
    let mut context = Context::default();
    context.overrides = &overrides;
    let first = service.files().first().map(|file| file.display().to_string());
    let argument = format!("compose:{}", first.unwrap_or_default());
    let all = source::all(&argument, &context, &mut std::io::empty())?;
    let named = settings::select(all, Some(service.name()))?;
    let none = || Failure::subject(service.name(), "not a service of the files");
    named.into_iter().next().ok_or_else(none)
}

/// Prints the command that verifies the result.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn next(
    request: &MinimizeRequest,
    found: &Found,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    let mut words = vec!["rcap".to_owned(), "verify".to_owned()];
    let refused = found.refused();
    if !refused.is_empty() {
        words.extend(["--tolerate".to_owned(), refused.to_string()]);
    }
    words.extend(request.measure.judging.words());
    for file in &request.measure.files.compose {
        words.extend(["--compose".to_owned(), file.to_string_lossy().into_owned()]);
    }
    if let Some(name) = &request.measure.files.project_name {
        words.extend(["--project-name".to_owned(), name.clone()]);
    }
    if request.measure.files.compose.is_empty() {
        words.push("--".to_owned());
    }
    words.extend(request.measure.program.iter().map(|word| word.to_string_lossy().into_owned()));
    let line = words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ");
    writeln!(io.out, "\nTo verify it: {}", Escaped(line.as_bytes()))?;
    Ok(())
}
