//! The WAL of a backup, when no receiver runs: received beside the copy, as `receive-wal` would.
//!
//! It goes to `streaming/` under the receiver's lock, so that a receiver that is started later
//! goes on where this one ended, and where the archive ends already, so that no hole is left
//! before the backup.

use std::sync::Arc;
use std::time::Duration;

use super::Plan;
use super::error::BackupError;
use super::reader::Position;
use crate::disk::LockFile;
use crate::net::{ServerFacts, Walsender};
use crate::output::one_line;
use crate::receive::stored::Places;
use crate::receive::{
    End, Inspection, Preparation, ReceiveError, Receiver, Synchronous, Target, WhenFull,
    start_inspection,
};
use crate::service::Shutdown;
use crate::wal::{Lsn, SegmentSize, SystemIdentifier, Timeline};
use crate::wire::Retry;

/// A receiver of our own.
#[derive(Debug)]
pub(super) struct OwnWal<'a> {
    plan: &'a Plan,
    system: SystemIdentifier,
    session: Walsender,
    receiver: Receiver,
    /// Looks into what is received; ends behind the receiver.
    _inspection: Option<Inspection>,
    /// Where to go on.
    next: Option<(Timeline, Lsn)>,
    /// Held for as long as we write to `streaming/`.
    _lock: LockFile,
}

/// How often a lost connection is made again. The slot of the copy's session keeps the WAL.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(2);

impl<'a> OwnWal<'a> {
    /// Makes sure that what is stored is of this cluster, and connects.
    pub(super) async fn prepare(
        plan: &'a Plan,
        facts: &ServerFacts,
        lock: LockFile,
    ) -> Result<OwnWal<'a>, BackupError> {
        let (_, written_by) = places(plan, facts.segment_size).end()?;
        let found = facts.system_identifier;
        if let Some(stored) = written_by.filter(|&stored| stored != found) {
            return Err(BackupError::OtherWal { stored, found });
        }
        let session = connect(plan, found).await?;
        let inspection = start_inspection(
            &plan.disk,
            &plan.layout,
            (facts.segment_size, facts.system_identifier),
            &Arc::default(),
        );
        let receiver = Receiver {
            server: plan.layout.server().to_string(),
            target: Target {
                disk: Arc::clone(&plan.disk),
                directory: plan.layout.streaming().to_owned(),
                segment_size: facts.segment_size,
                synchronous: Synchronous::new(false),
                preparation: Preparation::InTurn,
                completed: None,
                direct: true,
                when_full: WhenFull::Fail,
                queue_bytes: Target::QUEUE_BYTES,
                inspection: inspection.as_ref().map(Inspection::queue),
                meters: Arc::default(),
            },
            wals: plan.layout.wals().to_owned(),
            slot: None,
            rhythm: Receiver::rhythm_of(facts),
            floor: Lsn::INVALID,
            known: None,
        };
        Ok(OwnWal {
            plan,
            system: found,
            session,
            receiver,
            _inspection: inspection,
            next: None,
            _lock: lock,
        })
    }

    /// Begins at what the backup needs, or before it where the archive ends.
    pub(super) async fn begin(&mut self, start: Position) -> Result<(), BackupError> {
        self.receiver.fetch_history(&mut self.session, start.timeline).await?;
        let size = self.receiver.target.segment_size;
        let local = if self.plan.continues_wal {
            let (local, _) = places(self.plan, size).end()?;
            local.map(|local| Position { lsn: local.position, timeline: local.timeline })
        } else {
            None
        };
        self.next = Some(first(start, local, size));
        Ok(())
    }

    /// Receives until everything before `until` is durable, or `stop` asks for the end. Says
    /// whether `until` was reached.
    pub(super) async fn receive(
        &mut self,
        start: Position,
        until: Option<Lsn>,
        stop: &Shutdown,
    ) -> Result<bool, BackupError> {
        let size = self.receiver.target.segment_size;
        let needed = (start.timeline, start.lsn.segment_start(size));
        let mut tries = 0;
        loop {
            let next = self.next.unwrap_or(needed);
            if until.is_some_and(|until| next.1 >= until) {
                return Ok(true);
            }
            let error = match self.receiver.receive(&mut self.session, next, until, stop).await {
                Ok(received) => {
                    self.next = Some((received.timeline, received.progress.flushed));
                    match received.end {
                        End::Reached => return Ok(true),
                        End::Stopped => return Ok(false),
                        End::Shutdown | End::Timeline(_) => None,
                    }
                }
                Err(error) => Some(error),
            };
            if let Some(known) = self.receiver.known {
                self.next = Some((known.timeline, known.position));
            }
            if matches!(error, Some(ReceiveError::Removed { .. })) && next != needed {
                // What lies between the archive's end and the backup is gone, and not needed.
                self.next = Some(needed);
            }
            tries += 1;
            self.again(error, tries).await?;
        }
    }

    /// Begins anew at a segment that turned out to be missing.
    pub(super) fn go_back_to(&mut self, timeline: Timeline, lsn: Lsn) {
        self.next = Some((timeline, lsn));
        self.receiver.known = None;
    }

    async fn again(&mut self, error: Option<ReceiveError>, tries: u32) -> Result<(), BackupError> {
        let server = &self.receiver.server;
        match error {
            Some(error) if tries > TRIES || error.retry() == Retry::Never => {
                return Err(error.into());
            }
            Some(error) => {
                let error = one_line(&error);
                tracing::warn!(%server, %error, "the WAL of the backup is interrupted; trying again");
            }
            None => tracing::info!(%server, "the server has ended the stream; connecting anew"),
        }
        tokio::time::sleep(PAUSE).await;
        self.session = connect(self.plan, self.system).await?;
        Ok(())
    }
}

/// Only for who holds the receiver's lock: to look may give a file its final name.
fn places(plan: &Plan, segment_size: SegmentSize) -> Places<'_> {
    Places {
        disk: plan.disk.as_ref(),
        streaming: plan.layout.streaming(),
        wals: plan.layout.wals(),
        segment_size,
    }
}

/// Connects, and makes sure that it is the same cluster still. A standby of version 10 streams
/// only to who has asked it who it is.
async fn connect(plan: &Plan, stored: SystemIdentifier) -> Result<Walsender, BackupError> {
    let mut session = Walsender::connect(&plan.streaming, &plan.application_name).await?;
    let found = session.identify_system().await?.system_identifier;
    if found == stored { Ok(session) } else { Err(BackupError::OtherWal { stored, found }) }
}

/// Where to begin: behind what is stored, if that lies on the way to the backup or in it;
/// otherwise at the backup's first segment.
fn first(start: Position, local: Option<Position>, size: SegmentSize) -> (Timeline, Lsn) {
    match local {
        Some(local) if local.timeline == start.timeline && local.lsn <= start.lsn => {
            (local.timeline, local.lsn)
        }
        _ => (start.timeline, start.lsn.segment_start(size)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reception_begins_where_the_archive_ends_unless_that_is_behind_the_start() {
        let at = |lsn| Position { lsn: Lsn(lsn), timeline: Timeline::FIRST };
        let size = SegmentSize::DEFAULT;
        let begin = |local: Option<Position>| first(at(0x500_0028), local, size).1;
        assert_eq!(begin(None), Lsn(0x500_0000));
        assert_eq!(begin(Some(at(0x300_0100))), Lsn(0x300_0100));
        assert_eq!(begin(Some(at(0x500_0010))), Lsn(0x500_0010));
        assert_eq!(begin(Some(at(0x600_0000))), Lsn(0x500_0000));
        let other = Position { timeline: Timeline::new(2).expect("not 0"), ..at(0x300_0000) };
        assert_eq!(begin(Some(other)), Lsn(0x500_0000));
    }
}
