//! Tables and views, each read once and written in one or two formats.

use super::csv::CsvFile;
use super::parquet::{ParquetFile, Refused};
use super::staging::Staging;
use crate::error::Error;
use store::{Kind, RELATIONS, Reader, Relation, SweepId};

/// A table or view that was written.
pub struct Written {
    pub rows: u64,
    /// See [`super::Exported::as_text`].
    pub as_text: Vec<String>,
}

/// The names of the files.
pub fn files(csv: bool, parquet: bool) -> impl Iterator<Item = String> {
    let endings = [(csv, "csv"), (parquet, "parquet")];
    RELATIONS.iter().flat_map(move |relation| {
        endings.into_iter().filter(|(wanted, _)| *wanted).map(|(_, ending)| format!("{}.{ending}", relation.name))
    })
}

/// Writes one, or its rows of one sweep.
///
/// # Errors
/// The database; files that cannot be written.
pub async fn write(
    reader: &mut Reader,
    staging: &mut Staging,
    relation: &Relation,
    sweep: Option<SweepId>,
    csv: bool,
    parquet: bool,
) -> Result<Written, Error> {
    let mut columns = reader.columns(relation).await?;
    let mut as_text = Vec::new();
    let [csv_name, parquet_name] = ["csv", "parquet"].map(|ending| format!("{}.{ending}", relation.name));
    'anew: loop {
        let mut csv = match csv {
            true => {
                let path = staging.file(&csv_name)?;
                Some(CsvFile::create(&path, &columns).map_err(|error| staging.error(&csv_name, error))?)
            }
            false => None,
        };
        let mut parquet = match parquet {
            true => {
                let path = staging.file(&parquet_name)?;
                Some(ParquetFile::create(&path, &columns).map_err(|error| staging.error(&parquet_name, error))?)
            }
            false => None,
        };
        let mut written = 0;
        let mut rows = reader.rows(relation, sweep).await?;
        while let Some(row) = rows.next().await? {
            if let Some(csv) = &mut csv {
                csv.row(&row).map_err(|error| staging.error(&csv_name, error))?;
            }
            match parquet.as_mut().map_or(Ok(()), |parquet| parquet.row(&row)) {
                Ok(()) => written += 1,
                Err(Refused::Io(error)) => return Err(staging.error(&parquet_name, error)),
                Err(Refused::Kind(column)) => {
                    as_text.push(format!("{}.{}", relation.name, columns[column].name));
                    columns[column].kind = Kind::Text;
                    continue 'anew;
                }
            }
        }
        if let Some(csv) = csv {
            csv.finish().map_err(|error| staging.error(&csv_name, error))?;
        }
        if let Some(parquet) = parquet {
            parquet.finish().map_err(|error| staging.error(&parquet_name, error))?;
        }
        return Ok(Written { rows: written, as_text });
    }
}
