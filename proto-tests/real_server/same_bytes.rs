//! What is received is the server's own WAL, byte for byte.
//!
//! The judge is the server's `pg_wal`, and, where it is installed, what the stock receiver has
//! got from the same server at the same time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use tapster::wal::Lsn;

use super::round_trip::assert_same_segments;
use super::scratch::{give_to_server, server_command, tail, wait_until};
use super::servers::programs;
use super::{Cluster, Stop, Tapster};

/// The sizes that are looked at, for each version: the smallest, the usual one and a large one.
/// Before 11 there is only the usual one; after that each version has one, and the version whose
/// stock receiver is at hand has all.
fn sizes(major: u32) -> &'static [u32] {
    match (major, stock_receiver(major)) {
        (..11, _) => &[16],
        (_, Some(_)) => &[1, 16, 64],
        _ => [&[1], &[16], &[64]][major as usize % 3],
    }
}

crate::on_every_version! {
    fn received_segments_are_the_servers_own_over_long_records_and_a_promotion(major) {
        for mib in sizes(major) {
            received(major, *mib);
        }
    }
}

fn received(major: u32, mib: u32) {
    let keep = if major < 13 { ("wal_keep_segments", "200") } else { ("wal_keep_size", "4GB") };
    let builder = Cluster::builder(major).setting(keep.0, keep.1);
    let primary = if major < 11 { builder.start() } else { builder.segment_mib(mib).start() };
    let standby = primary.standby();
    for slot in ["tapster", "stock"] {
        standby.sql(&format!("SELECT pg_create_physical_replication_slot('{slot}', true)"));
    }
    let tapster = Tapster::of(&standby);
    let mut receiver = tapster.receive(&standby);
    let stock = stock_receiver(major).map(|program| Stock::start(&program, &standby));

    write_mix(&primary);
    let mut expected = vec![primary.switch_wal_before(&standby)];
    write_mix(&primary);
    primary.wait_for_standby(&standby);
    primary.stop(Stop::Fast);
    standby.promote();
    let switchpoint = switchpoint(&standby);
    write_mix(&standby);
    expected.extend([standby.switch_wal(), "00000002.history".to_owned()]);
    standby.sql("CREATE TABLE last AS SELECT n, md5(n::text) FROM generate_series(1, 3000) n");
    let end = standby.flushed_lsn().parse().expect("a position");

    tapster.wait_for_archived("main", &expected);
    let archived = tapster.archived("main");
    assert_same_segments(&standby.pg_wal(), &archived, 3);
    let history = fs::read(&archived["00000002.history"]).expect("it is archived");
    assert_eq!(history, fs::read(standby.pg_wal().join("00000002.history")).expect("its own"));
    let whole = i64::from(mib) << 20;
    assert!(archived.keys().filter(|name| name.len() == 24).count() as i64 >= (60 << 20) / whole);

    wait_for_open(&tapster, &standby, end, mib);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    old_branch_ends_as_the_new_one_begins(&tapster, switchpoint, mib);
    if let Some(stock) = stock {
        stock.compare(&tapster, end, mib);
    }
}

/// Table rows, index pages, large values, an aborted transaction, and two records that are
/// longer than a segment of the usual size.
fn write_mix(cluster: &Cluster) {
    let session = cluster.session("postgres");
    session.sql(
        "CREATE TABLE IF NOT EXISTS mix (n int PRIMARY KEY, hash text, document jsonb);
         CREATE INDEX IF NOT EXISTS by_hash ON mix (hash)",
    );
    session.sql(
        "INSERT INTO mix SELECT n, md5(n::text), jsonb_build_object('n', n, 'text', repeat('x', (n % 90)::int))
         FROM generate_series((SELECT count(*) FROM mix) + 1, (SELECT count(*) FROM mix) + 4000) n",
    );
    session.sql("BEGIN; DELETE FROM mix WHERE n % 3 = 0; ROLLBACK");
    for transactional in ["false", "true"] {
        session.sql(&format!(
            "SELECT pg_logical_emit_message({transactional}, 'long', repeat(md5(random()::text), 640000))"
        ));
    }
}

fn switchpoint(promoted: &Cluster) -> Lsn {
    let text = fs::read_to_string(promoted.pg_wal().join("00000002.history")).expect("it is there");
    text.split('\t').nth(1).and_then(|text| text.parse().ok()).expect("a switchpoint")
}

/// The name of the segment around a position, and the offset in it.
fn place_of(position: Lsn, timeline: u32, mib: u32) -> (String, usize) {
    let size = u64::from(mib) << 20;
    let (number, per_log) = (position.0 / size, (1 << 32) / size);
    let name = format!("{timeline:08X}{:08X}{:08X}", number / per_log, number % per_log);
    (name, (position.0 % size) as usize)
}

/// The segment that is not complete holds the server's bytes up to what it had flushed.
fn wait_for_open(tapster: &Tapster, server: &Cluster, end: Lsn, mib: u32) {
    let (name, offset) = place_of(end, 2, mib);
    let expected = fs::read(server.pg_wal().join(&name)).expect("its own");
    wait_until(
        &format!("{offset} bytes of {name}"),
        Duration::from_secs(60),
        || {
            let stored = tapster.stored("main", &name).unwrap_or_default();
            (stored.len() >= offset && stored[..offset] == expected[..offset]).then_some(())
        },
        || tail(&tapster.path().join("tapster.log"), 30),
    );
}

/// The incomplete last segment of the first timeline is kept, and the first one of the second
/// begins with the same bytes.
fn old_branch_ends_as_the_new_one_begins(tapster: &Tapster, switchpoint: Lsn, mib: u32) {
    let (old, offset) = place_of(switchpoint, 1, mib);
    let (new, _) = place_of(switchpoint, 2, mib);
    let (old, new) = (tapster.stored("main", &old), tapster.stored("main", &new));
    let (old, new) = (old.expect("the old branch is kept"), new.expect("the new branch"));
    assert!(old[..offset] == new[..offset], "the branches differ before the switch");
}

fn stock_receiver(major: u32) -> Option<PathBuf> {
    let program = programs(major).join("pg_receivewal");
    program.exists().then_some(program)
}

/// The stock receiver, at work beside ours.
struct Stock {
    child: Child,
    folder: PathBuf,
}

impl Stock {
    fn start(program: &Path, server: &Cluster) -> Stock {
        let folder = server.folder("stock");
        give_to_server(&folder);
        let child = server_command(program)
            .args(["--synchronous", "--slot=stock", "-D"])
            .arg(&folder)
            .args(["-d", &server.streaming_conninfo()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        let stock = Stock { child, folder };
        let streams =
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'stock' AND active";
        wait_until(
            "the stock receiver",
            Duration::from_secs(60),
            || (server.value(streams) == "1").then_some(()),
            || server.log_tail(),
        );
        stock
    }

    /// Every file that it has is ours too, with the same bytes.
    fn compare(&self, tapster: &Tapster, end: Lsn, mib: u32) {
        let (open, offset) = place_of(end, 2, mib);
        let partial = self.folder.join(format!("{open}.partial"));
        let ours = tapster.stored("main", &open).expect("the open segment");
        wait_until(
            "the stock receiver's open segment",
            Duration::from_secs(60),
            || {
                let its = fs::read(&partial).unwrap_or_default();
                (its.len() >= offset && its[..offset] == ours[..offset]).then_some(())
            },
            || format!("{:?}", fs::read_dir(&self.folder)),
        );
        let archived = tapster.archived("main");
        let mut compared = 0;
        for entry in fs::read_dir(&self.folder).expect("its folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".partial") {
                continue;
            }
            let ours = archived.get(&name).unwrap_or_else(|| panic!("{name} is not archived"));
            let (its, ours) = (fs::read(entry.path()), fs::read(ours));
            assert!(its.expect("a file") == ours.expect("a file"), "{name} differs");
            compared += 1;
        }
        assert!(compared > 2, "{compared} files of the stock receiver");
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
