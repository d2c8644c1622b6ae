//! The rule that no conversion grants more than its source, and how settings are fitted to a
//! format that cannot express all of them.

use super::{
    Engine, EngineKind, Format, Profile, Settings, SettingsError, Who, compose, container,
    engine::Grant, format::Class,
};
use crate::{CapSet, Securebits, exec::FileFacts, file::FileCaps};

/// The place that settings are written for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// The engine that reads the text; `None` is the newest that is known.
    pub engine: Option<Engine>,
    /// The name of the service that a Compose override file is for.
    pub service: Option<String>,
    /// The service that a Compose override file is merged with, from a caller that calls
    /// [`check_merged`]. Without it, the override file says that the result was not checked.
    pub base: Option<Settings>,
    /// Whether a container keeps its no_new_privs as it is, because the settings were measured
    /// so. Otherwise it is set wherever it takes nothing away from an ordinary program.
    pub is_measured: bool,
}

/// Settings in a format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The text, ready to paste and without a newline at the end.
    pub text: String,
    /// Surprising effects of the text, as sentences for people.
    pub caveats: Vec<String>,
}

/// The settings that a text of a format results in, and its differences from the source.
pub(super) struct Fit {
    pub(super) settings: Settings,
    pub(super) caveats: Vec<String>,
}

/// Returns the settings that come closest to `source` in a format and grant nothing more.
pub(super) fn fit(
    source: &Settings,
    format: Format,
    target: &Target,
) -> Result<Fit, SettingsError> {
    check_user(source, format)?;
    let engine = format.engine(target);
    let class = match (format.class(), &engine) {
        // `podman kube play` makes capabilities ambient too.
        (Class::Container, Some(engine)) if engine.kind() == EngineKind::Podman => Class::Ambient,
        (class, _) => class,
    };
    let source = &asked_for(source, class);
    let mut settings = Settings { notes: Vec::new(), engine: engine.clone(), ..source.clone() };
    if !class.has_securebits() {
        settings.securebits = Securebits::empty();
    }
    let settings = match class {
        Class::Document => Settings { engine: source.engine.clone(), ..source.clone() },
        Class::Process => process(source, settings),
        Class::Launcher => launcher(source, settings, engine),
        Class::Container => container(source, settings, engine),
        Class::Ambient => ambient(source, settings, engine)?,
        Class::Image => image(source, settings, engine),
        Class::File => file(source, settings, format)?,
    };
    let mut fit = Fit { settings, caveats: Vec::new() };
    set_no_new_privs(source, &mut fit, class, format)?;
    if target.is_measured && class == Class::Container {
        fit.settings.no_new_privs = source.no_new_privs;
    }
    if let Some(set) = wider(&fit.settings, source) {
        return Err(SettingsError::Wider { format, set });
    }
    if format == Format::ComposeOverride && target.base.is_none() {
        fit.caveats.push(compose::UNCHECKED.to_owned());
    }
    fit.caveats.extend(super::caveats::of(source, &fit.settings, format));
    Ok(fit)
}

/// Returns the settings without capabilities that no setting asks for: systemd makes some
/// inheritable for its own needs, and a process starts without them elsewhere.
fn asked_for(source: &Settings, class: Class) -> Settings {
    let mut source = source.clone();
    let is_unit = source.engine.as_ref().is_some_and(|one| one.kind() == EngineKind::Systemd);
    if is_unit && class != Class::Document {
        source.caps.inheritable &= source.ambient;
    }
    source
}

/// Returns the capabilities that may be in the bounding set of a process that has no more than
/// `source`, where root is granted all of its bounding set.
fn limit(source: &Settings, has_securebits: bool) -> CapSet {
    let is_noroot = source.securebits.contains(Securebits::NOROOT);
    if is_noroot && has_securebits {
        source.bounding
    } else if is_noroot || source.user.may_be_root() {
        source.bounding & source.granted()
    } else {
        source.bounding
    }
}

/// All five sets can be written, but no securebits.
fn process(source: &Settings, settings: Settings) -> Settings {
    let limit = limit(source, false);
    let is_noroot = source.securebits.contains(Securebits::NOROOT);
    let mut settings = Settings { bounding: limit, ..settings };
    settings.caps.permitted &= source.offered();
    settings.caps.effective &= source.offered();
    if is_noroot && source.user.may_be_root() {
        settings = settings.with_sets(limit, source.ambient & limit);
    }
    settings
}

/// The bounding, inheritable and ambient sets and the securebits can be written. The permitted set
/// follows from the user.
fn launcher(source: &Settings, settings: Settings, engine: Option<Engine>) -> Settings {
    let mut bounding = limit(source, true);
    if source.no_new_privs && !source.user.may_be_root() {
        // A launcher that keeps its own permitted set would grant what the program's file has.
        bounding &= source.caps.permitted | source.ambient;
    }
    let ambient = source.ambient & source.granted();
    let named = source.named;
    if let Some(engine) = engine {
        return engine.grant(settings, Grant { bounding, ambient, named });
    }
    let mut settings = settings.with_sets(bounding, ambient).keeping_permitted();
    // Only the bounding set can become inheritable.
    settings.caps.inheritable = (source.caps.inheritable & bounding) | ambient;
    settings
}

/// One set can be written, which a non-root user gets from a file alone.
fn container(source: &Settings, settings: Settings, engine: Option<Engine>) -> Settings {
    let engine = engine.unwrap_or_else(|| Engine::newest(EngineKind::Docker));
    let most = if source.user.may_be_root() {
        CapSet::all()
    } else if engine.permits_users() {
        source.offered()
    } else {
        source.offered() | source.named.add
    };
    let bounding = limit(source, false) & most & engine.known();
    engine.grant(settings, Grant { bounding, named: source.named, ..Grant::default() })
}

/// One set can be written, and those that are added are ambient for a non-root user.
fn ambient(
    source: &Settings,
    mut settings: Settings,
    engine: Option<Engine>,
) -> Result<Settings, SettingsError> {
    let engine = engine.unwrap_or_else(|| Engine::newest(EngineKind::Podman));
    let limit = limit(source, false) & engine.known();
    let default = container::PODMAN;
    let mut named = source.named;
    let is_of_podman =
        source.engine.as_ref().is_some_and(|engine| engine.kind() == EngineKind::Podman);
    let bounding = match &source.user {
        Who::OfImage if !is_of_podman => {
            // Added capabilities would be ambient if the image's user is not root.
            named.add = CapSet::empty();
            if let Some(cap) = (limit - Profile::Docker.given()).iter().next() {
                return Err(SettingsError::NeedsUser { cap });
            }
            limit & default
        }
        Who::OfImage => {
            named.add = (limit - default) | (source.named.add & limit);
            limit
        }
        user if user.may_be_root() => {
            named.add = limit;
            limit
        }
        _ => {
            named.add = source.ambient & limit;
            let defaults = if is_of_podman { default } else { CapSet::empty() };
            let others = source.offered() | source.named.add | defaults;
            limit & (named.add | default & others)
        }
    };
    settings.named = named;
    Ok(engine.grant(settings, Grant { bounding, named, ..Grant::default() }))
}

/// The image asks for a part of the defaults.
fn image(source: &Settings, settings: Settings, engine: Option<Engine>) -> Settings {
    let engine = engine.unwrap_or_else(|| Engine::newest(EngineKind::Podman));
    let most =
        if source.user.may_be_root() { CapSet::all() } else { source.offered() | source.named.add };
    let bounding = limit(source, false) & most & container::PODMAN;
    engine.grant(settings, Grant { bounding, ..Grant::default() })
}

/// The file grants its capabilities to every user who executes it.
fn file(source: &Settings, settings: Settings, format: Format) -> Result<Settings, SettingsError> {
    if !source.is_request() && source.user != Who::Anyone {
        let needs = "no user: a file gives its capabilities to everyone who may execute it";
        return Err(SettingsError::inexpressible(format, &source.user, needs));
    }
    Ok(settings)
}

/// Sets no_new_privs wherever it takes away nothing that the program is to have.
fn set_no_new_privs(
    source: &Settings,
    fit: &mut Fit,
    class: Class,
    format: Format,
) -> Result<(), SettingsError> {
    let settings = &mut fit.settings;
    let user = !source.user.may_be_root();
    let wanted = source.offered() | source.named.add & source.bounding;
    let needs_file = user && !settings.ambient.is_superset(wanted);
    let keeps_permitted = user && settings.caps.permitted.is_superset(settings.bounding);
    settings.no_new_privs = match class {
        Class::Document => source.no_new_privs,
        Class::Image | Class::File if source.no_new_privs => {
            return Err(SettingsError::NoNewPrivsLost { format });
        }
        Class::Image | Class::File => false,
        Class::Process => true,
        Class::Container => {
            source.no_new_privs || keeps_permitted || !user || settings.bounding.is_empty()
        }
        Class::Launcher | Class::Ambient => source.no_new_privs || !needs_file,
    };
    Ok(())
}

/// Refuses a user whom the format cannot name, or whom another system would look up.
fn check_user(source: &Settings, format: Format) -> Result<(), SettingsError> {
    let class = format.class();
    let is_container = class.is_container();
    let needs = match &source.user {
        _ if class == Class::Document => return Ok(()),
        Who::Anyone | Who::User(_) => return Ok(()),
        Who::OfImage if is_container => return Ok(()),
        Who::NotRoot if format == Format::Kubernetes => return Ok(()),
        Who::InImage(user) if is_container || user.numbers().is_some() => return Ok(()),
        Who::InImage(_) => "a user of this system: the image alone knows this name",
        Who::OfImage | Who::NotRoot => "a user: the image names the one of this source",
        Who::Unknown => "a user: the source does not tell who it is",
    };
    Err(SettingsError::inexpressible(format, &source.user, needs))
}

/// Checks a service of a Compose file after an override file that was written from `source` is
/// merged with it. Compose adds the lists of both up, so the other file's `cap_add` stays.
///
/// # Errors
///
/// [`SettingsError::Wider`] if the service has more than `source`.
pub fn check_merged(merged: &Settings, source: &Settings) -> Result<(), SettingsError> {
    let has_group = |group| source.is_request() || source.groups.contains(group);
    let groups = merged.groups.iter().any(|group| !has_group(group)).then_some("group");
    match wider(merged, source).or(groups) {
        Some(set) => Err(SettingsError::MergedWider { set }),
        None => Ok(()),
    }
}

/// Returns a set of `settings` that is not within the same set of `source`, before the program is
/// executed or for some file that can be executed.
pub(super) fn wider(settings: &Settings, source: &Settings) -> Option<&'static str> {
    let is_within = |set: fn(&Settings) -> CapSet| set(settings).is_subset(set(source));
    if !is_within(|settings| settings.bounding) {
        return Some("bounding");
    }
    if !is_within(|settings| settings.caps.inheritable) {
        return Some("inheritable");
    }
    if !is_within(|settings| settings.ambient) {
        return Some("ambient");
    }
    if source.no_new_privs && !settings.no_new_privs {
        return Some("no-new-privs");
    }
    // A program that is executed keeps what it is for an ordinary file: no_new_privs makes a
    // set-user-ID file one of those, whose ambient set is not cleared.
    let every =
        FileCaps { permitted: CapSet::all(), inheritable: CapSet::all(), ..FileCaps::EMPTY };
    let set_uid = FileFacts { set_uid: Some(0), ..FileFacts::default() };
    let after = |settings: &Settings, file: &FileFacts| {
        let after = settings.execute(file).ok()?.after;
        Some([after.caps.permitted, after.caps.effective, after.ambient])
    };
    let Some(ordinary) = after(source, &FileFacts::default()) else { return Some("permitted") };
    for file in [FileFacts::default(), FileFacts::with_caps(every), set_uid] {
        let (Some(ours), Some(theirs)) = (after(settings, &file), after(source, &file)) else {
            return Some("permitted");
        };
        for (at, name) in ["permitted", "effective", "ambient"].into_iter().enumerate() {
            if !ours[at].is_subset(theirs[at] | ordinary[at]) {
                return Some(name);
            }
        }
    }
    None
}

#[cfg(all(test, feature = "settings"))]
mod tests;
