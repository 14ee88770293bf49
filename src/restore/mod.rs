//! A stored backup becomes a cluster again: plan, sources, sinks, recovery settings.
//!
//! Knows no commands and no connections: a restore never needs the server that was backed up.
//!
//! What stands in the repository is not trusted: names stay below the destination, members are
//! what the manifest says, WAL is of the right cluster. What stands in the destination cannot
//! be started before all of it is durable.

// Decisions.
pub mod target;
pub mod choose;
pub mod facts;
pub mod selection;
mod lineage;
mod stretch;
pub mod plan;
pub mod refusal;
pub mod settings;

// What comes from the repository.
pub mod path;
pub mod source;
mod sources;
pub mod shelf;
mod open_segment;
pub mod reach;
pub mod chain;
pub mod members;
pub mod check;
pub mod combine;
pub mod get_wal;

// What goes to the destination.
pub mod destination;
mod written;
pub mod tree;
pub mod unpack;
pub mod older;
pub mod configure;
pub mod carry_out;
mod carry_out_chain;

mod error;

pub use carry_out::{Job, Observer, Restored, Step, restore};
pub use error::RestoreError;

#[cfg(test)]
mod tests;
