//! How far a long work has come: a bar on a terminal, a line now and then elsewhere, or JSON.
//!
//! Nothing is shown for work that ends within two seconds.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{duration, size};

/// Told by the worker how far it is. Calls are cheap and may come from any thread.
pub trait Progress: fmt::Debug + Send + Sync {
    /// What is being done now: `waiting for checkpoint`, `copying base.tar`.
    fn phase(&self, name: &str);
    /// Which tablespace it is about; `None` for the data directory and for everything else.
    fn tablespace(&self, _name: Option<&str>) {}
    /// How many bytes there are to do in all, when that is known. An estimate may be passed.
    fn total(&self, bytes: u64);
    /// How many bytes are done, in all.
    fn done(&self, bytes: u64);
}

/// Progress that nobody looks at.
#[derive(Clone, Copy, Debug)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn phase(&self, _name: &str) {}
    fn total(&self, _bytes: u64) {}
    fn done(&self, _bytes: u64) {}
}

/// Work that ends sooner shows nothing.
const PATIENCE: Duration = Duration::from_secs(2);
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const JSON_INTERVAL: Duration = Duration::from_secs(1);

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProgressForm {
    /// A bar where standard error is a terminal, a line every ten seconds elsewhere.
    #[default]
    Auto,
    /// An object a second on a line of its own, from the beginning to the end.
    Json,
    /// Not at all.
    None,
}

impl FromStr for ProgressForm {
    type Err = String;
    fn from_str(text: &str) -> Result<ProgressForm, String> {
        match text {
            "auto" => Ok(ProgressForm::Auto),
            "json" => Ok(ProgressForm::Json),
            "none" => Ok(ProgressForm::None),
            _ => Err("expected auto, json or none".to_owned()),
        }
    }
}

/// Progress on standard error, drawn by a thread of its own until it is dropped.
#[derive(Debug)]
pub struct ShownProgress {
    state: Arc<State>,
    drawer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    done: AtomicU64,
    total: AtomicU64,
    /// When the first byte came: what was waited for before is no part of the rate.
    first: OnceLock<Instant>,
    shared: Mutex<Shared>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Shared {
    phase: String,
    tablespace: Option<String>,
    finished: bool,
}

impl ShownProgress {
    /// Starts the clock. `what` heads each line: `backup of main`.
    pub fn start(what: &str) -> ShownProgress {
        ShownProgress::start_as(ProgressForm::Auto, what)
    }

    /// The same in another form.
    pub fn start_as(form: ProgressForm, what: &str) -> ShownProgress {
        let state = Arc::new(State::default());
        let what = what.to_owned();
        let drawer = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn({
                let state = Arc::clone(&state);
                move || match form {
                    ProgressForm::Auto => draw(&state, &what),
                    ProgressForm::Json => draw_json(&state, &what),
                    ProgressForm::None => {}
                }
            })
            // Without a thread the work goes on, only unseen.
            .ok();
        ShownProgress { state, drawer }
    }
}

impl Progress for ShownProgress {
    fn phase(&self, name: &str) {
        self.state.lock().phase = name.to_owned();
        self.state.changed.notify_all();
    }
    fn tablespace(&self, name: Option<&str>) {
        self.state.lock().tablespace = name.map(str::to_owned);
    }
    fn total(&self, bytes: u64) {
        self.state.total.store(bytes, Ordering::Relaxed);
    }
    fn done(&self, bytes: u64) {
        if bytes > 0 {
            self.state.first.get_or_init(Instant::now);
        }
        self.state.done.store(bytes, Ordering::Relaxed);
    }
}

/// Takes the bar off the screen, so that the next line stands alone.
impl Drop for ShownProgress {
    fn drop(&mut self) {
        self.state.lock().finished = true;
        self.state.changed.notify_all();
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the first byte.
    fn moving(&self) -> Option<Duration> {
        self.first.get().map(Instant::elapsed)
    }

    /// Waits for the next time to draw; `None` when the work is done.
    fn wait(&self, interval: Duration) -> Option<String> {
        let shared = self.lock();
        let (shared, _) = self
            .changed
            .wait_timeout_while(shared, interval, |shared| !shared.finished)
            .unwrap_or_else(PoisonError::into_inner);
        (!shared.finished).then(|| shared.phase.clone())
    }
}

fn draw(state: &State, what: &str) {
    let started = Instant::now();
    let Some(mut phase) = state.wait(PATIENCE) else { return };
    if io::stderr().is_terminal() {
        let bar = bar(what);
        loop {
            update(&bar, state, &phase);
            match state.wait(TERMINAL_INTERVAL) {
                Some(next) => phase = next,
                None => break,
            }
        }
        bar.finish_and_clear();
    } else {
        loop {
            let done = state.done.load(Ordering::Relaxed);
            let total = state.total.load(Ordering::Relaxed);
            let text = line(&phase, done, total, state.moving().unwrap_or(started.elapsed()));
            let _ = writeln!(io::stderr().lock(), "{what}: {text}");
            match state.wait(LINE_INTERVAL) {
                Some(next) => phase = next,
                None => break,
            }
        }
    }
}

/// An object at the beginning, each second, and at the end; nobody parses a bar.
fn draw_json(state: &State, what: &str) {
    let started = Instant::now();
    loop {
        let next = state.wait(JSON_INTERVAL);
        let tablespace = state.lock().tablespace.clone();
        let done = state.done.load(Ordering::Relaxed);
        let total = state.total.load(Ordering::Relaxed);
        let moved = Moved::new(done, total, state.moving().unwrap_or_default());
        let phase = next.as_deref().unwrap_or("ended");
        let object = json!({
            "what": what,
            "phase": phase,
            "tablespace": tablespace,
            "bytes": done,
            "total": moved.total,
            "bytes_per_second": moved.rate,
            "seconds_left": moved.left.map(|left| left.as_secs()),
            "seconds": started.elapsed().as_secs_f64(),
        });
        let _ = writeln!(io::stderr().lock(), "{object}");
        if next.is_none() {
            return;
        }
    }
}

/// What follows from bytes and time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Moved {
    /// Never less than is done: it was an estimate.
    total: Option<u64>,
    /// Bytes a second; `None` before the first byte.
    rate: Option<u64>,
    left: Option<Duration>,
}

impl Moved {
    fn new(done: u64, total: u64, elapsed: Duration) -> Moved {
        let total = (total > 0).then_some(total.max(done));
        let rate = (done > 0).then(|| (done as f64 / elapsed.as_secs_f64().max(0.001)) as u64);
        let left = total.zip(rate);
        let left = left.map(|(total, rate)| Duration::from_secs((total - done) / rate.max(1)));
        Moved { total, rate, left }
    }
}

fn bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_prefix(what.to_owned());
    bar
}

fn update(bar: &ProgressBar, state: &State, phase: &str) {
    let done = state.done.load(Ordering::Relaxed);
    let total = state.total.load(Ordering::Relaxed);
    // The total is an estimate made before the copy: it must not be seen to be exceeded.
    let total = (total > 0).then_some(total.max(done));
    let template = match (done, total) {
        (0, _) => "{prefix}: {msg} ({elapsed})",
        (_, None) => "{prefix}: {msg}, {binary_bytes}, {binary_bytes_per_sec}",
        (_, Some(_)) => {
            "{prefix}: {msg} [{bar:20}] {binary_bytes} of {binary_total_bytes}, \
             {binary_bytes_per_sec}, {eta} left"
        }
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    if let Some(total) = total {
        bar.set_length(total);
    }
    bar.set_message(phase.to_owned());
    bar.set_position(done);
    bar.tick();
}

/// One line where there is no terminal.
fn line(phase: &str, done: u64, total: u64, elapsed: Duration) -> String {
    if done == 0 {
        return format!("{phase} ({})", duration(elapsed));
    }
    let moved = Moved::new(done, total, elapsed);
    let amount = match (moved.total, moved.left) {
        (Some(total), Some(left)) => {
            let percent = u128::from(done) * 100 / u128::from(total);
            let amount = format!("{} of {} ({percent}%)", size(done), size(total));
            format!("{amount}, {} left", duration(left))
        }
        _ => size(done),
    };
    format!("{phase}, {amount}, {}/s", size(moved.rate.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_bytes_share_rate_and_time_left_as_far_as_they_are_known() {
        let ten = Duration::from_secs(10);
        assert_eq!(
            line("waiting for checkpoint", 0, 0, ten),
            "waiting for checkpoint (10 seconds)"
        );
        assert_eq!(line("copying", 10 << 20, 0, ten), "copying, 10.0 MiB, 1.0 MiB/s");
        assert_eq!(
            line("copying", 10 << 20, 40 << 20, ten),
            "copying, 10.0 MiB of 40.0 MiB (25%), 30 seconds left, 1.0 MiB/s"
        );
        // An estimate that turns out too low is not exceeded.
        assert!(line("copying", 10 << 20, 5 << 20, ten).contains("(100%)"));
    }

    #[test]
    fn work_that_ends_at_once_does_not_wait_for_its_bar() {
        let progress = ShownProgress::start("backup of main");
        progress.phase("copying");
        progress.done(5);
        drop(progress);
    }
}
