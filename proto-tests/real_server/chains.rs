//! Chains of backups in which the cluster did something unusual in between.

use std::fs;

use super::tables::assert_same_tables;
use super::{Cluster, Tapster};

const PAGE: usize = 8192;

fn cluster(major: u32) -> Cluster {
    Cluster::builder(major)
        .setting("summarize_wal", "on")
        .setting("autovacuum", "off")
        .setting("wal_keep_size", "1GB")
        .start()
}

const INCREMENTAL: [&str; 4] = ["backup", "--incremental", "latest", "main"];

/// `COPY` extends a table by more pages than it fills, and WAL says nothing of those that it does
/// not fill. Where a link of the chain has seen the table end before them, the rows that an older
/// link has at that place were deleted.
#[test]
fn rows_that_were_cut_off_between_two_links_do_not_come_back_in_pages_that_nobody_wrote() {
    for major in [17, 18] {
        let cluster = cluster(major);
        cluster
            .sql("CREATE TABLE tail AS SELECT n, repeat('x', 480) FROM generate_series(1, 9000) n");
        cluster.sql("VACUUM FREEZE tail");
        cluster.sql("VACUUM FREEZE tail");
        let tapster = Tapster::of(&cluster);
        tapster.ok(&["backup", "main"]);
        cluster.sql("DELETE FROM tail WHERE n > 4500");
        cluster.sql("VACUUM tail");
        tapster.ok(&INCREMENTAL);
        let path = cluster.value("SELECT pg_relation_filepath('tail')");
        // As long as the others, so that they do not fit into what these have left of their pages.
        let row = format!("%.0f\t{}", "y".repeat(480));
        let copied = (1..20).find(|step| {
            let last = 10000 + 130 * step;
            cluster.sql(&format!("COPY tail FROM PROGRAM 'seq -f \"{row}\" 10001 {last}'"));
            cluster.sql("CHECKPOINT");
            let file = fs::read(cluster.data().join(&path)).expect("the table");
            file[file.len() - 5 * PAGE..].iter().all(|&byte| byte == 0)
        });
        assert!(copied.is_some(), "every page was written");
        tapster.ok(&INCREMENTAL);
        let expected = cluster.checksums();
        let restored = tapster.restore(major, "restored", &["main", "latest"]);
        restored.wait_until_writable();
        assert_same_tables(&expected, &restored.checksums());
    }
}
