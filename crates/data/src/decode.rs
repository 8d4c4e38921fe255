//! One image file's bytes → the pixels a network sees. JPEG, PNG, WebP, GIF, BMP and TIFF (the first picture of a file); grey, RGB,
//! palette, alpha, 8 and 16 bits.
//!
//! EXIF orientation is applied; colour becomes grey by ITU-R 601 luma and grey becomes RGB by repetition (both as Pillow does); resizing is
//! antialiased bilinear, as Pillow's and torchvision's. What is not opaque is taken as [`ImageConfig::transparency`] says.

use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::jpeg::{self, Scans};
use super::kind;
use plan::ImageConfig;

/// Part of the prepared folder's key; increase it when pixels change.
pub const VERSION: u32 = 2;

/// The largest value of 16 bits: white, unless the data set uses less ([`white`]).
pub const FULL: u16 = u16::MAX;

/// The formats that are read, and the extensions of their files.
const FORMATS: [(ImageFormat, &[&str]); 6] = [
    (ImageFormat::Jpeg, &["jpg", "jpeg", "jpe", "jfif"]),
    (ImageFormat::Png, &["png"]),
    (ImageFormat::WebP, &["webp"]),
    (ImageFormat::Gif, &["gif"]),
    (ImageFormat::Bmp, &["bmp", "dib"]),
    (ImageFormat::Tiff, &["tif", "tiff"]),
];

/// Whether a file of this name is taken for a picture: by its extension, and not where a system hides its own files
/// (`._photo.jpg`, `__MACOSX`).
#[must_use]
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    !is_hidden(path) && extension.is_some_and(|extension| reads(&extension))
}

/// Whether files with this extension, in lower case, are read.
#[must_use]
pub fn reads(extension: &str) -> bool {
    FORMATS.iter().any(|(_, names)| names.contains(&extension))
}

/// Whether this file or folder is a system's own.
#[must_use]
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX")
}

/// What was in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `[channels, size, size]`, u8.
    pub pixels: Vec<u8>,
    /// Some pixels are not opaque.
    pub transparent: bool,
    /// The largest value of a picture of 16 bits, alpha aside.
    pub largest: Option<u16>,
}

/// Reads a file. `white`: what becomes 255 in pictures of 16 bits, [`FULL`] or what [`white`] says.
///
/// # Errors
/// The reason why this file cannot be used, as a phrase.
pub fn decode(bytes: &[u8], config: &ImageConfig, white: u16) -> Result<Picture, String> {
    guarded(|| {
        let mut image = read(bytes, config.max_pixels)?;
        let largest = largest(&mut image);
        stretch(&mut image, white);
        let (width, height) = (image.width(), image.height());
        let (pixels, channels, transparent) = flatten(image, config);
        let resized = resize(pixels, channels, width, height, config)?;
        Ok(Picture { pixels: planes(&resized, channels, config.channels as usize), transparent, largest })
    })
}

/// The largest value of a picture of 16 bits; `None` for other files and such as cannot be used. Other pictures are not decoded.
#[must_use]
pub fn largest_of(bytes: &[u8], config: &ImageConfig) -> Option<u16> {
    guarded(|| {
        let deep = match format(bytes) {
            // the depth in the header chunk, which is the first
            Some(ImageFormat::Png) => bytes.get(24) == Some(&16),
            Some(ImageFormat::Tiff) => decoder(bytes, ImageFormat::Tiff, config.max_pixels).is_ok_and(|decoder| {
                matches!(decoder.color_type(), ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16)
            }),
            _ => false,
        };
        Ok(if deep { largest(&mut read(bytes, config.max_pixels)?) } else { None })
    })
    .ok()
    .flatten()
}

/// What is white in a data set whose largest value of 16 bits is `largest`: the next number of the form 2^k - 1, such as 4095 for
/// scanners of 12 bits.
#[must_use]
pub fn white(largest: u16) -> u16 {
    FULL >> largest.max(1).leading_zeros()
}

/// A panic of a decoder on a malformed file is an error of that file.
fn guarded<T>(work: impl FnOnce() -> Result<T, String> + std::panic::UnwindSafe) -> Result<T, String> {
    std::panic::catch_unwind(work).unwrap_or_else(|_| Err("the decoder gave up on this malformed file".to_owned()))
}

/// By the first bytes: names of files lie.
fn format(bytes: &[u8]) -> Option<ImageFormat> {
    Some(match bytes {
        [0xFF, 0xD8, ..] => ImageFormat::Jpeg,
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        [b'G', b'I', b'F', b'8', ..] => ImageFormat::Gif,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => ImageFormat::WebP,
        // a size of the header as some version of the format has it
        [b'B', b'M', _, _, _, _, _, _, _, _, _, _, _, _, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0, ..] => {
            ImageFormat::Bmp
        }
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] if !kind::is_raw(bytes) => ImageFormat::Tiff,
        _ => return None,
    })
}

fn decoder(bytes: &[u8], format: ImageFormat, max_pixels: u64) -> Result<impl ImageDecoder + '_, ImageError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_pixels.saturating_mul(8).saturating_add(64 << 20));
    reader.limits(limits);
    reader.into_decoder()
}

fn read(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage, String> {
    let format = format(bytes).ok_or_else(|| kind::foreign(bytes))?;
    let broken = |error: ImageError| {
        let cure = if matches!(error, ImageError::Unsupported(_)) { "; save it as PNG" } else { "" };
        format!("corrupt or unsupported {format:?}: {error}{cure}")
    };
    let mut decoder = decoder(bytes, format, max_pixels).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(format!("an image of {width}x{height} pixels"));
    }
    if pixels > max_pixels {
        return Err(format!("{width}x{height} = {pixels} pixels, more than `max_pixels` = {max_pixels}"));
    }
    if format == ImageFormat::Jpeg && jpeg::scans(bytes)? == Scans::WholeWithoutEnd {
        // The decoder would take the last rows for missing.
        return read(&[bytes.strip_suffix(&[0xFF]).unwrap_or(bytes), &[0xFF, 0xD9]].concat(), max_pixels);
    }
    if format == ImageFormat::WebP && !has_whole_exif(bytes) {
        return Err("truncated WebP (its EXIF block is longer than the file)".to_owned());
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    match image.color() {
        ColorType::Rgb32F | ColorType::Rgba32F => Err(format!("{format:?} of floating-point numbers: save it with 8 or 16 bits")),
        _ => Ok(image),
    }
}

/// Whether the first EXIF block of a WebP ends before the file does: the decoder allocates what the block's header says.
fn has_whole_exif(bytes: &[u8]) -> bool {
    let mut at = 12;
    while let Some([name @ .., a, b, c, d]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let size = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let end = at.saturating_add(8).saturating_add(size);
        if name == b"EXIF" {
            return end <= bytes.len();
        }
        at = end.saturating_add(size & 1);
    }
    true
}

/// The colours of a picture of 16 bits, alpha left out.
fn deep(image: &mut DynamicImage) -> Option<impl Iterator<Item = &mut u16>> {
    let (values, step, colours): (&mut [u16], usize, usize) = match image {
        DynamicImage::ImageLuma16(image) => (image, 1, 1),
        DynamicImage::ImageLumaA16(image) => (image, 2, 1),
        DynamicImage::ImageRgb16(image) => (image, 3, 3),
        DynamicImage::ImageRgba16(image) => (image, 4, 3),
        _ => return None,
    };
    Some(values.chunks_exact_mut(step).flat_map(move |pixel| &mut pixel[..colours]))
}

fn largest(image: &mut DynamicImage) -> Option<u16> {
    deep(image)?.map(|value| *value).max()
}

/// Makes `white` the largest value of 16 bits.
fn stretch(image: &mut DynamicImage, white: u16) {
    let full = |value: u16| (u32::from(value) * u32::from(FULL) + u32::from(white) / 2) / u32::from(white);
    for value in deep(image).into_iter().flatten().filter(|_| white != FULL) {
        *value = full(*value).min(u32::from(FULL)) as u16;
    }
}

/// 8 bits, interleaved, without alpha: 1 channel for grey pictures and where grey is wanted, else 3. And whether some pixels were
/// not opaque.
fn flatten(image: DynamicImage, config: &ImageConfig) -> (Vec<u8>, usize, bool) {
    let color = image.color();
    let ground = match &config.transparency[..] {
        "black" => Some(0),
        "white" => Some(255),
        _ => None,
    };
    let (pixels, transparent) = match (color.has_color(), color.has_alpha()) {
        (false, false) => (image.into_luma8().into_raw(), false),
        (true, false) => (image.into_rgb8().into_raw(), false),
        (false, true) => without_alpha::<2>(&image.into_luma_alpha8(), ground),
        (true, true) => without_alpha::<4>(&image.into_rgba8(), ground),
    };
    if !color.has_color() {
        return (pixels, 1, transparent);
    }
    if config.channels == 3 {
        return (pixels, 3, transparent);
    }
    let luma =
        |p: &[u8; 3]| ((u32::from(p[0]) * 19_595 + u32::from(p[1]) * 38_470 + u32::from(p[2]) * 7_471 + 0x8000) >> 16) as u8;
    (pixels.as_chunks().0.iter().map(luma).collect(), 1, transparent)
}

/// Pixels of `N` values, of which the last is alpha, laid over `ground` or as they are. And whether some were not opaque.
fn without_alpha<const N: usize>(values: &[u8], ground: Option<u32>) -> (Vec<u8>, bool) {
    let over = |value: u8, alpha: u32| match ground {
        Some(ground) => ((u32::from(value) * alpha + ground * (255 - alpha) + 127) / 255) as u8,
        None => value,
    };
    let (values, _) = values.as_chunks::<N>();
    let pixels = values.iter().flat_map(|pixel| pixel[..N - 1].iter().map(|value| over(*value, pixel[N - 1].into())));
    (pixels.collect(), values.iter().any(|pixel| pixel[N - 1] != u8::MAX))
}

/// To `size` x `size`: stretched, or the short side scaled and the centre cut out.
fn resize(pixels: Vec<u8>, channels: usize, width: u32, height: u32, config: &ImageConfig) -> Result<Vec<u8>, String> {
    let size = config.size;
    let (to_width, to_height) = if config.resize == "crop" {
        let scale = |side: u32| (u64::from(size) * u64::from(side) / u64::from(width.min(height))).max(u64::from(size)) as u32;
        (scale(width), scale(height))
    } else {
        (size, size)
    };
    let scaled = if (to_width, to_height) == (width, height) {
        pixels
    } else {
        let mut scaled = vec![0; to_width as usize * to_height as usize * channels];
        match channels {
            1 => scale::<U8>((width, height), &pixels, (to_width, to_height), &mut scaled)?,
            _ => scale::<U8x3>((width, height), &pixels, (to_width, to_height), &mut scaled)?,
        }
        scaled
    };
    if (to_width, to_height) == (size, size) {
        return Ok(scaled);
    }
    // torchvision's CenterCrop rounds halves to even.
    let margin = |side: u32| (f64::from(side - size) / 2.0).round_ties_even() as usize;
    let (left, top) = (margin(to_width), margin(to_height));
    let (line, keep) = (to_width as usize * channels, size as usize * channels);
    Ok(scaled
        .chunks_exact(line)
        .skip(top)
        .take(size as usize)
        .flat_map(|row| &row[left * channels..left * channels + keep])
        .copied()
        .collect())
}

/// Antialiased bilinear, as Pillow's. Typed by pixel: the untyped call would compile the resizer for all of its dozen pixel formats.
fn scale<P: PixelTrait>(from: (u32, u32), pixels: &[u8], to: (u32, u32), scaled: &mut [u8]) -> Result<(), String> {
    let source = TypedImageRef::<P>::from_buffer(from.0, from.1, pixels).map_err(|error| error.to_string())?;
    let mut target = TypedImage::<P>::from_buffer(to.0, to.1, scaled).map_err(|error| error.to_string())?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|error| error.to_string())
}

/// Interleaved → planes, grey repeated where more are wanted.
fn planes(pixels: &[u8], channels: usize, wanted: usize) -> Vec<u8> {
    if channels == 1 {
        return pixels.repeat(wanted);
    }
    let (pixels, _) = pixels.as_chunks::<3>();
    let mut planes = vec![0; 3 * pixels.len()];
    let (red, rest) = planes.split_at_mut(pixels.len());
    let (green, blue) = rest.split_at_mut(pixels.len());
    // With the machine's widest vectors: three bytes apart is more than the compiler's default ones can shuffle.
    imbalance::vectorized(
        #[inline(always)]
        || {
            for (((pixel, red), green), blue) in pixels.iter().zip(red).zip(green).zip(blue) {
                [*red, *green, *blue] = *pixel;
            }
        },
    );
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(size: u32, channels: u32, resize: &str) -> ImageConfig {
        ImageConfig {
            size,
            channels,
            resize: resize.to_owned(),
            normalize: "none".to_owned(),
            flip: false,
            crop_padding: 0,
            on_bad_image: "error".to_owned(),
            max_pixels: 1_000_000,
            transparency: "drop".to_owned(),
            pixel_range: "full".to_owned(),
        }
    }

    fn pixels(bytes: &[u8], config: &ImageConfig) -> Result<Vec<u8>, String> {
        decode(bytes, config, FULL).map(|picture| picture.pixels)
    }

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(Path::new("../../tests/oracle/images").join(name)).unwrap()
    }

    /// Every kind of file, stretched and cropped, grey and RGB: within 1/255 of Pillow, 3/255 where the coding is lossy (another inverse
    /// DCT).
    #[test]
    fn pixels_are_those_of_pillow() {
        #[derive(serde::Deserialize)]
        struct Case {
            file: String,
            size: u32,
            channels: u32,
            crop: bool,
            transparency: String,
            white: u16,
            tolerance: i32,
            pixels: Vec<u8>,
        }
        let cases: Vec<Case> = serde_json::from_slice(&fixture("expected.json")).unwrap();
        assert_eq!(cases.len(), 177);
        for case in cases {
            let config = ImageConfig {
                transparency: case.transparency.clone(),
                ..config(case.size, case.channels, if case.crop { "crop" } else { "stretch" })
            };
            let pixels =
                decode(&fixture(&case.file), &config, case.white).unwrap_or_else(|why| panic!("{}: {why}", case.file)).pixels;
            assert_eq!(pixels.len(), case.pixels.len());
            let worst = pixels.iter().zip(&case.pixels).map(|(a, b)| (i32::from(*a) - i32::from(*b)).abs()).max().unwrap();
            assert!(
                worst <= case.tolerance,
                "{} {}x{} crop {} {}: off by {worst}",
                case.file,
                case.channels,
                case.size,
                case.crop,
                case.transparency
            );
        }
    }

    /// Noise with any alpha, as PNGs of 8 and 16 bits: the pixels are the colours, or what laying them over a ground makes of them.
    #[test]
    fn alpha_is_dropped_or_laid_over_a_ground() {
        let mut rng = imbalance::rng::Rng::new(0, "test alpha", &[]);
        for round in 0..40 {
            let image = image::RgbaImage::from_fn(8, 8, |_, _| {
                image::Rgba([0; 4].map(|_: u8| if rng.below(4) == 0 { 255 } else { rng.next_u32() as u8 }))
            });
            let mut file = Cursor::new(Vec::new());
            let deep = DynamicImage::from(image.clone()).into_rgba16();
            let written = if round % 2 == 0 {
                image.write_to(&mut file, ImageFormat::Png)
            } else {
                deep.write_to(&mut file, ImageFormat::Png)
            };
            written.unwrap();
            for (transparency, ground) in [("drop", None), ("black", Some(0.0)), ("white", Some(255.0))] {
                let config = ImageConfig { transparency: transparency.to_owned(), ..config(8, 3, "stretch") };
                let picture = decode(file.get_ref(), &config, FULL).unwrap();
                assert!(picture.transparent);
                assert_eq!(picture.largest.is_some(), round % 2 == 1);
                for (at, pixel) in image.pixels().enumerate() {
                    for channel in 0..3 {
                        let (value, alpha) = (f64::from(pixel.0[channel]), f64::from(pixel.0[3]) / 255.0);
                        let want = ground.map_or(value, |ground| value * alpha + ground * (1.0 - alpha));
                        assert!((f64::from(picture.pixels[channel * 64 + at]) - want).abs() <= 0.5, "{transparency}");
                    }
                }
            }
        }
        assert!(!decode(&fixture("rgb.png"), &config(8, 3, "stretch"), FULL).unwrap().transparent);
    }

    /// The range of 16 bits is stretched to what is used of it, alike for all pictures.
    #[test]
    fn values_of_16_bits_are_scaled_and_never_cut() {
        for (largest, ground) in
            [(0, 1), (1, 1), (255, 255), (256, 511), (4095, 4095), (4096, 8191), (40_000, FULL), (FULL, FULL)]
        {
            assert_eq!(white(largest), ground);
            let image = image::ImageBuffer::<image::Luma<u16>, _>::from_fn(8, 8, |x, _| {
                image::Luma([(u32::from(largest) * x / 7) as u16])
            });
            let mut file = Cursor::new(Vec::new());
            image.write_to(&mut file, ImageFormat::Png).unwrap();
            let config = config(8, 1, "stretch");
            assert_eq!(largest_of(file.get_ref(), &config), Some(largest));
            for white in [ground, FULL] {
                let picture = decode(file.get_ref(), &config, white).unwrap();
                assert_eq!(picture.largest, Some(largest));
                for (pixel, value) in picture.pixels.iter().zip(image.pixels()) {
                    let want = f64::from(value.0[0]) * 255.0 / f64::from(white);
                    assert!((f64::from(*pixel) - want).abs() <= 0.51, "{pixel} for {want}");
                }
            }
        }
        for name in ["rgb.png", "rgb.jpg", "rgb.tiff", "palette.gif"] {
            assert_eq!(largest_of(&fixture(name), &config(8, 3, "stretch")), None);
        }
        assert!(largest_of(&fixture("grey16.tiff"), &config(8, 3, "stretch")).is_some());
        assert_eq!(largest_of(b"\x89PNG\r\n\x1a\n0000000000000000\x10 broken", &config(8, 3, "stretch")), None);
    }

    #[test]
    fn unusable_files_say_why() {
        let config = config(16, 3, "stretch");
        let fails = |bytes: &[u8], message: &str| {
            let error = pixels(bytes, &config).unwrap_err();
            assert!(error.contains(message), "{error}");
        };
        fails(b"", "empty file");
        fails(b"GIF89a....", "corrupt or unsupported Gif");
        fails(b"<!DOCTYPE html><html>", "an HTML page");
        for name in ["rgb.jpg", "rgb-420.jpg", "progressive.jpg", "turned.jpg"] {
            let whole = fixture(name);
            assert!(pixels(&whole, &config).is_ok());
            for part in [3, whole.len() / 10, whole.len() / 2, whole.len() - 3] {
                assert!(pixels(&whole[..part], &config).is_err(), "{name} cut at {part}");
            }
            // All that is missing is the end marker: other programs read it, and so do we.
            assert_eq!(pixels(&whole[..whole.len() - 2], &config), pixels(&whole, &config));
            assert_eq!(pixels(&whole[..whole.len() - 1], &config), pixels(&whole, &config));
        }
        for name in ["lossy.webp", "lossless.webp", "palette.gif", "rgb.bmp", "rgb.tiff", "lzw.tiff", "jpeg.tiff"] {
            let whole = fixture(name);
            for part in [20, whole.len() / 2, whole.len() - 20] {
                assert!(decode(&whole[..part], &config, FULL).is_err(), "{name} cut at {part} of {}", whole.len());
            }
        }
        for name in ["rgb.png", "grey16.png", "palette.png"] {
            let whole = fixture(name);
            for part in [8, 20, whole.len() / 2, whole.len() - 20] {
                assert!(pixels(&whole[..part], &config).is_err(), "{name} cut at {part}");
            }
            let mut flipped = whole.clone();
            flipped[whole.len() / 2] ^= 0x55;
            fails(&flipped, "corrupt or unsupported Png");
        }
        let mut headless = fixture("rgb.jpg");
        headless[2..200].fill(0);
        fails(&headless, "corrupt or unsupported Jpeg");
    }

    /// A PNG header that promises 60000 x 60000 pixels is refused before anything is allocated.
    #[test]
    fn bombs_are_refused_by_their_header() {
        let mut bomb = fixture("rgb.png");
        bomb[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let checksum = crc32fast::hash(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = pixels(&bomb, &config(16, 3, "stretch")).unwrap_err();
        assert_eq!(error, "60000x60000 = 3600000000 pixels, more than `max_pixels` = 1000000");
        let mut jpeg = fixture("rgb.jpg");
        let sof = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        jpeg[sof + 5..sof + 9].fill(0xFF);
        assert!(pixels(&jpeg, &config(16, 3, "stretch")).unwrap_err().contains("65535x65535"));
    }

    /// The decoder would allocate 4 GiB for the block before it looks for it: found by fuzzing.
    #[test]
    fn a_webp_has_the_whole_of_its_exif_block() {
        let path = Path::new("../../fuzz/found/picture/exif-of-4-gib.webp");
        let mut bytes = std::fs::read(path).unwrap();
        let error = pixels(&bytes, &config(16, 3, "stretch")).unwrap_err();
        assert_eq!(error, "truncated WebP (its EXIF block is longer than the file)");
        let block = bytes.windows(4).position(|name| name == b"EXIF").unwrap();
        let length = u32::try_from(bytes.len() - block - 8).unwrap();
        bytes[block + 4..block + 8].copy_from_slice(&length.to_le_bytes());
        assert!(pixels(&bytes, &config(16, 3, "stretch")).is_ok());
    }

    /// Damage of any kind gives an error or an image, never a panic.
    #[test]
    fn damaged_files_never_panic() {
        let mut rng = imbalance::rng::Rng::new(0, "test damage", &[]);
        for name in [
            "rgb-420.jpg",
            "progressive.jpg",
            "restart.jpg",
            "rgba.png",
            "palette.png",
            "lossy.webp",
            "lossless.webp",
            "frames.gif",
            "palette.bmp",
            "lzw.tiff",
            "jpeg.tiff",
            "bits.tiff",
        ] {
            let whole = fixture(name);
            for _ in 0..100 {
                let mut bytes = whole.clone();
                for _ in 0..1 + rng.below(8) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = rng.next_u32() as u8;
                }
                if let Ok(pixels) = pixels(&bytes, &config(8, 3, "crop")) {
                    assert_eq!(pixels.len(), 3 * 64);
                }
            }
        }
    }
}
