//! A matrix of features, `.npy` or `.safetensors`, beside a CSV whose rows are in the same order.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;

use super::prepared::{Rows, Writer};
use super::table::Table;
use super::{DataError, InputShape};

/// Part of the prepared folder's key; raise it when the values change.
const VERSION: u32 = 1;

/// Rows and columns of a matrix, its values row by row.
struct Matrix {
    rows: usize,
    width: usize,
    values: Vec<f32>,
}

/// Writes the matrix of `file` into a prepared folder below `cache`, unless it is there.
///
/// # Errors
/// A file of another kind or shape, another number of rows than `table`, a value that is not finite, a cache that cannot be written.
pub fn prepare(file: &Path, table: Table, cache: &Path, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<PathBuf, DataError> {
    let wrong = |message: String| DataError { place: file.display().to_string(), message };
    let matrix = load(file).map_err(wrong)?;
    let rows = table.ids.len();
    if matrix.rows != rows {
        return Err(wrong(format!("{} rows of features, but the labels have {rows} rows: they must agree", matrix.rows)));
    }
    if let Some(bad) = matrix.values.iter().position(|x| !x.is_finite()) {
        let (row, column, line) = (bad / matrix.width, bad % matrix.width, table.lines[bad / matrix.width]);
        let count = matrix.values.iter().filter(|x| !x.is_finite()).count();
        let more = if count > 1 { format!(" ({count} such values in all)") } else { String::new() };
        let id = &table.ids[row];
        return Err(wrong(format!(
            "row {row}, column {column} (both from 0; line {line} of the labels, `{id}`) is {} in float32: every feature must be a finite number{more}",
            matrix.values[bad]
        )));
    }
    let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let mut content = blake3::Hasher::new();
    for row in matrix.values.chunks(matrix.width) {
        content.update(&bytes(row));
    }
    let content = content.finalize().to_hex().to_string();
    let mut key = blake3::Hasher::new();
    key.update(format!("features {VERSION} {} {} {content}", matrix.rows, matrix.width).as_bytes());
    table.add_to(&mut key);
    super::ensure(cache, &key, |key| {
        let mut writer = Writer::create(cache)?;
        for (row, values) in matrix.values.chunks(matrix.width).enumerate() {
            writer.push(&bytes(values))?;
            if row % 4096 == 0 {
                progress(row, rows);
            }
        }
        progress(rows, rows);
        writer.finish(key, InputShape::Features { width: matrix.width }, &Rows::from(table), content)
    })
}

fn load(file: &Path) -> Result<Matrix, String> {
    let matrix = match file.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => npy(file)?,
        Some("safetensors") => safetensors(file)?,
        _ => return Err("features must be a .npy or .safetensors file".to_owned()),
    };
    if matrix.rows == 0 || matrix.width == 0 {
        return Err(format!("a matrix of {} rows and {} columns holds nothing", matrix.rows, matrix.width));
    }
    Ok(matrix)
}

/// `[rows, columns]` of a shape with two dimensions.
fn two(shape: &[usize]) -> Result<(usize, usize), String> {
    match shape {
        [rows, width] => Ok((*rows, *width)),
        _ => Err(format!("an array of shape {shape:?}: features must be a matrix, [rows, columns]")),
    }
}

fn npy(file: &Path) -> Result<Matrix, String> {
    let read = |error: std::io::Error| format!("cannot read this .npy file: {error}");
    let opened = File::open(file).map_err(|error| error.to_string())?;
    let length = opened.metadata().map_err(read)?.len();
    let npy = npyz::NpyFile::new(BufReader::with_capacity(1 << 20, opened)).map_err(read)?;
    let shape: Vec<usize> = npy.shape().iter().map(|&n| n as usize).collect();
    let (rows, width) = two(&shape)?;
    // A header that promises more than the file can hold must not allocate it.
    if npy.shape().iter().try_fold(1u64, |product, &n| product.checked_mul(n)).is_none_or(|values| values > length) {
        return Err(format!("truncated: the header says {rows} x {width} values, the file has {length} bytes"));
    }
    let fortran = npy.order() == npyz::Order::Fortran;
    let kind = npy.dtype().descr();
    macro_rules! read_as {
        ($npy:ident, $($kind:ty => $convert:expr),+) => {{
            let other = $npy;
            $(let other = match other.try_data::<$kind>() {
                Ok(data) => return data.map(|x| x.map($convert)).collect::<Result<Vec<f32>, _>>().map_err(read)
                    .map(|values| Matrix { rows, width, values: if fortran { transpose(&values, rows, width) } else { values } }),
                Err(other) => other,
            };)+
            drop(other);
        }};
    }
    read_as!(npy, f32 => |x| x, f64 => |x| x as f32, f16 => f16::to_f32,
        i8 => f32::from, u8 => f32::from, i16 => f32::from, u16 => f32::from,
        i32 => |x| x as f32, u32 => |x| x as f32, i64 => |x| x as f32, u64 => |x| x as f32, bool => |x| f32::from(u8::from(x)));
    Err(format!("values of type {kind}: features must be numbers (float32, float64, float16 or integers)"))
}

/// Row-major from column-major.
fn transpose(values: &[f32], rows: usize, width: usize) -> Vec<f32> {
    (0..rows).flat_map(|row| (0..width).map(move |column| values[column * rows + row])).collect()
}

fn safetensors(file: &Path) -> Result<Matrix, String> {
    let opened = File::open(file).map_err(|error| error.to_string())?;
    // SAFETY: the map is read here and dropped before this function returns; a file that someone truncates meanwhile is as fatal as for any other reader of it.
    let bytes = unsafe { memmap2::Mmap::map(&opened) }.map_err(|error| error.to_string())?;
    let tensors =
        safetensors::SafeTensors::deserialize(&bytes).map_err(|error| format!("cannot read this .safetensors file: {error}"))?;
    let names = tensors.names();
    let name = match names.as_slice() {
        [only] => *only,
        _ if names.contains(&"features") => "features",
        _ => return Err(format!("tensors {names:?}: there must be one, or one named `features`")),
    };
    let tensor = tensors.tensor(name).map_err(|error| error.to_string())?;
    let (rows, width) = two(tensor.shape())?;
    let data = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F32 => words(data, f32::from_le_bytes),
        Dtype::F64 => words(data, |b| f64::from_le_bytes(b) as f32),
        Dtype::F16 => words(data, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => words(data, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::U8 => words(data, |[b]| f32::from(b)),
        Dtype::I64 => words(data, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => words(data, |b| i32::from_le_bytes(b) as f32),
        other => return Err(format!("tensor `{name}` holds {other:?}: features must be F32, F64, F16, BF16, U8, I32 or I64")),
    };
    Ok(Matrix { rows, width, values })
}

fn words<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, prepare as prepare_any};
    use crate::spec::{Columns, DataConfig, Source, SplitConfig};

    /// A `.npy` file of version 1.
    fn npy_bytes(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn f4(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn load_bytes(name: &str, bytes: &[u8]) -> Result<Matrix, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        load(&folder.path().join(name))
    }

    #[test]
    fn every_number_type_and_order_gives_the_same_matrix() {
        let want = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0f32];
        let columns = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0f32];
        let f8: Vec<u8> = want.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
        let f8_big: Vec<u8> = want.iter().flat_map(|x| f64::from(*x).to_be_bytes()).collect();
        let f2: Vec<u8> = want.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        let i8: Vec<u8> = want.iter().flat_map(|x| (*x as i64).to_le_bytes()).collect();
        for bytes in [
            npy_bytes("<f4", false, "2, 3", &f4(&want)),
            npy_bytes("<f4", true, "2, 3", &f4(&columns)),
            npy_bytes("<f8", false, "2, 3", &f8),
            npy_bytes(">f8", false, "2, 3", &f8_big),
            npy_bytes("<f2", false, "2, 3", &f2),
            npy_bytes("<i8", false, "2, 3", &i8),
            npy_bytes("|u1", false, "2, 3", &want.map(|x| x as u8)),
        ] {
            let matrix = load_bytes("x.npy", &bytes).unwrap();
            assert_eq!((matrix.rows, matrix.width, matrix.values.as_slice()), (2, 3, want.as_slice()));
        }
        let bf: Vec<u8> = want.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        for (dtype, data) in [(Dtype::F32, f4(&want)), (Dtype::F64, f8), (Dtype::F16, f2), (Dtype::BF16, bf), (Dtype::I64, i8)] {
            let view = safetensors::tensor::TensorView::new(dtype, vec![2, 3], &data).unwrap();
            let bytes = safetensors::serialize([("features", view.clone())], None).unwrap();
            assert_eq!(load_bytes("x.safetensors", &bytes).unwrap().values, want);
            let bytes = safetensors::serialize([("features", view.clone()), ("other", view)], None).unwrap();
            assert_eq!(load_bytes("x.safetensors", &bytes).unwrap().values, want);
        }
    }

    #[test]
    fn unusable_files_are_refused() {
        let fails = |name: &str, bytes: &[u8], message: &str| {
            let error = load_bytes(name, bytes).err().unwrap();
            assert!(error.contains(message), "{error}");
        };
        fails("x.npy", b"nonsense", "cannot read this .npy file");
        fails("x.npy", &npy_bytes("<f4", false, "2, 3", &[0; 20]), "cannot read this .npy file");
        fails("x.npy", &npy_bytes("<f4", false, "9999999999, 3", &[0; 20]), "truncated");
        fails("x.npy", &npy_bytes("<f4", false, "6,", &[0; 24]), "shape [6]");
        fails("x.npy", &npy_bytes("<f4", false, "0, 6", &[]), "holds nothing");
        fails("x.npy", &npy_bytes("<U3", false, "1, 2", &[0; 24]), "features must be numbers");
        fails("x.safetensors", b"nonsense", "cannot read this .safetensors file");
        fails("x.csv", b"1,2", ".npy or .safetensors");
        let view = || safetensors::tensor::TensorView::new(Dtype::U8, vec![1, 1], &[0]).unwrap();
        fails("x.safetensors", &safetensors::serialize([("a", view()), ("b", view())], None).unwrap(), "one named `features`");
    }

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
        let facts = prepare_any(&config(true), folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap();
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
            .map(|folder| prepare_any(&config(true), folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap());
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
    fn labels_that_teach_nothing_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 50, |_| {});
        let csv: String = (0..50).map(|row| format!("{row},{},0,1\n", row % 2)).collect();
        std::fs::write(folder.path().join("labels.csv"), format!("id,A,\"N/A, rare\",all\n{csv}")).unwrap();
        let error = prepare_any(&config(true), folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap_err().to_string();
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
            let facts = prepare_any(&config, &folder, cache.path(), &|_, _| {}).unwrap();
            assert_eq!((facts.input, facts.labels.len()), (InputShape::Features { width }, labels));
            assert_eq!(facts.train.rows + facts.val.rows + facts.test.rows, rows);
            assert!(facts.val.rows > 0 && facts.train.positives.iter().all(|n| *n > 0));
        }
    }
}
