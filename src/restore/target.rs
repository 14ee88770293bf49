//! Where recovery is to end: targets, timelines, actions, as typed and as PostgreSQL reads them.
//!
//! Pure. The meaning of each word is that of the manual, "Recovery Target" under "Write Ahead
//! Log" settings; the spelling on the command line is Barman's.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::wal::{Lsn, Timeline};

/// The longest name that `pg_create_restore_point` takes, in bytes (`MAXFNAMELEN` - 1).
const RESTORE_POINT_NAME_MAX: usize = 63;

/// The point at which recovery stops.
#[derive(Clone, Debug, PartialEq)]
pub enum RecoveryTarget {
    /// The first commit after (or, exclusive, at) an instant.
    Time(TargetTime),
    /// A transaction.
    Xid(u64),
    /// A position.
    Lsn(Lsn),
    /// A restore point made by `pg_create_restore_point`.
    Name(String),
    /// As soon as the backup is consistent.
    Immediate,
}

impl RecoveryTarget {
    /// The name of the target in Barman's sentences: `time`, `xid`, `lsn`, `name`, `immediate`.
    pub fn word(&self) -> &'static str {
        match self {
            RecoveryTarget::Time(_) => "time",
            RecoveryTarget::Xid(_) => "xid",
            RecoveryTarget::Lsn(_) => "lsn",
            RecoveryTarget::Name(_) => "name",
            RecoveryTarget::Immediate => "immediate",
        }
    }

    /// Whether `recovery_target_inclusive` has a meaning for this target.
    pub fn may_be_exclusive(&self) -> bool {
        matches!(self, RecoveryTarget::Time(_) | RecoveryTarget::Xid(_) | RecoveryTarget::Lsn(_))
    }
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryTarget::Time(time) => time.fmt(f),
            RecoveryTarget::Xid(xid) => xid.fmt(f),
            RecoveryTarget::Lsn(lsn) => lsn.fmt(f),
            RecoveryTarget::Name(name) => f.write_str(name),
            RecoveryTarget::Immediate => f.write_str("immediate"),
        }
    }
}

/// An instant with the offset in which the user wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetTime(Zoned);

impl TargetTime {
    /// The instant.
    pub fn timestamp(&self) -> Timestamp {
        self.0.timestamp()
    }

    /// Reads `2026-11-23 06:33:03.034156+00`, with `T` or a blank in the middle, seconds and
    /// fraction optional, an offset (`+02`, `+0200`, `+02:00`, `Z`, `UTC`) optional. A date
    /// alone is its midnight. Without an offset the instant is taken in `local`, and the
    /// second value says so.
    pub fn parse(text: &str, local: &TimeZone) -> Result<(TargetTime, bool), TargetError> {
        let refuse = |why: &str| TargetError::Time(text.to_owned(), why.to_owned());
        let trimmed = text.trim();
        let (civil, offset) = split_offset(trimmed).ok_or_else(|| refuse("unknown offset"))?;
        let with_seconds = match civil.matches(':').count() {
            0 if civil.contains([' ', 'T']) => return Err(refuse("expected HH:MM[:SS]")),
            1 => format!("{civil}:00"),
            _ => civil.to_owned(),
        };
        let civil: DateTime =
            with_seconds.parse().map_err(|error: jiff::Error| refuse(&error.to_string()))?;
        let zone = offset.map_or_else(|| local.clone(), TimeZone::fixed);
        let zoned = zone
            .to_ambiguous_zoned(civil)
            .unambiguous()
            .map_err(|error| refuse(&error.to_string()))?;
        let fixed = zoned.with_time_zone(TimeZone::fixed(zoned.offset()));
        Ok((TargetTime(fixed), offset.is_none()))
    }
}

impl fmt::Display for TargetTime {
    /// As Python prints a datetime: the fraction only when there is one, in microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = if self.0.subsec_nanosecond() / 1000 == 0 {
            "%Y-%m-%d %H:%M:%S%:z"
        } else {
            "%Y-%m-%d %H:%M:%S.%6f%:z"
        };
        self.0.strftime(format).fmt(f)
    }
}

/// Cuts a trailing offset off a timestamp: `None` when there is one that cannot be read.
fn split_offset(text: &str) -> Option<(&str, Option<Offset>)> {
    for suffix in ["Z", "z", "UTC", "utc", "GMT", "gmt"] {
        if let Some(civil) = text.strip_suffix(suffix) {
            return Some((civil.trim_end(), Some(Offset::UTC)));
        }
    }
    // A sign before the first colon belongs to the date.
    let Some(clock) = text.find(':') else { return Some((text, None)) };
    let Some(sign) = text[clock..].find(['+', '-']).map(|at| clock + at) else {
        return Some((text, None));
    };
    let digits = text[sign + 1..].replace(':', "");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        1 | 2 => (digits.parse::<i32>().ok()?, 0),
        4 => (digits[..2].parse::<i32>().ok()?, digits[2..].parse::<i32>().ok()?),
        _ => return None,
    };
    let seconds = hours * 3600 + minutes * 60;
    let signed = if text[sign..].starts_with('-') { -seconds } else { seconds };
    Some((text[..sign].trim_end(), Some(Offset::from_seconds(signed).ok()?)))
}

/// Which branch of history recovery follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TargetTimeline {
    /// The backup's own.
    Current,
    /// The newest that descends from the backup.
    Latest,
    /// This one.
    Exact(Timeline),
}

impl FromStr for TargetTimeline {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<TargetTimeline, TargetError> {
        match text {
            "current" => Ok(TargetTimeline::Current),
            "latest" => Ok(TargetTimeline::Latest),
            _ => text
                .parse()
                .map(TargetTimeline::Exact)
                .map_err(|_| TargetError::Timeline(text.to_owned())),
        }
    }
}

impl fmt::Display for TargetTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetTimeline::Current => f.write_str("current"),
            TargetTimeline::Latest => f.write_str("latest"),
            TargetTimeline::Exact(timeline) => timeline.fmt(f),
        }
    }
}

/// What the server does when it has reached the target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TargetAction {
    /// Waits, readable, for an administrator.
    Pause,
    /// Opens for writing on a new timeline.
    Promote,
    /// Stops.
    Shutdown,
}

impl TargetAction {
    /// The setting's value.
    pub fn word(self) -> &'static str {
        match self {
            TargetAction::Pause => "pause",
            TargetAction::Promote => "promote",
            TargetAction::Shutdown => "shutdown",
        }
    }
}

impl FromStr for TargetAction {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<TargetAction, TargetError> {
        match text {
            "pause" => Ok(TargetAction::Pause),
            "promote" => Ok(TargetAction::Promote),
            "shutdown" => Ok(TargetAction::Shutdown),
            _ => Err(TargetError::Action(text.to_owned())),
        }
    }
}

/// All that the user says about where recovery is to end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Goal {
    /// The point; `None` is the end of the WAL that there is.
    pub target: Option<RecoveryTarget>,
    /// The branch, when the user names one.
    pub timeline: Option<TargetTimeline>,
    /// Stop just before the target instead of just after it.
    pub exclusive: bool,
    /// What to do there.
    pub action: Option<TargetAction>,
    /// Come up as a standby that waits for more WAL.
    pub standby: bool,
}

impl Goal {
    /// Whether the server is asked to do archive recovery towards a chosen point or branch.
    pub fn is_point_in_time(&self) -> bool {
        self.target.is_some() || self.timeline.is_some()
    }
}

/// Words that do not name a target.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TargetError {
    /// Barman's sentence, with the reason behind the colon.
    #[error("Unable to parse the target time parameter '{0}': {1}")]
    Time(String, String),
    /// Neither a number nor `latest` nor `current`.
    #[error("'{0}' is not a valid timeline; expected a number, latest or current")]
    Timeline(String),
    /// Barman's sentence.
    #[error("'{0}' is not a valid recovery target action")]
    Action(String),
    /// Not a transaction ID.
    #[error("'{0}' is not a transaction ID")]
    Xid(String),
    /// The server would refuse to start with such a name.
    #[error("'{0}' is not the name of a restore point; expected 1 to 63 bytes on one line")]
    Name(String),
    /// Barman's sentence.
    #[error("You cannot specify multiple targets for the recovery operation")]
    Several,
}

/// The target options as typed; at most one may be given.
#[derive(Clone, Debug, Default)]
pub struct TargetWords {
    /// `--target-time`
    pub time: Option<String>,
    /// `--target-xid`
    pub xid: Option<String>,
    /// `--target-lsn`
    pub lsn: Option<Lsn>,
    /// `--target-name`
    pub name: Option<String>,
    /// `--target-immediate`
    pub immediate: bool,
}

impl TargetWords {
    /// The one target among the options; the second value is true when a time had no zone and
    /// `local` was assumed.
    pub fn resolve(self, local: &TimeZone) -> Result<(Option<RecoveryTarget>, bool), TargetError> {
        let given = usize::from(self.time.is_some())
            + usize::from(self.xid.is_some())
            + usize::from(self.lsn.is_some())
            + usize::from(self.name.is_some())
            + usize::from(self.immediate);
        if given > 1 {
            return Err(TargetError::Several);
        }
        if let Some(text) = self.time {
            let (time, assumed) = TargetTime::parse(&text, local)?;
            return Ok((Some(RecoveryTarget::Time(time)), assumed));
        }
        let target = if let Some(text) = self.xid {
            Some(RecoveryTarget::Xid(text.parse().map_err(|_| TargetError::Xid(text))?))
        } else if let Some(name) = self.name {
            let fits = (1..=RESTORE_POINT_NAME_MAX).contains(&name.len());
            if !fits || name.contains(['\n', '\r', '\0']) {
                return Err(TargetError::Name(name));
            }
            Some(RecoveryTarget::Name(name))
        } else if let Some(lsn) = self.lsn {
            Some(RecoveryTarget::Lsn(lsn))
        } else {
            self.immediate.then_some(RecoveryTarget::Immediate)
        };
        Ok((target, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rome() -> TimeZone {
        TimeZone::get("Europe/Rome").expect("the bundled time zones know it")
    }

    #[test]
    fn times_are_printed_as_barman_prints_them_whatever_their_offset_looked_like() {
        for (text, printed, assumed) in [
            ("2026-11-23 06:33:03.034156+00", "2026-11-23 06:33:03.034156+00:00", false),
            ("2026-11-23 06:33:03.5-0330", "2026-11-23 06:33:03.500000-03:30", false),
            ("2026-11-23T06:33:03 +05:30", "2026-11-23 06:33:03+05:30", false),
            ("2026-11-23 06:33:03 UTC", "2026-11-23 06:33:03+00:00", false),
            ("2026-11-23T06:33Z", "2026-11-23 06:33:00+00:00", false),
            ("2026-11-23 06:33:03", "2026-11-23 06:33:03+01:00", true),
            ("2026-07-01 06:33", "2026-07-01 06:33:00+02:00", true),
            ("2026-07-01", "2026-07-01 00:00:00+02:00", true),
        ] {
            let (time, zone_assumed) = TargetTime::parse(text, &rome()).expect(text);
            assert_eq!((time.to_string().as_str(), zone_assumed), (printed, assumed), "{text}");
        }
    }

    #[test]
    fn an_instant_that_happened_twice_or_never_is_refused_not_guessed() {
        for text in [
            "2026-10-25 02:30:00",
            "2026-03-29 02:30:00",
            "garbage",
            "",
            "2026-13-01",
            "12:00",
            "2026-11-23 06:33:03+99",
            "2026-11-23 06:33:03+1:2:3",
            "2026-11-23 06",
        ] {
            assert!(TargetTime::parse(text, &rome()).is_err(), "{text:?} was accepted");
        }
        assert!(TargetTime::parse("2026-10-25 02:30:00+01", &rome()).is_ok());
    }

    #[test]
    fn two_targets_are_one_too_many() {
        let words = TargetWords {
            xid: Some("1".to_owned()),
            name: Some("a".to_owned()),
            ..TargetWords::default()
        };
        assert_eq!(words.resolve(&TimeZone::UTC), Err(TargetError::Several));
        let words = TargetWords { immediate: true, ..TargetWords::default() };
        assert_eq!(words.resolve(&TimeZone::UTC), Ok((Some(RecoveryTarget::Immediate), false)));
    }

    #[test]
    fn timelines_are_a_number_or_one_of_two_words() {
        assert_eq!("latest".parse(), Ok(TargetTimeline::Latest));
        assert_eq!("current".parse(), Ok(TargetTimeline::Current));
        let seven = Timeline::new(7).expect("not 0");
        assert_eq!("7".parse(), Ok(TargetTimeline::Exact(seven)));
        for text in ["0", "-1", "newest", "", "0x7"] {
            assert!(text.parse::<TargetTimeline>().is_err(), "{text:?} was accepted");
        }
    }
}
