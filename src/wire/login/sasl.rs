//! SCRAM-SHA-256, with and without channel binding: RFC 5802, RFC 7677, RFC 5929.
//!
//! The cryptography is `postgres_protocol`'s; the choice of mechanism, the limits and the order
//! of messages are here.

use std::fmt;

use bytes::BytesMut;
use postgres_protocol::authentication::sasl::{self, ScramSha256};

use super::{LoginError, LoginOptions, Transport};
use crate::wire::body::printable;
use crate::wire::{AuthMethod, ChannelBinding, WireError, frontend};

/// The most iterations that a server may ask for: each costs time before the server has proved
/// anything. The default of servers is 4096; `postgres_protocol` draws the same line.
const ITERATIONS_MAX: u64 = 100_000;

/// One exchange.
pub(super) struct Sasl {
    scram: ScramSha256,
    mechanism: &'static str,
    step: Step,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// client-first is out; server-first is due.
    First,
    /// client-final is out; server-final is due.
    Final,
    /// The server has proved that it knows the password.
    Verified,
}

impl Sasl {
    /// Picks the strongest mechanism that both sides and the user's rules allow.
    ///
    /// The gs2 header tells the server what we could have done: `p=` binds; `y` "I could have,
    /// and you did not offer it", which exposes someone who removed the offer on the way; `n`
    /// "I could not".
    pub(super) fn choose(offered: &[String], options: &LoginOptions) -> Result<Sasl, LoginError> {
        let offers = |name: &str| offered.iter().any(|mechanism| mechanism == name);
        let plus = offers(sasl::SCRAM_SHA_256_PLUS);
        let end_point = match &options.transport {
            Transport::Tls { end_point } => end_point.as_ref(),
            _ if plus => return Err(LoginError::PlusWithoutTls),
            _ => None,
        };
        let end_point = end_point.filter(|_| options.channel_binding != ChannelBinding::Disable);
        let (mechanism, binding) = match end_point {
            Some(hash) if plus => {
                let binding = sasl::ChannelBinding::tls_server_end_point(hash.clone());
                (sasl::SCRAM_SHA_256_PLUS, binding)
            }
            _ if !offers(sasl::SCRAM_SHA_256) => {
                let offered = printable(offered.join(", ").as_bytes());
                return Err(LoginError::NoMechanism { offered });
            }
            None if options.channel_binding == ChannelBinding::Require => {
                return Err(LoginError::CannotBind { reason: why_not(&options.transport) });
            }
            Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        };
        // Before the password is asked for: what the user forbids is the more useful message.
        if !options.require_auth.allows(AuthMethod::ScramSha256) {
            let required = options.require_auth.to_string();
            return Err(LoginError::NotAllowed { method: AuthMethod::ScramSha256, required });
        }
        let password = options.password(AuthMethod::ScramSha256)?;
        Ok(Sasl { scram: ScramSha256::new(password, binding), mechanism, step: Step::First })
    }

    /// Whether the exchange is tied to the TLS connection.
    pub(super) fn binds(&self) -> bool {
        self.mechanism == sasl::SCRAM_SHA_256_PLUS
    }

    /// Whether the server has proved that it knows the password.
    pub(super) fn is_verified(&self) -> bool {
        self.step == Step::Verified
    }

    /// client-first.
    pub(super) fn begin(&self, out: &mut BytesMut) -> Result<(), WireError> {
        frontend::sasl_initial(self.mechanism, self.scram.message(), out)
    }

    /// server-first → client-final.
    pub(super) fn proceed(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), LoginError> {
        if self.step != Step::First {
            return Err(scram("a second server-first-message"));
        }
        check_server_first(data, self.scram.message())?;
        self.scram.update(data).map_err(|error| scram(&error.to_string()))?;
        frontend::sasl_response(self.scram.message(), out);
        self.step = Step::Final;
        Ok(())
    }

    /// server-final.
    pub(super) fn finish(&mut self, data: &[u8]) -> Result<(), LoginError> {
        if self.step != Step::Final {
            return Err(scram("a server-final-message out of order"));
        }
        if data.starts_with(b"e=") {
            return Err(scram(&printable(data)));
        }
        self.scram.finish(data).map_err(|_| LoginError::ServerNotVerified)?;
        self.step = Step::Verified;
        Ok(())
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sasl {{ mechanism: {}, step: {:?} }}", self.mechanism, self.step)
    }
}

/// Checks what the cryptography would not: that the server added to the nonce, and that the
/// work it asks for is bounded.
fn check_server_first(data: &[u8], client_first: &[u8]) -> Result<(), LoginError> {
    let text = std::str::from_utf8(data).map_err(|_| scram("not text"))?;
    let field = |name: &str| text.split(',').find_map(|item| item.strip_prefix(name));
    let ours = client_first.windows(3).position(|window| window == b",r=");
    let ours = ours.map_or(client_first.len(), |at| client_first.len() - at - 3);
    match field("r=") {
        Some(nonce) if nonce.len() > ours => {}
        _ => return Err(scram("nonce without a part of the server's")),
    }
    let count = field("i=").ok_or_else(|| scram("no iteration count"))?;
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(scram("iteration count is not a number"));
    }
    match count.parse().unwrap_or(u64::MAX) {
        0 => Err(scram("iteration count is 0")),
        count if count > ITERATIONS_MAX => {
            Err(LoginError::TooManyIterations { count, max: ITERATIONS_MAX })
        }
        _ => Ok(()),
    }
}

fn why_not(transport: &Transport) -> &'static str {
    match transport {
        Transport::Tls { .. } => "the server's certificate is signed without a hash to bind to",
        _ => "the connection has no TLS",
    }
}

fn scram(what: &str) -> LoginError {
    LoginError::Scram { what: what.to_owned() }
}
