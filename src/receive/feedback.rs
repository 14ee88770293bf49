//! When to tell the server how far reception is, and when to give the server up.
//!
//! Pure: times and positions go in, reports come out. Knows no sockets and reads no clock.

use std::time::{Duration, Instant};

use super::Progress;
use crate::wal::Lsn;

/// What a status update is to say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Report {
    /// Behind the last byte received and written.
    pub written: Lsn,
    /// Behind the last durable byte; 0/0, "unknown", while the server knows a higher position
    /// from an earlier run: a slot follows reports backwards too.
    pub flushed: Lsn,
    /// Whether the server is to answer at once, because nothing has been heard for long.
    pub ask: bool,
}

/// Intervals of the conversation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rhythm {
    /// A report goes out at least this often.
    pub interval: Duration,
    /// After this long without a word, and half of it after a question, the server is gone.
    pub silence: Duration,
}

impl Rhythm {
    /// The rhythm that suits a server with this `wal_sender_timeout`; `None` if it has none.
    ///
    /// The server closes the connection when it hears nothing for that long, so three chances
    /// are given to each report; more often than once in 10 s serves nobody.
    pub fn for_server(wal_sender_timeout: Option<Duration>) -> Rhythm {
        let shortest = Duration::from_millis(100);
        let timeout = wal_sender_timeout.unwrap_or(SILENCE);
        Rhythm {
            interval: (timeout / 3).clamp(shortest, INTERVAL_MAX),
            // A server that gives us up so soon may be given up as soon: it sends a keepalive
            // after half of that time itself.
            silence: timeout.clamp(SILENCE_MIN, SILENCE),
        }
    }
}

/// Decides when a report is due.
///
/// `handle_*` says what happened; [`Feedback::poll`] is asked after each of them and at
/// [`Feedback::deadline`]. Times must not go backwards.
#[derive(Clone, Debug)]
pub struct Feedback {
    rhythm: Rhythm,
    /// Nothing below is ever reported as flushed.
    floor: Lsn,
    /// The last report, if any.
    reported: Option<Report>,
    sent_at: Instant,
    heard_at: Instant,
    /// A question is out since then.
    asked_at: Option<Instant>,
    /// The server wants an answer now.
    requested: bool,
}

impl Feedback {
    /// The beginning of a stream. `floor` is the highest position that the server was ever
    /// told to be flushed, as far as is known.
    pub fn new(rhythm: Rhythm, floor: Lsn, now: Instant) -> Feedback {
        Feedback {
            rhythm,
            floor,
            reported: None,
            sent_at: now,
            heard_at: now,
            asked_at: None,
            requested: false,
        }
    }

    /// Something came from the server; or we begin to listen again after a pause of our own,
    /// which says nothing about the server.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.asked_at = None;
    }

    /// A keepalive wants an answer at once.
    pub fn handle_request(&mut self) {
        self.requested = true;
    }

    /// The report that is due, which the caller sends. `listening` says whether the socket is
    /// being read: while it is not, silence is no sign.
    pub fn poll(&mut self, progress: Progress, listening: bool, now: Instant) -> Option<Report> {
        let flushed = if progress.flushed < self.floor { Lsn::INVALID } else { progress.flushed };
        let ask = listening && self.asked_at.is_none() && now >= self.ask_at();
        let advanced = self.reported.is_none_or(|last| last.flushed < flushed);
        if !(self.requested || advanced || ask || now >= self.report_at()) {
            return None;
        }
        if ask {
            self.asked_at = Some(now);
        }
        self.requested = false;
        self.sent_at = now;
        self.floor = self.floor.max(flushed);
        let report = Report { written: progress.written, flushed, ask };
        self.reported = Some(report);
        Some(report)
    }

    /// In place of [`Feedback::poll`] where the conversation has no room for a report (before the
    /// stream has begun, after its end was said), and so none for a question: silence has to
    /// tell, and there is nothing to wake up for until then.
    pub fn pass_over(&mut self, listening: bool, now: Instant) {
        if now >= self.report_at() {
            self.sent_at = now;
        }
        if listening && self.asked_at.is_none() && now >= self.ask_at() {
            self.asked_at = Some(now);
        }
    }

    /// Whether the server has left a question unanswered for too long.
    pub fn is_dead(&self, now: Instant) -> bool {
        self.asked_at.is_some_and(|asked| now >= asked + self.rhythm.silence / 2)
    }

    /// When to poll again if nothing happens.
    pub fn deadline(&self, listening: bool) -> Instant {
        let report = self.report_at();
        match self.asked_at {
            Some(asked) => report.min(asked + self.rhythm.silence / 2),
            None if listening => report.min(self.ask_at()),
            None => report,
        }
    }

    /// When the server was last heard.
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// The highest position that the server was told to be flushed.
    pub fn floor(&self) -> Lsn {
        self.floor
    }

    fn report_at(&self) -> Instant {
        self.sent_at + self.rhythm.interval
    }

    fn ask_at(&self) -> Instant {
        self.heard_at + self.rhythm.silence / 2
    }
}

const INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The server's own default.
const SILENCE: Duration = Duration::from_secs(60);
/// Below this a pause of the network would pass for the end of the server.
const SILENCE_MIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn progress(written: u64, flushed: u64) -> Progress {
        Progress { written: Lsn(written), flushed: Lsn(flushed) }
    }

    fn feedback(floor: u64) -> (Feedback, Instant) {
        let start = Instant::now();
        let rhythm = Rhythm::for_server(Some(seconds(60)));
        (Feedback::new(rhythm, Lsn(floor), start), start)
    }

    #[test]
    fn the_first_report_and_each_advance_of_flushed_go_out_at_once() {
        let (mut feedback, now) = feedback(0);
        assert!(feedback.poll(progress(100, 100), true, now).is_some());
        assert_eq!(feedback.poll(progress(200, 100), true, now), None);
        let report = feedback.poll(progress(200, 200), true, now).expect("due");
        assert_eq!((report.written, report.flushed, report.ask), (Lsn(200), Lsn(200), false));
    }

    #[test]
    fn a_request_is_answered_at_once_with_what_is_known_and_only_once() {
        let (mut feedback, now) = feedback(0);
        feedback.poll(progress(100, 100), true, now);
        feedback.handle_request();
        assert!(feedback.poll(progress(300, 100), true, now).is_some());
        assert_eq!(feedback.poll(progress(300, 100), true, now), None);
    }

    #[test]
    fn the_heartbeat_goes_on_while_the_socket_is_left_alone_and_asks_nothing() {
        let (mut feedback, start) = feedback(0);
        feedback.poll(progress(100, 100), false, start);
        for beat in 1..20 {
            let now = start + seconds(10 * beat);
            assert!(feedback.deadline(false) <= now);
            let report = feedback.poll(progress(100, 100), false, now).expect("a heartbeat");
            assert!(!report.ask);
            assert!(!feedback.is_dead(now), "silence of our own making killed the stream");
        }
    }

    #[test]
    fn a_silent_server_is_asked_and_then_given_up() {
        let (mut feedback, start) = feedback(0);
        let mut now = start;
        let mut asked = 0;
        while !feedback.is_dead(now) {
            if let Some(report) = feedback.poll(progress(100, 100), true, now) {
                asked += u32::from(report.ask);
            }
            now = feedback.deadline(true).max(now + Duration::from_millis(1));
            assert!(now < start + seconds(120), "it is never given up");
        }
        assert_eq!(asked, 1);
        assert!(now >= start + seconds(60));
        feedback.handle_heard(now);
        assert!(!feedback.is_dead(now));
    }

    #[test]
    fn a_server_that_cannot_be_asked_is_given_up_too_and_not_waited_for_in_haste() {
        let (mut feedback, start) = feedback(0);
        let (mut now, mut turns) = (start, 0);
        while !feedback.is_dead(now) {
            feedback.pass_over(true, now);
            now = feedback.deadline(true).max(now + Duration::from_millis(1));
            turns += 1;
            assert!(now < start + seconds(120), "it is never given up");
        }
        assert!(now >= start + seconds(60));
        assert!(turns < 20, "woken up {turns} times for nothing");
        // A disk of ours that takes its time is no silence of the server's.
        feedback.handle_heard(now);
        feedback.pass_over(false, now + seconds(300));
        assert!(!feedback.is_dead(now + seconds(300)));
    }

    #[test]
    fn what_an_earlier_run_reported_is_never_taken_back() {
        let (mut feedback, now) = feedback(500);
        let report = feedback.poll(progress(300, 300), true, now).expect("due");
        assert_eq!(report.flushed, Lsn::INVALID);
        let report = feedback.poll(progress(600, 500), true, now).expect("due");
        assert_eq!(report.flushed, Lsn(500));
        assert_eq!(feedback.floor(), Lsn(500));
    }

    #[test]
    fn the_interval_is_a_third_of_the_servers_timeout_and_at_most_ten_seconds() {
        let cases = [(None, 10_000), (Some(60_000), 10_000), (Some(6_000), 2_000), (Some(1), 100)];
        for (timeout, expected) in cases {
            let rhythm = Rhythm::for_server(timeout.map(Duration::from_millis));
            assert_eq!(rhythm.interval, Duration::from_millis(expected), "{timeout:?}");
        }
    }
}
