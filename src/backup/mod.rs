//! Hot path 2: BASE_BACKUP to the repository. Knows no commands.
