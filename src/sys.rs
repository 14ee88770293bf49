//! The system calls without a safe wrapper, and the only `unsafe` of the program.
//!
//! Knows file descriptors, ranges of memory and the calling thread, nothing else.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Asks the kernel to begin writing a range of dirty pages back, without waiting for it.
///
/// This is `sync_file_range(2)` with `SYNC_FILE_RANGE_WRITE`: it promises nothing about
/// durability, it only keeps a later `fdatasync` short.
pub(crate) fn start_writeback(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
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
pub(crate) fn prefer_huge_pages(memory: &mut [u8]) {
    let start = memory.as_ptr().align_offset(PAGE).min(memory.len());
    let inner = &mut memory[start..];
    let length = inner.len() - inner.len() % PAGE;
    // SAFETY: the range lies in `memory`, begins at a page and is whole pages; the advice lets
    // the kernel choose how it maps them and leaves their content alone.
    let _ = unsafe { libc::madvise(inner.as_mut_ptr().cast(), length, libc::MADV_HUGEPAGE) };
}

/// How the kernel shares a processor out to a thread: `struct sched_attr` in its first version
/// (`linux/sched/types.h`), 48 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Schedule {
    size: u32,
    /// `SCHED_OTHER` unless somebody chose another.
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// The time slice in nanoseconds: of two threads that wait for a processor, the one with the
    /// shorter slice gets it earlier, and no more of it. Linux heeds it from 6.12 on.
    slice: u64,
    deadline: u64,
    period: u64,
}

impl Schedule {
    const SIZE: u32 = size_of::<Schedule>() as u32;

    /// Of the calling thread: `sched_getattr(2)`.
    pub(crate) fn of_this_thread() -> io::Result<Schedule> {
        let mut found = Schedule {
            size: Self::SIZE,
            policy: 0,
            flags: 0,
            nice: 0,
            priority: 0,
            slice: 0,
            deadline: 0,
            period: 0,
        };
        // SAFETY: the kernel writes at most `SIZE` bytes to `found`, which is as large, lives
        // through the call, and is integers without gaps: any bytes are a value of it.
        let result = unsafe {
            libc::syscall(libc::SYS_sched_getattr, THIS, &raw mut found, Self::SIZE, NO_FLAGS)
        };
        if result == 0 { Ok(found) } else { Err(io::Error::last_os_error()) }
    }

    /// Whether it is the one that threads have unless somebody chose another.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.policy == libc::SCHED_OTHER.cast_unsigned()
    }

    /// From -20, the first, to 19.
    pub(crate) fn nice(&self) -> i32 {
        self.nice
    }

    /// The time slice in nanoseconds; 0 where Linux does not tell.
    #[cfg(test)]
    pub(crate) fn slice(&self) -> u64 {
        self.slice
    }

    /// The same with another nice value and time slice, in nanoseconds.
    pub(crate) fn with(self, nice: i32, slice: u64) -> Schedule {
        Schedule { nice, slice, ..self }
    }

    /// The same under the policy of work that nobody waits for.
    #[cfg(test)]
    pub(crate) fn with_batch_policy(self) -> Schedule {
        Schedule { policy: libc::SCHED_BATCH.cast_unsigned(), ..self }
    }

    /// Gives it to the calling thread: `sched_setattr(2)`.
    pub(crate) fn apply(&self) -> io::Result<()> {
        let mut wanted = Schedule { size: Self::SIZE, ..*self };
        // SAFETY: the kernel reads `SIZE` bytes of `wanted`, which is as large and lives through
        // the call, and may write its own size to the field for that.
        let result =
            unsafe { libc::syscall(libc::SYS_sched_setattr, THIS, &raw mut wanted, NO_FLAGS) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// The calling thread, where a thread is asked for.
const THIS: libc::pid_t = 0;
const NO_FLAGS: libc::c_uint = 0;

/// What `madvise` counts in; of processors with larger pages it refuses what is no multiple.
const PAGE: usize = 4096;
