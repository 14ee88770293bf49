//! Peers that follow a script: what a server may do to us, and what comes of it.

pub mod peer;

mod connecting;
