//! The text of a CSV: its encoding, what separates its cells, and its records with the line that an editor shows.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use archive::file::open_regular;
use imbalance::shown::shown;

/// Most bytes of a file.
const MOST_FILE: u64 = 8 << 30;
/// Most bytes of one cell; a longer one is not a name, path or id, and the file not a table of labels.
pub const MOST_CELL: usize = 1 << 20;
/// Most bytes of one row: room for the largest number of labels, with long names.
pub const MOST_ROW: u64 = 16 << 20;
/// Separators that are found, the usual one first.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Records that are looked at to find the separator.
const SAMPLE: usize = 200;

/// A fault, and its line if it has one.
pub type Fault = (Option<u64>, String);

/// A CSV in memory.
pub struct Text {
    text: String,
    /// What stands between two cells.
    pub separator: u8,
    /// `UTF-16` where the file is not UTF-8.
    pub encoding: Option<&'static str>,
}

impl Text {
    /// Reads `file`; without a `separator` it is the one of a line `sep=;`, or the one that makes rows as long as the header.
    ///
    /// # Errors
    /// A file that cannot be read, is of another kind, or is not text.
    pub fn read(file: &Path, separator: Option<u8>) -> Result<Self, Fault> {
        let whole = |message: String| (None, message);
        let opened = open_regular(file).map_err(|error| whole(format!("cannot read the labels: {error}")))?;
        let length = opened.metadata().map_or(0, |meta| meta.len());
        if length > MOST_FILE {
            return Err(whole(format!("{} GiB of labels; at most {} GiB are read", length >> 30, MOST_FILE >> 30)));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        opened.take(MOST_FILE).read_to_end(&mut bytes).map_err(|error| whole(format!("cannot read the labels: {error}")))?;
        if let Some(kind) = other_kind(&bytes) {
            return Err(whole(format!("is {kind}, not a CSV: export the table as a CSV file in UTF-8")));
        }
        let (text, encoding) = decoded(bytes)?;
        let (declared, text) = declaration(text);
        let separator = separator.or(declared).unwrap_or_else(|| likely_separator(&text));
        Ok(Self { text, separator, encoding })
    }

    /// The records below the header.
    ///
    /// # Errors
    /// See [`Records::next_filled`].
    pub fn rows(&self) -> Result<Records<'_>, Fault> {
        let mut records = self.records();
        records.next_filled()?;
        Ok(records)
    }

    /// The records, header first.
    pub fn records(&self) -> Records<'_> {
        let left = Rc::new(Cell::new(MOST_ROW));
        let rationed = Rationed { inner: self.text.as_bytes(), left: Rc::clone(&left) };
        let reader = reader(self.separator).from_reader(rationed);
        Records { reader, left, text: self.text.as_bytes(), at: 0, line: 1, record: csv::StringRecord::new(), blank: 0 }
    }

    /// The first line, as it stands in the file.
    pub fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

fn reader(separator: u8) -> csv::ReaderBuilder {
    let mut reader = csv::ReaderBuilder::new();
    reader.delimiter(separator).trim(csv::Trim::All).flexible(true).has_headers(false);
    reader
}

/// The records of a [`Text`].
pub struct Records<'t> {
    reader: csv::Reader<Rationed<&'t [u8]>>,
    left: Rc<Cell<u64>>,
    text: &'t [u8],
    /// Bytes whose line ends are counted.
    at: usize,
    /// The line of byte `at`, from 1.
    line: u64,
    record: csv::StringRecord,
    /// Records that were blank throughout.
    pub blank: usize,
}

impl Records<'_> {
    /// The next record that is not blank throughout, and its line.
    ///
    /// # Errors
    /// A row without an end, a cell that is too long or has a NUL byte.
    pub fn next_filled(&mut self) -> Result<Option<(u64, &csv::StringRecord)>, Fault> {
        while self.next()?.is_some() {
            if !self.record.iter().all(str::is_empty) {
                return Ok(Some((self.line, &self.record)));
            }
            self.blank += 1;
        }
        Ok(None)
    }

    /// The next record and its line.
    ///
    /// # Errors
    /// See [`Self::next_filled`].
    fn next(&mut self) -> Result<Option<(u64, &csv::StringRecord)>, Fault> {
        self.left.set(MOST_ROW);
        let start = self.reader.position().byte() as usize;
        let read = self.reader.read_record(&mut self.record);
        self.count(start);
        let line = self.line;
        match read {
            Err(error) => Err((Some(line), error.to_string())),
            Ok(false) => Ok(None),
            Ok(true) => {
                cells(&self.record).map_err(|message| (Some(line), message))?;
                Ok(Some((line, &self.record)))
            }
        }
    }

    /// Counts the line ends before the record that begins at `start` or after the blank lines there. The CSV reader's own number is off
    /// where lines end with `\r\n` or are blank.
    fn count(&mut self, start: usize) {
        let end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let blank = self.text[start.min(self.text.len())..].iter().take_while(|byte| end(byte)).count();
        let next = start + blank;
        while self.at < next {
            let here = self.text[self.at];
            let pair = here == b'\r' && self.text.get(self.at + 1) == Some(&b'\n');
            self.line += u64::from(end(&here) && !pair);
            self.at += 1;
        }
    }
}

/// A reader with a limit per row: a row without an end is refused before it fills the memory.
struct Rationed<R> {
    inner: R,
    /// Bytes of the row that may still come; a little more than a row, since the reader reads ahead.
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            let message = format!("one row has more than {} MiB: is this a CSV?", MOST_ROW >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let read = self.inner.read(buffer)?;
        self.left.set(self.left.get().saturating_sub(read as u64));
        Ok(read)
    }
}

/// Refuses cells that are too long or have a NUL byte.
fn cells(record: &csv::StringRecord) -> Result<(), String> {
    for (at, cell) in record.iter().enumerate() {
        if cell.len() > MOST_CELL {
            return Err(format!("column {}: a cell of {} bytes; at most {} MiB are read", at + 1, cell.len(), MOST_CELL >> 20));
        }
        if cell.contains('\0') {
            return Err(format!("column {}: `{}` has a NUL byte: is this a CSV?", at + 1, shown(cell)));
        }
    }
    Ok(())
}

/// What a file that is no text is, by its first bytes.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 8] = [
        (b"PK\x03\x04", "an Excel workbook or a zip archive"),
        (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
        (b"PAR1", "a Parquet file"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x93NUMPY", "a numpy array"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"version https://git-lfs", "a pointer of Git LFS (`git lfs pull` fetches the file)"),
        (b"\x80\x04\x95", "a Python pickle"),
    ];
    let text = bytes.trim_ascii_start();
    let page = text.len() > 5 && (text[..5].eq_ignore_ascii_case(b"<html") || text[..5].eq_ignore_ascii_case(b"<!doc"));
    kinds.into_iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, kind)| kind).or(page.then_some("an HTML page"))
}

/// UTF-8, or UTF-16 with a byte order mark or the zero bytes that give it away.
fn decoded(bytes: Vec<u8>) -> Result<(String, Option<&'static str>), Fault> {
    let utf16 = |bytes: &[u8], read: fn([u8; 2]) -> u16| {
        let words: Vec<u16> = bytes.as_chunks().0.iter().map(|pair| read(*pair)).collect();
        let text = String::from_utf16(&words).map_err(|_| (None, "is damaged UTF-16 text: save it as UTF-8".to_owned()))?;
        Ok((text, Some("UTF-16")))
    };
    let zeros = |first: usize| {
        let sample = &bytes[..bytes.len().min(512)];
        sample.len() >= 8 && sample.iter().skip(first).step_by(2).all(|byte| *byte == 0) && sample.iter().any(|byte| *byte != 0)
    };
    match bytes.as_slice() {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ if zeros(1) => utf16(&bytes, u16::from_le_bytes),
        _ if zeros(0) => utf16(&bytes, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest.to_vec()),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: Vec<u8>) -> Result<(String, Option<&'static str>), Fault> {
    String::from_utf8(bytes).map(|text| (text, None)).map_err(|error| {
        let (valid, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let before = &bytes[..valid];
        let lines = before.iter().enumerate().filter(|(at, byte)| match byte {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        });
        let message = format!(
            "not UTF-8 text (the byte 0x{:02X}, as in Latin-1 or Windows-1252): save the file as UTF-8 (in Excel: \"CSV UTF-8\")",
            bytes[valid]
        );
        (Some(lines.count() as u64 + 1), message)
    })
}

/// The separator of a first line `sep=;`, with which Excel is told, and the text with that line left blank, so that lines keep their
/// numbers.
fn declaration(text: String) -> (Option<u8>, String) {
    let first = text.lines().next().unwrap_or_default();
    let quoted = first.trim_matches('"');
    match quoted.strip_prefix("sep=").map(str::as_bytes) {
        Some(&[separator]) if separator.is_ascii() => (Some(separator), text[first.len()..].to_owned()),
        _ => (None, text),
    }
}

/// The separator with which most rows are as long as the header; of equal ones the one with more columns.
fn likely_separator(text: &str) -> u8 {
    let fit = |separator: u8| {
        let mut records = reader(separator).from_reader(text.as_bytes()).into_records().take(SAMPLE).map_while(Result::ok);
        let filled = |record: csv::StringRecord| (0..record.len()).rfind(|&at| !record[at].is_empty()).map_or(0, |last| last + 1);
        let width = records.next().map_or(0, filled);
        if width < 2 {
            return None;
        }
        let (mut rows, mut alike) = (0, 0);
        for found in records.map(filled).filter(|found| *found > 0) {
            rows += 1;
            alike += usize::from(found == width);
        }
        // Blanks at the ends of rows make them look shorter: a tenth decides nothing.
        Some(((10 * alike).checked_div(rows).unwrap_or(10), width, separator))
    };
    let best = SEPARATORS.into_iter().filter_map(fit).reduce(|best, next| {
        let better = (next.0, next.1) > (best.0, best.1) && (next.0 > best.0 + 1 || next.1 > best.1);
        if better { next } else { best }
    });
    best.map_or(b',', |(_, _, separator)| separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(content: &[u8], separator: Option<u8>) -> Result<Text, Fault> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.csv");
        std::fs::write(&file, content).unwrap();
        Text::read(&file, separator)
    }

    fn records(text: &Text) -> Vec<(u64, Vec<String>)> {
        let mut records = text.records();
        let mut all = Vec::new();
        while let Some((line, record)) = records.next().unwrap() {
            all.push((line, record.iter().map(str::to_owned).collect()));
        }
        all
    }

    proptest! {
        /// Any separator, encoding, line end and number of blank lines: the same records, at the lines that an editor shows.
        #[test]
        fn records_are_found_however_they_are_written(
            separator in prop::sample::select(SEPARATORS.to_vec()),
            end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
            encoding in 0..5,
            width in 2..5usize,
            blanks in prop::collection::vec(0..3usize, 1..20),
            broken in any::<bool>(),
        ) {
            let mut content = String::new();
            let (mut line, mut expected) = (1, Vec::new());
            for (row, blank) in blanks.iter().enumerate() {
                content.push_str(&end.repeat(*blank));
                line += *blank as u64;
                let mut cells: Vec<String> = (0..width).map(|column| format!("{row}x{column}")).collect();
                let quoted = broken && row % 3 == 1;
                if quoted {
                    cells[1] = format!("a{}{end}b", separator as char);
                }
                let written: Vec<String> =
                    cells.iter().enumerate().map(|(at, cell)| if quoted && at == 1 { format!("\"{cell}\"") } else { cell.clone() }).collect();
                content.push_str(&written.join(&(separator as char).to_string()));
                content.push_str(end);
                expected.push((line, cells));
                line += 1 + u64::from(quoted);
            }
            let words = |to: fn(u16) -> [u8; 2]| content.encode_utf16().flat_map(to).collect::<Vec<u8>>();
            let bytes = match encoding {
                0 => content.clone().into_bytes(),
                1 => [b"\xEF\xBB\xBF".to_vec(), content.clone().into_bytes()].concat(),
                2 => [b"\xFF\xFE".to_vec(), words(u16::to_le_bytes)].concat(),
                3 => [b"\xFE\xFF".to_vec(), words(u16::to_be_bytes)].concat(),
                _ => words(u16::to_le_bytes),
            };
            let text = text(&bytes, None).unwrap();
            prop_assert_eq!(text.separator, separator);
            prop_assert_eq!(records(&text), expected);
        }
    }

    #[test]
    fn a_declared_separator_is_believed_and_keeps_the_lines() {
        let read = text(b"sep=;\r\nid;A\r\nx;1\r\n", None).unwrap();
        assert_eq!(read.separator, b';');
        assert_eq!(records(&read), [(2, vec!["id".to_owned(), "A".to_owned()]), (3, vec!["x".to_owned(), "1".to_owned()])]);
        assert_eq!(text(b"id|A,B\n", Some(b'|')).unwrap().separator, b'|');
        // Lists within cells, blanks at the ends of rows, and a comma in a name do not mislead.
        assert_eq!(text(b"Image Index,Finding Labels\na.png,X|Y|Z\nb.png,X|Y\n", None).unwrap().separator, b',');
        assert_eq!(text(b"id,A,B\na,1,\nb,,\nc,1,1\n", None).unwrap().separator, b',');
        assert_eq!(text(b"id;\"Pleural, other\";B\na;1;0\nb;0;1\n", None).unwrap().separator, b';');
    }

    #[test]
    fn what_is_no_text_is_named() {
        let fails = |bytes: &[u8], line: Option<u64>, message: &str| {
            let (found, why) = text(bytes, None).err().unwrap();
            assert!(found == line && why.contains(message), "{found:?} {why}");
        };
        fails(b"PK\x03\x04....", None, "is an Excel workbook");
        fails(b"\xd0\xcf\x11\xe0....", None, "old Excel workbook");
        fails(b"PAR1....", None, "Parquet");
        fails(b"\x1f\x8b....", None, "gzip");
        fails(b"version https://git-lfs.github.com/spec/v1\n", None, "git lfs pull");
        fails(b" <!DOCTYPE html><title>404</title>", None, "an HTML page");
        fails(b"id,A\r\nM\xfcller,1\r\n", Some(2), "the byte 0xFC, as in Latin-1");
        fails(b"id,A\rx,1\rM\xfcller,1\r", Some(3), "save the file as UTF-8");
    }
}
