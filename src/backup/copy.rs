//! The copy itself: reader, writer and WAL side by side, and the verdict.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::error::BackupError;
use super::form::Form;
use super::member::Members;
use super::pace::Pace;
use super::parent::Parent;
use super::queue::{WriterEnd, queue};
use super::reader::{self, Event, Manner, Position, Span};
use super::run::{Backup, ClusterSize, Milestone, Tell};
use super::session::{self, Session};
use super::wal::OwnWal;
use super::writer::{Stored, Writer};
use super::{damage, limits, verdict};
use super::{places, record::Record};
use crate::manifest::Algorithm;
use crate::output::Progress;
use crate::repository::{BackupExtra, BackupInfo, KnownLimits};
use crate::service::{Shutdown, Urgency};
use crate::wal::SegmentName;
use crate::wire::{BaseBackupOptions, ManifestChecksum, ManifestOption, SqlState, WireError};

/// The thread that stores a backup.
#[derive(Debug)]
pub(super) struct WriterThread {
    end: WriterEnd,
    thread: JoinHandle<Result<Stored, BackupError>>,
}

/// Waits for the end of the writer in `slot`, which comes when the queue is closed. Not a
/// blocking join: signals are still to be heard while the disk takes its time. The writer is
/// taken only then: who drops this wait leaves it to be found by the next one.
pub(super) async fn join(slot: &mut Option<WriterThread>) -> Result<Stored, BackupError> {
    if let Some(writer) = slot {
        writer.end.wait().await;
    }
    match slot.take() {
        Some(writer) => {
            writer.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }
        None => Err(BackupError::Interrupted),
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
        let expected = match self.plan.size {
            ClusterSize::Known(bytes) => Some(bytes),
            _ => session.sql.cluster_size,
        };
        // How much has changed, nobody knows beforehand.
        if let Some(bytes) = expected.filter(|_| self.parent.is_none()) {
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
        let stored = join(&mut self.writer).await?;
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
        let (sender, mut receiver, end) = queue();
        let disk = Arc::clone(&self.plan.disk);
        // Without a manifest there is nothing to compare with.
        let algorithm = if manifest_due { self.plan.checksums } else { Algorithm::None };
        let members = Members::new(algorithm, session.page_checker()?);
        let writer = Writer::new(disk, self.data.clone(), self.plan.form, members);
        let thread = std::thread::Builder::new()
            .name("backup-writer".to_owned())
            .spawn(move || writer.run(&mut receiver))
            .map_err(BackupError::Thread)?;
        self.writer = Some(WriterThread { end, thread });
        let options = self.options(manifest_due);
        if let Some(parent) = &self.parent {
            self.progress.phase("sending the parent's manifest");
            parent.upload(self.plan.disk.as_ref(), &mut session.walsender).await?;
            self.progress.phase("waiting for checkpoint");
        }
        let stream = session.walsender.base_backup(&options).await?;
        let tablespaces = self.record.info.tablespaces.clone().unwrap_or_default();
        let (progress, record, damage) = (self.progress, &mut self.record, &mut self.damage);
        let mut observe = |event: Event<'_>| match event {
            Event::Damaged(error) => {
                *damage = Some(error);
                Ok(())
            }
            event => notice(event, progress, record, started, tell),
        };
        let manner = Manner {
            silence: self.plan.silence,
            pace: Pace::new(&self.plan.limits, &tablespaces, tokio::time::Instant::now()),
            as_it_comes: self.plan.form == Form::Archives(None),
            limits: self.parent.as_ref().map(|parent| limits::Question {
                plan: self.plan,
                parent,
                system: session.facts.system_identifier,
            }),
        };
        let walsender = &mut session.walsender;
        let copied = reader::copy(walsender, stream, sender, manner, progress, &mut observe).await;
        let copied = copied.map_err(|error| not_continued(error, self.parent.as_ref()))?;
        match copied {
            Some(span) => Ok(span),
            // The writer ended first, and has the reason.
            None => Err(join(&mut self.writer).await.err().unwrap_or(BackupError::Interrupted)),
        }
    }

    fn options(&self, manifest_due: bool) -> BaseBackupOptions {
        let info = &self.record.info;
        BaseBackupOptions {
            label: self
                .plan
                .label
                .clone()
                .unwrap_or_else(|| format!("Tapster backup {} {}", info.server_name, info.id)),
            checkpoint: self.plan.checkpoint,
            // The server's own archiving is not ours to wait for: we look after the WAL.
            wait: false,
            max_rate_kib: self.plan.max_rate_kib,
            // Without it, links in pg_tblspc are sent, and a long target fails the backup. But a
            // server that starts in a directory with a map puts its links to where they led.
            tablespace_map: !self.plan.form.is_directory(),
            compression: self.plan.form.compression(),
            verify_checksums: true,
            manifest: if manifest_due { ManifestOption::Yes } else { ManifestOption::No },
            incremental: self.parent.is_some(),
            manifest_checksums: manifest_due.then(|| asked(self.plan.checksums)),
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
        if let Some(parent) = &self.parent {
            parent.check_label(&verdict.label)?;
        }
        let said = self.damage.take().map(WireError::Refused);
        let said = said.map(|error| session.walsender.command_error("BASE_BACKUP", error));
        let rules = damage::Rules {
            version: session.facts.version,
            allowed: self.plan.allow_damaged_pages,
            verified: manifest_due,
        };
        let (disk, layout, id) = (self.plan.disk.as_ref(), &self.plan.layout, self.record.info.id);
        let damage = damage::judge(stored, &verdict, said, &rules)?;
        let mut extra = BackupExtra::new(&stored.plain_lengths, damage.clone());
        extra.limit_blocks = self.limits(stored)?;
        extra.write(disk, layout, id)?;
        if let Some(KnownLimits::Unknown(why)) = extra.limit_blocks {
            tell(Milestone::LimitsUnknown(why));
        }
        if let Some(damage) = damage {
            tell(Milestone::Damaged(damage));
        }
        tell(Milestone::Copied { took, verified: manifest_due });
        places::publish(disk, &self.data, &stored.parts)?;
        if let Some(parent) = &self.parent {
            parent.adopt(disk, layout, id)?;
        }
        let passed = || stored.members.files.iter().map(|file| file.size).sum();
        if self.parent.is_none() {
            self.record.info.cluster_size.get_or_insert_with(passed);
        }
        let size = stored.parts.iter().map(|part| part.length).sum();
        self.record.info.size = Some(size);
        self.record.info.deduplicated_size = Some(size);
        let ended = session::end_time(self.plan, session.begin_time, took).await;
        self.record.copied(span, verdict, took, ended)?;
        Ok(span)
    }

    /// Where files were cut off since the parent, to be put on record.
    fn limits(&self, stored: &Stored) -> Result<Option<KnownLimits>, BackupError> {
        let limits = stored.members.limits.as_ref();
        let Some((parent, limits)) = self.parent.as_ref().zip(limits) else { return Ok(None) };
        if let Some(lost) = limits.lost() {
            return Err(BackupError::LeftOut { id: parent.info.id, lost: lost.clone() });
        }
        Ok(Some(match limits.files() {
            Ok(files) => KnownLimits::Files(files.clone()),
            Err(why) => KnownLimits::Unknown(why.to_owned()),
        }))
    }
}

/// The word of the command for an algorithm.
fn asked(algorithm: Algorithm) -> ManifestChecksum {
    match algorithm {
        Algorithm::None => ManifestChecksum::None,
        Algorithm::Crc32c => ManifestChecksum::Crc32c,
        Algorithm::Sha224 => ManifestChecksum::Sha224,
        Algorithm::Sha256 => ManifestChecksum::Sha256,
        Algorithm::Sha384 => ManifestChecksum::Sha384,
        Algorithm::Sha512 => ManifestChecksum::Sha512,
    }
}

/// What a server says that has all it needs but the parent's WAL summaries.
fn not_continued(error: BackupError, parent: Option<&Parent>) -> BackupError {
    match (error, parent) {
        (BackupError::Net(error), Some(parent))
            if error.server_error().is_some_and(|said| said.code == SqlState::PREREQUISITE) =>
        {
            BackupError::NotContinued { id: parent.info.id, source: Box::new(error) }
        }
        (error, _) => error,
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

/// The tablespace of an archive, by its name, or by its number where that is all there is.
fn tablespace_of(archive: &str, info: &BackupInfo) -> Option<String> {
    let number = archive.split('.').next().unwrap_or_default();
    let oid: u32 = number.parse().ok()?;
    let known = info.tablespaces.iter().flatten().find(|tablespace| tablespace.oid == oid);
    Some(known.map_or(number, |tablespace| &tablespace.name).to_owned())
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
        Event::Archive(name) => {
            let tablespace = tablespace_of(name, &record.info);
            progress.tablespace(tablespace.as_deref());
            progress.phase(&match tablespace {
                Some(tablespace) => format!("copying tablespace {tablespace}"),
                None => "copying the data directory".to_owned(),
            });
        }
        Event::Manifest => {
            progress.tablespace(None);
            progress.phase("receiving manifest");
        }
        Event::End => progress.phase("waiting for the server's verdict"),
        // Weighed when all else is known.
        Event::Damaged(_) => {}
        Event::Notice(notice) => tracing::warn!("server says: {notice}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_interruption_during_the_last_syncs_leaves_the_writer_to_be_waited_for() {
        let (sender, receiver, end) = queue();
        let (synced, last_sync) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _receiver = receiver;
            let _ = last_sync.recv();
            Err(BackupError::Interrupted)
        });
        let mut slot = Some(WriterThread { end, thread });
        drop(sender);
        tokio::select! {
            biased;
            _ = join(&mut slot) => panic!("the disk is not done yet"),
            () = std::future::ready(()) => {}
        }
        assert!(slot.is_some(), "nobody can wait for the writer any more");
        synced.send(()).expect("the writer runs");
        let ended = join(&mut slot).await;
        assert!(matches!(ended, Err(BackupError::Interrupted)), "{ended:?}");
        assert!(slot.is_none());
    }
}
