//! The messages of a server, from bytes to fields.
//!
//! Knows the layout of one message, not the order of several.

use std::fmt;

use bytes::Bytes;

use super::body::Body;
use super::{Notice, ServerError, ServerMessage, Severity, SqlState, Tag, WireError};

/// A whole message of the server. CopyData is not among them: see [`super::Frame`].
///
/// Source: manual, "Message Formats". Values are text throughout.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendMessage {
    /// `R`
    Authentication(Authentication),
    /// `S`
    ParameterStatus(ParameterStatus),
    /// `K`
    BackendKeyData(CancelKey),
    /// `v`: the newest version that the server speaks, and the options that it does not know.
    NegotiateProtocolVersion {
        /// 0x00030000 is 3.0.
        newest: u32,
        /// Names of protocol options.
        unknown_options: Vec<String>,
    },
    /// `Z`
    ReadyForQuery(TransactionStatus),
    /// `T`
    RowDescription(Vec<Column>),
    /// `D`
    DataRow(DataRow),
    /// `C`, with its tag.
    CommandComplete(String),
    /// `E`
    Error(ServerError),
    /// `N`
    Notice(Notice),
    /// `A`, which no walsender sends; its content is of no use here.
    Notification,
    /// `G`: the server waits for CopyData.
    CopyIn,
    /// `H`: CopyData follows.
    CopyOut,
    /// `W`: both.
    CopyBoth,
    /// `c`
    CopyDone,
}

/// What the server asks for at login.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authentication {
    /// 0: you are in.
    Ok,
    /// 2
    KerberosV5,
    /// 3
    Cleartext,
    /// 5
    Md5 {
        /// Four random bytes.
        salt: [u8; 4],
    },
    /// 7
    Gss,
    /// 8
    GssContinue,
    /// 9
    Sspi,
    /// 10
    Sasl {
        /// Names of mechanisms, best first.
        mechanisms: Vec<String>,
    },
    /// 11
    SaslContinue(Bytes),
    /// 12
    SaslFinal(Bytes),
    /// Anything else.
    Unknown(i32),
}

/// A setting that the server reports, at login or when it changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParameterStatus {
    /// `server_version`, `in_hot_standby`, …
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The settings that the server has reported so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Parameters(Vec<ParameterStatus>);

impl Parameters {
    /// Servers report about 15. A hostile one must not fill our memory with more.
    const COUNT_MAX: usize = 200;

    /// The last reported value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|status| status.name == name).map(|status| status.value.as_str())
    }

    /// Takes a report in.
    pub fn set(&mut self, status: ParameterStatus) {
        if let Some(known) = self.0.iter_mut().find(|known| known.name == status.name) {
            known.value = status.value;
        } else if self.0.len() < Self::COUNT_MAX {
            self.0.push(status);
        }
    }

    /// All of them, in the order in which they came first.
    pub fn iter(&self) -> impl Iterator<Item = &ParameterStatus> {
        self.0.iter()
    }
}

/// What a CancelRequest needs: a secret, since who has it can end our commands.
#[derive(Clone, Eq, PartialEq)]
pub struct CancelKey {
    pub(super) process_id: i32,
    pub(super) key: Bytes,
}

impl CancelKey {
    /// The process that serves us, as in `pg_stat_replication`.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }
}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelKey {{ process_id: {}, key: *** }}", self.process_id)
    }
}

/// Whether a transaction is open; on a walsender it never is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TransactionStatus {
    /// `I`
    Idle,
    /// `T`
    InTransaction,
    /// `E`
    Failed,
}

/// A column of a result. Types differ between versions and do not matter: all is text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
}

/// A row: for each column its text, or `None` for NULL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataRow(pub Vec<Option<Bytes>>);

impl BackendMessage {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for a body that is too short, too long or not terminated;
    /// [`WireError::Unexpected`] for a type that no walsender sends.
    pub fn parse(tag: Tag, body: Bytes) -> Result<BackendMessage, WireError> {
        let mut body = Body::new(tag, body);
        let message = match tag.0 {
            b'R' => BackendMessage::Authentication(authentication(&mut body)?),
            b'S' => BackendMessage::ParameterStatus(ParameterStatus {
                name: body.string()?,
                value: body.string()?,
            }),
            b'K' => BackendMessage::BackendKeyData(cancel_key(&mut body)?),
            b'v' => negotiate(&mut body)?,
            b'Z' => BackendMessage::ReadyForQuery(match body.u8()? {
                b'I' => TransactionStatus::Idle,
                b'T' => TransactionStatus::InTransaction,
                b'E' => TransactionStatus::Failed,
                _ => return Err(body.malformed("unknown transaction status")),
            }),
            b'T' => BackendMessage::RowDescription(columns(&mut body)?),
            b'D' => BackendMessage::DataRow(data_row(&mut body)?),
            b'C' => BackendMessage::CommandComplete(body.string()?),
            b'E' => BackendMessage::Error(ServerError(server_message(&mut body, Severity::Error)?)),
            b'N' => BackendMessage::Notice(Notice(server_message(&mut body, Severity::Notice)?)),
            b'A' => {
                body.i32()?;
                body.string()?;
                body.string()?;
                BackendMessage::Notification
            }
            b'G' | b'H' | b'W' => copy_response(&mut body)?,
            b'c' => BackendMessage::CopyDone,
            _ => {
                let expected = "a message of the replication protocol";
                return Err(WireError::Unexpected { got: tag, expected });
            }
        };
        body.end()?;
        Ok(message)
    }
}

fn authentication(body: &mut Body) -> Result<Authentication, WireError> {
    Ok(match body.i32()? {
        0 => Authentication::Ok,
        2 => Authentication::KerberosV5,
        3 => Authentication::Cleartext,
        5 => {
            let salt = body.take(4)?;
            Authentication::Md5 { salt: [salt[0], salt[1], salt[2], salt[3]] }
        }
        7 => Authentication::Gss,
        8 => {
            body.remainder();
            Authentication::GssContinue
        }
        9 => Authentication::Sspi,
        10 => {
            let mut mechanisms = Vec::new();
            loop {
                let name = body.string()?;
                if name.is_empty() {
                    break Authentication::Sasl { mechanisms };
                }
                mechanisms.push(name);
            }
        }
        11 => Authentication::SaslContinue(body.remainder()),
        12 => Authentication::SaslFinal(body.remainder()),
        code => {
            body.remainder();
            Authentication::Unknown(code)
        }
    })
}

fn cancel_key(body: &mut Body) -> Result<CancelKey, WireError> {
    let process_id = body.i32()?;
    let key = body.remainder();
    // 4 bytes in protocol 3.0, up to 256 in 3.2.
    if !(4..=256).contains(&key.len()) {
        return Err(body.malformed("key is not of 4 to 256 bytes"));
    }
    Ok(CancelKey { process_id, key })
}

fn negotiate(body: &mut Body) -> Result<BackendMessage, WireError> {
    let newest = body.i32()?.cast_unsigned();
    let count = body.i32()?;
    // Each name takes a byte at least: a count beyond the body is a lie.
    if usize::try_from(count).map_or(true, |count| count > body.len()) {
        return Err(body.malformed("more options than bytes"));
    }
    let unknown_options = (0..count).map(|_| body.string()).collect::<Result<_, _>>()?;
    Ok(BackendMessage::NegotiateProtocolVersion { newest, unknown_options })
}

fn columns(body: &mut Body) -> Result<Vec<Column>, WireError> {
    // Name terminator, table oid, attribute number, type oid, type length, modifier, format.
    const AFTER_NAME: usize = 4 + 2 + 4 + 2 + 4 + 2;
    let count = body.count(1 + AFTER_NAME)?;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        let name = body.string()?;
        body.take(AFTER_NAME)?;
        columns.push(Column { name });
    }
    Ok(columns)
}

fn data_row(body: &mut Body) -> Result<DataRow, WireError> {
    let count = body.count(4)?;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(match body.i32()? {
            -1 => None,
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| body.malformed("negative length of a value"))?;
                Some(body.take(length)?)
            }
        });
    }
    Ok(DataRow(values))
}

fn copy_response(body: &mut Body) -> Result<BackendMessage, WireError> {
    body.u8()?;
    let count = body.count(2)?;
    body.take(2 * count)?;
    Ok(match body.tag().0 {
        b'G' => BackendMessage::CopyIn,
        b'H' => BackendMessage::CopyOut,
        _ => BackendMessage::CopyBoth,
    })
}

fn server_message(body: &mut Body, severity: Severity) -> Result<Box<ServerMessage>, WireError> {
    let mut message = ServerMessage {
        severity,
        code: SqlState::UNKNOWN,
        message: String::new(),
        detail: None,
        hint: None,
        context: None,
        routine: None,
    };
    let mut untranslated = false;
    loop {
        let field = body.u8()?;
        if field == 0 {
            return Ok(Box::new(message));
        }
        let text = body.string()?;
        match field {
            b'S' if !untranslated => {
                message.severity = Severity::parse(&text).unwrap_or(severity);
            }
            b'V' => {
                untranslated = true;
                message.severity = Severity::parse(&text).unwrap_or(severity);
            }
            b'C' => message.code = SqlState::new(&text).unwrap_or(SqlState::UNKNOWN),
            b'M' => message.message = text,
            b'D' => message.detail = Some(text),
            b'H' => message.hint = Some(text),
            b'W' => message.context = Some(text),
            b'R' => message.routine = Some(text),
            // The manual: "frontends should silently ignore fields of unrecognized type".
            _ => {}
        }
    }
}
