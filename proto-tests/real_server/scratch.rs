//! The folder below which everything lives that the tests make, and the janitor who removes it.
//!
//! A test that panics can clean up; one that is killed cannot. So a janitor process, started
//! with the first folder, reads a pipe whose other end only this process holds. When the pipe
//! closes, for whatever reason, it ends every process that works below the folder or was
//! started with its name, and removes it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Every child gets this variable, so that the janitor knows it.
const MARK: &str = "TAPSTER_TEST_ROOT";

/// SIGQUIT first: a postmaster then frees its shared memory, which SIGKILL would leave behind.
const JANITOR: &str = r#"
root=$1
cat >/dev/null
ours() {
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" = $$ ] && continue
        case $(readlink "$process/cwd" 2>/dev/null) in
        "$root" | "$root"/*) echo "$pid"; continue ;;
        esac
        if tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -qxF "TAPSTER_TEST_ROOT=$root"; then
            echo "$pid"
        fi
    done
}
for file in $(find "$root" -maxdepth 4 -name postmaster.pid 2>/dev/null); do
    kill -QUIT "$(head -n 1 "$file")" 2>/dev/null
done
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    left=$(ours)
    [ -z "$left" ] && break
    [ "$try" -gt 10 ] && kill -KILL $left 2>/dev/null
    sleep 0.2
done
for mount in $(awk -v root="$root/" 'index($2, root) == 1 { print $2 }' /proc/mounts); do
    umount "$mount" 2>/dev/null
done
for file in $(find "$root" -maxdepth 4 -name postmaster.pid 2>/dev/null); do
    set -- $(sed -n 7p "$file")
    [ -n "$2" ] && ipcrm -m "$2" 2>/dev/null
done
rm -rf "$root"
"#;

struct Root {
    path: PathBuf,
    /// Held open for the life of the process; the kernel closes it when we are gone.
    _janitor: ChildStdin,
}

fn root() -> &'static Root {
    static ROOT: OnceLock<Root> = OnceLock::new();
    ROOT.get_or_init(|| {
        // Not $TMPDIR: a Unix socket's path may have 107 bytes.
        let path = PathBuf::from(format!("/tmp/tapster-{}", std::process::id()));
        fs::create_dir(&path).expect("a fresh folder under /tmp");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        #[expect(clippy::zombie_processes, reason = "it outlives us: that is its purpose")]
        let mut janitor = Command::new("setsid")
            .args(["sh", "-c", JANITOR, "tapster-janitor"])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("setsid and sh start the janitor");
        let pipe = janitor.stdin.take().expect("it was asked for");
        Root { path, _janitor: pipe }
    })
}

/// A program that the janitor will know as ours, without the PostgreSQL variables of whoever
/// runs the tests.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("PG") || name.starts_with("TAPSTER") || name.starts_with("BARMAN") {
            command.env_remove(name);
        }
    }
    command.env(MARK, &root().path).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command
}

/// The same, run by the user who may run servers.
pub fn server_command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = command(program);
    if let Some(user) = server_user() {
        command.uid(user.uid).gid(user.gid);
    }
    command.current_dir("/").env("HOME", "/nonexistent");
    command
}

/// Runs a command that has to succeed, and returns what it printed.
pub fn must(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Who runs servers when we are root: PostgreSQL refuses to.
#[derive(Clone, Copy, Debug)]
pub struct ServerUser {
    pub uid: u32,
    pub gid: u32,
}

/// `None` when servers may run as ourselves.
pub fn server_user() -> Option<ServerUser> {
    static USER: OnceLock<Option<ServerUser>> = OnceLock::new();
    *USER.get_or_init(|| {
        if !rustix::process::getuid().is_root() {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let find = |wanted: &str| {
            passwd.lines().find_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                (fields.len() > 3 && fields[0] == wanted).then(|| ServerUser {
                    uid: fields[2].parse().expect("a user id"),
                    gid: fields[3].parse().expect("a group id"),
                })
            })
        };
        Some(find("postgres").or_else(|| find("nobody")).expect("user postgres or nobody"))
    })
}

/// Gives a file or folder, and all below it, to the user who runs servers.
pub fn give_to_server(path: &Path) {
    if let Some(user) = server_user() {
        must(
            Command::new("chown")
                .arg("-Rh")
                .arg(format!("{}:{}", user.uid, user.gid))
                .arg("--")
                .arg(path),
        );
    }
}

/// A folder of its own, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Short, because sockets live below it.
    pub fn new(prefix: &str) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root().path.join(format!("{prefix}{number}"));
        fs::create_dir(&path).expect("a folder under the root of the tests");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        Scratch { path }
    }

    /// A folder that belongs to the user who runs servers.
    pub fn for_server(prefix: &str) -> Scratch {
        let scratch = Scratch::new(prefix);
        if let Some(user) = server_user() {
            chown(&scratch.path, Some(user.uid), Some(user.gid)).expect("root may give folders");
        }
        scratch
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The janitor looks once more; a failure here must not hide the test's own.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A small file system of its own, unmounted when dropped.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// `None`, loudly, where mounting is not permitted.
    pub fn tmpfs(place: &Path, options: &str) -> Option<Mount> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tapster-test"]).arg(place);
        Mount::by(mount, place)
    }

    /// One with a disk of its own, which can be frozen.
    pub fn ext4(place: &Path, image: &Path) -> Option<Mount> {
        fs::File::create(image).and_then(|file| file.set_len(IMAGE_BYTES)).expect("an image");
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image).output();
        if !made.is_ok_and(|made| made.status.success()) {
            skipped("mkfs.ext4 is not there");
            return None;
        }
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(image).arg(place);
        Mount::by(mount, place)
    }

    /// Lets every write to it wait, as on a disk that does not answer, until this is dropped or
    /// we end: nobody could end a process that waits for it.
    pub fn freeze(&self) -> Frozen {
        let script = "fsfreeze -f \"$0\" && echo frozen && read -r _; fsfreeze -u \"$0\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(&self.0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().expect("a shell");
        let mut said = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut said).expect("an answer");
        assert_eq!(said, "frozen\n");
        Frozen(child)
    }

    /// A directory as it is, that nobody can write to any more.
    pub fn read_only(place: &Path) -> Option<Mount> {
        let mut bind = Command::new("mount");
        bind.arg("--bind").arg(place).arg(place);
        let mount = Mount::by(bind, place)?;
        must(Command::new("mount").args(["-o", "remount,ro,bind"]).arg(place));
        Some(mount)
    }

    fn by(mut mount: Command, place: &Path) -> Option<Mount> {
        match mount.output() {
            Ok(output) if output.status.success() => Some(Mount(place.to_owned())),
            Ok(output) => {
                skipped(String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                skipped(&error.to_string());
                None
            }
        }
    }

    /// Makes it larger.
    pub fn resize(&self, size: &str) {
        must(Command::new("mount").args(["-o", &format!("remount,{size}")]).arg(&self.0));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[allow(clippy::print_stderr, reason = "a promise that was not looked at is said to be so")]
fn skipped(reason: &str) {
    eprintln!("SKIPPED: mount: {reason}");
}

/// A file system whose writers wait.
#[derive(Debug)]
pub struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

const IMAGE_BYTES: u64 = 128 << 20;

/// Waits until `condition` gives a value; when the time is over, panics with what was waited
/// for and with what `state` says of the last look.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
    state: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        if Instant::now() > deadline {
            panic!("waited {} s for: {what}\n{}", limit.as_secs(), state());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The last lines of a file, for the message of a test that failed.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let all: Vec<&str> = text.lines().collect();
    format!("--- {}\n{}\n---", path.display(), all[all.len().saturating_sub(lines)..].join("\n"))
}
