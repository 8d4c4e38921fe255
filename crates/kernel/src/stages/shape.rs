//! The sizes of a stage, and its weights in the order in which the inner loops read them.

use candle_core::{Result, Tensor, bail};

/// Channels that are computed together: one 512-bit vector, two of 256 bits. Maps have whole groups; those of no channel are 0.
pub(super) const GROUP: usize = 16;

/// The sizes of a 3x3 convolution, with what follows it. Maps are `[height, width, channels]` per image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Channels of the input, and numbers from one of its places to the next.
    pub inputs: usize,
    pub input_step: usize,
    pub outputs: usize,
    pub height: usize,
    pub width: usize,
    /// Side of the windows of the max pooling.
    pub pool: usize,
}

impl Shape {
    /// Those of `stages`' weights over images of `channels` x `height` x `width`.
    pub(super) fn all(weights: &[&Tensor], [channels, height, width]: [usize; 3]) -> Result<Vec<Self>> {
        let mut below = Self { inputs: 0, input_step: 0, outputs: channels, height, width, pool: 1 };
        let mut all = Vec::with_capacity(weights.len());
        for weight in weights {
            let (outputs, inputs, rows, cols) = weight.dims4()?;
            if inputs != below.outputs || (rows, cols) != (3, 3) {
                bail!("a stage of weights {:?} over {} channels", weight.shape(), below.outputs);
            }
            let (height, width) = below.pooled();
            let input_step = if all.is_empty() { inputs } else { below.output_step() };
            below = Self { inputs, input_step, outputs, height, width, pool: if height.min(width) >= 2 { 2 } else { 1 } };
            all.push(below);
        }
        Ok(all)
    }

    pub(super) fn output_step(&self) -> usize {
        self.outputs.next_multiple_of(GROUP)
    }

    /// Numbers of the output of one image before pooling.
    pub(super) fn map(&self) -> usize {
        self.height * self.width * self.output_step()
    }

    /// Height and width after pooling.
    pub(super) fn pooled(&self) -> (usize, usize) {
        (self.height / self.pool, self.width / self.pool)
    }

    /// Numbers of a row of the input, which has a border of one place of zeros on every side.
    pub(super) fn input_line(&self) -> usize {
        (self.width + 2) * self.input_step
    }

    pub(super) fn input(&self) -> usize {
        (self.height + 2) * self.input_line()
    }

    /// The same of the gradient of the convolution's output.
    pub(super) fn slope_line(&self) -> usize {
        (self.width + 2) * self.output_step()
    }

    pub(super) fn slopes(&self) -> usize {
        (self.height + 2) * self.slope_line()
    }

    /// The weights `[outputs, inputs, 3, 3]` as the convolution reads them.
    pub(super) fn pack(&self, weight: &[f32]) -> Vec<f32> {
        pack(self.inputs, self.outputs, |input, output, place| weight[(output * self.inputs + input) * 9 + place])
    }

    /// The same for the convolution of the output's gradient that gives the input's: turned by half a circle.
    pub(super) fn pack_back(&self, weight: &[f32]) -> Vec<f32> {
        pack(self.outputs, self.inputs, |output, input, place| weight[(output * self.inputs + input) * 9 + 8 - place])
    }

    /// `[3, 3, inputs, output step]`, the order of the weight's gradient, to `[outputs, inputs, 3, 3]`.
    pub(super) fn unpack(&self, gradient: &[f32]) -> Vec<f32> {
        let at = |(output, input, place)| gradient[(place * self.inputs + input) * self.output_step() + output];
        let order = (0..self.outputs).flat_map(|output| (0..self.inputs).map(move |input| (output, input)));
        order.flat_map(|(output, input)| (0..9).map(move |place| (output, input, place))).map(at).collect()
    }
}

/// Outputs of a panel of packed weights: two groups, or one where no other is left.
pub(super) const PANEL: usize = 2 * GROUP;

/// Panel after panel of outputs, each `[3, 3, inputs, outputs of the panel]`.
fn pack(inputs: usize, outputs: usize, weight: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
    let whole = outputs.next_multiple_of(GROUP);
    let mut packed = Vec::with_capacity(9 * inputs * whole);
    for first in (0..whole).step_by(PANEL) {
        for (place, input) in (0..9).flat_map(|place| (0..inputs).map(move |input| (place, input))) {
            let panel = first..whole.min(first + PANEL);
            packed.extend(panel.map(|output| if output < outputs { weight(input, output, place) } else { 0.0 }));
        }
    }
    packed
}
