//! The output of `rcap scan` in the formats of others, read by their own programs.

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use common::{Ran, directory, fed, program, ran};
use rcap::scan::RULES;
use serde_json::Value;

tests! {
    Nothing:
        code_scanning;
    Nothing ["promtool"]:
        metrics;
    Nothing ["chromium"]:
        a_page,
        a_page_of_a_report;
}

/// A tree with names that would be markup.
fn tree() -> tempfile::TempDir {
    let dir = directory();
    let names =
        ["python3", "<img src=x onerror=document.title=1>", "\"><svg onload=document.title=2>"];
    for name in names {
        let file = dir.path().join(name);
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o4755)).unwrap();
    }
    dir
}

#[track_caller]
fn scan(dir: &Path, args: &[&str]) -> String {
    let Ran { status, out, err } = ran(program("rcap").arg("scan").args(args).current_dir(dir));
    assert_eq!((status, &*err), (Some(0), ""), "{args:?}");
    out
}

/// Requirements of code scanning services beyond the schema, which .ci/formats checks.
fn code_scanning() {
    let dir = tree();
    let log: Value = serde_json::from_str(&scan(dir.path(), &["--sarif", "."])).unwrap();
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), RULES.len());
    let results = run["results"].as_array().unwrap();
    assert!(!results.is_empty());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str();
        assert!(
            uri.unwrap().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'<'),
            "{uri:?}"
        );
        assert!(result["partialFingerprints"]["rcapKey/v1"].is_string());
    }
}

fn metrics() {
    let text = scan(Path::new("/"), &["--prometheus", "/usr"]);
    let output = fed(Command::new("promtool").args(["check", "metrics"]), text.as_bytes());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{text}");
    assert!(text.contains("\nrcap_scan_complete "), "{text}");
}

/// A script that uses a page as a reader does, and leaves the results in the document.
const PROBE: &str = "<script>addEventListener('load', () => {
    const filter = document.getElementById('filter');
    const rows = () => [...document.querySelectorAll('#rows tbody tr')];
    const type = text => { filter.value = text; filter.dispatchEvent(new Event('input')); };
    type('PYTHON3');
    const shown = rows().filter(row => !row.hidden).length;
    type('');
    const button = document.querySelectorAll('#rows th button')[2];
    const names = () => rows().map(row => row.cells[2].textContent);
    button.click(); const up = names();
    button.click(); const down = names();
    const finding = document.querySelector('details.finding');
    const wasOpen = finding.open;
    finding.querySelector('summary').click();
    const keys = [...document.querySelectorAll('input, button, summary')];
    document.body.dataset.result = [document.title, shown, rows().length,
        up.join() === down.reverse().join(), wasOpen, finding.open,
        document.images.length, document.querySelectorAll('svg').length,
        keys.every(one => one.tabIndex === 0)].join('|');
    document.body.dataset.color = getComputedStyle(document.querySelector('.critical')).color;
});</script>";

/// Uses the page `page.html` in a browser, prints it, and returns the results of [`PROBE`].
fn browsed(dir: &Path) -> String {
    let mode = fs::metadata(dir.join("page.html")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let page = fs::read_to_string(dir.join("page.html")).unwrap();
    assert!(!page.contains("<img") && !page.contains("<svg"), "{page}");
    fs::write(dir.join("probed.html"), page + PROBE).unwrap();
    let browse = |args: &[&str], file: &str| {
        let mut chromium = Command::new("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu"]).args(args);
        ran(chromium.env("HOME", dir).arg(format!("file://{}/{file}", dir.display()))).out
    };
    let data = |dom: &str, key: &str| {
        let value = dom.split(&format!("data-{key}=\"")).nth(1).unwrap_or_else(|| panic!("{dom}"));
        value.split('"').next().unwrap().to_owned()
    };
    let [light, dark] = ["1", "0"].map(|scheme| {
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        browse(&["--dump-dom", &scheme], "probed.html")
    });
    assert_ne!(data(&light, "color"), data(&dark, "color"));
    assert_eq!(data(&light, "result"), data(&dark, "result"));
    let outputs =
        [("screenshot", "page.png", b"\x89PNG".as_slice()), ("print-to-pdf", "page.pdf", b"%PDF")];
    for (option, name, magic) in outputs {
        let file = dir.join(name);
        browse(&[&format!("--{option}={}", file.display())], "page.html");
        assert!(fs::read(file).unwrap().starts_with(magic), "{option}");
    }
    data(&light, "result")
}

/// The page in a real browser: it opens, filters and sorts, and runs nothing of a name.
fn a_page() {
    let dir = tree();
    scan(dir.path(), &["--html", "page.html", "."]);
    let result = browsed(dir.path());
    let (title, rest) = result.split_once('|').unwrap();
    assert_eq!(rest, "1|3|true|true|false|0|0|true");
    assert!(title.starts_with("rcap scan: "), "{title}");
}

/// A report whose strings would be markup, because a report from a file may contain anything.
fn a_page_of_a_report() {
    const MARKUP: &str = "<img src=x onerror=document.title=1>\"'<svg>";
    let dir = directory();
    let check = |program: &str, cap: &str, rule: &str| {
        serde_json::json!({
            "cap": cap, "rule": rule, "granted": rule == "candidate", "function": MARKUP,
            "reason": MARKUP, "count": 3, "system_call": MARKUP, "returned": -1,
            "program": program,
        })
    };
    let object = serde_json::json!({ "name": MARKUP, "file": null });
    let report = serde_json::json!({
        "schema": 1,
        "command": ["python3", MARKUP],
        "exit": { "code": 0, "signal": null },
        "backend": "tracepoint",
        "candidates": ["cap_sys_admin"],
        "missing": ["cap_net_raw"],
        "checks": [
            check("/bin/python3", "cap_sys_admin", "candidate"),
            check(MARKUP, "cap_net_raw", "missing"),
            check("/bin/other", "cap_chown", "speculative"),
        ],
        "refused": [{
            "system_call": MARKUP, "errno": 1, "lock": "capability", "caps": ["cap_net_raw"],
            "because": MARKUP, "object": object, "program": MARKUP, "count": 1,
        }],
        "lost": 1,
        "gaps": [MARKUP],
        "unseen": [MARKUP],
    });
    fs::write(dir.path().join("report.json"), report.to_string()).unwrap();
    let mut rcap = program("rcap");
    let rcap = rcap.args(["report", "--html", "page.html", "report.json"]);
    let Ran { status, out, err } = ran(rcap.current_dir(dir.path()));
    assert_eq!((status, &*out, &*err), (Some(0), "", ""));
    let page = fs::read_to_string(dir.path().join("page.html")).unwrap();
    for text in ["not complete", "cap_sys_admin", "cap_net_raw", "1 records were lost"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let result = browsed(dir.path());
    assert!(result.starts_with("rcap report: python3 "), "{result}");
    assert!(result.ends_with("|1|3|true|true|false|0|0|true"), "{result}");
}
