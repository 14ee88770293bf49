//! The one binary: parse, run, leave.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(tapster::cli::main(std::env::args_os()))
}
