//! `run` of Compose: one container of a service, with other settings.

use serde_json::{Map, Value, json};

use super::{
    Failed,
    client::{Known, option},
};

/// The settings of the command line.
/// (docs.docker.com/reference/cli/docker/compose/run)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OneOff {
    pub(super) service: String,
    command: Vec<String>,
    /// The options that matter, with their values.
    options: Vec<(Meaning, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The value of a key of the service.
    Key(&'static str),
    /// A member of a list of the service.
    List(&'static str),
    Variable,
    NoDependencies,
    ServicePorts,
    Detached,
    LeftOut,
}

/// The options: their names, whether they take a value, and their meaning.
const OPTIONS: [Known<Meaning>; 24] = [
    (&["--entrypoint"], true, Meaning::Key("entrypoint")),
    (&["--user", "-u"], true, Meaning::Key("user")),
    (&["--workdir", "-w"], true, Meaning::Key("working_dir")),
    (&["--cap-add"], true, Meaning::List("cap_add")),
    (&["--cap-drop"], true, Meaning::List("cap_drop")),
    (&["--publish", "-p"], true, Meaning::List("ports")),
    (&["--volume", "-v"], true, Meaning::List("volumes")),
    (&["--env", "-e"], true, Meaning::Variable),
    (&["--no-deps"], false, Meaning::NoDependencies),
    (&["--service-ports", "-P"], false, Meaning::ServicePorts),
    (&["--detach", "-d"], false, Meaning::Detached),
    (&["--label", "-l"], true, Meaning::LeftOut),
    (&["--name"], true, Meaning::LeftOut),
    (&["--pull"], true, Meaning::LeftOut),
    (&["--build"], false, Meaning::LeftOut),
    (&["--interactive", "-i"], false, Meaning::LeftOut),
    (&["--no-TTY", "-T"], false, Meaning::LeftOut),
    (&["--no-tty"], false, Meaning::LeftOut),
    (&["--quiet", "-q"], false, Meaning::LeftOut),
    (&["--quiet-build"], false, Meaning::LeftOut),
    (&["--quiet-pull"], false, Meaning::LeftOut),
    (&["--remove-orphans"], false, Meaning::LeftOut),
    (&["--rm"], false, Meaning::LeftOut),
    (&["--use-aliases"], false, Meaning::LeftOut),
];

impl OneOff {
    /// Takes the words after `run` apart.
    pub(super) fn new(words: &[String]) -> Result<OneOff, Failed> {
        let mut found = OneOff::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                found.service.clone_from(word);
                found.command = words.map(|word| escaped(word)).collect();
                return Ok(found);
            }
            let (meaning, value) = option(word, &mut words, &OPTIONS)?;
            if value.as_deref() != Some("false") {
                found.options.push((meaning, escaped(&value.unwrap_or_default())));
            }
        }
        Err(Failed::Unfit("no service is named".to_owned()))
    }

    /// Returns whether Compose ends before the container does.
    pub(super) fn is_detached(&self) -> bool {
        self.has(Meaning::Detached)
    }

    fn has(&self, meaning: Meaning) -> bool {
        self.options.iter().any(|(one, _)| *one == meaning)
    }

    /// Gives a service the settings of the command line.
    pub(super) fn apply(&self, service: &mut Map<String, Value>) {
        let _ = service.remove("container_name");
        if !self.has(Meaning::ServicePorts) {
            let _ = service.remove("ports");
        }
        if self.has(Meaning::NoDependencies) {
            for key in ["depends_on", "links"] {
                let _ = service.remove(key);
            }
        }
        if !self.is_detached() {
            // It works if it ends well, not if it is healthy meanwhile.
            let _ = service.insert("healthcheck".to_owned(), json!({ "disable": true }));
        }
        for (meaning, value) in &self.options {
            match meaning {
                Meaning::Key(key) => {
                    let _ = service.insert((*key).to_owned(), json!(value));
                }
                Meaning::List(key) => match service.entry(*key).or_insert_with(|| json!([])) {
                    Value::Array(list) => list.push(json!(value)),
                    other => *other = json!([value]),
                },
                Meaning::Variable => add_variable(service, value),
                _ => {}
            }
        }
        let is_replaced = self.has(Meaning::Key("entrypoint"));
        if is_replaced || !self.command.is_empty() {
            let _ = service.insert("command".to_owned(), json!(self.command));
        }
    }
}

/// Adds `NAME=VALUE`, or `NAME` with its value in the environment of this process.
fn add_variable(service: &mut Map<String, Value>, text: &str) {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok().map(|value| escaped(&value))),
    };
    match service.entry("environment").or_insert_with(|| json!({})) {
        Value::Object(all) => {
            let _ = all.insert(name.to_owned(), json!(value));
        }
        Value::Array(all) => all.push(json!(match value {
            Some(value) => format!("{name}={value}"),
            None => name.to_owned(),
        })),
        other => *other = json!({ name: value }),
    }
}

/// Returns a text in which Compose finds no variables.
pub(super) fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_off(text: &str) -> Result<OneOff, Failed> {
        OneOff::new(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn applied(text: &str, service: Value) -> Value {
        let mut service = service;
        one_off(text).unwrap().apply(service.as_object_mut().unwrap());
        service
    }

    #[test]
    fn settings_of_the_command_line() {
        let service = json!({
            "command": "x", "ports": ["80:80"], "depends_on": {"db": {}}, "container_name": "n",
            "environment": {"A": "1"}, "volumes": ["a:/a"], "healthcheck": {"test": "x"},
        });
        let disabled = json!({"disable": true});
        let run = applied("--rm -T -e A=2 --env=B=$C -u 7 -v b:/b web sh -c $X", service.clone());
        assert_eq!(
            run,
            json!({
                "command": ["sh", "-c", "$$X"], "depends_on": {"db": {}}, "user": "7",
                "environment": {"A": "2", "B": "$$C"}, "volumes": ["a:/a", "b:/b"],
                "healthcheck": disabled,
            })
        );
        let run = applied("--entrypoint y --no-deps --service-ports -p 81:81 web", service);
        assert_eq!(run["command"], json!([]));
        assert_eq!(run["entrypoint"], "y");
        assert_eq!(run["depends_on"], Value::Null);
        assert_eq!(run["ports"], json!(["80:80", "81:81"]));
        let run = applied("-d --cap-add KILL web", json!({"healthcheck": {}}));
        assert_eq!(run, json!({"healthcheck": {}, "cap_add": ["KILL"]}));
    }

    #[test]
    fn wrong_command_lines() {
        for (text, want) in [("--rm", "no service"), ("--what web", "unknown option --what")] {
            assert!(one_off(text).unwrap_err().to_string().contains(want), "{text}");
        }
        assert!(one_off("-d=true web").unwrap().is_detached());
        assert!(!one_off("--detach=false web -d").unwrap().is_detached());
    }
}
