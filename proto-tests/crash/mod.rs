//! What survives a machine that dies, and a disk that refuses.

pub mod log;
mod next_life;
mod received_wal;
mod stored_wal;
