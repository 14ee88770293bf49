//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! The checksum of a page.

use fearless_simd::{Level, Simd, dispatch};

/// Independent sums, each over every 32nd word: as many as a processor can work on at once.
const LANES: usize = 32;
const ROW: usize = LANES * 4;
/// FNV-1a's prime for 32 bits.
const PRIME: u32 = 16_777_619;
/// Where the checksum stands in a page (`pd_checksum`); it is not summed up itself.
const CHECKSUM_AT: usize = 8;

/// What the sums begin with: `checksumBaseOffsets`.
const SEEDS: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// `pg_checksum_page`: what `pd_checksum` of a page should be that is block `block` of its
/// relation, counted over all its files. Never 0. `page` is a whole page.
///
/// Every processor can do it; what a build for all of them may not take for granted, like the
/// multiplication of eight numbers at once, is used where it is there.
pub fn page_checksum(page: &[u8], block: u32) -> u16 {
    dispatch!(Level::new(), simd => simd.vectorize(|| sum(page, block)))
}

#[inline(always)]
fn sum(page: &[u8], block: u32) -> u16 {
    let mut sums = SEEDS;
    let (rows, _) = page.as_chunks::<ROW>();
    let Some((first, rest)) = rows.split_first() else { return 1 };
    let mut head = *first;
    head[CHECKSUM_AT..CHECKSUM_AT + 2].fill(0);
    mix(&mut sums, &head);
    for row in rest {
        mix(&mut sums, row);
    }
    // Two rounds more, so that the last words get about as well.
    mix(&mut sums, &[0; ROW]);
    mix(&mut sums, &[0; ROW]);
    let folded = sums.iter().fold(block, |folded, sum| folded ^ sum);
    // Fits by the remainder.
    (folded % 65_535 + 1) as u16
}

/// One step of every sum. Written so that the compiler makes vectors of it.
#[inline(always)]
fn mix(sums: &mut [u32; LANES], row: &[u8; ROW]) {
    let (words, _) = row.as_chunks::<4>();
    for lane in 0..LANES {
        let mixed = sums[lane] ^ u32::from_le_bytes(words[lane]);
        sums[lane] = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}
