//! An encrypted connection is one with the right server.
//!
//! A certificate that is accepted wrongly gives every byte of the cluster, and the password
//! with it, to whoever stands in between; one that is refused wrongly leaves a site without
//! backups on the day it moves here from libpq. Certificates and the other side of the
//! handshake are made on the spot; `real_server::tls` asks PostgreSQL and libpq themselves.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

pub mod workshop;
pub mod peer;

mod chains;
mod client_certificates;
mod handshakes;
mod revocation;
