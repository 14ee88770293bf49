//! What is in a cluster, as one checksum for each table, to compare two clusters by.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::sql::quote;

/// `database.schema.table` → rows and a checksum that does not depend on their order.
pub type Checksums = BTreeMap<String, String>;

impl Cluster {
    /// Every permanent table, materialised view and sequence of every database. A database
    /// without any has an entry of its own, so that a lost one shows.
    pub fn checksums(&self) -> Checksums {
        let mut all = Checksums::new();
        let databases = self.sql("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1");
        for database in databases.into_iter().filter_map(|row| row[0].clone()) {
            all.insert(database.clone(), "database".into());
            let session = self.session(&database);
            let tables = session.sql(
                "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence = 'p'
                   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')",
            );
            for table in tables {
                let [Some(schema), Some(name)] = &table[..] else { panic!("a name: {table:?}") };
                // The sum of a hash of each row: needs no sort, and exists in every version.
                let sum = session.sql(&format!(
                    "SELECT count(*), sum(('x' || substr(md5(t::text), 1, 16))::bit(64)::bigint::numeric)
                     FROM {}.{} t",
                    quote(schema),
                    quote(name)
                ));
                all.insert(format!("{database}.{schema}.{name}"), format!("{:?}", sum[0]));
            }
        }
        all
    }
}

/// Fails with the tables that differ, not with all of them.
#[track_caller]
pub fn assert_same_tables(expected: &Checksums, got: &Checksums) {
    let names: std::collections::BTreeSet<_> = expected.keys().chain(got.keys()).collect();
    let differ: Vec<String> = names
        .into_iter()
        .filter(|name| expected.get(*name) != got.get(*name))
        .map(|name| format!("{name}: {:?} was to be {:?}", got.get(name), expected.get(name)))
        .collect();
    assert!(differ.is_empty(), "tables differ:\n{}", differ.join("\n"));
}
