//! Programs that are started. Nothing else in the house starts one.
//!
//! Knows arguments and descriptors, not what a program is for.

mod detached;

pub use detached::{Descriptors, Detached, ProcessError, leave_session};
