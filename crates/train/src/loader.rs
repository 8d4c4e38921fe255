//! Batches: gathered on the host and copied to the device, or gathered on the device from a resident data set.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::criterion::{self, Criterion, DeviceCriterion, Epoch};
use super::{evaluate, is_out_of_memory};
use data::Dataset;
use imbalance::sampler::Draw;
use kernel::gather::{self, NONE, Row, WORDS};
use plan::InputShape;

/// Share of the free memory that a data set may take, before and after it is there: the rest is the network's, its activations' and that of other workers.
const SHARE: f64 = 0.5;

/// Bytes that are copied to the device at once: larger pieces would be read ahead in vain, smaller ones would wait for each
/// other.
const PIECE: usize = 64 << 20;

/// The batches of one data set on one device, shared by all runs on it, one after the other.
pub struct Loader {
    device: Device,
    resident: Option<Resident>,
    words: String,
}

/// A data set on the device, uploaded once.
struct Resident {
    /// `[rows, row_bytes]`, as in the prepared folder.
    data: Tensor,
    /// `[2, channels or width]`: what normalises.
    numbers: Tensor,
}

/// Batches of a list of rows or draws, in its order.
pub trait Batches {
    /// The inputs of the items in `range`: `[batch, channels, height, width]` or `[batch, width]`.
    ///
    /// # Errors
    /// Propagates Candle errors.
    fn inputs(&self, range: Range<usize>) -> Result<Tensor>;
}

impl Loader {
    /// The batches of `data` on `device`: resident where that is not a CPU and has room, copied batch by batch elsewhere.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn new(data: &Dataset, device: &Device) -> Result<Self> {
        let Some(free) = kernel::free_memory(device)? else { return Ok(Self::streamed(device)) };
        let bytes = data.bytes().len();
        let (size, room) = (format!("the data set ({} MiB)", bytes >> 20), format!("{} MiB were free", free >> 20));
        let streamed =
            |why: &str| Self { words: format!("{size} is sent to the device batch by batch: {why}"), ..Self::streamed(device) };
        if bytes as f64 > SHARE * free as f64 {
            return Ok(streamed(&format!("{room}, of which it may take half")));
        }
        match Self::resident(data, device) {
            // Another process has taken the memory meanwhile.
            Err(error) if is_out_of_memory(&error) => Ok(streamed("it was out of memory")),
            loader => {
                let loader = loader?;
                // Another worker may have looked at the same moment: what is left must still be a half.
                if kernel::free_memory(device)?.is_some_and(|left| (bytes as f64) > (left + bytes) as f64 * SHARE) {
                    drop(loader);
                    kernel::give_freed_memory_back(device)?;
                    return Ok(streamed("another worker has taken the memory meanwhile"));
                }
                Ok(Self { words: format!("{size} lies on the device: {room}"), ..loader })
            }
        }
    }

    /// Batches are gathered on the host and copied to `device`.
    #[must_use]
    pub fn streamed(device: &Device) -> Self {
        Self { device: device.clone(), resident: None, words: String::new() }
    }

    /// `data` is copied to `device`, on which batches are gathered.
    ///
    /// # Errors
    /// Candle errors; a device without room.
    pub fn resident(data: &Dataset, device: &Device) -> Result<Self> {
        let (first, second) = data.normalizing();
        let width = first.len();
        let numbers = Tensor::from_vec([first, second].concat(), (2, width), &Device::Cpu)?.to_device(device)?;
        let row = data.shape().row_bytes();
        let whole = Tensor::zeros((data.labels().rows(), row), DType::U8, device)?;
        let step = (PIECE / row.max(1)).max(1) * row;
        for (piece, bytes) in data.bytes().chunks(step.max(1)).enumerate() {
            let rows = bytes.len() / row;
            whole.slice_set(&Tensor::from_slice(bytes, (rows, row), device)?, 0, piece * (step / row))?;
        }
        Ok(Self { resident: Some(Resident { data: whole, numbers }), ..Self::streamed(device) })
    }

    /// What evaluates an epoch's logits: on the device where that is not a CPU.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn criterion<'a>(&self, epoch: Epoch<'a>, before: f64) -> Result<Box<dyn Criterion + 'a>> {
        // A data set that was made resident on the CPU is for tests of the device's code.
        if self.is_resident()
            && let Some(criterion) = DeviceCriterion::new(epoch, &self.device, before)?
        {
            return Ok(Box::new(criterion));
        }
        criterion::open(epoch, &self.device, before)
    }

    /// Where the data set lies and why, for a log; empty where there was no choice.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Where batches come to lie.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether the data set lies on the device.
    #[must_use]
    pub fn is_resident(&self) -> bool {
        self.resident.is_some()
    }

    /// Batches of `draws` (indices into the train split) with the random changes of `augment` (seed, epoch), blends mixed.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn draws<'a>(&'a self, data: &'a Dataset, draws: &'a [Draw], augment: (u64, usize)) -> Result<Box<dyn Batches + 'a>> {
        let Some(resident) = &self.resident else { return Ok(Box::new(Drawn { data, draws, augment, device: &self.device })) };
        let train = &data.split().train;
        let item = |draw: &Draw| match draw.blend {
            Some(blend) => {
                let [row, partner] = [draw.row, blend.partner].map(|row| seen(data, train[row as usize], Some(augment)));
                words(row, partner, blend.shares().words())
            }
            None => words(seen(data, train[draw.row as usize], Some(augment)), [NONE, 0, 0, 0], [0; 4]),
        };
        resident.list(data, draws.par_iter().map(item).collect(), &self.device)
    }

    /// Batches of `rows` as they are.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn rows<'a>(&'a self, data: &'a Dataset, rows: &'a [u32]) -> Result<Box<dyn Batches + 'a>> {
        let Some(resident) = &self.resident else { return Ok(Box::new(HostRows { data, rows, device: &self.device })) };
        let item = |&row: &u32| words(seen(data, row, None), [NONE, 0, 0, 0], [0; 4]);
        resident.list(data, rows.par_iter().map(item).collect(), &self.device)
    }
}

/// Row and random change, as the kernel reads them.
fn seen(data: &Dataset, row: u32, augment: Option<(u64, usize)>) -> [u32; 4] {
    let change = data.change(row, augment);
    [row, u32::from(change.flip), change.down as i32 as u32, change.right as i32 as u32]
}

fn words(row: [u32; 4], partner: [u32; 4], stream: [u32; 4]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    words[..4].copy_from_slice(&row);
    words[4..8].copy_from_slice(&partner);
    words[8..].copy_from_slice(&stream);
    words
}

impl Resident {
    /// The batches of a list of items, which is copied once.
    fn list<'a>(&'a self, data: &'a Dataset, items: Vec<[u32; WORDS]>, device: &Device) -> Result<Box<dyn Batches + 'a>> {
        let count = items.len();
        let items = Tensor::from_vec(items.into_flattened(), (count, WORDS), device)?;
        Ok(Box::new(Gathered { resident: self, data, items }))
    }
}

/// A list whose batches are gathered on the device.
struct Gathered<'a> {
    resident: &'a Resident,
    data: &'a Dataset,
    items: Tensor,
}

impl Batches for Gathered<'_> {
    fn inputs(&self, range: Range<usize>) -> Result<Tensor> {
        let items = self.items.narrow(0, range.start, range.len())?;
        gather::gather(&self.resident.data, &items, &self.resident.numbers, row(self.data.shape()))
    }
}

/// Draws that are gathered on the host.
struct Drawn<'a> {
    data: &'a Dataset,
    draws: &'a [Draw],
    augment: (u64, usize),
    device: &'a Device,
}

impl Batches for Drawn<'_> {
    fn inputs(&self, range: Range<usize>) -> Result<Tensor> {
        evaluate::drawn(self.data, &self.draws[range], self.augment, self.device)
    }
}

/// HostRows that are gathered on the host.
struct HostRows<'a> {
    data: &'a Dataset,
    rows: &'a [u32],
    device: &'a Device,
}

impl Batches for HostRows<'_> {
    fn inputs(&self, range: Range<usize>) -> Result<Tensor> {
        evaluate::inputs(self.data, &self.rows[range], None, self.device)
    }
}

/// A row of the data set as the kernel knows it.
fn row(shape: InputShape) -> Row {
    match shape {
        InputShape::Image { channels, height, width } => Row::Image { channels, height, width },
        InputShape::Features { width } => Row::Features { width },
    }
}
