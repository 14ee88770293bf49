//! Several hosts in `streaming_conninfo`: which of them is to be received from.

use tracing::{debug, info};

use super::{Prepared, Service};
use crate::conninfo::ConnectOptions;
use crate::output::one_line;
use crate::receive::ReceiveError;

impl Service<'_> {
    /// Finds the server to receive from: where several hosts are given, the first one that
    /// matches what is stored. Who is reached first may be an old primary.
    ///
    /// WAL that one host has removed may still be on another: each time that somebody says that
    /// it is gone, the next host is the first to be asked.
    pub(super) async fn prepare(&mut self) -> Result<Prepared, ReceiveError> {
        let mut options = self.plan.streaming.clone();
        let (turns, hosts) = (self.removed.map_or(0, |(_, times)| times), options.hosts.len());
        options.hosts.rotate_left(turns as usize % hosts.max(1));
        let session = self.connect(&options).await?;
        let refusing = session.host();
        let refused = match self.prepare_on(session).await {
            Err(error) if options.hosts.len() > 1 && error.is_of_this_server() => error,
            result => return result,
        };
        let hosts = options.hosts.iter().enumerate();
        for (_, host) in hosts.filter(|(index, _)| *index != refusing) {
            let other = ConnectOptions { hosts: vec![host.clone()], ..options.clone() };
            let prepared = match self.connect(&other).await {
                Ok(session) => self.prepare_on(session).await,
                Err(error) => Err(error),
            };
            match prepared {
                Ok(prepared) => {
                    let (server, endpoint) =
                        (self.plan.layout.server(), prepared.session.endpoint());
                    let refused = one_line(&refused);
                    info!(%server, %refused, "another host matches: {endpoint}");
                    return Ok(prepared);
                }
                Err(error) => {
                    debug!(server = %self.plan.layout.server(), error = %one_line(&error), "passed over");
                }
            }
        }
        Err(refused)
    }
}
