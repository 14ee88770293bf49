//! A server of the benchmark's own: installed programs, a fresh cluster, a private socket.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::site::Site;
use crate::sql::Sql;
use crate::{Outcome, cleanup};

/// What is not the default. fsync stays on: the server's own flush is a part of each commit that
/// is measured. Nothing of its own shall happen in the middle of a run.
const SETTINGS: &str = "
listen_addresses = ''
shared_buffers = 256MB
work_mem = 64MB
max_connections = 100
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
max_wal_size = 64GB
min_wal_size = 1GB
checkpoint_timeout = 1h
autovacuum = off
wal_sender_timeout = 0
timezone = 'UTC'
";

/// The programs of one installed PostgreSQL.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
    version: String,
}

impl Programs {
    /// Those in `folder`, or the newest of Debian's folders.
    pub fn find(folder: Option<&Path>) -> Outcome<Programs> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => newest().ok_or("no PostgreSQL in /usr/lib/postgresql; try --bindir FOLDER")?,
        };
        let printed = Command::new(folder.join("postgres")).arg("--version").output();
        let printed = printed.map_err(|error| format!("{}/postgres: {error}", folder.display()))?;
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        let version = printed.split_whitespace().nth(2).unwrap_or("?").to_owned();
        Ok(Programs { folder, version })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Such as `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A client program, if it is installed.
    pub fn client(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join(name);
        path.exists().then_some(path)
    }
}

fn newest() -> Option<PathBuf> {
    let majors = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let numbers = majors.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let folder = |major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    let mut numbers: Vec<u32> =
        numbers.filter(|major| folder(*major).join("postgres").exists()).collect();
    numbers.sort_unstable();
    numbers.pop().map(folder)
}

/// Makes a cluster below `dir` and starts it. It ends with the program.
pub fn start(programs: &Programs, dir: &Path) -> Outcome<Site> {
    let folder = Site::folder(dir)?;
    // A socket's path may have 107 bytes, wherever the disk is that is measured.
    let socket = PathBuf::from(format!("/tmp/tapster-bench-{}.socket", std::process::id()));
    fs::create_dir(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    cleanup::folder(socket.clone());
    let data = folder.join("data");
    fs::create_dir(&data)?;
    for path in [&folder, &socket] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    if let Some((uid, gid)) = server_user()? {
        chown(&socket, Some(uid), Some(gid))?;
        chown(&data, Some(uid), Some(gid))?;
    }
    let mut initdb = server_command(&programs.folder.join("initdb"))?;
    // With page checksums, as 18 does by itself: all that a backup verifies is to be paid for.
    initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-k", "-D"]);
    let output = initdb.arg(&data).output()?;
    if !output.status.success() {
        return Err(format!("initdb: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let conf = data.join("postgresql.conf");
    let settings = format!("unix_socket_directories = '{}'\n", socket.display());
    fs::write(&conf, fs::read_to_string(&conf)? + SETTINGS + &settings)?;

    let streaming = format!("host={} port=5432 user=postgres", socket.display());
    let conninfo = format!("{streaming} dbname=postgres");
    launch(programs, &folder, &data, &conninfo)?;
    Ok(Site { folder, conninfo, streaming, pg_wal: Some(data.join("pg_wal")) })
}

fn launch(programs: &Programs, folder: &Path, data: &Path, conninfo: &str) -> Outcome<()> {
    let path = folder.join("log");
    let log = File::create(&path)?;
    let mut postgres = server_command(&programs.folder.join("postgres"))?;
    // A Ctrl-C at the terminal is ours to hand on.
    postgres.process_group(0).arg("-D").arg(data).stdin(Stdio::null());
    let mut child = postgres.stdout(log.try_clone()?).stderr(log).spawn()?;
    cleanup::process(Pid::from_child(&child), Signal::QUIT);
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = Sql::connect(conninfo) {
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            let log = fs::read_to_string(path).unwrap_or_default();
            return Err(format!("the server did not start: {error}\n{log}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A program that runs as a user who may run servers: PostgreSQL refuses root.
fn server_command(program: &Path) -> Outcome<Command> {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = server_user()? {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").env("LC_ALL", "C.UTF-8");
    Ok(command)
}

/// `None` when servers may run as ourselves.
fn server_user() -> Outcome<Option<(u32, u32)>> {
    if !rustix::process::getuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    let find = |wanted: &str| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let numbers = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
            (fields[0] == wanted).then_some(numbers)
        })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    Ok(Some(user.ok_or("servers refuse to run as root, and there is no user postgres or nobody")?))
}
