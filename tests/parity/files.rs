//! Cases of setcap, getcap and getpcaps.

use std::process::{Child, Command};

use rcap::{CapSet, CapState};

use super::{Random, Twins, words};

const ITEMS: &[&str] = &[
    "cap_chown",
    "CAP_KILL",
    "cap_net_raw",
    "cap_bpf",
    "Cap_Checkpoint_Restore",
    "0",
    "13",
    "0x1f",
    "010",
    "40",
    "41",
    "63",
    "all",
    "ALL",
];

fn clause(random: &mut Random) -> String {
    let mut text = String::new();
    let listless = random.below(5) == 0;
    if !listless {
        text += random.pick(ITEMS);
        for _ in 0..random.below(3) {
            text += ",";
            text += random.pick(ITEMS);
        }
    }
    text += if listless { "=" } else { random.pick(&["=", "=", "+", "-", "=+", "=-"]) };
    text += random.pick(&["p", "ep", "pe", "i", "ip", "eip", "e", "pp", ""]);
    if random.below(4) == 0 && !listless {
        text += random.pick(&["+p", "-e", "+i", "-p+i", "+ep-i"]);
    }
    text
}

/// Returns a text that is valid or almost valid.
fn text(random: &mut Random) -> String {
    let mut text = clause(random);
    for _ in 0..random.below(3) {
        text += random.pick(&[" ", "  ", "\t", "\n"]);
        text += &clause(random);
    }
    if random.below(3) == 0 {
        let at = random.below(text.len() + 1);
        let piece = random.pick(&[
            ",", "=", "+", "-", "e", "x", " ", "2", "_", "64", "0x", "all", "08", "cap_", "=p", "P",
        ]);
        text.insert_str(at, piece);
    }
    text
}

pub(crate) fn setcap_texts() {
    let mut twins = Twins::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..700 {
        let args = [text(&mut random), "f".to_owned()];
        twins.run("setcap", &args, "");
        twins.run("getcap", &words("-v f"), "");
        twins.run("setcap", &[&["-v".to_owned()], &args[..]].concat(), "");
    }
    twins.finish(
        2100,
        &[
            "all-is-what-the-kernel-has",
            "argument-line",
            "effective-alone",
            "errors-without-help",
            "own-words",
        ],
    );
}

pub(crate) fn setcap_lines() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut twins = Twins::new();
    for _ in 0..400 {
        twins.renew();
        let mut line = Vec::new();
        for _ in 0..=random.below(3) {
            if random.below(2) == 0 {
                line.push(random.pick(&["-q", "-v", "-v", "-n 1", "-n 0", "-n x", "-n"]));
            }
            line.push(random.pick(&[
                "cap_net_raw=ep",
                "cap_kill=p",
                "=",
                "-r",
                "cap_kill=ei",
                "bad",
                "cap_kill=p cap_chown=e",
            ]));
            line.push(random.pick(&["f", "g", "h", "d/e", "d", "none"]));
        }
        if random.below(6) == 0 {
            line.pop();
        }
        let args: Vec<_> = line
            .iter()
            .flat_map(|arg| match arg.strip_prefix("-n ") {
                Some(id) => vec!["-n".to_owned(), id.to_owned()],
                None => vec![(*arg).to_owned()],
            })
            .collect();
        twins.run("setcap", &args, "");
    }
    for line in ["", "-h", "-q", "-q -v", "-q -h", "cap_kill=p f -h", "f"] {
        twins.run("setcap", &words(line), "");
    }
    for text in ["", " ", "\t\n"] {
        for line in ["f", "f cap_kill=p g", "f -v = f", ""] {
            twins.run("setcap", &[&[text.to_owned()], &words(line)[..]].concat(), "");
        }
    }
    twins.finish(
        419,
        &[
            "argument-line",
            "empty-text",
            "errors-without-help",
            "own-words",
            "usage-errors-have-a-reason",
            "verify-of-no-file",
        ],
    );
}

pub(crate) fn setcap_input() {
    let mut twins = Twins::new();
    let inputs = [
        "cap_chown=p\n",
        "cap_chown=p",
        "cap_chown=p\ncap_kill+i\n",
        "\n",
        "",
        " \n",
        "bad\n",
        "cap_chown=p\n\n",
        "cap_chown=p \t\n",
        "=ep\n",
        "cap_chown=p\n\ncap_kill=p\n",
    ];
    for input in inputs {
        for line in ["- f", "-q - f", "-v - g", "-q -v - f", "- f cap_kill=p g", "-"] {
            twins.run("setcap", &words(line), input);
        }
        twins.run("getcap", &words("f g"), "");
    }
    twins.finish(
        77,
        &[
            "argument-line",
            "empty-line-ends-stdin",
            "errors-without-help",
            "own-words",
            "usage-errors-have-a-reason",
            "white-space-on-stdin",
        ],
    );
}

pub(crate) fn getcap_lines() {
    let mut random = Random(0xda94_2042_e4dd_58b5);
    let mut twins = Twins::new();
    for _ in 0..300 {
        let mut args = Vec::new();
        for _ in 0..random.below(3) {
            args.push(random.pick(&["-v", "-n", "-r", "-rv", "-vr", "-nv", "-rvn"]));
        }
        if random.below(8) == 0 {
            args.push("--");
        }
        for _ in 0..random.below(4) {
            args.push(random.pick(&[
                "f", "g", "h", "d", "d/e", "link", "broken", "fifo", "none", ".", "d/", "./d",
                "f/x", "-v",
            ]));
        }
        let args: Vec<_> = args.into_iter().map(str::to_owned).collect();
        twins.run("getcap", &args, "");
    }
    for line in ["-h", "-z f", "-v -h", "-rz", "--"] {
        twins.run("getcap", &words(line), "");
    }
    twins.finish(305, &["errors-without-help", "own-words", "usage-errors-have-a-reason"]);
}

pub(crate) fn getpcaps_lines() {
    let mut random = Random(0x5851_f42d_4c95_7f2d);
    let mut twins = Twins::new();
    let before = CapState::current().unwrap();
    let mut children: Vec<Child> = [0, 1 << 5, 1 << 40 | 1]
        .map(|bits| {
            // The inheritable set is preserved when root executes a program.
            let inheritable = CapSet::from_bits(bits);
            CapState { inheritable, ..before }.apply().unwrap();
            Command::new("sleep").arg("60").spawn().unwrap()
        })
        .into();
    let pids: Vec<_> = children.iter().map(|child| child.id().to_string()).collect();
    for _ in 0..300 {
        let mut args = Vec::new();
        for _ in 0..=random.below(4) {
            args.push(match random.below(3) {
                0 => random.pick(&["--verbose", "--ugly", "--legacy", "--iab"]).to_owned(),
                1 => pids[random.below(pids.len())].clone(),
                _ => random
                    .pick(&[
                        "1",
                        "-1",
                        "x",
                        "1x",
                        "4294967297",
                        "99999999999999999999",
                        "2147483647",
                        "--x",
                        "01",
                        " 1",
                        "+1",
                    ])
                    .to_owned(),
            });
        }
        twins.run("getpcaps", &args, "");
    }
    for line in ["", "--help", "-h", "--usage", "1 --help", "--verbose"] {
        twins.run("getpcaps", &words(line), "");
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    twins.finish(306, &["own-words"]);
}
