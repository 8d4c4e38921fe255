//! Seeded, counter-based random numbers: the only source of randomness in the program.
//!
//! Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). A stream is named by a seed, a
//! purpose and up to a few indices, so that any draw can be made again on any machine, in any order and by any number of workers.

/// A stream of random numbers; equal arguments of [`Rng::new`] give equal streams on every machine.
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    high: [u32; 2],
    block: u64,
    buffer: [u32; 4],
    used: usize,
    spare_normal: Option<f64>,
}

const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One Philox 4x32-10 block.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = MULTIPLIERS[0] * u64::from(counter[0]);
        let b = MULTIPLIERS[1] * u64::from(counter[2]);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

impl Rng {
    /// The stream for `purpose` (such as `"shuffle"`) under `seed`; `indices` tell streams of one purpose apart (epoch, row, ...).
    #[must_use]
    pub fn new(seed: u64, purpose: &str, indices: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&(purpose.len() as u64).to_le_bytes()).update(purpose.as_bytes());
        for index in indices {
            hasher.update(&index.to_le_bytes());
        }
        let hash = hasher.finalize();
        let word = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|j| hash.as_bytes()[4 * i + j]));
        Self { key: [word(0), word(1)], high: [word(2), word(3)], block: 0, buffer: [0; 4], used: 4, spare_normal: None }
    }

    /// The stream that [`Self::words`] names, from its beginning.
    #[must_use]
    pub fn from_words(words: [u32; 4]) -> Self {
        let [key @ .., high_0, high_1] = words;
        Self { key, high: [high_0, high_1], block: 0, buffer: [0; 4], used: 4, spare_normal: None }
    }

    /// What names the stream: key, then the upper half of every counter. Block `n` is Philox 4x32-10 of the counter `n`, so that a
    /// device makes any number of the stream by itself.
    #[must_use]
    pub fn words(&self) -> [u32; 4] {
        [self.key[0], self.key[1], self.high[0], self.high[1]]
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.buffer = philox([self.block as u32, (self.block >> 32) as u32, self.high[0], self.high[1]], self.key);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.buffer[self.used - 1]
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Uniform in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..n`, without bias (Lemire 2019). `n` must be at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Standard normal (Box–Muller, with `libm` so that the bits agree on every machine).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let angle = 2.0 * std::f64::consts::PI * self.uniform();
        self.spare_normal = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }

    /// Fisher–Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`).
    #[test]
    fn philox_matches_the_reference() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn moments_are_right_and_streams_differ() {
        let mut rng = Rng::new(1, "test", &[]);
        let n = 100_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let x = rng.normal();
            sum += x;
            squares += x * x;
        }
        assert!((sum / f64::from(n)).abs() < 0.02 && (squares / f64::from(n) - 1.0).abs() < 0.02);
        assert_ne!(Rng::new(1, "a", &[1]).next_u64(), Rng::new(1, "a", &[2]).next_u64());
        assert_ne!(Rng::new(1, "a", &[]).next_u64(), Rng::new(2, "a", &[]).next_u64());
        assert!((0..1000).all(|_| rng.below(7) < 7));
    }
}
