//! A server that lies, stalls, hangs up and forges: what no real one can be made to do.
//!
//! It stands alone, or between the program and a real server whose messages it passes on except
//! where a script or a forger steps in. What it hears is kept for the test to look at.

pub mod peer;
mod answers;
mod checks;
mod connecting;
mod connections;
mod forgeries;
mod forged_backups;
mod heard;
mod server;
mod talk;
mod scene;
mod receiving;
mod receiving_again;
mod receiving_lies;
mod receiving_edges;
mod middle;
mod tampering;
mod backups_forged;
mod backups_cut;

pub use answers::{IDENTIFIER, POSITION};
pub use heard::Heard;
pub use server::{Builder, FakeServer, Forged};
pub use talk::Step;

/// One message of the real server: its type and its body.
pub type Message = (u8, Vec<u8>);
