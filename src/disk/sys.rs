//! The one system call without a safe wrapper, and the only `unsafe` of the program.
//!
//! Knows file descriptors and ranges, nothing else.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Asks the kernel to begin writing a range of dirty pages back, without waiting for it.
///
/// This is `sync_file_range(2)` with `SYNC_FILE_RANGE_WRITE`: it promises nothing about
/// durability, it only keeps a later `fdatasync` short.
pub(super) fn start_writeback(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    // SAFETY: the call takes a descriptor, which `file` keeps open, and integers; it reads and
    // writes no memory of this process.
    let result = unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
