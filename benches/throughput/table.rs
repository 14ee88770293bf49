//! Runs, and what is said of several: the median, never the best.

use std::time::Duration;

/// What one drain of one contender took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// From the start to the end.
    pub wall: Duration,
    /// The client's processor time.
    pub client: Duration,
    /// The walsender's.
    pub server: Option<Duration>,
    /// The client's largest memory, in bytes.
    pub peak: Option<u64>,
    /// What the client wrote to the disk, in bytes.
    pub written: Option<u64>,
    /// What was left there as segments, in bytes.
    pub stored: Option<u64>,
    /// From the start to the first byte in a file.
    pub first: Option<Duration>,
}

/// All drains of one contender or limit.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is called.
    pub name: String,
    /// In the order in which they were made.
    pub runs: Vec<Run>,
    /// Nobody's result, but what results are held against.
    pub is_limit: bool,
}

/// Medians of a row.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Seconds.
    pub wall: Option<f64>,
    /// MB a second.
    pub rate: Option<f64>,
    /// The smallest rate.
    pub slowest: f64,
    /// The largest rate.
    pub fastest: f64,
    /// The client's processor seconds a GB.
    pub client: Option<f64>,
    /// The walsender's.
    pub server: Option<f64>,
    /// MiB.
    pub peak: Option<f64>,
    /// Bytes written for each byte of WAL.
    pub written: Option<f64>,
    /// Bytes kept for each byte of WAL.
    pub stored: Option<f64>,
    /// Milliseconds to the first byte in a file.
    pub first: Option<f64>,
}

impl Row {
    /// Of a contender.
    pub fn of(name: &str) -> Row {
        Row { name: name.to_owned(), runs: Vec::new(), is_limit: false }
    }

    /// Of something that contenders are held against.
    pub fn limit(name: &str) -> Row {
        Row { is_limit: true, ..Row::of(name) }
    }

    /// The median of what `of` says of each run, if it says something of all.
    fn median(&self, of: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        let values: Option<Vec<f64>> = self.runs.iter().map(of).collect();
        median(values?)
    }

    /// Medians, of drains of that many bytes.
    pub fn summary(&self, bytes: u64) -> Summary {
        let gigabytes = bytes as f64 / 1e9;
        let seconds = |run: &Run| run.wall.as_secs_f64();
        let rate = |run: &Run| bytes as f64 / 1e6 / seconds(run);
        let rates = self.runs.iter().map(rate);
        let per_byte = |value: Option<u64>| value.map(|value| value as f64 / bytes as f64);
        Summary {
            wall: self.median(|run| Some(seconds(run))),
            rate: self.median(|run| Some(rate(run))),
            slowest: rates.clone().fold(f64::INFINITY, f64::min),
            fastest: rates.fold(0.0, f64::max),
            client: self.median(|run| Some(run.client.as_secs_f64() / gigabytes)),
            server: self.median(|run| Some(run.server?.as_secs_f64() / gigabytes)),
            peak: self.median(|run| Some(run.peak? as f64 / f64::from(1 << 20))),
            written: self.median(|run| per_byte(run.written)),
            stored: self.median(|run| per_byte(run.stored)),
            first: self.median(|run| Some(run.first?.as_secs_f64() * 1e3)),
        }
    }
}

/// What one run of clients that commit came to.
#[derive(Clone, Copy, Debug)]
pub struct Commits {
    /// Transactions a second.
    pub tps: f64,
    /// Half of the transactions took no longer, in milliseconds.
    pub p50: f64,
    /// 99 of 100 transactions took no longer, in milliseconds.
    pub p99: f64,
    /// 999 of 1,000 transactions took no longer, in milliseconds.
    pub p999: f64,
    /// The longest, in milliseconds.
    pub longest: f64,
    /// The receiver's processor time in each second, where there is a receiver.
    pub client: Option<f64>,
    /// What the receiver wrote for each byte of WAL.
    pub written: Option<f64>,
    /// The receiver's largest memory, in MiB.
    pub peak: Option<f64>,
    /// WAL a second, in MB.
    pub wal: f64,
}

/// All runs of one contender or limit.
#[derive(Clone, Debug)]
pub struct CommitRow {
    /// What it is called.
    pub name: String,
    /// In the order in which they were made.
    pub runs: Vec<Commits>,
    /// Nobody's result, but what results are held against.
    pub is_limit: bool,
}

impl CommitRow {
    /// The median of each figure by itself.
    pub fn median(&self) -> Option<Commits> {
        let of = |figure: fn(&Commits) -> f64| median(self.runs.iter().map(figure).collect());
        let of_receiver = |figure: fn(&Commits) -> Option<f64>| {
            median(self.runs.iter().map(figure).collect::<Option<_>>()?)
        };
        Some(Commits {
            tps: of(|run| run.tps)?,
            p50: of(|run| run.p50)?,
            p99: of(|run| run.p99)?,
            p999: of(|run| run.p999)?,
            longest: of(|run| run.longest)?,
            client: of_receiver(|run| run.client),
            written: of_receiver(|run| run.written),
            peak: of_receiver(|run| run.peak),
            wal: of(|run| run.wal)?,
        })
    }
}

/// The middle one; of an even number the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Two contenders that ran in turn: the geometric mean ratio of their pairs of runs, and how sure
/// it is, as two standard errors in shares of the ratio. `None` without two whole pairs.
pub fn pairs(mine: &[f64], its: &[f64]) -> Option<(f64, f64)> {
    let count = mine.len() as f64;
    let logs: Vec<f64> = mine.iter().zip(its).map(|(mine, its)| (mine / its).ln()).collect();
    if mine.len() != its.len() || mine.len() < 2 || !logs.iter().all(|log| log.is_finite()) {
        return None;
    }
    let mean = logs.iter().sum::<f64>() / count;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some((mean.exp(), 2.0 * (variance / count).sqrt()))
}

/// Who runs in which order in that turn, as indices: rotated from turn to turn, and every second
/// time backwards. In twice as many turns as there are contenders each stands in each place twice,
/// and before each other one as often as behind it: places in a turn need not be equal.
pub fn order(turn: usize, contenders: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contenders).collect();
    order.rotate_left(turn / 2 % contenders.max(1));
    if turn % 2 == 1 {
        order.reverse();
    }
    order
}
