//! WAL that is packed into the archive is the server's own when it is unpacked.
//!
//! A compressor that loses the last block, a name that stands before its bytes, or a restore
//! that takes packed bytes for WAL: each of them is found only when the archive is needed.

use std::fs;
use std::time::Duration;

use super::backup_options::hold_lock;
use super::receiving::wait_for_free_slot;
use super::scratch::wait_until;
use super::tables::assert_same_tables;
use super::{Cluster, Tapster};

/// A segment as `restore_command` would get it.
fn fetched(tapster: &Tapster, segment: &str) -> Vec<u8> {
    let folder = tapster.path().join("fetched");
    fs::create_dir_all(&folder).expect("a folder");
    let text = folder.display().to_string();
    tapster.ok(&["get-wal", "-o", &text, "main", segment]);
    fs::read(folder.join(segment)).expect("it was sent")
}

/// The compression in the line of a segment in the xlog database.
fn word_of(tapster: &Tapster, segment: &str) -> String {
    let database = tapster.server("main").join("wals/main-xlog.db");
    let text = fs::read_to_string(&database).expect("the xlog database");
    let line = text.lines().rfind(|line| line.starts_with(segment)).expect("a line");
    line.split('\t').nth(3).expect("a fourth column").to_owned()
}

#[test]
fn an_archive_packed_in_every_way_by_killed_receivers_restores_what_was_there() {
    let cluster = Cluster::builder(17).segment_mib(1).setting("wal_keep_size", "1GB").start();
    let tapster = Tapster::of(&cluster);
    let plain = Tapster::server_options(&cluster);
    cluster.sql("CREATE TABLE t (n int, a text)");
    let mut receiver = tapster.receive(&cluster);
    tapster.ok(&["backup", "main"]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    let mut packed = Vec::new();
    for (word, from) in [("none", 0), ("gzip", 1), ("lz4", 2), ("zstd", 3), ("zstd", 4)] {
        tapster.write_server("main", &format!("{plain}compression = {word}\n"));
        let mut receiver = tapster.spawn(&["receive-wal", "main"]);
        receiver.wait_until_streaming(&cluster);
        cluster.sql(&format!(
            "INSERT INTO t SELECT n, repeat(md5(n::text), 1 + n % 5) FROM generate_series({from} \
             * 20000 + 1, {from} * 20000 + 20000) n"
        ));
        let segments = cluster.advance_wal(1);
        // Two of them in the middle of their work: the next one heals what they left.
        if from % 3 == 1 {
            receiver.kill();
            wait_for_free_slot(&cluster);
            continue;
        }
        tapster.wait_for_archived("main", &segments);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        packed.push((word, segments));
    }
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    let last = cluster.advance_wal(2);
    tapster.wait_for_archived("main", &last);
    cluster.sql("INSERT INTO t VALUES (0, 'only in the open segment')");
    let there = cluster.checksums();
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    for (word, segments) in packed {
        let last = segments.last().expect("a segment");
        let wanted = if word == "none" { "None" } else { word };
        assert_eq!(word_of(&tapster, last), wanted, "{last}");
    }
    let mut compared = 0;
    for name in tapster.archived("main").keys().filter(|name| name.len() == 24) {
        let Ok(server) = fs::read(cluster.pg_wal().join(name)) else { continue };
        assert!(fetched(&tapster, name) == server, "{name} is not the server's own");
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} segments were compared");
    let folder = tapster.path().join("restored");
    tapster.ok(&["restore", "main", "latest", &folder.display().to_string()]);
    let restored = Cluster::of_directory(17, &folder);
    restored.launch();
    restored.wait_until_writable();
    assert_same_tables(&there, &restored.checksums());
}

#[test]
fn a_compression_that_cannot_be_written_is_refused_with_the_choices() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::of(&cluster);
    tapster.ok(&["receive-wal", "--create-slot", "main"]);
    let plain = Tapster::server_options(&cluster);
    for word in ["bzip2", "xz", "snappy"] {
        tapster.write_server("main", &format!("{plain}compression = {word}\n"));
        let refused = tapster.refused(&["receive-wal", "main"]);
        assert!(refused.stderr.contains(word), "{refused}");
        assert!(refused.stderr.contains("zstd, lz4, gzip or none"), "{refused}");
    }
}

#[test]
fn segments_that_pile_up_are_the_servers_own_all_the_same_and_the_log_says_it_once() {
    let cluster = Cluster::builder(17).segment_mib(1).setting("wal_keep_size", "1GB").start();
    let tapster = Tapster::of(&cluster);
    let plain = Tapster::server_options(&cluster);
    tapster.write_server("main", &format!("{plain}compression = zstd\n"));
    tapster.ok(&["receive-wal", "--create-slot", "main"]);
    cluster.sql("CREATE TABLE t (n int, a text)");
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    receiver.wait_until_streaming(&cluster);
    for _ in 0..2 {
        let mut holder = hold_lock(&tapster, "archive-wal");
        // More than four threads can have in hand.
        let segments: Vec<String> = (0..10)
            .map(|_| {
                cluster.sql("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 2000) n");
                cluster.switch_wal()
            })
            .collect();
        let newest = tapster.server("main").join("streaming").join(&segments[9]);
        let is_there = || newest.exists().then_some(());
        wait_until("the last segment", Duration::from_secs(60), is_there, || receiver.output());
        // Which closes its standard input first.
        holder.wait().expect("it ends");
        tapster.wait_for_archived("main", &segments);
        for name in &segments {
            let server = fs::read(cluster.pg_wal().join(name)).expect("it is kept");
            assert!(fetched(&tapster, name) == server, "{name} is not the server's own");
            assert_eq!(word_of(&tapster, name), "zstd");
        }
    }
    receiver.wait_for_log(&tapster, "segments pile up");
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    let said = tapster.log() + &receiver.output();
    assert_eq!(said.matches("segments pile up").count(), 1, "{said}");
}
