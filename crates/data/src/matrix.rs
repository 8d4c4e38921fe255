//! Matrices from other programs: `.npy` and `.safetensors`, numbers of any width, in float32 or float64.

use std::io::{BufReader, Read, Seek};
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;

use archive::file::open_regular;
use archive::{NPY_START, check_npy};

/// Rows and columns of a matrix, its values row by row.
pub struct Matrix<T = f32> {
    pub rows: usize,
    pub width: usize,
    pub values: Vec<T>,
    /// Whether the file has them in float64.
    pub double: bool,
}

/// What the numbers of a file are read as, each rounded once.
pub trait Number: Copy {
    fn of_single(value: f32) -> Self;
    fn of_double(value: f64) -> Self;
    fn of_signed(value: i64) -> Self;
    fn of_unsigned(value: u64) -> Self;
}

macro_rules! number {
    ($kind:ty) => {
        impl Number for $kind {
            fn of_single(value: f32) -> Self {
                value.into()
            }
            fn of_double(value: f64) -> Self {
                value as Self
            }
            fn of_signed(value: i64) -> Self {
                value as Self
            }
            fn of_unsigned(value: u64) -> Self {
                value as Self
            }
        }
    };
}

number!(f32);
number!(f64);

/// Reads the matrix of `file`; `what` ("features") names its values in messages, and the tensor to read where a file
/// holds several.
///
/// # Errors
/// A file of another kind or shape, or without values.
pub fn load<T: Number>(file: &Path, what: &str) -> Result<Matrix<T>, String> {
    let ending = file.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    let matrix = match ending.as_deref() {
        Some("npy") => npy(file, what)?,
        Some("safetensors") => safetensors(file, what)?,
        _ => return Err(format!("{what} must be a .npy or .safetensors file{}", instead(file, what))),
    };
    if matrix.rows == 0 || matrix.width == 0 {
        return Err(format!("a matrix of {} rows and {} columns holds nothing", matrix.rows, matrix.width));
    }
    Ok(matrix)
}

/// What a file of another kind is, and how to write it.
fn instead(file: &Path, what: &str) -> String {
    let mut first = [0; 8];
    let read = open_regular(file).and_then(|mut file| file.read(&mut first)).unwrap_or_default();
    match &first[..read] {
        [b'P', b'K', 3, 4, ..] if file.extension().is_some_and(|ending| ending == "npz") => {
            format!(": this is an archive of arrays; np.save(\"{what}.npy\", np.load(FILE)[NAME]) writes one of them")
        }
        [b'P', b'K', 3, 4, ..] | [0x80, ..] => {
            format!(": this is a file of PyTorch or a pickle; np.save(\"{what}.npy\", tensor.numpy()) writes a matrix")
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => ": this is one of numpy, so its name must end in .npy".to_owned(),
        [0x89, b'H', b'D', b'F', ..] => format!(": this is HDF5; np.save(\"{what}.npy\", file[NAME][:]) writes a matrix"),
        _ => String::new(),
    }
}

/// `[rows, columns]` of a shape with two dimensions; dimensions of 1 after them are none, and the scores of one label need no second.
fn two(shape: &[usize], what: &str) -> Result<(usize, usize), String> {
    match shape {
        [rows, width, rest @ ..] if rest.iter().all(|&size| size == 1) => Ok((*rows, *width)),
        [rows] if what == "scores" => Ok((*rows, 1)),
        _ => Err(format!("an array of shape {shape:?}: {what} must be a matrix, [rows, columns]")),
    }
}

fn npy<T: Number>(file: &Path, what: &str) -> Result<Matrix<T>, String> {
    let read = |error: std::io::Error| format!("cannot read this .npy file: {error}");
    let mut opened = open_regular(file).map_err(|error| error.to_string())?;
    let length = opened.metadata().map_err(read)?.len();
    let mut start = Vec::new();
    opened.by_ref().take(NPY_START as u64).read_to_end(&mut start).map_err(read)?;
    check_npy(&start, length).map_err(read)?;
    opened.rewind().map_err(read)?;
    let npy = npyz::NpyFile::new(BufReader::with_capacity(1 << 20, opened)).map_err(read)?;
    let shape: Vec<usize> = npy.shape().iter().map(|&n| n as usize).collect();
    let (rows, width) = two(&shape, what)?;
    // A header that promises more than the file can hold must not allocate it.
    if npy.shape().iter().try_fold(1u64, |product, &n| product.checked_mul(n)).is_none_or(|values| values > length) {
        return Err(format!("truncated: the header says {rows} x {width} values, the file has {length} bytes"));
    }
    let fortran = npy.order() == npyz::Order::Fortran;
    let kind = npy.dtype().descr();
    let double = kind.ends_with("f8'");
    macro_rules! read_as {
        ($npy:ident, $($kind:ty => $convert:expr),+) => {{
            let other = $npy;
            $(let other = match other.try_data::<$kind>() {
                Ok(data) => return data.map(|x| x.map($convert)).collect::<Result<Vec<T>, _>>().map_err(read)
                    .map(|values| Matrix { rows, width, double, values: if fortran { transpose(&values, rows, width) } else { values } }),
                Err(other) => other,
            };)+
            drop(other);
        }};
    }
    read_as!(npy, f32 => T::of_single, f64 => T::of_double, f16 => |x| T::of_single(x.to_f32()),
        i8 => |x| T::of_signed(x.into()), u8 => |x| T::of_unsigned(x.into()),
        i16 => |x| T::of_signed(x.into()), u16 => |x| T::of_unsigned(x.into()),
        i32 => |x| T::of_signed(x.into()), u32 => |x| T::of_unsigned(x.into()),
        i64 => T::of_signed, u64 => T::of_unsigned, bool => |x| T::of_unsigned(x.into()));
    Err(format!("values of type {kind}: {what} must be numbers (float32, float64, float16 or integers)"))
}

/// Row-major from column-major.
fn transpose<T: Copy>(values: &[T], rows: usize, width: usize) -> Vec<T> {
    (0..rows).flat_map(|row| (0..width).map(move |column| values[column * rows + row])).collect()
}

fn safetensors<T: Number>(file: &Path, what: &str) -> Result<Matrix<T>, String> {
    let opened = open_regular(file).map_err(|error| error.to_string())?;
    // SAFETY: the map is read here and dropped before this function returns; a file that someone truncates meanwhile is as fatal as for any other reader of it.
    let bytes = unsafe { memmap2::Mmap::map(&opened) }.map_err(|error| error.to_string())?;
    let tensors =
        safetensors::SafeTensors::deserialize(&bytes).map_err(|error| format!("cannot read this .safetensors file: {error}"))?;
    let names = tensors.names();
    let name = match names.as_slice() {
        [only] => *only,
        _ if names.contains(&what) => what,
        _ => return Err(format!("tensors {names:?}: there must be one, or one named `{what}`")),
    };
    let tensor = tensors.tensor(name).map_err(|error| error.to_string())?;
    let (rows, width) = two(tensor.shape(), what)?;
    let data = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F32 => words(data, |b| T::of_single(f32::from_le_bytes(b))),
        Dtype::F64 => words(data, |b| T::of_double(f64::from_le_bytes(b))),
        Dtype::F16 => words(data, |b| T::of_single(f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => words(data, |b| T::of_single(bf16::from_le_bytes(b).to_f32())),
        Dtype::U8 => words(data, |[b]| T::of_unsigned(b.into())),
        Dtype::I64 => words(data, |b| T::of_signed(i64::from_le_bytes(b))),
        Dtype::I32 => words(data, |b| T::of_signed(i32::from_le_bytes(b).into())),
        other => return Err(format!("tensor `{name}` holds {other:?}: {what} must be F32, F64, F16, BF16, U8, I32 or I64")),
    };
    Ok(Matrix { rows, width, values, double: tensor.dtype() == Dtype::F64 })
}

fn words<T, const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A `.npy` file of version 1.
    pub fn npy_bytes(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
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

    pub fn f4(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn load_bytes<T: Number>(name: &str, bytes: &[u8]) -> Result<Matrix<T>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        load(&folder.path().join(name), "features")
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
            npy_bytes("<f4", false, "2, 3, 1, 1", &f4(&want)),
        ] {
            let matrix = load_bytes::<f32>("x.npy", &bytes).unwrap();
            assert_eq!((matrix.rows, matrix.width, matrix.values.as_slice()), (2, 3, want.as_slice()));
            let wide = load_bytes::<f64>("x.npy", &bytes).unwrap();
            assert_eq!(wide.values, want.map(f64::from));
            assert_eq!(wide.double, bytes.windows(3).any(|word| word == b"f8'"));
        }
        let bf: Vec<u8> = want.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        for (dtype, data) in [(Dtype::F32, f4(&want)), (Dtype::F64, f8), (Dtype::F16, f2), (Dtype::BF16, bf), (Dtype::I64, i8)] {
            let view = safetensors::tensor::TensorView::new(dtype, vec![2, 3], &data).unwrap();
            let bytes = safetensors::serialize([("features", view.clone())], None).unwrap();
            assert_eq!(load_bytes::<f32>("x.safetensors", &bytes).unwrap().values, want);
            let bytes = safetensors::serialize([("features", view.clone()), ("other", view)], None).unwrap();
            assert_eq!(load_bytes::<f64>("x.safetensors", &bytes).unwrap().double, dtype == Dtype::F64);
            assert_eq!(load_bytes::<f32>("x.safetensors", &bytes).unwrap().values, want);
        }
    }

    #[test]
    fn unusable_files_are_refused() {
        let fails = |name: &str, bytes: &[u8], message: &str| {
            let error = load_bytes::<f32>(name, bytes).err().unwrap();
            assert!(error.contains(message), "{error}");
        };
        fails("x.npy", b"nonsense", "cannot read this .npy file");
        fails("x.npy", &npy_bytes("<f4", false, "2, 3", &[0; 20]), "cannot read this .npy file");
        fails("x.npy", &npy_bytes("<f4", false, "9999999999, 3", &[0; 20]), "truncated");
        fails("x.npy", &npy_bytes("<f4", false, "6,", &[0; 24]), "shape [6]");
        fails("x.npy", &npy_bytes("<f4", false, "2, 3, 2", &[0; 48]), "shape [2, 3, 2]");
        fails("x.npz", b"PK\x03\x04", "an archive of arrays");
        fails("x.pt", b"PK\x03\x04", "tensor.numpy()");
        fails("x.npy", &npy_bytes("<f4", false, "0, 6", &[]), "holds nothing");
        fails("x.npy", &npy_bytes("<U3", false, "1, 2", &[0; 24]), "features must be numbers");
        fails("x.safetensors", b"nonsense", "cannot read this .safetensors file");
        fails("x.csv", b"1,2", ".npy or .safetensors");
        let view = || safetensors::tensor::TensorView::new(Dtype::U8, vec![1, 1], &[0]).unwrap();
        fails("x.safetensors", &safetensors::serialize([("a", view()), ("b", view())], None).unwrap(), "one named `features`");
    }
}
