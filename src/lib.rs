//! Tapster backs PostgreSQL up and brings it back, speaking the replication protocol itself.
//!
//! The rooms of the house, in the order in which a newcomer should read them. A room may use
//! those above it, never one below; `disk` and `output` serve everyone. ARCHITECTURE.md draws
//! the picture.

// Cores: bytes in, facts out. No sockets, no files, no clock.
pub mod wal;
pub mod wire;
pub mod tar;
pub mod manifest;
pub mod pages;
pub mod retention;

// What the user wrote down.
pub mod conninfo;
pub mod config;

// The doors to the outside.
pub mod sys;
pub mod disk;
pub mod net;
pub mod service;
pub mod process;

// The repository and what is in it.
pub mod codec;
pub mod repository;
pub mod catalog;

// What Tapster does.
pub mod archive;
pub mod receive;
pub mod backup;
pub mod restore;
pub mod verify;
pub mod check;

// What the user sees.
pub mod output;
pub mod commands;
pub mod cli;
