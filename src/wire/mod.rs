//! The replication protocol: frames, login, commands, streams.
//!
//! Sans-IO: knows no sockets, no tokio, no files, no clock. Bytes that the network gave go in,
//! typed facts and bytes to send come out; "not enough bytes yet" is `Ok(None)`, and an error
//! means bytes that can never become valid. A server is not trusted: every length is bounded
//! before anything is allocated for it.
//!
//! One connection goes through these in turn:
//! [`frontend::ssl_request`] → [`Login`] → any number of [`Exchange`]s, each with one
//! [`Command`] → perhaps [`copy_both::WalStream`] or [`base_backup::BackupStream`].
//!
//! Source of the formats: PostgreSQL manual, "Frontend/Backend Protocol".

mod version;
mod server_error;
mod error;
pub mod frame;
mod body;
mod message;
pub mod frontend;
mod auth;
mod login;
mod command;
mod backup_options;
mod rows;
mod exchange;
pub mod copy_both;
pub mod base_backup;
mod archive_list;

pub use auth::{AuthMethod, ChannelBinding, RequireAuth};
pub use backup_options::{
    BackupTarget, BaseBackupOptions, Checkpoint, Compression, CompressionAlgorithm,
    ManifestChecksum, ManifestOption,
};
pub use command::{Command, CommandError, SlotName};
pub use error::{Tag, WireError};
pub use exchange::{Exchange, ExchangeEvent};
pub use frame::{Frame, FrameReader};
pub use login::{Login, LoginError, LoginEvent, LoginOptions, LoginWarning, Session, Transport};
pub use message::{
    Authentication, BackendMessage, CancelKey, Column, DataRow, ParameterStatus, Parameters,
    TransactionStatus,
};
pub use rows::{
    BackupPosition, CreatedSlot, HistoryFile, IdentifySystem, NextTimeline, ResultSet, SlotState,
    Tablespace,
};
pub use server_error::{Notice, Retry, ServerError, ServerMessage, Severity, SqlState};
pub use version::{ParseVersionError, ServerVersion};
