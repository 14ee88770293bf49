//! Life as a process: signals, clock, logs.
