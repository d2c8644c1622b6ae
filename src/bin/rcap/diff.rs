//! `rcap diff`: compares two sources of settings.

use std::{
    fmt::Display,
    io::{self, Write},
};

use serde_json::{Value, json};

use super::{Escaped, Exit, Io, Stream, args::DiffRequest, failure::Failure, json::SCHEMA, source};
use rcap::{
    CapSet,
    settings::{Context, Settings, User, Who},
    tools::table::Table,
};

/// Two services with the same name or without one.
struct Pair {
    name: Option<String>,
    sides: [Option<Settings>; 2],
}

/// Returns the pairs to compare: a single service on one side with each on the other, and otherwise
/// services with equal names.
fn pair(left: Vec<Settings>, mut right: Vec<Settings>) -> Vec<Pair> {
    if left.len() == 1 || right.len() == 1 {
        let several = if left.len() > right.len() { &left } else { &right };
        let name = |nth: usize| several.get(nth).and_then(|one| one.name.clone());
        let count = several.len();
        let side = |side: &[Settings], nth: usize| side.get(nth).or(side.first()).cloned();
        let pair = |nth| Pair {
            name: name(nth).filter(|_| count > 1),
            sides: [side(&left, nth), side(&right, nth)],
        };
        return (0..count).map(pair).collect();
    }
    let mut pairs: Vec<Pair> = Vec::new();
    for one in left {
        let at = right.iter().position(|other| other.name == one.name);
        let other = at.map(|at| right.remove(at));
        pairs.push(Pair { name: one.name.clone(), sides: [Some(one), other] });
    }
    let rest =
        right.into_iter().map(|one| Pair { name: one.name.clone(), sides: [None, Some(one)] });
    pairs.extend(rest);
    pairs
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

/// Returns the rows of the table: each difference, and the value on each side.
fn rows(left: &Settings, right: &Settings) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    let mut row = |what: &dyn Display, left: &dyn Display, right: &dyn Display| {
        rows.push([what.to_string(), left.to_string(), right.to_string()]);
    };
    let has = |has: bool| if has { "yes" } else { "-" };
    for (name, set) in SETS {
        for cap in set(left) ^ set(right) {
            let what = format!("{name} {cap}");
            row(&what, &has(set(left).contains(cap)), &has(set(right).contains(cap)));
        }
    }
    let is_anyone = |side: &Settings| side.user == Who::Anyone;
    if left.user != right.user && !is_anyone(left) && !is_anyone(right) {
        let [left, right] = [left, right].map(|side| {
            let user = side.user.user().map_or_else(|| "-".to_owned(), User::to_string);
            Escaped(user.as_bytes()).to_string()
        });
        row(&"user", &left, &right);
    }
    if left.no_new_privs != right.no_new_privs {
        row(&"no-new-privs", &has(left.no_new_privs), &has(right.no_new_privs));
    }
    rows
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &DiffRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let sources: Vec<&str> = request.sources.iter().map(String::as_str).collect();
    let (Some(&left), Some(&right)) = (sources.first(), sources.get(1)) else {
        return Ok(Exit::FAILED);
    };
    let mut read = |argument: &str| source::all(argument, &Context::default(), io.input);
    let pairs = pair(read(left)?, read(right)?);
    let same = pairs.iter().all(|pair| match &pair.sides {
        [Some(left), Some(right)] => rows(left, right).is_empty(),
        _ => false,
    });
    if request.json {
        let pairs: Vec<Value> = pairs.iter().map(to_json).collect();
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "same": same, "services": pairs}))?;
    } else {
        for pair in &pairs {
            print(pair, [left, right], io.out)?;
        }
    }
    Ok(if same { Exit::SUCCESS } else { Exit::NO })
}

fn to_json(pair: &Pair) -> Value {
    let side = |side: &Option<Settings>| {
        side.as_ref().map(|side| {
            json!({
                "caps": side.caps.permitted,
                "ambient": side.ambient,
                "user": side.user.user().map(User::to_string),
                "no_new_privs": side.no_new_privs,
            })
        })
    };
    let only = |of: usize| match [&pair.sides[of], &pair.sides[1 - of]] {
        [Some(one), other] => {
            one.bounding - other.as_ref().map(|other| other.bounding).unwrap_or_default()
        }
        _ => CapSet::empty(),
    };
    json!({
        "name": pair.name,
        "left": side(&pair.sides[0]),
        "right": side(&pair.sides[1]),
        "only_left": only(0),
        "only_right": only(1),
    })
}

fn print(pair: &Pair, names: [&str; 2], out: &mut Stream) -> io::Result<()> {
    let name = pair.name.as_deref().unwrap_or("it");
    let [left, right] = match &pair.sides {
        [Some(left), Some(right)] => [left, right],
        [one, _] => {
            let only = names[usize::from(one.is_none())];
            return writeln!(out, "only in {}: {}", escaped(only), escaped(name));
        }
    };
    let rows = rows(left, right);
    if rows.is_empty() {
        return Ok(());
    }
    if let Some(name) = &pair.name {
        writeln!(out, "{}:", escaped(name))?;
    }
    let mut table = Table::new(0);
    let [first, second] = names.map(escaped);
    table.row(&[&"", &first, &second]);
    for [what, left, right] in &rows {
        table.row(&[what, left, right]);
    }
    table.write(out)
}

fn escaped(name: &str) -> String {
    Escaped(name.as_bytes()).to_string()
}
