//! `rcap check`: settings against a policy.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Exit, Io, args::CheckRequest, failure::Failure, input, json::SCHEMA, source};
use rcap::{
    proc::Proc,
    scan::{
        Finding, encode, image,
        output::{junit, sarif},
        policy::{Policy, RULES},
    },
    settings::{Context, Settings, read_in},
};

/// How deep directories are searched.
const DEEPEST: usize = 32;

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &CheckRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let policy = policy(&request.policy, io)?;
    let mut checked = Checked::default();
    for source in &request.sources {
        let path = Path::new(source);
        if source == "machine" {
            checked.machine(&policy)?;
        } else if image::is_image(path) {
            checked.image(path, &policy, io)?;
        } else if path.is_dir() && !path.join("status").exists() {
            checked.directory(path, &policy, 0, io)?;
        } else {
            for settings in source::all(source, &Context::default(), io.input)? {
                checked.add(source, &settings, &policy);
            }
        }
    }
    checked.print(request, io)?;
    if checked.subjects.is_empty() {
        io.complain_in_words("rcap check", "nothing was checked: no source has settings")?;
        return Ok(Exit::FAILED);
    }
    // A file that cannot be read may hide a violation.
    Ok(match (checked.unread, checked.violations.is_empty()) {
        (0, true) => Exit::SUCCESS,
        (0, false) => Exit::NO,
        _ => Exit::FAILED,
    })
}

fn policy(name: &str, io: &mut Io<'_>) -> Result<Policy, Failure> {
    if let Some(policy) = Policy::built_in(name) {
        return Ok(policy);
    }
    let level = format!("pod-security-{name}");
    let is_level = Policy::built_in(&level).is_some();
    let text = input::read(Path::new(name), io.input).map_err(|reason| match reason {
        reason if reason.is_missing() && is_level => {
            Failure::subject(encode(name), format!("{reason}; did you mean {level}?"))
        }
        reason => Failure::Input { name: encode(name), reason },
    })?;
    Policy::parse(&text).map_err(|err| Failure::subject(encode(name), err))
}

/// The programs that were checked, and their violations.
#[derive(Debug, Default)]
struct Checked {
    subjects: Vec<String>,
    violations: Vec<Finding>,
    /// Files in directories that hold no settings.
    passed_over: usize,
    /// Files in directories that could not be read.
    unread: usize,
}

impl Checked {
    fn add(&mut self, source: &str, settings: &Settings, policy: &Policy) {
        let subject = match &settings.name {
            Some(name) => format!("{}:{}", encode(source), encode(name)),
            None => encode(source),
        };
        self.subjects.push(subject);
        self.violations.extend(policy.check(source, settings));
    }

    /// Every process that runs a program.
    fn machine(&mut self, policy: &Policy) -> Result<(), Failure> {
        let tree = Proc::of_namespace()?.tree()?;
        for process in tree.processes() {
            if process.status.kind == rcap::proc::Kind::Program {
                let source = format!("pid:{}", process.status.pid);
                self.add(&source, &Settings::from(&process.status), policy);
            }
        }
        Ok(())
    }

    /// A container of an image, and the files in it.
    fn image(&mut self, path: &Path, policy: &Policy, io: &mut Io<'_>) -> Result<(), Failure> {
        let inventory = image::image(path)?;
        let source = path.to_string_lossy();
        if let Some(image) = &inventory.image {
            let settings = image.settings().map_err(|err| Failure::subject(encode(path), err))?;
            self.add(&source, &settings, policy);
        } else {
            self.subjects.push(encode(path));
        }
        let violations = policy.check_files(&source, &inventory);
        self.subjects.extend(violations.iter().map(|one| one.subject.clone()));
        self.violations.extend(violations);
        for one in &inventory.unread {
            self.unread += 1;
            let words = format!("{}: {}: {}", encode(path), one.subject, one.reason);
            io.complain_in_words("rcap check", &words)?;
        }
        Ok(())
    }

    /// The files of a directory and below it that hold settings, in the order of their names.
    /// Symbolic links are not followed.
    fn directory(
        &mut self,
        path: &Path,
        policy: &Policy,
        depth: usize,
        io: &mut Io<'_>,
    ) -> Result<(), Failure> {
        let failed = |err: std::io::Error| Failure::subject(encode(path), err);
        let entries = fs::read_dir(path).map_err(failed)?;
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(failed)?.path());
        }
        paths.sort();
        for path in paths {
            let kind = fs::symlink_metadata(&path)
                .map_err(|err| Failure::subject(encode(&path), err))?
                .file_type();
            let read = if kind.is_dir() && depth < DEEPEST {
                self.directory(&path, policy, depth + 1, io)
            } else if kind.is_file() && has_settings(&path) {
                self.file(&path, policy)
            } else {
                self.passed_over += 1;
                Ok(())
            };
            if let Err(err) = read {
                self.unread += 1;
                io.complain_in_words("rcap check", &err.to_string())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, policy: &Policy) -> Result<(), Failure> {
        let failed = |reason| Failure::Input { name: encode(path), reason };
        let text = input::open(path).and_then(|mut file| input::text(&mut file)).map_err(failed)?;
        match read_in(&text, None, &Context::default()) {
            Ok(all) => {
                let source = path.to_string_lossy();
                for settings in &all {
                    self.add(&source, settings, policy);
                }
                Ok(())
            }
            // A file that is not of any of the formats; one that is and cannot be read is an error.
            Err(err) if is_other(&err) => {
                self.passed_over += 1;
                Ok(())
            }
            Err(err) => Err(Failure::subject(encode(path), err)),
        }
    }

    fn print(&self, request: &CheckRequest, io: &mut Io<'_>) -> Result<(), Failure> {
        if request.json {
            writeln!(io.out, "{}", self.document())?;
        } else if request.sarif {
            writeln!(io.out, "{}", sarif::document(RULES, &self.violations))?;
        } else if request.junit {
            write!(io.out, "{}", junit::document(&self.subjects, &self.violations))?;
        } else {
            for Finding { severity, subject, text, rule, .. } in &self.violations {
                writeln!(io.out, "{subject}: {severity}: {text} ({})", rule.id)?;
            }
        }
        let (checked, violations) = (self.subjects.len(), self.violations.len());
        let mut words = format!("{checked} checked, {violations} violations");
        if self.passed_over > 0 {
            words = format!("{words}, {} other files", self.passed_over);
        }
        Ok(io.complain_in_words("rcap check", &words)?)
    }

    fn document(&self) -> Value {
        let violation = |one: &Finding| {
            json!({
                "id": one.rule.id,
                "severity": one.severity.name(),
                "subject": one.subject,
                "text": one.text,
                "fix": one.rule.fix,
            })
        };
        json!({
            "schema": SCHEMA,
            "checked": self.subjects,
            "violations": self.violations.iter().map(violation).collect::<Vec<_>>(),
        })
    }
}

/// Returns whether the name of a file is one that settings have.
fn has_settings(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    ["yaml", "yml", "json", "service", "container", "socket", "conf"].contains(&end)
}

/// Returns whether the error says that a text has the structure of no format.
fn is_other(err: &rcap::settings::SettingsError) -> bool {
    use rcap::settings::SettingsError;
    matches!(
        err,
        SettingsError::Unrecognized
            | SettingsError::Empty
            | SettingsError::NoService
            | SettingsError::NoServiceSection
    )
}
