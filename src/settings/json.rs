//! rcap's own JSON. (docs/json.md)

#[cfg(feature = "settings")]
use serde_json::Value;

#[cfg(feature = "settings")]
use super::{
    Context, Id, Kind, Named, Note, Topic, User, Who,
    read::Found,
    value::{caps, switch, texts, user},
};
use super::{
    Settings, SettingsError, Target,
    text::{list, quoted},
};
use crate::CapSet;
#[cfg(feature = "settings")]
use crate::CapState;

/// The number of the layout.
const SCHEMA: u32 = 2;

/// Writes a document with one subject.
#[expect(clippy::unnecessary_wraps, reason = "a row of the table of formats")]
pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    Ok(document(std::slice::from_ref(settings)))
}

/// Writes a document with several subjects.
pub(super) fn document(subjects: &[Settings]) -> String {
    let subjects: Vec<String> = subjects.iter().map(subject).collect();
    format!("{{\"schema\":{SCHEMA},\"subjects\":[{}]}}", subjects.join(","))
}

fn subject(settings: &Settings) -> String {
    let names = |caps: CapSet| format!("[{}]", list(caps, |cap| quoted(&cap.to_string()), ","));
    let text = |text: Option<String>| text.map_or("null".to_owned(), |text| quoted(&text));
    let texts = |texts: &[String]| {
        format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(","))
    };
    let user = settings.user.user();
    let groups: Vec<String> = settings.groups.iter().map(ToString::to_string).collect();
    let notes: Vec<String> = settings
        .notes
        .iter()
        .map(|note| {
            let topic = quoted(note.topic.name());
            format!("{{\"topic\":{topic},\"text\":{}}}", quoted(&note.text))
        })
        .collect();
    let fields = [
        ("name", text(settings.name.clone())),
        ("kind", quoted(settings.kind.name())),
        ("engine", text(settings.engine.as_ref().map(ToString::to_string))),
        ("user", text(user.map(ToString::to_string))),
        ("user_of", quoted(settings.user.name())),
        ("root", settings.user.is_root().map_or("null".to_owned(), |is| is.to_string())),
        ("groups", texts(&groups)),
        ("bounding", names(settings.bounding)),
        ("permitted", names(settings.caps.permitted)),
        ("effective", names(settings.caps.effective)),
        ("inheritable", names(settings.caps.inheritable)),
        ("ambient", names(settings.ambient)),
        ("no_new_privs", settings.no_new_privs.to_string()),
        ("securebits", text(Some(settings.securebits.to_string()))),
        (
            "named",
            format!(
                "{{\"add\":{},\"drop\":{}}}",
                names(settings.named.add),
                names(settings.named.drop)
            ),
        ),
        ("command", texts(&settings.command)),
        ("notes", format!("[{}]", notes.join(","))),
    ];
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Reads the output of `rcap export`, `minimize`, `trace` and `report`.
#[cfg(feature = "settings")]
pub(super) fn read(document: &Value, _: &Context<'_>) -> Found {
    document.get("schema").filter(|schema| schema.is_number())?;
    if let Some(subjects) = document.get("subjects").and_then(Value::as_array) {
        return Some(subjects.iter().map(read_subject).collect());
    }
    let key = ["minimum", "candidates", "caps"].into_iter().find(|key| document[key].is_array())?;
    Some(
        caps(&document[key])
            .map(|caps| vec![Settings { kind: Kind::Report, ..Settings::new(caps) }]),
    )
}

#[cfg(feature = "settings")]
fn read_subject(subject: &Value) -> Result<Settings, SettingsError> {
    let text = |key: &str| subject[key].as_str();
    let set = |key: &str| caps(&subject[key]).map_err(|err| err.within(key));
    let wrong = |key: &str| SettingsError::value(key, "has a value that is not known");
    let user = user(&subject["user"])?;
    let notes = subject["notes"].as_array().into_iter().flatten();
    Ok(Settings {
        name: text("name").map(str::to_owned),
        place: None,
        kind: text("kind").and_then(Kind::from_name).ok_or_else(|| wrong("kind"))?,
        engine: text("engine").map(str::parse).transpose()?,
        user: who(text("user_of"), user).ok_or_else(|| wrong("user_of"))?,
        groups: texts(&subject["groups"]).map(str::parse::<Id>).collect::<Result<_, _>>()?,
        bounding: set("bounding")?,
        caps: CapState {
            effective: set("effective")?,
            permitted: set("permitted")?,
            inheritable: set("inheritable")?,
        },
        ambient: set("ambient")?,
        no_new_privs: switch("no_new_privs", &subject["no_new_privs"])?,
        securebits: text("securebits").unwrap_or_default().parse()?,
        named: Named {
            add: caps(&subject["named"]["add"])?,
            drop: caps(&subject["named"]["drop"])?,
        },
        command: texts(&subject["command"]).map(str::to_owned).collect(),
        notes: notes
            .filter_map(|note| {
                let topic = note["topic"].as_str().and_then(Topic::from_name)?;
                Some(Note { topic, text: note["text"].as_str()?.to_owned() })
            })
            .collect(),
    })
}

#[cfg(feature = "settings")]
fn who(of: Option<&str>, user: Option<User>) -> Option<Who> {
    Some(match (of?, user) {
        ("anyone", None) => Who::Anyone,
        ("image", None) => Who::OfImage,
        ("image", Some(user)) => Who::InImage(user),
        ("not-root", None) => Who::NotRoot,
        ("unknown", None) => Who::Unknown,
        ("system", Some(user)) => Who::User(user),
        _ => return None,
    })
}
