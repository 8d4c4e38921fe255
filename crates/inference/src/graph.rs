//! What a network computes, as a list of operations on maps. It is the same for every device and precision.

use crate::functions::Activation;
use crate::product::UNIT;

/// A map of an image: `[height, width, channels]`. Tokens are a map of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// What an operation gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(pub(crate) usize);

impl Value {
    /// Its operation's place in [`Graph::operations`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Which inputs an output of a convolution or a pool sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub size: usize,
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
}

impl Window {
    #[must_use]
    pub const fn new(size: usize, stride: usize, padding: usize) -> Self {
        Self { size, stride, padding }
    }

    /// A single pixel.
    pub const POINT: Self = Self::new(1, 1, 0);

    /// Outputs along a side of so many inputs.
    pub(crate) fn outputs(self, side: usize) -> usize {
        (side + 2 * self.padding - self.size) / self.stride + 1
    }
}

/// `x * scale + shift` of each channel, and no less than 0: a batch norm with its activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Affine {
    /// Of a number with the scale and the shift of its channel; NaN stays NaN.
    #[inline(always)]
    pub(crate) fn of(x: f32, scale: f32, shift: f32) -> f32 {
        let y = x * scale + shift;
        if y < 0.0 { 0.0 } else { y }
    }
}

/// A layer of weights with its bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// `[outputs, inputs, size, size]`, or `[outputs, 1, size, size]` where each channel has its own; torch's order.
    pub weight: Vec<f32>,
    /// One per output.
    pub bias: Vec<f32>,
}

impl Layer {
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Followed by `x * scale + shift`.
    #[must_use]
    pub fn then(mut self, scale: &[f64], shift: &[f64]) -> Self {
        let each = self.weight.len() / self.bias.len();
        for (output, weights) in self.weight.chunks_mut(each).enumerate() {
            weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale[output]) as f32);
            self.bias[output] = (f64::from(self.bias[output]) * scale[output] + shift[output]) as f32;
        }
        self
    }
}

/// One of a graph. What its fields mean is said where [`Graph`] adds it.
#[derive(Clone, Debug)]
pub enum Operation {
    Input,
    Convolution {
        from: Value,
        window: Window,
        layer: Layer,
        before: Option<Affine>,
        residual: Option<Value>,
        activation: Activation,
    },
    Depthwise {
        from: Value,
        window: Window,
        layer: Layer,
        activation: Activation,
    },
    MaxPool {
        from: Value,
        window: Window,
    },
    /// Of squares of `size`; 0: of everything.
    AveragePool {
        from: Value,
        size: usize,
        before: Option<Affine>,
    },
    LayerNorm {
        from: Value,
        weight: Vec<f32>,
        bias: Vec<f32>,
        eps: f32,
    },
    Attention {
        from: Value,
        heads: usize,
    },
    Gate {
        from: Value,
        by: Value,
    },
    Join {
        from: Value,
        by: Value,
    },
    Tokens {
        from: Value,
        class: Vec<f32>,
        positions: Vec<f32>,
    },
    First {
        from: Value,
    },
}

impl Operation {
    pub(crate) fn reads(&self) -> Vec<Value> {
        match self {
            Self::Input => vec![],
            Self::Convolution { from, residual, .. } => [Some(*from), *residual].into_iter().flatten().collect(),
            Self::Gate { from, by } | Self::Join { from, by } => vec![*from, *by],
            Self::Depthwise { from, .. }
            | Self::MaxPool { from, .. }
            | Self::AveragePool { from, .. }
            | Self::LayerNorm { from, .. }
            | Self::Attention { from, .. }
            | Self::Tokens { from, .. }
            | Self::First { from } => vec![*from],
        }
    }
}

/// A network that is being put together, or is: operations in the order in which they are computed. The last one's value is the result.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) operations: Vec<Operation>,
    pub(crate) shapes: Vec<Shape>,
}

impl Graph {
    /// For images of this size.
    #[must_use]
    pub fn new(channels: usize, height: usize, width: usize) -> (Self, Value) {
        let shape = Shape { height, width, channels };
        (Self { operations: vec![Operation::Input], shapes: vec![shape] }, Value(0))
    }

    /// All operations, in the order in which they are computed.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter()
    }

    #[must_use]
    pub fn shape(&self, value: Value) -> Shape {
        self.shapes[value.0]
    }

    fn push(&mut self, operation: Operation, shape: Shape) -> Value {
        self.operations.push(operation);
        self.shapes.push(shape);
        Value(self.shapes.len() - 1)
    }

    fn windowed(&self, from: Value, window: Window, channels: usize) -> Shape {
        let shape = self.shape(from);
        assert!(shape.height.min(shape.width) + 2 * window.padding >= window.size, "a window larger than its map");
        Shape { height: window.outputs(shape.height), width: window.outputs(shape.width), channels }
    }

    /// A convolution of all channels, or a linear layer of each pixel or token.
    pub fn convolution(&mut self, from: Value, window: Window, layer: Layer, activation: Activation) -> Value {
        self.fused(from, window, layer, None, None, activation)
    }

    /// The same with what comes before it, for windows of single pixels, and with what is added before the activation.
    pub fn fused(
        &mut self,
        from: Value,
        window: Window,
        layer: Layer,
        before: Option<Affine>,
        residual: Option<Value>,
        activation: Activation,
    ) -> Value {
        let inputs = self.shape(from).channels;
        assert_eq!(layer.weight.len(), layer.outputs() * inputs * window.size * window.size, "weights of other maps");
        assert!(before.is_none() || window == Window::POINT, "only single pixels have something before them");
        let shape = self.windowed(from, window, layer.outputs());
        assert!(residual.is_none_or(|residual| self.shape(residual) == shape), "maps of other sizes are added");
        self.push(Operation::Convolution { from, window, layer, before, residual, activation }, shape)
    }

    /// A convolution of each channel by itself, with windows of 3, 5 or 7 and strides of 1 or 2.
    pub fn depthwise(&mut self, from: Value, window: Window, layer: Layer, activation: Activation) -> Value {
        let channels = self.shape(from).channels;
        assert_eq!((layer.outputs(), layer.weight.len()), (channels, channels * window.size * window.size));
        assert!(matches!((window.size, window.stride), (3 | 5 | 7, 1 | 2)), "a window that no network has");
        let shape = self.windowed(from, window, channels);
        self.push(Operation::Depthwise { from, window, layer, activation }, shape)
    }

    /// Of maps that are nowhere below 0: outside of them is 0.
    pub fn max_pool(&mut self, from: Value, window: Window) -> Value {
        let shape = self.windowed(from, window, self.shape(from).channels);
        self.push(Operation::MaxPool { from, window }, shape)
    }

    /// Means of squares of `size` that do not overlap.
    pub fn average_pool(&mut self, from: Value, size: usize, before: Option<Affine>) -> Value {
        let shape = self.windowed(from, Window::new(size, size, 0), self.shape(from).channels);
        self.push(Operation::AveragePool { from, size, before }, shape)
    }

    /// The mean of each channel.
    pub fn global_average(&mut self, from: Value, before: Option<Affine>) -> Value {
        let shape = Shape { height: 1, width: 1, ..self.shape(from) };
        self.push(Operation::AveragePool { from, size: 0, before }, shape)
    }

    /// Ba, Kiros and Hinton, "Layer normalization", 2016: of the channels of each pixel or token.
    pub fn layer_norm(&mut self, from: Value, weight: Vec<f32>, bias: Vec<f32>, eps: f32) -> Value {
        let shape = self.shape(from);
        assert_eq!((weight.len(), bias.len()), (shape.channels, shape.channels));
        self.push(Operation::LayerNorm { from, weight, bias, eps }, shape)
    }

    /// Vaswani et al., "Attention is all you need", 2017: `from` has queries, keys and values, each of all heads.
    pub fn attention(&mut self, from: Value, heads: usize) -> Value {
        let shape = self.shape(from);
        assert!(shape.width == 1 && shape.channels.is_multiple_of(3 * heads), "tokens with queries, keys and values");
        self.push(Operation::Attention { from, heads }, Shape { channels: shape.channels / 3, ..shape })
    }

    /// Each channel times its own number: what squeeze-and-excitation ends with.
    pub fn gate(&mut self, from: Value, by: Value) -> Value {
        let shape = self.shape(from);
        assert_eq!(self.shape(by), Shape { height: 1, width: 1, channels: shape.channels });
        self.push(Operation::Gate { from, by }, shape)
    }

    /// `torch.cat` along the channels, of which the first has a multiple of 16. Each value can be joined once.
    pub fn join(&mut self, from: Value, by: Value) -> Value {
        let (shape, more) = (self.shape(from), self.shape(by));
        assert_ne!(from, by, "a value is joined once");
        assert_eq!((shape.height, shape.width), (more.height, more.width));
        assert!(shape.channels.is_multiple_of(UNIT), "the channels of the first are whole vectors");
        self.push(Operation::Join { from, by }, Shape { channels: shape.channels + more.channels, ..shape })
    }

    /// A map's pixels as tokens behind a class token, each with its position added: `positions` is `[1 + pixels, channels]`.
    pub fn tokens(&mut self, from: Value, class: Vec<f32>, positions: Vec<f32>) -> Value {
        let shape = self.shape(from);
        let tokens = 1 + shape.height * shape.width;
        assert_eq!((class.len(), positions.len()), (shape.channels, tokens * shape.channels));
        self.push(Operation::Tokens { from, class, positions }, Shape { height: tokens, width: 1, channels: shape.channels })
    }

    /// The first token: the class token.
    pub fn first(&mut self, from: Value) -> Value {
        let shape = Shape { height: 1, width: 1, ..self.shape(from) };
        self.push(Operation::First { from }, shape)
    }
}
