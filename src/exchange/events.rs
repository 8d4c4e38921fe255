//! Event files as TensorBoard reads them: records of a protobuf message each, with checksums. What is written of the messages is fixed, so
//! that their fields are put down by hand: <https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto>.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Added to a rotated checksum, so that a record within a record is not taken for one.
const MASK: u32 = 0xa282_ead8;

/// A protobuf message, field by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// An integer, also of an enum or a bool. Zero is what an absent field is.
    #[must_use]
    pub fn integer(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    #[must_use]
    pub fn double(mut self, field: u64, number: f64) -> Self {
        self.varint(field << 3 | 1);
        self.bytes.extend(number.to_le_bytes());
        self
    }

    #[must_use]
    pub fn float(mut self, field: u64, number: f32) -> Self {
        self.varint(field << 3 | 5);
        self.bytes.extend(number.to_le_bytes());
        self
    }

    #[must_use]
    pub fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend(bytes);
        self
    }

    #[must_use]
    pub fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    #[must_use]
    pub fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.bytes)
    }
}

/// A tensor of float32 with this shape.
#[must_use]
pub fn tensor(shape: &[u64], values: &[f32]) -> Message {
    let dimension = |shape: Message, &size: &u64| shape.message(2, &Message::default().integer(1, size));
    let shape = shape.iter().fold(Message::default(), dimension);
    let content: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = Message::default().integer(1, 1).message(2, &shape);
    if content.is_empty() { tensor } else { tensor.bytes(4, &content) }
}

/// A value of a summary that a plugin reads.
#[must_use]
pub fn of_plugin(tag: &str, plugin: &str, content: &Message, tensor: &Message) -> Message {
    let data = Message::default().text(1, plugin).message(2, content);
    let metadata = Message::default().message(1, &data);
    Message::default().text(1, tag).message(8, tensor).message(9, &metadata)
}

/// A scalar of a summary.
#[must_use]
pub fn scalar(tag: &str, value: f32) -> Message {
    Message::default().text(1, tag).float(2, value)
}

/// A file that is being written.
pub struct EventFile {
    writer: BufWriter<File>,
}

impl EventFile {
    /// Begins the file.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(path: &Path, time: f64) -> io::Result<Self> {
        let mut file = Self { writer: BufWriter::new(File::create(path)?) };
        file.record(&Message::default().double(1, time).text(3, "brain.Event:2"))?;
        Ok(file)
    }

    /// Adds values at one time and step. Nothing is written where there are none.
    ///
    /// # Errors
    /// I/O errors.
    pub fn add(&mut self, time: f64, step: i64, values: &[Message]) -> io::Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let summary = values.iter().fold(Message::default(), |summary, value| summary.message(1, value));
        self.record(&Message::default().double(1, time).integer(2, step.cast_unsigned()).message(5, &summary))
    }

    fn record(&mut self, message: &Message) -> io::Result<()> {
        let length = (message.bytes.len() as u64).to_le_bytes();
        self.writer.write_all(&length)?;
        self.writer.write_all(&masked(&length).to_le_bytes())?;
        self.writer.write_all(&message.bytes)?;
        self.writer.write_all(&masked(&message.bytes).to_le_bytes())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// I/O errors.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_tensorboard_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut file = EventFile::create(&path, 1.5).unwrap();
        file.add(2.0, 300, &[scalar("a/b", 0.25)]).unwrap();
        file.add(2.0, 1, &[]).unwrap();
        file.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        // The first record of every event file, but for its time.
        assert_eq!(&bytes[..8], 24_u64.to_le_bytes());
        assert_eq!(bytes[8..12], masked(&24_u64.to_le_bytes()).to_le_bytes());
        assert_eq!(bytes[12..36], *b"\x09\0\0\0\0\0\0\xf8\x3f\x1a\x0dbrain.Event:2");
        let second = &bytes[40 + 12..bytes.len() - 4];
        assert_eq!(second, b"\x09\0\0\0\0\0\0\0\x40\x10\xac\x02\x2a\x0c\x0a\x0a\x0a\x03a/b\x15\0\0\x80\x3e");
        // The check value of CRC-32C.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
