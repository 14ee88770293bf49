//! What `receive-wal` works with. A changed configuration is another plan.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Meters;
use crate::archive::ArchiveSettings;
use crate::conninfo::ConnectOptions;
use crate::disk::Disk;
use crate::repository::ServerLayout;
use crate::wire::SlotName;

/// What `receive-wal` works with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The repository; its directories exist, and the caller holds its receive-wal lock.
    pub layout: ServerLayout,
    /// How to reach the walsender.
    pub streaming: ConnectOptions,
    /// How to ask what a walsender does not tell: how the slot stands, and before 15 where.
    pub sql: Option<ConnectOptions>,
    /// What the session is called in `pg_stat_replication`, unless the options say otherwise.
    pub application_name: String,
    /// The slot that keeps WAL for us.
    pub slot: Option<SlotName>,
    /// Whether the slot is made when it is missing.
    pub create_slot: bool,
    /// How much WAL the slot may keep before we give it up.
    pub slot_wal_limit: Option<u64>,
    /// How finished segments are archived, as long as the process lives.
    pub archive: ArchiveSettings,
    /// How often the slot, and settings that may change during a stream, are looked at.
    pub look_again: Duration,
    /// What is to be seen from outside.
    pub meters: Arc<Meters>,
    /// Where it is said, in JSON.
    pub status_file: Option<PathBuf>,
    /// What the queue between socket and disk may pin, in bytes.
    pub queue_bytes: usize,
    /// Whether commits wait for this receiver.
    pub acknowledgement: Acknowledgement,
    /// Another number than before asks for another connection: what differs is not to be had on
    /// the old one.
    pub connection: u64,
}

/// When WAL is made durable and acknowledged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Acknowledgement {
    /// At once, while `synchronous_standby_names` of the server names this receiver.
    #[default]
    Auto,
    /// At once, whatever the server says.
    Always,
    /// At the end of a segment and when the server asks, whatever it says.
    Relaxed,
}

impl Plan {
    /// A [`Plan::look_again`] that costs a server nothing worth speaking of, and warns in time.
    pub const LOOK_AGAIN: Duration = Duration::from_secs(10);
}
