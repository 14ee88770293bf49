//! The disaster: `backup.info` says DONE, and the archive beside it lacks a block, or its name.

mod allocations;
mod direct;
mod errand;
mod memory;
mod packed;
mod plain;
mod sample;
mod sent;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use self::sample::{BASE, SPACE, SYSTEM, Sample};
use super::damage::Rules;
use super::error::BackupError;
use super::form::Form;
use super::member::Members;
use super::queue::{Job, queue};
use super::record::{Record, bury_the_dead};
use super::verdict::judge;
use super::writer::{Stored, Writer};
use super::{damage, kept, places, segments};
use crate::disk::{Disk, ModelDisk};
use crate::manifest::{Algorithm, Difference, Manifest};
use crate::pages::{PageChecker, PageLayout, PageSize, page_checksum};
use crate::repository::backup_info::{BackupStatus, Tablespace};
use crate::repository::{BackupId, BackupInfo, BackupTime, ServerLayout};
use crate::wal::{SegmentSize, TimelineHistory, WalFileName};
use crate::wire::{self, ServerVersion};

fn layout() -> ServerLayout {
    ServerLayout::below(Path::new("/repository"), "main".parse().expect("a name"))
}

fn id() -> BackupId {
    "20261123T062541".parse().expect("an id")
}

fn now() -> BackupTime {
    BackupTime::parse("2026-11-23 06:25:41+00:00").expect("a time")
}

/// What the writer makes of the sample, as plain archives.
fn stored(disk: &ModelDisk, sample: &Sample) -> Result<Stored, BackupError> {
    stored_as(disk, sample, Form::Archives(None))
}

fn stored_as(disk: &ModelDisk, sample: &Sample, form: Form) -> Result<Stored, BackupError> {
    let data = places::create(disk, &layout(), id())?;
    let (mut sender, mut receiver, _) = queue();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for job in sample.jobs() {
            sender.push(job).await.expect("the sample fits");
        }
    });
    drop(sender);
    Writer::new(Arc::new(disk.clone()), data, form, members()).run(&mut receiver)
}

fn members() -> Members {
    let pages = PageChecker::new(PageLayout::usual(PageSize::DEFAULT), true);
    Members::new(Algorithm::Crc32c, pages)
}

/// A backup without its connections, as `take` goes about it.
fn back_up(disk: &ModelDisk, sample: &Sample) -> Result<(), BackupError> {
    back_up_as(disk, sample, Form::Archives(None))
}

fn back_up_as(disk: &ModelDisk, sample: &Sample, form: Form) -> Result<(), BackupError> {
    let layout = layout();
    layout.create_directories(disk)?;
    let mut record = Record::create(Arc::new(disk.clone()), layout.clone(), id(), None)?;
    let copied = stored_as(disk, sample, form).and_then(|stored| {
        let verdict = judge(&stored, sample.span(), SYSTEM, true)?;
        places::publish(disk, &layout.data(id()), &stored.parts)?;
        record.started(sample.span().start)?;
        record.copied(sample.span(), verdict, Duration::from_secs(1), now())?;
        Ok(())
    });
    if let Err(error) = &copied {
        places::clear(disk, &layout.data(id()));
        record.failed(error);
    }
    copied
}

/// If the backup is said to be copied, it is; otherwise nothing of it has a name to be believed.
fn check(survived: &ModelDisk, sample: &Sample, what: &str) {
    let info = BackupInfo::read(survived, &layout(), id());
    if !info.is_ok_and(|info| info.is_copied()) {
        return;
    }
    let data = layout().data(id());
    for (name, bytes) in sample.files() {
        assert!(survived.bytes(&data.join(name)) == Some(bytes), "{what}: {name}");
    }
}

#[test]
fn a_backup_that_is_said_to_be_copied_survives_a_power_cut_at_any_call() {
    let sample = Sample::new();
    let disk = ModelDisk::new(0);
    back_up(&disk, &sample).expect("nothing fails");
    check(&disk, &sample, "without a power cut");
    assert!(BackupInfo::read(&disk, &layout(), id()).expect("a record").is_copied());
    for call in 0..disk.calls() {
        for seed in 0..4 {
            let disk = ModelDisk::new(seed);
            disk.power_loss_at_call(call);
            let _ = back_up(&disk, &sample);
            let what = format!("call={call} seed={seed}");
            check(&disk.after_power_loss(seed), &sample, &what);
            check(&disk.after_kill(seed), &sample, &what);
        }
    }
}

#[test]
fn a_call_that_fails_leaves_a_failed_backup_and_none_of_its_files() {
    let sample = Sample::new();
    let disk = ModelDisk::new(0);
    back_up(&disk, &sample).expect("nothing fails");
    for call in 0..disk.calls() {
        let disk = ModelDisk::new(call);
        disk.fail_call(call, Errno::NOSPC);
        let Err(error) = back_up(&disk, &sample) else { continue };
        assert!(matches!(error, BackupError::Disk(_) | BackupError::Repository(_)), "{error}");
        let Ok(info) = BackupInfo::read(&disk, &layout(), id()) else { continue };
        assert_ne!(info.status, BackupStatus::Done, "{call}");
        if info.status == BackupStatus::Failed {
            let left = disk.files().into_iter().find(|path| path.starts_with(layout().base()));
            assert_eq!(left, None, "{call}: {:?}", disk.history());
        }
    }
}

#[test]
fn a_disk_that_is_full_from_any_call_on_holds_no_backup_and_the_next_one_is_not_hindered() {
    let sample = Sample::new();
    let disk = ModelDisk::new(0);
    back_up(&disk, &sample).expect("nothing fails");
    for call in 0..disk.calls() {
        let disk = ModelDisk::new(call);
        disk.fail_from_call(call, Errno::NOSPC);
        back_up(&disk, &sample).expect_err("there is no room");
        // Room was made. Whoever comes next finds what a killed process would have left.
        let disk = disk.after_kill(call);
        check(&disk, &sample, &format!("call {call}"));
        layout().create_directories(&disk).expect("room");
        bury_the_dead(&disk, &layout()).expect("room");
        if let Ok(info) = BackupInfo::read(&disk, &layout(), id()) {
            assert!(info.status == BackupStatus::Failed || info.is_copied(), "call {call}");
            if !info.is_copied() {
                let left = disk.files().into_iter().find(|path| path.starts_with(layout().base()));
                assert_eq!(left, None, "call {call}");
            }
        }
        for path in disk.files().iter().filter(|path| path.starts_with(layout().base())) {
            Disk::remove_file(&disk, path).expect("removed");
        }
        back_up(&disk, &sample).expect("the next one");
        check(&disk, &sample, &format!("behind call {call}"));
    }
}

#[test]
fn archives_without_a_trailer_get_one_and_all_members_are_summed_up() {
    let sample = Sample::new().without_trailers();
    let disk = ModelDisk::new(0);
    let stored = stored(&disk, &sample).expect("a good backup");
    assert_eq!(stored.members.files.len(), 5);
    let judged = judge(&stored, sample.span(), SYSTEM, true).expect("as listed");
    assert!(judged.label.starts_with("START WAL LOCATION: 0/4000028"));
    let data = layout().data(id());
    for (name, bytes) in Sample::new().files() {
        let part = places::part_path(&data, name);
        assert!(disk.bytes(&part) == Some(bytes), "{name} is stored under a temporary name");
        assert_eq!(disk.bytes(&data.join(name)), None);
    }
}

/// A page that a server could have written before the backup, with some content.
fn page(block: u32) -> Vec<u8> {
    let mut page = vec![7; 8192];
    page[..8].fill(0);
    let sum = page_checksum(&page, block);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    page
}

#[test]
fn a_damaged_page_ends_the_backup_unless_the_user_puts_up_with_damage_of_the_source() {
    let mut content = [page(0), page(1)].concat();
    let judged = |content: &[u8], rules: &Rules| {
        let sample = Sample::new().with("base/1/77", content);
        let stored = stored(&ModelDisk::new(0), &sample).expect("well-formed");
        let verdict = judge(&stored, sample.span(), SYSTEM, true).expect("as listed");
        damage::judge(&stored, &verdict, None, rules)
    };
    let version = ServerVersion::from_number(170_004);
    let strict = Rules { version, allowed: false, verified: true };
    assert_eq!(judged(&content, &strict).expect("whole"), None);
    content[8192 + 4000] ^= 1;
    let error = judged(&content, &strict).expect_err("damaged");
    assert!(error.keeps_files());
    assert!(error.to_string().contains("block 1 in \"base/1/77\""), "{error}");
    let allowed = Rules { allowed: true, ..strict };
    let known = judged(&content, &allowed).expect("allowed").expect("on record");
    assert_eq!((known.count, known.first[0].block), (1, 1));
    // Nobody vouches for the way: it may be the network that is to be mended.
    let unverified = Rules { verified: false, ..allowed };
    judged(&content, &unverified).expect_err("damaged somewhere");
    // A server of 10 sends pages that are torn and will be replayed.
    let old = Rules { version: ServerVersion::from_number(100_023), ..unverified };
    assert!(judged(&content, &Rules { allowed: false, ..old }).expect("noted").is_some());
}

#[test]
fn a_copy_that_is_kept_has_no_name_that_a_restore_picks_and_goes_with_the_next_good_one() {
    let disk = ModelDisk::new(0);
    let sample = Sample::new();
    layout().create_directories(&disk).expect("directories");
    BackupInfo::new(id(), "main").write(&disk, &layout()).expect("a record");
    stored(&disk, &sample).expect("a good copy");
    let folder = kept::keep(&disk, &layout(), id()).expect("kept");
    assert_eq!(layout().existing_data(&disk, id()).expect("readable"), layout().data(id()));
    assert_eq!(disk.stat(&layout().data(id())).expect("readable"), None);
    for (name, bytes) in sample.files() {
        assert!(disk.bytes(&folder.join(name)) == Some(bytes), "{name}");
    }
    kept::clear(&disk, &layout(), id()).expect("nothing to do");
    assert!(disk.stat(&folder).expect("readable").is_some(), "it is the newest one");
    kept::clear(&disk, &layout(), "20261123T062542".parse().expect("an id")).expect("cleared");
    assert_eq!(disk.stat(&folder).expect("readable"), None);
}

#[test]
fn what_the_manifest_does_not_list_is_named() {
    let good = Sample::new();
    let judged = |sample: &Sample, listed: &Sample| {
        let disk = ModelDisk::new(0);
        let mut stored = stored(&disk, sample).expect("well-formed");
        stored.manifest = Some(Manifest::parse(&listed.manifest()));
        judge(&stored, good.span(), SYSTEM, true).expect_err("must be refused")
    };
    let changed = Sample::new().with("base/1/1259", b"other content");
    match judged(&changed, &good) {
        BackupError::Differs(differences) => assert_eq!(
            differences.0,
            [Difference::Checksum { path: "base/1/1259".to_owned() }],
            "{differences}"
        ),
        other => panic!("{other}"),
    }
    let extra = Sample::new().with("base/1/9999", b"not listed");
    assert!(matches!(judged(&extra, &good), BackupError::Differs(_)));
    assert!(matches!(judged(&good, &extra), BackupError::Differs(_)));
    let later = Sample::new().ending_at(0x500_0000);
    assert!(matches!(judged(&good, &later), BackupError::ManifestRange { .. }));
    let other = Sample::new().of_system(SYSTEM.0 + 1);
    assert!(matches!(judged(&good, &other), BackupError::ManifestSystem { .. }));
    assert!(matches!(judged(&other, &good), BackupError::ControlSystem { .. }));
    assert!(matches!(
        judged(&Sample::new().without("global/pg_control"), &good),
        BackupError::Lacks("global/pg_control")
    ));
    assert!(matches!(
        judged(&Sample::new().without("backup_label"), &good),
        BackupError::Lacks("backup_label")
    ));
    let torn = Sample::new().torn_control();
    assert!(matches!(judged(&torn, &torn), BackupError::Control(_)));
}

#[test]
fn a_server_without_manifests_is_believed_by_structure_alone() {
    let disk = ModelDisk::new(0);
    let sample = Sample::new().without_manifest();
    let stored = stored(&disk, &sample).expect("a good backup");
    judge(&stored, sample.span(), SYSTEM, false).expect("nothing to compare with");
    assert!(matches!(
        judge(&stored, sample.span(), SYSTEM, true),
        Err(BackupError::Lacks("backup_manifest"))
    ));
}

#[test]
fn a_member_that_leads_out_of_the_directory_ends_the_backup() {
    for name in ["../x", "/x"] {
        let disk = ModelDisk::new(0);
        let refused = stored(&disk, &Sample::new().with_raw_name(name));
        assert!(matches!(refused, Err(BackupError::Tar { .. })), "{name}");
    }
}

#[test]
fn an_archive_that_is_cut_off_ends_the_backup() {
    let sample = Sample::new();
    for cut in [511, 1024 + 100, 3000] {
        let disk = ModelDisk::new(0);
        let result = stored(&disk, &sample.cut_to(cut));
        assert!(matches!(result, Err(BackupError::Tar { .. })), "{cut}");
    }
}

#[test]
fn backups_whose_process_died_are_marked_and_cleared() {
    let disk = ModelDisk::new(0);
    let layout = layout();
    layout.create_directories(&disk).expect("a good disk");
    let mut record =
        Record::create(Arc::new(disk.clone()), layout.clone(), id(), None).expect("a good disk");
    record.started(Sample::new().span().start).expect("a good disk");
    stored(&disk, &Sample::new()).expect("a good backup");
    assert!(!bury_the_dead(&disk, &layout).expect("a good disk"), "nothing is copied");
    let info = BackupInfo::read(&disk, &layout, id()).expect("a record");
    assert_eq!(info.status, BackupStatus::Failed);
    assert!(info.error.is_some() && info.begin_xlog.is_some());
    assert_eq!(disk.list(&layout.data(id())).expect("it is there"), []);
}

#[test]
fn what_a_dead_backup_has_left_is_cleared_even_if_the_first_who_clears_it_is_killed_too() {
    let dead = ModelDisk::new(0);
    let layout = layout();
    layout.create_directories(&dead).expect("a good disk");
    let mut record =
        Record::create(Arc::new(dead.clone()), layout.clone(), id(), None).expect("a good disk");
    record.started(Sample::new().span().start).expect("a good disk");
    stored(&dead, &Sample::new()).expect("a good backup");
    let whole = dead.after_kill(0);
    bury_the_dead(&whole, &layout).expect("a good disk");
    for call in 0..whole.calls() {
        let disk = dead.after_kill(call);
        disk.power_loss_at_call(call);
        let _ = bury_the_dead(&disk, &layout);
        let disk = disk.after_kill(call);
        bury_the_dead(&disk, &layout).expect("a good disk");
        let info = BackupInfo::read(&disk, &layout, id()).expect("a record");
        assert_eq!(info.status, BackupStatus::Failed, "{call}");
        let left = disk.files().into_iter().find(|path| path.starts_with(layout.base()));
        assert_eq!(left, None, "{call}");
    }
}

#[test]
fn a_segment_that_is_not_archived_is_missing() {
    let disk = ModelDisk::new(0);
    let layout = layout();
    let span = Sample::new().ending_at(0x600_0100).span();
    let history = TimelineHistory::without_ancestors(span.end.timeline);
    let needed = segments::needed(span, &history, SegmentSize::DEFAULT);
    assert_eq!(needed.len(), 3);
    for name in [needed[0], needed[2]] {
        disk.put(&layout.wal(WalFileName::Segment(name)), b"WAL");
    }
    let missing = segments::missing(&disk, &layout, &needed).expect("a good disk");
    assert_eq!(missing, [needed[1]]);
    let secured = segments::secure(&disk, &layout, &needed);
    assert!(matches!(secured, Err(BackupError::SegmentGone(_))));
}

/// The names under which the sample's files are stored.
const NAMES: [&str; 3] = [SPACE, BASE, Manifest::FILE_NAME];

#[test]
fn jobs_carry_every_part_of_the_sample() {
    let files = Sample::new().files();
    assert_eq!(files.iter().map(|(name, _)| *name).collect::<Vec<_>>(), NAMES);
    let jobs = Sample::new().jobs();
    assert_eq!(jobs.iter().filter(|job| matches!(job, Job::ArchiveEnd)).count(), 2);
}

#[test]
fn the_record_lists_the_tablespaces_that_were_sent_and_not_those_of_a_moment_before() {
    let disk = Arc::new(ModelDisk::new(0));
    layout().create_directories(disk.as_ref()).expect("made");
    let mut record = Record::create(disk, layout(), id(), None).expect("a record");
    let known = |name: &str, oid| Tablespace {
        name: name.to_owned(),
        oid,
        location: format!("/space/{name}"),
    };
    record.info.tablespaces = Some(vec![known("kept", 1), known("dropped", 2)]);
    let sent = |oid: Option<u32>, location: Option<&str>| wire::Tablespace {
        oid,
        location: location.map(Into::into),
        size_kib: None,
    };
    record.holds(&[
        sent(Some(1), Some("/space/kept")),
        sent(Some(3), Some("/space/new")),
        sent(None, None),
    ]);
    let new = Tablespace { name: "3".to_owned(), oid: 3, location: "/space/new".to_owned() };
    assert_eq!(record.info.tablespaces, Some(vec![known("kept", 1), new]));
    record.holds(&[sent(None, None)]);
    assert_eq!(record.info.tablespaces, None);
}

#[test]
fn an_empty_file_is_not_a_segment_that_makes_a_backup_done() {
    let disk = ModelDisk::new(0);
    let (span, size) = (Sample::new().span(), SegmentSize::DEFAULT);
    let history = TimelineHistory::without_ancestors(span.end.timeline);
    let needed = segments::needed(span, &history, size);
    for name in &needed {
        disk.put(&layout().wal(WalFileName::Segment(*name)), b"WAL");
    }
    let missing = || segments::missing(&disk, &layout(), &needed).expect("readable");
    assert_eq!(missing(), []);
    disk.put(&layout().wal(WalFileName::Segment(needed[0])), b"");
    assert_eq!(missing(), needed[..1]);
}
