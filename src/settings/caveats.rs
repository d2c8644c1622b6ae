//! Caveats of a format that cannot express all settings, as sentences for people.

use super::{Engine, EngineKind, Format, Id, Settings, Who, format::Class, text};
use crate::{Cap, CapSet, exec::FileFacts, file::FileCaps};

/// Returns the sentences, most severe first.
pub(super) fn of(source: &Settings, written: &Settings, format: Format) -> Vec<String> {
    let class = format.class();
    if class == Class::Document {
        return Vec::new();
    }
    let mut caveats = Vec::new();
    if source.is_privileged() && !source.is_request() && written.is_privileged() {
        caveats.push(
            "PRIVILEGED: the source grants root every capability, and so does this; that is as \
             much as root of the machine has"
                .to_owned(),
        );
    }
    caveats.extend(sysctls(written, format));
    caveats.extend(by_file(source, written, class));
    caveats.extend(unknown(source, written));
    if class == Class::Image {
        caveats.extend(not_of_defaults(source, written));
    }
    if source.is_request() {
        return caveats;
    }
    let lost = source.ambient - written.ambient;
    if !lost.is_empty() {
        caveats.push(format!(
            "the ambient set cannot be expressed: a program gets {} there from its file alone \
             (rcap setcap)",
            text::few(lost)
        ));
    }
    if class != Class::Image {
        caveats.extend(left_out(source, written));
    }
    let lost = source.caps.inheritable - written.caps.inheritable - source.ambient;
    if !lost.is_empty() {
        caveats.push(format!("the inheritable set is lost: {}", text::few(lost)));
    }
    let lost = source.securebits - written.securebits;
    if !lost.is_empty() {
        caveats.push(format!("the securebits cannot be expressed: {lost}"));
    }
    caveats.extend(gains_of_files(source, written));
    if !source.groups.is_empty() && matches!(format, Format::Kubernetes | Format::Label) {
        caveats.push("supplementary groups are not written: they are the pod's".to_owned());
    }
    match &source.user {
        Who::User(user) if matches!(user.id(), Id::Name(_)) && class.is_container() => {
            caveats.push(format!("the name {} is looked up in the image", user.id()));
        }
        _ => {}
    }
    caveats
}

/// Returns the capabilities that a program has at most whose file has all of them:
/// `F(permitted) & P(bounding)`, and with no_new_privs those that are permitted before execve(2).
/// (capabilities(7), "Transformation of capabilities during execve()")
pub(super) fn gained(settings: &Settings) -> CapSet {
    let every = FileCaps { permitted: CapSet::all(), ..FileCaps::EMPTY };
    let outcome = settings.execute(&FileFacts::with_caps(every));
    outcome.map(|outcome| outcome.after.caps.permitted).unwrap_or_default()
}

/// Returns the caveats about a program of a non-root user that gets less from its file, or as a
/// set-user-ID program, than in the source.
fn gains_of_files(source: &Settings, written: &Settings) -> Vec<String> {
    let mut caveats = Vec::new();
    let lost = source.bounding - written.bounding;
    if !source.user.may_be_root() && !source.no_new_privs && !lost.is_empty() {
        caveats.push(format!(
            "the bounding set is smaller, without {}: set-user-ID programs and files get nothing \
             of it",
            text::few(lost)
        ));
    }
    let gained = gained(written);
    let more = text::few(gained);
    if written.no_new_privs && !source.no_new_privs {
        caveats.push(if (gained - written.granted()).is_empty() {
            "no-new-privs is added, which the source lacks: set-user-ID programs and file \
             capabilities give nothing more"
                .to_owned()
        } else {
            format!(
                "no-new-privs is added, which the source lacks: set-user-ID programs give nothing \
                 more, and file capabilities nothing outside of {more}"
            )
        });
    } else if source.no_new_privs && !source.user.may_be_root() {
        let lost = self::gained(source) - gained;
        if !lost.is_empty() {
            caveats.push(format!(
                "file capabilities are lost, {}: with no-new-privs, a program's file gives what is \
                 permitted before execve(2), and that is {} here",
                text::few(lost),
                if gained.is_empty() { "nothing" } else { &more }
            ));
        }
    }
    caveats
}

/// Returns the caveat about capabilities that the image's user would have as ambient ones.
fn left_out(source: &Settings, written: &Settings) -> Option<String> {
    let lost = source.bounding - written.bounding;
    let is_ambient =
        written.engine.as_ref().is_some_and(|engine| engine.kind() == EngineKind::Podman);
    (source.user == Who::OfImage && is_ambient && !lost.is_empty()).then(|| {
        format!(
            "{} is left out: Podman would make it ambient if the image's user is not root; name \
             the user to have it (--user)",
            text::few(lost)
        )
    })
}

/// Returns the caveat about capabilities that an image cannot ask for.
fn not_of_defaults(source: &Settings, written: &Settings) -> Option<String> {
    let wanted = if source.is_request() { source.bounding } else { source.granted() };
    let lost = wanted - written.bounding;
    (!lost.is_empty()).then(|| {
        format!(
            "{} is left out: an image can ask only for capabilities of Podman's defaults",
            text::few(lost)
        )
    })
}

/// Returns the caveat about capabilities that the engine has no names for.
fn unknown(source: &Settings, written: &Settings) -> Option<String> {
    let engine = written.engine.as_ref()?;
    let lost = (source.bounding - written.bounding) - engine.known();
    let lost = lost & CapSet::NAMED;
    (!lost.is_empty()).then(|| format!("{engine} does not know {lost}: left out"))
}

/// Returns the caveat about a non-root user who gets capabilities only from a file.
fn by_file(source: &Settings, written: &Settings, class: Class) -> Option<String> {
    let mut wanted = source.offered() & (written.bounding - written.ambient);
    if source.engine.as_ref().is_some_and(Engine::has_images) {
        // Defaults of an engine were not asked for.
        wanted &= source.named.add;
    }
    if class == Class::File {
        let user = source.user.user().filter(|user| !user.is_root())?;
        return Some(if source.caps.permitted.is_empty() {
            format!("the user {user} cannot be expressed")
        } else {
            format!("every user who may execute the file gets them, not only {user}")
        });
    }
    if source.user.may_be_root() || wanted.is_empty() {
        return None;
    }
    let by_file = "a non-root user gets there what its program's file has, and nothing else: give \
                   the file these too (rcap setcap)";
    let permits = written.engine.as_ref().is_some_and(Engine::permits_users);
    let kind = written.engine.as_ref().map(Engine::kind);
    Some(match (written.no_new_privs, kind) {
        (true, Some(EngineKind::Docker)) if permits => format!(
            "{by_file}. That holds with no-new-privileges since Docker 25; for an older one: \
             --engine docker@24"
        ),
        (true, _) if permits => {
            format!("{by_file}. containerd and CRI-O let it keep them with no-new-privs")
        }
        (true, _) => "a non-root user gets no capabilities there: no-new-privs takes away what \
                      the program's file has"
            .to_owned(),
        (false, _) => {
            format!("{by_file}. No-new-privs, which would take that away, is left out")
        }
    })
}

/// Returns the sysctls that make a capability unnecessary, where a container may set them for
/// itself.
fn sysctls(written: &Settings, format: Format) -> Vec<String> {
    let is_set_already =
        matches!(format, Format::Docker | Format::Compose | Format::ComposeOverride);
    let is_root = written.user.is_root();
    let offers = is_root == Some(false) || is_root.is_none() && !is_set_already;
    let granted = if offers { written.named.add & written.bounding } else { CapSet::empty() };
    let [port, ping] =
        ["net.ipv4.ip_unprivileged_port_start=0", "net.ipv4.ping_group_range=0 2147483647"];
    let rows = [
        (Cap::NET_BIND_SERVICE, "binds ports below 1024", port),
        (Cap::NET_RAW, "sends ICMP echo requests and nothing else", ping),
    ];
    let rows = rows.into_iter().filter(|(cap, ..)| granted.contains(*cap));
    rows.filter_map(|(cap, what, sysctl)| {
        let (name, value) = sysctl.split_once('=')?;
        let way = match format {
            Format::Kubernetes => format!(
                "the pod's securityContext.sysctls: [{{name: {name}, value: \"{value}\"}}], which \
                 \"restricted\" allows too, does instead; containerd sets it by itself since 2.0"
            ),
            Format::Docker | Format::Compose | Format::ComposeOverride => {
                format!(
                    "Docker sets {name} in a network of the container's own, so it is not needed"
                )
            }
            Format::Podman => format!("--sysctl '{sysctl}' does instead"),
            Format::Quadlet => format!("Sysctl={sysctl} does instead"),
            _ => return None,
        };
        Some(format!("without {cap}: if the program {what}, {way}"))
    })
    .collect()
}
