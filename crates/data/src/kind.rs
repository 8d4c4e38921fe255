//! What a file is that is no picture for us, by its first bytes, and what to do about it.

/// A file that is not read: what it is, and what to do.
#[must_use]
pub fn foreign(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "empty file (0 bytes)".to_owned();
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return format!("nothing but zeros ({} bytes): it was not written to the end, copy it again", bytes.len());
    }
    if is_raw(bytes) {
        return format!("a camera's raw file: {DEVELOP}");
    }
    if let Some((_, _, what, cure)) = KINDS.iter().find(|(at, magic, ..)| bytes[(*at).min(bytes.len())..].starts_with(magic)) {
        return format!("{what}: {cure}");
    }
    text(bytes).unwrap_or_else(|| {
        let first: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("no picture of a known format (its first bytes are {}); {READ} are read", first.join(" "))
    })
}

const READ: &str = "JPEG, PNG, WebP, GIF, BMP and TIFF";
const CONVERT: &str = "convert it to JPEG or PNG";
const KEEP: &str = "convert it to PNG (16 bits are kept)";
const DEVELOP: &str = "convert it to JPEG, or to PNG or TIFF with 16 bits";
const DRAW: &str = "draw it as a PNG";
const UNPACK: &str = "unpack it";
const AGAIN: &str = "download the picture again";
const FEATURES: &str = "numbers are `kind = \"features\"`";

/// Place, first bytes there, what it is, what to do.
const KINDS: &[(usize, &[u8], &str, &str)] = &[
    (0, b"version https://git-lfs", "a Git LFS pointer, not the picture", "`git lfs pull` fetches it"),
    (0, b"/annex/objects/", "a git-annex pointer, not the picture", "`git annex get` fetches it"),
    (4, b"ftypavi", "an AVIF picture, which is not read", CONVERT),
    (4, b"ftyphei", "a HEIC picture, which is not read", CONVERT),
    (4, b"ftyphev", "a HEIC picture, which is not read", CONVERT),
    (4, b"ftypmif1", "a HEIF picture (HEIC or AVIF), which is not read", CONVERT),
    (4, b"ftypmsf1", "a HEIF picture (HEIC or AVIF), which is not read", CONVERT),
    (4, b"ftypcrx ", "a camera's raw file", DEVELOP),
    (4, b"ftyp", "a video (MP4 or MOV)", "take its frames out as JPEG"),
    (4, b"JXL \r\n", "a JPEG XL picture, which is not read", CONVERT),
    (0, b"\xFF\x0A", "a JPEG XL picture, which is not read", CONVERT),
    (4, b"jP  \r\n", "a JPEG 2000 picture, which is not read", KEEP),
    (0, b"\xFF\x4F\xFF\x51", "a JPEG 2000 picture, which is not read", KEEP),
    (
        128,
        b"DICM",
        "a DICOM file, which is not read",
        "convert it to PNG (16 bits are kept), with the window that its header names",
    ),
    (344, b"n+1\0", "a NIfTI volume, which is not read", "save its slices as PNG (16 bits are kept)"),
    (344, b"ni1\0", "a NIfTI volume, which is not read", "save its slices as PNG (16 bits are kept)"),
    (0, b"SIMPLE  =", "a FITS file, which is not read", KEEP),
    (0, b"II+\0", "a BigTIFF, which is not read", "save it as an ordinary TIFF or as PNG"),
    (0, b"MM\0+", "a BigTIFF, which is not read", "save it as an ordinary TIFF or as PNG"),
    (0, b"\0\0\x01\0", "an icon (ICO), which is not read", CONVERT),
    (0, b"\0\0\x02\0", "a Targa picture (TGA) or a cursor (CUR), which is not read", CONVERT),
    (0, b"\0\0\x0A\0", "a Targa picture (TGA), which is not read", CONVERT),
    (0, b"icns", "an icon (ICNS), which is not read", CONVERT),
    (0, b"8BPS", "a Photoshop file, which is not read", CONVERT),
    (0, b"gimp xcf", "a GIMP file, which is not read", CONVERT),
    (0, b"\x76\x2F\x31\x01", "an OpenEXR picture, which is not read", KEEP),
    (0, b"#?RADIANCE", "a Radiance HDR picture, which is not read", KEEP),
    (0, b"DDS ", "a DDS texture, which is not read", CONVERT),
    (0, b"qoif", "a QOI picture, which is not read", CONVERT),
    (0, b"\0\x05\x16\x07", "what macOS keeps beside a file (AppleDouble), not the picture", "remove its row"),
    (0, b"%PDF", "a PDF document", "save its pages as JPEG or PNG"),
    (0, b"%!PS", "a PostScript document", DRAW),
    (0, b"\x93NUMPY", "an array of NumPy", FEATURES),
    (0, b"PK\x03\x04", "a zip archive (or .npz, .docx)", UNPACK),
    (0, b"PK\x05\x06", "an empty zip archive", UNPACK),
    (0, b"\x1F\x8B", "a gzip archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\xFD7zXZ\0", "an xz archive", UNPACK),
    (0, b"\x28\xB5\x2F\xFD", "a zstd archive", UNPACK),
    (0, b"7z\xBC\xAF\x27\x1C", "a 7z archive", UNPACK),
    (0, b"Rar!", "a rar archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\x89HDF\r\n", "an HDF5 file", "save its pictures as PNG, or its numbers as .npy with `kind = \"features\"`"),
    (0, b"\x80\x02", "a pickle of Python", "save it as PNG"),
    (0, b"\x80\x03", "a pickle of Python", "save it as PNG"),
    (0, b"\x80\x04", "a pickle of Python", "save it as PNG"),
    (0, b"\x80\x05", "a pickle of Python", "save it as PNG"),
    (0, b"\x1A\x45\xDF\xA3", "a video (Matroska or WebM)", "take its frames out as JPEG"),
    (8, b"AVI ", "a video (AVI)", "take its frames out as JPEG"),
    (8, b"WAVE", "a sound (WAV)", "there is no picture in it"),
    (0, b"P1\n", "a portable bitmap (PBM), which is not read", CONVERT),
    (0, b"P4\n", "a portable bitmap (PBM), which is not read", CONVERT),
    (0, b"P2\n", "a portable greymap (PGM), which is not read", KEEP),
    (0, b"P5\n", "a portable greymap (PGM), which is not read", KEEP),
    (0, b"P3\n", "a portable pixmap (PPM), which is not read", KEEP),
    (0, b"P6\n", "a portable pixmap (PPM), which is not read", KEEP),
    (0, b"\x7FELF", "a program", "check the path"),
    (0, b"SQLite format 3", "a SQLite database", "check the path"),
];

/// What a text is: pages and messages of servers are often saved under a picture's name.
fn text(bytes: &[u8]) -> Option<String> {
    let start = &bytes[..bytes.len().min(512)];
    let start = match std::str::from_utf8(start) {
        Ok(start) => start,
        // a character cut in two at the end
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let start = start.trim_start_matches('\u{FEFF}').trim();
    if start.chars().any(|c| c.is_control() && !c.is_whitespace()) || start.is_empty() {
        return None;
    }
    let lower = start.to_ascii_lowercase();
    Some(if lower.starts_with("<svg") || (lower.starts_with("<?xml") || lower.starts_with("<!--")) && lower.contains("<svg") {
        format!("an SVG drawing, which is not read: {DRAW}")
    } else if ["<!doctype html", "<html", "<head", "<body", "<script"].iter().any(|tag| lower.starts_with(tag)) {
        format!("an HTML page, not a picture (a server's answer, as for a wrong address or without a login?): {AGAIN}")
    } else if lower.starts_with("<?xml") || lower.starts_with('<') {
        format!("an XML document, not a picture (a server's answer?): {AGAIN}")
    } else if lower.starts_with('{') || lower.starts_with("[{") {
        format!("JSON, not a picture (a server's answer?): {AGAIN}")
    } else if lower.starts_with("data:image/") {
        "a data URI (base64 text), not the picture: decode it into a file".to_owned()
    } else {
        let first: String = start.lines().next().unwrap_or_default().chars().take(40).collect();
        format!("text, not a picture ({first:?}): check the path, or {AGAIN}")
    })
}

/// Whether this is a camera's raw file in the clothes of a TIFF: a decoder would read the thumbnail that such files begin with.
#[must_use]
pub fn is_raw(bytes: &[u8]) -> bool {
    let little = match bytes {
        [b'I', b'I', b'*', 0, ..] => true,
        [b'M', b'M', 0, b'*', ..] => false,
        _ => {
            return [&b"IIU\0"[..], b"IIRO", b"IIRS", b"MMOR", b"FUJIFILMCCD-RAW", b"FOVb"]
                .iter()
                .any(|magic| bytes.starts_with(magic));
        }
    };
    let number = |at: usize, length: usize| -> Option<usize> {
        let digits = bytes.get(at..at.checked_add(length)?)?;
        let join = |number: usize, &digit: &u8| number << 8 | usize::from(digit);
        Some(if little { digits.iter().rev().fold(0, join) } else { digits.iter().fold(0, join) })
    };
    let canon = bytes.get(8..10) == Some(b"CR");
    let raw = || {
        let directory = number(4, 4)?;
        let tags = number(directory, 2)?;
        // A DNG's version; a picture that is a smaller version of another one.
        let says = |at: usize| Some(number(at, 2)? == 50706 || (number(at, 2)? == 254 && number(at + 8, 4)? & 1 == 1));
        (0..tags).try_fold(false, |found, tag| Some(found || says(directory + 2 + 12 * tag)?))
    };
    canon || raw() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_named_by_their_first_bytes() {
        let dicom = [&[0; 128][..], b"DICM\x02\0"].concat();
        let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
        for (bytes, message) in [
            (&b""[..], "empty file (0 bytes)"),
            (&[0; 300], "nothing but zeros (300 bytes)"),
            (&dicom, "a DICOM file, which is not read: convert it to PNG"),
            (&tar, "a tar archive"),
            (b"\0\0\0\x1cftypheic\0\0\0\0", "a HEIC picture, which is not read"),
            (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF picture"),
            (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
            (b"\xFF\x0A\x01", "a JPEG XL picture"),
            (b"\0\0\x01\0\x01\0", "an icon (ICO)"),
            (b"%PDF-1.7", "a PDF document"),
            (b"\x93NUMPY\x01\0", "kind = \"features\""),
            (b"\x1F\x8B\x08\0", "a gzip archive: unpack it"),
            (b"PK\x03\x04\x14\0", "a zip archive"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:1",
                "a Git LFS pointer, not the picture: `git lfs pull` fetches it",
            ),
            (b"\n<!DOCTYPE HTML>\n<html>", "an HTML page, not a picture"),
            ("\u{FEFF}<html lang='é'>".as_bytes(), "an HTML page, not a picture"),
            (b"<?xml version='1.0'?>\n<svg xmlns=''/>", "an SVG drawing"),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
            (b"{\"error\": \"not found\"}", "JSON, not a picture"),
            (b"data:image/png;base64,iVBO", "a data URI"),
            (b"404: Not Found", "text, not a picture (\"404: Not Found\")"),
            (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "AppleDouble"),
            (
                b"\xDE\xAD\xBE\xEF\0\x01\x02\x03\x04",
                "its first bytes are de ad be ef 00 01 02 03); JPEG, PNG, WebP, GIF, BMP and TIFF are read",
            ),
            (b"II*\0\x10\0\0\0CR\x02\0", "a camera's raw file"),
            (b"FUJIFILMCCD-RAW 0201", "a camera's raw file"),
        ] {
            assert!(foreign(bytes).contains(message), "{}", foreign(bytes));
        }
    }

    /// A TIFF whose first picture is a thumbnail is a raw file in either byte order; one of full size is not, nor is a broken one.
    #[test]
    fn raw_files_are_told_from_tiffs() {
        let tiff = |little: bool, tag: u16, value: u32| {
            let (two, four) = (
                |n: u16| if little { n.to_le_bytes() } else { n.to_be_bytes() },
                |n: u32| if little { n.to_le_bytes() } else { n.to_be_bytes() },
            );
            let magic: &[u8] = if little { b"II*\0" } else { b"MM\0*" };
            [
                magic,
                &four(8),
                &two(2),
                &two(254),
                &two(4),
                &four(1),
                &four(0),
                &two(tag),
                &two(4),
                &four(1),
                &four(value),
                &four(0),
            ]
            .concat()
        };
        for little in [true, false] {
            assert!(is_raw(&tiff(little, 254, 1)) && is_raw(&tiff(little, 50706, 1)));
            assert!(!is_raw(&tiff(little, 254, 0)) && !is_raw(&tiff(little, 256, 1)));
            let whole = tiff(little, 256, 1);
            assert!((0..whole.len()).all(|cut| !is_raw(&whole[..cut])));
        }
        assert!(!is_raw(b"\x89PNG"));
    }
}
