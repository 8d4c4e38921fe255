//! DINOv2 ViT-S/14: Oquab et al., "DINOv2: Learning robust visual features without supervision", TMLR 2024; the vision
//! transformer of Dosovitskiy et al. 2021 with layer scale. Names as the authors' and timm's; the features are the class token
//! after the last norm, as `torch.hub`'s `dinov2_vits14` and timm's `vit_small_patch14_dinov2` return them.
//!
//! candle-transformers' has the tanh approximation of GELU, another epsilon in the norms, and takes the nearest position where
//! images are smaller than 518 pixels. Positions are resized here as timm does: bicubic, antialiased.

use candle_core::{D, IndexOp, Module, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, LayerNorm, Linear, VarBuilder};

const PATCH: usize = 14;
const WIDTH: usize = 384;
const HEADS: usize = 6;
const DEPTH: usize = 12;
/// Squares on a side of the images of the last phase of its training, 518 pixels.
const GRID: usize = 37;
const EPS: f64 = 1e-6;

/// Attention and a perceptron, each after a norm, scaled and added.
struct TransformerBlock {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    scale1: Tensor,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    scale2: Tensor,
}

/// The transformer without a classifier.
pub(super) struct DinoV2 {
    patches: Conv2d,
    class: Tensor,
    positions: Tensor,
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
}

impl TransformerBlock {
    fn new(vb: &VarBuilder<'_>) -> Result<Self> {
        let norm = |name| candle_nn::layer_norm(WIDTH, EPS, vb.pp(name));
        let linear = |name, inputs, outputs| candle_nn::linear(inputs, outputs, vb.pp(name));
        Ok(Self {
            norm1: norm("norm1")?,
            qkv: linear("attn.qkv", WIDTH, 3 * WIDTH)?,
            proj: linear("attn.proj", WIDTH, WIDTH)?,
            scale1: vb.get(WIDTH, "ls1.gamma")?,
            norm2: norm("norm2")?,
            fc1: linear("mlp.fc1", WIDTH, 4 * WIDTH)?,
            fc2: linear("mlp.fc2", 4 * WIDTH, WIDTH)?,
            scale2: vb.get(WIDTH, "ls2.gamma")?,
        })
    }

    fn attention(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let head = width / HEADS;
        // [3, batch, heads, tokens, head]
        let qkv = self.qkv.forward(x)?.reshape((batch, tokens, 3, HEADS, head))?.permute((2, 0, 3, 1, 4))?;
        let (q, k, v) = (qkv.i(0)?.contiguous()?, qkv.i(1)?.contiguous()?, qkv.i(2)?.contiguous()?);
        let weights = candle_nn::ops::softmax_last_dim(&(q.matmul(&k.t()?)? * (head as f64).powf(-0.5))?)?;
        self.proj.forward(&weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, tokens, width))?)
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = (x + self.attention(&self.norm1.forward(x)?)?.broadcast_mul(&self.scale1)?)?;
        let inner = self.fc1.forward(&self.norm2.forward(&x)?)?.gelu_erf()?;
        &x + self.fc2.forward(&inner)?.broadcast_mul(&self.scale2)?
    }
}

impl DinoV2 {
    pub(super) fn vits14(vb: VarBuilder<'_>) -> Result<Self> {
        let config = Conv2dConfig { stride: PATCH, ..Conv2dConfig::default() };
        let blocks = (0..DEPTH).map(|block| TransformerBlock::new(&vb.pp("blocks").pp(block))).collect::<Result<_>>()?;
        Ok(Self {
            patches: candle_nn::conv2d(3, WIDTH, PATCH, config, vb.pp("patch_embed.proj"))?,
            class: vb.get((1, 1, WIDTH), "cls_token")?,
            positions: vb.get((1, 1 + GRID * GRID, WIDTH), "pos_embed")?,
            norm: candle_nn::layer_norm(WIDTH, EPS, vb.pp("norm"))?,
            blocks,
        })
    }

    /// Positions of the class token and of `rows` x `columns` squares.
    fn positions(&self, rows: usize, columns: usize) -> Result<Tensor> {
        if (rows, columns) == (GRID, GRID) {
            return Ok(self.positions.clone());
        }
        let device = self.positions.device();
        let along = |size| Tensor::from_vec(bicubic(GRID, size), (size, GRID), device);
        let grid = self.positions.narrow(1, 1, GRID * GRID)?;
        // Rows first, then the columns of each row.
        let grid = along(rows)?.matmul(&grid.reshape((GRID, GRID * WIDTH))?)?.reshape((rows, GRID, WIDTH))?;
        let grid = along(columns)?.unsqueeze(0)?.broadcast_matmul(&grid)?.reshape((1, rows * columns, WIDTH))?;
        Tensor::cat(&[&self.positions.narrow(1, 0, 1)?, &grid], 1)
    }
}

impl Module for DinoV2 {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let patches = self.patches.forward(images)?;
        let (batch, _, rows, columns) = patches.dims4()?;
        let patches = patches.flatten_from(2)?.transpose(1, 2)?;
        let tokens = Tensor::cat(&[&self.class.broadcast_as((batch, 1, WIDTH))?, &patches], 1)?;
        let tokens = tokens.broadcast_add(&self.positions(rows, columns)?)?;
        let tokens = self.blocks.iter().try_fold(tokens, |x, block| block.forward(&x))?;
        self.norm.forward(&tokens.narrow(D::Minus2, 0, 1)?.squeeze(1)?.contiguous()?)
    }
}

/// Weights `[to, from]` of torch's bicubic interpolation with `antialias=True` (Keys 1981 with a = -1/2, widened when it
/// shrinks).
fn bicubic(from: usize, to: usize) -> Vec<f32> {
    let keys = |x: f64| match x.abs() {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    };
    let step = from as f64 / to as f64;
    let wide = step.max(1.0);
    let row = |at: usize| {
        let centre = step * (at as f64 + 0.5);
        let first = (centre - 2.0 * wide + 0.5).max(0.0) as usize;
        let last = ((centre + 2.0 * wide + 0.5) as usize).min(from);
        let weight = move |column: usize| {
            if (first..last).contains(&column) { keys((column as f64 - centre + 0.5) / wide) } else { 0.0 }
        };
        let sum: f64 = (0..from).map(weight).sum();
        (0..from).map(move |column| (weight(column) / sum) as f32)
    };
    (0..to).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.functional.interpolate(torch.eye(7)[None, None], size=(7, n), mode="bicubic", antialias=True)`, one column each.
    #[test]
    fn positions_are_resized_as_torch_does() {
        let near = |ours: &[f32], theirs: &[f32]| {
            assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-5), "{ours:?} is not {theirs:?}");
        };
        let weights = bicubic(7, 3);
        near(&weights[..7], &FIRST_OF_3);
        near(&weights[7..14], &SECOND_OF_3);
        near(&bicubic(7, 10)[7..14], &SECOND_OF_10);
        let same = |at: usize| f32::from(u8::from(at / 5 == at % 5));
        assert_eq!(bicubic(5, 5), (0..25).map(same).collect::<Vec<_>>());
    }

    const FIRST_OF_3: [f32; 7] = [0.383065, 0.439516, 0.213710, 0.000000, -0.032258, -0.004032, 0.000000];
    const SECOND_OF_3: [f32; 7] = [-0.030525, 0.045177, 0.275946, 0.418803, 0.275946, 0.045177, -0.030525];
    const SECOND_OF_10: [f32; 7] = [0.467290, 0.597182, -0.064472, 0.000000, 0.000000, 0.000000, 0.000000];
}
