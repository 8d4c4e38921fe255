//! What a file of weights holds, from its header alone: the tensors of a safetensors file, or what the file is instead, by its first
//! bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use safetensors::{Dtype, SafeTensorError, SafeTensors};

use archive::file::open_regular;
use imbalance::shown::{cut, shown};

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub shape: Vec<usize>,
    pub dtype: Dtype,
}

/// The tensors of a file by name.
pub type Header = BTreeMap<String, Held>;

/// First bytes that are looked at.
const LOOK: usize = 4096;
/// Most bytes of a header (as the safetensors library has it).
const MOST: u64 = 100_000_000;
/// Files of a folder that a message names.
const NAMED: usize = 3;

/// The tensors of the safetensors file `path`. Only the header is read.
///
/// # Errors
/// Why it cannot be used, as the end of a sentence that begins with its path.
pub fn header(path: &Path) -> Result<Header, String> {
    let mut file = open(path)?;
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let mut start = Vec::new();
    file.by_ref().take(LOOK as u64).read_to_end(&mut start).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if let Some(other) = another(&start, path, length) {
        return Err(other);
    }
    // SAFETY: the map is read here and dropped before this function returns; a file that someone truncates meanwhile is as fatal as for any other reader of it.
    let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
    let (_, meta) = SafeTensors::read_metadata(&bytes).map_err(|error| damage(&bytes, &error))?;
    let held = |info: &safetensors::tensor::TensorInfo| Held { shape: info.shape.clone(), dtype: info.dtype };
    let tensors: Header = meta.tensors().into_iter().map(|(name, info)| (name, held(info))).collect();
    if tensors.is_empty() { Err("is a safetensors file without tensors".to_owned()) } else { Ok(tensors) }
}

fn open(path: &Path) -> Result<File, String> {
    open_regular(path).map_err(|error| {
        if path.is_dir() {
            return match weights_in(path) {
                None => "is a folder; a file of weights is wanted".to_owned(),
                Some(names) => format!("is a folder; a file of weights is wanted, such as the {names} in it"),
            };
        }
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => missing(path),
            ErrorKind::PermissionDenied => "may not be read by this user (permission denied)".to_owned(),
            _ => format!("cannot be read: {error}"),
        }
    })
}

/// What is there in place of a file that is not.
fn missing(path: &Path) -> String {
    if path.is_symlink() {
        return "is a symbolic link to a file that does not exist".to_owned();
    }
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return "does not exist".to_owned();
    };
    if !folder.is_dir() {
        let there = folder
            .ancestors()
            .find(|folder| folder.is_dir())
            .map_or_else(String::new, |folder| format!(": of its path only {} is there", shown(&folder.display().to_string())));
        return format!("does not exist{there}");
    }
    weights_in(folder).map_or_else(|| "does not exist".to_owned(), |names| format!("does not exist; its folder has {names}"))
}

/// The first safetensors files of a folder, by name.
fn weights_in(folder: &Path) -> Option<String> {
    let entries = folder.read_dir().ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.filter(|name| name.ends_with(".safetensors")).map(|name| shown(&name)).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    (!names.is_empty()).then(|| names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() })
}

/// What a file is that begins with `start`, unless it is a safetensors file (perhaps a damaged one).
fn another(start: &[u8], path: &Path, length: u64) -> Option<String> {
    if start.is_empty() {
        return Some("is empty (0 bytes)".to_owned());
    }
    if let Some((size, json)) = start.split_first_chunk::<8>()
        && (json.first() == Some(&b'{') || (json.is_empty() && (2..MOST).contains(&u64::from_le_bytes(*size))))
        && !start.starts_with(b"{")
    {
        return None;
    }
    let is = |magic: &[u8]| start.starts_with(magic);
    let pytorch = |what: &str| format!("is {what}, not a safetensors file. Convert it once, with Python:\n{}", convert(path));
    let text = std::str::from_utf8(start).or_else(|error| std::str::from_utf8(&start[..error.valid_up_to()])).unwrap_or_default();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower = text.get(..text.len().min(64)).unwrap_or(text).to_ascii_lowercase();
    let other = |what: &str| Some(format!("is {what}, not a safetensors file"));
    if is(b"version https://git-lfs") {
        return Some(format!(
            "is a pointer of Git LFS ({length} bytes) in place of the file: `git lfs pull` in its repository fetches the file itself"
        ));
    }
    if is(b"PK\x03\x04") || is(b"PK\x05\x06") {
        // The name of the first file in the archive.
        let first = start.get(30..).unwrap_or_default();
        let first = &first[..first.len().min(256)];
        let has = |part: &[u8]| first.windows(part.len()).any(|window| window == part);
        return if has(b".npy") {
            other("a NumPy archive (.npz)")
        } else if has(b"metadata.json") || has(b"config.json") || has(b"model.weights.h5") {
            other("a Keras archive (.keras)")
        } else if has(b"data.pkl") || has(b"/version") || has(b"byteorder") || is_pytorch(path) {
            Some(pytorch("a PyTorch checkpoint (a zip archive with a pickle in it)"))
        } else {
            other("a zip archive")
        };
    }
    if matches!(start, [0x80, 2..=5, ..]) {
        return Some(pytorch("a pickle, as older versions of PyTorch write checkpoints"));
    }
    for (magic, what) in [
        (&b"\x1f\x8b"[..], "compressed (gzip): unpack it first. As it is, it is"),
        (b"BZh", "compressed (bzip2): unpack it first. As it is, it is"),
        (b"\xfd7zXZ", "compressed (xz): unpack it first. As it is, it is"),
        (b"\x28\xb5\x2f\xfd", "compressed (zstd): unpack it first. As it is, it is"),
    ] {
        if is(magic) {
            return Some(format!("is {what} not a safetensors file"));
        }
    }
    for (magic, what) in [
        (&b"GGUF"[..], "a GGUF file (of llama.cpp)"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes weights"),
        (b"\x93NUMPY", "a NumPy array (.npy)"),
        (b"\x89PNG", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"%PDF", "a PDF"),
    ] {
        if is(magic) {
            return other(what);
        }
    }
    if start.get(257..262) == Some(b"ustar") {
        return other("a tar archive: unpack it first. As it is, it is");
    }
    if start.get(4..8) == Some(b"TFL3") {
        return other("a TensorFlow Lite file");
    }
    // A message of protocol buffers: the version of the format, then the producer's name or the graph.
    if matches!(start, [0x08, 1..=20, 0x12 | 0x3a, ..]) {
        return other("an ONNX file");
    }
    if ["<!doctype html", "<html", "<head"].iter().any(|tag| lower.starts_with(tag)) {
        return Some(
            "is an HTML page, not a safetensors file: a page about the file was downloaded in place of the file (on the Hugging Face hub \
             the address has /resolve/, not /blob/)"
                .to_owned(),
        );
    }
    if lower.starts_with("<?xml") || lower.starts_with("<error") {
        return other("an XML document, such as a server's message that something went wrong");
    }
    if text.starts_with('{') && text.contains("weight_map") {
        return other("the index of a model in several files");
    }
    // The first eight bytes of a safetensors file, a length, are hardly ever text.
    let printable = |letter: char| !letter.is_control() || letter.is_ascii_whitespace();
    if text.len() + 8 > start.len().min(256) && !text.is_empty() && text.chars().all(printable) {
        let words = cut(text.lines().next().unwrap_or_default(), 60);
        return Some(format!("is a text, which begins with `{words}`, not a safetensors file"));
    }
    let bytes: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("is not a safetensors file (it begins with the bytes {})", bytes.join(" ")))
}

fn is_pytorch(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    extension.is_some_and(|extension| ["pt", "pth", "bin", "ckpt", "tar"].contains(&extension.as_str()))
}

/// Two lines of Python that write `path` as safetensors.
fn convert(path: &Path) -> String {
    let name = |path: &Path| serde_json::Value::from(path.file_name().unwrap_or_default().to_string_lossy()).to_string();
    let (old, new) = (name(path), name(&path.with_extension("safetensors")));
    format!(
        "  import torch, safetensors.torch; state = torch.load({old}, map_location=\"cpu\"); state = state.get(\"state_dict\", state)\n  \
         safetensors.torch.save_file({{k: v.clone() for k, v in state.items() if torch.is_tensor(v)}}, {new})"
    )
}

/// What is wrong with a file that begins like a safetensors file.
fn damage(bytes: &[u8], error: &SafeTensorError) -> String {
    let length = bytes.len() as u64;
    let header = bytes.first_chunk::<8>().map_or(0, |size| u64::from_le_bytes(*size));
    let end = header.saturating_add(8);
    let cut_short = |least: u64| {
        format!(
            "is a safetensors file that was cut short: it has {length} bytes, and its header says {least}; download or copy it again"
        )
    };
    match error {
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength if header < MOST && end > length => {
            format!(
                "is a safetensors file that was cut short: it has {length} bytes, and its header alone has {end}; download or copy it again"
            )
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            let json = usize::try_from(end).ok().and_then(|end| bytes.get(8..end)).unwrap_or_default();
            match serde_json::from_slice::<safetensors::tensor::Metadata>(json) {
                Ok(meta) if end.saturating_add(meta.data_len() as u64) > length => cut_short(end + meta.data_len() as u64),
                _ => {
                    "is a damaged safetensors file: it has more bytes than its header says; download or copy it again".to_owned()
                }
            }
        }
        _ => format!("is a damaged safetensors file ({error}); download or copy it again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::rng::Rng;

    fn written(name: &str, bytes: &[u8]) -> Result<Header, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        header(&path)
    }

    fn good() -> Vec<u8> {
        let data = [0; 24];
        let view = |shape: &[usize]| safetensors::tensor::TensorView::new(Dtype::F32, shape.to_vec(), &data).unwrap();
        safetensors::serialize([("a.weight", view(&[2, 3])), ("b", view(&[6]))], None).unwrap()
    }

    #[test]
    fn a_header_is_read() {
        let header = written("w", &good()).unwrap();
        assert_eq!(header["a.weight"], Held { shape: vec![2, 3], dtype: Dtype::F32 });
        assert_eq!(header.len(), 2);
    }

    #[test]
    fn every_other_format_is_named_by_its_first_bytes() {
        let zip = |name: &str| [b"PK\x03\x04", &[0; 26][..], name.as_bytes(), &[0; 100]].concat();
        let tar = [&[0; 257][..], b"ustar", &[0; 300]].concat();
        let filled = |start: &[u8]| [start, &[7, 0, 200, 3, 0x80][..], &[0; 300]].concat();
        for (bytes, words) in [
            (Vec::new(), "empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n".to_vec(), "git lfs pull"),
            (zip("archive/data.pkl"), "torch.load(\"w.pth\""),
            (zip("archive/data.pkl"), "\"w.safetensors\")"),
            (zip("x/.data/serialization_id"), "PyTorch checkpoint"),
            (zip("arr_0.npy"), ".npz"),
            (zip("metadata.json"), "Keras archive"),
            (filled(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), "a pickle"),
            (filled(b"\x80\x04\x95"), "torch.load"),
            (filled(b"\x1f\x8b\x08"), "gzip"),
            (filled(b"\x28\xb5\x2f\xfd"), "zstd"),
            (filled(b"GGUF\x03\0\0\0"), "GGUF"),
            (filled(b"\x89HDF\r\n\x1a\n"), "HDF5"),
            (filled(b"\x93NUMPY\x01\0"), "NumPy array"),
            (filled(b"\x08\x07\x12\x07pytorch"), "ONNX"),
            (tar, "tar archive"),
            (b"<!DOCTYPE html>\n<html>".to_vec(), "HTML page"),
            (b"\n  <HTML><head>".to_vec(), "HTML page"),
            (b"\xef\xbb\xbf<!doctype html>".to_vec(), "HTML page"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied".to_vec(), "XML"),
            (b"{\"metadata\": {}, \"weight_map\": {\"a\": \"model-1.safetensors\"}}".to_vec(), "index of a model"),
            (b"{\"error\":\"Repository not found\"}".to_vec(), "Repository not found"),
            (b"Entry not found".to_vec(), "begins with `Entry not found`"),
            (vec![0; 5000], "bytes 00 00"),
            (vec![0xff; 5000], "bytes ff ff"),
        ] {
            let told = written("w.pth", &bytes).unwrap_err();
            assert!(told.starts_with("is ") && told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn a_file_cut_short_anywhere_is_told_so() {
        let whole = good();
        let mut rng = Rng::new(3, "cut", &[]);
        let random = (0..60).map(|_| 1 + (rng.uniform() * (whole.len() - 1) as f64) as usize);
        for length in random.chain([1, 7, 8, 9, whole.len() - 1]) {
            let told = written("w", &whole[..length]).unwrap_err();
            let said = if length < 8 { "not a safetensors file" } else { "cut short" };
            assert!(told.contains(said), "{length}: {told}");
        }
        assert!(written("w", &[&whole[..], b"more"].concat()).unwrap_err().contains("more bytes than its header says"));
        let mut damaged = whole;
        damaged[9] = b'}';
        assert!(written("w", &damaged).unwrap_err().contains("damaged"));
    }

    #[test]
    fn what_is_no_file_is_told_with_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("checkpoints")).unwrap();
        assert!(header(&at("checkpoints")).unwrap_err().contains("is a folder"));
        assert_eq!(header(&at("w.safetensors")).unwrap_err(), "does not exist");
        std::fs::write(at("b.safetensors"), good()).unwrap();
        assert!(header(&at("w.safetensors")).unwrap_err().contains("its folder has b.safetensors"));
        assert!(header(folder.path()).unwrap_err().contains("such as the b.safetensors"));
        assert!(header(&at("no/where/w")).unwrap_err().contains("of its path only"));
        std::os::unix::fs::symlink(at("gone"), at("link")).unwrap();
        assert!(header(&at("link")).unwrap_err().contains("symbolic link to a file that does not exist"));
        assert!(header(Path::new("/dev/zero")).unwrap_err().contains("not a regular file"));
    }
}
