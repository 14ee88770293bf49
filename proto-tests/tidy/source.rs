//! A Rust file as the rules see it: line for line, without comments, text and test code.

/// What a file says to the compiler when tests are left out.
#[derive(Debug)]
pub struct Source<'a> {
    /// Relative to the top of the project, with `/`.
    pub path: &'a str,
    /// As it stands in the file.
    pub text: &'a str,
    /// The same number of lines, with comments, the insides of literals and test code blanked.
    pub code: String,
}

impl<'a> Source<'a> {
    pub fn new(path: &'a str, text: &'a str) -> Source<'a> {
        Source { path, text, code: without_tests(&without_prose(text)) }
    }

    /// Whether the file itself is a test.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("proto-tests/")
            || self.path.starts_with("benches/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// The first directory below `src`, or the name of the file there without `.rs`.
    pub fn room(&self) -> Option<&'a str> {
        let rest = self.path.strip_prefix("src/")?;
        let first = rest.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// Lines of code that hold a word, not as a part of a longer one; numbered from 1.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        let numbered = self.code.lines().enumerate();
        numbered.filter(|(_, line)| has_word(line, word)).map(|(number, _)| number + 1).collect()
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(line: &str, word: &str) -> bool {
    let starts_name = word.starts_with(is_name);
    let ends_name = word.ends_with(is_name);
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !(starts_name && before.is_some_and(is_name) || ends_name && after.is_some_and(is_name))
    })
}

/// Replaces comments and what stands between quotes by blanks; line ends stay.
fn without_prose(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = prose_end(&bytes, at);
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` when none does.
fn prose_end(text: &[char], at: usize) -> usize {
    let starts = |word: &str| word.chars().eq(text[at..].iter().copied().take(word.len()));
    if starts("//") {
        return text[at..].iter().position(|c| *c == '\n').map_or(text.len(), |n| at + n);
    }
    if starts("/*") {
        return block_comment_end(text, at);
    }
    let after_name = at > 0 && is_name(text[at - 1]);
    if starts("r") && !after_name || starts("r") && at > 0 && text[at - 1] == 'b' {
        let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
        if text.get(at + 1 + hashes) == Some(&'"') {
            return raw_text_end(text, at + 2 + hashes, hashes);
        }
    }
    if starts("\"") {
        return quoted_end(text, at + 1, '"');
    }
    // A quote begins a character unless it names a lifetime.
    if starts("'") && (text.get(at + 1) == Some(&'\\') || text.get(at + 2) == Some(&'\'')) {
        return quoted_end(text, at + 1, '\'');
    }
    at
}

fn block_comment_end(text: &[char], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn raw_text_end(text: &[char], mut at: usize, hashes: usize) -> usize {
    while at < text.len() {
        let closes = text[at] == '"'
            && text[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

fn quoted_end(text: &[char], mut at: usize, quote: char) -> usize {
    while at < text.len() && text[at] != quote {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// Blanks every item that follows `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(start) = out.find(MARK) {
        let end = item_end(&out, start + MARK.len());
        let blank: String =
            out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// The end of an item: its `;`, or the brace that closes its first one.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0usize;
    for (at, c) in code[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return start + at + 1,
            '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return start + at + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_text_and_tests_are_blank_and_lines_keep_their_numbers() {
    let text = "let a = \"tokio\"; // tokio\n/* tokio /* more */\n*/ let b = 't';\n\
                let c = r#\"tokio\"#;\nfn f<'a>(x: &'a str) {}\n\
                #[cfg(test)]\nmod tests {\n    fn tokio() {}\n}\ntokio::x();\n";
    let source = Source::new("src/x.rs", text);
    assert_eq!(source.lines_with("tokio"), [10]);
    assert_eq!(source.code.lines().count(), text.lines().count());
    assert_eq!(source.lines_with("str"), [5]);
    assert_eq!(source.lines_with("st"), Vec::<usize>::new());
}
