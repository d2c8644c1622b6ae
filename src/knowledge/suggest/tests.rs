//! Common questions, and the expected first answer.

use proptest::prelude::*;

use super::{words::stem, *};

#[test]
fn what_nothing_is_known_of() {
    for question in ["", "bake a cake", "the", "how do I exit vim", "?!", "knit a red pullover"] {
        let answers = suggest(question);
        assert!(answers.is_empty(), "{question}: {}", answers[0].what);
    }
}

#[test]
fn settings() {
    let of = |question: &str| suggest(question)[0].sysctl.unwrap();
    #[rustfmt::skip]
    let rows = [
        ("port 80",       "0\n",               true),
        ("port 80",       "1024\n",            false),
        ("ping",          "0\t2147483647\n",   true),
        ("ping",          "1\t0\n",            false),
        ("ping",          "x",                 false),
        ("dmesg",         "1\n",               false),
        ("strace",        "0\n",               true),
        ("perf",          "2\n",               false),
        ("perf",          "-1\n",              true),
        ("mount a disk",  "15000\n",           true),
        ("mount a disk",  "0\n",               false),
    ];
    for (question, value, frees) in rows {
        assert_eq!(of(question).frees(value).is_some(), frees, "{question} {value}");
    }
}

#[test]
fn stems_of_words() {
    for (word, want) in [
        ("deleting", "delet"),
        ("delete", "delet"),
        ("stopping", "stop"),
        ("files", "fil"),
        ("file", "fil"),
        ("killed", "kill"),
        ("ping", "ping"),
        ("ed", "ed"),
        ("processes", "process"),
    ] {
        assert_eq!(stem(word), want);
    }
}

proptest! {
    #[test]
    fn no_question_panics(question: String) {
        prop_assert!(suggest(&question).len() <= 3);
    }
}
