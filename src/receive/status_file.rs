//! The status file: replaced as a whole while something changes.
//!
//! Written by a thread of its own: a disk that does not answer keeps nobody else waiting. The
//! file is no record of anything, and is not synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::warn;

use super::Plan;
use super::status::{Observer, Status, Surroundings};
use super::watch::Link;
use crate::disk::{self, Disk, DiskError};
use crate::output::one_line;
use crate::service::Worker;

/// The thread that writes the file.
#[derive(Debug)]
pub(super) struct StatusWriter {
    stop: Sender<()>,
    worker: Worker,
}

impl StatusWriter {
    /// Starts it. It writes where the present plan wants it, if anywhere.
    pub(super) fn start(
        plans: watch::Receiver<Arc<Plan>>,
        link: Arc<Link>,
    ) -> std::io::Result<StatusWriter> {
        let (stop, stopped) = mpsc::channel();
        let worker = Worker::start("status", move || write_on(&plans, &link, &stopped))?;
        Ok(StatusWriter { stop, worker })
    }

    /// Has it say that the receiver has stopped, and waits for that, not for ever.
    pub(super) async fn finish(self) {
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(LAST, self.worker.ended()).await;
    }

    /// Leaves it alone, whatever it is at: its disk may never answer.
    pub(super) fn abandon(self) {
        self.worker.abandon();
    }
}

fn write_on(plans: &watch::Receiver<Arc<Plan>>, link: &Link, stopped: &Receiver<()>) {
    let plan = Arc::clone(&plans.borrow());
    let mut observer = Observer::new(plan.layout.server().to_string());
    let mut file = StatusFile::default();
    loop {
        let waited = stopped.recv_timeout(PERIOD);
        let plan = Arc::clone(&plans.borrow());
        let status = observer.look(&plan.meters.read(), Surroundings::of(&plan, link));
        let status = if waited.is_ok() { status.stopped() } else { status };
        if let Some(path) = &plan.status_file {
            file.show(plan.disk.as_ref(), path, status);
        }
        if waited != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// The file, as it was written last.
#[derive(Debug, Default)]
struct StatusFile {
    shown: Option<(Status, Instant)>,
    /// What went wrong is said once.
    said: Option<String>,
}

impl StatusFile {
    /// Writes the status if it is news, or the last one is old: whoever reads it is to see that
    /// somebody is there.
    fn show(&mut self, disk: &dyn Disk, path: &Path, status: Status) {
        let known = self.shown.as_ref();
        if known.is_some_and(|(shown, at)| *shown == status && at.elapsed() < PULSE) {
            return;
        }
        let text = status.text();
        self.shown = Some((status, Instant::now()));
        match replace(disk, path, text.as_bytes()) {
            Ok(()) => self.said = None,
            Err(error) => {
                let text = one_line(&error);
                if self.said.as_ref() != Some(&text) {
                    warn!(error = %text, "cannot write the status file; going on without");
                    self.said = Some(text);
                }
            }
        }
    }
}

/// Never half a file, and no wait for the disk: after a power cut nobody asks how it was.
fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    disk::create_afresh(disk, &temporary, MODE)?.write_all_at(bytes, 0)?;
    disk.rename(&temporary, path)
}

/// There is nothing secret in it, and whoever watches is rarely its owner.
const MODE: u32 = 0o644;
const PERIOD: Duration = Duration::from_secs(1);
const PULSE: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(1);
#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveSettings;
    use crate::conninfo::Purpose;
    use crate::disk::ModelDisk;
    use crate::receive::Acknowledgement;
    use crate::receive::Meters;
    use crate::repository::ServerLayout;

    #[test]
    fn the_file_is_replaced_as_a_whole_and_only_when_there_is_news() {
        let disk = ModelDisk::new(1);
        disk.put_directory(Path::new("/run"));
        let path = Path::new("/run/status.json");
        // A run before was killed in between.
        disk.create(Path::new("/run/status.json.tmp"), 0o600).expect("left over");
        let mut observer = Observer::new("main".to_owned());
        let mut file = StatusFile::default();
        let meters = Meters::default();
        let mut look = || observer.look(&meters.read(), Surroundings::default());
        let status = look();
        file.show(&disk, path, status.clone());
        let segments = || {
            let bytes = disk.bytes(path).expect("written");
            let text: serde_json::Value = serde_json::from_slice(&bytes).expect("a whole file");
            text["segments_completed"].as_u64()
        };
        assert_eq!(segments(), Some(0));
        let at = file.shown.as_ref().expect("shown").1;
        file.show(&disk, path, status);
        assert_eq!(file.shown.as_ref().expect("shown").1, at, "it was written without news");
        meters.count_segment();
        file.show(&disk, path, look());
        assert!(file.shown.as_ref().expect("shown").1 > at);
        assert_eq!(segments(), Some(1));
        assert_eq!(disk.stat(Path::new("/run/status.json.tmp")).expect("readable"), None);
        assert_eq!(file.said, None);
    }

    #[test]
    fn a_status_file_that_cannot_be_written_is_said_once_and_harms_nobody() {
        let disk = ModelDisk::new(1);
        let mut observer = Observer::new("main".to_owned());
        let mut file = StatusFile::default();
        let meters = Meters::default();
        file.show(
            &disk,
            Path::new("/nowhere/status.json"),
            observer.look(&meters.read(), Surroundings::default()),
        );
        assert!(file.said.is_some());
    }

    /// The writer of a status file that is never to be reached, and its disk.
    fn hanging() -> (StatusWriter, ModelDisk) {
        let disk = ModelDisk::new(1);
        disk.put_directory(Path::new("/run"));
        disk.hold("create");
        let plan = Plan {
            disk: Arc::new(disk.clone()),
            layout: ServerLayout::below(Path::new("/home"), "main".parse().expect("a name")),
            streaming: crate::net::resolve("host=/nowhere user=u", Purpose::Replication)
                .expect("options"),
            sql: None,
            application_name: String::new(),
            slot: None,
            create_slot: false,
            slot_wal_limit: None,
            archive: ArchiveSettings::default(),
            look_again: Plan::LOOK_AGAIN,
            meters: Arc::default(),
            status_file: Some("/run/status.json".into()),
            queue_bytes: 1 << 20,
            acknowledgement: Acknowledgement::Auto,
            connection: 0,
        };
        let (_plans, current) = watch::channel(Arc::new(plan));
        let writer = StatusWriter::start(current, Arc::new(Link::new())).expect("a thread");
        disk.wait_until_held();
        (writer, disk)
    }

    /// Whether it comes to its end although the disk does not answer.
    fn leaves(leave: impl FnOnce(StatusWriter) + Send + 'static) -> bool {
        let (writer, disk) = hanging();
        let (sender, left) = mpsc::channel();
        let leaving = std::thread::spawn(move || {
            leave(writer);
            let _ = sender.send(());
        });
        let left = left.recv_timeout(Duration::from_secs(30)).is_ok();
        disk.release();
        if left {
            leaving.join().expect("no panic");
        }
        left
    }

    #[test]
    fn a_receiver_leaves_although_the_disk_of_its_status_file_never_answers() {
        assert!(leaves(StatusWriter::abandon), "it waits when it is told to leave at once");
        let finish = |writer: StatusWriter| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.expect("a runtime").block_on(writer.finish());
        };
        assert!(leaves(finish), "it waits at an orderly end");
    }
}
