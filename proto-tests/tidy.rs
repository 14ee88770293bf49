//! The rules of the house that a compiler cannot hold.
