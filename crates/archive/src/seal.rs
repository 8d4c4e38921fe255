//! Seals: the length and the blake3 of a file, kept elsewhere or in the file itself, that tell a flipped bit from what was written.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// Length and blake3 of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub bytes: u64,
    pub blake3: String,
}

impl Seal {
    /// The seal of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }

    /// Whether these are the bytes that were sealed.
    #[must_use]
    pub fn fits(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes.len() as u64 && *self == Self::of(bytes)
    }
}

/// Seals of files, by name.
pub type Seals = BTreeMap<String, Seal>;

/// Writes through and seals what it has written.
pub struct Sealing<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Sealing<W> {
    /// Starts with nothing written.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), bytes: 0 }
    }

    /// The seal of all that was written.
    #[must_use]
    pub fn seal(&self) -> Seal {
        Seal { bytes: self.bytes, blake3: self.hasher.finalize().to_hex().to_string() }
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Marker before the digits of a seal within the sealed file.
const MARK: &[u8] = b"self-blake3:";
/// Number of digits of a seal.
const DIGITS: usize = blake3::OUT_LEN * 2;

/// A text for a file's header that [`stamp`] turns into the file's own seal.
#[must_use]
pub fn blank() -> String {
    String::from_utf8_lossy(MARK).into_owned() + &"0".repeat(DIGITS)
}

/// Where the digits of the file's own seal are.
fn digits(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = bytes.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    (start + DIGITS <= bytes.len()).then_some(start..start + DIGITS)
}

/// Seals the bytes of a file that has a [`blank`] in its header.
pub fn stamp(bytes: &mut [u8]) {
    if let Some(range) = digits(bytes) {
        bytes[range.clone()].fill(b'0');
        let hash = blake3::hash(bytes).to_hex();
        bytes[range].copy_from_slice(hash.as_bytes());
    }
}

/// Whether the file is as it was stamped; `None` where it has no seal of its own.
#[must_use]
pub fn intact(bytes: &[u8]) -> Option<bool> {
    let range = digits(bytes)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..range.start]).update(&[b'0'; DIGITS]).update(&bytes[range.end..]);
    Some(hasher.finalize().to_hex().as_bytes() == &bytes[range])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_stamped_file_is_seen() {
        let mut bytes = format!("{{\"seal\":\"{}\",\"x\":1.5}} and numbers", blank()).into_bytes();
        stamp(&mut bytes);
        assert_eq!(intact(&bytes), Some(true));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(intact(&bytes), Some(true), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!((intact(b"nothing"), intact(MARK)), (None, None));
    }

    #[test]
    fn what_is_written_is_sealed() {
        let mut sealing = Sealing::new(Vec::new());
        sealing.write_all(b"one").and_then(|()| sealing.write_all(b"two")).unwrap();
        assert_eq!((sealing.seal(), sealing.inner.as_slice()), (Seal::of(b"onetwo"), &b"onetwo"[..]));
        assert!(!Seal::of(b"a").fits(b"b"));
    }
}
