//! A matrix of features, `.npy` or `.safetensors`, beside a CSV whose rows are in the same order.

use std::path::Path;

use super::duplicates::{self, classes};
use super::matrix::load;
use super::prepared::{self, Writer};
use super::table::Table;
use super::{DataError, Rows, Unprepared};
use imbalance::shown::shown;
use plan::{Columns, InputShape};

/// Part of the prepared folder's key; increase it when the values change.
const VERSION: u32 = 1;

/// Writes the matrix of `file` into a prepared folder below `cache`, unless it is there.
///
/// # Errors
/// A file of another kind or shape, or with another number of rows than `table`; a value that is not finite; a cache that cannot be
/// written.
pub fn prepare(
    file: &Path,
    labels: &Path,
    columns: &Columns,
    mut table: Table,
    cache: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Rows, Unprepared> {
    let wrong = |message: String| Unprepared::from(DataError { place: file.display().to_string(), message });
    let matrix = load::<f32>(file, "features").map_err(wrong)?;
    let rows = table.ids.len();
    if matrix.rows != rows {
        let turned = if matrix.width == rows { "; the matrix seems to be transposed: rows are samples" } else { "" };
        return Err(wrong(format!("{} rows of features, but the labels have {rows} rows: they must agree{turned}", matrix.rows)));
    }
    if let Some(bad) = matrix.values.iter().position(|x| !x.is_finite()) {
        let (row, column, line) = (bad / matrix.width, bad % matrix.width, table.lines[bad / matrix.width]);
        let count = matrix.values.iter().filter(|x| !x.is_finite()).count();
        let more = if count > 1 { format!(" ({count} such values in all)") } else { String::new() };
        let id = shown(&table.ids[row]);
        return Err(wrong(format!(
            "row {row}, column {column} (both from 0; line {line} of the labels, `{id}`) is {} in float32: every feature must be a finite number{more}",
            matrix.values[bad]
        )));
    }
    let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let mut content = blake3::Hasher::new();
    let row_hash = |row: &[f32]| {
        let bytes = bytes(row);
        content.update(&bytes);
        Some(blake3::hash(&bytes))
    };
    let same = classes(matrix.values.chunks(matrix.width).map(row_hash));
    if columns.group_duplicates {
        duplicates::group(&mut table, &same);
    }
    warn_of_repeated_ids(labels, columns, &table);
    let content = content.finalize().to_hex().to_string();
    let mut key = blake3::Hasher::new();
    key.update(format!("features {VERSION} {} {} {content}", matrix.rows, matrix.width).as_bytes());
    table.add_to(&mut key);
    let (layout, ids) = (table.layout.clone(), table.ids.clone());
    let folder = super::ensure(cache, &key, |key| {
        let mut writer = Writer::create(cache)?;
        for (row, values) in matrix.values.chunks(matrix.width).enumerate() {
            writer.push(&bytes(values))?;
            if row % 4096 == 0 {
                progress(row, rows);
            }
        }
        progress(rows, rows);
        writer.finish(key, InputShape::Features { width: matrix.width }, &prepared::Rows::from(table), content)
    })?;
    Ok(Rows { folder, layout, same: if columns.group_duplicates { Vec::new() } else { same }, ids })
}

/// Says that ids come again, unless they are groups: rows of one patient, say, in train and in val.
fn warn_of_repeated_ids(labels: &Path, columns: &Columns, table: &Table) {
    let distinct = classes(table.ids.iter().map(Some)).into_iter().max().map_or(0, |most| most as usize + 1);
    let again = table.ids.len() - distinct;
    if let (true, None, Some(path)) = (again > 0, &columns.group, &table.layout.path) {
        tracing::warn!(
            "{}: `{}` repeats: {} rows have {distinct} ids. If rows of one id belong together, `data.group_column = {path:?}` keeps them in one split",
            labels.display(),
            shown(path),
            table.ids.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::tests::{f4, npy_bytes};
    use crate::{Dataset, prepare as prepare_any};
    use imbalance::stratification::SplitConfig;
    use plan::{Columns, DataConfig, Source};

    fn config(standardize: bool) -> DataConfig {
        DataConfig {
            source: Source::Features {
                features: "x.npy".into(),
                labels: "labels.csv".into(),
                columns: Columns::default(),
                standardize,
            },
            split: SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: "random".to_owned(), seed: 0 },
        }
    }

    /// Four columns: the row, constant, the row's square, a wide range; labels alternate.
    fn write(folder: &Path, rows: usize, change: impl Fn(&mut Vec<f32>)) {
        let mut values: Vec<f32> = (0..rows).flat_map(|row| [row as f32, 0.1, (row * row) as f32, 1e30 * row as f32]).collect();
        change(&mut values);
        std::fs::write(folder.join("x.npy"), npy_bytes("<f4", false, &format!("{}, 4", values.len() / 4), &f4(&values))).unwrap();
        let csv: String = (0..rows).map(|row| format!("row {row},{}\n", row % 2)).collect();
        std::fs::write(folder.join("labels.csv"), format!("id,A\n{csv}")).unwrap();
    }

    #[test]
    fn columns_are_standardised_by_train_alone() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 100, |_| {});
        let facts = prepare_any(&config(true), folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap().facts;
        let data = Dataset::open(&facts.folder, &config(true)).unwrap();
        let train = &data.split().train;
        let mut out = vec![0.0; train.len() * 4];
        data.gather(train, Some((1, 2)), &mut out);
        for column in 0..4 {
            let values: Vec<f64> = out.iter().skip(column).step_by(4).map(|x| f64::from(*x)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / values.len() as f64;
            assert!(mean.abs() < 1e-5, "column {column}: mean {mean}");
            assert!((variance - f64::from(u8::from(column != 1))).abs() < 1e-4, "column {column}: variance {variance}");
        }
        let mut other = vec![0.0; 4];
        data.gather(&data.split().test[..1], None, &mut other);
        assert_eq!(other[1], 0.0);
        let raw = Dataset::open(&facts.folder, &config(false)).unwrap();
        raw.gather(&[7], None, &mut other);
        assert_eq!(other, [7.0, 0.1, 49.0, 7e30]);
    }

    #[test]
    fn the_content_follows_the_values_not_the_files() {
        let (a, b, c) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(a.path(), 60, |_| {});
        write(b.path(), 60, |_| {});
        let csv = std::fs::read_to_string(b.path().join("labels.csv")).unwrap();
        std::fs::write(b.path().join("labels.csv"), csv.replace("row ", "renamed ")).unwrap();
        write(c.path(), 60, |values| values[17] += 1.0);
        let [a, b, c] = [&a, &b, &c]
            .map(|folder| prepare_any(&config(true), folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap().facts);
        assert_eq!(a.content, b.content);
        assert_ne!(a.content, c.content);
    }

    #[test]
    fn features_that_do_not_fit_the_labels_are_refused() {
        let fails = |change: &dyn Fn(&mut Vec<f32>), message: &str| {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), 50, change);
            let error =
                prepare_any(&config(true), folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
            let left = std::fs::read_dir(folder.path().join("cache")).into_iter().flatten().flatten();
            assert_eq!(left.filter(|entry| entry.path().is_dir()).count(), 0, "nothing is written for bad data");
        };
        fails(&|values| values.truncate(48 * 4), "48 rows of features, but the labels have 50 rows");
        fails(&|values| values[9] = f32::NAN, "row 2, column 1 (both from 0; line 4 of the labels, `row 2`) is NaN");
        fails(
            &|values| values[9..12].fill(f32::INFINITY),
            "is inf in float32: every feature must be a finite number (3 such values in all)",
        );
    }

    #[test]
    fn labels_that_teach_nothing_are_prepared_and_not_trained_on() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 50, |_| {});
        let csv: String = (0..50).map(|row| format!("{row},{},0,1\n", row % 2)).collect();
        std::fs::write(folder.path().join("labels.csv"), format!("id,A,\"N/A, rare\",all\n{csv}")).unwrap();
        let facts = prepare_any(&config(true), folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap().facts;
        let data = Dataset::open(&facts.folder, &config(true)).unwrap();
        let error = data.trainable(&config(true)).unwrap_err().to_string();
        assert!(error.starts_with("labels.csv: no row of the train split (35 rows) carries the label `N/A, rare`"), "{error}");
    }

    #[test]
    fn real_features_are_read() {
        for (name, rows, width, labels) in [("scene", 2407, 294, 6), ("emotions", 593, 72, 6), ("birds", 645, 271, 19)] {
            let folder = Path::new("../shared/data").join(name);
            if !folder.is_dir() {
                eprintln!("skipped: no {}", folder.display());
                continue;
            }
            let cache = tempfile::tempdir().unwrap();
            let mut config = config(true);
            if let Source::Features { features, .. } = &mut config.source {
                *features = "features.npy".into();
            }
            let facts = prepare_any(&config, &folder, cache.path(), &|_, _| {}).unwrap().facts;
            assert_eq!((facts.input, facts.labels.len()), (InputShape::Features { width }, labels));
            assert_eq!(facts.train.rows + facts.val.rows + facts.test.rows, rows);
            assert!(facts.val.rows > 0 && facts.train.positives.iter().all(|n| *n > 0));
        }
    }
}
