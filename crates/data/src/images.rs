//! A folder of images and its CSV → a prepared folder. Every file is read before any is refused.

#[cfg(test)]
mod tests;

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
        let (root, wrong_root) = (root.display(), if root.is_dir() { "" } else { " (which is no folder)" });
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
        duplicates::group(&mut table, &classes);
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
        rows.white = (pixel_range == "used").then_some(white);
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

/// The pictures below `folder`, by their extensions, in the order of their paths; links to folders are not followed.
#[must_use]
pub fn pictures(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if decode::is_hidden(&path) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if decode::is_picture(&path) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

/// Images below `root` that are none of `files`: how many, and the first few.
#[must_use]
pub fn unlisted(root: &Path, files: &[PathBuf]) -> (usize, Vec<String>) {
    let named: HashSet<PathBuf> = files.iter().map(|file| lexical(file)).collect();
    let below = pictures(root).into_iter().filter(|path| !named.contains(&lexical(path)));
    let mut extra: Vec<String> = below.map(|path| shown(&path.strip_prefix(root).unwrap_or(&path).to_string_lossy())).collect();
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

pub fn reason(error: &std::io::Error) -> String {
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
