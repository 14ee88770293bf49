//! How fast an archive may come, where the server cannot be told: it knows one rate for all.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::error::BackupError;
use crate::config::{ServerConfig, Value};
use crate::repository::backup_info::Tablespace;

/// Limits of our own, in bytes a second.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Of what has no limit of its own.
    pub others: Option<u64>,
    /// By the name of the tablespace; `pg_default` is the data directory.
    pub tablespaces: BTreeMap<String, u64>,
}

/// What servers take as MAX_RATE, in KiB a second. Source: manual, BASE_BACKUP.
const SERVERS_RATES: std::ops::RangeInclusive<u64> = 32..=1 << 20;

impl Limits {
    /// The rate that the server is asked to keep, in KiB a second, and what is left to us:
    /// everything, where tablespaces have limits of their own or the rate is none that servers
    /// take. `typed` is in KiB a second too; 0 means no limit.
    ///
    /// # Errors
    /// `tablespace_bandwidth_limit` cannot be understood.
    pub fn choose(
        server: &ServerConfig,
        typed: Option<u32>,
    ) -> Result<(Option<u32>, Limits), BackupError> {
        let configured = server.bandwidth_limit.map(|bytes| bytes / 1024);
        let rate = typed.map(u64::from).or(configured).filter(|rate| *rate > 0);
        let tablespaces = tablespace_limits(server)?;
        if tablespaces.is_empty() && rate.is_none_or(|rate| SERVERS_RATES.contains(&rate)) {
            return Ok((rate.and_then(|rate| u32::try_from(rate).ok()), Limits::default()));
        }
        let others = rate.map(|rate| rate.saturating_mul(1024));
        Ok((None, Limits { others, tablespaces }))
    }
}

/// `name:kB/s` pairs between blanks; the last colon counts, names may have others.
fn tablespace_limits(server: &ServerConfig) -> Result<BTreeMap<String, u64>, BackupError> {
    const OPTION: &str = "tablespace_bandwidth_limit";
    let Some(Value::Text(text)) = server.settings.get(OPTION) else { return Ok(BTreeMap::new()) };
    let pair = |word: &str| {
        let (name, rate) = word.rsplit_once(':')?;
        let rate = match rate.parse::<u64>().ok()? {
            0 => u64::MAX,
            rate => rate.saturating_mul(1024),
        };
        (!name.is_empty()).then(|| (name.to_owned(), rate))
    };
    let pairs = text.split_whitespace().map(pair).collect::<Option<BTreeMap<_, _>>>();
    pairs.ok_or_else(|| BackupError::Option {
        option: OPTION,
        value: text.clone(),
        expected: "name:kB/s pairs, with blanks between them",
    })
}

/// The archive that comes now, and how much of it has come.
#[derive(Debug)]
pub(super) struct Pace {
    /// By OID; `None` is the data directory.
    rates: BTreeMap<Option<u32>, u64>,
    others: Option<u64>,
    rate: Option<u64>,
    since: Instant,
    bytes: u64,
}

/// Tablespaces of the data directory have no archive of their own.
const DATA_DIRECTORY: &str = "pg_default";
/// A stall is made up for by no more than this.
const BURST: Duration = Duration::from_secs(1);

impl Pace {
    /// For a cluster with these tablespaces. Without limits nothing ever waits.
    pub(super) fn new(limits: &Limits, tablespaces: &[Tablespace], now: Instant) -> Pace {
        let mut rates = BTreeMap::new();
        for (name, &rate) in &limits.tablespaces {
            let known = tablespaces.iter().find(|tablespace| tablespace.name == *name);
            if let Some(tablespace) = known {
                rates.insert(Some(tablespace.oid), rate);
            } else if name == DATA_DIRECTORY {
                rates.insert(None, rate);
            }
        }
        Pace { rates, others: limits.others, rate: None, since: now, bytes: 0 }
    }

    /// An archive begins.
    pub(super) fn begin(&mut self, tablespace: Option<u32>, now: Instant) {
        self.rate = self.rates.get(&tablespace).copied().or(self.others);
        self.since = now;
        self.bytes = 0;
    }

    /// So many more bytes have come: until when nothing more is to be read. While nobody reads,
    /// the server cannot send.
    pub(super) fn moved(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        self.bytes += bytes;
        let due = self.since + Duration::from_secs_f64(self.bytes as f64 / rate.max(1) as f64);
        if now.saturating_duration_since(due) > BURST {
            self.since = now;
            self.bytes = 0;
        }
        (due > now).then_some(due)
    }

    /// Whether the archive that comes now may come as fast as it can.
    pub(super) fn is_free(&self) -> bool {
        self.rate.is_none()
    }
}

/// Waits until then.
pub(super) async fn rest(until: Instant) {
    tokio::time::sleep_until(until).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn each_archive_keeps_its_own_rate_and_others_the_common_one() {
        let fast = Tablespace { name: "fast".into(), oid: 7, location: "/fast".into() };
        let tablespaces = [("fast".to_owned(), 1000), ("nowhere".to_owned(), 1)].into();
        let limits = Limits { others: Some(100), tablespaces };
        let began = Instant::now();
        let mut pace = Pace::new(&limits, &[fast], began);
        for (archive, takes) in [(Some(7), 2), (None, 20), (Some(8), 20)] {
            let mut now = began;
            pace.begin(archive, now);
            for _ in 0..20 {
                now = pace.moved(100, now).unwrap_or(now);
            }
            assert_eq!(now.duration_since(began), seconds(takes), "{archive:?}");
        }
        let data_directory = [(DATA_DIRECTORY.to_owned(), 10)].into();
        let limits = Limits { others: None, tablespaces: data_directory };
        let mut pace = Pace::new(&limits, &[], began);
        pace.begin(None, began);
        assert_eq!(pace.moved(10, began), Some(began + seconds(1)));
        pace.begin(Some(7), began);
        assert_eq!(pace.moved(u64::MAX, began), None);
    }

    #[test]
    fn a_long_stall_is_not_made_up_for_by_a_flood() {
        let began = Instant::now();
        let limits = Limits { others: Some(100), ..Limits::default() };
        let mut pace = Pace::new(&limits, &[], began);
        pace.begin(None, began);
        assert_eq!(pace.moved(100, began), Some(began + seconds(1)));
        let later = began + seconds(100);
        assert_eq!(pace.moved(100, later), None);
        assert_eq!(pace.moved(1000, later), Some(later + seconds(10)));
    }
}
