//! The protocol, byte by byte: what servers send, cut at every position, forged and torn.
//!
//! A parser that sees its input whole in a test sees it in pieces in a network. One that
//! believes a length reserves two gigabytes for a stranger.

pub mod backend;
mod allocations;
mod commands;
mod exchanges;
mod frames;
mod garbage;
mod logins;
mod messages;
mod scram;
mod servers;
mod streams;
mod streams_refused;
mod backups;
mod backups_refused;

use std::fmt::Debug;

/// Bytes from hexadecimal digits; blanks are for the eye.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text:?}");
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("hexadecimal digits")
        })
        .collect()
}

/// Runs `read` on the input whole, in two parts cut at every position, and byte by byte; all
/// must come to the same.
pub fn in_every_cut<T: Debug + PartialEq>(input: &[u8], read: impl Fn(&[&[u8]]) -> T) -> T {
    let whole = read(&[input]);
    for cut in 1..input.len() {
        assert_eq!(read(&[&input[..cut], &input[cut..]]), whole, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read(&bytes), whole, "byte by byte");
    whole
}

/// The input in pieces of these lengths, over and over. No length is 0.
pub fn in_pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (input, Vec::new());
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
