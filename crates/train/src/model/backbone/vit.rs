//! Vision transformers: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021. DINOv2 (Oquab et al., "DINOv2: Learning robust
//! visual features without supervision", TMLR 2024) scales its layers; CLIP (Radford et al., "Learning transferable visual models from
//! natural language supervision", ICML 2021) has a norm before the blocks. Names are timm's; the features are the class token after
//! the last norm, as timm's models return them with `num_classes=0`, and DINOv2's authors' do. So are CLIP's: its projection to the space
//! of texts is left out, as in the paper's own linear probes (appendix A.3).
//!
//! Positions are resized as timm does: bicubic, antialiased.

use super::super::ModelError;
use super::parts::Weights;
use inference::{Activation, Graph, Value, Window};
use plan::tensors::VIT_DEPTH;

/// What differs between them.
#[derive(Clone, Copy)]
pub(super) struct Vit {
    pub patch: usize,
    /// Squares on a side of the images of the last phase of its training.
    pub grid: usize,
    pub heads: usize,
    /// Of the norms.
    pub eps: f32,
    pub activation: Activation,
    /// Whether what each layer adds is scaled.
    pub scaled: bool,
    /// Whether there is a norm before the blocks, and so no bias before that.
    pub before: bool,
}

impl Vit {
    /// timm's `vit_small_patch16_224`.
    pub const SMALL: Self =
        Self { patch: 16, grid: 14, heads: 6, eps: 1e-6, activation: Activation::Gelu, scaled: false, before: false };
    /// timm's `vit_base_patch16_224`.
    pub const BASE: Self = Self { heads: 12, ..Self::SMALL };
    /// `dinov2_vits14`, timm's `vit_small_patch14_dinov2`: 518 pixels.
    pub const DINOV2_SMALL: Self = Self { patch: 14, grid: 37, scaled: true, ..Self::SMALL };
    /// `dinov2_vitb14`, timm's `vit_base_patch14_dinov2`.
    pub const DINOV2_BASE: Self = Self { heads: 12, ..Self::DINOV2_SMALL };
    /// open_clip's `ViT-B-32`, timm's `vit_base_patch32_clip_224`.
    pub const CLIP: Self = Self { patch: 32, grid: 7, eps: 1e-5, before: true, ..Self::BASE };
    /// open_clip's `ViT-B-32-quickgelu`, timm's `vit_base_patch32_clip_quickgelu_224`.
    pub const CLIP_QUICK: Self = Self { activation: Activation::QuickGelu, ..Self::CLIP };

    pub fn graph(self, weights: &Weights, edge: usize) -> Result<Graph, ModelError> {
        let (mut graph, images) = Graph::new(3, edge, edge);
        let norm = |graph: &mut Graph, x: Value, name: &str| {
            weights.layer_norm(name).map(|(weight, bias)| graph.layer_norm(x, weight, bias, self.eps))
        };
        let last = |layer: &str, gamma: &str| if self.scaled { weights.scaled(layer, gamma) } else { weights.biased(layer) };
        let class = weights.numbers("cls_token")?;
        let patches =
            if self.before { weights.plain("patch_embed.proj", class.len())? } else { weights.biased("patch_embed.proj")? };
        let patches = graph.convolution(images, Window::new(self.patch, self.patch, 0), patches, Activation::Identity);
        let positions = positions(&weights.numbers("pos_embed")?, class.len(), self.grid, graph.shape(patches).height);
        let mut x = graph.tokens(patches, class, positions);
        if self.before {
            x = norm(&mut graph, x, "norm_pre")?;
        }
        for block in 0..VIT_DEPTH {
            let name = |what: &str| format!("blocks.{block}.{what}");
            let y = norm(&mut graph, x, &name("norm1"))?;
            let y = graph.convolution(y, Window::POINT, weights.biased(&name("attn.qkv"))?, Activation::Identity);
            let y = graph.attention(y, self.heads);
            let layer = last(&name("attn.proj"), &name("ls1.gamma"))?;
            x = graph.fused(y, Window::POINT, layer, None, Some(x), Activation::Identity);
            let y = norm(&mut graph, x, &name("norm2"))?;
            let y = graph.convolution(y, Window::POINT, weights.biased(&name("mlp.fc1"))?, self.activation);
            let layer = last(&name("mlp.fc2"), &name("ls2.gamma"))?;
            x = graph.fused(y, Window::POINT, layer, None, Some(x), Activation::Identity);
        }
        let x = graph.first(x);
        norm(&mut graph, x, "norm")?;
        Ok(graph)
    }
}

/// Positions `[1 + side * side, width]` of the class token and of so many squares on a side, from those of `grid` squares.
fn positions(all: &[f32], width: usize, grid: usize, side: usize) -> Vec<f32> {
    if side == grid {
        return all.to_vec();
    }
    let along = bicubic(grid, side);
    let (class, squares) = all.split_at(width);
    // Rows first, then the columns of each row.
    let resized = |from: &[f32], rows: usize, length: usize| -> Vec<f32> {
        let mut to = vec![0.0; rows * length];
        for (weights, to) in along.chunks(grid).zip(to.chunks_mut(length)) {
            for (weight, from) in weights.iter().zip(from.chunks(length)).filter(|(weight, _)| **weight != 0.0) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
            }
        }
        to
    };
    let rows = resized(squares, side, grid * width);
    let columns = rows.chunks(grid * width).flat_map(|row| resized(row, side, width));
    class.iter().copied().chain(columns).collect()
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
