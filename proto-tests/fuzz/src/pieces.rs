//! Cutting an input: the first byte of the fuzzer's data says how.

/// Splits the data into the length of pieces and the input itself.
pub fn cut(data: &[u8]) -> Option<(usize, &[u8])> {
    let (&size, input) = data.split_first()?;
    Some((usize::from(size).max(1), input))
}
