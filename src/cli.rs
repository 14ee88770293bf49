//! What may be typed.
//!
//! Parsing only: what the words mean is decided in `commands`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{self, Outcome, Site};
use crate::config::{Config, ConfigSource};
use crate::output::{Failure, OutputFormat, Reporter, print_help, print_mistake};
use crate::process::leave_session;
use crate::service::{LogFormat, LogOptions, start_logs};

/// Back PostgreSQL up over the replication protocol, and bring it back
#[derive(Debug, Parser)]
#[command(
    name = "tapster",
    infer_long_args = true,
    disable_version_flag = true,
    version,
    max_term_width = 100,
    after_help = "\
A first backup, with a server [main] in /etc/tapster.conf or /etc/barman.conf:

  tapster check main
  tapster receive-wal --create-slot main
  tapster receive-wal main &
  tapster backup main
  tapster restore main latest /srv/restored

`tapster COMMAND --help` explains a command with an example."
)]
struct Cli {
    /// Read this configuration file instead of the usual ones
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        long_help = "Read this configuration file.\n\nWithout it: $TAPSTER_CONFIG_FILE, \
            $BARMAN_CONFIG_FILE, ~/.tapster.conf, /etc/tapster.conf, ~/.barman.conf, \
            /etc/barman.conf, /etc/barman/barman.conf; the first that is there."
    )]
    config: Option<PathBuf>,
    /// Print nothing but errors and warnings
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print what is done in detail
    #[arg(short, long, global = true)]
    debug: bool,
    /// How results are printed: console or json
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "console")]
    format: OutputFormat,
    /// When to use colours: never, always or auto (accepted; the output has none)
    #[arg(long, visible_alias = "colour", global = true, value_name = "WHEN", hide = true,
        value_parser = ["never", "always", "auto"])]
    color: Option<String>,
    /// Log from this level on: DEBUG, INFO, WARNING, ERROR or CRITICAL
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Form of log lines: text or json
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        default_value = "text",
        env = "TAPSTER_LOG_FORMAT"
    )]
    log_format: LogFormat,
    /// Leave the session of whoever started the program; said by `cron` to what it starts
    #[arg(long, global = true, hide = true)]
    detached: bool,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that everything is in place to take backups and to receive WAL
    #[command(
        after_help = "Example:\n\n  tapster check main\n\nEach line that FAILED says what is \
            wrong and what to do. `tapster check --nagios all` is for monitoring."
    )]
    Check(commands::check::CheckArgs),
    /// Receive WAL from a server for as long as it runs, or look after the replication slot
    #[command(after_help = "Example:\n\n  tapster receive-wal --create-slot main\n  tapster \
            receive-wal main\n\nThe second one runs until SIGINT or SIGTERM, or `tapster \
            receive-wal --stop main`, and goes on by itself when the server comes back. Finished \
            segments go to wals/ at once.")]
    ReceiveWal(commands::receive_wal::ReceiveWalArgs),
    /// Archive what was left in streaming/, and what archive_command brought to incoming/
    #[command(after_help = "Example:\n\n  tapster archive-wal main\n\nA running receive-wal \
            archives what it receives by itself; `tapster cron` runs this command for every \
            server.")]
    ArchiveWal(commands::archive_wal::ArchiveWalArgs),
    /// Do what all servers need once a minute: archive WAL, bring receivers back, tidy up
    #[command(after_help = "Example, in the crontab of the user who owns the repository:\n\n  \
            * * * * * /usr/local/bin/tapster -q cron\n\nStarts archive-wal for each server, and \
            receive-wal where it should run and does not; both go on by themselves and write to \
            log_file. Safe to run at any time, twice at once, and beside a Barman's.")]
    Cron(commands::cron::CronArgs),
    /// Back servers up: data, and the WAL that makes it consistent
    #[command(
        after_help = "Example:\n\n  tapster backup --name nightly --wait main\n\nThe data is taken \
            as tar archives, and every file in them is held against the server's manifest. WAL \
            comes through the server's running receiver, or is received beside the copy when \
            none runs."
    )]
    Backup(commands::backup::BackupArgs),
    /// List the backups of servers, newest first
    #[command(
        visible_alias = "list-backup",
        after_help = "Examples:\n\n  tapster list-backups main\n  tapster -f json list-backups all"
    )]
    ListBackups(commands::list_backups::ListBackupsArgs),
    /// Show everything that is known of a backup
    #[command(
        visible_alias = "show-backups",
        after_help = "Example:\n\n  tapster show-backup main latest"
    )]
    ShowBackup(commands::show_backup::ShowBackupArgs),
    /// Hold a stored backup against its manifest, file by file
    #[command(
        visible_alias = "verify",
        after_help = "Example:\n\n  tapster verify-backup main latest\n\nEvery archive or file is \
            read, several at once, and everything damaged, missing or not in the manifest is \
            named. Exits with 1 when there is anything."
    )]
    VerifyBackup(commands::verify_backup::VerifyBackupArgs),
    /// Make a manifest for a backup that has none, of what is stored now
    #[command(
        after_help = "Example:\n\n  tapster generate-manifest main oldest\n\nServers before 13 \
            send none, and rsync makes none. From then on verify-backup finds every change."
    )]
    GenerateManifest(commands::verify_backup::VerifyBackupArgs),
    /// List the files that a backup consists of
    #[command(after_help = "Examples:\n\n  tapster list-files main latest\n  tapster list-files \
            --target wal main latest")]
    ListFiles(commands::list_files::ListFilesArgs),
    /// List the servers of the configuration
    #[command(visible_alias = "list-server", after_help = "Example:\n\n  tapster list-servers")]
    ListServers(commands::list_servers::ListServersArgs),
    /// Restore a backup into an empty directory, ready to be started
    #[command(
        visible_alias = "recover",
        after_help = "\
Examples:

  tapster restore main latest /srv/restored
  tapster restore main auto /srv/restored --target-time '2026-11-23 06:33:03+00'
  tapster restore main 20261123T062541 /srv/restored --tablespace fast:/srv/fast"
    )]
    Restore(commands::restore::RestoreArgs),
    /// Send one WAL file to standard output, for restore_command
    #[command(after_help = "Example:\n\n  restore_command = 'tapster get-wal --partial main %f \
            > %p'\n  tapster get-wal --partial main \
            000000010000000000000018 > /tmp/last\n\nThe file is sent as the server wrote it, \
            whatever it is stored like. --partial adds the segment that is still being received: \
            the last commits are in it.")]
    GetWal(commands::get_wal::GetWalArgs),
    /// Have the server close its current WAL segment
    #[command(
        visible_alias = "switch-xlog",
        after_help = "Example:\n\n  tapster switch-wal --force --archive main\n\nNothing is \
            closed where nothing was written since the last switch; --force makes a checkpoint \
            first. --archive waits until the closed segment is in the archive."
    )]
    SwitchWal(commands::switch_wal::SwitchWalArgs),
    /// Show who receives WAL from servers, and how far
    #[command(after_help = "Examples:\n\n  tapster replication-status main\n  tapster \
            replication-status --minimal --target wal-streamer all")]
    ReplicationStatus(commands::replication_status::ReplicationStatusArgs),
}

impl Command {
    fn run(&self, site: &Site, out: &mut Reporter) -> Outcome {
        match self {
            Command::Backup(args) => commands::backup::run(args, site, out),
            Command::Check(args) => commands::check::run(args, site, out),
            Command::ReplicationStatus(args) => commands::replication_status::run(args, site, out),
            Command::ReceiveWal(args) => commands::receive_wal::run(args, site, out),
            Command::ArchiveWal(args) => commands::archive_wal::run(args, site, out),
            Command::Cron(args) => commands::cron::run(args, site, out),
            Command::ListBackups(args) => commands::list_backups::run(args, site, out),
            Command::ShowBackup(args) => commands::show_backup::run(args, site, out),
            Command::VerifyBackup(args) => commands::verify_backup::run(args, site, out),
            Command::GenerateManifest(args) => {
                commands::verify_backup::generate_manifest(args, site, out)
            }
            Command::ListFiles(args) => commands::list_files::run(args, site, out),
            Command::ListServers(args) => commands::list_servers::run(args, site, out),
            Command::Restore(args) => commands::restore::run(args, site, out),
            Command::GetWal(args) => commands::get_wal::run(args, site, out),
            Command::SwitchWal(args) => commands::switch_wal::run(args, site, out),
        }
    }

    /// A long runner logs what it does; a short command only what went wrong, because its
    /// output stands on the same terminal.
    fn quietest_log_level(&self) -> &'static str {
        match self {
            Command::ReceiveWal(args) if args.receives() => "INFO",
            Command::ArchiveWal(_)
            | Command::Backup(_)
            | Command::Check(_)
            | Command::Cron(_)
            | Command::ReceiveWal(_)
            | Command::ListBackups(_)
            | Command::VerifyBackup(_)
            | Command::GenerateManifest(_)
            | Command::ListFiles(_)
            | Command::ListServers(_)
            | Command::ReplicationStatus(_)
            | Command::GetWal(_)
            | Command::Restore(_)
            | Command::ShowBackup(_)
            | Command::SwitchWal(_) => "WARNING",
        }
    }
}

/// Parses `arguments` (the program's name first), runs the command, and returns the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.len() < 2 {
        // Asking for nothing is asking for help, and no mistake.
        return print_help(&Cli::command().render_help().to_string());
    }
    let parsed = Cli::command()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => run(&cli),
        Err(message) => leave_with(&message, &arguments),
    }
}

/// Help and version are an answer; anything else is a mistake, told in the form that
/// `argparse` taught the users of Barman.
fn leave_with(message: &clap::Error, arguments: &[OsString]) -> u8 {
    if message.exit_code() == 0 {
        return print_help(&message.render().to_string());
    }
    print_mistake(&mistake(message, arguments))
}

/// `tapster backup: error: what is wrong`, and below it usage and tips.
fn mistake(message: &clap::Error, arguments: &[OsString]) -> String {
    let rendered = message.render().to_string();
    let (what, rest) = rendered.split_once("\n\n").unwrap_or((&rendered, ""));
    let what = match message.kind() {
        ErrorKind::MissingSubcommand => "a command is required".to_owned(),
        _ => what.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" "),
    };
    let command = command_in(arguments).map(|name| format!(" {name}")).unwrap_or_default();
    format!("tapster{command}: error: {what}\n{}\n", rest.trim_end())
}

/// The first word that is a command. Good enough for a message.
fn command_in(arguments: &[OsString]) -> Option<String> {
    let cli = Cli::command();
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    let mut commands = words.filter_map(|word| cli.find_subcommand(word));
    commands.next().map(|command| command.get_name().to_owned())
}

fn run(cli: &Cli) -> u8 {
    let mut out = Reporter::new(cli.format, cli.quiet, cli.debug);
    if cli.detached {
        leave_session();
        out.log_complaints();
    }
    let outcome = prepare(cli, &mut out).and_then(|site| cli.command.run(&site, &mut out));
    let code = match outcome {
        Ok(code) => code.max(u8::from(out.failed())),
        Err(failure) => {
            out.failure(&failure);
            failure.code()
        }
    };
    // An answer that nobody could read is no success.
    if out.finish() { code } else { code.max(1) }
}

fn prepare(cli: &Cli, out: &mut Reporter) -> Result<Site, Failure> {
    let source = ConfigSource::from_command_line(cli.config.clone());
    let loaded = Config::load(&source).map_err(|error| Failure::of(&error).hint(error.hint()))?;
    for warning in &loaded.warnings {
        out.warning(warning);
    }
    let mut logs = LogOptions {
        file: loaded.config.log_file.clone(),
        level: cli.log_level.clone().or_else(|| cli.debug.then(|| "DEBUG".to_owned())),
        format: cli.log_format,
    };
    if logs.level.is_none() {
        logs.level = Some(match logs.file {
            Some(_) => loaded.config.log_level.clone(),
            None => cli.command.quietest_log_level().to_owned(),
        });
    }
    if let Err(error) = start_logs(&logs) {
        out.warning(Failure::of(&error).hint("logs go to standard error this time".to_owned()));
        logs.file = None;
        logs.level = Some(cli.command.quietest_log_level().to_owned());
        start_logs(&logs).map_err(|error| Failure::of(&error))?;
    }
    for notice in &loaded.notices {
        tracing::info!("{notice}");
    }
    Ok(Site { options: handed_on(cli), ..Site::new(loaded.config) })
}

/// How a program that the command starts is to log.
fn handed_on(cli: &Cli) -> Vec<OsString> {
    let mut options: Vec<OsString> = Vec::new();
    if let Some(level) = &cli.log_level {
        options.extend(["--log-level".into(), level.into()]);
    } else if cli.debug {
        options.push("--debug".into());
    }
    if cli.log_format == LogFormat::Json {
        options.extend(["--log-format".into(), "json".into()]);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent_and_every_command_teaches_with_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{}: no example", command.get_name());
        }
    }

    #[test]
    fn options_stand_before_or_behind_the_command() {
        for line in ["tapster -c x list-servers", "tapster list-servers --conf x"] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            assert_eq!(cli.config, Some(PathBuf::from("x")));
        }
    }
}
