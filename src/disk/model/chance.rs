//! Decisions of a seeded model: the same seed decides the same way for ever.

/// SplitMix64 (Steele, Lea and Flood, 2014): one addition and three mixing steps a number. Only
/// the spread of the bits matters here.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of two, evenly.
    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// A number below `bound`, which is not 0; the bias of a remainder does not matter here.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
