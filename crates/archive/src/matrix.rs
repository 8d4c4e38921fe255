//! The `.npy` files of the archive: `[rows, labels]` in C order.

use std::io;
use std::path::Path;

use npyz::{TypeWrite, WriterBuilder};

use super::file;
use super::seal::Seal;

/// Values that are turned into bytes at once.
const CHUNK: usize = 1 << 14;

/// Writes a `[rows, labels]` matrix in C order: complete at its path, or not there.
///
/// # Errors
/// I/O errors; `InvalidInput` where the last row is not whole.
pub fn write_matrix<T: npyz::AutoSerialize>(path: &Path, labels: usize, values: &[T]) -> io::Result<Seal> {
    let rows = values.len() / labels.max(1);
    if rows * labels != values.len() {
        let what = format!("{} values are no whole rows of {labels}", values.len());
        return Err(named(path, &io::Error::new(io::ErrorKind::InvalidInput, what)));
    }
    let options = npyz::WriteOptions::<T>::new().default_dtype().shape(&[rows as u64, labels as u64]);
    let mut bytes = options.writer(Vec::<u8>::new()).write_header_only()?;
    let writer = T::writer(&T::default_dtype()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    file::write(path, |file| {
        for chunk in values.chunks(CHUNK) {
            chunk.iter().try_for_each(|value| writer.write_one(&mut bytes, value))?;
            file.write_all(&bytes)?;
            bytes.clear();
        }
        // The header of a matrix without rows.
        file.write_all(&bytes)
    })
}

/// The columns and values of a matrix in the bytes of a file; errors name `path`.
///
/// # Errors
/// `InvalidData` where the bytes are not such a matrix.
pub fn parse<T: npyz::Deserialize>(path: &Path, bytes: &[u8]) -> io::Result<(usize, Vec<T>)> {
    let named = |error: io::Error| damaged(path, &format!("is no .npy file of ours: {error}"));
    let matrix = npyz::NpyFile::new(bytes).map_err(named)?;
    let &[_, labels] = matrix.shape() else { return Err(damaged(path, "is no matrix")) };
    if matrix.order() != npyz::Order::C {
        return Err(damaged(path, "is not in C order"));
    }
    // A header that promises more than the file can hold must not allocate it.
    if matrix.shape().iter().try_fold(1_u64, |product, &n| product.checked_mul(n)).is_none_or(|n| n > bytes.len() as u64) {
        return Err(damaged(path, "is truncated"));
    }
    Ok((labels as usize, matrix.into_vec().map_err(named)?))
}

/// The error with the file's path, of the same kind.
pub fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// An `InvalidData` error about `path`.
pub fn damaged(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte for byte what the library writes a value at a time.
    #[test]
    fn a_matrix_is_the_librarys() {
        fn check<T: npyz::AutoSerialize + npyz::Deserialize + Copy + PartialEq + std::fmt::Debug>(
            path: &Path,
            labels: usize,
            values: &[T],
        ) {
            let seal = write_matrix(path, labels, values).unwrap();
            let (shape, mut whole) = ([(values.len() / labels) as u64, labels as u64], Vec::<u8>::new());
            let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut whole).begin_nd().unwrap();
            writer.extend(values.iter().copied()).unwrap();
            writer.finish().unwrap();
            let written = std::fs::read(path).unwrap();
            assert!(written == whole && seal.fits(&whole), "{shape:?}");
            assert_eq!(parse::<T>(path, &written).unwrap(), (labels, values.to_vec()));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        for rows in [0, 1, 7, CHUNK / 3, CHUNK / 3 + 1, CHUNK] {
            check(&path, 3, &(0..3 * rows).map(|at| 1.0 / (at as f32 + 0.1)).collect::<Vec<f32>>());
            check(&path, 3, &(0..3 * rows).map(|at| (at % 2) as u8).collect::<Vec<u8>>());
        }
        let error = write_matrix(&path, 3, &[0.5_f32; 4]).unwrap_err();
        assert!(error.kind() == io::ErrorKind::InvalidInput && error.to_string().contains("a.npy"), "{error}");
    }
}
