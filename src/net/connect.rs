//! From connection options to an open session: all hosts, all addresses, all rounds.
//!
//! What moves on to the next address: no way to it, no time, no TLS, a server that starts or
//! stops, or one that is not of the kind that `target_session_attrs` names. What does not: a
//! refused login, because another host with the same password would hide a mistake.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::NetError;
use super::dial::dial;
use super::encrypt::{Encryption, encrypt};
use super::endpoint::{Endpoint, endpoints, shuffle};
use super::login::{LoginContext, log_in, may_depend_on_encryption};
use super::stream::Stream;
use super::target::{State, rounds};
use super::tls::TlsClient;
use crate::conninfo::{
    ConnectOptions, Host, LoadBalanceHosts, Purpose, SslMode, TargetSessionAttrs,
};
use crate::wire::{Exchange, ExchangeEvent, Session, SqlState, WireError, frontend};

/// The bound of one attempt where `connect_timeout` does not give one: nothing here waits for
/// ever. Beyond what a slow name service, TLS and LDAP take together.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// An open session, before anybody decided what to do with it.
#[derive(Debug)]
pub(super) struct Opened {
    pub stream: Stream,
    /// What came behind the login.
    pub input: BytesMut,
    pub session: Session,
    pub endpoint: Endpoint,
}

/// Connects by the options. `parameters` are the startup parameters besides the user. Says which
/// of the hosts it was.
pub(super) async fn open(
    options: &ConnectOptions,
    parameters: &[(String, String)],
) -> Result<(usize, Opened), NetError> {
    let needs_tls =
        options.tls.mode != SslMode::Disable && options.hosts.iter().any(|host| !host.is_local());
    let client = if needs_tls { tls_client(options)? } else { None };
    let connector = Connector {
        options,
        parameters,
        client,
        timeout: options.connect_timeout.unwrap_or(ATTEMPT_TIMEOUT),
    };
    let mut attempts = Vec::new();
    for wanted in rounds(options.target_session_attrs) {
        // What an earlier round met, this one meets again.
        attempts.clear();
        let mut hosts: Vec<(usize, &Host)> = options.hosts.iter().enumerate().collect();
        if options.load_balance_hosts == LoadBalanceHosts::Random {
            shuffle(&mut hosts);
        }
        for (index, host) in hosts {
            if let Some(opened) = connector.host(host, wanted, &mut attempts).await? {
                return Ok((index, opened));
            }
        }
    }
    Err(NetError::of_attempts(attempts))
}

/// Our side of TLS. With a mode that can do without, unusable files do not stop the connection.
fn tls_client(options: &ConnectOptions) -> Result<Option<TlsClient>, NetError> {
    match TlsClient::new(&options.tls) {
        Ok(client) => Ok(Some(client)),
        Err(error) if options.tls.mode < SslMode::Require => {
            tracing::warn!("no TLS is tried (sslmode={}): {error}", options.tls.mode);
            Ok(None)
        }
        Err(source) => Err(NetError::Tls { endpoint: None, source: Box::new(source) }),
    }
}

struct Connector<'a> {
    options: &'a ConnectOptions,
    parameters: &'a [(String, String)],
    client: Option<TlsClient>,
    timeout: Duration,
}

impl Connector<'_> {
    /// Tries all addresses of a host. Failures that let others be tried go to `attempts`.
    async fn host(
        &self,
        host: &Host,
        wanted: TargetSessionAttrs,
        attempts: &mut Vec<NetError>,
    ) -> Result<Option<Opened>, NetError> {
        let order = self.options.load_balance_hosts;
        let addresses = match endpoints(host, order, self.timeout).await {
            Ok(addresses) => addresses,
            Err(error) => {
                attempts.push(error);
                return Ok(None);
            }
        };
        for endpoint in addresses {
            let attempt = self.address(host, &endpoint, wanted);
            let outcome = tokio::time::timeout(self.timeout, attempt).await.unwrap_or_else(|_| {
                let endpoint = endpoint.to_string();
                Err(NetError::ConnectTimeout { endpoint, after: self.timeout })
            });
            match outcome {
                Ok(opened) => return Ok(Some(opened)),
                Err(error) if moves_on(&error) => attempts.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Tries one address, encrypted and not as `sslmode` says.
    async fn address(
        &self,
        host: &Host,
        endpoint: &Endpoint,
        wanted: TargetSessionAttrs,
    ) -> Result<Opened, NetError> {
        let plan = Encryption::attempts(self.options.tls.mode, host.is_local());
        let mut first_error = None;
        for how in plan {
            if *how != Encryption::Never && self.client.is_none() {
                continue;
            }
            let error = match self.once(host, endpoint, *how).await {
                Ok(opened) => return self.admit(opened, wanted).await,
                Err(error) => error,
            };
            match first_error {
                None if other_encryption_may_help(&error) => {
                    tracing::debug!("{error}; sslmode allows another attempt");
                    first_error = Some(error);
                }
                // Refused both ways: the first refusal is about the connection that was wanted.
                Some(first) if may_depend_on_encryption(&error) => return Err(first),
                _ => return Err(error),
            }
        }
        // Each plan has an attempt that needs no TLS client, or there is a client.
        Err(first_error.unwrap_or_else(|| NetError::NoTls { endpoint: endpoint.to_string() }))
    }

    async fn once(
        &self,
        host: &Host,
        endpoint: &Endpoint,
        how: Encryption,
    ) -> Result<Opened, NetError> {
        let mut stream = dial(endpoint, self.options).await?;
        if let Some(client) = &self.client {
            let negotiation = self.options.tls.negotiation;
            stream = encrypt(stream, how, negotiation, client, endpoint).await?;
        }
        let mut input = BytesMut::with_capacity(8 << 10);
        let name = endpoint.to_string();
        let context = LoginContext {
            options: self.options,
            host,
            endpoint: &name,
            parameters: self.parameters,
        };
        let session = log_in(&mut stream, &mut input, &context).await?;
        Ok(Opened { stream, input, session, endpoint: endpoint.clone() })
    }

    /// Lets the session pass if its server is one of those that will do.
    async fn admit(
        &self,
        mut opened: Opened,
        wanted: TargetSessionAttrs,
    ) -> Result<Opened, NetError> {
        if wanted == TargetSessionAttrs::Any {
            return Ok(opened);
        }
        let state = match State::reported(&opened.session.parameters) {
            Some(state) => state,
            None => self.ask(&mut opened).await?,
        };
        if state.suits(wanted) {
            return Ok(opened);
        }
        let endpoint = opened.endpoint.to_string();
        // The server would log a session that breaks off; whether this arrives does not matter.
        let mut farewell = BytesMut::new();
        frontend::terminate(&mut farewell);
        let _ = opened.stream.write_all(&farewell).await;
        Err(NetError::NotTheTarget { endpoint, wanted: wanted.as_str(), found: state.describe() })
    }

    async fn ask(&self, opened: &mut Opened) -> Result<State, NetError> {
        let read_only = self.show(opened, "SHOW transaction_read_only").await?;
        let default = self.show(opened, "SHOW default_transaction_read_only").await?;
        let mut state = State::asked(&read_only, &default);
        if self.options.purpose == Purpose::Sql {
            let recovery = self.show(opened, "SELECT pg_catalog.pg_is_in_recovery()").await?;
            state.in_recovery = recovery == "t";
        }
        Ok(state)
    }

    async fn show(&self, opened: &mut Opened, query: &str) -> Result<String, NetError> {
        let endpoint = opened.endpoint.to_string();
        let failed = |source| NetError::Command {
            endpoint: endpoint.clone(),
            command: query.to_owned(),
            user: self.options.user.clone(),
            source: Box::new(source),
        };
        let lost = |source| NetError::Lost { endpoint: endpoint.clone(), source };
        let mut out = BytesMut::new();
        frontend::query(query, &mut out).map_err(failed)?;
        opened.stream.write_all(&out).await.map_err(lost)?;
        opened.stream.flush().await.map_err(lost)?;
        let mut exchange = Exchange::new();
        loop {
            match exchange.next(&mut opened.input).map_err(failed)? {
                Some(ExchangeEvent::Done(results)) => {
                    let result = results.first();
                    let missing = WireError::Result { command: "SHOW", what: "row" };
                    return result.ok_or(missing).and_then(|r| r.setting()).map_err(failed);
                }
                Some(ExchangeEvent::Failed(error)) => {
                    return Err(failed(WireError::Refused(error)));
                }
                Some(_) => {}
                None => {
                    if opened.stream.read_buf(&mut opened.input).await.map_err(lost)? == 0 {
                        let waiting_for = "answer to a question about its state";
                        return Err(NetError::Closed { endpoint, waiting_for });
                    }
                }
            }
        }
    }
}

/// Whether the next address may do better.
fn moves_on(error: &NetError) -> bool {
    match error {
        NetError::Login { source, .. } => match &**source {
            WireError::Refused(refused) => refused.code == SqlState::CANNOT_CONNECT_NOW,
            _ => false,
        },
        NetError::Command { .. } => false,
        _ => true,
    }
}

/// Whether the other attempt of `prefer` or `allow` is worth its while.
fn other_encryption_may_help(error: &NetError) -> bool {
    matches!(error, NetError::Tls { .. } | NetError::TlsRefused { .. } | NetError::NoTls { .. })
        || may_depend_on_encryption(error)
}
