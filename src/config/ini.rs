//! The INI dialect of Barman's files, which is that of Python's `configparser`. Pure.
//!
//! Kept apart from options: this file knows sections, keys and lines, not what they mean.

use std::path::{Path, PathBuf};

/// One file, as written: sections in order, values not yet interpolated or unquoted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IniFile {
    /// Where it was read, for messages.
    pub path: PathBuf,
    /// Sections by first appearance; one that appears twice is merged here.
    pub sections: Vec<IniSection>,
}

/// `[name]` and what stands below it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IniSection {
    /// The text between the brackets, case kept.
    pub name: String,
    /// Line of the first header, from 1.
    pub line: usize,
    /// Keys by first appearance; of a key that appears twice the last value stays.
    pub entries: Vec<IniEntry>,
}

/// `key = value`, with its continuation lines joined by newlines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IniEntry {
    /// Lower-cased.
    pub key: String,
    /// Without blanks at either end.
    pub value: String,
    /// Line of the key, from 1.
    pub line: usize,
}

/// Why a line is no INI.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IniFault {
    /// Text before the first `[section]`.
    #[error("this line stands before the first [section]")]
    NoSection,
    /// Neither `=` nor `:`.
    #[error("this line is neither \"key = value\", nor a [section], nor a comment")]
    NoDelimiter,
    /// `= value`.
    #[error("this line has a value but no key")]
    NoKey,
    /// `[` without `]`, or `[]`.
    #[error("this section header is not of the form [name]")]
    BadHeader,
    /// Bytes that are not UTF-8.
    #[error("this line is not UTF-8 text")]
    NotUtf8,
}

impl IniFile {
    /// Parses a whole file. On error: the line, from 1, and what is wrong with it.
    ///
    /// Rules (Python manual, "Supported INI File Structure", with `strict=False`): comments are
    /// whole lines; a line indented deeper than its key continues the value; comment lines in a
    /// value vanish, empty ones stay; keys are lower-cased.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<IniFile, (usize, IniFault)> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let mut parser = Parser {
            file: IniFile { path: path.to_owned(), sections: Vec::new() },
            section: None,
            entry: None,
            indent: 0,
        };
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let number = index + 1;
            let text = std::str::from_utf8(line).map_err(|_| (number, IniFault::NotUtf8))?;
            parser.line(number, text).map_err(|fault| (number, fault))?;
        }
        for section in &mut parser.file.sections {
            for entry in &mut section.entries {
                entry.value.truncate(entry.value.trim_end().len());
            }
        }
        Ok(parser.file)
    }

    /// The section of this name.
    pub fn section(&self, name: &str) -> Option<&IniSection> {
        self.sections.iter().find(|section| section.name == name)
    }
}

impl IniSection {
    /// The entry of this key.
    pub fn entry(&self, key: &str) -> Option<&IniEntry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

struct Parser {
    file: IniFile,
    /// Index of the open section.
    section: Option<usize>,
    /// Index of the entry in it that a deeper line continues.
    entry: Option<usize>,
    /// Blanks before the line that opened the entry.
    indent: usize,
}

impl Parser {
    fn line(&mut self, number: usize, line: &str) -> Result<(), IniFault> {
        let text = line.trim();
        if text.starts_with(['#', ';']) {
            return Ok(());
        }
        if text.is_empty() {
            if let Some(entry) = self.open_entry() {
                entry.value.push('\n');
            }
            return Ok(());
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        if indent > self.indent
            && let Some(entry) = self.open_entry()
        {
            entry.value.push('\n');
            entry.value.push_str(text);
            return Ok(());
        }
        self.indent = indent;
        if text.starts_with('[') {
            return self.header(number, text);
        }
        self.key_and_value(number, text)
    }

    fn open_entry(&mut self) -> Option<&mut IniEntry> {
        self.file.sections.get_mut(self.section?)?.entries.get_mut(self.entry?)
    }

    fn header(&mut self, number: usize, text: &str) -> Result<(), IniFault> {
        let end = text.rfind(']').ok_or(IniFault::BadHeader)?;
        let name = text.get(1..end).filter(|name| !name.is_empty()).ok_or(IniFault::BadHeader)?;
        let sections = &mut self.file.sections;
        let index = sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
            sections.push(IniSection { name: name.to_owned(), line: number, entries: Vec::new() });
            sections.len() - 1
        });
        self.section = Some(index);
        self.entry = None;
        Ok(())
    }

    fn key_and_value(&mut self, number: usize, text: &str) -> Result<(), IniFault> {
        let section = self.section.and_then(|index| self.file.sections.get_mut(index));
        let section = section.ok_or(IniFault::NoSection)?;
        let (key, value) = text.split_once(['=', ':']).ok_or(IniFault::NoDelimiter)?;
        let key = key.trim().to_lowercase();
        if key.is_empty() {
            return Err(IniFault::NoKey);
        }
        let entry = IniEntry { key, value: value.trim().to_owned(), line: number };
        let index = match section.entries.iter().position(|other| other.key == entry.key) {
            Some(index) => {
                section.entries[index] = entry;
                index
            }
            None => {
                section.entries.push(entry);
                section.entries.len() - 1
            }
        };
        self.entry = Some(index);
        Ok(())
    }
}

/// Removes one pair of equal quotes around the whole value.
pub fn unquote(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(value)
}

/// What the caller knows of a name in `%(name)s`.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A value after interpolation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interpolated {
    /// The final text.
    pub text: String,
    /// Whether Barman could not read the value: a `%` that is not written `%%%%`.
    pub foreign: bool,
    /// How many references it took.
    references: usize,
}

/// A reference that leads nowhere or for ever in a circle.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InterpolationFault {
    /// `%(name)s` where no such key is.
    #[error("%({0})s refers to a key that is not in the same section")]
    Unknown(String),
    /// References that nest deeper than `configparser` follows them.
    #[error("%({0})s refers to itself")]
    Circle(String),
    /// References that multiply.
    #[error("the value holds more than {REFERENCES_MAX} references")]
    TooMany,
}

/// How deep references may nest: the limit of `configparser`.
const DEPTH_MAX: usize = 10;
/// A bound on what references to references can grow to.
const REFERENCES_MAX: usize = 1000;

/// Replaces `%(name)s` by what `lookup` gives and `%%%%`, `%%` by a percent sign.
///
/// A percent sign that begins none of these stays: connection URIs are full of them.
pub fn interpolate(value: &str, lookup: &Lookup<'_>) -> Result<Interpolated, InterpolationFault> {
    let mut done =
        Interpolated { text: String::with_capacity(value.len()), foreign: false, references: 0 };
    expand(value, lookup, 0, &mut done)?;
    Ok(done)
}

fn expand(
    value: &str,
    lookup: &Lookup<'_>,
    depth: usize,
    done: &mut Interpolated,
) -> Result<(), InterpolationFault> {
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        done.text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((name, behind)) = reference(rest) {
            if depth >= DEPTH_MAX {
                return Err(InterpolationFault::Circle(name.to_owned()));
            }
            done.references += 1;
            if done.references > REFERENCES_MAX {
                return Err(InterpolationFault::TooMany);
            }
            let key = name.to_lowercase();
            let inner = lookup(&key).ok_or_else(|| InterpolationFault::Unknown(name.to_owned()))?;
            expand(&inner, lookup, depth + 1, done)?;
            rest = behind;
            continue;
        }
        let signs = ["%%%%", "%%", "%"].into_iter().find(|signs| rest.starts_with(signs));
        let signs = signs.unwrap_or("%");
        done.foreign |= signs != "%%%%";
        done.text.push('%');
        rest = &rest[signs.len()..];
    }
    done.text.push_str(rest);
    Ok(())
}

/// Splits `%(name)s` from what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (name, behind) = text.strip_prefix("%(")?.split_once(')')?;
    Some((name, behind.strip_prefix('s')?))
}
