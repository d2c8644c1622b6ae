//! Command lines as people write them: the words of a shell.

/// A word of a shell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// The text without quotes. An expansion is kept as its expression.
    pub(super) text: String,
    /// Whether a part of it is expanded by the shell, so that its value is not known.
    pub(super) is_expanded: bool,
}

/// Splits a text into commands and each command into words: at newlines, `;`, `|` and `&`. Lines
/// that end with a backslash continue. Comments are left out.
pub(super) fn commands(text: &str) -> Vec<Vec<Word>> {
    let mut reader = Reader::default();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                None | Some('\n') => {}
                Some(next) => reader.word().text.push(next),
            },
            '\'' => {
                let quoted: String = chars.by_ref().take_while(|char| *char != '\'').collect();
                reader.word().text.push_str(&quoted);
            }
            '"' => quoted(&mut chars, &mut reader),
            '$' | '`' => expansion(char, &mut chars, &mut reader),
            '#' if reader.word.is_none() => while chars.next_if(|char| *char != '\n').is_some() {},
            '\n' | ';' | '|' | '&' => reader.end_command(),
            char if char.is_whitespace() => reader.end_word(),
            char => reader.word().text.push(char),
        }
    }
    reader.end_command();
    reader.commands
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

#[derive(Default)]
struct Reader {
    commands: Vec<Vec<Word>>,
    words: Vec<Word>,
    word: Option<Word>,
}

impl Reader {
    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_default()
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.words));
        }
    }
}

fn quoted(chars: &mut Chars<'_>, reader: &mut Reader) {
    reader.word();
    while let Some(char) = chars.next() {
        match char {
            '"' => return,
            '\\' => {
                let next = chars.next().unwrap_or('\\');
                let word = reader.word();
                if !"\"\\$`\n".contains(next) {
                    word.text.push('\\');
                }
                if next != '\n' {
                    word.text.push(next);
                }
            }
            '$' | '`' => expansion(char, chars, reader),
            char => reader.word().text.push(char),
        }
    }
}

/// Reads an expansion as a part of a word: `$NAME`, `${…}`, `$(…)` and `` `…` ``.
fn expansion(first: char, chars: &mut Chars<'_>, reader: &mut Reader) {
    let next = chars.peek().copied();
    let is_prompt = first == '$' && next.is_none_or(char::is_whitespace);
    // A dollar sign alone is one, and the prompt of a shell at the beginning.
    if is_prompt {
        if !(reader.word.is_none() && reader.words.is_empty()) {
            reader.word().text.push(first);
        }
        return;
    }
    let close = match (first, next) {
        ('`', _) => Some('`'),
        (_, Some('(')) => Some(')'),
        (_, Some('{')) => Some('}'),
        _ => None,
    };
    let open = next;
    let word = reader.word();
    word.is_expanded = true;
    word.text.push(first);
    let Some(close) = close else { return };
    let mut depth = usize::from(first == '`');
    for char in chars.by_ref() {
        word.text.push(char);
        if char == close {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return;
            }
        } else if Some(char) == open && first != '`' {
            depth += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        #[rustfmt::skip]
        let rows: &[(&str, &[&[&str]])] = &[
            ("a 'b c' \"d e\" f\\ g",   &[&["a", "b c", "d e", "f g"]]),
            ("$ docker run x",          &[&["docker", "run", "x"]]),
            ("a \\\n  b # c d\ne",      &[&["a", "b"], &["e"]]),
            ("# only\n\n",              &[]),
            ("a | b; c && d",           &[&["a"], &["b"], &["c"], &["d"]]),
            ("-u $(id -u):$(id -g) x",  &[&["-u", "$(id -u):$(id -g)", "x"]]),
            ("\"${A:-b c}\" $X",        &[&["${A:-b c}", "$X"]]),
            ("a''b \"\"",               &[&["ab", ""]]),
            ("'a",                      &[&["a"]]),
            ("\"a\\\"b\\c\"",           &[&["a\"b\\c"]]),
        ];
        for (text, want) in rows {
            let got = commands(text);
            let got: Vec<Vec<&str>> =
                got.iter().map(|words| words.iter().map(|word| &*word.text).collect()).collect();
            assert_eq!(got, *want, "{text}");
        }
        assert!(commands("$(a) b")[0][0].is_expanded && !commands("'$a'")[0][0].is_expanded);
    }
}
