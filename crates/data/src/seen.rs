//! What a folder of pictures or a file of features holds, without preparing it: for `sweep init`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::{ColorType, ImageDecoder, ImageReader};
use rayon::prelude::*;

use super::matrix::load;
use super::{DataError, decode, duplicates, hashes, spelled};
use plan::ImageConfig;

/// Pictures of which the header is read.
const HEADERS: usize = 500;
/// Pictures that are decoded, to know how long it takes.
const DECODED: usize = 48;
/// Bytes of all pictures up to which equal ones are looked for.
const HASHED: u64 = 2 << 30;

/// What the pictures of a table look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pictures {
    /// Rows without a file, and how the files that they mean are spelled.
    pub missing: usize,
    pub hint: Option<String>,
    /// Width and height of pictures of the sample, the median by area in the middle.
    pub sizes: Vec<(u32, u32)>,
    /// Whether all pictures of the sample are grey.
    pub grey: bool,
    /// Pictures of the sample with 16 bits a channel.
    pub deep: usize,
    /// Pictures of the sample by format.
    pub formats: BTreeMap<String, usize>,
    /// Pictures of the sample that cannot be read, with the first of them and why.
    pub broken: usize,
    pub first_broken: Option<(String, String)>,
    /// Files that several rows name.
    pub twice: usize,
    /// Equal files under several names; `None` where they are too large to be looked at.
    pub equal: Option<usize>,
    /// CPU time to read one picture.
    pub decoding: Duration,
}

/// Looks at the pictures of the rows `ids` below `root`.
#[must_use]
pub fn pictures(root: &Path, ids: &[String], config: &ImageConfig) -> Pictures {
    let files = spelled::files(root, ids);
    let found: Vec<bool> = files.par_iter().map(|file| fs::metadata(file).is_ok_and(|meta| meta.is_file())).collect();
    let gone: Vec<&str> = ids.iter().zip(&found).filter(|(_, found)| !**found).map(|(id, _)| id.as_str()).collect();
    let there: Vec<PathBuf> = files.iter().zip(&found).filter(|(_, found)| **found).map(|(file, _)| file.clone()).collect();
    let mut seen = Pictures {
        missing: gone.len(),
        hint: (!gone.is_empty()).then(|| spelled::hint(root, &gone)).flatten(),
        twice: repeated(files.iter().map(Some)),
        ..Pictures::default()
    };
    let sample: Vec<&PathBuf> = there.iter().step_by((there.len() / HEADERS).max(1)).take(HEADERS).collect();
    let headers: Vec<Option<Header>> = sample.par_iter().map(|file| header(file)).collect();
    let mut headers: Vec<Header> = headers.into_iter().flatten().collect();
    headers.sort_by_key(|header| u64::from(header.size.0) * u64::from(header.size.1));
    seen.sizes = headers.iter().map(|header| header.size).collect();
    seen.grey = !headers.is_empty() && headers.iter().all(|header| header.grey);
    seen.deep = headers.iter().filter(|header| header.deep).count();
    for header in headers {
        *seen.formats.entry(header.format).or_default() += 1;
    }
    let start = Instant::now();
    let decoded = sample.iter().step_by((sample.len() / DECODED).max(1)).take(DECODED);
    let mut count = 0;
    for file in decoded {
        let mut bytes = Vec::new();
        let read = fs::File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|error| error.to_string());
        if let Err(why) = read.and_then(|_| decode::decode(&bytes, config, decode::FULL)) {
            seen.broken += 1;
            seen.first_broken.get_or_insert_with(|| (file.display().to_string(), why));
        }
        count += 1;
    }
    seen.decoding = start.elapsed() / count.max(1);
    let bytes: u64 = there.iter().filter_map(|file| fs::metadata(file).ok()).map(|meta| meta.len()).sum();
    seen.equal = (bytes <= HASHED).then(|| {
        let mut distinct: Vec<PathBuf> = there;
        distinct.sort_unstable();
        distinct.dedup();
        repeated(distinct.par_iter().map(|file| hashes::of(file).ok()).collect::<Vec<_>>().into_iter())
    });
    seen
}

/// Keys that come more than once.
fn repeated<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = Option<K>>) -> usize {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    duplicates::classes(keys).into_iter().for_each(|class| *counts.entry(class).or_default() += 1);
    counts.values().filter(|count| **count > 1).count()
}

struct Header {
    size: (u32, u32),
    grey: bool,
    deep: bool,
    format: String,
}

fn header(file: &Path) -> Option<Header> {
    let reader = ImageReader::new(BufReader::new(fs::File::open(file).ok()?)).with_guessed_format().ok()?;
    let format = format!("{:?}", reader.format()?).to_uppercase();
    let decoder = reader.into_decoder().ok()?;
    let color = decoder.color_type();
    let grey = matches!(color, ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16);
    Some(Header { size: decoder.dimensions(), grey, deep: color.bytes_per_pixel() / color.channel_count() > 1, format })
}

/// Rows and columns of a file of features.
///
/// # Errors
/// A file of another kind or shape.
pub fn features(file: &Path) -> Result<(usize, usize), DataError> {
    let wrong = |message: String| DataError { place: file.display().to_string(), message };
    load::<f32>(file, "features").map(|matrix| (matrix.rows, matrix.width)).map_err(wrong)
}
