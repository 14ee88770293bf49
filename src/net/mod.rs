//! Hosts, sockets, TLS by the rules of libpq, walsender sessions, SQL sessions. Knows no repository.

pub mod tls;
