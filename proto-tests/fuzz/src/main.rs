//! Every parser of Tapster against arbitrary bytes: none may panic, loop, or say something else
//! when its input comes in other pieces.
//!
//! One program for all targets, so that the library is linked once. `FUZZ_TARGET` chooses; see
//! `scripts/fuzz-smoke`.

#![no_main]

mod files;
mod pieces;
mod wire;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 17] = [
    ("frames", wire::frames),
    ("login", wire::login),
    ("exchange", wire::exchange),
    ("copy_both", wire::copy_both),
    ("base_backup_one_copy", wire::base_backup_one_copy),
    ("base_backup_many_copies", wire::base_backup_many_copies),
    ("tar", files::tar),
    ("manifest", files::manifest),
    ("wal", files::wal),
    ("history", files::history),
    ("control_file", files::control_file),
    ("conninfo", files::conninfo),
    ("config", files::config),
    ("backup_info", files::backup_info),
    ("xlogdb", files::xlogdb),
    ("python_literal", files::python_literal),
    ("small_texts", files::small_texts),
];

fn chosen() -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|(target, _)| *target == name);
        let names: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
        found.unwrap_or_else(|| panic!("FUZZ_TARGET is {name:?}; one of {names:?} is needed")).1
    })
}

fuzz_target!(|data: &[u8]| chosen()(data));
