//! The copy itself: reader, writer and WAL side by side, and the verdict.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::error::BackupError;
use super::queue::{WriterEnd, queue};
use super::reader::{self, Event, Position, Span};
use super::run::{Backup, Milestone, Tell};
use super::session::{self, Session};
use super::verdict;
use super::wal::OwnWal;
use super::writer::{Stored, Writer};
use super::{places, record::Record};
use crate::manifest::Algorithm;
use crate::output::Progress;
use crate::service::{Shutdown, Urgency};
use crate::wal::SegmentName;
use crate::wire::{BaseBackupOptions, ManifestChecksum, ManifestOption};

/// The thread that stores a backup.
#[derive(Debug)]
pub(super) struct WriterThread {
    end: WriterEnd,
    thread: JoinHandle<Result<Stored, BackupError>>,
}

impl WriterThread {
    /// Waits for its end, which comes when the queue is closed. Not a blocking join: signals
    /// are still to be heard while the disk takes its time.
    pub(super) async fn join(self) -> Result<Stored, BackupError> {
        self.end.wait().await;
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Backup<'_> {
    /// Copies the cluster into the backup's directory, verified, durable and named.
    pub(super) async fn copy(
        &mut self,
        session: &mut Session,
        own: Option<&mut OwnWal<'_>>,
        tell: Tell<'_>,
    ) -> Result<Span, BackupError> {
        let disk = self.plan.disk.as_ref();
        places::create(disk, &self.plan.layout, self.record.info.id)?;
        for tablespace in self.record.info.tablespaces.iter().flatten() {
            let path = self.plan.layout.tablespace(self.record.info.id, tablespace.oid);
            crate::disk::create_directories(disk, &path, crate::repository::DATA_MODE)?;
        }
        if let Some(bytes) = session.sql.cluster_size {
            self.progress.total(bytes);
        }
        self.progress.phase("waiting for checkpoint");
        let manifest_due = session.facts.version.backup_manifest_version().is_some();
        let (started, start) = watch::channel(None);
        let span = {
            let copying = self.transfer(session, manifest_due, &started, tell);
            match own {
                Some(own) => beside(copying, own, start).await?,
                None => copying.await?,
            }
        };
        // Taken only when the reader came to its end.
        let stored = match self.writer.take() {
            Some(writer) => writer.join().await?,
            None => return Err(BackupError::Interrupted),
        };
        self.finish(session, &stored, span, manifest_due, tell).await
    }

    /// Drives the reader; the writer is left in `self.writer`.
    async fn transfer(
        &mut self,
        session: &mut Session,
        manifest_due: bool,
        started: &watch::Sender<Option<Position>>,
        tell: Tell<'_>,
    ) -> Result<Span, BackupError> {
        let (sender, receiver, end) = queue();
        let disk = Arc::clone(&self.plan.disk);
        let writer = Writer::new(disk, self.data.clone(), Algorithm::Crc32c);
        let thread = std::thread::Builder::new()
            .name("backup-writer".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(BackupError::Thread)?;
        self.writer = Some(WriterThread { end, thread });
        let options = self.options(manifest_due);
        let stream = session.walsender.base_backup(&options).await?;
        let (progress, record) = (self.progress, &mut self.record);
        let mut observe = |event: Event<'_>| notice(event, progress, record, started, tell);
        let (walsender, silence) = (&mut session.walsender, self.plan.silence);
        let copied =
            reader::copy(walsender, stream, sender, silence, progress, &mut observe).await?;
        match (copied, self.writer.take()) {
            (Some(span), writer) => {
                self.writer = writer;
                Ok(span)
            }
            // The writer ended first, and has the reason.
            (None, Some(writer)) => match writer.join().await {
                Err(error) => Err(error),
                Ok(_) => Err(BackupError::Interrupted),
            },
            (None, None) => Err(BackupError::Interrupted),
        }
    }

    fn options(&self, manifest_due: bool) -> BaseBackupOptions {
        let info = &self.record.info;
        BaseBackupOptions {
            label: format!("Tapster backup {} {}", info.server_name, info.id),
            checkpoint: self.plan.checkpoint,
            // The server's own archiving is not ours to wait for: we look after the WAL.
            wait: false,
            max_rate_kib: self.plan.max_rate_kib,
            // Without it, links in pg_tblspc are sent, and a long target fails the backup.
            tablespace_map: true,
            verify_checksums: true,
            manifest: if manifest_due { ManifestOption::Yes } else { ManifestOption::No },
            manifest_checksums: manifest_due.then_some(ManifestChecksum::Crc32c),
            ..BaseBackupOptions::default()
        }
    }

    /// Judges what was stored, gives it its names, and records it.
    async fn finish(
        &mut self,
        session: &Session,
        stored: &Stored,
        span: Span,
        manifest_due: bool,
        tell: Tell<'_>,
    ) -> Result<Span, BackupError> {
        let took = self.began.elapsed();
        self.progress.phase("verifying");
        let system = session.facts.system_identifier;
        let verdict = verdict::judge(stored, span, system, manifest_due)?;
        tell(Milestone::Copied { took, verified: manifest_due });
        places::publish(self.plan.disk.as_ref(), &self.data, &stored.parts)?;
        let size = stored.parts.iter().map(|part| part.length).sum();
        self.record.info.size = Some(size);
        self.record.info.deduplicated_size = Some(size);
        let ended = session::end_time(self.plan, session.begin_time, took).await;
        self.record.copied(span, verdict, took, ended)?;
        Ok(span)
    }
}

/// Copies, and receives the WAL meanwhile. The first error ends both.
async fn beside(
    copying: impl Future<Output = Result<Span, BackupError>>,
    own: &mut OwnWal<'_>,
    mut start: watch::Receiver<Option<Position>>,
) -> Result<Span, BackupError> {
    let (lever, stop) = Shutdown::manual();
    let copying = async {
        let span = copying.await?;
        lever.send_replace(Urgency::Finish);
        Ok(span)
    };
    let receiving = async {
        // An error of the copy ends this wait by ending both.
        let begun = start.wait_for(Option::is_some).await.ok().and_then(|start| *start);
        let Some(begun) = begun else { return Ok(false) };
        own.begin(begun).await?;
        own.receive(begun, None, &stop).await
    };
    tokio::try_join!(copying, receiving).map(|(span, _)| span)
}

/// What rare events of the copy mean.
fn notice(
    event: Event<'_>,
    progress: &dyn Progress,
    record: &mut Record,
    started: &watch::Sender<Option<Position>>,
    tell: &mut dyn FnMut(Milestone),
) -> Result<(), BackupError> {
    match event {
        Event::Start(start) => {
            record.started(start)?;
            let info = &record.info;
            let size = info.xlog_segment_size;
            tell(Milestone::Begun {
                id: info.id,
                lsn: start.lsn,
                segment: SegmentName::containing(start.timeline, start.lsn, size),
                offset: start.lsn.segment_offset(size),
            });
            started.send_replace(Some(start));
            progress.phase("copying");
        }
        Event::Tablespaces(list) => record.holds(list),
        Event::Archive(name) => progress.phase(&format!("copying {name}")),
        Event::Manifest => progress.phase("receiving manifest"),
        Event::End => progress.phase("waiting for the server's verdict"),
        Event::Notice(notice) => tracing::warn!("server says: {notice}"),
    }
    Ok(())
}
