//! The `.npy` files of the archive: `[rows, labels]` in C order.

use std::io;
use std::path::Path;

use npyz::WriterBuilder;

use super::file;
use super::seal::Seal;

/// Writes a `[rows, labels]` matrix in C order: complete at its path, or not there.
///
/// # Errors
/// I/O errors.
pub fn write_matrix<T: npyz::AutoSerialize + Copy>(path: &Path, labels: usize, values: &[T]) -> io::Result<Seal> {
    let shape = [(values.len() / labels.max(1)) as u64, labels as u64];
    file::write(path, |file| {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
        writer.extend(values.iter().copied())?;
        writer.finish()
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
