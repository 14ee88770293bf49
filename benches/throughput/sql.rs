//! A session for the benchmark's own statements.

use std::time::Duration;

use tapster::conninfo::Purpose;
use tapster::net::{SqlClient, TextRow, resolve};
use tokio::runtime::Runtime;

use crate::Outcome;

/// An open session. Statements wait for their end.
#[derive(Debug)]
pub struct Sql {
    runtime: Runtime,
    client: SqlClient,
}

impl Sql {
    /// Connects by a connection string.
    pub fn connect(conninfo: &str) -> Outcome<Sql> {
        let options = resolve(conninfo, Purpose::Sql)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut client = runtime.block_on(SqlClient::connect(&options, "tapster bench"))?;
        client.set_statement_timeout(Duration::from_secs(1800));
        Ok(Sql { runtime, client })
    }

    /// All rows of the last result.
    pub fn rows(&self, statement: &str) -> Outcome<Vec<TextRow>> {
        let rows = self.runtime.block_on(self.client.rows("benchmark statement", statement));
        rows.map_err(|error| format!("{}\nin: {statement}", with_causes(&error)).into())
    }

    /// Statements whose results do not matter.
    pub fn run(&self, statements: &str) -> Outcome<()> {
        self.rows(statements).map(|_| ())
    }

    /// The only value.
    pub fn value(&self, statement: &str) -> Outcome<String> {
        let rows = self.rows(statement)?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        value.ok_or_else(|| format!("no value from: {statement}").into())
    }
}

/// The error and all that it was caused by, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
