//! A position that was reported as flushed is a promise: the server may remove the WAL before
//! it, and a commit that waited for it has returned to its client.
//!
//! The stock receiver once reported what a failed sync had left in the page cache; others gave
//! a segment its final name before its bytes were on the disk, and a crash left 16 MiB of zeros
//! under a name that restore trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;
use tapster::disk::{DiskError, ModelDisk};
use tapster::receive::history::HistoryPlaces;
use tapster::receive::start::{Decision, Facts, ServerEnd};
use tapster::receive::stored::Places;
use tapster::receive::{Preparation, ReceiveError, Synchronous, Target, WhenFull, Writer};
use tapster::wal::{Lsn, SegmentName, Timeline, WalFileName};

use super::log::{Log, SYSTEM};

pub const STREAMING: &str = "/repository/main/streaming";
const WALS: &str = "/repository/main/wals";
const KIB: u64 = 1 << 10;

/// What the server was told: the highest flushed position on each timeline.
#[derive(Clone, Debug, Default)]
pub struct Promises(Vec<(u32, Lsn)>);

impl Promises {
    /// The highest position that was reported at all.
    pub fn highest(&self) -> Lsn {
        self.0.iter().map(|(_, flushed)| *flushed).max().unwrap_or(Lsn::INVALID)
    }

    fn add(&mut self, timeline: u32, flushed: Lsn) {
        match self.0.iter_mut().find(|(known, _)| *known == timeline) {
            Some((_, known)) => *known = flushed.max(*known),
            None => self.0.push((timeline, flushed)),
        }
    }
}

pub struct Receiver<'a> {
    pub log: &'a Log,
    pub disk: &'a ModelDisk,
    pub synchronous: bool,
}

impl Receiver<'_> {
    /// One life of a receiver: from where the files end to the end of the newest timeline.
    pub fn live(&self, promises: &mut Promises) -> Result<(), ReceiveError> {
        let (mut timeline, mut position) = self.start()?;
        loop {
            let end = self.log.end(timeline);
            self.receive(timeline, position, end, promises)?;
            if timeline == self.log.newest() {
                return Ok(());
            }
            timeline += 1;
            self.store_history(timeline)?;
            position = end.segment_start(self.log.size);
        }
    }

    /// As `receive-wal` decides it, with a server that has everything.
    pub fn start(&self) -> Result<(u32, Lsn), ReceiveError> {
        let newest = self.log.newest();
        let history = self.log.history(newest);
        if newest > 1 {
            self.store_history(newest)?;
        }
        let places = Places {
            disk: self.disk,
            streaming: Path::new(STREAMING),
            wals: Path::new(WALS),
            segment_size: self.log.size,
        };
        let (local, system) = places.end()?;
        let Some(local) = local else { return Ok((1, self.log.start)) };
        let facts = Facts {
            segment_size: self.log.size,
            repository_system: system,
            local: Some(local),
            local_histories: &[],
            server: ServerEnd {
                system: SYSTEM,
                timeline: Timeline::new(newest).expect("not 0"),
                flushed: self.log.end(newest),
            },
            history: &history,
            slot: None,
        };
        match facts.decide()? {
            Decision::Stream { timeline, position, .. } => Ok((timeline.id(), position)),
            wait @ Decision::Wait { .. } => panic!("the files are ahead of the server: {wait:?}"),
        }
    }

    pub fn receive(
        &self,
        timeline: u32,
        position: Lsn,
        end: Lsn,
        promises: &mut Promises,
    ) -> Result<(), DiskError> {
        let target = Target {
            disk: Arc::new(self.disk.clone()),
            directory: PathBuf::from(STREAMING),
            segment_size: self.log.size,
            synchronous: Synchronous::new(self.synchronous),
            preparation: Preparation::InTurn,
            completed: None,
            direct: true,
            when_full: WhenFull::Fail,
            queue_bytes: Target::QUEUE_BYTES,
            inspection: None,
            meters: Arc::default(),
        };
        let id = Timeline::new(timeline).expect("not 0");
        let mut writer = Writer::open(target, id, position)?;
        promises.add(timeline, writer.progress().flushed);
        let mut at = position;
        let mut batch = 0;
        while at < end {
            // Lengths without a common divisor, so that pieces are cut by segments in all ways.
            for length in [131_072, 56, 77_777] {
                let to = Lsn(end.0.min(at.0 + length));
                if at < to {
                    let bytes = Bytes::copy_from_slice(self.log.bytes(timeline, at, to));
                    writer.push(at, bytes);
                }
                at = to;
            }
            let result = writer.write_batch();
            promises.add(timeline, writer.progress().flushed);
            result?;
            batch += 1;
            if batch % 3 == 0 {
                writer.flush()?;
                promises.add(timeline, writer.progress().flushed);
            }
        }
        writer.flush()?;
        promises.add(timeline, writer.progress().flushed);
        Ok(())
    }

    fn store_history(&self, timeline: u32) -> Result<(), ReceiveError> {
        let (streaming, wals) = (Path::new(STREAMING), Path::new(WALS));
        let id = Timeline::new(timeline).expect("not 0");
        let content = self.log.history_text(timeline);
        HistoryPlaces { disk: self.disk, streaming, wals }.store(id, content.as_bytes())
    }
}

/// What stands under either name of a segment.
fn stored(disk: &ModelDisk, name: SegmentName) -> Option<Vec<u8>> {
    let directory = Path::new(STREAMING);
    disk.bytes(&directory.join(name.to_string()))
        .or_else(|| disk.bytes(&directory.join(WalFileName::Partial(name).to_string())))
}

fn check_promises(log: &Log, disk: &ModelDisk, promises: &Promises, what: &str) {
    for (timeline, flushed) in &promises.0 {
        let id = Timeline::new(*timeline).expect("not 0");
        let ancestors = log.switchpoints.iter().rfind(|(known, _)| known < timeline);
        let first = ancestors.map_or(log.start, |(_, at)| at.segment_start(log.size));
        let mut at = first;
        while at < *flushed {
            let name = SegmentName::containing(id, at, log.size);
            let end = at.segment(log.size).end(log.size).min(*flushed);
            let bytes = stored(disk, name).unwrap_or_else(|| panic!("{what}: {name} is gone"));
            let kept = bytes.get(..(end - at) as usize);
            assert!(
                kept == Some(log.bytes(*timeline, at, end)),
                "{what}: {name} lost bytes before {flushed}, which was reported as flushed"
            );
            at = end;
        }
    }
}

fn check_final_names(log: &Log, disk: &ModelDisk, what: &str) {
    for path in disk.files() {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Ok(WalFileName::Segment(name)) = name.parse() else { continue };
        let number = name.number(log.size).expect("a segment of this size");
        let (start, end) = (number.start(log.size), number.end(log.size));
        let expected = log.bytes(name.timeline().id(), start, end);
        assert!(disk.bytes(&path).as_deref() == Some(expected), "{what}: {name} is not whole");
    }
}

fn check_histories(log: &Log, disk: &ModelDisk, what: &str) {
    for timeline in 2..=log.newest() {
        let has_segments = disk.files().iter().any(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&format!("{timeline:08X}0"))
        });
        let history = disk.bytes(&Path::new(STREAMING).join(format!("{timeline:08X}.history")));
        if has_segments {
            let expected = log.history_text(timeline);
            assert!(
                history.as_deref() == Some(expected.as_bytes()),
                "{what}: timeline {timeline} has segments and no history"
            );
        }
    }
}

pub fn check(log: &Log, disk: &ModelDisk, promises: &Promises, what: &str) {
    check_promises(log, disk, promises, what);
    check_final_names(log, disk, what);
    check_histories(log, disk, what);
}

pub fn fresh(seed: u64) -> ModelDisk {
    let disk = ModelDisk::new(seed);
    disk.put_directory(Path::new(STREAMING));
    disk.put_directory(Path::new(WALS));
    disk
}

/// Two segments and a half, a switch of the timeline in mid-segment, a segment and a half.
pub fn log() -> Log {
    Log::new(&[2500 * KIB, 3900 * KIB])
}

fn calls_of_a_life(log: &Log, synchronous: bool) -> (u64, Vec<String>) {
    let disk = fresh(0);
    let mut promises = Promises::default();
    Receiver { log, disk: &disk, synchronous }.live(&mut promises).expect("no fault");
    check(log, &disk, &promises, "without a fault");
    assert_eq!(promises.0.last(), Some(&(log.newest(), log.end(log.newest()))));
    (disk.calls(), disk.history())
}

/// The next life has to reach the end and to keep the promises of the one before.
fn check_next_life(
    log: &Log,
    disk: &ModelDisk,
    synchronous: bool,
    mut promises: Promises,
    what: &str,
) {
    let mut next = Receiver { log, disk, synchronous };
    next.live(&mut promises).unwrap_or_else(|error| panic!("{what}: no next life: {error}"));
    check(log, disk, &promises, &format!("{what}, in the next life"));
    let survived = disk.after_power_loss(99);
    check(log, &survived, &promises, &format!("{what}, after the next life"));
    next.disk = &survived;
    next.start().unwrap_or_else(|error| panic!("{what}: no third life: {error}"));
}

/// Two lives a call: the one that loses power has had its effect in one of them, perhaps. What
/// then stands on the medium is drawn sixteen times for each.
const LIVES: u64 = 2;
const SURVIVORS: u64 = 16;

fn power_cut_at_every_call(synchronous: bool) {
    let log = log();
    let (calls, history) = calls_of_a_life(&log, synchronous);
    for at in 0..calls {
        for life in 0..LIVES {
            let what = format!("power cut at {at} ({}), life {life}", history[at as usize]);
            let disk = fresh(at * LIVES + life);
            disk.power_loss_at_call(at);
            let mut promises = Promises::default();
            // An error that nobody needs to hear: the removal of a spare at the end.
            let _ = Receiver { log: &log, disk: &disk, synchronous }.live(&mut promises);
            for seed in 0..SURVIVORS {
                let survived = disk.after_power_loss(at * 1000 + life * SURVIVORS + seed);
                check(&log, &survived, &promises, &format!("{what}, seed {seed}"));
                if (life, seed) == (at % LIVES, 0) {
                    check_next_life(&log, &survived, synchronous, promises.clone(), &what);
                }
            }
        }
    }
}

#[test]
fn flushed_wal_survives_a_power_cut_at_any_call() {
    power_cut_at_every_call(false);
}

#[test]
fn flushed_wal_of_a_synchronous_standby_survives_a_power_cut_at_any_call() {
    power_cut_at_every_call(true);
}

#[test]
fn flushed_wal_survives_an_error_at_any_call_and_nothing_else_is_promised() {
    error_at_every_call(false);
}

#[test]
fn flushed_wal_of_a_synchronous_standby_survives_an_error_at_any_call() {
    error_at_every_call(true);
}

fn error_at_every_call(synchronous: bool) {
    let log = log();
    let (calls, history) = calls_of_a_life(&log, synchronous);
    for at in 0..calls {
        for error in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            let what = format!("{error:?} at {at} ({})", history[at as usize]);
            let disk = fresh(at);
            disk.fail_call(at, error);
            let mut promises = Promises::default();
            let receiver = Receiver { log: &log, disk: &disk, synchronous };
            // Some errors are no harm: a hint that goes unheard, a spare that is made later.
            let _ = receiver.live(&mut promises);
            check(&log, &disk.after_power_loss(at), &promises, &what);
            // The process goes on, or another one follows, with the page cache as it is: what a
            // failed sync left in it is not on the disk.
            check_next_life(&log, &disk.after_kill(at), synchronous, promises, &what);
        }
    }
}

#[test]
fn a_second_power_cut_during_recovery_from_the_first_loses_nothing_either() {
    second_power_cut(false);
    second_power_cut(true);
}

fn second_power_cut(synchronous: bool) {
    let log = log();
    let (calls, _) = calls_of_a_life(&log, synchronous);
    for first in (0..calls).step_by(5) {
        let disk = fresh(first);
        disk.power_loss_at_call(first);
        let mut promises = Promises::default();
        let _ = Receiver { log: &log, disk: &disk, synchronous }.live(&mut promises);
        // The calls of a start and of the first writes.
        for second in 0..12 {
            let survived = disk.after_power_loss(first);
            survived.power_loss_at_call(second);
            let mut promises = promises.clone();
            let receiver = Receiver { log: &log, disk: &survived, synchronous };
            let _ = receiver.live(&mut promises);
            let what = format!("power cuts at {first} and then at {second}");
            check(&log, &survived.after_power_loss(second), &promises, &what);
        }
    }
}

#[test]
fn a_switch_exactly_on_a_segment_boundary_is_followed_across_power_cuts() {
    let mut log = Log::new(&[2048 * KIB, 3000 * KIB]);
    // The last record of the first timeline ends in the next segment: the branch is cut where
    // that segment begins, as after an archive-fed standby's promotion.
    let boundary = log.start + 2048 * KIB;
    log.cut(1, boundary);
    let (calls, history) = calls_of_a_life(&log, false);
    for at in (0..calls).step_by(2) {
        let what = format!("power cut at {at} ({})", history[at as usize]);
        let disk = fresh(at);
        disk.power_loss_at_call(at);
        let mut promises = Promises::default();
        let _ = Receiver { log: &log, disk: &disk, synchronous: false }.live(&mut promises);
        let survived = disk.after_power_loss(at);
        check(&log, &survived, &promises, &what);
        check_next_life(&log, &survived, false, promises, &what);
    }
}
