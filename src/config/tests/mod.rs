//! Behaviours of the dialect that a user relies on.

mod dialect;
mod files;
