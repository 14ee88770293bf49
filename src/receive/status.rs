//! How a receiver is, for whoever looks from outside: as JSON for the status file, and as one
//! line for a service manager.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::histogram::Percentiles;
use super::lag::LagClock;
use super::meters::{CommitSeen, Readings};
use super::watch::{Link, SlotState};
use super::{Meters, Plan};
use crate::output;
use crate::service;

/// The version of the form below: fields may be added to it, none is removed or changes its
/// meaning.
const FORMAT: u32 = 1;

/// All that is said. Times are RFC 3339, positions as PostgreSQL prints them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Status {
    format: u32,
    server: String,
    pid: u32,
    /// Since when this process runs.
    since: Time,
    /// When this was written.
    written_at: Option<Time>,
    state: State,
    timeline: Option<u32>,
    /// Since when the present stream runs.
    streaming_since: Option<Time>,
    /// Streams so far: connections and timelines.
    streams: u64,
    synchronous: bool,
    positions: Positions,
    lag: Lag,
    flush_latency: Latency,
    flush_latency_since_start: Latency,
    queue: Queue,
    segments_completed: u64,
    last_commit: Option<Commit>,
    last_durable_commit: Option<Commit>,
    disk_full_since: Option<Time>,
    /// How long the disk has been at one piece of work, where that is remarkable.
    disk_busy_seconds: Option<u64>,
    slot: Option<Slot>,
    last_error: Option<Error>,
}

/// What the receiver is at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// No stream yet, or none any more.
    Connecting,
    /// WAL comes.
    Streaming,
    /// It would, but there is no room for it.
    DiskFull,
    /// The process has ended in good order.
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Positions {
    server: String,
    received: String,
    written: String,
    flushed: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Lag {
    /// From what is durable here to where the server stands.
    bytes: u64,
    /// How long ago the server had written the first byte of that.
    seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Latency {
    window_seconds: Option<u64>,
    count: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    max_us: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Queue {
    bytes: u64,
    limit_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Commit {
    lsn: String,
    time: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Slot {
    name: Option<String>,
    restart_lsn: Option<String>,
    wal_status: Option<String>,
    kept_bytes: u64,
    growth_bytes_per_second: Option<i64>,
    /// Until the slot is lost, or given up.
    left_bytes: Option<u64>,
    left_seconds: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Error {
    text: String,
    time: Time,
}

/// A moment, as RFC 3339 has it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// What changes slowly, or is known to others than the meters.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    slot_name: Option<String>,
    slot: Option<SlotState>,
    synchronous: bool,
    last_error: Option<(String, Timestamp)>,
}

impl Surroundings {
    pub(super) fn of(plan: &Plan, link: &Link) -> Surroundings {
        Surroundings {
            slot_name: plan.slot.as_ref().map(ToString::to_string),
            slot: link.slot(),
            synchronous: link.synchronous.get(),
            last_error: link.last_error(),
        }
    }
}

/// Makes one status after the other.
#[derive(Debug)]
pub(super) struct Observer {
    server: String,
    born: Instant,
    since: Timestamp,
    lag: LagClock,
    /// The stream that was seen last, and since when.
    stream: Option<(u64, Timestamp)>,
}

impl Observer {
    pub(super) fn new(server: String) -> Observer {
        let (born, since) = (Instant::now(), service::now());
        Observer { server, born, since, lag: LagClock::default(), stream: None }
    }

    /// How the receiver is now.
    pub(super) fn look(&mut self, readings: &Readings, around: Surroundings) -> Status {
        let (server, progress) = (readings.server, readings.progress);
        let lag = self.lag.handle(self.born.elapsed(), server, progress.flushed);
        match self.stream {
            _ if !readings.streaming => self.stream = None,
            Some((number, _)) if number == readings.streams => {}
            _ => self.stream = Some((readings.streams, service::now())),
        }
        Status {
            format: FORMAT,
            server: self.server.clone(),
            pid: std::process::id(),
            since: Time(self.since),
            written_at: None,
            state: match readings {
                Readings { full_since: Some(_), .. } => State::DiskFull,
                Readings { streaming: true, .. } => State::Streaming,
                _ => State::Connecting,
            },
            timeline: readings.timeline.map(|timeline| timeline.id()),
            streaming_since: self.stream.map(|(_, since)| Time(since)),
            streams: readings.streams,
            synchronous: around.synchronous,
            positions: Positions {
                server: server.to_string(),
                received: readings.received.to_string(),
                written: progress.written.to_string(),
                flushed: progress.flushed.to_string(),
            },
            lag: Lag { bytes: server.0.saturating_sub(progress.flushed.0), seconds: lag.as_secs() },
            flush_latency: latency(readings.flushes, Some(Meters::WINDOW)),
            flush_latency_since_start: latency(readings.all_flushes, None),
            queue: Queue { bytes: readings.queue, limit_bytes: readings.queue_limit },
            segments_completed: readings.segments,
            last_commit: readings.last_commit.map(commit),
            last_durable_commit: readings.durable_commit.map(commit),
            disk_full_since: readings.full_since.map(Time),
            disk_busy_seconds: (readings.busy >= BUSY).then_some(readings.busy.as_secs()),
            slot: around.slot.map(|state| slot(around.slot_name, state)),
            last_error: around.last_error.map(|(text, time)| Error { text, time: Time(time) }),
        }
    }
}

impl Status {
    /// The same, of a receiver that has ended in good order.
    pub(super) fn stopped(self) -> Status {
        Status { state: State::Stopped, ..self }
    }

    /// The text of the status file.
    pub(super) fn text(&self) -> String {
        let written = Status { written_at: Some(Time(service::now())), ..self.clone() };
        serde_json::to_string_pretty(&written).unwrap_or_default() + "\n"
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let timeline = self.timeline.unwrap_or(1);
        let position = &self.positions.flushed;
        let behind = output::size(self.lag.bytes);
        match self.state {
            State::Streaming if self.disk_busy_seconds.is_some() => format!(
                "the disk has not answered for {} s; durable up to {position}, {behind} behind",
                self.disk_busy_seconds.unwrap_or_default()
            ),
            State::Streaming => {
                format!("streaming timeline {timeline}; durable up to {position}, {behind} behind")
            }
            State::DiskFull => {
                format!("waiting: the disk is full; durable up to {position}, {behind} behind")
            }
            State::Connecting => match &self.last_error {
                Some(error) => format!("connecting; last: {}", error.text),
                None => "connecting".to_owned(),
            },
            State::Stopped => format!("stopped; durable up to {position}"),
        }
    }
}

fn latency(flushes: Percentiles, window: Option<Duration>) -> Latency {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Latency {
        window_seconds: window.map(|window| window.as_secs()),
        count: flushes.count,
        p50_us: micros(flushes.p50),
        p90_us: micros(flushes.p90),
        p99_us: micros(flushes.p99),
        max_us: micros(flushes.max),
    }
}

fn commit(commit: CommitSeen) -> Commit {
    Commit { lsn: commit.end.to_string(), time: commit.time.to_timestamp().map(Time) }
}

fn slot(name: Option<String>, state: SlotState) -> Slot {
    let SlotState { row, forecast } = state;
    Slot {
        name,
        restart_lsn: row.restart_lsn.map(|lsn| lsn.to_string()),
        wal_status: row.wal_status,
        kept_bytes: forecast.kept,
        growth_bytes_per_second: forecast.growth.map(|growth| growth as i64),
        left_bytes: forecast.bound.map(|(_, left)| left),
        left_seconds: forecast.left.map(|left| left.as_secs()),
    }
}

/// A disk at work for less is an ordinary disk.
const BUSY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::Progress;
    use crate::wal::{Lsn, PgTimestamp, Timeline};

    fn meters() -> Meters {
        let meters = Meters::default();
        meters.begin_stream(Timeline::FIRST, Lsn(0x1000));
        meters.confirm_stream();
        let progress = Progress { written: Lsn(0x3000), flushed: Lsn(0x2000) };
        meters.commit_seen(Lsn(0x1500), PgTimestamp(0));
        meters.set_positions(Lsn(0x3000), Lsn(0x4000), progress);
        meters
    }

    #[test]
    fn the_file_says_positions_lag_and_the_last_durable_commit() {
        let mut observer = Observer::new("main".to_owned());
        let status = observer.look(&meters().read(), Surroundings::default());
        let json = serde_json::to_value(&status).expect("JSON");
        assert_eq!(json["format"], 1);
        assert_eq!(json["state"], "streaming");
        assert_eq!(json["positions"]["flushed"], "0/2000");
        assert_eq!(json["lag"]["bytes"], 0x2000);
        assert_eq!(json["last_durable_commit"]["time"], "2000-01-01T00:00:00Z");
        assert_eq!(status.line(), "streaming timeline 1; durable up to 0/2000, 8.0 KiB behind");
    }

    #[test]
    fn a_full_disk_and_one_that_does_not_answer_are_said() {
        let mut observer = Observer::new("main".to_owned());
        let meters = meters();
        let mut readings = meters.read();
        readings.busy = Duration::from_secs(7);
        let status = observer.look(&readings, Surroundings::default());
        assert!(status.line().contains("not answered for 7 s"), "{}", status.line());
        meters.set_full(true);
        let status = observer.look(&meters.read(), Surroundings::default());
        assert_eq!(status.state, State::DiskFull);
        assert!(status.disk_full_since.is_some());
        meters.set_full(false);
        let status = observer.look(&meters.read(), Surroundings::default());
        assert_eq!(status.disk_full_since, None);
    }
}
