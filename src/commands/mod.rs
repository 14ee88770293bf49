//! One file a command: arguments, plan, report. No formats, no printing.
