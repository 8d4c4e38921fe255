//! Pictures of the worst mistakes of one run on val, from the prepared data: what the network saw, small.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, RgbImage};
use serde::Serialize;

use super::super::kept_scores::KeptRows;
use data::Dataset;
use imbalance::metric::Decide;
use imbalance::threshold::Rule;
use plan::InputShape;

/// Pictures of each kind of mistake, for each label.
const EACH: usize = 8;
/// The longest edge, in pixels.
const EDGE: u32 = 96;
/// Of 1 to 100.
const QUALITY: u8 = 80;

/// The worst mistakes of the first strategy's first run, under its row's policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pictures {
    /// The start of its fingerprint.
    pub run: String,
    pub strategy: String,
    pub policy: String,
    pub labels: Vec<LabelPictures>,
}

/// The mistakes on one label.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LabelPictures {
    pub label: String,
    pub threshold: f32,
    /// Predicted though absent, the highest scores first; how many there are in all.
    pub false_positives: Vec<Picture>,
    pub all_false_positives: usize,
    /// Present though not predicted, the lowest scores first.
    pub false_negatives: Vec<Picture>,
    pub all_false_negatives: usize,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Picture {
    /// Of its row.
    pub id: String,
    pub score: f32,
    /// `data:image/jpeg;base64,...`
    pub src: String,
}

/// The worst rows of each label: (row, score), and how many there are.
type Worst = (Vec<(usize, f32)>, usize);

/// False positives and false negatives of a label; of equal scores the first row's.
fn worst(rows: &KeptRows, predicted: &[bool], label: usize) -> [Worst; 2] {
    let labels = rows.truth.names.len();
    let of = |truth: u8, wrong: bool, sign: f32| {
        let cell = |row: usize| row * labels + label;
        let mistaken = |row: &usize| rows.truth.values[cell(*row)] == truth && predicted[cell(*row)] == wrong;
        let mut found: Vec<(usize, f32)> =
            (0..rows.truth.rows()).filter(mistaken).map(|row| (row, rows.scores[cell(row)])).collect();
        found.sort_by(|a, b| (sign * b.1).total_cmp(&(sign * a.1)));
        let all = found.len();
        found.truncate(EACH);
        (found, all)
    };
    [of(0, true, 1.0), of(1, false, -1.0)]
}

/// The mistakes on `labels` (their places). `val` are the rows of the data that the scores are of.
///
/// # Errors
/// The prepared data is not of images, or its files are damaged, in words.
pub fn mistakes(
    data: &Dataset,
    rows: &KeptRows,
    rule: &Rule,
    names: &[String],
    labels: &[usize],
) -> Result<Vec<LabelPictures>, String> {
    let InputShape::Image { channels, height, width } = data.shape() else { return Err("the data are no images".to_owned()) };
    let val = &data.split().val;
    if data.labels().select(val).values != rows.truth.values {
        return Err("the prepared data is divided otherwise than when the run was recorded".to_owned());
    }
    let ids = data.ids().map_err(|error| error.to_string())?;
    let mut predicted = vec![false; rows.scores.len()];
    rule.rows(&rows.scores, names.len(), &mut predicted);
    let thresholds = rule.thresholds(names.len());
    let length = channels * height * width;
    let picture = |&(row, score): &(usize, f32)| -> Result<Picture, String> {
        let place = val[row] as usize;
        let bytes = data.bytes().get(place * length..(place + 1) * length).ok_or("the prepared data is too short")?;
        let src = encoded(bytes, [channels, height, width])?;
        Ok(Picture { id: ids[place].clone(), score, src })
    };
    let label = |&label: &usize| {
        let [(over, all_over), (under, all_under)] = worst(rows, &predicted, label);
        Ok(LabelPictures {
            label: names[label].clone(),
            threshold: thresholds[label],
            false_positives: over.iter().map(picture).collect::<Result<_, _>>()?,
            all_false_positives: all_over,
            false_negatives: under.iter().map(picture).collect::<Result<_, _>>()?,
            all_false_negatives: all_under,
        })
    };
    labels.iter().map(label).collect()
}

/// `[channels, height, width]` bytes as a small JPEG in a data address.
fn encoded(bytes: &[u8], [channels, height, width]: [usize; 3]) -> Result<String, String> {
    let plane = height * width;
    let (wide, high) = (width as u32, height as u32);
    let picture = match channels {
        1 => GrayImage::from_raw(wide, high, bytes.to_vec()).map(DynamicImage::ImageLuma8),
        3 => {
            let pixels = (0..plane).flat_map(|at| [bytes[at], bytes[plane + at], bytes[2 * plane + at]]).collect();
            RgbImage::from_raw(wide, high, pixels).map(DynamicImage::ImageRgb8)
        }
        other => return Err(format!("pictures of {other} channels are not shown")),
    };
    let picture = picture.ok_or("a picture of another size")?;
    let small = if wide.max(high) > EDGE { picture.resize(EDGE, EDGE, FilterType::Triangle) } else { picture };
    let mut jpeg = Cursor::new(Vec::new());
    small.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY)).map_err(|error| error.to_string())?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::LabelMatrix;

    #[test]
    fn the_worst_mistakes_come_first() {
        let truth = LabelMatrix { names: ["A".to_owned()].into(), values: vec![0, 0, 1, 1, 0, 2, 1] };
        let rows = KeptRows::of(vec![0.6, 0.9, 0.2, 0.1, 0.3, 0.99, 0.8], truth);
        let mut predicted = vec![false; 7];
        Rule::Thresholds(vec![0.5]).rows(&rows.scores, 1, &mut predicted);
        let [over, under] = worst(&rows, &predicted, 0);
        assert_eq!(over, (vec![(1, 0.9), (0, 0.6)], 2), "an unknown cell is no mistake");
        assert_eq!(under, (vec![(3, 0.1), (2, 0.2)], 2));
    }

    #[test]
    fn pictures_are_small_jpegs_of_the_same_pixels() {
        for channels in [1, 3] {
            let bytes: Vec<u8> = (0..channels * 128 * 64).map(|at| if at / (128 * 64) == 0 { 200 } else { 40 }).collect();
            let src = encoded(&bytes, [channels, 128, 64]).unwrap();
            let jpeg = STANDARD.decode(src.strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
            let found = image::load_from_memory(&jpeg).unwrap().to_rgb8();
            assert_eq!(found.dimensions(), (48, 96));
            let [red, green, _] = found.get_pixel(20, 40).0;
            let wanted = if channels == 1 { 200 } else { 40 };
            assert!(red.abs_diff(200) < 6 && green.abs_diff(wanted) < 6, "{red} {green}");
        }
        assert!(encoded(&[0; 8], [2, 2, 2]).is_err());
    }
}
