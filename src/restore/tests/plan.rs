//! A plan is made from facts alone: tables of wishes and what becomes of them.

use super::*;
use crate::repository::HoleCause;
use crate::restore::reach::LastCommit;
use crate::restore::selection::BackupRange;
use crate::restore::target::TargetTime;
use crate::wal::{SegmentNumber, SegmentSize, TimelineHistory};
use crate::wire::ServerVersion;

fn tli(id: u32) -> Timeline {
    Timeline::new(id).expect("not 0")
}

fn backup(major: u32) -> BackupFacts {
    let tablespace = |name: &str, oid: u32, location: &str| TablespaceFacts {
        name: name.to_owned(),
        oid,
        location: PathBuf::from(location),
    };
    BackupFacts {
        id: "20261123T062541".parse().expect("an id"),
        server: "main".to_owned(),
        version: ServerVersion::from_number(major * 10_000 + 3),
        system: None,
        range: BackupRange {
            timeline: tli(1),
            begin: Lsn(0x2A00_0028),
            end_timeline: tli(1),
            end: Lsn(0x2B00_0100),
            segment_size: SegmentSize::DEFAULT,
        },
        end_time: crate::repository::BackupTime::parse("2026-11-23 06:28:14.245695+00:00"),
        tablespaces: vec![
            tablespace("tbs1", 16390, "/var/lib/pgsql/tbs1"),
            tablespace("a:b", 16391, "/var/lib/pgsql/a b"),
        ],
    }
}

fn wal(segments: std::ops::Range<u64>, histories: &[(u32, &str)]) -> AvailableWal {
    let mut wal = AvailableWal::default();
    let size = SegmentSize::DEFAULT;
    wal.segments.extend(segments.map(|n| SegmentName::new(tli(1), SegmentNumber(n), size)));
    for (id, text) in histories {
        let history = TimelineHistory::parse(tli(*id), text.as_bytes()).expect("a history");
        wal.histories.insert(tli(*id), history);
    }
    wal
}

fn wishes(goal: Goal) -> Wishes {
    Wishes { destination: "/srv/restore/e".into(), relocations: Vec::new(), goal }
}

fn at(text: &str) -> Goal {
    let (time, _) = TargetTime::parse(text, &jiff::tz::TimeZone::UTC).expect("a time");
    target(RecoveryTarget::Time(time))
}

fn target(target: RecoveryTarget) -> Goal {
    Goal { target: Some(target), ..Goal::default() }
}

fn plan(major: u32, goal: Goal, wal: &AvailableWal) -> Result<RestorePlan, Refusal> {
    let (facts, wishes) = (backup(major), wishes(goal));
    let placed = place_tablespaces(&facts, &wishes)?;
    RestorePlan::new(facts, &wishes, placed, wal)
}

fn settings(plan: &RestorePlan) -> String {
    String::from_utf8(plan.settings.lines.clone()).expect("text")
}

const PROMOTED: (u32, &str) = (2, "1\t0/2D000500\tno recovery target specified\n");

#[test]
fn without_a_target_the_wal_goes_where_the_server_looks_first_and_nothing_is_set() {
    let plan = plan(15, Goal::default(), &wal(0x29..0x2E, &[])).expect("a plan");
    assert_eq!(plan.wal_directory, "pg_wal");
    assert!(plan.marks_archived());
    assert_eq!((settings(&plan).as_str(), plan.settings.signal), ("", None));
    assert_eq!(plan.wal.segments.len(), 4);
    assert_eq!(plan.old_sources, OldSources::Keep);
}

#[test]
fn a_target_is_recovered_from_the_archive_copy() {
    let plan = plan(15, target(RecoveryTarget::Immediate), &wal(0x29..0x2E, &[])).expect("a plan");
    assert_eq!(
        settings(&plan),
        "restore_command = 'cp /srv/restore/e/barman_wal/%f %p'\n\
         recovery_end_command = 'rm -fr /srv/restore/e/barman_wal'\n\
         recovery_target = 'immediate'\n"
    );
    assert_eq!(plan.wal.segments.len(), 2);
    assert!(!plan.marks_archived());
}

#[test]
fn a_target_before_the_end_of_the_backup_is_refused_in_barmans_words() {
    let wal = wal(0x29..0x2E, &[]);
    let refused = plan(15, at("2020-01-01 00:00:00+00"), &wal).expect_err("too early");
    assert_eq!(
        refused.to_string(),
        "The requested target time 2020-01-01 00:00:00+00:00 is before the backup end time \
         2026-11-23 06:28:14.245695+00:00"
    );
    let lsn = target(RecoveryTarget::Lsn(Lsn(0x2B00_00FF)));
    assert!(matches!(plan(15, lsn, &wal), Err(Refusal::LsnBeforeEnd { .. })));
    assert!(plan(15, target(RecoveryTarget::Lsn(Lsn(0x2B00_0100))), &wal).is_ok());
}

#[test]
fn a_position_that_no_wal_reaches_is_refused_before_anything_is_copied() {
    let wal = wal(0x29..0x2E, &[]);
    assert!(plan(15, target(RecoveryTarget::Lsn(Lsn(0x2DFF_FFFF))), &wal).is_ok());
    let beyond = plan(15, target(RecoveryTarget::Lsn(Lsn(0x2E00_0000))), &wal);
    assert!(matches!(beyond, Err(Refusal::LsnBeyondWal { end: Lsn(0x2E00_0000), .. })));
}

#[test]
fn an_action_alone_is_no_recovery() {
    let goal =
        Goal { action: Some(crate::restore::target::TargetAction::Promote), ..Goal::default() };
    let refused = plan(15, goal, &wal(0x29..0x2E, &[])).expect_err("no target");
    assert_eq!(
        refused.to_string(),
        "Can't enable recovery target action when PITR is not required"
    );
}

#[test]
fn from_12_on_a_target_is_sought_on_the_latest_timeline_and_before_on_the_backups_own() {
    let wal = wal(0x29..0x2E, &[PROMOTED]);
    let time = at("2026-11-23 07:00:00+00");
    let new = plan(12, time.clone(), &wal).expect("a plan");
    assert_eq!(new.wal.timeline, tli(2));
    assert!(!settings(&new).contains("recovery_target_timeline"), "the server does so itself");
    let old = plan(11, time, &wal).expect("a plan");
    assert_eq!(old.wal.timeline, tli(1));
    let none = plan(15, Goal::default(), &wal).expect("a plan");
    assert_eq!(none.wal.timeline, tli(1));
    assert_eq!(none.warnings, [PlanWarning::NotFollowed(vec![tli(2)])]);
}

#[test]
fn where_the_servers_latest_is_a_dead_branch_it_is_told_the_number() {
    // Timeline 2 left before the backup; the server would count 1, 2 and stop with an error.
    let dead = [(2, "1\t0/1000000\tr\n")];
    let time = at("2026-11-23 07:00:00+00");
    let plan_dead = plan(15, time.clone(), &wal(0x29..0x2E, &dead)).expect("a plan");
    assert!(settings(&plan_dead).contains("recovery_target_timeline = 1\n"));
    // Timeline 2 was never archived; the server would stop counting before 3.
    let hole = [(3, "1\t0/2D000500\tr\n")];
    let plan_hole = plan(15, time, &wal(0x29..0x2E, &hole)).expect("a plan");
    assert!(settings(&plan_hole).contains("recovery_target_timeline = 3\n"));
}

#[test]
fn a_backup_that_ended_on_another_timeline_is_followed_there_by_number() {
    let mut facts = backup(11);
    facts.range.end_timeline = tli(2);
    let mut wal = wal(0x29..0x2B, &[(2, "1\t0/2A000500\tr\n")]);
    let size = SegmentSize::DEFAULT;
    wal.segments.extend((0x2A..0x2E).map(|n| SegmentName::new(tli(2), SegmentNumber(n), size)));
    let wishes = wishes(at("2026-11-23 07:00:00+00"));
    let plan = RestorePlan::new(facts, &wishes, Vec::new(), &wal).expect("a plan");
    assert_eq!(plan.wal.timeline, tli(2));
    assert!(settings(&plan).contains("recovery_target_timeline = 2\n"), "{}", settings(&plan));
}

#[test]
fn a_timeline_alone_is_point_in_time_recovery() {
    let goal = Goal { timeline: Some(TargetTimeline::Exact(tli(1))), ..Goal::default() };
    let plan_one = plan(15, goal, &wal(0x29..0x2E, &[PROMOTED])).expect("a plan");
    assert!(settings(&plan_one).ends_with("recovery_target_timeline = 1\n"));
    assert_eq!(plan_one.wal_directory, "barman_wal");
    let goal = Goal { timeline: Some(TargetTimeline::Exact(tli(7))), ..Goal::default() };
    let refused = plan(15, goal, &wal(0x29..0x2E, &[PROMOTED]));
    assert!(matches!(refused, Err(Refusal::UnknownTimeline { .. })));
}

#[test]
fn a_standby_reads_its_own_wal_directory_and_waits() {
    let goal = Goal { standby: true, ..Goal::default() };
    let plan = plan(15, goal, &wal(0x29..0x2E, &[])).expect("a plan");
    assert_eq!(plan.wal_directory, "pg_wal");
    assert_eq!(plan.settings.signal.map(|signal| signal.name()), Some("standby.signal"));
    assert_eq!(settings(&plan), "");
}

fn places(rules: &[&str]) -> Result<Vec<PathBuf>, Refusal> {
    let mut wishes = wishes(Goal::default());
    wishes.relocations = rules.iter().map(|rule| (*rule).to_owned()).collect();
    let placed = place_tablespaces(&backup(15), &wishes)?;
    Ok(placed.into_iter().map(|placed| placed.location).collect())
}

#[test]
fn tablespaces_stay_where_they_were_unless_a_rule_moves_them() {
    let paths = |list: [&str; 2]| Ok(list.map(PathBuf::from).to_vec());
    assert_eq!(places(&[]), paths(["/var/lib/pgsql/tbs1", "/var/lib/pgsql/a b"]));
    assert_eq!(
        places(&["tbs1:/srv/t 1/", "a:b:/srv/x:y"]),
        paths(["/srv/t 1", "/srv/x:y"]),
        "names and locations may hold colons"
    );
}

#[test]
fn rules_that_lead_nowhere_are_refused() {
    let refused = places(&["nosuch:/x"]).expect_err("unknown");
    assert_eq!(refused.to_string(), "Invalid tablespace name 'nosuch'");
    assert_eq!(
        refused.hint().as_deref(),
        Some("Please use any of the following tablespaces: tbs1, a:b")
    );
    for rule in ["nosuch", "tbs1", "tbs1:"] {
        assert_eq!(places(&[rule]), Err(Refusal::RelocationRule(rule.to_owned())), "{rule}");
    }
    assert!(matches!(places(&["tbs1:x/y"]), Err(Refusal::RelativeLocation { .. })));
    for within in ["/srv/restore/e/tbs", "/srv/restore", "/srv/restore/e", "/var/lib/pgsql/a b/c"] {
        let rule = format!("tbs1:{within}");
        assert!(matches!(places(&[&rule]), Err(Refusal::Overlap(..))), "{within}");
    }
}

#[test]
fn a_tablespace_in_place_stays_inside_the_data_directory() {
    let mut facts = backup(15);
    facts.tablespaces[0].location = "pg_tblspc/16390".into();
    let placed = place_tablespaces(&facts, &wishes(Goal::default())).expect("placed");
    assert!(placed[0].in_place);
    assert_eq!(placed[0].location, Path::new("/srv/restore/e/pg_tblspc/16390"));
}

#[test]
fn a_time_behind_the_last_commit_is_a_warning_and_behind_a_hole_a_refusal() {
    let last = |text: &str| -> jiff::Timestamp { text.parse().expect("a time") };
    let time = at("2026-11-23 07:00:00+00");
    let whole = plan(15, time.clone(), &wal(0x29..0x2E, &[])).expect("a plan");
    let judge =
        |plan: &RestorePlan, text| crate::restore::reach::judge(plan, LastCommit::At(last(text)));
    assert_eq!(judge(&whole, "2026-11-23T07:00:01Z"), Ok(None));
    let warned = judge(&whole, "2026-11-23T07:00:00Z");
    assert!(matches!(warned, Ok(Some(PlanWarning::TimeBeyondWal { .. }))), "{warned:?}");
    let mut holed = wal(0x29..0x2D, &[]);
    holed.segments.extend(wal(0x2E..0x30, &[]).segments);
    let holed = plan(15, time, &holed).expect("a plan");
    let refused = judge(&holed, "2026-11-23T06:59:00Z");
    assert!(matches!(refused, Err(Refusal::TimeBehindGap { .. })), "{refused:?}");
    assert_eq!(judge(&holed, "2026-11-23T07:00:01Z"), Ok(None), "the hole lies behind the target");
    let hole = Hole {
        timeline: tli(1),
        from: Lsn(0x2C00_1000),
        to: Lsn(0x2D00_0000),
        since: last("2026-11-23T07:00:00Z"),
        why: HoleCause::Damaged,
    };
    let mut lost = wal(0x29..0x30, &[]);
    lost.holes = [hole].into_iter().collect();
    let across = plan(15, at("2026-11-23 07:00:00+00"), &lost).expect("a plan");
    assert_eq!(across.warnings, [PlanWarning::Hole(hole)]);
    let refused = judge(&across, "2026-11-23T06:59:00Z").expect_err("across lost WAL");
    for word in ["2026-11-23 07:00:00", "0/2C001000", "0/2D000000", "damaged", "06:59:00"] {
        assert!(refused.to_string().contains(word), "{word:?}: {refused}");
    }
    let to = |lsn| Goal { target: Some(RecoveryTarget::Lsn(Lsn(lsn))), ..Goal::default() };
    assert!(plan(15, to(0x2C00_0F00), &lost).is_ok());
    let refused = plan(15, to(0x2E00_0000), &lost).expect_err("across lost WAL");
    assert!(matches!(refused, Refusal::AcrossHole { .. }), "{refused}");
}
