//! A session with a walsender: commands with typed results, and the way into the streams.

use std::io::Read;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{self, Opened};
use super::{Canceller, NetError, Stream};
use crate::conninfo::ConnectOptions;
use crate::wal::{Lsn, Timeline};
use crate::wire::base_backup::BackupStream;
use crate::wire::copy_both::WalStream;
use crate::wire::{
    BaseBackupOptions, Command, CreatedSlot, Exchange, ExchangeEvent, HistoryFile, IdentifySystem,
    Parameters, ResultSet, ServerVersion, SlotName, SlotState, Tag, WireError, frontend,
};

/// A physical replication connection, between commands.
///
/// It has no database: a server of 16 and later wakes a walsender with a database only after
/// replay. Dropping it closes the socket; [`Walsender::close`] says goodbye first.
#[derive(Debug)]
pub struct Walsender {
    stream: Stream,
    /// Bytes that were read and not yet understood.
    input: BytesMut,
    version: ServerVersion,
    parameters: Parameters,
    endpoint: String,
    host: usize,
    user: String,
    canceller: Canceller,
    command_timeout: Duration,
}

/// Of content that is sent to a server; any size will do.
const COPY_BYTES: usize = 64 << 10;

impl Walsender {
    /// How long a command may go unanswered, unless [`Walsender::set_command_timeout`] says
    /// otherwise. A slot can be made to wait for a checkpoint, hence the length.
    pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

    /// Connects and logs in. `application_name` is what the session is called in
    /// `pg_stat_replication` unless the user's options name it.
    ///
    /// # Errors
    /// [`NetError`] with the reason; when several hosts were tried, with all reasons.
    pub async fn connect(
        options: &ConnectOptions,
        application_name: &str,
    ) -> Result<Walsender, NetError> {
        let mut parameters = vec![
            ("replication".to_owned(), "true".to_owned()),
            (
                "application_name".to_owned(),
                options.application_name_or(application_name).to_owned(),
            ),
        ];
        if let Some(server_options) = &options.server_options {
            parameters.push(("options".to_owned(), server_options.clone()));
        }
        let (host, Opened { stream, input, session, endpoint }) =
            connect::open(options, &parameters).await?;
        Ok(Walsender {
            version: session.version,
            parameters: session.parameters,
            user: options.user.clone(),
            canceller: Canceller {
                endpoint: endpoint.clone(),
                options: options.clone(),
                encrypted: stream.is_encrypted(),
                key: session.cancel_key,
            },
            endpoint: endpoint.to_string(),
            host,
            stream,
            input,
            command_timeout: Self::COMMAND_TIMEOUT,
        })
    }

    /// The server's version.
    pub fn version(&self) -> ServerVersion {
        self.version
    }

    /// The settings that the server has reported.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Where the session goes, for messages.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Which of the hosts of the options it is.
    pub fn host(&self) -> usize {
        self.host
    }

    /// The process that serves us, as in `pg_stat_replication`; `None` behind some middleware.
    pub fn process_id(&self) -> Option<i32> {
        self.canceller.key.as_ref().map(|key| key.process_id())
    }

    /// The means to end a command of this session from another task.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// How long a command may go unanswered from now on.
    pub fn set_command_timeout(&mut self, timeout: Duration) {
        self.command_timeout = timeout;
    }

    /// Stream and buffer, for who drives a [`WalStream`] or a [`BackupStream`] itself: what the
    /// socket gives is appended to the buffer, the stream takes from its front.
    pub fn parts(&mut self) -> (&mut Stream, &mut BytesMut) {
        (&mut self.stream, &mut self.input)
    }

    /// The same, for good.
    pub fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.input)
    }

    /// Who the cluster is and where it stands. Also the ping.
    ///
    /// # Errors
    /// See [`NetError`]; the same holds for all commands below.
    pub async fn identify_system(&mut self) -> Result<IdentifySystem, NetError> {
        self.one(&Command::IdentifySystem, |result| IdentifySystem::try_from(result)).await
    }

    /// Waits, between two commands, until the connection is lost; returns how. May be given up at
    /// any point, and then the session goes on.
    pub async fn lost_idle(&mut self) -> NetError {
        let next = Command::IdentifySystem;
        // What the server says unasked is taken in; only its last words end this.
        match self.receive(&next, None).await {
            Err(error) => error,
            Ok(_) => {
                let (got, expected) = (Tag(b'Z'), "nothing");
                self.command_error(next.keyword(), WireError::Unexpected { got, expected })
            }
        }
    }

    /// The value of a setting, as the server prints it.
    pub async fn show(&mut self, name: &str) -> Result<String, NetError> {
        self.one(&Command::Show(name.to_owned()), ResultSet::setting).await
    }

    /// The history file of a timeline. Timeline 1 has none: the server answers 58P01.
    pub async fn timeline_history(&mut self, timeline: Timeline) -> Result<HistoryFile, NetError> {
        let command = Command::TimelineHistory(timeline);
        self.one(&command, |result| HistoryFile::from_result(result, timeline)).await
    }

    /// Where a slot stands; `None` when there is no such slot. Servers before 15 do not know
    /// the command; see [`crate::net::SqlClient::slot`].
    pub async fn read_slot(&mut self, name: &SlotName) -> Result<Option<SlotState>, NetError> {
        self.one(&Command::ReadSlot(name.clone()), SlotState::from_result).await
    }

    /// Makes a physical slot.
    pub async fn create_slot(
        &mut self,
        name: &SlotName,
        temporary: bool,
        reserve_wal: bool,
    ) -> Result<CreatedSlot, NetError> {
        let command = Command::CreateSlot { name: name.clone(), temporary, reserve_wal };
        self.one(&command, |result| CreatedSlot::try_from(result)).await
    }

    /// Drops a slot. With `wait`, waits until its user is gone; otherwise that is an error.
    pub async fn drop_slot(&mut self, name: &SlotName, wait: bool) -> Result<(), NetError> {
        self.run(&Command::DropSlot { name: name.clone(), wait }).await.map(|_| ())
    }

    /// Asks for WAL from `start` on. The returned stream understands what comes; drive it with
    /// [`Walsender::parts`].
    pub async fn start_replication(
        &mut self,
        slot: Option<&SlotName>,
        start: Lsn,
        timeline: Timeline,
    ) -> Result<WalStream, NetError> {
        self.send(&Command::StartReplication { slot: slot.cloned(), start, timeline }).await?;
        Ok(WalStream::new(start))
    }

    /// Asks for a copy of the cluster. The returned stream understands what comes; drive it
    /// with [`Walsender::parts`]. On servers of 11 to 14 use a fresh session for each backup:
    /// they remember a wish not to verify checksums.
    pub async fn base_backup(
        &mut self,
        options: &BaseBackupOptions,
    ) -> Result<BackupStream, NetError> {
        self.send(&Command::BaseBackup(options.clone())).await?;
        Ok(BackupStream::new(self.version, options))
    }

    /// Hands over the manifest of the backup that the next one of this session builds on (17 and
    /// later): `manifest` to its end, which is after about `length` bytes. The server reads it
    /// before it answers.
    ///
    /// # Errors
    /// The server refuses it or is silent, the connection is lost, or `manifest` cannot be read;
    /// the connection is then of no more use.
    pub async fn upload_manifest(
        &mut self,
        manifest: &mut (dyn Read + Send),
        length: u64,
    ) -> Result<(), NetError> {
        let command = Command::UploadManifest;
        // What is slower than a megabyte a second is no connection for backups.
        let timeout = self.command_timeout + Duration::from_secs(length >> 20);
        let exchange = async {
            self.send(&command).await?;
            self.receive(&command, Some(manifest)).await
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(outcome) => outcome.map(|_| ()),
            Err(_) => Err(self.silent(&command, timeout)),
        }
    }

    /// Closes our side of the connection, without a word; what is left of it is of no use.
    pub async fn hang_up(&mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.shutdown()).await;
    }

    /// Says goodbye and closes.
    pub async fn close(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        // Whether it still arrives makes no difference to anybody.
        let farewell = async {
            self.stream.write_all(&out).await?;
            self.stream.shutdown().await
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    }

    /// An error of the streams that are driven from outside, with the server's name to it.
    pub fn command_error(&self, command: &str, source: WireError) -> NetError {
        NetError::Command {
            endpoint: self.endpoint.clone(),
            command: command.to_owned(),
            user: self.user.clone(),
            source: Box::new(source),
        }
    }

    /// The same for the socket.
    pub fn lost(&self, source: std::io::Error) -> NetError {
        NetError::Lost { endpoint: self.endpoint.clone(), source }
    }

    /// A command with exactly one result, which `parse` makes sense of.
    async fn one<T>(
        &mut self,
        command: &Command,
        parse: impl FnOnce(&ResultSet) -> Result<T, WireError>,
    ) -> Result<T, NetError> {
        let results = self.run(command).await?;
        let missing = WireError::Result { command: command.keyword(), what: "row" };
        results
            .first()
            .ok_or(missing)
            .and_then(parse)
            .map_err(|error| self.command_error(command.keyword(), error))
    }

    async fn run(&mut self, command: &Command) -> Result<Vec<ResultSet>, NetError> {
        let timeout = self.command_timeout;
        let exchange = async {
            self.send(command).await?;
            self.receive(command, None).await
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.silent(command, timeout)),
        }
    }

    fn silent(&self, command: &Command, after: Duration) -> NetError {
        let command = command.keyword().to_owned();
        NetError::Silent { endpoint: self.endpoint.clone(), command, after }
    }

    /// Sends what a command waits for.
    async fn send_copy(&mut self, content: &mut (dyn Read + Send)) -> Result<(), NetError> {
        let (mut out, mut piece) = (BytesMut::new(), vec![0; COPY_BYTES]);
        loop {
            let read = content.read(&mut piece).map_err(|source| self.lost(source))?;
            if read == 0 {
                break;
            }
            out.clear();
            frontend::copy_data(&piece[..read], &mut out);
            self.stream.write_all(&out).await.map_err(|source| self.lost(source))?;
        }
        out.clear();
        frontend::copy_done(&mut out);
        self.stream.write_all(&out).await.map_err(|source| self.lost(source))?;
        self.stream.flush().await.map_err(|source| self.lost(source))
    }

    async fn send(&mut self, command: &Command) -> Result<(), NetError> {
        let mut out = BytesMut::new();
        command
            .encode(self.version, &mut out)
            .map_err(|error| self.command_error(command.keyword(), error))?;
        self.stream.write_all(&out).await.map_err(|source| self.lost(source))?;
        self.stream.flush().await.map_err(|source| self.lost(source))
    }

    async fn receive(
        &mut self,
        command: &Command,
        mut copy: Option<&mut (dyn Read + Send)>,
    ) -> Result<Vec<ResultSet>, NetError> {
        let mut exchange = Exchange::new();
        loop {
            let event = exchange
                .next(&mut self.input)
                .map_err(|error| self.command_error(command.keyword(), error))?;
            match event {
                Some(ExchangeEvent::Done(results)) => return Ok(results),
                Some(ExchangeEvent::Failed(error)) => {
                    return Err(self.command_error(command.keyword(), WireError::Refused(error)));
                }
                Some(ExchangeEvent::Parameter(status)) => self.parameters.set(status),
                Some(ExchangeEvent::Notice(notice)) => tracing::info!("server says: {notice}"),
                Some(ExchangeEvent::CopyIn) => {
                    // Nobody asks twice for what was sent.
                    let Some(content) = copy.take() else {
                        let error = WireError::Result { command: command.keyword(), what: "row" };
                        return Err(self.command_error(command.keyword(), error));
                    };
                    self.send_copy(content).await?;
                }
                None => {
                    let read = self.stream.read_buf(&mut self.input).await;
                    if read.map_err(|source| self.lost(source))? == 0 {
                        return Err(NetError::Closed {
                            endpoint: self.endpoint.clone(),
                            waiting_for: "end of the command",
                        });
                    }
                }
            }
        }
    }
}
