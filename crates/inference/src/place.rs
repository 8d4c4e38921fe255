//! Where values lie: maps in buffers, with a border of zeros for what looks beyond them.

use crate::graph::{Graph, Operation, Value};
use crate::product::whole;

/// How a map lies in its buffer: `[height + 2 border, width + 2 border, stride]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub height: usize,
    pub width: usize,
    /// Numbers of a pixel.
    pub stride: usize,
    pub border: usize,
}

impl Layout {
    pub fn len(&self) -> usize {
        (self.height + 2 * self.border) * self.row()
    }

    /// Numbers of a row of pixels; an even number.
    pub fn row(&self) -> usize {
        ((self.width + 2 * self.border) * self.stride).next_multiple_of(2)
    }

    pub fn pixels(&self) -> usize {
        self.height * self.width
    }
}

/// A value in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which buffer.
    pub buffer: usize,
    pub layout: Layout,
    /// Its first channel there.
    pub first: usize,
    pub channels: usize,
}

impl Place {
    /// Of the first channel of a pixel; rows and columns may lie in the border.
    pub fn at(&self, y: isize, x: isize) -> usize {
        let border = self.layout.border as isize;
        let (y, x) = ((y + border) as usize, (x + border) as usize);
        y * self.layout.row() + x * self.layout.stride + self.first
    }

    /// Of all pixels, row by row.
    pub fn pixels(&self) -> Vec<usize> {
        let (height, width) = (self.layout.height as isize, self.layout.width as isize);
        (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| self.at(y, x)).collect()
    }
}

/// The places of all values, and how the buffers lie; a buffer serves several values, one after the other.
pub(crate) fn places(graph: &Graph) -> (Vec<Place>, Vec<Layout>) {
    let values = graph.shapes.len();
    // Joined values lie in the buffer of the join.
    let (mut root, mut first): (Vec<usize>, Vec<usize>) = ((0..values).collect(), vec![0; values]);
    for (value, operation) in graph.operations.iter().enumerate().rev() {
        if let Operation::Join { from, by } = operation {
            assert!(root[from.0] == from.0 && root[by.0] == by.0, "a value is joined once");
            (root[from.0], first[from.0]) = (root[value], first[value]);
            (root[by.0], first[by.0]) = (root[value], first[value] + graph.shape(*from).channels);
        }
    }
    let mut border = vec![0; values];
    let (mut begin, mut end) = (vec![usize::MAX; values], vec![0; values]);
    for (at, operation) in graph.operations.iter().enumerate() {
        let at_root = root[at];
        begin[at_root] = begin[at_root].min(at);
        end[at_root] = end[at_root].max(at);
        for Value(read) in operation.reads() {
            end[root[read]] = end[root[read]].max(at);
        }
        let padded = match operation {
            Operation::Convolution { from, window, .. }
            | Operation::Depthwise { from, window, .. }
            | Operation::MaxPool { from, window } => Some((from.0, window.padding)),
            _ => None,
        };
        if let Some((read, padding)) = padded {
            border[root[read]] = border[root[read]].max(padding);
        }
    }
    end[root[values - 1]] = values;
    let layout = |value: usize| {
        let shape = graph.shapes[value];
        // Windows begin at even numbers.
        let odd = |read: &Operation| matches!(read, Operation::Convolution { from, window, .. } if from.0 == 0 && window.stride % 2 == 1);
        let stride = match value {
            0 if graph.operations().any(odd) => shape.channels.next_multiple_of(2),
            0 => shape.channels,
            _ => whole(shape.channels),
        };
        Layout { height: shape.height, width: shape.width, stride, border: border[value] }
    };
    let mut buffers: Vec<Layout> = Vec::new();
    // Until which operation each buffer is in use.
    let mut busy: Vec<usize> = Vec::new();
    let mut buffer = vec![usize::MAX; values];
    for (at, &owner) in root.iter().enumerate() {
        if begin[owner] != at {
            continue;
        }
        let wanted = layout(owner);
        // A border is zero for good, since nobody writes there: only a map of the same layout may follow.
        let free = (0..buffers.len()).find(|&one| buffers[one] == wanted && busy[one] < at);
        let one = free.unwrap_or_else(|| {
            buffers.push(wanted);
            busy.push(0);
            buffers.len() - 1
        });
        busy[one] = end[owner];
        buffer[owner] = one;
    }
    let place = |value: usize| Place {
        buffer: buffer[root[value]],
        layout: buffers[buffer[root[value]]],
        first: first[value],
        channels: graph.shapes[value].channels,
    };
    ((0..values).map(place).collect(), buffers)
}
