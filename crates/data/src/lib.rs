//! Data: images, features and the built-in letters; decoded once into a prepared folder that all runs map into memory. No Candle here.

pub mod decode;
pub mod derived;
mod duplicates;
mod features;
mod gather;
mod glyph;
mod hashes;
mod images;
mod imported;
mod jpeg;
mod kind;
pub mod letters;
mod matrix;
mod prepared;
pub mod seen;
pub mod speeds;
mod spelled;
mod table;
mod unlabelled;
mod untrainable;
pub mod weights;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use gather::Change;
pub use gather::{mean_and_deviation, normalization};
pub use images::pictures;
pub use imported::{Files, Imported, Scored, imported_ids};
pub use prepared::{Skipped, Unfit, check, discard, folders, is_key, leftovers};
pub use table::{Called, Ids, Layout, Look, Profile, Survey, Table, flagged_split, survey};
pub use unlabelled::{Listed, Unlabelled, listed};
pub use untrainable::{Untrainable, quoted, trainable};

use archive::file;
use duplicates::Duplicates;
use imbalance::loss::IGNORED;
use imbalance::stratification::{self, Split};
use imbalance::{LabelCounts, LabelMatrix};
use plan::{Columns, DataConfig, DataFacts, InputShape, Source, Unknown, UnknownAs};

/// Data that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct DataError {
    /// File, and line or column where there is one.
    pub place: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Why there is no prepared data.
#[derive(Debug, thiserror::Error)]
pub enum Unprepared {
    /// The user's data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The cache cannot be written or read; nothing is wrong with the data.
    #[error("{}: {what}: {source}", path.display())]
    Disk { path: PathBuf, what: &'static str, source: std::io::Error },
}

/// A prepared data set, mapped into memory: what the training loop reads. Opened from a folder alone, on any machine.
pub struct Dataset {
    opened: prepared::Opened,
    split: Split,
    transform: gather::Transform,
}

impl Dataset {
    /// Opens what [`prepare`] made and divides its rows as `config` says.
    ///
    /// # Errors
    /// A folder that is missing, incomplete, damaged or of another version; a split column that tears a group apart.
    pub fn open(folder: &Path, config: &DataConfig) -> Result<Self, DataError> {
        let mut opened = prepared::open(folder)?;
        let unknown = columns_of(config).map(|columns| &columns.unknown);
        if let Some(unknown) = unknown.filter(|unknown| !unknown.judge_known) {
            settle(&mut opened.labels, unknown, None);
        }
        let split = stratification::divide(&opened.labels, opened.splits.as_deref(), opened.groups.as_deref(), &config.split)
            .map_err(|error| DataError { place: place_of(config), message: error.with_groups(&opened.meta.group_names) })?;
        if let Some(unknown) = unknown.filter(|unknown| unknown.judge_known) {
            settle(&mut opened.labels, unknown, Some(&split.train));
        }
        let transform = transform(&opened, config, &split.train);
        Ok(Self { opened, split, transform })
    }

    /// [`Self::open`] with the rows of val in train, for a model that nothing is chosen for any more.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_joined(folder: &Path, config: &DataConfig) -> Result<Self, DataError> {
        let Self { mut opened, split: Split { mut train, val, test }, .. } = Self::open(folder, config)?;
        train.extend(val);
        train.sort_unstable();
        if let Some(unknown) = columns_of(config).map(|columns| &columns.unknown).filter(|unknown| unknown.judge_known) {
            settle(&mut opened.labels, unknown, Some(&train));
        }
        let transform = transform(&opened, config, &train);
        Ok(Self { opened, split: Split { train, val: Vec::new(), test }, transform })
    }

    /// The value of 16-bit pictures that is white in this data; `None` where its preparation did not say.
    #[must_use]
    pub fn white(&self) -> Option<u16> {
        self.opened.meta.white
    }

    /// What the network sees of one row.
    #[must_use]
    pub fn shape(&self) -> InputShape {
        self.opened.meta.shape
    }

    /// All labels, in row order.
    #[must_use]
    pub fn labels(&self) -> &LabelMatrix {
        &self.opened.labels
    }

    /// The rows of each split.
    #[must_use]
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// The group of each row, where the data has groups: rows of a group are not independent of each other.
    #[must_use]
    pub fn groups(&self) -> Option<&[u32]> {
        self.opened.groups.as_deref()
    }

    /// Rows that were left out because of `on_bad_image = "skip"`.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.opened.meta.skipped
    }

    /// The rows' names: image paths as in the CSV, ids, or row numbers.
    ///
    /// # Errors
    /// A damaged folder.
    pub fn ids(&self) -> Result<Vec<String>, DataError> {
        self.opened.ids()
    }

    /// Writes the normalised inputs of `rows` to `out` (`[rows, channels, height, width]` or `[rows, width]`, f32), with the random
    /// changes of training where `augment` names (seed, epoch): a row's change depends on (seed, epoch, row) only.
    ///
    /// # Panics
    /// If `out` has another length or a row does not exist.
    pub fn gather(&self, rows: &[u32], augment: Option<(u64, usize)>, out: &mut [f32]) {
        self.gather_apart(rows, augment, self.shape().values(), out);
    }

    /// [`Self::gather`] with rows that begin `step` numbers apart; what lies between them stays as it is.
    ///
    /// # Panics
    /// Where [`Self::gather`] does.
    pub fn gather_apart(&self, rows: &[u32], augment: Option<(u64, usize)>, step: usize, out: &mut [f32]) {
        self.transform.gather(self.shape(), &self.opened.inputs, rows, augment, step, out);
    }

    /// Writes the images of `rows` to `out` as a pretrained network wants them, `[rows, 3, height, width]`: never changed at
    /// random, a grey channel repeated, normalised as the data says (letters: as ImageNet's images).
    ///
    /// # Panics
    /// Where [`Self::gather`] does; if the data has no images.
    pub fn rgb(&self, config: &DataConfig, rows: &[u32], out: &mut [f32]) {
        let InputShape::Image { channels, height, width } = self.shape() else { panic!("features are not images") };
        let transform = gather::ImageTransform::rgb(&config.source, channels, height, width);
        let (bytes, values) = (self.shape().values(), 3 * height * width);
        assert_eq!(out.len(), rows.len() * values, "the buffer must hold exactly the rows asked for");
        out.par_chunks_exact_mut(values).zip(rows).for_each(|(out, &row)| {
            transform.apply(&self.opened.inputs[row as usize * bytes..(row as usize + 1) * bytes], Change::default(), out);
        });
    }

    /// The inputs as the prepared folder holds them, `[rows, row_bytes]`: u8 images, or features of four bytes, little-endian.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.opened.inputs
    }

    /// The numbers that normalise: a factor and an offset per channel of images; a mean and a factor per feature.
    #[must_use]
    pub fn normalizing(&self) -> (Vec<f32>, Vec<f32>) {
        self.transform.numbers(self.shape().values())
    }

    /// The random change of the image of `row` in the epoch that `augment` names (seed, epoch), as [`Self::gather`] applies it.
    #[must_use]
    pub fn change(&self, row: u32, augment: Option<(u64, usize)>) -> Change {
        self.transform.change(row, augment)
    }

    /// The inputs of the train rows, `[rows, width]`, where they are features; some samplers need them.
    #[must_use]
    pub fn train_features(&self) -> Option<Vec<f32>> {
        let InputShape::Features { width } = self.shape() else { return None };
        let mut values = vec![0.0; self.split.train.len() * width];
        self.gather(&self.split.train, None, &mut values);
        Some(values)
    }

    /// Rows and positives of train, val and test.
    #[must_use]
    pub fn counts(&self) -> [LabelCounts; 3] {
        [&self.split.train, &self.split.val, &self.split.test].map(|rows| self.labels().select(rows).counts())
    }

    /// Whether something can be trained on it; see [`trainable()`].
    ///
    /// # Errors
    /// What is missing, and what to do.
    pub fn trainable(&self, config: &DataConfig) -> Result<(), DataError> {
        let [train, val, test] = self.counts();
        let groups = self.groups().map(|groups| groups.iter().max().map_or(0, |most| *most as usize + 1));
        trainable(config, &self.labels().names, [&train, &val, &test], groups).map_err(DataError::from)
    }

    /// Hash of the rows, their labels and their division: paths and times do not enter.
    #[must_use]
    pub fn content(&self) -> String {
        let labels = self.labels();
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        add(self.opened.meta.content.as_bytes());
        labels.names.iter().for_each(|name| add(name.as_bytes()));
        add(&labels.values);
        for rows in [&self.split.train, &self.split.val, &self.split.test] {
            add(&rows.iter().flat_map(|row| row.to_le_bytes()).collect::<Vec<u8>>());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }

    /// The facts that a plan needs.
    fn facts(&self, folder: &Path) -> DataFacts {
        let [train, val, test] = self.counts();
        let (content, labels) = (self.content(), self.labels().names.to_vec());
        DataFacts { content, labels, input: self.shape(), train, val, test, folder: folder.to_owned() }
    }
}

/// How the inputs of `opened` become numbers, features by the `train` rows.
fn transform(opened: &prepared::Opened, config: &DataConfig, train: &[u32]) -> gather::Transform {
    match (opened.meta.shape, &config.source) {
        (InputShape::Image { channels, height, width }, source) => {
            gather::Transform::Image(gather::ImageTransform::new(source, channels, height, width))
        }
        (InputShape::Features { width }, Source::Features { standardize: true, .. }) => {
            gather::Transform::standardize(&opened.inputs, width, train)
        }
        (InputShape::Features { .. }, _) => gather::Transform::Features { mean: Vec::new(), scale: Vec::new() },
    }
}

/// The file that messages about rows and labels point at.
fn place_of(config: &DataConfig) -> String {
    match &config.source {
        Source::Letters { .. } => "data kind `letters`".to_owned(),
        Source::Images { labels, .. } | Source::Features { labels, .. } | Source::Imported { labels, .. } => {
            labels.display().to_string()
        }
    }
}

/// How the CSV of labels is read, where there is one.
fn columns_of(config: &DataConfig) -> Option<&Columns> {
    match &config.source {
        Source::Letters { .. } => None,
        Source::Images { columns, .. } | Source::Features { columns, .. } | Source::Imported { columns, .. } => Some(columns),
    }
}

/// Takes the unknown cells of `rows` (of all, without) for what `unknown` says.
fn settle(labels: &mut LabelMatrix, unknown: &Unknown, rows: Option<&[u32]>) {
    let taken: Vec<u8> = labels
        .names
        .iter()
        .map(|name| match unknown.of(name) {
            UnknownAs::Negative => 0,
            UnknownAs::Positive => 1,
            UnknownAs::Error | UnknownAs::Ignore => IGNORED,
        })
        .collect();
    if taken.iter().all(|taken| *taken == IGNORED) {
        return;
    }
    let width = labels.names.len();
    let settle = |row: &mut [u8]| {
        for (value, taken) in row.iter_mut().zip(&taken).filter(|(value, _)| **value == IGNORED) {
            *value = *taken;
        }
    };
    match rows {
        None => labels.values.chunks_exact_mut(width).for_each(settle),
        Some(rows) => rows.iter().for_each(|&row| settle(&mut labels.values[row as usize * width..][..width])),
    }
}

/// Reads a CSV of labels as `columns` says, with its messages about keys of a sweep file.
///
/// # Errors
/// Every column that cannot be what it is taken for; else the first fault, with its line and column.
pub fn read_labels(file: &Path, columns: &Columns, ids: Ids) -> Result<Table, DataError> {
    table::read(file, columns, Called::Keys, ids)
}

/// Data that is ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    pub facts: DataFacts,
    /// What the columns of the CSV were taken for, where there is one.
    pub layout: Option<Layout>,
}

impl Prepared {
    /// Groups of rows that stay together, where the rows have groups.
    #[must_use]
    pub fn groups(&self) -> Option<usize> {
        self.layout.as_ref().filter(|layout| layout.groups > 0).map(|layout| layout.groups)
    }
}

/// Rows in a prepared folder, and what showed the same among them.
struct Rows {
    folder: PathBuf,
    layout: Layout,
    /// Equal numbers for rows of equal content, for each row of the CSV; empty where they are one group already.
    same: Vec<u32>,
    /// The rows' names as in the CSV.
    ids: Vec<String>,
}

/// Reads, checks and decodes the data of `config` (paths relative to `base`) into a folder below `cache`, unless an equal one is
/// there, and returns its facts, also of data that nothing can be trained on ([`trainable()`]). `progress` is called with (done, total)
/// rows.
///
/// # Errors
/// [`DataError`] with every bad file (the first 20 and a count) before anything is trained; a cache that cannot be written.
pub fn prepare(
    config: &DataConfig,
    base: &Path,
    cache: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Prepared, Unprepared> {
    let cache = std::path::absolute(cache).unwrap_or_else(|_| cache.to_owned());
    if cache.exists() {
        file::own_folder(&cache).map_err(prepared::cannot(&cache, prepared::WRITING))?;
        prepared::remove_leftovers(&cache);
    }
    let place = |path: &Path| base.join(file::expand_home(path));
    let rows = match &config.source {
        Source::Letters { .. } => {
            let folder = letters::prepare(&config.source, &cache, progress)?;
            let data = Dataset::open(&folder, config)?;
            prepared::keep_split(&folder, &config.split, data.split())?;
            return Ok(Prepared { facts: data.facts(&folder), layout: None });
        }
        Source::Features { features, labels, columns, .. } => {
            let labels = place(labels);
            let table = table::read(&labels, columns, Called::Keys, Ids::Rows)?;
            features::prepare(&place(features), &labels, columns, table, &cache, progress)?
        }
        Source::Images { root, labels, image, columns } => {
            let (root, labels) = (place(root), place(labels));
            let table = table::read(&labels, columns, Called::Keys, Ids::Pictures)?;
            images::prepare(&root, &labels, image, columns, table, &cache, progress)?
        }
        Source::Imported { .. } => {
            let message = "imported scores have no inputs: nothing can be trained on them".to_owned();
            return Err(DataError { place: place_of(config), message }.into());
        }
    };
    let Rows { folder, layout, same, ids } = rows;
    let data = Dataset::open(&folder, config)?;
    prepared::keep_split(&folder, &config.split, data.split())?;
    for doubt in &data.opened.meta.doubts {
        tracing::warn!("{}: {doubt}", place_of(config));
    }
    if !same.is_empty() {
        warn_of_duplicates(config, &data, &same, &ids);
    }
    Ok(Prepared { facts: data.facts(&folder), layout: Some(layout) })
}

/// Says which rows show the same, if that can mislead: in more than one split, or with other labels.
fn warn_of_duplicates(config: &DataConfig, data: &Dataset, same: &[u32], ids: &[String]) {
    let skipped: std::collections::HashSet<&str> = data.skipped().iter().map(|row| row.id.as_str()).collect();
    let kept = same.iter().zip(ids).filter(|(_, id)| !skipped.contains(id.as_str())).map(|(same, _)| *same);
    let Duplicates { things, rows, torn, contradictory } =
        Duplicates::of(&kept.collect::<Vec<_>>(), data.labels(), Some(data.split()));
    if torn == 0 && contradictory == 0 {
        return;
    }
    let what = if matches!(data.shape(), InputShape::Image { .. }) { "files" } else { "vectors of features" };
    let torn = if torn > 0 {
        format!("; {torn} of them lie in more than one split, so that a model is judged on what it was trained on")
    } else {
        String::new()
    };
    let contradictory =
        if contradictory > 0 { format!("; {contradictory} contradict each other about a label") } else { String::new() };
    tracing::warn!(
        "{}: {rows} rows show {things} {what} that are equal byte for byte{torn}{contradictory}; `data.duplicates = \"group\"` keeps equal ones in one split",
        place_of(config)
    );
}

/// The folder of `key` below `cache`: the one that is there, or what `make` writes. A damaged one is written again.
fn ensure(
    cache: &Path,
    key: &blake3::Hasher,
    make: impl FnOnce(&str) -> Result<PathBuf, Unprepared>,
) -> Result<PathBuf, Unprepared> {
    let key = &key.finalize().to_hex()[..32];
    let folder = cache.join(key);
    if std::fs::symlink_metadata(&folder).is_ok() {
        match prepared::open(&folder) {
            Ok(_) => return Ok(folder),
            Err(Unfit { error, mendable: true }) => {
                tracing::warn!("{error}; preparing it again");
                discard(&folder)?;
            }
            Err(unfit) => return Err(DataError::from(unfit).into()),
        }
    }
    make(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::stratification::SplitConfig;

    fn letters(samples: usize, split_seed: u64) -> DataConfig {
        DataConfig {
            source: Source::Letters {
                samples,
                label_rates: vec![("A".to_owned(), 0.1), ("B".to_owned(), 0.4)],
                image_size: 16,
                signal: 1.0,
                seed: 0,
            },
            split: SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: "iterative".to_owned(), seed: split_seed },
        }
    }

    #[test]
    fn letters_are_prepared_once_and_read_back() {
        let cache = tempfile::tempdir().unwrap();
        let config = letters(500, 0);
        let facts = prepare(&config, Path::new("."), cache.path(), &|_, _| {}).unwrap().facts;
        assert_eq!(facts.input, InputShape::Image { channels: 1, height: 16, width: 16 });
        assert_eq!(facts.train.rows + facts.val.rows + facts.test.rows, 500);
        assert!(facts.folder.is_absolute());
        let made = std::fs::metadata(facts.folder.join("inputs.bin")).unwrap().modified().unwrap();
        assert_eq!(prepare(&config, Path::new("."), cache.path(), &|_, _| {}).unwrap().facts, facts);
        assert_eq!(std::fs::metadata(facts.folder.join("inputs.bin")).unwrap().modified().unwrap(), made);
        let other = prepare(&letters(500, 1), Path::new("."), cache.path(), &|_, _| {}).unwrap().facts;
        assert_eq!(other.folder, facts.folder, "the split is no part of the folder");
        assert_ne!(other.content, facts.content, "the split is part of the content");

        let data = Dataset::open(&facts.folder, &config).unwrap();
        let rows = [3, 400, 3];
        let mut out = vec![f32::NAN; 3 * 256];
        data.gather(&rows, Some((0, 0)), &mut out);
        assert!(out.iter().all(|x| (0.0..=1.0).contains(x)) && out.iter().any(|x| *x > 0.0));
        assert_eq!(out[..256], out[512..]);
        assert_eq!(data.ids().unwrap()[400], "400");
        for (row, number) in (0..).zip(std::fs::read(facts.folder.join("split-iterative-0-0.7-0.15-0.15.bin")).unwrap()) {
            assert!([&data.split().train, &data.split().val, &data.split().test][usize::from(number)].contains(&row));
        }
    }

    #[test]
    fn a_damaged_folder_is_written_anew() {
        let cache = tempfile::tempdir().unwrap();
        let config = letters(100, 0);
        let facts = prepare(&config, Path::new("."), cache.path(), &|_, _| {}).unwrap().facts;
        for (file, content) in
            [("inputs.bin", "short"), ("labels.bin", "short"), ("meta.json", "{}"), ("meta.json", "{\"format\":99}")]
        {
            std::fs::write(facts.folder.join(file), content).unwrap();
            let error = Dataset::open(&facts.folder, &config).err().unwrap().to_string();
            assert!(error.contains("damaged") || error.contains("remove this folder") || error.contains("format"), "{error}");
            assert_eq!(prepare(&config, Path::new("."), cache.path(), &|_, _| {}).unwrap().facts, facts);
        }
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn many_at_once_do_not_disturb_each_other() {
        let cache = tempfile::tempdir().unwrap();
        let config = letters(300, 0);
        let all: Vec<DataFacts> = std::thread::scope(|scope| {
            let prepare = || prepare(&config, Path::new("."), cache.path(), &|_, _| {}).unwrap().facts;
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(prepare)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
