//! The tar stream of a base backup: member boundaries, safe names, trailers. Sans-IO.
