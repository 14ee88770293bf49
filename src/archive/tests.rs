//! A segment that vanishes between `streaming/` and `wals/` is a hole in the archive that
//! nobody notices before a restore.

use rustix::io::Errno;

use super::*;
use crate::disk::ModelDisk;
use crate::repository::ServerName;

const SEGMENT: &str = "00000001000000000000000A";

fn layout() -> ServerLayout {
    let name: ServerName = "main".parse().expect("a name");
    ServerLayout::below(Path::new("/repository"), name)
}

fn disk() -> ModelDisk {
    let disk = ModelDisk::new(3);
    let layout = layout();
    for directory in layout.directories() {
        disk.put_directory(&directory);
    }
    disk
}

fn put(disk: &ModelDisk, name: &str, fill: u8) {
    disk.put(&layout().streaming().join(name), &vec![fill; 1 << 20]);
}

fn sweep(disk: &ModelDisk) -> Result<Swept, ArchiveError> {
    Archiver::new(Arc::new(disk.clone()), layout())
        .sweep_with(|archiver, path, name| archiver.archive_locked(path, name))
}

fn archived(disk: &ModelDisk, name: &str) -> Option<Vec<u8>> {
    disk.bytes(&layout().wal(name.parse().expect("a WAL name")))
}

fn lines(disk: &ModelDisk) -> Vec<String> {
    let bytes = disk.bytes(&layout().xlogdb()).unwrap_or_default();
    let text = String::from_utf8(bytes).expect("text");
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn finished_files_go_to_their_places_with_a_line_each_and_the_open_segment_stays() {
    let disk = disk();
    for name in ["00000002000000000000000C", "00000002000000000000000B", SEGMENT] {
        put(&disk, name, 1);
    }
    put(&disk, "00000002000000000000000D.partial", 2);
    put(&disk, "00000001000000000000000B.partial", 3);
    put(&disk, "spare.tmp", 0);
    disk.put(&layout().streaming().join("00000002.history"), b"1\t0/B000100\tno\n");
    let swept = sweep(&disk).expect("archived");
    let order = [
        "00000002.history",
        SEGMENT,
        "00000001000000000000000B.partial",
        "00000002000000000000000B",
        "00000002000000000000000C",
    ];
    let stored: Vec<String> = swept.stored.iter().map(ToString::to_string).collect();
    assert_eq!(stored, order);
    assert_eq!(lines(&disk), order);
    assert!(disk.bytes(Path::new("/repository/main/wals/00000002.history")).is_some());
    assert_eq!(archived(&disk, SEGMENT).map(|bytes| bytes.len()), Some(1 << 20));
    let left: Vec<_> = Disk::list(&disk, layout().streaming()).expect("listed");
    let mut left: Vec<_> = left.into_iter().filter_map(|e| e.name.into_string().ok()).collect();
    left.sort();
    assert_eq!(left, ["00000002000000000000000D.partial", "spare.tmp"]);
}

#[test]
fn to_archive_the_same_segment_again_changes_nothing() {
    let disk = disk();
    for _ in 0..2 {
        put(&disk, SEGMENT, 1);
        sweep(&disk).expect("archived");
        assert_eq!(lines(&disk), [SEGMENT]);
    }
}

#[test]
fn other_content_under_the_same_name_is_moved_aside_and_never_replaces() {
    let disk = disk();
    put(&disk, SEGMENT, 1);
    sweep(&disk).expect("archived");
    put(&disk, SEGMENT, 2);
    let swept = sweep(&disk).expect("swept");
    let [(_, path)] = swept.duplicates.as_slice() else { panic!("no duplicate: {swept:?}") };
    let name = path.to_string_lossy();
    assert!(name.contains("/main/errors/00000001000000000000000A.2"), "{name}");
    assert!(name.ends_with("Z.duplicate"), "{name}");
    assert!(disk.bytes(path) == Some(vec![2; 1 << 20]));
    assert!(archived(&disk, SEGMENT) == Some(vec![1; 1 << 20]));
    assert_eq!(lines(&disk), [SEGMENT]);
}

#[test]
fn a_file_too_short_for_its_name_stays_where_it_is() {
    let disk = disk();
    disk.put(&layout().streaming().join(SEGMENT), b"short");
    assert!(matches!(sweep(&disk), Err(ArchiveError::Size { length: 5, .. })));
    assert_eq!(archived(&disk, SEGMENT), None);
}

#[test]
fn where_links_are_refused_the_file_is_copied() {
    let disk = disk();
    put(&disk, SEGMENT, 1);
    let link = {
        let probe = disk.after_kill(1);
        sweep(&probe).expect("archived");
        let created =
            format!("create {}", layout().wal(SEGMENT.parse().expect("a name")).display());
        probe.history().iter().position(|call| *call == created).expect("a link")
    };
    disk.fail_call(link as u64, Errno::PERM);
    sweep(&disk).expect("archived");
    assert!(archived(&disk, SEGMENT) == Some(vec![1; 1 << 20]));
    assert_eq!(lines(&disk), [SEGMENT]);
}

#[test]
fn a_power_cut_at_any_call_loses_no_segment_and_the_next_sweep_heals() {
    let prepared = disk();
    put(&prepared, SEGMENT, 1);
    put(&prepared, "00000001000000000000000B", 2);
    let counting = prepared.after_kill(0);
    sweep(&counting).expect("archived");
    for at in 0..counting.calls() {
        for seed in 0..6 {
            let disk = prepared.after_kill(seed);
            disk.power_loss_at_call(at);
            sweep(&disk).expect_err("the power was cut");
            check_survivor(&disk.after_power_loss(seed), &format!("at={at} seed={seed}"));
        }
    }
}

#[test]
fn an_error_at_any_call_loses_no_segment_and_the_next_sweep_heals() {
    let prepared = disk();
    put(&prepared, SEGMENT, 1);
    put(&prepared, "00000001000000000000000B", 2);
    let counting = prepared.after_kill(0);
    sweep(&counting).expect("archived");
    for at in 0..counting.calls() {
        for error in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            let disk = prepared.after_kill(at);
            disk.fail_call(at, error);
            let _ = sweep(&disk);
            check_survivor(&disk.after_kill(at), &format!("at={at} error={error:?} killed"));
            check_survivor(&disk.after_power_loss(at), &format!("at={at} error={error:?}"));
        }
    }
}

fn check_survivor(disk: &ModelDisk, what: &str) {
    let expected = [(SEGMENT, 1), ("00000001000000000000000B", 2)];
    for (name, fill) in expected {
        let whole = Some(vec![fill; 1 << 20]);
        let here = disk.bytes(&layout().streaming().join(name));
        let there = archived(disk, name);
        assert!(here == whole || there == whole, "{what}: {name} is lost");
        assert!(there.is_none() || there == whole, "{what}: {name} is archived incomplete");
    }
    sweep(disk).unwrap_or_else(|error| panic!("{what}: does not heal: {error}"));
    for (name, fill) in expected {
        assert!(archived(disk, name) == Some(vec![fill; 1 << 20]), "{what}: {name}");
        assert_eq!(lines(disk).iter().filter(|line| *line == name).count(), 1, "{what}: {name}");
        assert!(disk.bytes(&layout().streaming().join(name)).is_none(), "{what}: {name} stays");
    }
}
