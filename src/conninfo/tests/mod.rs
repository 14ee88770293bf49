//! What users write must mean here what it means to libpq.

mod machine;
mod modes;
mod passwords;
mod resolving;
mod services;
mod strings;
mod uris;

use super::*;
use machine::Machine;

fn resolve(text: &str, machine: &Machine) -> ConnectOptions {
    ConnectOptions::resolve(text, Purpose::Sql, machine)
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refusal(text: &str, machine: &Machine) -> String {
    match ConnectOptions::resolve(text, Purpose::Sql, machine) {
        Ok(options) => panic!("{text:?} was accepted: {options:?}"),
        Err(error) => error.to_string(),
    }
}
