//! What is like what: texts as words and n-grams of words, near-duplicates by MinHash, and texts that
//! have much of another one in them.

pub mod minhash;
pub mod overlap;
pub mod words;

/// 128 bits of BLAKE3: enough to tell documents apart. Their order is nobody's choice, so it says
/// which of several stays, whatever files they stand in.
pub type Hash = [u8; 16];
