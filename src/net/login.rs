//! Drives `wire::Login` over a stream.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::NetError;
use super::stream::Stream;
use crate::conninfo::{ConnectOptions, Host};
use crate::wire::{Login, LoginEvent, LoginOptions, Session, WireError};

/// What a login on one connection needs to know.
pub(super) struct LoginContext<'a> {
    pub options: &'a ConnectOptions,
    pub host: &'a Host,
    pub endpoint: &'a str,
    /// Startup parameters besides the user.
    pub parameters: &'a [(String, String)],
}

/// Logs in. What came behind the login, if anything, is left in `input`.
pub(super) async fn log_in(
    stream: &mut Stream,
    input: &mut BytesMut,
    context: &LoginContext<'_>,
) -> Result<Session, NetError> {
    let password = context.host.password.as_ref();
    let mut login = Login::new(LoginOptions {
        user: context.options.user.clone(),
        password: password.map(|(secret, _)| secret.expose().to_vec().into()),
        parameters: context.parameters.to_vec(),
        transport: stream.transport(),
        channel_binding: context.options.channel_binding,
        require_auth: context.options.require_auth,
    });
    let failed = |stream: &Stream, error| {
        NetError::login(context.endpoint, context.options, context.host, stream, error)
    };
    let lost = |source| NetError::Lost { endpoint: context.endpoint.to_owned(), source };

    let mut out = BytesMut::new();
    login.start(&mut out).map_err(|error| failed(stream, error))?;
    loop {
        send(stream, &mut out).await.map_err(lost)?;
        match login.next(input, &mut out) {
            Ok(Some(LoginEvent::Ready(session))) => return Ok(*session),
            Ok(Some(LoginEvent::Notice(notice))) => tracing::info!("server says: {notice}"),
            Ok(Some(LoginEvent::Warning(warning))) => {
                tracing::warn!("{}: {warning}", context.endpoint);
            }
            Ok(None) => {
                send(stream, &mut out).await.map_err(lost)?;
                if stream.read_buf(input).await.map_err(lost)? == 0 {
                    return Err(NetError::Closed {
                        endpoint: context.endpoint.to_owned(),
                        waiting_for: login.waits_for(),
                    });
                }
            }
            Err(error) => return Err(failed(stream, error)),
        }
    }
}

async fn send(stream: &mut Stream, out: &mut BytesMut) -> std::io::Result<()> {
    if !out.is_empty() {
        stream.write_all(out).await?;
        stream.flush().await?;
        out.clear();
    }
    Ok(())
}

/// Whether the server turned the login down in a way that another `sslmode` may mend: its
/// entries of pg_hba.conf may tell encrypted connections from others.
pub(super) fn may_depend_on_encryption(error: &NetError) -> bool {
    match error {
        NetError::Login { source, .. } => match &**source {
            WireError::Refused(refused) => refused.code.class() == "28",
            _ => false,
        },
        _ => false,
    }
}
