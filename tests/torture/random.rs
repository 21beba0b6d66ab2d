//! Seeded choices, so that a failure can be had again: `CLIMB_TORTURE_SEED`.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        let seed = std::env::var("CLIMB_TORTURE_SEED").ok();
        Random(seed.and_then(|s| s.parse().ok()).unwrap_or(1))
    }

    /// A stream for each `n`, so that one case can be had again without those before it.
    #[allow(dead_code)]
    pub fn numbered(n: u64) -> Random {
        let mut random = Random(Random::new().0 ^ n.wrapping_mul(0x2545_f491_4f6c_dd1d));
        Random(random.below(u64::MAX))
    }

    #[allow(dead_code)]
    pub fn seeded(seed: u64) -> Random {
        Random(seed)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
