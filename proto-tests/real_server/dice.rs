//! Chance that can be had again: a test of random moments says its seed, and takes one.

/// The environment variable that has a run repeat another.
const VARIABLE: &str = "TAPSTER_DRILL_SEED";

/// Numbers that depend on nothing but the seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice with the seed of the environment, or else with one of their own. It is printed:
    /// the output of a test that failed begins with it.
    #[allow(clippy::print_stderr, reason = "a failed test says how it can be had again")]
    pub fn roll(what: &str) -> Dice {
        let given = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |time| time.as_nanos() as u64) ^ u64::from(std::process::id())
        });
        eprintln!("{what}: {VARIABLE}={seed}");
        Dice(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Whether one of `times` came up.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Waits for up to `millis` milliseconds: what happens next comes at no moment of our
    /// choice.
    pub fn pause(&mut self, millis: u64) {
        let micros = self.below(millis * 1000 + 1);
        std::thread::sleep(std::time::Duration::from_micros(micros));
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers_and_another_gives_others() {
    let numbers = |seed| {
        let mut dice = Dice(seed);
        (0..50).map(|_| dice.below(1000)).collect::<Vec<_>>()
    };
    assert_eq!(numbers(7), numbers(7));
    assert_ne!(numbers(7), numbers(8));
    assert!(numbers(7).iter().all(|number| *number < 1000));
}
