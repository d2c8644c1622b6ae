use proptest::prelude::*;

use super::*;

fn parsed(lines: &str) -> Result<Vec<Line>, FormatError> {
    parse(&format!("{TITLE}\n{lines}\n"), CapSet::NAMED)
}

#[test]
fn lines() {
    let text = format!(
        "{TITLE}\nusr/bin/ping cap_net_raw=ep\nusr/bin/sudo mode=4755 owner=0:0 -\n\
         two\\040words rootid=1000 cap_chown=ep\nempty =\n\\043x mode=0755 owner=1:2 sha256={} cap_kill=i\n",
        "ab".repeat(32)
    );
    let lines = parse(&text, CapSet::NAMED).unwrap();
    assert_eq!(to_text(&lines), text);
    assert_eq!(lines[1].mode, Some(Mode { bits: 0o4755, uid: 0, gid: 0 }));
    assert_eq!(lines[2].path, Path::new("two words"));
    assert_eq!(lines[2].caps.unwrap().rootid, Some(1000));
    assert_eq!(lines[3].caps, Some(FileCaps::EMPTY));
    assert_eq!((&*lines[4].path, lines[4].sha256), (Path::new("#x"), Some([0xab; 32])));
}

#[test]
fn lines_as_people_write_them() {
    let lines = parsed("\n# a comment\n  /usr/./bin/x   cap_chown,cap_kill+ep cap_net_raw+p-e\n");
    let err = lines.unwrap_err().to_string();
    assert!(err.starts_with("line 4: ") && err.contains("cap_net_raw"), "{err}");
    let lines = parsed("  /usr/./bin/x   cap_chown,cap_kill+ep\n").unwrap();
    assert_eq!(lines[0].path, Path::new("usr/bin/x"));
    assert_eq!(lines[0].caps.unwrap().permitted.len(), 2);
}

#[test]
fn faults() {
    #[rustfmt::skip]
    let rows = [
        ("x",                              "line 2: the capabilities are missing (- for none)"),
        ("../x =",                         "line 2: ../x: leads out of the root directory"),
        ("a/../../x =",                    "line 2: a/../../x: leads out of the root directory"),
        ("/ =",                            "line 2: /: not the path of a file"),
        ("d/ =",                           "line 2: d/: not the path of a file"),
        (r"a\9 =",                         "line 2: a\\\\9: a backslash needs three octal digits, up to \\377"),
        ("x mode=4755 -",                  "line 2: mode= and owner= go together"),
        ("x mode=9 owner=0:0 -",           "line 2: 9: not an octal mode"),
        ("x mode=17777 owner=0:0 -",       "line 2: 17777: not an octal mode"),
        ("x mode=755 mode=4755 owner=0:0 -", "line 2: mode=4755: the field is there twice"),
        ("x owner=root mode=1 -",          "line 2: root: not UID:GID"),
        ("x sha256=00 -",                  "line 2: 00: not a SHA-256"),
        ("x rootid=7 -",                   "line 2: a root id takes capabilities"),
        ("x rootid=-1 =",                  "line 2: -1: not a root id"),
        ("x cap_nonsense=ep",              "line 2: unknown capability \"cap_nonsense\" at byte 0 of \"cap_nonsense=ep\""),
        ("x cap_kill=p cap_chown=ep",      "line 2: cannot store cap_kill: a file has one effective bit, so either none or all capabilities must be effective"),
        ("x =\ny =\n./x =",                "line 4: x is there twice"),
    ];
    for (text, want) in rows {
        assert_eq!(parsed(text).unwrap_err().to_string(), want, "{text}");
    }
    for text in ["x nonsense", "x cap_nonsense=ep", "x - cap_kill=p"] {
        assert!(parsed(text).is_err(), "{text}");
    }
    assert!(parse("usr/bin/ping =\n", CapSet::NAMED).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text: String) {
        let _ = parsed(&text);
    }

    #[test]
    fn there_and_back(names in prop::collection::btree_set("[^/\0]{1,8}", 1..5), bits: u64, e: bool) {
        let is_path = |name: &String| ![".", ".."].contains(&&**name);
        let caps = FileCaps { permitted: CapSet::from_bits(bits), effective: e && bits != 0, ..FileCaps::EMPTY };
        let lines: Vec<Line> =
            names.iter().filter(|name| is_path(name)).map(|name| Line::new(name, Some(caps))).collect();
        prop_assert_eq!(parse(&to_text(&lines), CapSet::all()).unwrap(), lines);
    }
}
