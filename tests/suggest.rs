//! `rcap suggest`, with common questions.

mod common;

use common::{program, ran};
use rcap::{
    Cap, CapSet,
    knowledge::{self, Answer, Suggestion},
};

tests! {
    Nothing:
        questions,
        every_program_of_the_table,
        every_capability,
        ports,
        words;
}

/// Returns a description of an answer that differs from the notation of tests/data/questions.txt.
fn fault(want: &str, question: &str) -> Option<String> {
    let answers = knowledge::suggest(question);
    let first = answers.first();
    let caps = |answer: &Suggestion| answer.caps.iter().copied().collect::<CapSet>();
    let is_right = match (want, first) {
        ("?", first) => first.is_none(),
        ("none", Some(first)) => first.answer == Answer::NotNeeded,
        ("why", Some(first)) => first.answer == Answer::Why,
        (want, Some(first)) => {
            let wanted = CapSet::from_names(want, CapSet::NAMED).unwrap();
            // One of them must be the most likely answer.
            let is_first =
                wanted.len() != 1 || first.caps.first().is_some_and(|&cap| wanted.contains(cap));
            first.answer == Answer::Capabilities && caps(first).is_superset(wanted) && is_first
        }
        (_, None) => false,
    };
    let found = || {
        let words =
            first.map(|first| format!("{:?} {} ({})", first.answer, caps(first), first.what));
        format!("{want}\t{question}\n\t{}", words.unwrap_or_default())
    };
    (!is_right).then(found)
}

fn questions() {
    let text = include_str!("data/questions.txt");
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let rows: Vec<_> = rows.map(|line| line.split_once('\t').expect(line)).collect();
    let wrong: Vec<String> =
        rows.iter().filter_map(|(want, question)| fault(want, question)).collect();
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert!(rows.len() >= 300, "{}", rows.len());
}

/// Every program that `rcap explain --program` knows.
fn every_program_of_the_table() {
    for &cap in Cap::ALL {
        for &program in knowledge::uses(cap).unwrap().programs {
            let found = knowledge::suggest(program);
            let caps: CapSet =
                found.iter().flat_map(|answer| answer.caps.iter().copied()).collect();
            assert!(caps.contains(cap), "{program}: {found:?}");
        }
    }
}

/// With and without the prefix, in both cases.
fn every_capability() {
    for &cap in Cap::ALL {
        let name = cap.to_string();
        for question in [&*name, &name.to_uppercase(), &format!("what does {name} do")] {
            let found = knowledge::suggest(question);
            assert_eq!(found[0].caps, [cap], "{question}: {found:?}");
        }
        let bare = name.trim_start_matches("cap_");
        if bare.contains('_') {
            assert_eq!(knowledge::suggest(&bare.to_uppercase())[0].caps, [cap], "{bare}");
        }
    }
}

/// Port numbers in any context.
fn ports() {
    for port in [1, 22, 80, 443, 1023] {
        for question in [
            format!("port {port}"),
            format!("listen on :{port}"),
            format!("bind 0.0.0.0:{port} fails"),
            format!("[::]:{port}: bind: permission denied"),
            format!("a server on {port}/tcp, port below 1024"),
        ] {
            assert_eq!(fault("net_bind_service", &question), None);
        }
    }
    for port in [1024, 3000, 8080, 65535] {
        for question in [
            format!("port {port}"),
            format!("listen on :{port}"),
            format!("bind 0.0.0.0:{port} fails"),
            format!("netcat on port {port}"),
        ] {
            assert_eq!(fault("none", &question), None);
        }
    }
    // These numbers are not ports.
    for question in ["kill -9 1234", "nice -n 10 at 12:30", "ptrace(PTRACE_SEIZE, 42): x"] {
        let found = knowledge::suggest(question);
        assert!(found.iter().all(|answer| !answer.what.contains("port ")), "{question}: {found:?}");
    }
}

/// The printed text of each answer.
fn words() {
    let suggest = |question: &str| ran(program("rcap").args(["suggest", question]));
    for (question, head) in [
        ("port 80", "cap_net_bind_service: bind a port below 1024\n"),
        ("port 8080", "No capability is needed: bind a port from 1024 up\n"),
        ("exec /x: operation not permitted", "rcap why: a program whose file has capabilities"),
    ] {
        let found = suggest(question);
        assert_eq!((found.status, &*found.err), (Some(0), ""), "{question}");
        assert!(found.out.starts_with(head), "{question}: {}", found.out);
        assert!(found.out.lines().all(|line| line.len() <= 100), "{}", found.out);
    }
    let found = suggest("knit a red pullover");
    assert_eq!((found.status, &*found.out), (Some(1), ""));
    assert!(found.err.contains("`rcap trace PROGRAM`"), "{}", found.err);
    let json = ran(program("rcap").args(["suggest", "--json", "port", "8080"])).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let first = &json["answers"][0];
    assert_eq!((&first["answer"], &first["caps"]), (&"not-needed".into(), &serde_json::json!([])));
}
