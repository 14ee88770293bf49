//! `backup_manifest`, versions 1 and 2: read, compared, written. Pure: knows no files.
