//! The receiver's replication slot: made and dropped.

use super::super::{Outcome, connect, runtime};
use super::slot_name;
use crate::config::{BackupMethod, ServerConfig};
use crate::net::NetError;
use crate::output::{Failure, Reporter};
use crate::wire::{SlotName, SqlState};

/// `--create-slot`. WAL is kept from the moment on: a slot that reserves nothing until its first
/// use would let WAL vanish in between.
pub(super) fn create(server: &ServerConfig, if_not_exists: bool, out: &mut Reporter) -> Outcome {
    let slot = required(server, "create")?;
    let name = &server.name;
    out.info(format_args!("Creating physical replication slot '{slot}' on server '{name}'"));
    let created = runtime()?.block_on(async {
        let mut session = connect::walsender(server).await?;
        let created = session.create_slot(&slot, false, true).await;
        session.close().await;
        Ok::<_, Failure>(created)
    })?;
    match created {
        Ok(_) => {
            out.info(format_args!("Replication slot '{slot}' created"));
            Ok(0)
        }
        Err(error) if error.has_code(SqlState::DUPLICATE_OBJECT) => {
            if if_not_exists {
                out.info(format_args!(
                    "Replication slot '{slot}' already exists and --if-not-exists was specified. \
                     Skipping creation"
                ));
                return Ok(0);
            }
            Err(Failure::new(format_args!("Replication slot '{slot}' already exists")))
        }
        Err(error) => Err(refused("create", &slot, server, &error)),
    }
}

/// `--drop-slot`.
pub(super) fn drop(server: &ServerConfig, out: &mut Reporter) -> Outcome {
    let slot = required(server, "drop")?;
    let name = &server.name;
    out.info(format_args!("Dropping physical replication slot '{slot}' on server '{name}'"));
    let dropped = runtime()?.block_on(async {
        let mut session = connect::walsender(server).await?;
        let dropped = session.drop_slot(&slot, false).await;
        session.close().await;
        Ok::<_, Failure>(dropped)
    })?;
    match dropped {
        Ok(()) => {
            out.info(format_args!("Replication slot '{slot}' dropped"));
            Ok(0)
        }
        Err(error) if error.has_code(SqlState::UNDEFINED_OBJECT) => {
            Err(Failure::new(format_args!("Replication slot '{slot}' does not exist")))
        }
        Err(error) if error.has_code(SqlState::OBJECT_IN_USE) => Err(Failure::new(format_args!(
            "Cannot drop replication slot '{slot}' on server '{name}' because it is in use."
        ))),
        Err(error) => Err(refused("drop", &slot, server, &error)),
    }
}

fn required(server: &ServerConfig, verb: &str) -> Result<SlotName, Failure> {
    let unable =
        |why| Failure::new(format_args!("Unable to {verb} a physical replication slot: {why}"));
    if !server.streaming_archiver && server.backup_method != BackupMethod::Postgres {
        return Err(unable("streaming connection not configured"));
    }
    slot_name(server)?.ok_or_else(|| unable("slot_name configuration option required"))
}

fn refused(verb: &str, slot: &SlotName, server: &ServerConfig, error: &NetError) -> Failure {
    let what = format!("Cannot {verb} replication slot '{slot}' on server '{}'", server.name);
    Failure::because(what, error).hint(error.hint())
}
