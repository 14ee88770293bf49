//! Whether the archive falls behind the stream.

/// Segments that came while others were packed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Pile {
    grows: bool,
    /// How often it began to grow.
    times: u32,
}

impl Pile {
    /// So many files wait at the beginning of a sweep. `true`: more of them than the threads can
    /// have in hand came during the last one, or the pile that this made is not yet gone.
    pub(super) fn look(&mut self, waiting: usize, threads: usize) -> bool {
        let grew = self.grows;
        self.grows = waiting > if grew { threads } else { threads * IN_HAND };
        self.times += u32::from(self.grows && !grew);
        self.grows
    }

    /// How often it began to grow.
    pub(super) fn times(&self) -> u32 {
        self.times
    }
}

/// How many segments are handed out for each thread: one that is packed, and one that waits.
pub(super) const IN_HAND: usize = 2;

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
}
