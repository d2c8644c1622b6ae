//! docs/hardening.md: every command of its walk-through prints what the page shows.

mod common;

use std::{fs, path::Path};

use common::{
    directory,
    systemd::{MACHINE, Machine},
};

tests! {
    Tracing [MACHINE, "cp curl find python3 setpriv systemd-analyze useradd xargs"]:
        a_service;
}

/// Returns the commands of a section, each with the output that the page shows. A command begins
/// with `# ` at the beginning of a line, and has the lines of its here-document.
fn commands(title: &str) -> Vec<(String, Vec<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hardening.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with(&format!("{title}\n")));
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let (mut is_code, mut end) = (false, None);
    for line in section.unwrap().lines() {
        if line == "```" {
            is_code = !is_code;
            continue;
        }
        if !is_code {
            continue;
        }
        // The text of a drop-in file has comments.
        let is_comment = line.starts_with("# /") || line == "# Written by rcap.";
        match (&end, line.strip_prefix("# ")) {
            (Some(word), _) => {
                let command = &mut commands.last_mut().unwrap().0;
                command.push('\n');
                command.push_str(line);
                end = end.clone().filter(|_| line != *word);
            }
            (None, Some(command)) if !is_comment => {
                end = command.split_once("<<").map(|(_, word)| word.to_owned());
                commands.push((command.to_owned(), Vec::new()));
            }
            (None, _) => commands.last_mut().unwrap().1.push(line.to_owned()),
        }
    }
    commands
}

/// Returns whether lines are those of the page, in which `...` is any number of lines, or any end
/// of a line.
fn matches(page: &[String], lines: &[&str]) -> bool {
    let Some((first, rest)) = page.split_first() else { return lines.is_empty() };
    if first == "..." {
        return (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]));
    }
    let is_it = |line: &&str| match first.strip_suffix("...") {
        Some(beginning) => line.starts_with(beginning),
        None => line == first,
    };
    lines.first().is_some_and(is_it) && matches(rest, &lines[1..])
}

fn a_service() {
    let dir = directory();
    let machine = Machine::start(dir.path(), &[]);
    let rcap = common::program("rcap").get_program().to_str().unwrap().to_owned();
    let commands = [commands("Harden it"), commands("Run a service without root")];
    assert_eq!(commands.each_ref().map(Vec::len), [8, 13]);
    for (command, page) in commands.iter().flatten() {
        let script = format!("rcap() {{ {rcap} \"$@\"; }}\nexec 2>&1\n{command}");
        let ran = machine.run(&["bash", "-c", &script]);
        assert_eq!(ran.status, Some(0), "{command}: {}", ran.out);
        let lines: Vec<&str> = ran.out.lines().collect();
        assert!(matches(page, &lines), "{command} prints:\n{}", ran.out);
    }
    let left = machine.run(&["sh", "-c", "ls /run/systemd/system /run/systemd/transient"]);
    assert_eq!(left.out, "/run/systemd/system:\n\n/run/systemd/transient:\n");
}
