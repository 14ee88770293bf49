//! The replication protocol: frames, login, commands, streams.
//!
//! Sans-IO: knows no sockets, no tokio, no files, no clock.
