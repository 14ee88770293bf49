//! Whether the archive falls behind the stream because to pack takes too long.

/// Segments that wait while others are packed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Pile {
    grows: bool,
    /// How often it began to grow.
    times: u32,
    /// In the last sweep of several segments something else took longer: the disk, or a lock.
    packers_idle: bool,
}

impl Pile {
    /// So many segments wait at the beginning of a sweep. `true`: they are more than the threads
    /// can have in hand, or what is left of such a pile; and no sweep has shown that to pack them
    /// faster is of no use.
    pub(super) fn look(&mut self, waiting: usize, threads: usize) -> bool {
        let grew = self.grows;
        let few = if grew { threads } else { threads * IN_HAND };
        self.grows = waiting > few && !self.packers_idle;
        self.times += u32::from(self.grows && !grew);
        self.grows
    }

    /// A sweep by several threads had to wait for that many of its files.
    pub(super) fn learn(&mut self, late: usize, files: usize) {
        self.packers_idle = late * LATE_SHARE < files;
    }

    /// How often it began to grow.
    pub(super) fn times(&self) -> u32 {
        self.times
    }
}

/// How many segments are handed out for each thread: one that is packed, and one that waits.
pub(super) const IN_HAND: usize = 2;
/// One file of so many: threads that begin together end together, and only the first of their files
/// is waited for.
const LATE_SHARE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pile_grows_from_more_than_is_in_hand_until_each_thread_has_one() {
        let mut pile = Pile::default();
        let looks: Vec<bool> =
            [1, 4, 5, 40, 3, 2, 4, 0, 5].map(|waiting| pile.look(waiting, 2)).to_vec();
        assert_eq!(looks, [false, false, true, true, true, false, false, false, true]);
        assert_eq!(pile.times(), 2);
    }

    #[test]
    fn what_piles_up_behind_a_slow_disk_is_not_packed_faster() {
        let mut pile = Pile::default();
        pile.learn(2, 17);
        assert!(!pile.look(40, 2));
        pile.learn(10, 40);
        assert!(pile.look(40, 2), "four threads that end together");
        pile.learn(1, 40);
        assert!(!pile.look(40, 2));
    }
}
