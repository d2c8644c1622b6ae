//! Pages of docs/ whose commands a test runs: every command prints what the page shows.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use super::{debian::PATH_INSIDE, program, ran};

/// A page of docs/.
pub(crate) struct Page(pub(crate) &'static str);

/// A command of a page and its output. `...` stands for any lines.
struct Step {
    command: String,
    output: Vec<String>,
}

impl Page {
    /// Returns a part of the page, given its heading.
    fn part(&self, heading: &str) -> String {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(self.0);
        let text = fs::read_to_string(page).unwrap();
        let part = text.split("\n## ").find(|part| part.starts_with(heading));
        part.expect("the part").to_owned()
    }

    /// Returns the steps of a part.
    fn steps(&self, heading: &str) -> Vec<Step> {
        let part = self.part(heading);
        let mut steps: Vec<Step> = Vec::new();
        let mut inside = false;
        for line in part.lines() {
            if line.starts_with("```") {
                inside = line == "```console";
            } else if let (true, Some(command)) = (inside, line.strip_prefix("# ")) {
                steps.push(Step { command: command.to_owned(), output: Vec::new() });
            } else if let (true, Some(step)) = (inside, steps.last_mut()) {
                let more = line.strip_prefix("> ").filter(|_| step.output.is_empty());
                match (step.command.strip_suffix('\\'), more) {
                    (Some(command), Some(more)) => step.command = format!("{command}{more}"),
                    (None, Some(more)) => step.command = format!("{}\n{more}", step.command),
                    _ => step.output.push(line.to_owned()),
                }
            }
        }
        let commands = part.matches("\n# ").count();
        assert_ne!(commands, 0, "{heading}");
        assert_eq!(steps.len(), commands, "{heading}");
        steps
    }

    /// Returns a file of a part, which its reader saves, given the word after its first fence.
    pub(crate) fn file(&self, heading: &str, kind: &str) -> String {
        let part = self.part(heading);
        let (_, file) = part.split_once(&format!("```{kind}\n")).expect("the file");
        file.split_once("```").unwrap().0.to_owned()
    }

    /// Runs all steps of a part in a directory where `rcap` is found, and compares the output.
    /// `prepare` prepares the shell, and returns the command in the place of that of the page; `shown`
    /// returns the output as the page has it.
    pub(crate) fn follow(
        &self,
        heading: &str,
        dir: &Path,
        prepare: impl Fn(&mut Command, &str) -> String,
        shown: impl Fn(&str) -> String,
    ) {
        let bin = dir.join("bin");
        fs::create_dir_all(&bin).unwrap();
        symlink(program("rcap").get_program(), bin.join("rcap")).unwrap();
        let others = env::var("PATH").unwrap();
        let path = format!("{}:{others}:{PATH_INSIDE}", bin.display());
        let mut differing = Vec::new();
        for Step { command, output } in self.steps(heading) {
            let mut shell = Command::new("timeout");
            shell.args(["1h", "bash"]);
            shell.current_dir(dir).env("PATH", &path).env_remove("LD_LIBRARY_PATH");
            let real = prepare(&mut shell, &command);
            let script = format!("{{ {real}\n}} 2>&1");
            let ran = ran(shell.args(["-c", &script]).stdin(Stdio::null()));
            let out = shown(&ran.out).replace(bin.to_str().unwrap(), "/usr/bin");
            let lines: Vec<&str> = out.lines().collect();
            if !fits(&output, &lines) {
                let want = output.join("\n");
                differing.push(format!("# {command}\n{}\n-- and not\n{want}\n", ran.out));
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }
}

/// Returns whether the output matches.
fn fits(want: &[String], got: &[&str]) -> bool {
    match (want.split_first(), got.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "..." => {
            (0..=got.len()).any(|skipped| fits(rest, &got[skipped..]))
        }
        (Some((first, want)), Some((line, got))) => {
            first.trim_end() == line.trim_end() && fits(want, got)
        }
        _ => false,
    }
}
