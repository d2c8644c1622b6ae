//! The words and the port numbers of a question.

/// The port that a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// At least one is below 1024.
    Privileged,
    /// All are 1024 or higher.
    Unprivileged,
}

/// Returns the ports in a text in lower case: numbers after a colon, and numbers in a text about
/// ports.
pub(super) fn ports(text: &str) -> Option<Port> {
    const ABOUT: [&str; 7] = ["port", "ports", "listen", "listens", "listening", "bind", "udp"];
    let is_about = text
        .split(|char: char| !char.is_ascii_alphabetic())
        .any(|word| ABOUT.contains(&word) || word == "tcp");
    let mut found = None;
    for word in text.split(|char: char| char.is_whitespace() || ",;()'\"".contains(char)) {
        let word = word.trim_end_matches(['.', ':', '?', '!', '/']);
        let word = word.split("://").last().unwrap_or(word);
        let number = match word.rsplit_once(':') {
            Some((host, number)) => {
                let is_host = host.is_empty()
                    || host.ends_with([']', '*', ':'])
                    || host.contains('.')
                    || host == "localhost";
                is_host.then_some(number)
            }
            None => is_about.then(|| word.trim_end_matches("/tcp").trim_end_matches("/udp")),
        };
        match number.and_then(|number| number.parse::<u16>().ok()) {
            Some(1..1024) => return Some(Port::Privileged),
            Some(1024..) => found = Some(Port::Unprivileged),
            _ => {}
        }
    }
    found
}

/// Returns the words of a text in lower case, such as `su-exec`, `af_packet` and `/dev/mem`.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let is_part = |char: char| char.is_alphanumeric() || "_+/-.".contains(char);
    let words = text.split(|char| !is_part(char));
    // An option such as -sS, or +i, is a word too.
    let words = words.map(|word| word.trim_end_matches(['-', '.', '/']));
    words.filter(|word| word.chars().any(char::is_alphanumeric)).map(str::to_owned).collect()
}

/// Returns the words of a text that carry meaning, without their endings, each once.
pub(super) fn stems(text: &str) -> Vec<String> {
    const EMPTY: &str = "a an and are as at be by can cannot cap capability capabilities do does \
        for from get has have how i if in into is it its just let linux make me my need needed \
        needs no not of on or program run running that the this to use using want what when which \
        why with without you allow non off one root error failed fails fail";
    // Every denied operation says this.
    let lower = text.to_lowercase();
    let lower = lower.replace("permission denied", "").replace("operation not permitted", "");
    let mut stems: Vec<String> = Vec::new();
    let mut add = |word: &str| {
        if EMPTY.split_whitespace().all(|empty| empty != word) {
            let stem = stem(word);
            if !stem.is_empty() && !stems.contains(&stem) {
                stems.push(stem);
            }
        }
    };
    for word in tokens(&lower) {
        let word = word.trim_start_matches(['/', '.']);
        add(word);
        // A path counts for its last part, and a word with dashes for its parts as well.
        if word.contains(['-', '/', '.']) && !word.starts_with('-') {
            word.split(['-', '/', '.']).filter(|part| part.len() > 1).for_each(&mut add);
        }
    }
    stems
}

/// Returns the stem of a word: `deleting`, `deletes` and `deleted` have the same.
pub(super) fn stem(word: &str) -> String {
    let word = match word {
        "someone" | "somebody" | "others" | "another" | "else" | "different" => "other",
        "daemon" | "service" => "server",
        "bigger" | "increase" | "higher" => "raise",
        "folder" | "dir" => "directory",
        "listening" | "listener" => "listen",
        "ports" => "port",
        word => word,
    };
    for end in ["ings", "ing", "ies", "ed", "es", "s", "e"] {
        let stem = word.strip_suffix(end).filter(|stem| stem.chars().count() >= 3);
        if let Some(stem) = stem {
            let mut stem = stem.to_owned();
            // stopping, stop
            let twice = stem.chars().rev().take(2).collect::<Vec<_>>();
            let is_verb = end.starts_with('i') || end == "ed";
            if is_verb && twice.len() == 2 && twice[0] == twice[1] && !"ls".contains(twice[0]) {
                stem.pop();
            }
            return stem;
        }
    }
    word.to_owned()
}
