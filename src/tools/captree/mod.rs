//! `captree`: draws processes and their threads as a tree, with their capabilities.

use std::{
    collections::BTreeSet,
    ffi::{CString, OsStr, OsString},
    io::{self, Write},
    os::unix::ffi::OsStrExt,
};

use serde_json::{Value, json};

use super::{
    Escaped, Exit, Io, Mistake, Stream,
    json::{self, SCHEMA},
    mistake::meant_option,
    options,
    table::{Table, prose, short_ids},
};
use crate::{
    CapSet, CapState, Iab,
    caps::number,
    identity,
    proc::{Proc, Process, Status, Tree},
    sys,
};

mod draw;

/// The options and their descriptions, from which the help is printed. An option without a value is
/// a switch.
const OPTIONS: &[(&str, &str, &str)] = &[
    ("--proc", "DIR", "read processes from DIR instead of /proc"),
    ("--depth", "N", "draw N levels, or all of them for 0 [default: 0]"),
    ("--verbose", "", "also print empty sets"),
    ("--color", "", "colour selected processes, even if NO_COLOR is set"),
    ("--colour", "", "the same as --color"),
    ("--capable", "", "omit processes without capabilities"),
    ("--user", "", "print the user of each process"),
    ("--userns", "", "print the user namespace of each process"),
    ("--unit", "", "print the systemd unit of each process"),
    ("--json", "", "print one JSON document"),
    ("--help", "", "print this help"),
];

#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
struct Options {
    proc: Proc,
    depth: usize,
    verbose: bool,
    /// Whether to use colour, or `None` to follow NO_COLOR.
    color: Option<bool>,
    capable: bool,
    user: bool,
    userns: bool,
    unit: bool,
    json: bool,
    help: bool,
    /// The selected processes: numbers and patterns.
    wanted: Vec<OsString>,
}

impl Options {
    /// Parses options by the rules of Go's package flag, as libcap's captree does.
    fn parse(args: &[OsString]) -> Result<Options, Mistake> {
        let mut options = Options {
            proc: Proc::default(),
            depth: 0,
            verbose: false,
            color: None,
            capable: false,
            user: false,
            userns: false,
            unit: false,
            json: false,
            help: false,
            wanted: Vec::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let bytes = arg.as_bytes();
            let Some(name) = bytes.strip_prefix(b"-").filter(|name| !name.is_empty()) else {
                options.wanted.push(arg.clone());
                break;
            };
            let name = name.strip_prefix(b"-").unwrap_or(name);
            if name.is_empty() {
                break;
            }
            let (name, value) = match name.iter().position(|&byte| byte == b'=') {
                Some(at) => (&name[..at], Some(OsStr::from_bytes(&name[at + 1..]))),
                None => (name, None),
            };
            options.set(&String::from_utf8_lossy(name), value, &mut args)?;
        }
        options.wanted.extend(args.cloned());
        if options.wanted.is_empty() {
            options.wanted.push("1".into());
        }
        Ok(options)
    }

    fn set<'a>(
        &mut self,
        name: &str,
        value: Option<&OsStr>,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), Mistake> {
        let switch = || match value.map(OsStr::as_bytes) {
            None | Some(b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True") => Ok(true),
            Some(b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False") => Ok(false),
            Some(_) => Err(Mistake::new(format!("--{name}: the value must be true or false"))),
        };
        let mut needed = || {
            let value = value.or_else(|| rest.next().map(OsString::as_os_str));
            value.ok_or_else(|| Mistake::new(format!("--{name}: needs a value")))
        };
        match name {
            "proc" => self.proc = Proc::at(needed()?),
            "depth" => {
                let depth = needed()?.to_str().and_then(number);
                let depth = depth.and_then(|depth| usize::try_from(depth).ok());
                self.depth = depth
                    .ok_or_else(|| Mistake::new("--depth: needs a number from 0 to 4294967295"))?;
            }
            "verbose" => self.verbose = switch()?,
            "color" | "colour" => self.color = Some(switch()?),
            "capable" => self.capable = switch()?,
            "user" => self.user = switch()?,
            "userns" => self.userns = switch()?,
            "unit" => self.unit = switch()?,
            "json" => self.json = switch()?,
            "help" | "h" => self.help = switch()?,
            _ => {
                let meant = meant_option(&format!("--{name}"), OPTIONS.iter().map(|row| row.0));
                return Err(Mistake::new(format!("--{name}: unknown option{meant}")));
            }
        }
        Ok(())
    }
}

/// Returns the options as a clap command, for completions.
#[must_use]
pub fn command() -> clap::Command {
    let pids = clap::Arg::new("PID").num_args(0..);
    options::by_rows("captree", OPTIONS.iter().copied()).arg(pids)
}

/// Runs the program.
///
/// # Errors
///
/// Writing to the standard streams failed.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let options = match Options::parse(argv.get(1..).unwrap_or_default()) {
        Ok(options) if options.help => {
            usage(io.out)?;
            return Ok(Exit::SUCCESS);
        }
        Ok(options) => options,
        Err(mistake) => {
            io.complain("captree", &mistake)?;
            usage(io.err)?;
            return Ok(Exit::FAILED);
        }
    };
    let tree = match options.proc.tree() {
        Ok(tree) => tree,
        Err(err) => {
            io.complain("captree", &err)?;
            return Ok(Exit::FAILURE);
        }
    };
    let (asked, missing) = find(&tree, &options.wanted);
    for wanted in &missing {
        let wanted = Escaped(wanted.as_bytes());
        writeln!(io.err, "captree: \"{wanted}\": no such process")?;
    }
    // With a pattern that does not match, nothing is drawn, as with libcap. With a missing number,
    // the others are drawn.
    if missing.iter().any(|wanted| pid(wanted).is_none()) {
        return Ok(Exit::FAILURE);
    }
    let tops = tops(&tree, &asked);
    let shown = options.capable.then(|| capable(&tree));
    let view = View { tree: &tree, options: &options, asked: &asked, shown: shown.as_ref() };
    if options.json {
        writeln!(io.out, "{}", view.to_json(&tops))?;
    } else {
        view.print(&tops, io)?;
    }
    Ok(if missing.is_empty() { Exit::SUCCESS } else { Exit::FAILURE })
}

fn usage(out: &mut Stream) -> io::Result<()> {
    writeln!(out, "usage: captree [OPTION]... [PID | PATTERN]...\n")?;
    let mut table = Table::new(2);
    for (name, value, about) in OPTIONS {
        table.row(&[&format!("{name} {value}").trim_end(), about]);
    }
    table.write(out)?;
    writeln!(out)?;
    let words = "Without arguments, draw the tree of process 1. PID 0 is the kernel, the ancestor of \
                 all processes. =false disables an option without a value.";
    prose(0, words, out)
}

/// Parses the number of a process.
fn pid(wanted: &OsStr) -> Option<u32> {
    let digits = wanted.to_str()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Returns the selected processes, and the arguments without a match.
fn find<'a>(tree: &Tree, wanted: &'a [OsString]) -> (BTreeSet<u32>, Vec<&'a OsStr>) {
    let mut asked = BTreeSet::new();
    let mut missing = Vec::new();
    for wanted in wanted {
        let is_it = |process: &&Process| match pid(wanted) {
            Some(pid) => process.status.pid == pid,
            None => matches(wanted, &process.status.name),
        };
        let mut found: Vec<u32> =
            tree.processes().filter(is_it).map(|process| process.status.pid).collect();
        if pid(wanted) == Some(0) {
            found.push(0);
        }
        if found.is_empty() {
            missing.push(wanted.as_os_str());
        }
        asked.extend(found);
    }
    (asked, missing)
}

/// Returns whether a name, truncated by the kernel to 15 bytes, matches this pattern.
fn matches(pattern: &OsStr, name: &OsStr) -> bool {
    let [pattern, name] = [pattern, name].map(OsStr::as_bytes);
    let is_pattern = pattern.iter().any(|byte| b"*?[\\".contains(byte));
    if !is_pattern {
        return name == &pattern[..pattern.len().min(15)];
    }
    match (CString::new(pattern), CString::new(name)) {
        (Ok(pattern), Ok(name)) => sys::fnmatch(&pattern, &name, 0),
        _ => false,
    }
}

/// Returns the selected processes that are not below another one: those nearest to the root first,
/// then in ascending order.
fn tops(tree: &Tree, asked: &BTreeSet<u32>) -> Vec<u32> {
    let mut depths: Vec<(usize, u32)> =
        tree.walk(tree.roots()).filter(|(_, pid)| asked.contains(pid)).collect();
    depths.sort_unstable();
    let mut below = BTreeSet::new();
    let mut tops = Vec::new();
    if asked.contains(&0) {
        below.extend(tree.processes().map(|process| process.status.pid));
        tops.push(0);
    }
    for (_, pid) in depths {
        if !below.contains(&pid) {
            below.extend(tree.walk(&[pid]).map(|(_, pid)| pid));
            tops.push(pid);
        }
    }
    tops
}

/// Returns the processes with a usable or inheritable capability in any thread, and their
/// ancestors.
fn capable(tree: &Tree) -> BTreeSet<u32> {
    let holds = |status: &Status| {
        let CapState { effective, permitted, inheritable } = status.caps;
        !(effective | permitted | inheritable | status.ambient).is_empty()
    };
    let mut shown = BTreeSet::new();
    for process in tree.processes() {
        if holds(&process.status) || process.threads.iter().any(holds) {
            let mut next = Some(process);
            while let Some(process) = next {
                shown.insert(process.status.pid);
                next = tree.get(process.status.ppid).filter(|one| !shown.contains(&one.status.pid));
            }
        }
    }
    shown
}

/// The visible part of a tree.
struct View<'a> {
    tree: &'a Tree,
    options: &'a Options,
    asked: &'a BTreeSet<u32>,
    /// The processes to show, or `None` for all.
    shown: Option<&'a BTreeSet<u32>>,
}

impl View<'_> {
    fn shows(&self, pid: u32) -> bool {
        self.shown.is_none_or(|shown| shown.contains(&pid))
    }

    fn children(&self, pid: u32) -> impl DoubleEndedIterator<Item = u32> {
        self.tree.children(pid).iter().copied().filter(|&pid| self.shows(pid))
    }

    fn print(&self, tops: &[u32], io: &mut Io<'_>) -> io::Result<()> {
        let color = match self.options.color {
            Some(color) => color && io.out_terminal,
            None => io.out.colors(),
        };
        let style = draw::Style { color, width: io.out.width() };
        let mut rows = Vec::new();
        for &top in tops.iter().filter(|&&top| top == 0 || self.shows(top)) {
            self.rows(top, io.out_terminal, &mut rows);
        }
        draw::write(&rows, style, io.out)
    }

    /// Adds the lines of a process and its descendants, from top to bottom.
    fn rows(&self, top: u32, terminal: bool, rows: &mut Vec<draw::Row>) {
        // The pending processes, with the prefixes of their own lines and of the lines below.
        let mut stack = vec![(top, 1, String::new(), "--", "  ")];
        while let Some((pid, level, stem, twig, below)) = stack.pop() {
            let stem_below = format!("{stem}{below}");
            rows.extend(self.process_rows(pid, &stem, twig, &stem_below, terminal));
            if self.options.depth != 0 && level >= self.options.depth {
                continue;
            }
            let mut last = true;
            for child in self.children(pid).rev() {
                let below = if std::mem::take(&mut last) { "  " } else { "| " };
                stack.push((child, level + 1, stem_below.clone(), "+-", below));
            }
        }
    }

    /// Adds the line of a process, and one for each group of differing threads.
    fn process_rows(
        &self,
        pid: u32,
        stem: &str,
        twig: &str,
        below: &str,
        terminal: bool,
    ) -> Vec<draw::Row> {
        let Some(Process { status, threads }) = self.tree.get(pid) else {
            let name = "<kernel>(".to_owned();
            let head = [name, "0".to_owned(), ")".to_owned()];
            let columns = self.columns(None);
            return vec![draw::Row {
                columns,
                stem: format!("{stem}{twig}"),
                below: below.into(),
                head,
                marked: self.asked.contains(&0),
                sets: String::new(),
            }];
        };
        let own = Sets::of(status);
        let (like, others) = by_sets(&own, threads);
        let name = |name: &OsStr| {
            // A newline would look like another line of the tree.
            let bytes = name.as_bytes();
            if terminal || bytes.contains(&b'\n') {
                Escaped(bytes).to_string()
            } else {
                name.to_string_lossy().into_owned()
            }
        };
        let like = if like.is_empty() { String::new() } else { format!("+{{{}}}", like.join(",")) };
        let first = draw::Row {
            columns: self.columns(Some(status)),
            stem: format!("{stem}{twig}"),
            below: below.into(),
            head: [format!("{}(", name(&status.name)), pid.to_string(), format!("{like})")],
            marked: self.asked.contains(&pid),
            sets: own.words(self.options.verbose),
        };
        let rest = others.into_iter().map(|(sets, tids)| draw::Row {
            columns: self.columns(None),
            stem: format!("{below}:>-"),
            below: below.into(),
            head: [name(sets.name), format!("{{{}}}", tids.join(",")), String::new()],
            marked: false,
            sets: sets.words(self.options.verbose),
        });
        std::iter::once(first).chain(rest).collect()
    }

    /// Returns the columns before the tree, or blanks for a line without a process.
    fn columns(&self, status: Option<&Status>) -> Vec<String> {
        let Options { user, userns, unit, proc, .. } = self.options;
        let mut columns = Vec::new();
        let mut column = |wanted: bool, text: &dyn Fn(&Status) -> String| {
            if wanted {
                columns.push(status.map(text).unwrap_or_default());
            }
        };
        column(*user, &|status| self::user(status.uid.effective));
        column(*userns, &|status| {
            proc.user_namespace(status.pid).map_or("?".into(), |ns| ns.inode.to_string())
        });
        column(*unit, &|status| match proc.unit(status.pid) {
            Ok(Some(unit)) => short_ids(&Escaped(unit.as_bytes()).to_string()),
            Ok(None) => "-".into(),
            Err(_) => "?".into(),
        });
        columns
    }

    fn to_json(&self, tops: &[u32]) -> Value {
        let mut processes = Vec::new();
        let mut stack: Vec<_> = tops.iter().rev().map(|&pid| (1, pid)).collect();
        while let Some((level, pid)) = stack.pop() {
            let deeper = self.options.depth == 0 || level < self.options.depth;
            if deeper {
                stack.extend(self.children(pid).rev().map(|child| (level + 1, child)));
            }
            match self.tree.get(pid) {
                Some(process) if self.shows(pid) => processes.push(self.object(process)),
                _ => {}
            }
        }
        json!({"schema": SCHEMA, "processes": processes})
    }

    fn object(&self, process: &Process) -> Value {
        let mut object = json::status(&process.status);
        let pid = process.status.pid;
        let Options { user, userns, unit, proc, .. } = self.options;
        object.insert("asked".into(), self.asked.contains(&pid).into());
        object.insert("children".into(), self.children(pid).collect());
        let threads = process.threads.iter().map(|thread| Value::Object(json::status(thread)));
        object.insert("threads".into(), threads.collect());
        if *user {
            object.insert("user".into(), self::user(process.status.uid.effective).into());
        }
        if *userns {
            let namespace = proc.user_namespace(pid).ok().map(|ns| ns.inode);
            object.insert("user_namespace".into(), json!(namespace));
        }
        if *unit {
            let unit = proc.unit(pid).ok().flatten();
            object
                .insert("unit".into(), json!(unit.map(|unit| unit.to_string_lossy().into_owned())));
        }
        object.into()
    }
}

/// Returns the name of a user, or the number.
fn user(uid: u32) -> String {
    let name = identity::user_name(uid);
    name.map_or_else(|| uid.to_string(), |name| Escaped(name.as_bytes()).to_string())
}

/// Returns the IDs of the threads with the sets `own`, and those of the others by their sets.
fn by_sets<'a>(
    own: &Sets<'_>,
    threads: &'a [Status],
) -> (Vec<String>, Vec<(Sets<'a>, Vec<String>)>) {
    let mut like = Vec::new();
    let mut others: Vec<(Sets<'_>, Vec<String>)> = Vec::new();
    for thread in threads {
        let sets = Sets::of(thread);
        let tid = thread.pid.to_string();
        if sets == *own {
            like.push(tid);
        } else if let Some((_, tids)) = others.iter_mut().find(|(known, _)| *known == sets) {
            tids.push(tid);
        } else {
            others.push((sets, vec![tid]));
        }
    }
    (like, others)
}

/// The printed sets of a thread. Threads with equal sets share a line.
#[derive(PartialEq, Eq)]
struct Sets<'a> {
    name: &'a OsStr,
    caps: CapState,
    iab: Iab,
}

impl Sets<'_> {
    fn of(status: &Status) -> Sets<'_> {
        let Status { name, caps, .. } = status;
        Sets { name, caps: *caps, iab: status.iab(CapSet::supported()) }
    }

    /// Returns the text of the sets unless it is empty, and in brackets the tuple if it has more
    /// than inheritable capabilities; or both.
    fn words(&self, both: bool) -> String {
        super::getpcaps::iab_words(&self.caps.to_string(), self.iab, both)
    }
}
