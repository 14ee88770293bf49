//! What users write must mean here what it means to libpq.
