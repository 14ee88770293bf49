//! A PostgreSQL cluster of a test's own: made in a moment, at the test's mercy.
//!
//! initdb runs once per version and set of options; each test gets a copy. Port, socket and log
//! are given on the command line, never in `postgresql.conf`, so that a restored copy of the
//! cluster can run beside the original.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::control::{Permit, Postmaster};
use super::scratch::{self, Scratch, give_to_server, must, server_command};
use super::servers::programs;
use super::sql::{Row, Session, quote};

pub use super::control::Stop;

/// What `postgresql.conf` of every cluster says, before the settings of the test.
///
/// fsync is off: a server's crash is tested by killing it, which loses nothing that it wrote.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
fsync = off
shared_buffers = 16MB
max_connections = 40
max_wal_senders = 10
max_replication_slots = 10
wal_level = replica
hot_standby = on
autovacuum = off
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = on
log_replication_commands = on
log_min_error_statement = panic
timezone = 'UTC'
";

/// A server with its data, its socket and its log. Dropping it stops the server and removes all.
#[derive(Debug)]
pub struct Cluster {
    major: u32,
    data: PathBuf,
    postmaster: Mutex<Postmaster>,
    /// Holds data, socket and log. Shared, because tablespaces and restored copies live in it too.
    scratch: Arc<Scratch>,
    _permit: Arc<Permit>,
}

/// What a test wants of its cluster.
#[derive(Clone, Debug)]
pub struct Builder {
    major: u32,
    initdb: Vec<String>,
    settings: Vec<(String, String)>,
    hba: Option<Vec<String>>,
    files: Vec<(String, Vec<u8>, u32)>,
    own_identifier: bool,
}

impl Cluster {
    /// A running cluster of a major version, with the roles `barman` (superuser) and
    /// `streaming_barman` (replication), whom it trusts over socket and loopback.
    pub fn start(major: u32) -> Cluster {
        Cluster::builder(major).start()
    }

    /// A cluster with settings, access rules, certificates of its own.
    pub fn builder(major: u32) -> Builder {
        Builder {
            major,
            initdb: Vec::new(),
            settings: Vec::new(),
            hba: None,
            files: Vec::new(),
            own_identifier: false,
        }
    }

    /// A cluster whose data directory exists already: what a restore has written. It is given
    /// to the user who runs servers, and is not started.
    pub fn of_directory(major: u32, data: &Path) -> Cluster {
        give_to_server(data);
        Cluster::assemble(major, data.to_owned(), Arc::new(Scratch::for_server("c")))
    }

    /// Puts a server around a data directory.
    pub(super) fn assemble(major: u32, data: PathBuf, scratch: Arc<Scratch>) -> Cluster {
        let postmaster =
            Postmaster::new(&programs(major), &data, scratch.path(), &scratch.path().join("log"));
        Cluster { major, data, postmaster: Mutex::new(postmaster), scratch, _permit: Permit::get() }
    }

    /// Starts the server and waits until it answers.
    pub fn launch(&self) {
        self.postmaster().start();
    }

    /// Starts the server and returns what it logged when it refuses, as it should here.
    pub fn launch_refused(&self) -> String {
        match self.postmaster().try_start() {
            Ok(()) => panic!("the server started; it was to refuse"),
            Err(log) => log,
        }
    }

    /// Stops the server and waits until it is gone.
    pub fn stop(&self, how: Stop) {
        self.postmaster().stop(how);
    }

    /// Stops the server and starts it on the same port.
    pub fn restart(&self, how: Stop) {
        let mut postmaster = self.postmaster();
        postmaster.stop(how);
        postmaster.start();
    }

    /// Reads the settings again.
    pub fn reload(&self) {
        self.sql("SELECT pg_reload_conf()");
    }

    /// Makes a standby the primary of a new timeline, and waits for it.
    pub fn promote(&self) {
        let mut promote = server_command(programs(self.major).join("pg_ctl"));
        must(promote.args(["-w", "-t", "60", "-D"]).arg(&self.data).arg("promote"));
        self.wait_until_writable();
    }

    /// Waits until no slot is left: a temporary one goes when the server has noticed that its
    /// client is gone, a moment after the client.
    pub fn wait_for_no_slot(&self) {
        scratch::wait_until(
            "every slot to be gone",
            Duration::from_secs(60),
            || (self.value("SELECT count(*) FROM pg_replication_slots") == "0").then_some(()),
            || self.log_tail(),
        );
    }

    /// Waits until recovery has ended.
    pub fn wait_until_writable(&self) {
        scratch::wait_until(
            "the end of recovery",
            Duration::from_secs(60),
            || (self.value("SELECT pg_is_in_recovery()") == "f").then_some(()),
            || self.log_tail(),
        );
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The directory of the WAL segments.
    pub fn pg_wal(&self) -> PathBuf {
        self.data.join("pg_wal")
    }

    /// The directory of the Unix socket.
    pub fn socket(&self) -> &Path {
        self.scratch.path()
    }

    /// The port, of TCP and of the socket.
    pub fn port(&self) -> u16 {
        self.postmaster().port()
    }

    /// A connection string for ordinary SQL, over the socket.
    pub fn conninfo(&self) -> String {
        self.conninfo_of(&self.socket().display().to_string(), "barman dbname=postgres")
    }

    /// A connection string for replication, over the socket.
    pub fn streaming_conninfo(&self) -> String {
        self.conninfo_of(&self.socket().display().to_string(), "streaming_barman")
    }

    /// The same two, over TCP.
    pub fn tcp_conninfo(&self) -> String {
        self.conninfo_of("127.0.0.1", "barman dbname=postgres")
    }

    /// See [`Cluster::tcp_conninfo`].
    pub fn tcp_streaming_conninfo(&self) -> String {
        self.conninfo_of("127.0.0.1", "streaming_barman")
    }

    fn conninfo_of(&self, host: &str, user: &str) -> String {
        format!("host={host} port={} user={user}", self.port())
    }

    /// Runs statements as the superuser in database `postgres`; they have to succeed.
    pub fn sql(&self, text: &str) -> Vec<Row> {
        self.sql_in("postgres", text)
    }

    /// The same in another database.
    pub fn sql_in(&self, database: &str, text: &str) -> Vec<Row> {
        self.session(database).sql(text)
    }

    /// The only value of the only row.
    pub fn value(&self, text: &str) -> String {
        let rows = self.sql(text);
        let value = rows.first().and_then(|row| row.first()).cloned().flatten();
        value.unwrap_or_else(|| panic!("no value from: {text}"))
    }

    /// A session that stays open.
    pub fn session(&self, database: &str) -> Session {
        self.try_session(database).unwrap_or_else(|error| panic!("{error}\n{}", self.log_tail()))
    }

    /// A session, or the server's refusal.
    pub fn try_session(&self, database: &str) -> Result<Session, String> {
        Session::connect(self.socket(), self.port(), "postgres", database)
    }

    /// Ends the current segment; returns the name of the one that was ended.
    pub fn switch_wal(&self) -> String {
        // A switch at the very start of a segment does nothing, so something is written first;
        // by a transaction of its own, whose commit would otherwise follow the switch.
        let session = self.session("postgres");
        session.sql("SELECT txid_current()");
        session.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0]
            .clone()
            .expect("a segment's name")
    }

    /// Completes that many segments.
    pub fn advance_wal(&self, segments: usize) -> Vec<String> {
        (0..segments).map(|_| self.switch_wal()).collect()
    }

    /// The position up to which WAL is flushed, as the server writes it.
    pub fn flushed_lsn(&self) -> String {
        self.value("SELECT pg_current_wal_flush_lsn()")
    }

    /// Makes a tablespace in a folder of its own, and returns the folder.
    pub fn create_tablespace(&self, name: &str) -> PathBuf {
        let folder = self.scratch.path().join(format!("tablespace {name}"));
        fs::create_dir(&folder).expect("a folder for the tablespace");
        give_to_server(&folder);
        self.sql(&format!(
            "CREATE TABLESPACE {} LOCATION '{}'",
            quote(name),
            folder.display().to_string().replace('\'', "''")
        ));
        folder
    }

    /// A folder below the cluster's own, for whatever the test keeps beside it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.scratch.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// Everything the server has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.scratch.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of the log, for messages.
    pub fn log_tail(&self) -> String {
        scratch::tail(&self.scratch.path().join("log"), 30)
    }

    fn postmaster(&self) -> std::sync::MutexGuard<'_, Postmaster> {
        // A panic elsewhere must not keep the server from being stopped.
        self.postmaster.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    #[allow(clippy::print_stderr, reason = "a failed test shows what its server said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        self.postmaster().end();
    }
}

impl Builder {
    /// An option for initdb.
    pub fn initdb(mut self, option: &str) -> Builder {
        self.initdb.push(option.into());
        self
    }

    /// Segments of this many MiB: a power of two. Only from version 11 on.
    pub fn segment_mib(self, size: u32) -> Builder {
        assert!(self.major >= 11, "before 11 the size is compiled in");
        self.initdb(&format!("--wal-segsize={size}"))
    }

    /// With or without data checksums, whatever the version's default.
    pub fn data_checksums(self, on: bool) -> Builder {
        match (on, self.major) {
            (true, _) => self.initdb("--data-checksums"),
            (false, 18..) => self.initdb("--no-data-checksums"),
            (false, _) => self,
        }
    }

    /// A line of `postgresql.conf`; the value is quoted here.
    pub fn setting(mut self, name: &str, value: &str) -> Builder {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// The lines of `pg_hba.conf`, in place of trust for everybody. The tests' own superuser
    /// always comes in over the socket.
    pub fn hba(mut self, lines: &[&str]) -> Builder {
        self.hba.get_or_insert_default().extend(lines.iter().map(|line| (*line).to_owned()));
        self
    }

    /// A file in the data directory: a key, a certificate, an authority.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>, mode: u32) -> Builder {
        self.files.push((name.into(), content.into(), mode));
        self
    }

    /// TLS with this certificate (chain) and key, both PEM.
    pub fn tls(self, certificate: &str, key: &str) -> Builder {
        self.file("server.crt", certificate, 0o644)
            .file("server.key", key, 0o600)
            .setting("ssl", "on")
    }

    /// Another system identifier than the other clusters of its version.
    pub fn own_identifier(mut self) -> Builder {
        self.own_identifier = true;
        self
    }

    /// Makes the cluster and starts it.
    pub fn start(self) -> Cluster {
        let scratch = Arc::new(Scratch::for_server("c"));
        let data = scratch.path().join("data");
        if self.own_identifier {
            initdb(self.major, &self.initdb, &data);
        } else {
            let template = template(self.major, &self.initdb);
            must(server_command("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&data));
        }
        self.write_configuration(&data);
        let cluster = Cluster::assemble(self.major, data, scratch);
        cluster.launch();
        cluster.sql(
            "CREATE ROLE barman LOGIN SUPERUSER;
             CREATE ROLE streaming_barman LOGIN REPLICATION",
        );
        cluster
    }

    fn write_configuration(&self, data: &Path) {
        let conf = data.join("postgresql.conf");
        let mut text = fs::read_to_string(&conf).expect("initdb wrote it");
        text.push_str(SETTINGS);
        for (name, value) in &self.settings {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        fs::write(&conf, text).expect("it can be extended");

        let mut hba = String::from("local all postgres trust\nlocal replication postgres trust\n");
        match &self.hba {
            Some(lines) => hba.extend(lines.iter().map(|line| format!("{line}\n"))),
            None => {
                for database in ["all", "replication"] {
                    hba.push_str(&format!("local {database} all trust\n"));
                    hba.push_str(&format!("host {database} all 127.0.0.1/32 trust\n"));
                    hba.push_str(&format!("host {database} all ::1/128 trust\n"));
                }
            }
        }
        fs::write(data.join("pg_hba.conf"), hba).expect("it can be replaced");

        for (name, content, mode) in &self.files {
            let path = data.join(name);
            fs::write(&path, content).expect("a file in the data directory");
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("its mode");
            give_to_server(&path);
        }
    }
}

/// The data directory that tests with these options copy.
fn template(major: u32, options: &[String]) -> PathBuf {
    type Made = HashMap<(u32, Vec<String>), Arc<OnceLock<PathBuf>>>;
    static TEMPLATES: OnceLock<Mutex<Made>> = OnceLock::new();
    static FOLDER: OnceLock<Scratch> = OnceLock::new();
    let made = {
        let mut all = TEMPLATES.get_or_init(Mutex::default).lock().expect("nobody panics in it");
        all.entry((major, options.to_vec())).or_default().clone()
    };
    made.get_or_init(|| {
        let folder = FOLDER.get_or_init(|| Scratch::for_server("templates"));
        let data = folder.path().join(format!("{major}{}", options.concat()));
        initdb(major, options, &data);
        data
    })
    .clone()
}

fn initdb(major: u32, options: &[String], data: &Path) {
    let mut initdb = server_command(programs(major).join("initdb"));
    initdb.args(["-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
    must(initdb.args(options).arg("-D").arg(data));
}
