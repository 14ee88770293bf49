//! From `streaming/` to `wals/` and the xlog database. Knows no connections.
