//! TLS by the rules of libpq: what it accepts is accepted, and nothing more. Knows streams,
//! certificate files and clocks; neither sockets nor the PostgreSQL protocol.
//!
//! [`TlsClient::new`] reads the files once; [`TlsClient::connect`] encrypts one connection that
//! is ready for a ClientHello, be it after the server's `S` or at once (`sslnegotiation=direct`).
//!
//! Read `client`, then `verifier` → `chain` → `rules`.

mod error;
mod problem;
mod client;
mod stream;
mod binding;
mod verifier;
mod name;
mod chain;
mod rules;
mod revocation;
mod certificate;
mod signature;
mod trust_files;
mod client_certificate;

pub use binding::BindingData;
pub use client::TlsClient;
pub use error::TlsError;
pub use problem::CertificateProblem;
pub use stream::TlsStream;
