//! The user-space stacks of checks.

use std::{fs, os::unix::fs::chown, path::Path, process::Command};

use rcap::{
    Cap,
    trace::{Target, Tracer},
};

use super::{common::directory, needs, options, report, trace};

/// Not inlined, and not a tail call.
#[inline(never)]
fn gives_away(file: &Path) -> bool {
    chown(file, Some(1000), Some(0)).is_ok()
}

/// The frames of this process are those that its own addresses tell.
pub(crate) fn functions_that_caused_a_check() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut options = options(1024);
    options.stacks = true;
    let mut tracer = Tracer::attach(&[Target::Process(std::process::id())], &options).unwrap();
    assert!(gives_away(&file));
    let recording = tracer.finish(|_| ()).unwrap();
    let needs = needs(&recording, Cap::CHOWN);
    let stacks = &needs[0].stacks;
    assert_eq!(stacks.len(), 1, "{stacks:?} {:?}", recording.unseen);
    let own = fs::read_link("/proc/self/exe").unwrap();
    let own = own.to_str().unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let first = maps.lines().find(|line| line.ends_with(own)).unwrap();
    let base = u64::from_str_radix(first.split('-').next().unwrap(), 16).unwrap();
    let frames = &stacks[0].frames;
    let at = |function: usize| {
        let start = function as u64 - base;
        let is_it = |address| (start..start + 4096).contains(&address);
        frames.iter().position(|frame| frame.object == own && is_it(frame.address))
    };
    let inner = at(gives_away as fn(&Path) -> bool as usize);
    let outer = frames.iter().rposition(|frame| frame.object == own);
    assert!(inner.is_some_and(|inner| inner > 0) && inner < outer, "{base:x} {stacks:?}");
    let none = trace(&["--stacks", "--no-outcomes", "true"]);
    assert_eq!(none.status, Some(125));
}

/// Names and lines, of a program without frame pointers that ends at once.
pub(crate) fn names_of_functions() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let [source, compiled, stripped, file] = ["a.c", "a", "b", "file"].map(path);
    let text = "#include <unistd.h>\n\
                static int __attribute__((noinline)) give(const char *f) {\n\
                return chown(f, 5, 5) + 1; }\n\
                static inline __attribute__((always_inline)) int inlined(const char *f) {\n\
                return give(f) + 1; }\n\
                int main(int c, char **v) {\n\
                return inlined(v[1]) - 2; }\n";
    fs::write(&source, text).unwrap();
    fs::write(&file, "").unwrap();
    for (more, to) in [(&["-g"][..], &compiled), (&["-s"], &stripped)] {
        let args = ["-O2", "-fomit-frame-pointer", "-o", to, &source];
        let status = Command::new("cc").args(args).args(more).status().unwrap();
        assert!(status.success());
    }
    let frames = |program: &str| {
        let report = report(&["--stacks", "--", program, &file]);
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["cap"] == "cap_chown").unwrap();
        let frames = check["stacks"][0]["frames"].as_array().unwrap().clone();
        let own = frames.into_iter().filter(|frame| frame["object"] == program);
        let own: Vec<String> =
            own.map(|frame| format!("{}:{}", frame["function"], frame["line"])).collect();
        (own.join(" "), report["unseen"].to_string())
    };
    let (found, _) = frames(&compiled);
    assert!(found.starts_with("\"give\":3 \"inlined\":5 \"main\":7 "), "{found}");
    let (found, unseen) = frames(&stripped);
    assert!(found.starts_with("null:null null:null "), "{found}");
    assert!(unseen.contains("/b, which has no symbols"), "{unseen}");
}

/// The mappings of a program are recorded, so it need not live until the record is read.
pub(crate) fn functions_of_a_short_program() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let report = report(&["--stacks", "--", "chown", "1000", file.to_str().unwrap()]);
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["cap"] == "cap_chown").unwrap();
    let stack = &check["stacks"][0];
    let frames = stack["frames"].as_array().unwrap().iter();
    let objects: Vec<&str> = frames.map(|frame| frame["object"].as_str().unwrap()).collect();
    let program = check["program"].as_str().unwrap();
    let program = fs::canonicalize(program).unwrap();
    assert!(objects.iter().any(|object| Path::new(object) == program), "{report}");
    assert!(objects.iter().all(|object| object.starts_with('/')), "{report}");
    assert_eq!(stack["is_whole"], true, "{report}");
}
