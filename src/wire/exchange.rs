//! One command that answers with rows: everything up to ReadyForQuery.
//!
//! CommandComplete is never counted: its number and tags differ between versions, and one minor
//! version forgot one. Only ReadyForQuery ends an exchange.

use bytes::BytesMut;

use super::{
    BackendMessage, DataRow, Frame, FrameReader, Notice, ParameterStatus, ResultSet, ServerError,
    Tag, WireError,
};

/// The answer to one command, while it comes.
///
/// Feed it after the command was sent, until [`ExchangeEvent::Done`] or
/// [`ExchangeEvent::Failed`]; after both the session takes the next command.
#[derive(Debug, Default)]
pub struct Exchange {
    reader: FrameReader,
    results: Vec<ResultSet>,
    /// Whether the last result still takes rows.
    open: bool,
    bytes: usize,
    error: Option<ServerError>,
}

/// What happened.
#[derive(Debug)]
pub enum ExchangeEvent {
    /// The server remarks something.
    Notice(Notice),
    /// A setting changed: `in_hot_standby` does at promotion.
    Parameter(ParameterStatus),
    /// The server waits for CopyData: send it, then CopyDone, then go on here.
    CopyIn,
    /// The command succeeded.
    Done(Vec<ResultSet>),
    /// The command failed; the session is ready for another.
    Failed(ServerError),
}

impl Exchange {
    /// Rows of all results together. A history file is the largest thing that is ever asked
    /// for.
    pub const RESULT_BYTES_MAX: usize = 96 << 20;

    /// An answer of which nothing has come yet.
    pub fn new() -> Exchange {
        Exchange::default()
    }

    /// The next event, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`WireError::Refused`] when the server ends the session; a violation of the protocol.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<ExchangeEvent>, WireError> {
        while let Some(frame) = self.reader.next(input)? {
            let Frame::Message { tag, body } = frame else {
                return Err(unexpected(Tag(b'd')));
            };
            self.bytes += body.len();
            if self.bytes > Self::RESULT_BYTES_MAX {
                return Err(WireError::ResultTooLong { max: Self::RESULT_BYTES_MAX });
            }
            let message = BackendMessage::parse(tag, body)?;
            if let Some(event) = self.handle(tag, message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn handle(
        &mut self,
        tag: Tag,
        message: BackendMessage,
    ) -> Result<Option<ExchangeEvent>, WireError> {
        match message {
            BackendMessage::Notice(notice) => return Ok(Some(ExchangeEvent::Notice(notice))),
            BackendMessage::ParameterStatus(status) => {
                return Ok(Some(ExchangeEvent::Parameter(status)));
            }
            BackendMessage::Notification => {}
            BackendMessage::Error(error) if error.is_fatal() => {
                return Err(WireError::Refused(error));
            }
            BackendMessage::Error(error) => {
                // The first one is the cause.
                self.error.get_or_insert(error);
                self.open = false;
            }
            BackendMessage::ReadyForQuery(_) => {
                return Ok(Some(match self.error.take() {
                    Some(error) => ExchangeEvent::Failed(error),
                    None => ExchangeEvent::Done(std::mem::take(&mut self.results)),
                }));
            }
            _ if self.error.is_some() => return Err(unexpected(tag)),
            BackendMessage::RowDescription(columns) => {
                self.results.push(ResultSet { columns, rows: Vec::new() });
                self.open = true;
            }
            BackendMessage::DataRow(row) => self.add(tag, row)?,
            BackendMessage::CommandComplete(_) => self.open = false,
            BackendMessage::CopyIn if self.results.is_empty() => {
                return Ok(Some(ExchangeEvent::CopyIn));
            }
            _ => return Err(unexpected(tag)),
        }
        Ok(None)
    }

    fn add(&mut self, tag: Tag, row: DataRow) -> Result<(), WireError> {
        match self.results.last_mut() {
            Some(result) if self.open && row.0.len() == result.columns.len() => {
                // A row without columns takes no bytes on the wire but some in memory.
                self.bytes += size_of::<DataRow>() + row.0.len() * size_of::<usize>() * 4;
                result.rows.push(row);
                Ok(())
            }
            Some(_) if self.open => {
                Err(WireError::Malformed { tag, what: "other columns than were described" })
            }
            _ => Err(unexpected(tag)),
        }
    }
}

fn unexpected(got: Tag) -> WireError {
    WireError::Unexpected { got, expected: "the result of a command" }
}
