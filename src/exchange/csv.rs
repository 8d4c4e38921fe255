//! A table as CSV (RFC 4180, UTF-8, a header, `\n` at the end of lines). NULL is an empty cell. Numbers are written so that they are read as
//! the same bits.
//!
//! A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab, a line feed or a carriage return. Text (never a number) that begins
//! so, perhaps after apostrophes, gets one more apostrophe before it, as OWASP advises; nothing else does, so that it can be undone.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use imbalance::shown::is_formula;
use store::{Cell, ColumnOf};

/// A file that is being written.
pub struct CsvFile {
    writer: ::csv::Writer<BufWriter<File>>,
}

impl CsvFile {
    /// Begins the file with its header.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(path: &Path, columns: &[ColumnOf]) -> io::Result<Self> {
        let mut writer = ::csv::Writer::from_writer(BufWriter::with_capacity(1 << 16, File::create(path)?));
        writer.write_record(columns.iter().map(|column| &column.name))?;
        Ok(Self { writer })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// I/O errors.
    pub fn row(&mut self, row: &[Cell]) -> io::Result<()> {
        for cell in row {
            match cell {
                Cell::Null => self.writer.write_field("")?,
                Cell::Integer(number) => self.writer.write_field(number.to_string())?,
                Cell::Real(number) => self.writer.write_field(digits(*number))?,
                Cell::Text(text) if is_formula(text.trim_start_matches('\'')) => self.writer.write_field(format!("'{text}"))?,
                Cell::Text(text) => self.writer.write_field(text)?,
            }
        }
        self.writer.write_record(None::<&[u8]>)?;
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// I/O errors.
    pub fn finish(self) -> io::Result<()> {
        self.writer.into_inner().map_err(|error| io::Error::new(error.error().kind(), error.to_string()))?.flush()
    }
}

/// The shortest digits that are read as the same number.
#[must_use]
pub fn digits(number: f64) -> String {
    format!("{number:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Kind;

    #[test]
    fn text_is_never_a_formula_and_numbers_are_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let columns = [ColumnOf { name: "a".to_owned(), kind: Kind::Text }, ColumnOf { name: "b".to_owned(), kind: Kind::Real }];
        let mut file = CsvFile::create(&path, &columns).unwrap();
        let texts = [
            "=1+1",
            "'=1",
            "''@x",
            "'plain",
            "-0.5",
            "-x",
            "\t=1",
            "\r",
            "\n=2",
            "a,\"b\"\n",
            "+1e5",
            "",
            "×",
            "=cmd|' /C calc'!A0",
        ];
        let numbers =
            [0.1 + 0.2, -1e-300, f64::MAX, f64::MIN_POSITIVE, 1.0, -0.0, f64::INFINITY, 2e16, 5e-324, 1e22, -3.5, 1e-5, 7.0, 0.3];
        for (text, number) in texts.iter().zip(numbers) {
            file.row(&[Cell::Text((*text).to_owned()), Cell::Real(number)]).unwrap();
        }
        file.row(&[Cell::Null, Cell::Integer(-7)]).unwrap();
        file.finish().unwrap();
        let mut rows = ::csv::Reader::from_path(&path).unwrap();
        let rows: Vec<::csv::StringRecord> = rows.records().collect::<Result<_, _>>().unwrap();
        for ((row, text), number) in rows.iter().zip(texts).zip(numbers) {
            let bare = row[0].strip_prefix('\'').filter(|rest| is_formula(rest.trim_start_matches('\''))).unwrap_or(&row[0]);
            assert_eq!(bare, text, "what was put before it can be taken away");
            assert!(!is_formula(&row[0]), "{text:?}");
            assert_eq!(row[1].parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
        assert_eq!((&rows[0][0], &rows[1][0], &rows[4][0], &rows[10][0]), ("'=1+1", "''=1", "-0.5", "+1e5"));
        assert_eq!(rows.last().unwrap(), &["", "-7"][..]);
    }
}
