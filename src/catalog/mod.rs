//! What is in the repository, derived and never stored. Knows no connections.
