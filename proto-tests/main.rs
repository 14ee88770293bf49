//! Every promise that needs more than one room: one binary, because each further one would
//! link the whole library again.

mod wire;
mod fake_server;
mod tls;
mod real_server;
mod crash;
mod million;
mod cli;
mod docs;
mod tidy;
