//! The number of multiply-adds of a network: pure arithmetic, no Candle.

use crate::architecture::Macs;
use crate::{Architecture, InputShape, ModelConfig};

/// Side of the grid that `cnn` averages its last maps to.
pub const CNN_GRID: usize = 4;
/// DenseNet-121 (Huang et al. 2017, table 1): channels a layer adds, layers of each block, channels of the stem, and the width of
/// a bottleneck in growths.
pub const GROWTH: usize = 32;
pub const BLOCKS: [usize; 4] = [6, 12, 24, 16];
pub const STEM: usize = 64;
pub const BOTTLENECK: usize = 4;

/// Height and width of `cnn`'s maps after each stage.
pub fn cnn_sizes(height: usize, width: usize, stages: usize) -> Vec<(usize, usize)> {
    let halve = |&(h, w): &(usize, usize)| Some(if h.min(w) >= 2 { (h / 2, w / 2) } else { (h, w) });
    std::iter::successors(halve(&(height, width)), halve).take(stages).collect()
}

/// Height and width of DenseNet's maps: after the stem's convolution, then in each block. `None` where a map would vanish.
pub fn densenet_sizes(height: usize, width: usize) -> Option<[(usize, usize); 5]> {
    let stem = (height.div_ceil(2), width.div_ceil(2));
    let mut block = (stem.0.div_ceil(2), stem.1.div_ceil(2));
    let mut sizes = [stem; 5];
    for size in &mut sizes[1..] {
        if block.0.min(block.1) == 0 {
            return None;
        }
        *size = block;
        block = (block.0 / 2, block.1 / 2);
    }
    Some(sizes)
}

/// Multiply-adds of one forward pass of one row: for time estimates. No Candle needed.
#[must_use]
pub fn forward_macs(config: &ModelConfig, input: InputShape, labels: usize) -> u64 {
    let (channels, height, width) = match input {
        InputShape::Image { channels, height, width } => (channels, height, width),
        InputShape::Features { width } => (1, 1, width),
    };
    let macs = Architecture::trained(&config.arch).map_or(linear as Macs, |trained| trained.macs);
    macs(&config.hidden, (channels, height, width), labels) as u64
}

/// Those of the part that is trained: of a frozen backbone's head. It has as many weights if it is a head or reads features.
#[must_use]
pub fn trained_macs(config: &ModelConfig, input: InputShape, labels: usize) -> u64 {
    match config.head() {
        Some((backbone, head)) => forward_macs(&head, InputShape::Features { width: backbone.width }, labels),
        None => forward_macs(config, input, labels),
    }
}

pub(crate) fn linear(_: &[usize], (channels, height, width): (usize, usize, usize), labels: usize) -> usize {
    channels * height * width * labels
}

pub(crate) fn mlp(hidden: &[usize], (channels, height, width): (usize, usize, usize), labels: usize) -> usize {
    let mut inputs = channels * height * width;
    let layers: usize = hidden.iter().map(|&units| std::mem::replace(&mut inputs, units) * units).sum();
    layers + inputs * labels
}

pub(crate) fn cnn(hidden: &[usize], (mut channels, height, width): (usize, usize, usize), labels: usize) -> usize {
    let (mut size, mut macs) = ((height, width), 0);
    for (&outputs, next) in hidden.iter().zip(cnn_sizes(height, width, hidden.len())) {
        macs += 9 * channels * outputs * size.0 * size.1;
        (channels, size) = (outputs, next);
    }
    macs + channels * size.0.min(CNN_GRID) * size.1.min(CNN_GRID) * labels
}

pub(crate) fn densenet(_: &[usize], (inputs, height, width): (usize, usize, usize), labels: usize) -> usize {
    let Some([stem, blocks @ ..]) = densenet_sizes(height, width) else { return 0 };
    let mut macs = 49 * inputs * STEM * stem.0 * stem.1;
    let mut channels = STEM;
    for (block, (layers, (h, w))) in BLOCKS.into_iter().zip(blocks).enumerate() {
        for _ in 0..layers {
            macs += (channels + 9 * GROWTH) * BOTTLENECK * GROWTH * h * w;
            channels += GROWTH;
        }
        if block + 1 < BLOCKS.len() {
            macs += channels * (channels / 2) * h * w;
            channels /= 2;
        }
    }
    macs + channels * labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macs(arch: &str, hidden: &[usize], input: InputShape, labels: usize) -> u64 {
        let config = ModelConfig::new(arch, hidden);
        forward_macs(&config, input, labels)
    }

    /// 2.83 G multiply-adds without norms at 224 x 224 and 1000 classes (torchvision publishes 2.83 GFLOPS for densenet121).
    #[test]
    fn densenet_is_as_large_as_published() {
        let image = InputShape::Image { channels: 3, height: 224, width: 224 };
        let published = macs("densenet121", &[], image, 1000) as f64 / 1e9;
        assert!((published - 2.83).abs() < 0.01, "{published}");
    }

    #[test]
    fn small_networks_are_counted() {
        let features = InputShape::Features { width: 10 };
        assert_eq!(macs("linear", &[], features, 3), 30);
        assert_eq!(macs("mlp", &[8, 4], features, 3), 80 + 32 + 12);
        let image = InputShape::Image { channels: 1, height: 8, width: 8 };
        assert_eq!(macs("cnn", &[2, 3], image, 4), 9 * 2 * 64 + 9 * 6 * 16 + 3 * 4 * 4);
    }
}
