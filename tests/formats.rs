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
        a_page;
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

/// The page in a real browser: it opens, filters and sorts, and runs nothing of a name.
fn a_page() {
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
        document.body.dataset.result = [document.title, shown, rows().length,
            up.join() === down.reverse().join(), wasOpen, finding.open,
            document.images.length, document.querySelectorAll('svg').length].join('|');
    });</script>";
    let dir = tree();
    scan(dir.path(), &["--html", "page.html", "."]);
    let mode = fs::metadata(dir.path().join("page.html")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let page = fs::read_to_string(dir.path().join("page.html")).unwrap();
    assert!(!page.contains("<img") && !page.contains("<svg"), "{page}");
    fs::write(dir.path().join("probed.html"), page + PROBE).unwrap();
    let browse = |args: &[&str], file: &str| {
        let mut chromium = Command::new("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu"]).args(args);
        chromium.env("HOME", dir.path()).arg(format!("file://{}/{file}", dir.path().display()));
        ran(&mut chromium)
    };
    let dom = browse(&["--dump-dom"], "probed.html").out;
    let result = dom.split("data-result=\"").nth(1).unwrap_or_else(|| panic!("{dom}"));
    let result = result.split('"').next().unwrap();
    let title = result.split('|').next().unwrap();
    assert_eq!(result, format!("{title}|1|3|true|true|false|0|0"));
    assert!(title.starts_with("rcap scan: "), "{title}");
    let shot = dir.path().join("shot.png");
    browse(&[&format!("--screenshot={}", shot.display())], "page.html");
    assert!(fs::read(shot).unwrap().starts_with(b"\x89PNG"));
}
