//! The page of the manual that lists every option, written from the table.

use super::options::{OPTIONS, OptionSpec};
use super::value::Kind;

/// The page as Markdown: name, where it may stand, type, default, meaning.
pub fn page() -> String {
    let mut page = String::from(
        "# Options\n\n\
         Every option of the configuration, written from the table in `src/config/options.rs`.\n\n\
         *In*: `B` in `[barman]` only; `G` in `[barman]`, inherited by servers; `S` in the section \
         of a server; `M` in a model.\n\n\
         | option | in | value | default | meaning |\n|---|---|---|---|---|\n",
    );
    for option in OPTIONS {
        let OptionSpec { name, kind, default, help, .. } = option;
        let default = match *default {
            "" => "unset".to_owned(),
            text => format!("`{text}`"),
        };
        // A bar would end the cell.
        let (kind, help) = (words(*kind).replace('|', "\\|"), help.replace('|', "\\|"));
        page.push_str(&format!(
            "| `{name}` | {} | {kind} | {default} | {help} |\n",
            places(option)
        ));
    }
    page
}

fn places(option: &OptionSpec) -> String {
    let scope = option.scope;
    [(scope.program, 'B'), (scope.inherited, 'G'), (scope.server, 'S'), (scope.model, 'M')]
        .into_iter()
        .filter_map(|(there, letter)| there.then_some(letter))
        .collect()
}

fn words(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Secret => "text, never printed".to_owned(),
        Kind::Flag => "`on` or `off`".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Interval => "`n` hours, days, weeks or months".to_owned(),
        Kind::Size => "bytes, also `10M`, `4Gi`".to_owned(),
        Kind::Path => "absolute path".to_owned(),
        Kind::Slot => "slot name".to_owned(),
        Kind::Level => "`low`, `medium`, `high` or a number".to_owned(),
        Kind::Choice(words) => listed(words),
        Kind::Words(words) => format!("some of {}", listed(words)),
    }
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
