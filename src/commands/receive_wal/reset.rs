//! `--reset`: begin anew where the slot stands, after WAL was lost on the server.
//!
//! An empty `.partial` marks the place: the next start finds it as the newest file and goes on
//! there. What lies before it is a gap that the user accepts.

use std::collections::BTreeSet;

use super::super::{Outcome, Site, connect, runtime};
use super::{lock, slot_name};
use crate::config::ServerConfig;
use crate::disk::{self, Disk};
use crate::net::{NetError, ServerFacts};
use crate::output::{Failure, Reporter};
use crate::receive::stored::{Names, newest_archived};
use crate::repository::{Hole, HoleCause, Holes, RepositoryError, ServerLayout};
use crate::service;
use crate::wal::{SegmentName, SegmentSize, WalFileName};

pub(super) fn run(server: &ServerConfig, site: &Site, out: &mut Reporter) -> Outcome {
    let name = &server.name;
    let layout = ServerLayout::new(server);
    let disk = site.disk.as_ref();
    let what = format!("cannot reset receive-wal of server {name}");
    layout
        .create_directories(disk)
        .map_err(|error| Failure::because(&what, &error).hint(error.hint()))?;
    let busy = format!(
        "Unable to reset the status of receive-wal for server {name}. Process is still running"
    );
    let _lock = lock(&layout, &busy)?;
    let place = runtime()?.block_on(place(server))?;
    move_mark(&layout, disk, place, out)
        .map_err(|error| Failure::because(&what, &error).hint(error.hint()))
}

/// Where the next start is to begin, and where the server stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    restart: SegmentName,
    current: SegmentName,
    size: SegmentSize,
}

async fn place(server: &ServerConfig) -> Result<Place, Failure> {
    let mut session = connect::walsender(server).await?;
    let fails = |error: NetError| {
        let what = format!("cannot learn the position of server {}", server.name);
        Failure::because(what, &error).hint(error.hint())
    };
    let facts = ServerFacts::ask(&mut session).await.map_err(fails)?;
    let current = SegmentName::containing(facts.timeline, facts.xlogpos, facts.segment_size);
    let mut restart = current;
    if let Some(slot) = slot_name(server)? {
        let lsn = if facts.version.knows_read_replication_slot() {
            session.read_slot(&slot).await.map_err(fails)?.and_then(|slot| slot.restart_lsn)
        } else {
            let client = connect::sql(server).await?;
            client.slot(&slot).await.map_err(fails)?.and_then(|slot| slot.restart_lsn)
        };
        if let Some(lsn) = lsn {
            restart = SegmentName::containing(facts.timeline, lsn, facts.segment_size);
        }
    }
    session.close().await;
    Ok(Place { restart, current, size: facts.segment_size })
}

fn move_mark(
    layout: &ServerLayout,
    disk: &dyn Disk,
    place: Place,
    out: &mut Reporter,
) -> Result<u8, RepositoryError> {
    let streaming = layout.streaming();
    let names = Names::list(disk, streaming)?;
    let archived = newest_archived(disk, layout.wals())?;
    let complete = names.complete.last().copied().max(archived);
    let newest = complete.max(names.partial.last().copied());
    let follows = |name: SegmentName| {
        let next = name.number(place.size).map(|number| number.next());
        next.map(|next| SegmentName::new(name.timeline(), next, place.size)) == Some(place.restart)
    };
    let aligned = newest.is_none_or(|newest| newest == place.restart);
    if aligned || (newest == complete && newest.is_some_and(follows)) {
        out.info("Nothing to do. Position of receive-wal is aligned.");
        return Ok(0);
    }
    let partial = names.partial.last().copied().filter(|partial| Some(*partial) == newest);
    if let Some(newest) = newest.filter(|newest| *newest > place.current) {
        let suffix = if partial.is_some() { ".partial" } else { "" };
        let current = place.current;
        out.error(format_args!(
            "The receive-wal position is ahead of PostgreSQL current WAL lsn \
             ({newest}{suffix} > {current})"
        ));
        return Ok(1);
    }
    out.info("Resetting receive-wal directory status");
    let mark = streaming.join(WalFileName::Partial(place.restart).to_string());
    let old = partial.map(|partial| streaming.join(WalFileName::Partial(partial).to_string()));
    if let Some(old) = &old {
        out.info(format_args!("Removing status file {}", old.display()));
    }
    out.info(format_args!("Creating status file {}", mark.display()));
    // Before the mark: what lies between must not be believed to be there.
    if let Some(newest) = newest {
        record_hole(layout, disk, (newest, partial.is_some()), place)?;
    }
    // The new mark first: a crash in between leaves both, and the newer one counts.
    disk::write_file(disk, &mark, MARK_MODE, b"")?;
    if let Some(old) = old {
        disk::remove_file(disk, &old)?;
    }
    Ok(0)
}

/// From the end of the newest segment, or the beginning of one that is not complete and goes with
/// its status file, to the mark. On each of two timelines, if it is two: where the one ended is
/// not known here.
fn record_hole(
    layout: &ServerLayout,
    disk: &dyn Disk,
    (newest, is_partial): (SegmentName, bool),
    place: Place,
) -> Result<(), RepositoryError> {
    let numbers = newest.number(place.size).zip(place.restart.number(place.size));
    let Some((last, restart)) = numbers else { return Ok(()) };
    let first = if is_partial { last } else { last.next() };
    let (from, to) = (first.start(place.size), restart.start(place.size));
    if from >= to {
        return Ok(());
    }
    let (since, why) = (service::now(), HoleCause::Reset);
    for timeline in BTreeSet::from([newest.timeline(), place.restart.timeline()]) {
        Holes::record(disk, layout, Hole { timeline, from, to, since, why })?;
    }
    Ok(())
}

const MARK_MODE: u32 = 0o600;
