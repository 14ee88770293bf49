//! The system calls without a safe wrapper, and the only `unsafe` of the program.
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

/// Asks the kernel to use huge pages for whole ones of them in `memory`: a write past the page
/// cache then pins one page instead of 512, and the memory is found in one step.
///
/// This is `madvise(2)` with `MADV_HUGEPAGE`. It changes no content and may be refused, where
/// the kernel has none; memory then is as fast as before.
pub(super) fn prefer_huge_pages(memory: &mut [u8]) {
    let start = memory.as_ptr().align_offset(PAGE).min(memory.len());
    let inner = &mut memory[start..];
    let length = inner.len() - inner.len() % PAGE;
    // SAFETY: the range lies in `memory`, begins at a page and is whole pages; the advice lets
    // the kernel choose how it maps them and leaves their content alone.
    let _ = unsafe { libc::madvise(inner.as_mut_ptr().cast(), length, libc::MADV_HUGEPAGE) };
}

/// What `madvise` counts in; of processors with larger pages it refuses what is no multiple.
const PAGE: usize = 4096;
