//! One image file's bytes → the pixels a network sees. JPEG and PNG, grey, RGB, palette, alpha, 8 and 16 bits.
//!
//! Alpha is composited over black; EXIF orientation is applied; colour becomes grey by ITU-R 601 luma and grey becomes RGB by repetition
//! (both as Pillow does); resizing is antialiased bilinear, as Pillow's and torchvision's.

use std::io::Cursor;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use plan::ImageConfig;

/// Part of the prepared folder's key; increase it when pixels change.
pub const VERSION: u32 = 1;

/// `[channels, size, size]`, u8.
///
/// # Errors
/// The reason why this file cannot be used, as a phrase.
pub fn decode(bytes: &[u8], config: &ImageConfig) -> Result<Vec<u8>, String> {
    // A panic of the decoder on a malformed file is an error of that file.
    std::panic::catch_unwind(|| {
        let image = read(bytes, config.max_pixels)?;
        let (pixels, channels, width, height) = flatten(image, config.channels);
        let resized = resize(pixels, channels, width, height, config)?;
        Ok(planes(&resized, channels, config.channels as usize))
    })
    .unwrap_or_else(|_| Err("the decoder gave up on this malformed file".to_owned()))
}

fn read(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage, String> {
    if bytes.is_empty() {
        return Err("empty file (0 bytes)".to_owned());
    }
    let format = match bytes {
        [0xFF, 0xD8, ..] => ImageFormat::Jpeg,
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        _ => return Err("neither JPEG nor PNG".to_owned()),
    };
    let broken = |error: image::ImageError| format!("corrupt or unsupported {format:?}: {error}");
    if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
        return Err("truncated JPEG (it has no end marker)".to_owned());
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_pixels.saturating_mul(8).saturating_add(64 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(format!("an image of {width}x{height} pixels"));
    }
    if pixels > max_pixels {
        return Err(format!("{width}x{height} = {pixels} pixels, more than `max_pixels` = {max_pixels}"));
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether the JPEG's own scan data is followed by an end marker: lenient decoders fill the rest of a truncated file with grey.
/// Walks the segments, so that the end marker of an embedded thumbnail does not count.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) {
        at += found + 1;
        match bytes.get(at) {
            Some(0xD9) => return true,
            // Stuffed zero, fill byte, restart markers, TEM, a second SOI: no segment follows.
            Some(0x00 | 0xFF | 0x01 | 0xD0..=0xD8) => at += usize::from(bytes[at] != 0xFF),
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(length) => at += 1 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return false,
            },
            None => return false,
        }
    }
    false
}

/// 8-bit pixels without alpha, interleaved: 1 channel for grey images and where grey is wanted, else 3; width and height.
fn flatten(image: DynamicImage, wanted: u32) -> (Vec<u8>, usize, u32, u32) {
    let (width, height) = (image.width(), image.height());
    let over_black = |value: u8, alpha: u8| ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8;
    let color = image.color();
    if !color.has_color() {
        let grey = if color.has_alpha() {
            image.into_luma_alpha8().pixels().map(|pixel| over_black(pixel.0[0], pixel.0[1])).collect()
        } else {
            image.into_luma8().into_raw()
        };
        return (grey, 1, width, height);
    }
    let rgb = if color.has_alpha() {
        image.into_rgba8().pixels().flat_map(|pixel| [0, 1, 2].map(|i| over_black(pixel.0[i], pixel.0[3]))).collect()
    } else {
        image.into_rgb8().into_raw()
    };
    if wanted == 3 {
        return (rgb, 3, width, height);
    }
    let luma =
        |p: &[u8; 3]| ((u32::from(p[0]) * 19_595 + u32::from(p[1]) * 38_470 + u32::from(p[2]) * 7_471 + 0x8000) >> 16) as u8;
    (rgb.as_chunks().0.iter().map(luma).collect(), 1, width, height)
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
        }
    }

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(std::path::Path::new("../../tests/oracle/images").join(name)).unwrap()
    }

    /// Every kind of file, stretched and cropped, grey and RGB: within 1/255 of Pillow for PNG, 3/255 for JPEG (another inverse DCT).
    #[test]
    fn pixels_are_those_of_pillow() {
        #[derive(serde::Deserialize)]
        struct Case {
            file: String,
            size: u32,
            channels: u32,
            crop: bool,
            tolerance: i32,
            pixels: Vec<u8>,
        }
        let cases: Vec<Case> = serde_json::from_slice(&fixture("expected.json")).unwrap();
        assert_eq!(cases.len(), 39);
        for case in cases {
            let config = config(case.size, case.channels, if case.crop { "crop" } else { "stretch" });
            let pixels = decode(&fixture(&case.file), &config).unwrap();
            assert_eq!(pixels.len(), case.pixels.len());
            let worst = pixels.iter().zip(&case.pixels).map(|(a, b)| (i32::from(*a) - i32::from(*b)).abs()).max().unwrap();
            assert!(worst <= case.tolerance, "{} {}x{} crop {}: off by {worst}", case.file, case.channels, case.size, case.crop);
        }
    }

    #[test]
    fn unusable_files_say_why() {
        let config = config(16, 3, "stretch");
        let fails = |bytes: &[u8], message: &str| {
            let error = decode(bytes, &config).unwrap_err();
            assert!(error.contains(message), "{error}");
        };
        fails(b"", "empty file");
        fails(b"GIF89a....", "neither JPEG nor PNG");
        for name in ["rgb.jpg", "rgb-420.jpg", "progressive.jpg", "turned.jpg"] {
            let whole = fixture(name);
            assert!(decode(&whole, &config).is_ok());
            for part in [3, whole.len() / 10, whole.len() / 2, whole.len() - 2] {
                assert!(decode(&whole[..part], &config).is_err(), "{name} cut at {part}");
            }
            fails(&whole[..whole.len() - 2], "truncated JPEG");
        }
        for name in ["rgb.png", "grey16.png", "palette.png"] {
            let whole = fixture(name);
            for part in [8, 20, whole.len() / 2, whole.len() - 20] {
                assert!(decode(&whole[..part], &config).is_err(), "{name} cut at {part}");
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
        let error = decode(&bomb, &config(16, 3, "stretch")).unwrap_err();
        assert_eq!(error, "60000x60000 = 3600000000 pixels, more than `max_pixels` = 1000000");
        let mut jpeg = fixture("rgb.jpg");
        let sof = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        jpeg[sof + 5..sof + 9].fill(0xFF);
        assert!(decode(&jpeg, &config(16, 3, "stretch")).unwrap_err().contains("65535x65535"));
    }

    /// Damage of any kind gives an error or an image, never a panic.
    #[test]
    fn damaged_files_never_panic() {
        let mut rng = imbalance::rng::Rng::new(0, "test damage", &[]);
        for name in ["rgb-420.jpg", "progressive.jpg", "rgba.png", "palette.png"] {
            let whole = fixture(name);
            for _ in 0..150 {
                let mut bytes = whole.clone();
                for _ in 0..1 + rng.below(8) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = rng.next_u32() as u8;
                }
                if let Ok(pixels) = decode(&bytes, &config(8, 3, "crop")) {
                    assert_eq!(pixels.len(), 3 * 64);
                }
            }
        }
    }
}
