//! Connection strings, environment, password and service files, by libpq's rules. Knows no network.
