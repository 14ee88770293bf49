//! Hot path 1: the WAL stream to segment files. Knows no commands.
