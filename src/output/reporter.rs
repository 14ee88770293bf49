//! Lines for people on a terminal, or one JSON object for programs.

use std::fmt::Display;
use std::io::{self, Write};
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{Failure, redact};
use crate::repository::python;

/// The form of a command's output: `-f console` or `-f json`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OutputFormat {
    /// Lines: facts to standard output, `WARNING: ` and `ERROR: ` to standard error.
    #[default]
    Console,
    /// One object on standard output at the end, nothing on standard error.
    Json,
}

impl FromStr for OutputFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<OutputFormat, String> {
        match text {
            "console" => Ok(OutputFormat::Console),
            "json" => Ok(OutputFormat::Json),
            _ => Err(format!("unknown format {text:?}; expected console or json")),
        }
    }
}

/// Everything that a command says goes through here.
///
/// A reader that closes the pipe (`tapster list-backups all | head`) is no error: the rest is
/// not printed, and the command goes on to its end.
#[derive(Debug)]
pub struct Reporter {
    format: OutputFormat,
    quiet: bool,
    debug: bool,
    logs_complaints: bool,
    object: Map<String, Value>,
    failed: bool,
    /// Why standard output takes no more; then nothing more is written to it.
    fault: Option<io::ErrorKind>,
}

impl Reporter {
    /// `quiet` silences standard output, `debug` lets [`Reporter::debug`] through.
    pub fn new(format: OutputFormat, quiet: bool, debug: bool) -> Reporter {
        let logs_complaints = false;
        let object = Map::new();
        Reporter { format, quiet, debug, logs_complaints, object, failed: false, fault: None }
    }

    /// Writes warnings and errors to the log as well: nobody reads the output of a program that
    /// was not started by a person.
    pub fn log_complaints(&mut self) {
        self.logs_complaints = true;
    }

    /// Which form was asked for; commands whose JSON is not their text need to know.
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Whether progress and chatter are unwanted.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// Whether an error was reported.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// A line of ordinary output.
    pub fn info(&mut self, line: impl Display) {
        match self.format {
            OutputFormat::Json => self.collect("_INFO", &line),
            OutputFormat::Console if self.quiet => {}
            OutputFormat::Console => self.print(&format!("{line}\n")),
        }
    }

    /// Something that a person should know; the command goes on.
    pub fn warning(&mut self, line: impl Display) {
        self.complain("_WARNING", "WARNING: ", &line);
    }

    /// Something that makes the command fail.
    pub fn error(&mut self, line: impl Display) {
        self.failed = true;
        self.complain("_ERROR", "ERROR: ", &line);
    }

    /// The failure that ends the command, with its cause and its remedy.
    pub fn failure(&mut self, failure: &Failure) {
        self.error(failure);
    }

    /// A line that only `-d` shows.
    pub fn debug(&mut self, line: impl Display) {
        if self.debug {
            self.complain("_DEBUG", "DEBUG: ", &line);
        }
    }

    /// A member of the JSON object; console output ignores it.
    pub fn member(&mut self, key: impl Into<String>, value: Value) {
        self.object.insert(key.into(), value);
    }

    /// Ends the command's output: in JSON, prints the object, without a newline behind it.
    /// `false` when the answer could not be written, for another reason than that its reader
    /// went away.
    pub fn finish(mut self) -> bool {
        if self.format == OutputFormat::Json && !self.quiet {
            // Keys are sorted because the map is a tree.
            let text = spaced_json(&Value::Object(std::mem::take(&mut self.object)));
            self.print(&text);
        }
        match self.fault {
            None | Some(io::ErrorKind::BrokenPipe) => true,
            Some(fault) => {
                let text = format!("ERROR: cannot write to standard output\n  because: {fault}\n");
                drop(write(&mut io::stderr(), &text));
                false
            }
        }
    }

    fn complain(&mut self, key: &str, prefix: &str, line: &dyn Display) {
        let line = redact(&line.to_string());
        if self.logs_complaints {
            let line = line.lines().map(str::trim).collect::<Vec<_>>().join("; ");
            match key {
                "_ERROR" => tracing::error!("{line}"),
                "_WARNING" => tracing::warn!("{line}"),
                _ => {}
            }
        }
        match self.format {
            OutputFormat::Json => self.collect(key, &line),
            // Nobody is left to be told when standard error is gone.
            OutputFormat::Console => drop(write(&mut io::stderr(), &format!("{prefix}{line}\n"))),
        }
    }

    fn print(&mut self, text: &str) {
        if self.fault.is_none() {
            self.fault = write(&mut io::stdout(), text).err().map(|error| error.kind());
        }
    }

    fn collect(&mut self, key: &str, line: &dyn Display) {
        let list = self.object.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(lines) = list {
            lines.push(Value::String(line.to_string()));
        }
    }
}

/// Where a file goes that is the answer itself.
pub fn binary() -> impl Write {
    io::stdout().lock()
}

/// Prints help or a version. A reader that has gone away is no error. The exit code.
pub fn print_help(text: &str) -> u8 {
    match write(&mut io::stdout(), text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => 1,
        _ => 0,
    }
}

/// Prints what is wrong with a command line. The exit code.
pub fn print_mistake(text: &str) -> u8 {
    drop(write(&mut io::stderr(), text));
    2
}

fn write(stream: &mut dyn Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).and_then(|()| stream.flush())
}

/// JSON as Python's `json.dumps` prints it: `", "` and `": "` as separators, and every
/// character outside ASCII escaped.
pub(super) fn spaced_json(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(spaced_json).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{}: {}", ascii_string(key), spaced_json(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::String(text) => ascii_string(text),
        Value::Number(number) if number.is_f64() => {
            python::float(number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    }
}

fn ascii_string(text: &str) -> String {
    let quoted = Value::String(text.to_owned()).to_string();
    let mut ascii = String::with_capacity(quoted.len());
    for character in quoted.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            let mut units = [0u16; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_spaced_sorted_and_ascii_as_pythons() {
        let value = json!({"b": [1, "ü😀\n"], "a": {"k": null, "f": 1.5, "g": 1e16}});
        assert_eq!(
            spaced_json(&value),
            r#"{"a": {"f": 1.5, "g": 1e+16, "k": null}, "b": [1, "\u00fc\ud83d\ude00\n"]}"#
        );
    }

    #[test]
    fn an_error_is_remembered_and_collected() {
        let mut reporter = Reporter::new(OutputFormat::Json, false, false);
        reporter.info("one");
        reporter.warning("two");
        assert!(!reporter.failed());
        reporter.error("three");
        reporter.debug("not shown");
        assert!(reporter.failed());
        let text = spaced_json(&Value::Object(reporter.object));
        assert_eq!(text, r#"{"_ERROR": ["three"], "_INFO": ["one"], "_WARNING": ["two"]}"#);
    }
}
