//! The steps of Compose before it reads a service: variables, several files, `extends`, `include`.
//! (github.com/compose-spec/compose-spec, 12-interpolation.md, 13-merge.md, 05-services.md)

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::{Context, SettingsError, document};

/// The most files that one project can name.
const FILES: usize = 100;

/// Lists that are added up when services are merged.
const LISTS: [&str; 4] = ["cap_add", "cap_drop", "security_opt", "group_add"];

/// The services of one or several files.
#[derive(Clone, Debug, Default)]
pub(super) struct Project {
    pub(super) services: BTreeMap<String, Value>,
    /// Whether the services stand at the top of the file.
    pub(super) is_version_1: bool,
    includes: Vec<Value>,
}

impl Project {
    /// Returns the services of a document, unresolved; `None` if it is not a Compose file.
    pub(super) fn new(document: &Value) -> Option<Project> {
        let object = document.as_object()?;
        let services = |services: &Map<String, Value>| {
            services.iter().map(|(name, service)| (name.clone(), service.clone())).collect()
        };
        let includes = match object.get("include") {
            Some(Value::Array(includes)) => includes.clone(),
            _ => Vec::new(),
        };
        if let Some(Value::Object(named)) = object.get("services") {
            return Some(Project { services: services(named), is_version_1: false, includes });
        }
        if object.get("services").is_none() && !includes.is_empty() {
            return Some(Project { includes, ..Project::default() });
        }
        let is_service = |service: &Value| {
            ["image", "build", "extends"].iter().any(|key| service.get(key).is_some())
        };
        let is_version_1 = !object.is_empty() && object.values().all(is_service);
        is_version_1.then(|| Project { services: services(object), is_version_1, includes })
    }

    /// Returns the project with everything resolved.
    pub(super) fn resolve(self, context: &Context<'_>) -> Result<Project, SettingsError> {
        let mut resolver = Resolver { context, left: FILES };
        let mut project = resolver.project(self, "", 0)?;
        for text in context.overrides {
            let other = parse("override", text)?;
            let other = resolver.project(other, "", 0)?;
            merge_projects(&mut project, other);
        }
        Ok(project)
    }
}

fn merge_projects(project: &mut Project, other: Project) {
    for (name, service) in other.services {
        match project.services.remove(&name) {
            Some(before) => project.services.insert(name, merge(before, service)),
            None => project.services.insert(name, service),
        };
    }
}

struct Resolver<'a> {
    context: &'a Context<'a>,
    left: usize,
}

impl Resolver<'_> {
    /// Resolves variables, `include` and `extends`. `directory` is that of the file, with a slash
    /// at its end, or empty.
    fn project(
        &mut self,
        project: Project,
        directory: &str,
        depth: usize,
    ) -> Result<Project, SettingsError> {
        let is_version_1 = project.is_version_1;
        let mut files = BTreeMap::new();
        for (name, service) in project.services {
            let service = interpolated(service, self.context);
            let service = service.map_err(|err| err.within(&format!("service {name}")))?;
            files.insert(name, service);
        }
        let mut services = BTreeMap::new();
        for name in files.keys() {
            let service = self.extended(&files, name, directory, &mut Vec::new());
            let service = service.map_err(|err| err.within(&format!("service {name}")))?;
            services.insert(name.clone(), service);
        }
        let mut resolved = Project { services, is_version_1, includes: Vec::new() };
        for include in project.includes {
            for path in paths(&include) {
                let path = relative(directory, &path);
                let included = self.open(&path)?;
                let parent = parent(&path);
                if depth > 10 {
                    return Err(SettingsError::value(path, "is included by itself"));
                }
                let included = self.project(included, &parent, depth + 1)?;
                for (name, service) in included.services {
                    resolved.services.entry(name).or_insert(service);
                }
            }
        }
        Ok(resolved)
    }

    /// Returns a service merged onto those that it extends.
    fn extended(
        &mut self,
        services: &BTreeMap<String, Value>,
        name: &str,
        directory: &str,
        seen: &mut Vec<String>,
    ) -> Result<Value, SettingsError> {
        let missing = || SettingsError::value(name, "is not a service of the file");
        let service = services.get(name).ok_or_else(missing)?.clone();
        let place = format!("{directory}:{name}");
        if seen.contains(&place) {
            return Err(SettingsError::value(name, "extends itself"));
        }
        seen.push(place);
        let (file, base) = match service.get("extends") {
            None | Some(Value::Null) => return Ok(service),
            Some(Value::String(base)) => (None, base.clone()),
            Some(extends) => {
                let text = |key: &str| extends.get(key).and_then(Value::as_str);
                let wrong = || SettingsError::value("extends", "names no service");
                (text("file").map(str::to_owned), text("service").ok_or_else(wrong)?.to_owned())
            }
        };
        let base = match file {
            None => self.extended(services, &base, directory, seen)?,
            Some(file) => {
                let path = relative(directory, &file);
                let other = self.open(&path)?;
                let mut services = BTreeMap::new();
                for (name, service) in other.services {
                    services.insert(name, interpolated(service, self.context)?);
                }
                self.extended(&services, &base, &parent(&path), seen)?
            }
        };
        Ok(merge(base, service))
    }

    fn open(&mut self, path: &str) -> Result<Project, SettingsError> {
        let too_many = || SettingsError::value(path, "is one file too many");
        self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
        let text = (self.context.files)(path).map_err(|err| SettingsError::Other {
            path: path.into(),
            message: err.to_string().into(),
        })?;
        parse(path, &text)
    }
}

fn parse(path: &str, text: &str) -> Result<Project, SettingsError> {
    check_tags(text).map_err(|err| err.within(path))?;
    let documents = document::parse(text).map_err(|err| err.within(path))?;
    let project = documents.first().and_then(Project::new);
    project.ok_or_else(|| SettingsError::value(path, "is not a Compose file"))
}

/// Refuses the tags that change how files are merged, since the values have lost them.
pub(in super::super) fn check_tags(text: &str) -> Result<(), SettingsError> {
    let tags = ["!reset", "!override"];
    let tag =
        tags.into_iter().find(|tag| text.split([' ', '\n', '[', ',']).any(|word| word == *tag));
    tag.map_or(Ok(()), |tag| Err(SettingsError::value(tag, "changes a merge, which is not read")))
}

/// Returns the paths of an `include`.
fn paths(include: &Value) -> Vec<String> {
    let path = include.get("path").unwrap_or(include);
    match path {
        Value::String(path) => vec![path.clone()],
        Value::Array(paths) => paths.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn relative(directory: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{directory}{path}") }
}

/// Returns the directory of a file, with a slash at its end.
fn parent(path: &str) -> String {
    path.rfind('/').map_or(String::new(), |at| path[..=at].to_owned())
}

/// Merges a service onto another: lists add up, everything else is replaced.
fn merge(base: Value, service: Value) -> Value {
    let (Value::Object(mut base), Value::Object(service)) = (base, service) else {
        return Value::Null;
    };
    base.remove("extends");
    for (key, value) in service {
        let value = match (base.remove(&key), value) {
            (Some(Value::Array(mut list)), Value::Array(more)) if LISTS.contains(&&*key) => {
                for item in more {
                    if !list.contains(&item) {
                        list.push(item);
                    }
                }
                Value::Array(list)
            }
            // An empty value does not count.
            (Some(before), Value::Null) => before,
            (_, value) => value,
        };
        base.insert(key, value);
    }
    Value::Object(base)
}

/// Resolves the variables in all strings but keys.
pub(super) fn interpolated(value: Value, context: &Context<'_>) -> Result<Value, SettingsError> {
    Ok(match value {
        Value::String(text) => Value::String(expand(&text, context.variables, 0)?),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| interpolated(item, context));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let map = map.into_iter().map(|(key, value)| Ok((key, interpolated(value, context)?)));
            Value::Object(map.collect::<Result<_, SettingsError>>()?)
        }
        other => other,
    })
}

/// Resolves the variables in a text: two dollar signs stand for one.
fn expand(
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> Result<String, SettingsError> {
    let wrong = || {
        let reason = "has a variable that Compose refuses";
        SettingsError::value(format_args!("{text:?}"), reason)
    };
    if depth > 10 {
        return Err(wrong());
    }
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(braced) = rest.strip_prefix('{') {
            let end = closing(braced).ok_or_else(wrong)?;
            let expression = &braced[..end];
            rest = &braced[end + 1..];
            expanded.push_str(&substitute(expression, variables, depth)?.ok_or_else(wrong)?);
        } else {
            let name = name(rest);
            if name.is_empty() {
                return Err(wrong());
            }
            expanded.push_str(&variables(name).unwrap_or_default());
            rest = &rest[name.len()..];
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Returns the name of a variable at the beginning of a text.
fn name(text: &str) -> &str {
    let in_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let end = text.find(|char| !in_name(char)).unwrap_or(text.len());
    if text.starts_with(|char: char| char.is_ascii_digit()) { "" } else { &text[..end] }
}

/// Returns the place of the brace that closes an expression.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, char) in text.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Returns the value of an expression such as `NAME:-default`; `None` if it is malformed.
fn substitute(
    expression: &str,
    variables: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> Result<Option<String>, SettingsError> {
    let name = name(expression);
    let operator = &expression[name.len()..];
    if name.is_empty() {
        return Ok(None);
    }
    let value = variables(name);
    let (is_strict, operator) = match operator.strip_prefix(':') {
        Some(operator) => (true, operator),
        None => (false, operator),
    };
    let is_set = value.as_ref().is_some_and(|value| !is_strict || !value.is_empty());
    let mut chars = operator.chars();
    let kind = chars.next();
    let other = || expand(chars.as_str(), variables, depth + 1);
    Ok(match kind {
        None if !is_strict => Some(value.unwrap_or_default()),
        Some('-' | '?') if is_set => value,
        Some('-') => Some(other()?),
        Some('+') if is_set => Some(other()?),
        Some('+') => Some(String::new()),
        Some('?') => {
            let reason = "is a variable that the file requires, and is not set";
            return Err(SettingsError::value(name, reason));
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let variables = |name: &str| match name {
            "SET" => Some("x".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        #[rustfmt::skip]
        let rows = [
            ("$SET-${SET}",      Ok("x-x")),
            ("$$SET",            Ok("$SET")),
            ("$NONE${NONE}",     Ok("")),
            ("${NONE:-a}",       Ok("a")),
            ("${EMPTY:-a}",      Ok("a")),
            ("${EMPTY-a}",       Ok("")),
            ("${SET:+a}",        Ok("a")),
            ("${EMPTY:+a}",      Ok("")),
            ("${EMPTY+a}",       Ok("a")),
            ("${N:-${SET}}",     Ok("x")),
            ("${N:-$$}",         Ok("$")),
            ("${SET:?no}",       Ok("x")),
            ("${NONE:?no}",      Err("requires")),
            ("${SET",            Err("refuses")),
            ("$1",               Err("refuses")),
            ("a$",               Err("refuses")),
            ("${}",              Err("refuses")),
            ("${SET!}",          Err("refuses")),
        ];
        for (text, want) in rows {
            match (expand(text, &variables, 0), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
                (Err(err), Err(want)) => assert!(err.to_string().contains(want), "{text}: {err}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
