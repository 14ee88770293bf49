//! WAL as a busy database writes it: text, JSON, noise, several indexes, changed rows, and full
//! pages after checkpoints. No two rows are alike, so nothing compresses by luck.

use tapster::net::quote_literal;
use tapster::wal::{Lsn, SegmentName, SegmentSize, Timeline};

use crate::Outcome;
use crate::sql::Sql;

/// Rows to draw from: more of them than the window of any compressor.
const SEED: &str = "
SELECT setseed(0.42);
CREATE UNLOGGED TABLE seed AS
SELECT n AS id,
       (ARRAY['order', 'invoice', 'letter', 'note', 'shipment'])[1 + (random() * 4)::int] AS kind,
       (SELECT string_agg(words[1 + (word + (random() * 999)::int) % 40], ' ')
          FROM generate_series(1, 12 + n % 25) AS word) AS body,
       jsonb_build_object('customer', (random() * 1e6)::int, 'city', words[1 + n % 40],
           'lines', jsonb_build_array((random() * 100)::int, round((random() * 1e4)::numeric, 2)),
           'paid', random() < 0.7, 'reference', left(md5(random()::text), 12)) AS properties,
       decode(md5(random()::text) || md5(random()::text), 'hex') AS noise
  FROM generate_series(0, 99999) AS n,
       (SELECT string_to_array('the of and to in a that it was for on are with as his they be at \
one have this from had not but what all were when we there can an your which their said if do \
will', ' ') AS words) AS vocabulary;
CREATE UNIQUE INDEX ON seed (id);
ANALYZE seed;
CREATE TABLE documents (
    id bigserial PRIMARY KEY, kind text NOT NULL, body text NOT NULL, properties jsonb NOT NULL,
    noise bytea NOT NULL, changed timestamptz NOT NULL);
CREATE INDEX ON documents (kind, changed);
CREATE INDEX ON documents (noise);
CREATE INDEX ON documents ((properties ->> 'customer'))";

/// WAL that stays where it is: from the first segment to the last, whole segments.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// All of them, in order.
    pub segments: Vec<SegmentName>,
    /// Where the first begins.
    pub start: Lsn,
    /// Where the last ends.
    pub end: Lsn,
    /// Their timeline.
    pub timeline: Timeline,
    /// The length of each.
    pub size: SegmentSize,
    /// The slot that holds it. Nobody streams from it: runs use copies.
    pub slot: String,
}

/// The slot of a backlog that we write ourselves.
const KEEP: &str = "tapster_bench_keep";

impl Backlog {
    /// Writes at least `bytes` of WAL, held by slot [`KEEP`] from its start on.
    pub fn write(sql: &Sql, bytes: u64) -> Outcome<Backlog> {
        sql.run("SELECT pg_switch_wal(); CHECKPOINT")?;
        sql.run(&format!("SELECT pg_create_physical_replication_slot('{KEEP}', true)"))?;
        sql.run(SEED)?;
        let restart =
            format!("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = '{KEEP}'");
        let restart: Lsn = sql.value(&restart)?.parse()?;
        for round in 0.. {
            if lsn(sql, "pg_current_wal_insert_lsn()")?.bytes_since(restart) >= bytes {
                break;
            }
            sql.run(&one_round(round))?;
        }
        // The rest of the last segment is skipped; what the checkpoint writes is behind it.
        let last = lsn(sql, "pg_switch_wal()")?;
        set_fsync(sql, "on")?;
        sql.run("CHECKPOINT")?;
        Backlog::between(sql, KEEP, restart, last)
    }

    /// What a slot holds, as far as segments are complete.
    pub fn held_by(sql: &Sql, slot: &str) -> Outcome<Backlog> {
        let restart = restart_of(sql, slot)?;
        let now = lsn(sql, "pg_current_wal_flush_lsn()")?;
        let size = segment_size(sql)?;
        let backlog = Backlog::between(sql, slot, restart, now.segment_start(size))?;
        if backlog.segments.is_empty() {
            return Err(format!("slot {slot} holds no complete segment").into());
        }
        Ok(backlog)
    }

    /// The segments from that which holds `start` to that which ends at or after `last`.
    fn between(sql: &Sql, slot: &str, start: Lsn, last: Lsn) -> Outcome<Backlog> {
        let size = segment_size(sql)?;
        let timeline = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
        let timeline = u32::from_str_radix(&sql.value(timeline)?, 16)?;
        let timeline = Timeline::new(timeline).ok_or("timeline 0")?;
        let (mut number, end) = (start.segment(size), last.segment_before(size).end(size));
        let mut segments = Vec::new();
        while number.start(size) < end {
            segments.push(SegmentName::new(timeline, number, size));
            number = number.next();
        }
        let (start, slot) = (start.segment_start(size), slot.to_owned());
        Ok(Backlog { segments, start, end, timeline, size, slot })
    }

    /// The end of a backlog that we wrote ourselves: the server may forget it. The next one begins
    /// with the same tables, which are empty.
    pub fn release(&self, sql: &Sql) -> Outcome<()> {
        sql.run(&format!(
            "SELECT pg_drop_replication_slot('{}'); DROP TABLE documents, seed; CHECKPOINT",
            self.slot
        ))
    }

    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.end.bytes_since(self.start)
    }
}

/// Where a slot begins to hold.
fn restart_of(sql: &Sql, slot: &str) -> Outcome<Lsn> {
    let name = quote_literal(slot);
    let rows = sql.rows(&format!(
        "SELECT restart_lsn FROM pg_replication_slots
          WHERE slot_name = {name} AND slot_type = 'physical'"
    ))?;
    let restart = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
    Ok(restart.ok_or(format!("no physical slot {slot} that holds WAL"))?.parse()?)
}

fn set_fsync(sql: &Sql, value: &str) -> Outcome<()> {
    sql.run(&format!("ALTER SYSTEM SET fsync = {value}"))?;
    sql.run("SELECT pg_reload_conf()")
}

fn segment_size(sql: &Sql) -> Outcome<SegmentSize> {
    let size = sql.value("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'")?;
    Ok(SegmentSize::new(size.parse()?)?)
}

fn lsn(sql: &Sql, function: &str) -> Outcome<Lsn> {
    Ok(sql.value(&format!("SELECT {function}"))?.parse()?)
}

/// New rows, and twice a checkpoint and changes of older rows all over their pages: after a
/// checkpoint each page comes whole once more, as in a database that is alive.
fn one_round(round: u64) -> String {
    let (slice, factor, offset) = (round % 10, 2 * round + 1, round * 7919);
    let change = |remainder: u64| {
        format!(
            "CHECKPOINT;
             UPDATE documents SET changed = clock_timestamp(), kind = kind || '*'
              WHERE id % 13 = {remainder} AND id > (SELECT max(id) - 80000 FROM documents)"
        )
    };
    format!(
        "INSERT INTO documents (kind, body, properties, noise, changed)
         SELECT a.kind, a.body || ' ' || b.body,
                b.properties || jsonb_build_object('row', a.id, 'amount', (random() * 1e5)::int),
                a.noise || decode(md5(random()::text), 'hex'), clock_timestamp()
           FROM seed a JOIN seed b ON b.id = (a.id * {factor} + {offset}) % 100000
          WHERE a.id % 10 = {slice};
         {}; {}",
        change(2 * round % 13),
        change((2 * round + 1) % 13)
    )
}

/// Fills the database up to `bytes` with tables of mixed data, each with an index.
pub fn fill(sql: &Sql, bytes: u64) -> Outcome<()> {
    let size = || -> Outcome<u64> {
        Ok(sql.value("SELECT pg_database_size(current_database())")?.parse()?)
    };
    if sql.value("SELECT to_regclass('seed') IS NULL")? == "t" {
        sql.run(SEED)?;
    }
    set_fsync(sql, "off")?;
    let first: u64 = sql.value(&format!("SELECT count(*) FROM ({PARTS}) AS parts"))?.parse()?;
    for number in first.. {
        if size()? >= bytes {
            break;
        }
        let (factor, offset) = (2 * number + 1, number * 7919);
        sql.run(&format!(
            "CREATE TABLE part_{number} AS
             SELECT a.id, a.kind, a.body || ' ' || b.body AS body,
                    b.properties || jsonb_build_object('row', a.id, 'amount', random()) AS properties,
                    a.noise || decode(md5(random()::text), 'hex') AS noise
               FROM seed a JOIN seed b ON b.id = (a.id * {factor} + {offset}) % 100000;
             CREATE INDEX ON part_{number} (noise); CHECKPOINT"
        ))?;
    }
    set_fsync(sql, "on")?;
    sql.run("CHECKPOINT")
}

const PARTS: &str =
    "SELECT relname FROM pg_class WHERE relname ~ '^part_[0-9]+$' AND relkind = 'r'";

/// Removes them.
pub fn empty(sql: &Sql) -> Outcome<()> {
    for row in sql.rows(PARTS)? {
        if let [Some(name)] = &row[..] {
            sql.run(&format!("DROP TABLE {name}"))?;
        }
    }
    sql.run("CHECKPOINT")
}

/// How many tables one transaction makes: each takes a lock.
const AT_ONCE: u32 = 1000;

/// Tables of one page and one file each, in a schema of their own.
pub fn small_tables(sql: &Sql, count: u32) -> Outcome<()> {
    set_fsync(sql, "off")?;
    sql.run("CREATE SCHEMA small")?;
    for first in (0..count).step_by(AT_ONCE as usize) {
        let last = count.min(first + AT_ONCE) - 1;
        sql.run(&format!(
            "DO $$ BEGIN FOR n IN {first}..{last} LOOP
                 EXECUTE format('CREATE TABLE small.t%s AS SELECT %s AS n, md5(%L)::varchar(32) AS note', n, n, n);
             END LOOP; END $$"
        ))?;
    }
    set_fsync(sql, "on")?;
    sql.run("CHECKPOINT")
}

/// Removes them.
pub fn drop_small_tables(sql: &Sql) -> Outcome<()> {
    loop {
        let batch = sql.rows(&format!(
            "SELECT format('DROP TABLE small.%I', relname) FROM pg_class
              WHERE relnamespace = 'small'::regnamespace AND relkind = 'r' LIMIT {AT_ONCE}"
        ))?;
        if batch.is_empty() {
            return sql.run("DROP SCHEMA small; CHECKPOINT");
        }
        let statements: Vec<String> = batch.into_iter().flatten().flatten().collect();
        sql.run(&statements.join(";"))?;
    }
}
