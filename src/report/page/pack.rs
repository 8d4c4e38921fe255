//! Whole numbers, packed small (LEB128), deflated and written as base64: what `reports/app/unpack.js` reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write;

use super::evidence::UNIT;

/// Packs.
#[derive(Default)]
pub struct Packer {
    bytes: Vec<u8>,
}

impl Packer {
    /// Seven bits per byte, the lowest first; the highest bit says that more follow.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// Numbers that never rise: the first, then by how much each is below the one before.
    pub fn falling(&mut self, numbers: impl Iterator<Item = u64>) {
        let mut before = None;
        for number in numbers {
            self.number(before.map_or(number, |before: u64| before.saturating_sub(number)));
            before = Some(number);
        }
    }

    /// A share of 1, in units of 1 / [`UNIT`].
    pub fn share(&mut self, share: f64) {
        self.number((share * UNIT).round() as u64);
    }

    /// Shares that are close to each other: the first, then how each differs from the one before (zigzag: 0, -1, 1, -2, ... as 0, 1, 2, 3).
    pub fn shares(&mut self, shares: impl Iterator<Item = f64>) {
        let mut before = 0i64;
        for share in shares {
            let now = (share * UNIT).round() as i64;
            let step = now - before;
            self.number(((step << 1) ^ (step >> 63)) as u64);
            before = now;
        }
    }

    /// The four bytes of a float, the lowest first.
    pub fn float(&mut self, float: f32) {
        self.bytes.extend(float.to_le_bytes());
    }

    /// What another packer made.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What was packed.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Raw deflate (RFC 1951), then base64.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    // Writing to memory does not fail.
    let deflated = encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default();
    STANDARD.encode(deflated)
}

/// Reads what [`Packer`] wrote, as the script does.
#[cfg(test)]
pub struct Unpacker<'a> {
    bytes: &'a [u8],
}

#[cfg(test)]
impl<'a> Unpacker<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (&byte, rest) = self.bytes.split_first().unwrap();
            self.bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }

    pub fn float(&mut self) -> f32 {
        let (four, rest) = self.bytes.split_at(4);
        self.bytes = rest;
        f32::from_le_bytes(four.try_into().unwrap())
    }

    fn falling(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = vec![self.number()];
        for at in 1..count {
            numbers.push(numbers[at - 1] - self.number());
        }
        numbers
    }

    pub fn shares(&mut self, count: usize) -> Vec<f64> {
        let mut now = 0i64;
        let mut next = || {
            let step = self.number();
            now += (step >> 1) as i64 ^ -((step & 1) as i64);
            now as f64 / UNIT
        };
        (0..count).map(|_| next()).collect()
    }

    pub fn two_falling(&mut self, count: usize) -> Vec<[u64; 2]> {
        let (first, second) = (self.falling(count), self.falling(count));
        first.into_iter().zip(second).map(|(a, b)| [a, b]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn numbers_come_back() {
        let mut packer = Packer::default();
        let numbers = [0, 1, 127, 128, 300, 16_384, u64::from(u32::MAX)];
        numbers.iter().for_each(|&number| packer.number(number));
        packer.float(0.37);
        packer.falling([5, 5, 3, 0].into_iter());
        packer.share(0.123_45);
        packer.shares([0.5, 0.25, 1.0].into_iter());
        let bytes = packer.bytes();
        let mut unpacker = Unpacker::new(&bytes);
        assert_eq!(numbers.map(|_| unpacker.number()), numbers);
        assert_eq!(unpacker.float(), 0.37);
        assert_eq!(unpacker.falling(4), [5, 5, 3, 0]);
        assert_eq!(unpacker.number(), 123);
        assert_eq!(unpacker.shares(3), [0.5, 0.25, 1.0]);
        let mut inflated = Vec::new();
        flate2::read::DeflateDecoder::new(&STANDARD.decode(text(&bytes)).unwrap()[..]).read_to_end(&mut inflated).unwrap();
        assert_eq!(inflated, bytes);
    }
}
