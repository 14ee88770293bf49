//! Spares by order and in stock.

use rustix::io::Errno;

use super::*;
use crate::disk::ModelDisk;
use crate::receive::fixture::{self, DIRECTORY, until};
use crate::receive::target::Synchronous;
use crate::wal::Lsn;

const SIZE: u64 = 1 << 20;
const NOW: Order = Order { filling: Filling::Zeros, within: Duration::ZERO };

fn disk() -> ModelDisk {
    fixture::disk(1)
}

fn target(disk: &ModelDisk, size: u64, synchronous: bool) -> Target {
    Target {
        synchronous: Synchronous::new(synchronous),
        preparation: Preparation::Background,
        ..fixture::target(disk, size)
    }
}

fn positions() -> Arc<Positions> {
    Arc::new(Positions::new(Lsn(SIZE)))
}

fn started(target: &Target, positions: &Arc<Positions>) -> Spares {
    let mut spares = Spares::new(target);
    spares.start(target, positions);
    spares
}

/// The names that the disk has, of files in stock.
fn stock_of(disk: &ModelDisk) -> usize {
    let names = || stock_names().map(|name| Path::new(DIRECTORY).join(name));
    disk.files().iter().filter(|file| names().any(|name| name == **file)).count()
}

#[test]
fn who_needs_a_spare_gets_it_at_once_however_slowly_it_is_being_made() {
    let mut spares = started(&target(&disk(), SIZE, false), &positions());
    let day = Duration::from_secs(24 * 3600);
    for _ in 0..3 {
        spares.prepare(Order { filling: Filling::Zeros, within: day });
        let spare = spares.take().expect("made");
        assert_eq!(spare.file.length().expect("a length"), SIZE);
    }
}

#[test]
fn a_quiet_time_leaves_a_stock_of_durable_spares_which_is_used_up_before_anything_is_made() {
    for direct in [false, true] {
        a_stock_is_made_and_used_up(direct);
    }
}

fn a_stock_is_made_and_used_up(direct: bool) {
    let (disk, positions) = (disk(), positions());
    let target = Target { direct, ..target(&disk, SIZE, true) };
    let mut spares = started(&target, &positions);
    let is_made = |call: &&String| call.starts_with("sync ") && call.contains("/spare-");
    until("a stock", || disk.history().iter().filter(is_made).count() == 16);
    let through_cache = disk.history().iter().any(|call| call.starts_with("write /"));
    assert_eq!(through_cache, !direct, "the zeros go where the commits go");
    // From now on something is under way, and the stock does not grow again.
    positions.publish_written(Lsn(SIZE + 1));
    for number in 0..16 {
        // As after a start in mid-segment, the first one was not ordered.
        if number > 0 {
            spares.prepare(NOW);
        }
        let spare = spares.take().expect("made");
        assert_eq!(spare.file.length().expect("a length"), SIZE);
        assert_eq!(stock_of(&disk), 15 - number, "it came out of the stock");
        let taken = Path::new(DIRECTORY).join("taken");
        disk.rename(spares.path(), &taken).expect("its name is there");
        disk.sync_directory(Path::new(DIRECTORY)).expect("synced");
        let after = disk.after_power_loss(7).bytes(&taken).expect("its name is durable");
        assert!(after.len() as u64 == SIZE && after.iter().all(|byte| *byte == 0));
        disk.remove_file(&taken).expect("there");
    }
    spares.prepare(NOW);
    spares.take().expect("made in its turn");
}

#[test]
fn who_ends_leaves_no_spare_behind() {
    let disk = disk();
    let mut spares = started(&target(&disk, SIZE, true), &positions());
    until("a stock", || stock_of(&disk) > 2);
    spares.prepare(NOW);
    drop(spares);
    assert!(disk.files().is_empty(), "{:?}", disk.files());
}

#[test]
fn a_stream_that_nobody_waits_for_and_one_of_huge_segments_have_no_stock() {
    for (size, synchronous, wanted) in
        [(SIZE, true, true), (SIZE, false, false), (256 << 20, true, false)]
    {
        let target = target(&disk(), size, synchronous);
        let stock = Stock::new(Maker::new(&target), positions(), target.synchronous.clone());
        assert_eq!(stock.wants_more(), wanted, "{size} bytes, synchronous: {synchronous}");
    }
}

#[test]
fn a_stock_grows_only_while_nothing_comes_and_nothing_is_under_way() {
    let (disk, positions) = (disk(), positions());
    let target = target(&disk, SIZE, true);
    let mut stock =
        Stock::new(Maker::new(&target), Arc::clone(&positions), target.synchronous.clone());
    assert!(stock.is_quiet());
    for step in 1..4 {
        positions.publish_written(Lsn(SIZE + step));
        assert!(!stock.is_quiet(), "something came");
        assert!(!stock.is_quiet(), "it is being flushed");
        positions.publish_flushed(Lsn(SIZE + step));
        assert!(stock.is_quiet());
    }
}

#[test]
fn a_disk_without_room_has_no_stock_and_no_parts_of_one() {
    // Returns how many calls the stock made until it was refused or had two spares.
    let run = |direct: bool, failing: u64| {
        let disk = disk();
        let target = Target { direct, ..target(&disk, SIZE, true) };
        let maker = Maker::new(&target);
        let mut stock = Stock::new(maker.clone(), positions(), target.synchronous.clone());
        disk.fail_call(failing, Errno::NOSPC);
        let refused = (0..8).any(|_| stock.grow().is_err());
        let calls = disk.calls();
        assert_eq!(refused, failing < calls, "call {failing}");
        assert_eq!(stock.made.len(), stock_of(&disk), "call {failing}");
        if refused {
            drop(stock);
            assert_eq!(stock_of(&disk), 0, "call {failing}");
            maker.make(Filling::Reserved).expect("there is room again");
        }
        calls
    };
    for direct in [false, true] {
        let calls = run(direct, u64::MAX);
        assert!(calls > if direct { 10 } else { 100 });
        for failing in 0..calls {
            run(direct, failing);
        }
    }
}

#[test]
fn a_start_clears_away_what_a_crash_has_left() {
    let disk = disk();
    let target = target(&disk, SIZE, true);
    let spares = started(&target, &positions());
    until("a stock", || stock_of(&disk) > 2);
    let crashed = disk.after_kill(3);
    drop(spares);
    assert!(stock_of(&crashed) > 2);
    clear(&crashed, Path::new(DIRECTORY)).expect("cleared");
    assert!(crashed.files().is_empty());
}
