//! The `.npy` files of the archive: `[rows, labels]` in C order.

use std::io;
use std::path::Path;

use npyz::{TypeWrite, WriterBuilder};

use super::file;
use super::seal::Seal;

/// Longest header of a `.npy` file, as numpy has it.
const LONGEST_HEADER: usize = 10_000;
/// Most brackets in it, which the parser follows into the depth, and most of those whose every level costs it seven times as much.
const MOST_BRACKETS: usize = 100;
const MOST_LISTS: usize = 4;

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

/// Checks the header of a `.npy` file of `length` bytes that begins with `start` (of [`NPY_START`] bytes, if it has so many) before a
/// library allocates what it promises and follows its brackets.
///
/// # Errors
/// `InvalidData`: a header that is longer than the file, or than a matrix needs.
pub fn check_npy(start: &[u8], length: u64) -> io::Result<()> {
    let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let (at, size) = match start {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, low, high, ..] => (10, u64::from(u16::from_le_bytes([*low, *high]))),
        [0x93, b'N', b'U', b'M', b'P', b'Y', _, _, a, b, c, d, ..] => (12, u64::from(u32::from_le_bytes([*a, *b, *c, *d]))),
        // For the library to refuse.
        _ => return Ok(()),
    };
    if at as u64 + size > length {
        return wrong(format!("its header should have {size} bytes, but the file has {length} in all"));
    }
    if size > LONGEST_HEADER as u64 {
        return wrong(format!("its header has {size} bytes; that of a matrix has {LONGEST_HEADER} at most"));
    }
    let count = |of: &[u8]| start[at..].iter().take(size as usize).filter(|byte| of.contains(byte)).count();
    if count(b"([{") > MOST_BRACKETS || count(b"[{") > MOST_LISTS {
        return wrong("its header has more brackets than that of a matrix".to_owned());
    }
    // The library multiplies the shape unchecked. A digit of the type counts as well: that is no file's concern.
    let numbers = start[at..].iter().take(size as usize).copied().collect::<Vec<u8>>();
    let mut numbers = numbers.split(|byte| !byte.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let product = numbers.try_fold(1_u64, |product, digits| {
        let number = digits.iter().try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add((digit - b'0').into()))?;
        product.checked_mul(number.max(1))
    });
    if product.is_none() {
        return wrong(format!("truncated: its header promises more values than any file holds, the file has {length} bytes"));
    }
    Ok(())
}

/// Bytes of the beginning of a `.npy` file that [`check_npy`] wants.
pub const NPY_START: usize = LONGEST_HEADER + 12;

/// The columns and values of a matrix in the bytes of a file; errors name `path`.
///
/// # Errors
/// `InvalidData` where the bytes are not such a matrix.
pub fn parse<T: npyz::Deserialize>(path: &Path, bytes: &[u8]) -> io::Result<(usize, Vec<T>)> {
    let named = |error: io::Error| damaged(path, &format!("is no .npy file of ours: {error}"));
    check_npy(bytes, bytes.len() as u64).map_err(named)?;
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

    fn npy(version: u8, size: u32, header: &str) -> Vec<u8> {
        let bytes = size.to_le_bytes();
        let size = if version == 1 { &bytes[..2] } else { &bytes[..] };
        [b"\x93NUMPY", &[version, 0][..], size, header.as_bytes()].concat()
    }

    /// Headers that make the library allocate gigabytes, end the process in a stack overflow, or keep it busy for years.
    #[test]
    fn a_header_that_promises_too_much_is_refused() {
        let (deep, lists) = ("(".repeat(9000), format!("{{'descr': {}1{}}}", "[".repeat(60), "]".repeat(60)));
        for (bytes, words) in [
            (npy(2, u32::MAX, "{}"), "should have 4294967295 bytes"),
            (npy(1, 300, "{}"), "should have 300 bytes"),
            (npy(2, 20_000, &" ".repeat(20_000)), "10000 at most"),
            (npy(1, 9000, &deep), "more brackets"),
            (npy(3, 9000, &deep), "more brackets"),
            (npy(1, 132, &lists), "more brackets"),
            (npy(1, 60, &format!("{:60}", "{'shape': (9999999999, 4294967297)}")), "more values than any file holds"),
        ] {
            let error = parse::<f32>(Path::new("a.npy"), &bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }

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
