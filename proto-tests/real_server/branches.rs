//! Two promotions within a segment: three files hold the same bytes, each to its own end, and two
//! of them go on with what never happened on the branch that is followed.

use std::fs;

use super::stored::{Shape, store_backup, store_wal, store_wal_before};
use super::{Cluster, Stop, Tapster};

const ID: &str = "20261123T062541";

#[test]
fn restore_follows_two_promotions_within_a_segment_to_the_last_and_no_dead_branch() {
    for major in [14, 18] {
        let primary = Cluster::builder(major).setting("wal_keep_size", "800MB").start();
        primary.sql("CREATE TABLE t (v text)");
        let tapster = Tapster::of(&primary);
        store_backup(&primary, &tapster, ID, Shape::Archives);
        // Both before the rows: to copy a standby switches to a new segment.
        let (second, third) = (primary.standby(), primary.standby());
        primary.sql("INSERT INTO t VALUES ('one')");
        primary.wait_for_standby(&second);
        primary.wait_for_standby(&third);
        second.stop(Stop::Fast);
        third.stop(Stop::Fast);
        primary.sql("INSERT INTO t VALUES ('dead one')");
        store_wal(&primary, &tapster);
        primary.stop(Stop::Fast);
        second.launch();
        second.promote();
        second.sql("INSERT INTO t VALUES ('two')");
        third.launch();
        third.follow(&second);
        second.wait_for_standby(&third);
        third.stop(Stop::Fast);
        second.sql("INSERT INTO t VALUES ('dead two')");
        store_wal(&second, &tapster);
        second.stop(Stop::Fast);
        third.launch();
        third.promote();
        third.sql("INSERT INTO t VALUES ('three')");
        let open = third.value("SELECT pg_walfile_name(pg_current_wal_flush_lsn())");
        store_wal_before(&third, &tapster, &open);
        let streaming = tapster.server("main").join("streaming");
        let here = |timeline: &str| streaming.join(format!("{timeline}{}.partial", &open[8..]));
        for timeline in ["00000001", "00000002"] {
            // The test is worth something only if all this happened within a segment.
            assert!(here(timeline).exists(), "{} is not there", here(timeline).display());
        }

        let rows = |folder: &str, timeline: &str| {
            let arguments = ["--target-tli", timeline, "main", "latest"];
            let restored = tapster.restore(major, folder, &arguments);
            restored.wait_until_writable();
            restored.value("SELECT string_agg(v, ',') FROM t")
        };
        assert_eq!(rows("bare", "3"), "one,two", "{major}: only its history is there");
        assert_eq!(rows("first", "1"), "one,dead one", "{major}");
        assert_eq!(rows("second", "2"), "one,two,dead two", "{major}");
        let newest = fs::read(third.pg_wal().join(&open)).expect("its open segment");
        fs::write(here("00000003"), &newest[..40]).expect("written");
        assert_eq!(rows("begun", "3"), "one,two", "{major}: its page header is there");
        fs::write(here("00000003"), &newest).expect("written");
        assert_eq!(rows("whole", "3"), "one,two,three", "{major}");
    }
}
