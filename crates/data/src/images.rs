//! A folder of images and its CSV → a prepared folder. Every file is read before any is refused.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use super::decode::{self, Picture};
use super::prepared::{self, Skipped, Writer};
use super::table::Table;
use super::{DataError, Rows, Unprepared, duplicates, hashes, spelled};
use archive::file;
use duplicates::Duplicates;
use imbalance::shown::{cut, shown};
use plan::{Columns, ImageConfig, InputShape};

/// How many bad files are named in a message.
const SHOWN: usize = 20;
/// The same where one rule explains all of them.
const FEW: usize = 3;
/// How many files without a row are named.
const LISTED: usize = 5;
/// Why a file that is not there cannot be used.
const MISSING: &str = "there is no such file";

/// Rows are decoded in blocks of about this many bytes, two of which are in memory: one is written while the next is decoded.
const BLOCK: usize = 32 << 20;

/// Decodes the images of `table` (paths relative to `root`) into a prepared folder below `cache`, unless it is there.
///
/// # Errors
/// Every bad file (the first 20 and a count), unless they are to be skipped; a picture of several rows, unless they become a group; a
/// cache that cannot be written.
pub fn prepare(
    root: &Path,
    labels: &Path,
    config: &ImageConfig,
    columns: &Columns,
    mut table: Table,
    cache: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Rows, Unprepared> {
    let fault = |message: String| DataError { place: labels.display().to_string(), message };
    let files = spelled::files(root, &table.ids);
    let rows = files.len();
    let by_path = duplicates::classes(files.iter().map(|file| Some(lexical(file))));
    if !columns.group_duplicates {
        one_row_each(&table, &by_path).map_err(fault)?;
    }
    let hashes: Vec<Result<blake3::Hash, String>> =
        hashes::all(cache, &files, progress).into_iter().map(|hash| hash.map_err(|error| reason(&error))).collect();
    let unread = failures(&hashes);
    // Where files are missing, what they are called here is said once, in place of the files without a row.
    let gone: Vec<&str> = unread.iter().filter(|(_, why)| why == MISSING).map(|(row, _)| table.ids[*row].as_str()).collect();
    let hint = (!gone.is_empty()).then(|| spelled::hint(root, &gone)).flatten();
    if unread.len() == rows {
        let root = root.display();
        let wrong_root = if Path::new(&root.to_string()).is_dir() { "" } else { " (which is no folder)" };
        return Err(fault(match hint {
            // One rule says more than twenty times the same.
            Some(hint) => {
                format!("none of the {rows} images can be read below `data.root`: {hint}{}", listing(&table, &unread, FEW))
            }
            None => format!(
                "none of the {rows} images can be read; their paths must be relative to `data.root`, {root}{wrong_root}{}",
                listing(&table, &unread, SHOWN)
            ),
        })
        .into());
    }
    warn_of_places(root, labels, &table, &files, hint.is_some());
    let by_content: Vec<Option<blake3::Hash>> = hashes.iter().map(|hash| hash.as_ref().ok().copied()).collect();
    let same = duplicates::classes(by_content.into_iter());
    if columns.group_duplicates {
        let classes = duplicates::joined(Some(&by_path), &same);
        group(&mut table, &classes);
    }
    let mut key = blake3::Hasher::new();
    let ImageConfig { size, channels, resize, on_bad_image, max_pixels, transparency, pixel_range, .. } = config;
    let how = format!("{size} {channels} {resize} {on_bad_image} {max_pixels} {transparency} {pixel_range}");
    key.update(format!("images {} {how}", decode::VERSION).as_bytes());
    table.add_to(&mut key);
    for hash in &hashes {
        key.update(hash.as_ref().map_or(&[0; 32], |hash| hash.as_bytes()));
    }
    let shape = InputShape::Image { channels: *channels as usize, height: *size as usize, width: *size as usize };
    let (layout, ids) = (table.layout.clone(), table.ids.clone());
    let folder = super::ensure(cache, &key, |key| {
        let mut writer = Writer::create(cache)?;
        let mut bad: Vec<(usize, String)> = Vec::new();
        let mut content = blake3::Hasher::new();
        let mut seen = Seen::default();
        let bytes = |row: usize| {
            let mut bytes = Vec::new();
            file::open_regular(&files[row]).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|error| reason(&error))?;
            Ok::<_, String>(bytes)
        };
        let white = if pixel_range == "used" {
            let largest = |row| decode::largest_of(&bytes(row).ok()?, config);
            (0..rows).into_par_iter().filter_map(largest).max().map_or(decode::FULL, decode::white)
        } else {
            decode::FULL
        };
        let block = (BLOCK / shape.values().max(1)).clamp(64, 2048);
        let decode = |start: usize| -> Vec<Result<Picture, String>> {
            let row = |row: usize| {
                let hash = hashes[row].as_ref().map_err(Clone::clone)?;
                let bytes = bytes(row)?;
                if blake3::hash(&bytes) != *hash {
                    return Err("it changed while the images were read: start again".to_owned());
                }
                decode::decode(&bytes, config, white)
            };
            (start.min(rows)..(start + block).min(rows)).into_par_iter().map(row).collect()
        };
        let mut write = |start: usize, decoded: Vec<Result<Picture, String>>| -> Result<(), Unprepared> {
            for (row, decoded) in (start..).zip(decoded) {
                match decoded {
                    Ok(picture) => {
                        writer.push(&picture.pixels)?;
                        content.update(hashes[row].as_ref().map_or(&[0; 32], |hash| hash.as_bytes()));
                        if let Some(taken) = taken(&picture, config, white) {
                            content.update(blake3::hash(taken.as_bytes()).as_bytes());
                        }
                        seen.add(&picture);
                    }
                    Err(why) => bad.push((row, why)),
                }
            }
            Ok(())
        };
        let mut decoded = decode(0);
        for start in (0..rows).step_by(block) {
            progress(start, rows);
            let (written, next) = rayon::join(|| write(start, decoded), || decode(start + block));
            written?;
            decoded = next;
        }
        progress(rows, rows);
        if !bad.is_empty() && (on_bad_image != "skip" || bad.len() == rows) {
            return Err(DataError {
                place: labels.display().to_string(),
                message: format!(
                    "{} of {rows} images cannot be used{}\n{}repair or remove them, or set `data.on_bad_image = \"skip\"` to leave their rows out",
                    bad.len(),
                    listing(&table, &bad, SHOWN),
                    hint.as_ref().map_or_else(String::new, |hint| format!("of those that are missing, {hint}\n"))
                ),
            }
            .into());
        }
        if !bad.is_empty() {
            tracing::warn!("{}: {} of {rows} images are left out{}", labels.display(), bad.len(), listing(&table, &bad, SHOWN));
        }
        let mut rows = without(table, &bad);
        rows.doubts = seen.doubts(config);
        writer.finish(key, shape, &rows, content.finalize().to_hex().to_string())
    })?;
    Ok(Rows { folder, layout, same: if columns.group_duplicates { Vec::new() } else { same }, ids })
}

/// Refuses a picture that several rows name.
fn one_row_each(table: &Table, by_path: &[u32]) -> Result<(), String> {
    let Duplicates { things, rows, contradictory, .. } = Duplicates::of(by_path, &table.labels, None);
    if things == 0 {
        return Ok(());
    }
    let mut first: HashMap<u32, usize> = HashMap::new();
    let twice = by_path.iter().enumerate().find_map(|(row, class)| first.insert(*class, row).map(|before| (before, row)));
    let (one, other) = twice.unwrap_or_default();
    let contradict = match contradictory {
        0 => String::new(),
        _ => format!(", and the rows of {contradictory} contradict each other about a label"),
    };
    Err(format!(
        "{things} pictures have more than one row ({rows} rows; `{}` is in line {} and in line {}){contradict}. Write one row for each picture, \
         or keep the rows of a picture in one split with `data.duplicates = \"group\"`",
        shown(&table.ids[one]),
        table.lines[one],
        table.lines[other]
    ))
}

/// Rows of one class become one group, with those that were grouped already.
pub fn group(table: &mut Table, classes: &[u32]) {
    let groups = duplicates::joined(table.groups.as_deref(), classes);
    let mut names: Vec<String> = Vec::new();
    for (row, &group) in groups.iter().enumerate() {
        if group as usize == names.len() {
            let before = table.groups.as_ref().map(|groups| table.group_names[groups[row] as usize].clone());
            names.push(before.unwrap_or_else(|| table.ids[row].clone()));
        }
    }
    table.layout.groups = names.len();
    (table.groups, table.group_names) = (Some(groups), names);
}

/// Warns of pictures outside of the root, and of those below it that no row names, unless `misspelled` rows mean them.
fn warn_of_places(root: &Path, labels: &Path, table: &Table, files: &[PathBuf], misspelled: bool) {
    let (labels, root_name) = (labels.display(), root.display());
    let (outside, first) = outside(root, table, files);
    if outside > 0 {
        tracing::warn!(
            "{labels}: {outside} of {} images lie outside of data.root, {root_name} (`{}` is the first): they are read all the same",
            table.ids.len(),
            shown(&first)
        );
    }
    let (extra, names) = if misspelled { Default::default() } else { unlisted(root, files) };
    if extra > 0 {
        let more = if extra > names.len() { ", ..." } else { "" };
        tracing::warn!("{root_name}: {extra} images have no row in {labels} and are not used: {}{more}", names.join(", "));
    }
}

/// How the pixels of a picture follow from its bytes, where the sweep file has a say in it: part of the content. Nothing for opaque
/// pictures of 8 bits, nor for what versions did that had no such keys, so that runs on them keep their names.
fn taken(picture: &Picture, config: &ImageConfig, white: u16) -> Option<String> {
    let transparency = (picture.transparent && config.transparency != "black").then_some(&config.transparency[..]);
    let white = picture.largest.filter(|_| white != decode::FULL).map(|_| white);
    (transparency.is_some() || white.is_some()).then(|| format!("transparency {transparency:?} white {white:?}"))
}

/// What is worth a warning in pictures that can be used.
#[derive(Default)]
struct Seen {
    transparent: usize,
    /// Pictures of 16 bits; those that use a sixteenth of them at most; the largest value of each kind.
    deep: usize,
    dark: usize,
    largest: u16,
    largest_dark: u16,
}

impl Seen {
    /// A sixteenth of the range of 16 bits.
    const DARK: u16 = decode::FULL >> 4;

    fn add(&mut self, picture: &Picture) {
        self.transparent += usize::from(picture.transparent);
        if let Some(largest) = picture.largest {
            self.deep += 1;
            self.largest = self.largest.max(largest);
            if largest <= Self::DARK {
                self.dark += 1;
                self.largest_dark = self.largest_dark.max(largest);
            }
        }
    }

    fn doubts(&self, config: &ImageConfig) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.transparent > 0 {
            let (how, others) = match &config.transparency[..] {
                "black" => (
                    "laid over black",
                    r#""drop" takes their colour alone, as PyTorch's loaders do; "white" lays them over white"#,
                ),
                "white" => (
                    "laid over white",
                    r#""drop" takes their colour alone, as PyTorch's loaders do; "black" lays them over black"#,
                ),
                _ => ("taken by their colour alone, as PyTorch's loaders do", r#""black" and "white" lay them over that colour"#),
            };
            doubts.push(format!(
                "{} images have pixels that are not opaque; they are {how} (`data.transparency = {:?}`: {others})",
                self.transparent, config.transparency
            ));
        }
        let white = decode::white(self.largest);
        let grey = |value: u16| (u32::from(value) + 128) / 257;
        if self.deep > 0 && config.pixel_range == "full" && white < decode::FULL {
            doubts.push(format!(
                "no value of the {} images of 16 bits is above {}, which becomes {} of 255; `data.pixel_range = \"used\"` makes {white} white",
                self.deep, self.largest, grey(self.largest)
            ));
        } else if self.dark > 0 && white == decode::FULL {
            doubts.push(format!(
                "{} of the {} images of 16 bits have no value above {}, which becomes {} of 255, while others reach {}: where their \
                 ranges differ, scale the files yourself (`data.pixel_range` is the same for all)",
                self.dark, self.deep, self.largest_dark, grey(self.largest_dark), self.largest
            ));
        }
        doubts
    }
}

/// Images below `root` that are none of `files`: how many, and the first few.
#[must_use]
pub fn unlisted(root: &Path, files: &[PathBuf]) -> (usize, Vec<String>) {
    let named: HashSet<PathBuf> = files.iter().map(|file| lexical(file)).collect();
    let mut extra = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type().ok();
            if decode::is_hidden(&path) {
                continue;
            }
            if kind.is_some_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if decode::is_picture(&path) && !named.contains(&lexical(&path)) {
                extra.push(shown(&path.strip_prefix(root).unwrap_or(&path).to_string_lossy()));
            }
        }
    }
    extra.sort_unstable();
    let count = extra.len();
    extra.truncate(LISTED);
    (count, extra)
}

/// Rows whose image lies outside of `root`, by a path that leaves it or by a link: how many, and the first path.
#[must_use]
pub fn outside(root: &Path, table: &Table, files: &[PathBuf]) -> (usize, String) {
    let Ok(real) = root.canonicalize() else { return (0, String::new()) };
    let mut folders: HashMap<PathBuf, bool> = HashMap::new();
    let mut leaves = |path: &Path| {
        if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) {
            return path.canonicalize().is_ok_and(|path| !path.starts_with(&real));
        }
        let Some(folder) = path.parent() else { return false };
        if let Some(&known) = folders.get(folder) {
            return known;
        }
        let leaves = folder.canonicalize().is_ok_and(|folder| !folder.starts_with(&real));
        folders.insert(folder.to_owned(), leaves);
        leaves
    };
    let outside: Vec<&String> = table.ids.iter().zip(files).filter(|(_, file)| leaves(file)).map(|(id, _)| id).collect();
    (outside.len(), outside.first().map_or_else(String::new, |id| (*id).clone()))
}

/// The path without `.` and with `..` resolved by name.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

fn reason(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound { MISSING.to_owned() } else { error.to_string() }
}

fn failures(hashes: &[Result<blake3::Hash, String>]) -> Vec<(usize, String)> {
    hashes.iter().enumerate().filter_map(|(row, hash)| Some((row, hash.as_ref().err()?.clone()))).collect()
}

/// One line per bad file, the first `most`.
fn listing(table: &Table, bad: &[(usize, String)], most: usize) -> String {
    let mut text = String::from(":");
    for (row, why) in bad.iter().take(most) {
        text.push_str(&format!("\n  line {}: {}: {}", table.lines[*row], shown(&table.ids[*row]), cut(why, 300)));
    }
    if bad.len() > most {
        text.push_str(&format!("\n  and {} more", bad.len() - most));
    }
    text
}

/// The rows that are left.
fn without(table: Table, bad: &[(usize, String)]) -> prepared::Rows {
    let mut rows = prepared::Rows::from(table);
    if bad.is_empty() {
        return rows;
    }
    let dropped: HashSet<usize> = bad.iter().map(|(row, _)| *row).collect();
    let keep: Vec<u32> = (0u32..).take(rows.ids.len()).filter(|row| !dropped.contains(&(*row as usize))).collect();
    fn pick<T: Clone>(values: &[T], keep: &[u32]) -> Vec<T> {
        keep.iter().map(|&row| values[row as usize].clone()).collect()
    }
    rows.skipped = bad.iter().map(|(row, why)| Skipped { id: rows.ids[*row].clone(), reason: why.clone() }).collect();
    rows.labels = rows.labels.select(&keep);
    rows.splits = rows.splits.map(|splits| pick(&splits, &keep));
    rows.groups = rows.groups.map(|groups| pick(&groups, &keep));
    rows.ids = pick(&rows.ids, &keep);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, prepare as prepare_any};
    use imbalance::stratification::SplitConfig;
    use plan::{DataConfig, DataFacts, Source};

    fn config(on_bad_image: &str) -> DataConfig {
        DataConfig {
            source: Source::Images {
                root: "photos".into(),
                labels: "labels.csv".into(),
                image: ImageConfig {
                    size: 8,
                    channels: 3,
                    resize: "stretch".to_owned(),
                    normalize: "imagenet".to_owned(),
                    flip: true,
                    crop_padding: 1,
                    on_bad_image: on_bad_image.to_owned(),
                    max_pixels: 1 << 20,
                    transparency: "drop".to_owned(),
                    pixel_range: "full".to_owned(),
                },
                columns: Columns::default(),
            },
            split: SplitConfig { train: 0.6, val: 0.2, test: 0.2, method: "iterative".to_owned(), seed: 0 },
        }
    }

    /// 40 grey images, each of one shade; labels alternate.
    fn photos() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("photos/sub folder")).unwrap();
        let mut csv = String::from("image,\"N/A, or \"\"none\"\"\",b-c\n");
        for row in 0..40u8 {
            let name = if row % 2 == 0 { format!("{row}.png") } else { format!("sub folder/{row}.png") };
            image::GrayImage::from_pixel(10, 12, image::Luma([row * 5])).save(folder.path().join("photos").join(&name)).unwrap();
            csv.push_str(&format!("{name},{},{}\n", row % 2, row / 2 % 2));
        }
        std::fs::write(folder.path().join("labels.csv"), csv).unwrap();
        folder
    }

    fn prepared(folder: &tempfile::TempDir, on_bad_image: &str) -> Result<DataFacts, String> {
        let cache = folder.path().join("cache");
        prepare_any(&config(on_bad_image), folder.path(), &cache, &|_, _| {})
            .map(|data| data.facts)
            .map_err(|error| error.to_string())
    }

    fn table(folder: &tempfile::TempDir, csv: &str) -> Table {
        crate::table::read(&folder.path().join(csv), &Columns::default(), crate::table::Called::Keys, crate::Ids::Pictures)
            .unwrap()
    }

    /// Prepared with these keys.
    fn opened(folder: &tempfile::TempDir, transparency: &str, pixel_range: &str) -> Dataset {
        let mut config = config("error");
        if let Source::Images { image, .. } = &mut config.source {
            image.transparency = transparency.to_owned();
            image.pixel_range = pixel_range.to_owned();
        }
        let facts = prepare_any(&config, folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap().facts;
        Dataset::open(&facts.folder, &config).unwrap()
    }

    /// What the content was before there were such keys.
    fn plain_content(folder: &tempfile::TempDir, data: &Dataset) -> String {
        let mut content = blake3::Hasher::new();
        for id in data.ids().unwrap() {
            let file = std::fs::read(folder.path().join("photos").join(id)).unwrap();
            content.update(blake3::hash(&file).as_bytes());
        }
        content.finalize().to_hex().to_string()
    }

    #[test]
    fn transparency_changes_the_content_of_pictures_that_have_some() {
        let folder = photos();
        for how in ["drop", "black", "white"] {
            let data = opened(&folder, how, "full");
            assert_eq!(data.opened.meta.content, plain_content(&folder, &data), "{how}");
        }
        image::RgbaImage::from_pixel(8, 8, image::Rgba([200, 100, 0, 51])).save(folder.path().join("photos/4.png")).unwrap();
        let [drop, black, white] = ["drop", "black", "white"].map(|how| opened(&folder, how, "full"));
        assert_eq!(black.opened.meta.content, plain_content(&folder, &black), "as it was taken before there was a choice");
        assert_ne!(drop.opened.meta.content, black.opened.meta.content);
        assert_ne!(drop.opened.meta.content, white.opened.meta.content);
        for (data, red) in [(drop, 200), (black, 40), (white, 244)] {
            assert_eq!(data.bytes()[4 * 192], red);
        }
    }

    #[test]
    fn the_range_is_that_of_the_whole_data_set() {
        let folder = photos();
        let deep = |name: &str, value: u16| {
            let image = image::ImageBuffer::<image::Luma<u16>, _>::from_pixel(9, 9, image::Luma([value]));
            image.save(folder.path().join("photos").join(name)).unwrap();
        };
        let used = opened(&folder, "drop", "used");
        assert_eq!(used.opened.meta.content, plain_content(&folder, &used), "no picture of 16 bits");
        deep("2.png", 3000);
        deep("4.png", 300);
        let [full, used] = ["full", "used"].map(|range| opened(&folder, "drop", range));
        assert_eq!(full.opened.meta.content, plain_content(&folder, &full));
        assert_ne!(used.opened.meta.content, full.opened.meta.content);
        let greys = |data: &Dataset| [2, 3, 4].map(|row| data.bytes()[row * 192]);
        assert_eq!(greys(&full), [12, 15, 1]);
        assert_eq!(greys(&used), [187, 15, 19], "one factor for both, none for the picture of 8 bits");
        deep("4.png", 50_000);
        let used = opened(&folder, "drop", "used");
        assert_eq!(used.opened.meta.content, plain_content(&folder, &used), "all of the range is used");
    }

    #[test]
    fn doubts_count_and_name_the_key() {
        let Source::Images { image, .. } = config("error").source else { panic!() };
        let doubts = |pictures: &[(bool, Option<u16>)], pixel_range: &str| {
            let mut seen = Seen::default();
            for &(transparent, largest) in pictures {
                seen.add(&Picture { pixels: Vec::new(), transparent, largest });
            }
            seen.doubts(&ImageConfig { pixel_range: pixel_range.to_owned(), ..image.clone() }).join("\n")
        };
        assert_eq!(doubts(&[(false, None), (false, Some(60_000))], "full"), "");
        let said = doubts(&[(true, None), (true, Some(60_000)), (false, None)], "full");
        assert!(
            said.starts_with("2 images have pixels that are not opaque") && said.contains("data.transparency = \"drop\""),
            "{said}"
        );
        let said = doubts(&[(false, Some(4000)), (false, Some(100))], "full");
        assert!(
            said.contains("the 2 images of 16 bits is above 4000, which becomes 16 of 255") && said.contains("makes 4095 white"),
            "{said}"
        );
        assert_eq!(doubts(&[(false, Some(4000))], "used"), "");
        for range in ["full", "used"] {
            let said = doubts(&[(false, Some(4000)), (false, Some(65_535)), (false, Some(255))], range);
            assert!(
                said.contains("2 of the 3 images of 16 bits have no value above 4000") && said.contains("reach 65535"),
                "{said}"
            );
        }
    }

    fn folders(folder: &tempfile::TempDir) -> usize {
        let entries = std::fs::read_dir(folder.path().join("cache")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    }

    #[test]
    fn images_are_decoded_once_and_their_content_counts() {
        let folder = photos();
        let facts = prepared(&folder, "error").unwrap();
        assert_eq!(facts.input, InputShape::Image { channels: 3, height: 8, width: 8 });
        assert_eq!(facts.labels, ["N/A, or \"none\"", "b-c"]);
        assert_eq!(prepared(&folder, "error").unwrap(), facts);
        assert_eq!(folders(&folder), 1);
        let data = Dataset::open(&facts.folder, &config("error")).unwrap();
        let mut out = vec![0.0; 192];
        data.gather(&[7], None, &mut out);
        for (channel, (mean, deviation)) in [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)].into_iter().enumerate() {
            let want = (35.0 / 255.0 - mean) / deviation;
            assert!(out[channel * 64..(channel + 1) * 64].iter().all(|x| (x - want).abs() < 1e-5));
        }
        // The same images elsewhere, under other names: the same content.
        let moved = photos();
        std::fs::rename(moved.path().join("photos/0.png"), moved.path().join("photos/zero.png")).unwrap();
        let csv = std::fs::read_to_string(moved.path().join("labels.csv")).unwrap();
        std::fs::write(moved.path().join("labels.csv"), csv.replacen("\n0.png", "\nzero.png", 1)).unwrap();
        assert_eq!(prepared(&moved, "error").unwrap().content, facts.content);
        // One changed image: another.
        image::GrayImage::from_pixel(10, 12, image::Luma([200])).save(folder.path().join("photos/4.png")).unwrap();
        assert_ne!(prepared(&folder, "error").unwrap().content, facts.content);
    }

    fn spoil(folder: &tempfile::TempDir) {
        let photos = folder.path().join("photos");
        std::fs::write(photos.join("2.png"), b"").unwrap();
        std::fs::write(photos.join("4.png"), b"not an image").unwrap();
        let whole = std::fs::read(photos.join("6.png")).unwrap();
        std::fs::write(photos.join("6.png"), &whole[..whole.len() - 16]).unwrap();
        std::fs::remove_file(photos.join("8.png")).unwrap();
    }

    #[test]
    fn bad_files_stop_with_all_of_them_listed() {
        let folder = photos();
        spoil(&folder);
        let error = prepared(&folder, "error").unwrap_err();
        assert!(error.contains("labels.csv: 4 of 40 images cannot be used:"), "{error}");
        for line in [
            "line 4: 2.png: empty file",
            "line 6: 4.png: text, not a picture (\"not an image\")",
            "line 8: 6.png: corrupt",
            "line 10: 8.png: there is no such file",
        ] {
            assert!(error.contains(line), "{error}");
        }
        assert!(error.contains("on_bad_image = \"skip\""));
        assert_eq!(folders(&folder), 0, "nothing half-written is left");
        for row in (0..40).filter(|row| row % 2 == 1) {
            std::fs::write(folder.path().join(format!("photos/sub folder/{row}.png")), b"").unwrap();
        }
        let error = prepared(&folder, "error").unwrap_err();
        assert!(error.contains("24 of 40 images") && error.contains("and 4 more"), "{error}");
        assert_eq!(error.lines().filter(|line| line.starts_with("  line")).count(), 20);
    }

    #[test]
    fn bad_files_are_left_out_and_recorded_if_asked() {
        let folder = photos();
        spoil(&folder);
        let facts = prepared(&folder, "skip").unwrap();
        assert_eq!(facts.train.rows + facts.val.rows + facts.test.rows, 36);
        let data = Dataset::open(&facts.folder, &config("skip")).unwrap();
        let skipped: Vec<&str> = data.skipped().iter().map(|skipped| skipped.id.as_str()).collect();
        assert_eq!(skipped, ["2.png", "4.png", "6.png", "8.png"]);
        assert!(data.skipped()[3].reason.contains("no such file"));
        // Row 2 is now the former row 3.
        assert_eq!(data.ids().unwrap()[2], "sub folder/3.png");
        assert_eq!(data.labels().row(2), [1, 1]);
        let mut out = vec![0.0; 192];
        data.gather(&[2], None, &mut out);
        assert!((out[0] - (15.0 / 255.0 - 0.485) / 0.229).abs() < 1e-5);
    }

    #[test]
    fn a_wrong_root_and_an_unusable_cache_say_so() {
        let folder = photos();
        std::fs::rename(folder.path().join("photos"), folder.path().join("elsewhere")).unwrap();
        let error = prepared(&folder, "skip").unwrap_err();
        assert!(error.contains("none of the 40 images can be read") && error.contains("data.root"), "{error}");
        std::fs::rename(folder.path().join("elsewhere"), folder.path().join("photos")).unwrap();
        std::fs::write(folder.path().join("cache"), "a file").unwrap();
        let error = prepared(&folder, "error").unwrap_err();
        assert!(error.contains("cache: cannot write prepared data into this folder"), "{error}");
    }

    /// The photos with some rows more, divided by `seed`: the split of each row, or why it is refused.
    fn divided(folder: &tempfile::TempDir, more: &str, group: bool, seed: u64) -> Result<Vec<(String, u8)>, String> {
        let csv = std::fs::read_to_string(folder.path().join("labels.csv")).unwrap() + more;
        std::fs::write(folder.path().join("more.csv"), csv).unwrap();
        let mut config = config("error");
        config.split.seed = seed;
        if let Source::Images { labels, columns, .. } = &mut config.source {
            *labels = "more.csv".into();
            columns.group_duplicates = group;
        }
        let facts = prepare_any(&config, folder.path(), &folder.path().join("cache"), &|_, _| {});
        let facts = facts.map_err(|error| error.to_string())?.facts;
        let data = Dataset::open(&facts.folder, &config).unwrap();
        let ids = data.ids().unwrap();
        let parts = [&data.split().train, &data.split().val, &data.split().test];
        let of = |(part, rows): (u8, &Vec<u32>)| rows.iter().map(|&row| (ids[row as usize].clone(), part)).collect::<Vec<_>>();
        Ok((0u8..).zip(parts).flat_map(of).collect())
    }

    #[test]
    fn a_picture_of_several_rows_is_refused_or_stays_in_one_split() {
        let folder = photos();
        for more in ["4.png,0,0\n", "./4.png,0,0\n", "sub folder/../4.png,1,1\n", "x\\..\\4.png,0,0\n"] {
            let error = divided(&folder, more, false, 0).unwrap_err();
            assert!(
                error.contains("1 pictures have more than one row (2 rows; `4.png` is in line 6 and in line 42)"),
                "{more}: {error}"
            );
            assert_eq!(error.contains("contradict each other"), more.contains("1,1"), "{error}");
        }
        // Every second picture again, and half of these under another name; in each division a picture lies in one split.
        let mut more = String::new();
        for row in (0..40).step_by(2) {
            if row % 4 == 0 {
                let photos = folder.path().join("photos");
                std::fs::copy(photos.join(format!("{row}.png")), photos.join(format!("copy{row}.png"))).unwrap();
                more += &format!("copy{row}.png,0,{}\n", row / 2 % 2);
            } else {
                more += &format!("{row}.png,1,{}\n", row / 2 % 2);
            }
        }
        for seed in 0..10 {
            let mut of: HashMap<String, HashSet<u8>> = HashMap::new();
            for (id, part) in divided(&folder, &more, true, seed).unwrap() {
                of.entry(id.replace("copy", "")).or_default().insert(part);
            }
            assert_eq!(of.len(), 40);
            assert!(of.values().all(|parts| parts.len() == 1), "seed {seed}: {of:?}");
        }
    }

    #[test]
    fn files_without_a_row_are_found() {
        let folder = photos();
        let root = folder.path().join("photos");
        std::fs::copy(root.join("0.png"), root.join("sub folder/extra.PNG")).unwrap();
        std::fs::copy(root.join("0.png"), root.join("b.webp")).unwrap();
        std::fs::copy(root.join("0.png"), root.join("c.TIF")).unwrap();
        for other in ["notes.txt", "Thumbs.db", ".DS_Store", "._0.png", ".hidden/1.png", "__MACOSX/sub/2.png"] {
            std::fs::create_dir_all(root.join(other).parent().unwrap()).unwrap();
            std::fs::write(root.join(other), "no image of ours").unwrap();
        }
        let table = table(&folder, "labels.csv");
        assert_eq!(
            unlisted(&root, &spelled::files(&root, &table.ids)),
            (3, ["b.webp", "c.TIF", "sub folder/extra.PNG"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn images_outside_of_the_root_are_counted() {
        let folder = photos();
        let root = folder.path().join("photos");
        let found = |csv: &str| {
            std::fs::write(folder.path().join("some.csv"), csv).unwrap();
            let table = table(&folder, "some.csv");
            outside(&root, &table, &spelled::files(&root, &table.ids))
        };
        assert_eq!(found("image,A\n0.png,1\nsub folder/../2.png,0\n./4.png,1\nmissing/x.png,0\n").0, 0);
        std::fs::create_dir(folder.path().join("private")).unwrap();
        std::fs::copy(root.join("0.png"), folder.path().join("private/0.png")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("private/0.png"), root.join("link.png")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("private"), root.join("linked")).unwrap();
        std::os::unix::fs::symlink(root.join("2.png"), root.join("inside.png")).unwrap();
        let absolute = folder.path().join("private/0.png").display().to_string();
        let csv = format!("image,A\n0.png,1\n../private/0.png,0\n{absolute},1\nlink.png,1\nlinked/0.png,1\ninside.png,0\n");
        assert_eq!(found(&csv), (4, "../private/0.png".to_owned()));
    }

    #[test]
    fn random_changes_depend_on_seed_epoch_and_row_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("photos")).unwrap();
        let mut csv = String::from("image,A\n");
        for row in 0..20u32 {
            image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * 16 + y + 100) as u8]))
                .save(folder.path().join(format!("photos/{row}.png")))
                .unwrap();
            csv.push_str(&format!("{row}.png,{}\n", row % 2));
        }
        std::fs::write(folder.path().join("labels.csv"), csv).unwrap();
        let facts = prepared(&folder, "error").unwrap();
        let data = Dataset::open(&facts.folder, &config("error")).unwrap();
        let gather = |rows: &[u32], augment| {
            let mut out = vec![0.0f32; rows.len() * 192];
            data.gather(rows, augment, &mut out);
            out.chunks(192).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let rows: Vec<u32> = (0..20).collect();
        let first = gather(&rows, Some((5, 1)));
        let back: Vec<u32> = rows.iter().rev().copied().collect();
        let mut again = gather(&back, Some((5, 1)));
        again.reverse();
        assert_eq!(first, again);
        assert_ne!(first, gather(&rows, Some((5, 2))));
        assert_ne!(first, gather(&rows, Some((6, 1))));
        let plain = gather(&rows, None);
        assert!(plain.windows(2).all(|pair| pair[0] == pair[1]), "all images are the same");
        // Each is the plain image, mirrored or not, shifted by at most one pixel with black coming in.
        let black = (0.0 - 0.485) / 0.229;
        let pixel =
            |x: i32, y: i32| if (0..8).contains(&x) && (0..8).contains(&y) { plain[0][(y * 8 + x) as usize] } else { black };
        let mut seen = std::collections::BTreeSet::new();
        for image in gather(&rows, Some((0, 0))).iter().chain(&first) {
            let found = [false, true]
                .iter()
                .flat_map(|flip| (-1..=1).flat_map(move |dx| (-1..=1).map(move |dy| (*flip, dx, dy))))
                .find(|(flip, dx, dy)| {
                    (0..64).all(|i| {
                        let (x, y) = (i % 8, i / 8);
                        let x = if *flip { 7 - x } else { x };
                        (image[i as usize] - pixel(x + dx, y + dy)).abs() < 1e-5
                    })
                });
            seen.insert(found.expect("a mirrored and shifted copy"));
        }
        assert!(seen.len() > 8, "{seen:?}");
    }

    #[test]
    fn real_images_are_read() {
        for (name, rows, labels, channels) in [("bccd", 364, 3, 3), ("multidigits", 3200, 10, 1), ("chest64", 1000, 14, 1)] {
            let folder = Path::new("../shared/data").join(name);
            if !folder.is_dir() {
                eprintln!("skipped: no {}", folder.display());
                continue;
            }
            let cache = tempfile::tempdir().unwrap();
            let mut config = config("error");
            if let Source::Images { root, image, .. } = &mut config.source {
                *root = "images".into();
                image.size = 32;
                image.channels = channels;
            }
            let facts = prepare_any(&config, &folder, cache.path(), &|_, _| {}).unwrap().facts;
            assert_eq!(facts.labels.len(), labels, "{name}");
            assert_eq!(facts.train.rows + facts.val.rows + facts.test.rows, rows);
            let data = Dataset::open(&facts.folder, &config).unwrap();
            let some: Vec<u32> = (0..20).collect();
            let mut out = vec![0.0; some.len() * 32 * 32 * channels as usize];
            data.gather(&some, None, &mut out);
            let (low, high) = out.iter().fold((f32::MAX, f32::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
            assert!(high - low > 0.5, "{name}: images have contrast");
        }
    }
}
