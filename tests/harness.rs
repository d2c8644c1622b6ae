//! The test harness: a test can only use programs that it declares.

mod common;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use common::{BASE, Needs, Ran, Test, directory, find, has_oopsed, is_root, ran, tainted, which};

/// Set in the environment of a run of this program whose tests are those of [`inner`].
const INNER: &str = "RCAP_TEST_INNER";

fn test(name: &'static str, programs: &'static [&'static str], body: fn()) -> Test {
    Test { name, needs: Needs::Nothing, programs, body }
}

fn main() -> ExitCode {
    if env::var_os(INNER).is_some() {
        return common::main(&[
            test("absent", &["rcap-none-such", "sh rcap-nor-this"], || unreachable!()),
            test("unnamed", &[], || assert!(runs("find"))),
            test("named", &["find"], || assert!(runs("find"))),
            Test { needs: Needs::Tracing, ..test("traces", &[], || {}) },
        ]);
    }
    common::main(&[
        test("the_base_and_what_is_named", &[], the_base_and_what_is_named),
        test("ignored_or_failed", &["find"], ignored_or_failed),
        test("a_kernel_that_has_oopsed", &[], a_kernel_that_has_oopsed),
        test("a_script_is_not_the_program", &[], a_script_is_not_the_program),
        test("no_source_names_a_program_by_its_path", &[], no_source_names_a_program_by_its_path),
    ])
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn the_base_and_what_is_named() {
    let found: BTreeSet<_> = fs::read_dir(env::var("PATH").unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, BASE.iter().map(|name| (*name).to_owned()).collect());
    assert!(which("sh").is_some() && which("find").is_none());
    // Neither a shell of the test nor a program that starts a shell finds it.
    for command in ["find /", "env find /", "sh -c 'find /'"] {
        let ran = ran(Command::new("sh").args(["-c", command]));
        assert_eq!(ran.status, Some(127), "{command}: {ran:?}");
    }
}

/// Runs [`inner`] with these environment variables.
fn run_inner(variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env(INNER, "");
    for name in ["RCAP_TEST", "RCAP_REQUIRE", "RCAP_EXCEPT"] {
        command.env_remove(name);
    }
    ran(command.envs(variables.iter().copied()))
}

/// Returns whether a line of the output has these words.
fn has_line(ran: &Ran, want: &str) -> bool {
    let words: Vec<_> = want.split(' ').collect();
    ran.out.lines().any(|line| line.split_whitespace().eq(words.iter().copied()))
}

/// On a kernel that has oopsed, tests that trace are ignored.
fn a_kernel_that_has_oopsed() {
    for (tainted, want) in [("0\n", false), ("128\n", true), ("12928\n", true), ("512\n", false)] {
        assert_eq!(has_oopsed(tainted), want, "{tainted}");
    }
    let [required, excepted] = [("RCAP_REQUIRE", "1"), ("RCAP_EXCEPT", "tracing")];
    let rows = [
        (&[][..], "ignored"),
        (&[required], "FAILED"),
        (&[excepted], "ignored"),
        (&[required, excepted], "ignored"),
    ];
    for (variables, on_an_oopsed_one) in rows {
        let ran = run_inner(variables);
        let want = if !is_root() {
            let is_required = variables.contains(&required);
            format!(
                "test [needs root] traces ... {}",
                if is_required { "FAILED" } else { "ignored" }
            )
        } else if has_oopsed(&tainted()) {
            format!("test [needs a kernel that has not oopsed] traces ... {on_an_oopsed_one}")
        } else {
            "test traces ... ok".to_owned()
        };
        assert!(has_line(&ran, &want), "{want}: {ran:?}");
    }
}

fn ignored_or_failed() {
    let plain = run_inner(&[]);
    for want in [
        "test [needs rcap-none-such, rcap-nor-this] absent ... ignored",
        "test unnamed ... FAILED",
        "test named ... ok",
    ] {
        assert!(has_line(&plain, want), "{plain:?}");
    }
    let required = run_inner(&[("RCAP_REQUIRE", "1")]);
    assert!(required.out.contains("it needs rcap-none-such, rcap-nor-this"), "{required:?}");
    assert_eq!((plain.status, required.status), (Some(101), Some(101)));
}

fn a_script_is_not_the_program() {
    let dir = directory();
    let [shims, programs] = ["shims", "programs"].map(|name| dir.path().join(name));
    for path in [&shims, &programs] {
        fs::create_dir(path).unwrap();
    }
    fs::write(shims.join("python3"), "#!/bin/sh\nexec pyenv exec python3 \"$@\"\n").unwrap();
    assert_eq!(find("python3", &[shims.clone(), programs.clone()]), None);
    fs::copy(which("true").unwrap(), programs.join("python3")).unwrap();
    let found = find("python3", &[shims, programs.clone()]);
    assert_eq!(found, fs::canonicalize(programs.join("python3")).ok());
}

/// Paths of programs that tests use as text, without executing them.
const WORDS: &[(&str, &str)] = &[
    ("advice.rs", "/usr/bin"),
    ("advice/engines.rs", "/bin"),
    ("advice/engines.rs", "/bin/busybox"),
    ("bundles.rs", "/bin"),
    ("check.rs", "/bin/x"),
    ("check.rs", "/usr/bin/ping"),
    ("common/debian.rs", "/bin"),
    ("common/debian.rs", "/inside/bin"),
    ("common/debian.rs", "/inside/sbin"),
    ("common/debian.rs", "/sbin"),
    ("common/debian.rs", "/usr/bin"),
    ("common/debian.rs", "/usr/sbin"),
    ("common/mod.rs", "/sbin"),
    ("common/mod.rs", "/usr/local/sbin"),
    ("common/mod.rs", "/usr/sbin"),
    ("common/page.rs", "/usr/bin"),
    ("compose.rs", "//127.0.0.1/bin/busybox"),
    ("explain.rs", "/usr/bin/ping"),
    ("formats.rs", "/bin/other"),
    ("formats.rs", "/bin/python3"),
    ("saved.rs", "/bin"),
    ("saved.rs", "/sbin"),
    ("saved.rs", "/usr/bin"),
    ("saved.rs", "/usr/bin/rcap"),
    ("saved.rs", "/usr/bin/rcap-server"),
    ("saved.rs", "/usr/local/bin/server"),
    ("saved.rs", "/usr/sbin"),
    ("services.rs", "/usr/local/bin/rcap-python"),
];

/// Returns the paths in a text that lead to programs or to directories of programs.
fn paths_of_programs(text: &str) -> impl Iterator<Item = &str> {
    let is_of_path = |char: char| char.is_ascii_alphanumeric() || "/._-+{}$".contains(char);
    let words = text.split(move |char| !is_of_path(char)).filter(|word| word.starts_with('/'));
    words.filter(|word| word.split('/').any(|part| part == "bin" || part == "sbin"))
}

/// Returns the Rust files below a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    found.flatten().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}

fn no_source_names_a_program_by_its_path() {
    let sample = "#!/bin/sh\nPATH=/usr/bin:x /usr/sbin/ip a; {0}/bin/x; \"bin/y\"; /binary";
    let found: Vec<_> = paths_of_programs(sample).collect();
    assert_eq!(found, ["/bin/sh", "/usr/bin", "/usr/sbin/ip"]);

    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut found = BTreeSet::new();
    for source in sources(&tests) {
        let name = source.strip_prefix(&tests).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&source).unwrap();
        // In this file, only the text before the list counts.
        let text = text.split("/// Paths of programs").next().unwrap();
        for path in paths_of_programs(text) {
            if !path.rsplit('/').next().is_some_and(|program| BASE.contains(&program)) {
                found.insert((name.clone(), path.to_owned()));
            }
        }
    }
    let words = WORDS.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned()));
    assert_eq!(found, words.collect(), "name the program in the table, and let PATH find it");
}
