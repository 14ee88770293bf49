//! WAL that is behind us for good: recorded before anything is received behind it.

use super::ReceiveError;
use super::start::{Facts, Remark};
use crate::disk::Disk;
use crate::repository::{Hole, HoleCause, Holes, ServerLayout};
use crate::service;

/// Records the gaps among the remarks of a start, durably: from here on nothing says any more
/// that something is missing, and a backup from before would be believed.
pub(super) fn record(
    disk: &dyn Disk,
    layout: &ServerLayout,
    facts: &Facts<'_>,
    remarks: &[Remark],
) -> Result<(), ReceiveError> {
    let since = service::now();
    for remark in remarks {
        let Remark::Gap { from, to } = *remark else { continue };
        for (timeline, from, to) in facts.lost(from, to) {
            let hole = Hole { timeline, from, to, since, why: HoleCause::Removed };
            Holes::record(disk, layout, hole)?;
        }
    }
    Ok(())
}
