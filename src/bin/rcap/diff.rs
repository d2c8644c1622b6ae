//! `rcap diff`: the differences between sources of settings, set by set.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::Display,
    io::{self, Write},
};

use serde_json::{Value, json};

use super::{
    Escaped, Exit, Io, Stream, args::DiffRequest, export::remarks, failure::Failure, json::SCHEMA,
    source,
};
use rcap::{
    CapSet,
    exec::FileFacts,
    settings::{Context, Kind, Settings, User, Who},
    tools::table::Table,
};

/// Services of one name, or of no name: one for each source, if it has it.
struct Row {
    name: Option<String>,
    sides: Vec<Option<Settings>>,
}

/// Returns what is to be compared: services of the same name, or what is alone in a source with
/// each of the others.
fn rows(sources: &[Vec<Settings>]) -> Vec<Row> {
    let several = sources.iter().find(|source| source.len() > 1);
    let Some(several) = several else {
        let sides = sources.iter().map(|source| source.first().cloned()).collect();
        return vec![Row { name: None, sides }];
    };
    let mut names: Vec<Option<String>> = several.iter().map(|one| one.name.clone()).collect();
    let mut seen: BTreeSet<_> = names.iter().cloned().collect();
    for one in sources.iter().filter(|source| source.len() > 1).flatten() {
        if seen.insert(one.name.clone()) {
            names.push(one.name.clone());
        }
    }
    let side = |source: &Vec<Settings>, name: &Option<String>| match &**source {
        [alone] => Some(alone.clone()),
        source => source.iter().find(|one| one.name == *name).cloned(),
    };
    let row = |name: Option<String>| {
        let sides = sources.iter().map(|source| side(source, &name)).collect();
        Row { name, sides }
    };
    names.into_iter().map(row).collect()
}

/// A set, and its name.
type Set = (&'static str, fn(&Settings) -> CapSet);

const SETS: [Set; 5] = [
    ("bounding", |settings| settings.bounding),
    ("permitted", |settings| settings.caps.permitted),
    ("effective", |settings| settings.caps.effective),
    ("inheritable", |settings| settings.caps.inheritable),
    ("ambient", |settings| settings.ambient),
];

/// A line of the table: what differs, and what each source has of it. Whether the first one has
/// something that another one lacks.
struct Difference {
    what: String,
    values: Vec<String>,
    is_more: bool,
}

impl Row {
    /// Returns whether the sources can be compared: each has the service.
    fn all(&self) -> Option<Vec<&Settings>> {
        self.sides.iter().map(Option::as_ref).collect()
    }

    fn differences(&self) -> Vec<Difference> {
        let Some(sides) = self.all() else { return Vec::new() };
        let sides = alike(sides);
        let sides: Vec<&Settings> = sides.iter().map(|side| &**side).collect();
        let mut differences = Vec::new();
        for (name, set) in SETS {
            let sets: Vec<CapSet> = sides.iter().map(|side| set(side)).collect();
            let some = sets.iter().fold(CapSet::empty(), |some, set| some | *set);
            let all = sets.iter().fold(some, |all, set| all & *set);
            for cap in some - all {
                let has: Vec<bool> = sets.iter().map(|set| set.contains(cap)).collect();
                differences.push(switch(format!("{name} {cap}"), &has, true));
            }
        }
        differences.extend(users(&sides));
        let has = |is: fn(&Settings) -> bool| sides.iter().map(|side| is(side)).collect();
        let no_new_privs: Vec<bool> = has(|side| side.no_new_privs);
        if no_new_privs.contains(&true) && no_new_privs.contains(&false) {
            // The source without it is the one that has more.
            differences.push(switch("no-new-privs".to_owned(), &no_new_privs, false));
        }
        if sides.iter().any(|side| side.securebits != sides[0].securebits) {
            let values = sides.iter().map(|side| match side.securebits.to_string() {
                bits if bits.is_empty() => "-".to_owned(),
                bits => bits,
            });
            let first = sides[0].securebits;
            let is_more = sides.iter().any(|side| !(side.securebits - first).is_empty());
            differences.push(Difference {
                what: "securebits".to_owned(),
                values: values.collect(),
                is_more,
            });
        }
        differences
    }

    /// Returns whether the first source has something that another one lacks.
    fn is_more(&self) -> bool {
        let others = self.sides.iter().skip(1);
        let is_lacking = self.sides[0].is_some() && others.clone().any(Option::is_none);
        is_lacking || self.differences().iter().any(|difference| difference.is_more)
    }

    fn is_same(&self) -> bool {
        self.all().is_some() && self.differences().is_empty()
    }
}

/// Returns the sources with the sets of one moment. A process has those after execve(2), so if one
/// is compared, the others start an ordinary program.
fn alike(sides: Vec<&Settings>) -> Vec<Cow<'_, Settings>> {
    let has_process = sides.iter().any(|side| side.kind == Kind::Process);
    let at = |side| match Settings::execute(side, &FileFacts::default()) {
        Ok(outcome) if has_process && side.kind != Kind::Process => {
            let mut started = side.clone();
            started.caps = outcome.after.caps;
            started.ambient = outcome.after.ambient;
            Cow::Owned(started)
        }
        _ => Cow::Borrowed(side),
    };
    sides.into_iter().map(at).collect()
}

/// Returns a difference in something that a source has or has not.
fn switch(what: String, has: &[bool], is_more_with: bool) -> Difference {
    let values = has.iter().map(|has| if *has { "yes" } else { "-" }.to_owned()).collect();
    let is_more = has[0] == is_more_with && has.iter().any(|other| *other != has[0]);
    Difference { what, values, is_more }
}

/// Returns the difference in users. Settings for anyone agree with every user.
fn users(sides: &[&Settings]) -> Option<Difference> {
    let mut named = sides.iter().filter(|side| side.user != Who::Anyone);
    let first = named.next()?;
    // A group that is not named agrees with every group.
    let is_same = |side: &&&Settings| match (first.user.user(), side.user.user()) {
        (Some(one), Some(other)) => {
            let groups = [one.group(), other.group()];
            one.id() == other.id() && (groups[0] == groups[1] || groups.contains(&None))
        }
        _ => first.user == side.user,
    };
    if named.all(|side| is_same(&side)) {
        return None;
    }
    let value = |side: &&Settings| match &side.user {
        Who::OfImage => "(the image's)".to_owned(),
        Who::NotRoot => "(not root)".to_owned(),
        user => user.user().map_or("-".to_owned(), |user| escaped(&user.to_string())),
    };
    let is_root = |side: &Settings| side.user.is_root() != Some(false);
    let is_more = is_root(sides[0]) && sides.iter().any(|side| !is_root(side));
    let values = sides.iter().map(value).collect();
    Some(Difference { what: "user".to_owned(), values, is_more })
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &DiffRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let names: Vec<&str> = request.sources.iter().map(String::as_str).collect();
    let mut context = Context::default();
    context.engines = &request.engine;
    let read = names.iter().map(|name| source::all(name, &context, io.input));
    let sources: Vec<Vec<Settings>> = read.collect::<Result<_, _>>()?;
    let rows = rows(&sources);
    if request.json {
        writeln!(io.out, "{}", to_json(&names, &rows))?;
    } else {
        rows.iter().try_for_each(|row| print(row, &names, io.out))?;
    }
    io.out.flush()?;
    for words in sources.iter().flatten().flat_map(remarks) {
        io.complain_in_words("rcap diff", &words)?;
    }
    Ok(if rows.iter().any(Row::is_more) { Exit::NO } else { Exit::SUCCESS })
}

fn to_json(names: &[&str], rows: &[Row]) -> Value {
    let side = |side: &Option<Settings>| {
        side.as_ref().map(|side| {
            let sets = SETS.iter().map(|(name, set)| ((*name).to_owned(), json!(set(side))));
            let mut object: serde_json::Map<String, Value> = sets.collect();
            object.insert("user".into(), json!(side.user.user().map(User::to_string)));
            object.insert("no_new_privs".into(), side.no_new_privs.into());
            object.insert("securebits".into(), side.securebits.to_string().into());
            object
        })
    };
    let difference = |difference: Difference| {
        json!({
            "what": difference.what,
            "values": difference.values,
            "more": difference.is_more,
        })
    };
    let row = |row: &Row| {
        json!({
            "name": row.name,
            "sides": row.sides.iter().map(side).collect::<Vec<_>>(),
            "differences": row.differences().into_iter().map(difference).collect::<Vec<_>>(),
        })
    };
    json!({
        "schema": SCHEMA,
        "sources": names,
        "same": rows.iter().all(Row::is_same),
        "more": rows.iter().any(Row::is_more),
        "services": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn print(row: &Row, names: &[&str], out: &mut Stream) -> io::Result<()> {
    if row.all().is_none() {
        let has = row.sides.iter().zip(names).filter(|(side, _)| side.is_some());
        let has: Vec<String> = has.map(|(_, name)| escaped(name)).collect();
        let name = row.name.as_deref().unwrap_or("it");
        return writeln!(out, "only in {}: {}", has.join(", "), escaped(name));
    }
    let differences = row.differences();
    if differences.is_empty() {
        return Ok(());
    }
    if let Some(name) = &row.name {
        writeln!(out, "{}:", escaped(name))?;
    }
    let mut table = Table::new(0);
    let mut line = |first: &str, others: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = std::iter::once(first.to_owned()).chain(others).collect();
        let cells: Vec<&dyn Display> = cells.iter().map(|cell| cell as &dyn Display).collect();
        table.row(&cells);
    };
    line("", &mut names.iter().map(|name| escaped(name)));
    for difference in differences {
        line(&difference.what, &mut difference.values.into_iter());
    }
    table.write(out)
}

fn escaped(name: &str) -> String {
    Escaped(name.as_bytes()).to_string()
}
