//! A graph, ready to be computed.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::attention::Attention;
use crate::depthwise::{ALONG, Depthwise};
use crate::graph::{Graph, Operation, Value, Window};
use crate::half::Precision;
use crate::layer::{Maps, Product, Rows};
use crate::place::{Layout, Place, places};
use crate::pointwise::{AveragePool, First, Gate, LayerNorm, MaxPool, Tokens};
use crate::product::UNIT;

/// A network on the CPU. It can be used by several threads at once.
pub struct Engine {
    steps: Vec<Box<dyn Step>>,
    input: Place,
    output: Place,
    buffers: Vec<Layout>,
    /// Buffers that nobody uses now.
    spare: Mutex<Vec<Buffers>>,
}

/// An operation in its place.
pub(crate) trait Step: Send + Sync {
    /// Of the first so many images.
    fn run(&self, buffers: &mut Buffers, images: usize);
}

/// Working memory of some images.
pub(crate) struct Buffers {
    maps: Vec<Vec<f32>>,
    /// What a step needs for itself.
    pub scratch: Vec<f32>,
    /// Maps as products read them.
    taken: Vec<f32>,
    pub rows: Rows,
}

// SAFETY: the pointers are into `maps` and `scratch`, and are made anew by the step that reads them.
unsafe impl Send for Buffers {}

impl Buffers {
    /// The start of an image's map.
    pub fn map(&mut self, place: &Place, image: usize) -> *mut f32 {
        let (map, first) = (&mut self.maps[place.buffer], image * place.layout.len());
        assert!(first < map.len());
        // SAFETY: in the map; what is read behind an image's is the room there.
        unsafe { map.as_mut_ptr().add(first) }
    }

    /// Its first so many numbers are of no meaning yet.
    pub fn scratch(&mut self, length: usize) -> &mut [f32] {
        room(&mut self.scratch, length)
    }

    /// Room for so many items of whole maps.
    pub fn taken(&mut self, length: usize) -> &mut [f32] {
        room(&mut self.taken, length)
    }
}

/// The first so many numbers, which are there from now on.
fn room(numbers: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if numbers.len() < length {
        numbers.resize(length, 0.0);
    }
    &mut numbers[..length]
}

/// Images that one thread takes through the network together: weights are read once for all of them.
const TOGETHER: usize = 2;

impl Engine {
    /// # Panics
    /// Where this CPU does not support the precision.
    #[must_use]
    pub fn new(graph: &Graph, precision: Precision) -> Self {
        assert!(precision.supported(), "asked before");
        let (places, buffers) = places(graph);
        let place = |value: &Value| places[value.0];
        let mut steps: Vec<Box<dyn Step>> = Vec::new();
        for (operation, to) in graph.operations.iter().zip(&places) {
            let to = *to;
            steps.push(match operation {
                Operation::Input | Operation::Join { .. } => continue,
                Operation::Convolution { from, window, layer, before, residual, activation } => {
                    let maps = Maps { from: place(from), to, residual: residual.as_ref().map(place) };
                    Box::new(Product::new(maps, *window, layer, before.clone(), *activation, precision))
                }
                Operation::Depthwise { from, window, layer, activation } => {
                    Box::new(Depthwise::new(place(from), to, *window, layer, *activation))
                }
                Operation::MaxPool { from, window } => Box::new(MaxPool { from: place(from), to, window: *window }),
                Operation::AveragePool { from, size, before } => {
                    let window = if *size == 0 { None } else { Some(Window::new(*size, *size, 0)) };
                    Box::new(AveragePool { from: place(from), to, window, before: before.clone() })
                }
                Operation::LayerNorm { from, weight, bias, eps } => {
                    Box::new(LayerNorm { from: place(from), to, weight: weight.clone(), bias: bias.clone(), eps: *eps })
                }
                Operation::Attention { from, heads } => Box::new(Attention { from: place(from), to, heads: *heads, precision }),
                Operation::Gate { from, by } => Box::new(Gate { from: place(from), by: place(by), to }),
                Operation::Tokens { from, class, positions } => {
                    Box::new(Tokens { from: place(from), to, class: class.clone(), positions: positions.clone() })
                }
                Operation::First { from } => Box::new(First { from: place(from), to }),
            });
        }
        let (input, output) = (places[0], places[places.len() - 1]);
        Self { steps, input, output, buffers, spare: Mutex::new(Vec::new()) }
    }

    /// Numbers of an image's features.
    #[must_use]
    pub fn width(&self) -> usize {
        self.output.layout.pixels() * self.output.channels
    }

    /// Features `[images, width]` of images `[images, channels, height, width]`.
    ///
    /// # Panics
    /// Where `images` are not whole images.
    #[must_use]
    pub fn run(&self, images: &[f32]) -> Vec<f32> {
        let each = self.input.layout.pixels() * self.input.channels;
        assert!(images.len().is_multiple_of(each), "whole images");
        let mut features = vec![0.0; images.len() / each * self.width()];
        // As many as the threads can share evenly.
        let together = (images.len() / each).div_ceil(rayon::current_num_threads()).clamp(1, TOGETHER);
        images.par_chunks(together * each).zip(features.par_chunks_mut(together * self.width())).for_each(
            |(images, features)| {
                let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut buffers = spare.unwrap_or_else(|| Buffers {
                    maps: self
                        .buffers
                        .iter()
                        .map(|layout| vec![0.0; TOGETHER * layout.len() + 2 * ALONG * layout.stride + UNIT])
                        .collect(),
                    scratch: Vec::new(),
                    taken: Vec::new(),
                    rows: Rows::default(),
                });
                self.some(images, features, &mut buffers);
                self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffers);
            },
        );
        features
    }

    fn some(&self, images: &[f32], features: &mut [f32], buffers: &mut Buffers) {
        let count = features.len() / self.width();
        let input = &self.input;
        let (channels, pixels, width) = (input.channels, input.layout.pixels(), input.layout.width);
        for (image, planes) in images.chunks(channels * pixels).enumerate() {
            let map = buffers.map(input, image);
            // SAFETY: `map` has `layout.len()` numbers, and nobody else has them.
            let map = unsafe { std::slice::from_raw_parts_mut(map, input.layout.len()) };
            for y in 0..input.layout.height {
                let row = &mut map[input.at(y as isize, 0)..][..width * input.layout.stride];
                for (x, pixel) in row.chunks_mut(input.layout.stride).enumerate() {
                    for (channel, number) in pixel.iter_mut().take(channels).enumerate() {
                        *number = planes[channel * pixels + y * width + x];
                    }
                }
            }
        }
        for step in &self.steps {
            step.run(buffers, count);
        }
        let output = &self.output;
        for (image, features) in features.chunks_mut(self.width()).enumerate() {
            let map = buffers.map(output, image);
            for (pixel, features) in output.pixels().into_iter().zip(features.chunks_mut(output.channels)) {
                // SAFETY: a pixel of the map.
                features.copy_from_slice(unsafe { std::slice::from_raw_parts(map.add(pixel), output.channels) });
            }
        }
    }
}
