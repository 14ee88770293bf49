//! From the first packet to ReadyForQuery: startup, authentication, the server's settings.
//!
//! Bytes in, bytes and facts out. Knows no socket: whether the connection is encrypted, and
//! what ties it to the server's certificate, are told to it.

use bytes::BytesMut;

use super::body::printable;
use super::{
    AuthMethod, Authentication, BackendMessage, CancelKey, Frame, FrameReader, Notice, Parameters,
    ServerVersion, Tag, WireError, frontend,
};

mod error;
mod options;
mod sasl;

pub use error::LoginError;
pub use options::{LoginOptions, Transport};
use sasl::Sasl;

/// A login in progress.
///
/// Call [`Login::start`], send what it wrote; then call [`Login::next`] until
/// [`LoginEvent::Ready`]. Whenever `next` returns, send what it appended to `out`; when it
/// returns `None`, then read more.
#[derive(Debug)]
pub struct Login {
    options: LoginOptions,
    reader: FrameReader,
    phase: Phase,
    method: AuthMethod,
    parameters: Parameters,
    cancel_key: Option<CancelKey>,
    /// Whether anything came that only a PostgreSQL server sends.
    heard: bool,
}

/// What happened during a login.
#[derive(Debug)]
pub enum LoginEvent {
    /// The server remarks something, for example that md5 is on its way out.
    Notice(Notice),
    /// Something that the user had better know.
    Warning(LoginWarning),
    /// The session is open.
    Ready(Box<Session>),
}

/// Something that works but is not safe.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoginWarning {
    /// Anyone on the way can read the password.
    #[error("password is sent in clear over a connection without TLS")]
    CleartextPassword,
}

/// An open session.
#[derive(Clone, Debug)]
pub struct Session {
    /// What the server is.
    pub version: ServerVersion,
    /// What it reported of its settings; later reports are to be added.
    pub parameters: Parameters,
    /// For a CancelRequest; some middleware sends none.
    pub cancel_key: Option<CancelKey>,
    /// How we logged in.
    pub method: AuthMethod,
}

#[derive(Debug)]
enum Phase {
    /// The server's demand is awaited.
    Authentication,
    /// An answer was sent; the verdict, R 0, is awaited.
    Verdict,
    /// In the middle of a SASL exchange.
    Sasl(Sasl),
    /// Logged in; settings come, then ReadyForQuery.
    Settings,
}

impl Login {
    /// A login that has not begun.
    pub fn new(options: LoginOptions) -> Login {
        Login {
            options,
            reader: FrameReader::new(),
            phase: Phase::Authentication,
            method: AuthMethod::None,
            parameters: Parameters::default(),
            cancel_key: None,
            heard: false,
        }
    }

    /// Appends the startup packet to `out`.
    ///
    /// # Errors
    /// A parameter that cannot be sent.
    pub fn start(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let user = ("user", self.options.user.as_str());
        let others = self.options.parameters.iter();
        let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
        frontend::startup(std::iter::once(user).chain(others), out)
    }

    /// What the server is waited for, for a message when it takes long.
    pub fn waits_for(&self) -> &'static str {
        match self.phase {
            Phase::Authentication => "answer to the startup packet",
            Phase::Verdict | Phase::Sasl(_) => "authentication",
            Phase::Settings => "start of the session",
        }
    }

    /// The next event, or `None` when the server's turn has come: send `out`, then read.
    ///
    /// # Errors
    /// The server's refusal, a violation of the protocol, or [`LoginError`] where our own rules
    /// forbid to go on. The connection is then of no more use.
    pub fn next(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<LoginEvent>, WireError> {
        if !self.heard {
            refuse_unframed_error(input)?;
        }
        loop {
            let Some(frame) = self.reader.next(input)? else { return Ok(None) };
            let Frame::Message { tag, body } = frame else {
                return Err(unexpected(Tag(b'd'), "a message of the login"));
            };
            self.heard = true;
            let message = BackendMessage::parse(tag, body)?;
            if let Some(event) = self.handle(tag, message, out)? {
                return Ok(Some(event));
            }
        }
    }

    fn handle(
        &mut self,
        tag: Tag,
        message: BackendMessage,
        out: &mut BytesMut,
    ) -> Result<Option<LoginEvent>, WireError> {
        let settled = matches!(self.phase, Phase::Settings);
        match message {
            BackendMessage::Error(error) => return Err(WireError::Refused(error)),
            BackendMessage::Notice(notice) => return Ok(Some(LoginEvent::Notice(notice))),
            BackendMessage::ParameterStatus(status) => self.parameters.set(status),
            BackendMessage::NegotiateProtocolVersion { newest, unknown_options } => {
                // We ask for the oldest version and no option: there is nothing to negotiate.
                if newest < frontend::PROTOCOL_VERSION || !unknown_options.is_empty() {
                    return Err(LoginError::Protocol { newest }.into());
                }
            }
            BackendMessage::Authentication(demand) if !settled => {
                return self.answer(demand, out);
            }
            BackendMessage::BackendKeyData(key) if settled => self.cancel_key = Some(key),
            BackendMessage::ReadyForQuery(_) if settled => {
                return self.session().map(|session| Some(LoginEvent::Ready(Box::new(session))));
            }
            _ if settled => return Err(unexpected(tag, "ReadyForQuery")),
            _ => return Err(unexpected(tag, "Authentication")),
        }
        Ok(None)
    }

    fn answer(
        &mut self,
        demand: Authentication,
        out: &mut BytesMut,
    ) -> Result<Option<LoginEvent>, WireError> {
        let phase = std::mem::replace(&mut self.phase, Phase::Verdict);
        match (phase, demand) {
            (Phase::Authentication, Authentication::Ok) => {
                self.admit(AuthMethod::None, false)?;
                self.phase = Phase::Settings;
            }
            (Phase::Verdict, Authentication::Ok) => self.phase = Phase::Settings,
            (Phase::Sasl(sasl), Authentication::Ok) => {
                if !sasl.is_verified() {
                    return Err(LoginError::ServerNotVerified.into());
                }
                self.phase = Phase::Settings;
            }
            (Phase::Authentication, Authentication::Cleartext) => {
                self.admit(AuthMethod::Password, false)?;
                frontend::password(self.options.password(AuthMethod::Password)?, out)?;
                if matches!(self.options.transport, Transport::Clear) {
                    return Ok(Some(LoginEvent::Warning(LoginWarning::CleartextPassword)));
                }
            }
            (Phase::Authentication, Authentication::Md5 { salt }) => {
                self.admit(AuthMethod::Md5, false)?;
                let password = self.options.password(AuthMethod::Md5)?;
                let user = self.options.user.as_bytes();
                let hash = postgres_protocol::authentication::md5_hash(user, password, salt);
                frontend::password(hash.as_bytes(), out)?;
            }
            (Phase::Authentication, Authentication::Sasl { mechanisms }) => {
                let sasl = Sasl::choose(&mechanisms, &self.options)?;
                self.admit(AuthMethod::ScramSha256, sasl.binds())?;
                sasl.begin(out)?;
                self.phase = Phase::Sasl(sasl);
            }
            (Phase::Sasl(mut sasl), Authentication::SaslContinue(data)) => {
                sasl.proceed(&data, out)?;
                self.phase = Phase::Sasl(sasl);
            }
            (Phase::Sasl(mut sasl), Authentication::SaslFinal(data)) => {
                sasl.finish(&data)?;
                self.phase = Phase::Sasl(sasl);
            }
            (Phase::Authentication, other) => return Err(refusal(&other).into()),
            _ => return Err(unexpected(Tag(b'R'), "another step of the authentication")),
        }
        Ok(None)
    }

    /// Checks a method against what the user allows, before anything secret is sent.
    fn admit(&mut self, method: AuthMethod, binds: bool) -> Result<(), LoginError> {
        if self.options.channel_binding == super::ChannelBinding::Require && !binds {
            return Err(LoginError::NotBound { method });
        }
        if !self.options.require_auth.allows(method) {
            let required = self.options.require_auth.to_string();
            return Err(LoginError::NotAllowed { method, required });
        }
        self.method = method;
        Ok(())
    }

    fn session(&mut self) -> Result<Session, WireError> {
        let version = self.parameters.get("server_version").ok_or(LoginError::NoVersion)?;
        let version: ServerVersion = version.parse()?;
        if !version.is_supported() {
            return Err(LoginError::TooOld { version }.into());
        }
        // Floating-point times ended with version 10; a server that says otherwise is none.
        if matches!(self.parameters.get("integer_datetimes"), Some(value) if value != "on") {
            return Err(LoginError::FloatDatetimes.into());
        }
        Ok(Session {
            version,
            parameters: std::mem::take(&mut self.parameters),
            cancel_key: self.cancel_key.take(),
            method: self.method,
        })
    }
}

fn refusal(demand: &Authentication) -> LoginError {
    match demand {
        Authentication::KerberosV5 => LoginError::Unsupported { what: "Kerberos V5" },
        Authentication::Gss | Authentication::GssContinue => {
            LoginError::Unsupported { what: "GSSAPI" }
        }
        Authentication::Sspi => LoginError::Unsupported { what: "SSPI" },
        Authentication::Unknown(code) => LoginError::UnknownDemand { code: *code },
        _ => LoginError::Unsupported { what: "a SASL message without a SASL exchange" },
    }
}

/// Servers up to 13 that cannot even start a process say so in the form of protocol 2: `E`,
/// text, zero byte. As a length, the first letters would be a nonsensical one.
fn refuse_unframed_error(input: &BytesMut) -> Result<(), LoginError> {
    const LENGTH_MAX: usize = 1_000;
    match input[..] {
        [b'E', high, ..] if high != 0 => {
            let text = input[1..].split(|&byte| byte == 0).next().unwrap_or_default();
            let text = &text[..text.len().min(LENGTH_MAX)];
            Err(LoginError::RefusedEarly { text: printable(text).trim().to_owned() })
        }
        _ => Ok(()),
    }
}

fn unexpected(got: Tag, expected: &'static str) -> WireError {
    WireError::Unexpected { got, expected }
}
