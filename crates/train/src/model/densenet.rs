//! DenseNet-121: Huang, Liu, van der Maaten & Weinberger, "Densely connected convolutional networks", CVPR 2017; the bottleneck
//! and compression variant (BC) with growth 32, names and shapes as torchvision's `densenet121`.

use candle_core::{Result, Tensor};

use super::layers::{BatchNorm, Conv, EPS, Init};
use super::network::Body;
use super::{ModelError, image};
use plan::InputShape;
use plan::macs::{BLOCKS, BOTTLENECK, GROWTH, STEM, densenet_sizes};

/// norm - relu - 1x1 convolution - norm - relu - 3x3 convolution: adds [`GROWTH`] channels to what came before.
struct DenseLayer {
    norm1: BatchNorm,
    conv1: Conv,
    norm2: BatchNorm,
    conv2: Conv,
}

/// norm - relu - 1x1 convolution to half the channels - 2x2 average pooling.
struct Transition {
    norm: BatchNorm,
    conv: Conv,
}

/// Everything before the classifier, including the last norm, rectifier and pooling.
pub(super) struct DenseNet {
    stem: (Conv, BatchNorm),
    blocks: Vec<(Vec<DenseLayer>, Option<Transition>)>,
    last: BatchNorm,
    width: usize,
}

impl DenseNet {
    pub(super) fn new(init: &mut Init, input: InputShape) -> std::result::Result<Self, ModelError> {
        let (inputs, height, width) = image("densenet121", input)?;
        if densenet_sizes(height, width).is_none() {
            return Err(ModelError::Input(format!(
                "densenet121 halves its maps five times: {height} x {width} pixels are too few, use at least 32 x 32"
            )));
        }
        let stem = (Conv::new(init, "features.conv0", (inputs, STEM), 7, 2, 3)?, BatchNorm::new(init, "features.norm0", STEM)?);
        let mut channels = STEM;
        let mut blocks = Vec::with_capacity(BLOCKS.len());
        for (b, count) in (1..).zip(BLOCKS) {
            let mut layers = Vec::with_capacity(count);
            for l in 1..=count {
                layers.push(DenseLayer::new(init, &format!("features.denseblock{b}.denselayer{l}"), channels)?);
                channels += GROWTH;
            }
            let transition = if b < BLOCKS.len() {
                let name = format!("features.transition{b}");
                let norm = BatchNorm::new(init, &format!("{name}.norm"), channels)?;
                let conv = Conv::new(init, &format!("{name}.conv"), (channels, channels / 2), 1, 1, 0)?;
                channels /= 2;
                Some(Transition { norm, conv })
            } else {
                None
            };
            blocks.push((layers, transition));
        }
        let last = BatchNorm::new(init, "features.norm5", channels)?;
        Ok(Self { stem, blocks, last, width: channels })
    }
}

impl DenseLayer {
    fn new(init: &mut Init, name: &str, inputs: usize) -> Result<Self> {
        let bottleneck = BOTTLENECK * GROWTH;
        Ok(Self {
            norm1: BatchNorm::new(init, &format!("{name}.norm1"), inputs)?,
            conv1: Conv::new(init, &format!("{name}.conv1"), (inputs, bottleneck), 1, 1, 0)?,
            norm2: BatchNorm::new(init, &format!("{name}.norm2"), bottleneck)?,
            conv2: Conv::new(init, &format!("{name}.conv2"), (bottleneck, GROWTH), 3, 1, 1)?,
        })
    }

    fn weights(&self) -> kernel::DenseLayer {
        kernel::DenseLayer {
            norm1: self.norm1.affine(),
            conv1: self.conv1.weight(),
            norm2: self.norm2.affine(),
            conv2: self.conv2.weight(),
        }
    }
}

/// A dense block: `x`, then what each layer adds.
fn block(layers: &[DenseLayer], x: Tensor, train: bool) -> Result<Tensor> {
    let weights: Vec<_> = layers.iter().map(DenseLayer::weights).collect();
    if !train {
        let running: Vec<_> = layers.iter().map(|layer| [layer.norm1.running(), layer.norm2.running()]).collect();
        return kernel::dense_block_eval(&x, &weights, &running, EPS);
    }
    let (y, statistics) = kernel::dense_block_train(&x, &weights, EPS)?;
    for (layer, [first, second]) in layers.iter().zip(statistics) {
        layer.norm1.absorb(&first)?;
        layer.norm2.absorb(&second)?;
    }
    Ok(y)
}

impl Body for DenseNet {
    fn features(&self, inputs: &Tensor, train: bool) -> Result<Tensor> {
        let (conv, norm) = &self.stem;
        let x = norm.forward(&conv.forward(&kernel::enter(inputs)?, train)?, train)?;
        let mut x = kernel::max_pool2d(&x, 3, 2, 1)?;
        for (layers, transition) in &self.blocks {
            x = block(layers, x, train)?;
            if let Some(Transition { norm, conv }) = transition {
                // Averaging and a 1x1 convolution may change places: a quarter of the products is left.
                x = conv.forward(&kernel::avg_pool2d(&norm.forward(&x, train)?, 2)?, train)?;
            }
        }
        kernel::global_avg_pool(&self.last.forward(&x, train)?)
    }

    fn width(&self) -> usize {
        self.width
    }
}
