//! Ordinary SQL: tokio-postgres on a session that our own dialler and login opened.
//!
//! tokio-postgres's own login is never used: it knows neither `require_auth` nor several of the
//! options of libpq. It is handed a session that is open already; see [`handover`].

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{NoTls, SimpleQueryMessage};

mod clients;
mod handover;
mod slots;
mod standing;

pub use clients::{StreamingClient, StreamingClients};
pub use slots::SlotRow;
pub use standing::Standing;

use super::connect::{self, Opened};
use super::error::SqlError;
use super::{Canceller, NetError};
use crate::conninfo::ConnectOptions;
use crate::wire::{Parameters, ServerVersion};

/// An SQL session. Dropping it closes the connection.
#[derive(Debug)]
pub struct SqlClient {
    client: tokio_postgres::Client,
    driver: JoinHandle<()>,
    version: ServerVersion,
    parameters: Parameters,
    endpoint: String,
    user: String,
    canceller: Canceller,
    statement_timeout: Duration,
}

/// A row of text, as the simple query protocol gives it.
pub type TextRow = Vec<Option<String>>;

impl SqlClient {
    /// How long a statement may go unanswered unless [`SqlClient::set_statement_timeout`] says
    /// otherwise.
    pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

    /// Connects and logs in. `application_name` is what the session is called in
    /// `pg_stat_activity` unless the user's options name it. Must be called on a tokio runtime:
    /// a task of its own drives the session.
    ///
    /// # Errors
    /// [`NetError`] with the reason; when several hosts were tried, with all reasons.
    pub async fn connect(
        options: &ConnectOptions,
        application_name: &str,
    ) -> Result<SqlClient, NetError> {
        let name = options.application_name_or(application_name);
        let mut parameters = vec![
            ("database".to_owned(), options.dbname.clone()),
            ("client_encoding".to_owned(), "UTF8".to_owned()),
            ("application_name".to_owned(), name.to_owned()),
        ];
        if let Some(server_options) = &options.server_options {
            parameters.push(("options".to_owned(), server_options.clone()));
        }
        let (_, Opened { stream, input, session, endpoint }) =
            connect::open(options, &parameters).await?;
        let canceller = Canceller {
            endpoint: endpoint.clone(),
            options: options.clone(),
            encrypted: stream.is_encrypted(),
            key: session.cancel_key,
        };
        let endpoint = endpoint.to_string();
        let stream = handover::LoggedIn::new(stream, &input, &session.parameters);
        let mut config = tokio_postgres::Config::new();
        config.user(&options.user).ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (client, connection) = config
            .connect_raw(stream, NoTls)
            .await
            .map_err(|error| failed(&endpoint, "start of the session", SqlError::Driver(error)))?;
        let driver = tokio::spawn(async move {
            // Its end, good or bad, is seen by the statement that is running.
            let _ = connection.await;
        });
        Ok(SqlClient {
            client,
            driver,
            version: session.version,
            parameters: session.parameters,
            endpoint,
            user: options.user.clone(),
            canceller,
            statement_timeout: Self::STATEMENT_TIMEOUT,
        })
    }

    /// The server's version.
    pub fn version(&self) -> ServerVersion {
        self.version
    }

    /// The settings that the server reported at login.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Where the session goes, for messages.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The role that logged in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The means to end a statement from another task.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// How long a statement may go unanswered from now on.
    pub fn set_statement_timeout(&mut self, timeout: Duration) {
        self.statement_timeout = timeout;
    }

    /// All rows of a statement's last result, as text. `what` names the statement in errors.
    ///
    /// # Errors
    /// The server's refusal, a lost connection, no answer in time.
    pub async fn rows(
        &self,
        what: &'static str,
        statement: &str,
    ) -> Result<Vec<TextRow>, NetError> {
        let query = self.client.simple_query(statement);
        let messages = match tokio::time::timeout(self.statement_timeout, query).await {
            Ok(answer) => {
                answer.map_err(|error| failed(&self.endpoint, what, SqlError::Driver(error)))?
            }
            Err(_) => {
                let silent = SqlError::Silent(self.statement_timeout);
                return Err(failed(&self.endpoint, what, silent));
            }
        };
        let mut rows = Vec::new();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(_) => rows.clear(),
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
                }
                _ => {}
            }
        }
        Ok(rows)
    }

    /// The only row of a statement.
    ///
    /// # Errors
    /// Those of [`SqlClient::rows`]; no row at all.
    pub async fn row(&self, what: &'static str, statement: &str) -> Result<TextRow, NetError> {
        let rows = self.rows(what, statement).await?;
        rows.into_iter().next().ok_or_else(|| self.missing(what, "row"))
    }

    /// The only value of the only row.
    ///
    /// # Errors
    /// Those of [`SqlClient::row`]; a NULL.
    pub async fn value(&self, what: &'static str, statement: &str) -> Result<String, NetError> {
        let row = self.row(what, statement).await?;
        row.into_iter().next().flatten().ok_or_else(|| self.missing(what, "value"))
    }

    /// The value of a setting, as the server prints it.
    ///
    /// # Errors
    /// Those of [`SqlClient::value`].
    pub async fn show(&self, name: &str) -> Result<String, NetError> {
        self.value("look at a setting", &format!("SHOW {}", quote_identifier(name))).await
    }

    /// An answer that lacks something.
    pub(crate) fn missing(&self, what: &'static str, missing: &str) -> NetError {
        NetError::SqlResult { endpoint: self.endpoint.clone(), what, missing: missing.to_owned() }
    }
}

impl Drop for SqlClient {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A name as SQL wants it.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string as SQL wants it, whatever `standard_conforming_strings` says.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

fn failed(endpoint: &str, what: &'static str, source: SqlError) -> NetError {
    NetError::Sql { endpoint: endpoint.to_owned(), what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_cannot_end_a_string_or_a_name() {
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\'b"), r" E'a\\''b'");
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
    }
}
