//! The layout on disk, byte for byte that of Barman. Knows no connections.
