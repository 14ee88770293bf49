//! What no receiver can beat: the server's stream thrown away, and the disk without a server.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use tapster::conninfo::Purpose;
use tapster::net::{Walsender, resolve};
use tapster::wire::copy_both::WalEvent;
use tokio::io::AsyncReadExt;

use crate::Outcome;
use crate::data::Backlog;
use crate::machine::Usage;
use crate::site::Site;
use crate::table::Run;

const MIB: usize = 1 << 20;

/// Receives the backlog with the same protocol code, and drops it.
pub fn thrown_away(site: &Site, backlog: &Backlog) -> Outcome<Run> {
    let options = resolve(&site.streaming, Purpose::Replication)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut session = Walsender::connect(&options, "tapster bench").await?;
        // A process of another machine may have the number of one of ours.
        let server = session.process_id().filter(|_| site.pg_wal.is_some());
        let own = Usage::of("self")?;
        let began = Instant::now();
        let mut stream = session.start_replication(None, backlog.start, backlog.timeline).await?;
        let (socket, input) = session.parts();
        loop {
            while let Some(event) = stream.next(input)? {
                if let WalEvent::EndOfTimeline | WalEvent::Shutdown = event {
                    return Err("the server ended the stream".into());
                }
            }
            if stream.received() >= backlog.end {
                break;
            }
            input.reserve(256 << 10);
            if socket.read_buf(input).await? == 0 {
                return Err("the server closed the connection".into());
            }
        }
        let wall = began.elapsed();
        let client = Usage::of("self")? - own;
        let server = server.and_then(|pid| Usage::of(pid).ok()).map(|usage| usage.processor);
        Ok(Run { wall, client: client.processor, server, ..Run::default() })
    })
}

/// Writes as many segments as the backlog has, each synced once, with one thread.
pub fn disk(folder: &Path, backlog: &Backlog, direct: bool) -> Outcome<Run> {
    let own = Usage::of("self")?;
    let began = Instant::now();
    let size = backlog.size.bytes() as usize;
    // Direct writes want memory and lengths that are multiples of a page.
    let memory = vec![0x5A; MIB + 4096];
    let aligned = &memory[memory.as_ptr().align_offset(4096)..][..MIB];
    for name in &backlog.segments {
        let file = create(&folder.join(name.to_string()), direct)?;
        for at in (0..size).step_by(MIB) {
            file.write_all_at(aligned, at as u64)?;
        }
        file.sync_data()?;
    }
    let wall = began.elapsed();
    let used = Usage::of("self")? - own;
    let written = Some(used.written);
    Ok(Run { wall, client: used.processor, written, ..Run::default() })
}

fn create(path: &Path, direct: bool) -> Outcome<File> {
    let flags = if direct { rustix::fs::OFlags::DIRECT.bits() } else { 0 };
    let mut options = OpenOptions::new();
    Ok(options.write(true).create_new(true).custom_flags(flags.cast_signed()).open(path)?)
}
