//! Backups as Barman leaves them, made by hand: what restore is given is then known to the
//! byte, and its tests do not depend on the command that takes backups.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tapster::repository::{BackupInfo, BackupMode, BackupStatus, BackupTime, Tablespace};
use tapster::tar::{Member, MemberKind, MemberPath, TRAILER, padding};
use tapster::wal::{Lsn, SegmentName, SegmentSize, Timeline};

use super::cluster::Cluster;
use super::scratch::must;
use super::tapster::Tapster;

/// How the files of a backup are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// `base.tar` and `<oid>.tar`.
    Archives,
    /// `data/` and `<oid>/`.
    Directories,
}

/// Takes a backup of `cluster` into the repository of server `main`, and returns its id.
pub fn store_backup(cluster: &Cluster, tapster: &Tapster, id: &str, shape: Shape) -> String {
    let info = BackupInfo::new(id.parse().expect("an id"), "main");
    let home = tapster.server("main").join("base").join(id);
    let data = home.join("data");
    fs::create_dir_all(&home).expect("a folder");
    let session = cluster.session("postgres");
    let old_names = cluster.major() < 15;
    let begin = session.sql(if old_names {
        "SELECT pg_start_backup('by hand', true, false)"
    } else {
        "SELECT pg_backup_start('by hand', true)"
    })[0][0]
        .clone()
        .expect("a position");
    // Files that vanish under a running server are no error: WAL brings what matters.
    let copied = Command::new("cp").arg("-a").arg(cluster.data()).arg(&data).output();
    copied.expect("cp is there");
    let tablespaces = tablespaces(cluster);
    for tablespace in &tablespaces {
        let to = home.join(tablespace.oid.to_string());
        must(Command::new("cp").arg("-a").arg(&tablespace.location).arg(&to));
        fs::remove_file(data.join("pg_tblspc").join(tablespace.oid.to_string())).expect("a link");
    }
    let stopped = session.sql(if old_names {
        "SELECT lsn, labelfile FROM pg_stop_backup(false, false)"
    } else {
        "SELECT lsn, labelfile FROM pg_backup_stop(false)"
    });
    let [Some(end), Some(label)] = &stopped[0][..] else { panic!("{stopped:?}") };
    fs::write(data.join("backup_label"), label).expect("the label");
    empty(&data.join("pg_wal"));
    fs::create_dir(data.join("pg_wal/archive_status")).expect("a folder");
    if shape == Shape::Archives {
        pack(&home, &data, &tablespaces);
    }
    let info = described(info, cluster, &begin, end, tablespaces);
    let meta = tapster.server("main").join("meta");
    fs::create_dir_all(&meta).expect("a folder");
    fs::write(meta.join(format!("{id}-backup.info")), info.render()).expect("backup.info");
    id.to_owned()
}

fn tablespaces(cluster: &Cluster) -> Vec<Tablespace> {
    let rows = cluster.sql(
        "SELECT spcname, oid, pg_tablespace_location(oid) FROM pg_tablespace
         WHERE spcname !~ '^pg_' ORDER BY oid",
    );
    let read = |row: Vec<Option<String>>| {
        let [Some(name), Some(oid), Some(location)] = &row[..] else { panic!("{row:?}") };
        let oid = oid.parse().expect("an oid");
        Tablespace { name: name.clone(), oid, location: location.clone() }
    };
    rows.into_iter().map(read).collect()
}

fn described(
    mut info: BackupInfo,
    cluster: &Cluster,
    begin: &str,
    end: &str,
    tablespaces: Vec<Tablespace>,
) -> BackupInfo {
    let size = segment_size(cluster);
    let timeline = cluster.value("SELECT timeline_id FROM pg_control_checkpoint()");
    let timeline: Timeline = timeline.parse().expect("a timeline");
    let (begin, end): (Lsn, Lsn) =
        (begin.parse().expect("a position"), end.parse().expect("a position"));
    info.begin_xlog = Some(begin);
    info.begin_wal = Some(SegmentName::containing(timeline, begin, size));
    info.end_xlog = Some(end);
    info.end_wal = Some(SegmentName::new(timeline, end.segment_before(size), size));
    let now = cluster.value("SELECT to_char(now(), 'YYYY-MM-DD HH24:MI:SS.US') || '+00:00'");
    info.end_time = BackupTime::parse(&now);
    info.mode = Some(BackupMode::RsyncConcurrent);
    info.status = BackupStatus::Done;
    let system = cluster.value("SELECT system_identifier FROM pg_control_system()");
    info.systemid = Some(system.parse().expect("a number"));
    info.timeline = Some(timeline);
    let version = cluster.value("SHOW server_version_num");
    info.version = Some(version.parse().expect("a number"));
    info.xlog_segment_size = size;
    info.tablespaces = (!tablespaces.is_empty()).then_some(tablespaces);
    info
}

fn segment_size(cluster: &Cluster) -> SegmentSize {
    let bytes = cluster.value(
        "SELECT setting::bigint * CASE unit WHEN '8kB' THEN 8192 ELSE 1 END
         FROM pg_settings WHERE name = 'wal_segment_size'",
    );
    SegmentSize::new(bytes.parse().expect("a number")).expect("a size")
}

/// Copies the WAL of a running server: complete segments and history files into the archive,
/// the open segment to where a receiver would have it.
pub fn store_wal(cluster: &Cluster, tapster: &Tapster) {
    let open = cluster.value("SELECT pg_walfile_name(pg_current_wal_flush_lsn())");
    store_wal_before(cluster, tapster, &open);
    let streaming = tapster.server("main").join("streaming");
    fs::create_dir_all(&streaming).expect("a folder");
    // At a boundary it may not exist yet.
    let file = cluster.pg_wal().join(&open);
    if file.exists() {
        fs::copy(file, streaming.join(format!("{open}.partial"))).expect("the open segment");
    }
}

/// The same without an open segment: for a server that is gone.
pub fn store_wal_before(cluster: &Cluster, tapster: &Tapster, open: &str) {
    let wals = tapster.server("main").join("wals");
    fs::create_dir_all(&wals).expect("a folder");
    for entry in fs::read_dir(cluster.pg_wal()).expect("its WAL").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let place = if name.ends_with(".history") {
            wals.join(&name)
        } else if name.len() == 24 && name[..8] == open[..8] && name.as_str() < open {
            fs::create_dir_all(wals.join(&name[..16])).expect("a folder");
            wals.join(&name[..16]).join(&name)
        } else {
            continue;
        };
        fs::copy(entry.path(), place).expect("a copy");
    }
}

fn empty(folder: &Path) {
    fs::remove_dir_all(folder).expect("it was there");
    fs::create_dir(folder).expect("a folder");
}

/// Packs the directories as a server would, and removes them.
fn pack(home: &Path, data: &Path, tablespaces: &[Tablespace]) {
    let archives = home.join("archives");
    fs::create_dir(&archives).expect("a folder");
    let mut out = Vec::new();
    pack_folder(data, &mut Vec::new(), &mut out);
    let control = data.join("global/pg_control");
    pack_file(&control, b"global/pg_control", &mut out);
    out.extend(TRAILER);
    fs::write(archives.join("base.tar"), out).expect("base.tar");
    for tablespace in tablespaces {
        let folder = home.join(tablespace.oid.to_string());
        let mut out = Vec::new();
        pack_folder(&folder, &mut Vec::new(), &mut out);
        fs::write(archives.join(format!("{}.tar", tablespace.oid)), out).expect("an archive");
        empty(&folder);
    }
    fs::remove_dir_all(data).expect("it was there");
    fs::rename(archives, data).expect("a new name");
}

fn pack_folder(folder: &Path, name: &mut Vec<u8>, out: &mut Vec<u8>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let length = name.len();
        if length > 0 {
            name.push(b'/');
        }
        name.extend_from_slice(path.file_name().expect("a name").as_encoded_bytes());
        if path.is_dir() {
            out.extend(header(&path, name, MemberKind::Directory, 0));
            pack_folder(&path, name, out);
        } else if name != b"global/pg_control" {
            pack_file(&path, name, out);
        }
        name.truncate(length);
    }
}

fn pack_file(path: &Path, name: &[u8], out: &mut Vec<u8>) {
    let content = fs::read(path).expect("a file");
    let size = content.len() as u64;
    out.extend(header(path, name, MemberKind::File, size));
    out.extend_from_slice(&content);
    out.resize(out.len() + padding(size) as usize, 0);
}

fn header(path: &Path, name: &[u8], kind: MemberKind, size: u64) -> [u8; 512] {
    let found = fs::metadata(path).expect("it is there");
    let member = Member {
        path: MemberPath::new(name).expect("a name"),
        kind,
        size,
        mode: found.permissions().mode() & 0o777,
        uid: u64::from(found.uid()),
        gid: u64::from(found.gid()),
        modified: found.mtime(),
    };
    member.encode().expect("it fits")
}
