//! Clusters of every shape come back: tablespaces, tables of several files, unlogged tables,
//! names that need quoting, a database without a table.
//!
//! Each was once the reason of a lost restore somewhere: a tablespace restored over the live
//! one, a second gigabyte forgotten, an unlogged table's fork that kept the server from starting.

use std::fs::{self, OpenOptions};

use super::round_trip::open_at_target;
use super::scratch::give_to_server;
use super::tables::assert_same_tables;
use super::{Cluster, Load, Stop, Tapster};

/// The size of one file of a table, as every usual build has it.
const TABLE_FILE: u64 = 1 << 30;

#[test]
fn every_shape_of_cluster_comes_back_from_10() {
    every_shape_comes_back(10);
}

#[test]
fn every_shape_of_cluster_comes_back_from_14() {
    every_shape_comes_back(14);
}

#[test]
fn every_shape_of_cluster_comes_back_from_18() {
    every_shape_comes_back(18);
}

fn every_shape_comes_back(major: u32) {
    let cluster = Cluster::start(major);
    make_shapes(&cluster);
    let tapster = Tapster::of(&cluster);
    let mut receiver = tapster.receive(&cluster);
    let load = Load::start(&cluster, 100);
    load.wait_for(10);
    tapster.ok(&["backup", "main"]);
    load.wait_for(10);
    load.stop();
    cluster.sql("INSERT INTO \"a b\".\"tabelle ü\" VALUES (3, 'nach der Sicherung')");
    let expected = cluster.checksums();
    let moment = cluster.value("SELECT clock_timestamp()");
    cluster.sql("DROP TABLE wide");
    let segment = cluster.switch_wal();
    tapster.wait_for_archived("main", &[segment]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());

    let data = tapster.path().join("restored");
    let fast = tapster.path().join("fast here");
    let cold = tapster.path().join("kälter");
    for folder in [&fast, &cold] {
        fs::create_dir(folder).expect("a folder");
    }
    tapster.ok(&[
        "restore",
        "--target-time",
        &moment,
        "--tablespace",
        &format!("fast:{}", fast.display()),
        "--tablespace",
        &format!("cold storage:{}", cold.display()),
        "main",
        "latest",
        &data.display().to_string(),
    ]);
    give_to_server(&fast);
    give_to_server(&cold);
    cluster.stop(Stop::Fast);

    let restored = Cluster::of_directory(major, &data);
    restored.launch();
    open_at_target(&restored);
    assert_same_tables(&expected, &restored.checksums());
    // Unlogged tables come back empty, and usable.
    restored.sql("INSERT INTO unlogged VALUES (1)");
    assert_eq!(restored.value("SELECT count(*) FROM unlogged"), "1");
    let moved = restored.value(
        "SELECT string_agg(pg_tablespace_location(oid), ' ' ORDER BY spcname DESC)
         FROM pg_tablespace WHERE spcname !~ '^pg_'",
    );
    assert_eq!(moved, format!("{} {}", fast.display(), cold.display()));
}

fn make_shapes(cluster: &Cluster) {
    cluster.create_tablespace("fast");
    cluster.create_tablespace("cold storage");
    cluster.sql("CREATE DATABASE \"völlig leer\"");
    cluster.sql("CREATE DATABASE elsewhere TABLESPACE \"cold storage\"");
    cluster.sql_in("elsewhere", "CREATE TABLE t AS SELECT generate_series(1, 100) n");
    cluster.sql(
        "CREATE TABLE quick TABLESPACE fast AS SELECT n, md5(n::text) FROM generate_series(1, 5000) n;
         CREATE UNLOGGED TABLE unlogged TABLESPACE fast AS SELECT generate_series(1, 1000) n;
         CREATE SCHEMA \"a b\";
         CREATE TABLE \"a b\".\"tabelle ü\" (n int, \"Wert '1'\" text);
         INSERT INTO \"a b\".\"tabelle ü\" VALUES (1, 'é'), (2, NULL);
         CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM quick;
         CREATE TABLE wide (n int, filling text)",
    );
    make_several_files(cluster, "wide");
}

/// Makes a table's first file a hole of a whole gigabyte, so that its rows go to the second.
/// Pages of zeros are what PostgreSQL itself leaves after a crash while it extends a table.
fn make_several_files(cluster: &Cluster, table: &str) {
    let path = cluster.value(&format!("SELECT pg_relation_filepath('{table}')"));
    cluster.stop(Stop::Fast);
    let first = cluster.data().join(path);
    let file = OpenOptions::new().write(true).open(&first).expect("the table's file");
    file.set_len(TABLE_FILE).expect("a hole");
    let second = first.with_extension("1");
    fs::write(&second, [0u8; 8192]).expect("a second file");
    give_to_server(&second);
    cluster.launch();
    cluster.sql(&format!(
        "INSERT INTO {table} SELECT n, md5(n::text) FROM generate_series(1, 5000) n"
    ));
    let size: u64 = cluster
        .value(&format!("SELECT pg_relation_size('{table}')"))
        .parse()
        .expect("a number of bytes");
    assert!(size > TABLE_FILE + 8192, "{size} bytes: the rows did not go to the second file");
}
