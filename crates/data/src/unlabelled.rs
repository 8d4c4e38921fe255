//! Inputs without labels, for a model that is trained: files become numbers as those that it was trained on have.

use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::gather::{Change, ImageTransform, Transform};
use super::table::text::Text;
use super::{DataError, decode, matrix, spelled};
use archive::file::open_regular;
use imbalance::shown::shown;
use plan::{DataConfig, ImageConfig, InputShape, Source};

/// How the inputs of a run become numbers, without the run's data.
pub struct Unlabelled {
    source: Prepare,
    shape: InputShape,
}

enum Prepare {
    /// Pictures for a network that was trained whole, or for a pretrained one that wants three channels.
    Pictures {
        image: ImageConfig,
        white: u16,
        transform: ImageTransform,
    },
    Features(Transform),
}

impl Unlabelled {
    /// The inputs of runs on `config`. `rgb`: for a pretrained network, which wants three channels ([`super::Dataset::rgb`]). `standardize`:
    /// mean and factor of each feature ([`super::Dataset::normalizing`]); without it features are taken as they are, `width` of them.
    /// `white`: see [`decode::decode`].
    ///
    /// # Errors
    /// Scores that were imported: no model is known.
    pub fn new(
        config: &DataConfig,
        rgb: bool,
        standardize: Option<(Vec<f32>, Vec<f32>)>,
        width: usize,
        white: u16,
    ) -> Result<Self, DataError> {
        let pictures = |image: ImageConfig| {
            let (channels, edge) = (image.channels as usize, image.size as usize);
            let make = if rgb { ImageTransform::rgb } else { ImageTransform::new };
            let transform = make(&config.source, channels, edge, edge);
            let channels = if rgb { 3 } else { channels };
            let shape = InputShape::Image { channels, height: edge, width: edge };
            Self { source: Prepare::Pictures { image, white, transform }, shape }
        };
        match &config.source {
            Source::Letters { image_size, .. } => Ok(pictures(letters(*image_size))),
            Source::Images { image, .. } => Ok(pictures(image.clone())),
            Source::Features { .. } => {
                let (mean, scale) = standardize.unwrap_or_default();
                let source = Prepare::Features(Transform::Features { mean, scale });
                Ok(Self { source, shape: InputShape::Features { width } })
            }
            Source::Imported { .. } => Err(DataError {
                place: super::place_of(config),
                message: "these scores were imported: sweep has no model that could score other inputs".to_owned(),
            }),
        }
    }

    /// What the network sees of one input.
    #[must_use]
    pub fn shape(&self) -> InputShape {
        self.shape
    }

    /// The picture in `file` as the model's were decoded.
    ///
    /// # Errors
    /// Why the file cannot be used, as a phrase.
    pub fn picture(&self, file: &Path) -> Result<Vec<u8>, String> {
        let Prepare::Pictures { image, white, .. } = &self.source else { return Err("the model reads features".to_owned()) };
        let mut bytes = Vec::new();
        open_regular(file).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|error| super::images::reason(&error))?;
        decode::decode(&bytes, image, *white).map(|picture| picture.pixels)
    }

    /// The rows of the matrix in `file`, each as bytes; a row with a number that is not finite cannot be used.
    ///
    /// # Errors
    /// A file that is no matrix, or has another number of columns than the model reads.
    pub fn features(&self, file: &Path) -> Result<Vec<Result<Vec<u8>, String>>, DataError> {
        let wrong = |message: String| DataError { place: file.display().to_string(), message };
        let InputShape::Features { width } = self.shape else { return Err(wrong("the model reads pictures".to_owned())) };
        let found = matrix::load::<f32>(file, "features").map_err(wrong)?;
        if found.width != width {
            return Err(wrong(format!("{} features per row, but the model was trained on {width}", found.width)));
        }
        let row = |row: &[f32]| match row.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(format!("column {at} (from 0) is {} in float32", row[at])),
            None => Ok(row.iter().flat_map(|x| x.to_le_bytes()).collect()),
        };
        Ok(found.values.par_chunks(width.max(1)).map(row).collect())
    }

    /// Writes the numbers of `rows` to `out`, rows `step` numbers apart; what lies between them stays as it is.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn numbers(&self, rows: &[Vec<u8>], step: usize, out: &mut [f32]) {
        let values = self.shape.values();
        assert!(step >= values && out.len() == rows.len() * step, "the buffer must hold exactly the rows");
        out.par_chunks_exact_mut(step.max(1)).zip(rows).for_each(|(out, bytes)| match &self.source {
            Prepare::Pictures { transform, .. } => transform.apply(bytes, Change::default(), &mut out[..values]),
            Prepare::Features(transform) => transform.gather(self.shape, bytes, &[0], None, values, &mut out[..values]),
        });
    }
}

/// How a file becomes a picture like those of the built-in letters.
fn letters(size: u32) -> ImageConfig {
    ImageConfig {
        size,
        channels: 1,
        resize: "stretch".to_owned(),
        normalize: "none".to_owned(),
        flip: false,
        crop_padding: 0,
        on_bad_image: "error".to_owned(),
        max_pixels: 100_000_000,
        transparency: "drop".to_owned(),
        pixel_range: "full".to_owned(),
    }
}

/// The pictures that a CSV names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// As in the CSV.
    pub ids: Vec<String>,
    pub files: Vec<PathBuf>,
}

/// The pictures below `root` that the column `column` of a CSV names, the first column without; other columns are not looked at.
///
/// # Errors
/// A file that is no CSV, has no such column, or has a row without a path.
pub fn listed(csv: &Path, column: Option<&str>, root: &Path) -> Result<Listed, DataError> {
    let fault = |(line, message): (Option<u64>, String)| DataError {
        place: line.map_or_else(|| csv.display().to_string(), |line| format!("{}:{line}", csv.display())),
        message,
    };
    let text = Text::read(csv, None).map_err(fault)?;
    let mut records = text.records();
    let Some((line, header)) = records.next_filled().map_err(fault)? else {
        return Err(fault((None, "has no header: its first line must name the columns".to_owned())));
    };
    let at = match column {
        None => 0,
        Some(name) => header.iter().position(|cell| cell == name).ok_or_else(|| {
            let names: Vec<String> = header.iter().take(12).map(|name| format!("`{}`", shown(name))).collect();
            fault((Some(line), format!("no column `{}`; the columns are {}", shown(name), names.join(", "))))
        })?,
    };
    let mut ids = Vec::new();
    while let Some((line, record)) = records.next_filled().map_err(fault)? {
        match record.get(at).filter(|cell| !cell.is_empty()) {
            Some(cell) => ids.push(cell.to_owned()),
            None => return Err(fault((Some(line), "has no path".to_owned()))),
        }
    }
    let files = spelled::files(root, &ids);
    Ok(Listed { ids, files })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, prepare};
    use imbalance::stratification::SplitConfig;
    use plan::Columns;

    fn config(source: Source) -> DataConfig {
        DataConfig { source, split: SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: "random".to_owned(), seed: 0 } }
    }

    /// Pictures of all kinds, and what a training sees of them, to the last bit.
    #[test]
    fn pictures_become_the_numbers_of_the_training() {
        for (channels, normalize, rgb) in [(3, "imagenet", false), (1, "half", false), (1, "imagenet", true), (3, "clip", true)] {
            let folder = tempfile::tempdir().unwrap();
            let mut csv = "path,A\n".to_owned();
            for number in 0..12u32 {
                let name = format!("{number}.png");
                let pixel = |x: u32, y: u32| image::Rgb([(x * 11 + number) as u8, (y * 7) as u8, (x * y) as u8]);
                image::RgbImage::from_fn(20 + number, 31, pixel).save(folder.path().join(&name)).unwrap();
                csv += &format!("{name},{}\n", number % 2);
            }
            std::fs::write(folder.path().join("labels.csv"), csv).unwrap();
            let image = ImageConfig { channels, normalize: normalize.to_owned(), ..letters(16) };
            let (root, labels) = (PathBuf::new(), PathBuf::from("labels.csv"));
            let config = config(Source::Images { root, labels, image, columns: Columns::default() });
            let prepared = prepare(&config, folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap();
            let data = Dataset::open(&prepared.facts.folder, &config).unwrap();
            let unlabelled = Unlabelled::new(&config, rgb, None, 0, decode::FULL).unwrap();
            let width = unlabelled.shape().values();
            let rows: Vec<u32> = (0..12).collect();
            let mut wanted = vec![0.0; 12 * width];
            if rgb {
                data.rgb(&config, &rows, &mut wanted)
            } else {
                data.gather(&rows, None, &mut wanted)
            }
            let Listed { ids, files } = listed(&folder.path().join("labels.csv"), None, folder.path()).unwrap();
            assert_eq!(ids, data.ids().unwrap());
            let mut pictures: Vec<Vec<u8>> = files.iter().map(|file| unlabelled.picture(file).unwrap()).collect();
            let mut found = vec![-1.0; 12 * width];
            unlabelled.numbers(&pictures, width, &mut found);
            assert_eq!(found, wanted, "{channels} {normalize} {rgb}");
            pictures.truncate(1);
            let mut apart = vec![-1.0; width + 5];
            unlabelled.numbers(&pictures, width + 5, &mut apart);
            assert_eq!((&apart[..width], &apart[width..]), (&wanted[..width], &[-1.0; 5][..]));
        }
    }

    #[test]
    fn features_become_the_numbers_of_the_training() {
        use crate::matrix::tests::{f4, npy_bytes};
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.npy");
        let write = |values: &[f32]| {
            std::fs::write(&file, npy_bytes("<f4", false, &format!("{}, 3", values.len() / 3), &f4(values))).unwrap();
        };
        let mut values: Vec<f32> = (0..60).map(|at| (at * at % 17) as f32 * 0.3).collect();
        write(&values);
        let csv: String = (0..20).map(|row| format!("{row},{}\n", row % 2)).collect();
        std::fs::write(folder.path().join("labels.csv"), format!("id,A\n{csv}")).unwrap();
        let (features, labels) = ("x.npy".into(), "labels.csv".into());
        let config = config(Source::Features { features, labels, columns: Columns::default(), standardize: true });
        let prepared = prepare(&config, folder.path(), &folder.path().join("cache"), &|_, _| {}).unwrap();
        for data in [Dataset::open, Dataset::open_joined].map(|open| open(&prepared.facts.folder, &config).unwrap()) {
            let mut wanted = vec![0.0; 60];
            data.gather(&(0..20).collect::<Vec<_>>(), None, &mut wanted);
            let unlabelled = Unlabelled::new(&config, false, Some(data.normalizing()), 3, decode::FULL).unwrap();
            let rows: Result<Vec<_>, _> = unlabelled.features(&file).unwrap().into_iter().collect();
            let mut found = vec![0.0; 60];
            unlabelled.numbers(&rows.unwrap(), 3, &mut found);
            assert_eq!(found, wanted);
        }
        values[4] = f32::NAN;
        write(&values);
        let unlabelled = Unlabelled::new(&config, false, None, 3, decode::FULL).unwrap();
        let rows = unlabelled.features(&file).unwrap();
        assert_eq!(rows[1], Err("column 1 (from 0) is NaN in float32".to_owned()));
        assert!(rows[0].is_ok());
        let narrow = Unlabelled::new(&config, false, None, 4, decode::FULL).unwrap();
        let error = narrow.features(&file).unwrap_err().to_string();
        assert!(error.ends_with("3 features per row, but the model was trained on 4"), "{error}");
    }

    #[test]
    fn a_csv_names_pictures_by_any_of_its_columns() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("new.csv");
        std::fs::write(&csv, "patient;file\n7;a/1.png\n\n8;b 2.png\n").unwrap();
        let Listed { ids, files } = listed(&csv, Some("file"), Path::new("/root")).unwrap();
        assert_eq!(ids, ["a/1.png", "b 2.png"]);
        assert_eq!(files, [Path::new("/root/a/1.png"), Path::new("/root/b 2.png")]);
        let error = listed(&csv, Some("path"), Path::new("/")).unwrap_err().to_string();
        assert!(error.ends_with("new.csv:1: no column `path`; the columns are `patient`, `file`"), "{error}");
        std::fs::write(&csv, "patient;file\n7;\n").unwrap();
        let error = listed(&csv, Some("file"), Path::new("/")).unwrap_err().to_string();
        assert!(error.ends_with("new.csv:2: has no path"), "{error}");
    }
}
