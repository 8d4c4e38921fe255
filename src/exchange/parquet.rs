//! A table as Parquet: INTEGER as INT64, REAL as DOUBLE, TEXT as UTF-8 strings, every column optional, Snappy.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;

use super::csv::digits;
use store::{Cell, ColumnOf, Kind};

/// Rows of a group, which are in memory until it is written.
const GROUP: usize = 100_000;

/// Why a row was not taken.
#[derive(Debug)]
pub enum Refused {
    /// A value that is not of the kind of this column.
    Kind(usize),
    Io(io::Error),
}

impl From<ParquetError> for Refused {
    fn from(error: ParquetError) -> Self {
        Self::Io(io_error(error))
    }
}

/// A file that is being written.
pub struct ParquetFile {
    writer: SerializedFileWriter<File>,
    columns: Vec<Column>,
    rows: usize,
}

/// The values of a column that are not written yet, and for each row whether it has one.
struct Column {
    values: Values,
    present: Vec<i16>,
}

enum Values {
    Integer(Vec<i64>),
    Real(Vec<f64>),
    Text(Vec<ByteArray>),
}

impl Column {
    fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Integer => Values::Integer(Vec::new()),
            Kind::Real => Values::Real(Vec::new()),
            Kind::Text => Values::Text(Vec::new()),
        };
        Self { values, present: Vec::new() }
    }

    /// Adds a cell; false where it is of another kind.
    fn push(&mut self, cell: &Cell) -> bool {
        match (&mut self.values, cell) {
            (_, Cell::Null) => {
                self.present.push(0);
                return true;
            }
            (Values::Integer(values), Cell::Integer(number)) => values.push(*number),
            (Values::Real(values), Cell::Real(number)) => values.push(*number),
            (Values::Text(values), Cell::Text(text)) => match values.last() {
                // Rows of one run follow each other: most of their text is that of the row before.
                Some(last) if last.data() == text.as_bytes() => values.push(last.clone()),
                _ => values.push(ByteArray::from(text.clone().into_bytes())),
            },
            (Values::Text(values), Cell::Integer(number)) => values.push(ByteArray::from(number.to_string().into_bytes())),
            (Values::Text(values), Cell::Real(number)) => values.push(ByteArray::from(digits(*number).into_bytes())),
            _ => return false,
        }
        self.present.push(1);
        true
    }
}

impl ParquetFile {
    /// Begins the file.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(path: &Path, columns: &[ColumnOf]) -> io::Result<Self> {
        let field = |column: &ColumnOf| {
            let (physical, logical) = match column.kind {
                Kind::Integer => (Physical::INT64, None),
                Kind::Real => (Physical::DOUBLE, None),
                // Said in the schema: without it a reader takes text for bytes.
                Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            };
            let field = Type::primitive_type_builder(&column.name, physical);
            field.with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build().map(Arc::new)
        };
        let fields = columns.iter().map(field).collect::<Result<_, _>>().map_err(io_error)?;
        let schema = Type::group_type_builder("schema").with_fields(fields).build().map_err(io_error)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(File::create(path)?, Arc::new(schema), Arc::new(properties)).map_err(io_error)?;
        Ok(Self { writer, columns: columns.iter().map(|column| Column::new(column.kind)).collect(), rows: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// A value of another kind than its column's, after which the file must be begun anew; I/O errors.
    pub fn row(&mut self, row: &[Cell]) -> Result<(), Refused> {
        if let Some(odd) = self.columns.iter_mut().zip(row).position(|(column, cell)| !column.push(cell)) {
            return Err(Refused::Kind(odd));
        }
        self.rows += 1;
        if self.rows == GROUP { Ok(self.flush()?) } else { Ok(()) }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// I/O errors.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush().and_then(|()| self.writer.close().map(drop)).map_err(io_error)
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for Column { values, present } in &mut self.columns {
            let Some(mut writer) = group.next_column()? else { break };
            match values {
                Values::Integer(values) => writer.typed::<Int64Type>().write_batch(values, Some(present), None)?,
                Values::Real(values) => writer.typed::<DoubleType>().write_batch(values, Some(present), None)?,
                Values::Text(values) => writer.typed::<ByteArrayType>().write_batch(values, Some(present), None)?,
            };
            writer.close()?;
            match values {
                Values::Integer(values) => values.clear(),
                Values::Real(values) => values.clear(),
                Values::Text(values) => values.clear(),
            }
            present.clear();
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::Field;

    fn columns(kinds: &[Kind]) -> Vec<ColumnOf> {
        kinds.iter().enumerate().map(|(at, &kind)| ColumnOf { name: format!("c{at}"), kind }).collect()
    }

    fn read(path: &Path) -> Vec<Vec<Field>> {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        rows.map(|row| row.unwrap().get_column_iter().map(|(_, field)| field.clone()).collect()).collect()
    }

    #[test]
    fn more_rows_than_a_group_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let mut file = ParquetFile::create(&path, &columns(&[Kind::Integer, Kind::Real, Kind::Text])).unwrap();
        let count = GROUP + 3;
        for at in 0..count {
            let text = if at % 3 == 0 { Cell::Null } else { Cell::Text(format!("日{}", at / 10)) };
            file.row(&[Cell::Integer(at as i64), Cell::Real(at as f64 / 7.0), text]).unwrap();
        }
        file.finish().unwrap();
        let rows = read(&path);
        assert_eq!(rows.len(), count);
        for (at, row) in rows.iter().enumerate().step_by(977) {
            let text = if at % 3 == 0 { Field::Null } else { Field::Str(format!("日{}", at / 10)) };
            assert_eq!(row, &[Field::Long(at as i64), Field::Double(at as f64 / 7.0), text]);
        }
        let none = folder.path().join("none.parquet");
        ParquetFile::create(&none, &columns(&[Kind::Text])).unwrap().finish().unwrap();
        assert!(read(&none).is_empty());
    }

    #[test]
    fn a_value_of_another_kind_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let begin = |kind| ParquetFile::create(&path, &columns(&[Kind::Integer, kind])).unwrap();
        for (kind, cell) in [
            (Kind::Integer, Cell::Real(0.5)),
            (Kind::Integer, Cell::Text("a".to_owned())),
            (Kind::Real, Cell::Text("a".to_owned())),
            (Kind::Real, Cell::Integer(i64::MAX)),
        ] {
            let refused = begin(kind).row(&[Cell::Integer(1), cell.clone()]);
            assert!(matches!(refused, Err(Refused::Kind(1))), "{cell:?}");
            let mut file = begin(Kind::Text);
            file.row(&[Cell::Integer(1), cell]).unwrap();
            file.finish().unwrap();
            assert_eq!(read(&path).len(), 1, "text takes everything");
        }
    }
}
