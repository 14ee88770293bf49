//! What the kernel says of a process, and the state in which a run finds the machine.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Sub;
use std::path::Path;
use std::time::Duration;

use crate::Outcome;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time, in user and kernel mode, of all its threads.
    pub processor: Duration,
    /// Bytes that it caused to be written to the disk.
    pub written: u64,
    /// The largest resident memory that it had at any time, in bytes.
    pub peak: u64,
}

impl Usage {
    /// The processor time of a process, also of one that has ended and is not yet waited for.
    pub fn processor_of(pid: impl std::fmt::Display) -> Outcome<Duration> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        // pid (name) state …: the name may hold anything. Times are fields 14 and 15.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
    }

    /// What /proc says of a process; only the owner may ask for everything.
    pub fn of(pid: impl std::fmt::Display) -> Outcome<Usage> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
        };
        let processor = Usage::processor_of(&pid)?;
        let written = number_after(&read("io")?, "\nwrite_bytes:");
        // In kB.
        let peak = number_after(&read("status")?, "\nVmHWM:") * 1024;
        Ok(Usage { processor, written, peak })
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, earlier: Usage) -> Usage {
        Usage {
            processor: self.processor.saturating_sub(earlier.processor),
            written: self.written - earlier.written,
            peak: self.peak,
        }
    }
}

/// What /proc counts processor time in; the same on every machine that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

fn number_after(text: &str, key: &str) -> u64 {
    let rest = text.split(key).nth(1).unwrap_or_default();
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Makes each run begin alike: nothing dirty is left of the last one, what the server will
/// read is in the cache, and as much memory as the run may want was touched a moment before.
/// Virtual machines that give free memory back to their host make the first touch dear.
pub fn settle(folder: &Path, sources: &[impl AsRef<Path>], bytes: u64) -> Outcome<()> {
    for source in sources {
        std::io::copy(&mut File::open(source)?, &mut std::io::sink())?;
    }
    let path = folder.join("touch");
    let mut file = File::create(&path)?;
    let block = vec![0x5A; 1 << 20];
    for _ in 0..bytes.div_ceil(1 << 20) {
        file.write_all(&block)?;
    }
    fs::remove_file(&path)?;
    drop(file);
    rustix::fs::syncfs(File::open(folder)?)?;
    Ok(())
}
