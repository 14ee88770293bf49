//! Barman's configuration dialect and the one table of options. Knows no network.
