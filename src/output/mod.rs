//! All printing: text, JSON, progress, errors.
