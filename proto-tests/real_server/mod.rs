//! Promises that only a real PostgreSQL can judge, on every major version from 10 to 18.
//!
//! A test asks for a [`Cluster`] and gets one of its own, on a free port and a private socket;
//! it may stop, crash and destroy it. Nothing outlives the test binary, however that ends: see
//! [`scratch`].

pub mod scratch;
pub mod servers;
pub mod cluster;
pub mod control;
pub mod sql;
pub mod load;
pub mod dice;
pub mod clients;
pub mod standby;
pub mod stock_tools;
pub mod tables;
pub mod tapster;
pub mod stored;
pub mod certificates;

mod connecting;
mod promises;
mod tls;
mod restore;
mod branches;
mod round_trip;
mod shapes;
mod refusals;
mod receiving;
mod backing_up;
mod damaged_pages;
mod chains;
mod limits;
mod incrementals;
mod failover;
mod receive_wal;
mod in_service;
mod cron;
mod ledger;
mod drill;
mod asleep;
mod backlog;
mod packed;
mod same_bytes;
mod verifying;
mod killed_backups;
mod forms;
mod backup_options;
mod sources;
mod wal_holds;
mod rehearsals;
mod barman;

pub use cluster::{Cluster, Stop};
pub use load::Load;
pub use tapster::Tapster;

/// Makes one test of a function for every version that Tapster supports.
#[macro_export]
macro_rules! on_every_version {
    ($(#[$meta:meta])* fn $name:ident($major:ident) $body:block) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "what the test needs is known there")]
            use super::*;
            fn check($major: u32) $body
            #[test] fn on_10() { check(10) }
            #[test] fn on_11() { check(11) }
            #[test] fn on_12() { check(12) }
            #[test] fn on_13() { check(13) }
            #[test] fn on_14() { check(14) }
            #[test] fn on_15() { check(15) }
            #[test] fn on_16() { check(16) }
            #[test] fn on_17() { check(17) }
            #[test] fn on_18() { check(18) }
        }
    };
}
