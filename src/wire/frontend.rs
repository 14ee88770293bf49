//! The messages that we send, appended to the caller's buffer.

use bytes::{BufMut, BytesMut};

use super::{CancelKey, WireError};

/// Protocol 3.0. Newer minor versions bring nothing to an archive, and some middleware
/// mishandles them.
pub const PROTOCOL_VERSION: u32 = 3 << 16;

/// The longest startup packet that servers take (`MAX_STARTUP_PACKET_LENGTH` in `pqcomm.h`).
pub const STARTUP_LENGTH_MAX: usize = 10_000;

const SSL_REQUEST: u32 = 80_877_103;
const CANCEL_REQUEST: u32 = 80_877_102;

/// The server's one-byte answer to [`ssl_request`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SslAnswer {
    /// `S`: the TLS handshake starts now.
    Start,
    /// `N`: there is no TLS; the session may go on in clear if the user allows it.
    Refused,
    /// `E`: an error follows. Its text is not authenticated: do not show it.
    Error,
    /// Something else: not a PostgreSQL server.
    Other(u8),
}

impl SslAnswer {
    /// Reads the byte. Not one byte more may be read before the handshake: what an attacker
    /// puts behind it would later pass as encrypted (CVE-2021-23222).
    pub fn from_byte(byte: u8) -> SslAnswer {
        match byte {
            b'S' => SslAnswer::Start,
            b'N' => SslAnswer::Refused,
            b'E' => SslAnswer::Error,
            other => SslAnswer::Other(other),
        }
    }
}

/// SSLRequest: asks for TLS before anything else is said.
pub fn ssl_request(out: &mut BytesMut) {
    out.put_u32(8);
    out.put_u32(SSL_REQUEST);
}

/// CancelRequest, sent on a connection of its own, which the server then closes.
pub fn cancel_request(key: &CancelKey, out: &mut BytesMut) {
    // At most 256 bytes: checked when it was read.
    out.put_u32(12 + key.key.len() as u32);
    out.put_u32(CANCEL_REQUEST);
    out.put_i32(key.process_id);
    out.put_slice(&key.key);
}

/// The packet that opens a session: protocol version and parameters.
///
/// # Errors
/// A zero byte or an empty name in a parameter; a packet longer than servers take.
pub fn startup<'a>(
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let start = out.len();
    out.put_u32(0);
    out.put_u32(PROTOCOL_VERSION);
    for (name, value) in parameters {
        if name.is_empty() {
            // It would end the list, and the server would call the rest garbage.
            return Err(WireError::Value { what: "name of a setting", value: String::new() });
        }
        put_string(name.as_bytes(), "a startup parameter", out)?;
        put_string(value.as_bytes(), "a startup parameter", out)?;
    }
    out.put_u8(0);
    let length = out.len() - start;
    if length > STARTUP_LENGTH_MAX {
        return Err(WireError::StartupTooLong { length, max: STARTUP_LENGTH_MAX });
    }
    out[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(())
}

/// `Q`: one replication command.
///
/// # Errors
/// A zero byte in it.
pub fn query(text: &str, out: &mut BytesMut) -> Result<(), WireError> {
    message(b'Q', out, |out| put_string(text.as_bytes(), "the command", out))
}

/// `p` with a password, or its md5 form.
///
/// # Errors
/// A zero byte in it.
pub fn password(password: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
    message(b'p', out, |out| put_string(password, "the password", out))
}

/// `p` with the choice of a SASL mechanism and its first message.
///
/// # Errors
/// A zero byte in the name.
pub fn sasl_initial(mechanism: &str, data: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
    message(b'p', out, |out| {
        put_string(mechanism.as_bytes(), "the mechanism", out)?;
        out.put_u32(data.len() as u32);
        out.put_slice(data);
        Ok(())
    })
}

/// `p` with a later message of a SASL exchange.
pub fn sasl_response(data: &[u8], out: &mut BytesMut) {
    out.put_u8(b'p');
    out.put_u32(4 + data.len() as u32);
    out.put_slice(data);
}

/// `d`: copy data. For large data send the head and the data apart; see [`copy_data_head`].
pub fn copy_data(data: &[u8], out: &mut BytesMut) {
    out.put_slice(&copy_data_head(data.len() as u32));
    out.put_slice(data);
}

/// The five bytes before `length` bytes of copy data.
pub fn copy_data_head(length: u32) -> [u8; 5] {
    let [a, b, c, d] = (length + 4).to_be_bytes();
    [b'd', a, b, c, d]
}

/// `c`: our side of the copy is complete.
pub fn copy_done(out: &mut BytesMut) {
    out.put_slice(&[b'c', 0, 0, 0, 4]);
}

/// `f`: the copy is to fail. Not allowed in CopyBoth.
///
/// # Errors
/// A zero byte in the reason.
pub fn copy_fail(reason: &str, out: &mut BytesMut) -> Result<(), WireError> {
    message(b'f', out, |out| put_string(reason.as_bytes(), "the reason", out))
}

/// `X`: goodbye, in any phase.
pub fn terminate(out: &mut BytesMut) {
    out.put_slice(&[b'X', 0, 0, 0, 4]);
}

/// Writes type and length around what `body` appends; leaves nothing behind when it fails.
fn message(
    tag: u8,
    out: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let start = out.len();
    out.put_u8(tag);
    out.put_u32(0);
    if let Err(error) = body(out) {
        out.truncate(start);
        return Err(error);
    }
    let length = (out.len() - start - 1) as u32;
    out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn put_string(text: &[u8], what: &'static str, out: &mut BytesMut) -> Result<(), WireError> {
    if text.contains(&0) {
        return Err(WireError::ZeroByte { what });
    }
    out.put_slice(text);
    out.put_u8(0);
    Ok(())
}
