//! Puts results that kernels have computed into Candle's graph, with a backward pass of ours.

use std::sync::{Mutex, PoisonError};

use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Storage, Tensor, bail,
};

use crate::gradients::hand_over;

/// From a result and its contiguous gradient to the gradients of the arguments; `None` where none is needed.
type Backward<const N: usize> = Box<dyn Fn(&Tensor, &Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync>;

/// An operation of N arguments whose result exists already.
struct Computed<const N: usize> {
    name: &'static str,
    /// Taken when the operation is put into the graph, right after it is made.
    result: Mutex<Option<(CudaStorage, Shape)>>,
    backward: Backward<N>,
}

impl<const N: usize> Computed<N> {
    fn new(name: &'static str, result: Fresh, backward: Backward<N>) -> Self {
        Self { name, result: Mutex::new(Some((result.storage, result.shape))), backward }
    }

    fn take(&self) -> Result<(CudaStorage, Shape)> {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.map_or_else(|| bail!("{}: its result has been taken already", self.name), Ok)
    }
}

/// The most numbers of a result: cuDNN counts no further, and Candle's operations wrap at twice as many, without a word.
const LARGEST: usize = i32::MAX as usize;

/// What a kernel writes, not yet a tensor.
pub(crate) struct Fresh {
    storage: CudaStorage,
    shape: Shape,
}

impl Fresh {
    /// Arbitrary values: write before you read.
    ///
    /// # Errors
    /// The device's memory is full, or there are more numbers than operations count; a type that no kernel of ours writes.
    pub(crate) fn new(device: &CudaDevice, shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let shape = shape.into();
        let count = shape.elem_count();
        if count > LARGEST && dtype != DType::U8 {
            // With the words of a device without memory: a smaller batch is the remedy of both.
            bail!("out of memory: {count} numbers at once, of which an operation on CUDA counts {LARGEST}");
        }
        // SAFETY: any bits are a number of these types; see above for reading.
        let storage = unsafe {
            match dtype {
                DType::F32 => CudaStorage::wrap_cuda_slice(device.alloc::<f32>(count)?, device.clone()),
                DType::BF16 => CudaStorage::wrap_cuda_slice(device.alloc::<half::bf16>(count)?, device.clone()),
                DType::F64 => CudaStorage::wrap_cuda_slice(device.alloc::<f64>(count)?, device.clone()),
                DType::U32 => CudaStorage::wrap_cuda_slice(device.alloc::<u32>(count)?, device.clone()),
                DType::U8 => CudaStorage::wrap_cuda_slice(device.alloc::<u8>(count)?, device.clone()),
                other => bail!("no CUDA kernel of ours writes {other:?}"),
            }
        };
        Ok(Self { storage, shape })
    }

    /// Where the first value lies.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn address(&self) -> Result<u64> {
        super::storage_address(&self.storage, &Layout::contiguous(&self.shape))
    }

    /// A tensor outside any graph.
    pub(crate) fn tensor(self) -> Tensor {
        let Self { storage, shape } = self;
        Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
    }

    pub(crate) fn attach1(
        self,
        name: &'static str,
        a: &Tensor,
        backward: impl Fn(&Tensor, &Tensor) -> Result<[Option<Tensor>; 1]> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        a.apply_op1(Computed::new(name, self, Box::new(backward)))
    }

    pub(crate) fn attach2(
        self,
        name: &'static str,
        [a, b]: [&Tensor; 2],
        backward: impl Fn(&Tensor, &Tensor) -> Result<[Option<Tensor>; 2]> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        a.apply_op2(b, Computed::new(name, self, Box::new(backward)))
    }

    pub(crate) fn attach3(
        self,
        name: &'static str,
        [a, b, c]: [&Tensor; 3],
        backward: impl Fn(&Tensor, &Tensor) -> Result<[Option<Tensor>; 3]> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        a.apply_op3(b, c, Computed::new(name, self, Box::new(backward)))
    }
}

impl CustomOp1 for Computed<1> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("{} was computed on CUDA", self.name)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take()
    }

    fn bwd(&self, a: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let [da] = (self.backward)(y, &dy.contiguous()?)?;
        hand_over(a, da)
    }
}

impl CustomOp2 for Computed<2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("{} was computed on CUDA", self.name)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [da, db] = (self.backward)(y, &dy.contiguous()?)?;
        Ok((hand_over(a, da)?, hand_over(b, db)?))
    }
}

impl CustomOp3 for Computed<3> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("{} was computed on CUDA", self.name)
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [da, db, dc] = (self.backward)(y, &dy.contiguous()?)?;
        Ok((hand_over(a, da)?, hand_over(b, db)?, hand_over(c, dc)?))
    }
}
