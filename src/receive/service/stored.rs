//! What the repository already holds when a server is found.

use super::Service;
use crate::net::ServerFacts;
use crate::receive::start::LocalEnd;
use crate::receive::stored::Places;
use crate::receive::{ReceiveError, resume};
use crate::repository::Identity;
use crate::wal::{SegmentName, SystemIdentifier};

impl Service<'_> {
    /// The end of the stored WAL, and the cluster that the repository belongs to.
    pub(super) fn stored(
        &self,
        facts: &ServerFacts,
    ) -> Result<(Option<LocalEnd>, Option<SystemIdentifier>), ReceiveError> {
        let plan = self.plan.as_ref();
        let disk = plan.disk.as_ref();
        let places = Places {
            disk,
            streaming: plan.layout.streaming(),
            wals: plan.layout.wals(),
            segment_size: facts.segment_size,
        };
        let (stored, written_by) = places.end()?;
        let identity = Identity::read(disk, &plan.layout)?;
        let system = identity.map(|identity| identity.system_identifier).or(written_by);
        let local = stored.map(|stored| self.best_known(stored, facts)).transpose()?;
        Ok((local, system))
    }

    /// Says from the first byte on which cluster the repository belongs to, so that no backup
    /// of another one is put beside its WAL.
    pub(super) fn establish_identity(&self, facts: &ServerFacts) -> Result<(), ReceiveError> {
        let plan = self.plan.as_ref();
        let disk = plan.disk.as_ref();
        if Identity::read(disk, &plan.layout)?.is_some() {
            return Ok(());
        }
        let identity = Identity {
            system_identifier: facts.system_identifier,
            version: facts.version.major().to_string(),
        };
        Ok(identity.establish(disk, &plan.layout)?)
    }

    /// What this process has made durable itself counts, also where verification of the file
    /// stops earlier: at a record that is not whole. Not if the file is no longer what it was.
    fn best_known(&self, stored: LocalEnd, facts: &ServerFacts) -> Result<LocalEnd, ReceiveError> {
        let size = facts.segment_size;
        let Some(known) = self.known.filter(|known| {
            known.timeline == stored.timeline
                && known.position > stored.position
                && known.position.segment(size) == stored.position.segment(size)
        }) else {
            return Ok(stored);
        };
        let name = SegmentName::containing(known.timeline, known.position, size);
        let path = resume::partial_path(self.plan.layout.streaming(), name);
        let stat = self.plan.disk.stat(&path)?;
        let is_there = stat.is_some_and(|stat| stat.length == u64::from(size.bytes()));
        Ok(if is_there { known } else { stored })
    }
}
