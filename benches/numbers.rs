//! `cargo bench --bench numbers`: what is not a network: losses with their gradients and the gathering of batches, each above the same by
//! Candle's operations, and metrics, whose peers `benches/metrics_side_by_side.py` runs.

use candle_core::{DType, Device, Result, Tensor, Var};
use data::{self, Dataset};
use divan::Bencher;
use divan::counter::ItemsCount;
use imbalance::Choice;
use imbalance::LabelCounts;
use imbalance::LabelMatrix;
use imbalance::loss::{self, Batch, Context};
use imbalance::metric::certainty::{Decided, Resampling, bootstrap};
use imbalance::metric::{self, Rate};
use imbalance::rng::Rng;
use imbalance::stratification::SplitConfig;
use plan::{DataConfig, Source};

/// As the program itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Scores, and truth of which three tenths are positive.
fn cells(rows: usize, labels: usize) -> (Vec<f32>, LabelMatrix) {
    let mut rng = Rng::new(0, "bench", &[]);
    let scores = (0..rows * labels).map(|_| rng.uniform() as f32).collect();
    let values = (0..rows * labels).map(|_| u8::from(rng.uniform() < 0.3)).collect();
    (scores, LabelMatrix { names: (0..labels).map(|label| label.to_string()).collect(), values })
}

/// The value and the gradient of a batch of 256 rows of 80 columns.
#[divan::bench_group(max_time = 1)]
mod loss_with_gradient {
    use super::*;

    const SHAPE: (usize, usize) = (256, 80);

    fn ours(bencher: Bencher, choice: Choice) {
        let (scores, truth) = cells(SHAPE.0, SHAPE.1);
        let logits: Vec<f32> = scores.iter().map(|score| 6.0 * score - 3.0).collect();
        let counts = LabelCounts::new(1000, vec![300; SHAPE.1]);
        let loss = loss::build(&choice, &Context { pos_weight: vec![2.0; SHAPE.1], counts, epochs: 1 }).expect("a loss");
        let mut gradient = vec![0.0; logits.len()];
        bencher.counter(ItemsCount::new(logits.len())).bench_local(|| {
            loss.evaluate(Batch { labels: SHAPE.1, logits: &logits, targets: &truth.values, epoch: 0 }, &mut gradient)
        });
    }

    /// `-w y log p - (1 - y) log (1 - p)`, each cell times `(1 - p of its class)^gamma`.
    fn candle(bencher: Bencher, gamma: Option<f64>) {
        let (scores, truth) = cells(SHAPE.0, SHAPE.1);
        let make = || -> Result<(Var, Tensor)> {
            let logits = Var::from_tensor(&Tensor::from_vec(scores, SHAPE, &Device::Cpu)?.affine(6.0, -3.0)?)?;
            Ok((logits, Tensor::from_vec(truth.values, SHAPE, &Device::Cpu)?.to_dtype(DType::F32)?))
        };
        let (logits, y) = make().expect("as many values as the shape has");
        let softplus = |z: &Tensor| z.relu()? + (z.abs()?.neg()?.exp()? + 1.0)?.log()?;
        let work = || -> Result<_> {
            let z = logits.as_tensor();
            let (positive, negative) = ((softplus(&z.neg()?)? * &y)?, (softplus(z)? * y.affine(-1.0, 1.0)?)?);
            let mut cost = (positive.affine(2.0, 0.0)? + negative)?;
            if let Some(gamma) = gamma {
                let sign = y.affine(-2.0, 1.0)?;
                cost = (cost * candle_nn::ops::sigmoid(&(z * sign)?)?.powf(gamma)?)?;
            }
            cost.mean_all()?.backward()
        };
        bencher.counter(ItemsCount::new(SHAPE.0 * SHAPE.1)).bench_local(|| work().expect("the shapes fit"));
    }

    #[divan::bench]
    fn bce_sweep(bencher: Bencher) {
        ours(bencher, Choice::plain("bce"));
    }

    #[divan::bench]
    fn bce_candle(bencher: Bencher) {
        candle(bencher, None);
    }

    #[divan::bench]
    fn focal_sweep(bencher: Bencher) {
        ours(bencher, Choice::plain("focal").with("gamma", 2.0));
    }

    #[divan::bench]
    fn focal_candle(bencher: Bencher) {
        candle(bencher, Some(2.0));
    }
}

#[divan::bench_group(max_time = 1)]
mod metrics {
    use super::*;

    #[divan::bench]
    fn counts_at_101_thresholds_20000x4(bencher: Bencher) {
        let (scores, truth) = cells(20_000, 4);
        let thresholds: Vec<f32> = (0..101u8).map(|cent| f32::from(cent) / 100.0).collect();
        bencher.bench_local(|| metric::counts_at(&scores, &truth, &thresholds));
    }

    #[divan::bench]
    fn ap_and_auc_20000x4(bencher: Bencher) {
        let (scores, truth) = cells(20_000, 4);
        bencher.bench_local(|| metric::rank(&scores, &truth));
    }

    #[divan::bench]
    fn bootstrap_f1_1000_of_20000x4(bencher: Bencher) {
        let (scores, truth) = cells(20_000, 4);
        let resampling = Resampling { rows: 20_000, groups: None, replicates: 1000, seed: 0, jackknife: 0 };
        bencher.bench_local(|| {
            let decided = Decided::new(&scores, &truth, &[0.5; 4]);
            bootstrap(&resampling, &[&decided.rate(Rate::F(1.0))])
        });
    }
}

/// Shuffled rows of mapped letters as a batch of f32; Candle selects rows of a tensor of bytes.
#[divan::bench_group(max_time = 1)]
mod gather_32 {
    use super::*;

    const ROWS: usize = 2000;

    fn order() -> Vec<u32> {
        let mut order: Vec<u32> = (0u32..).take(ROWS).collect();
        Rng::new(0, "bench", &[]).shuffle(&mut order);
        order
    }

    #[divan::bench(args = [64, 224])]
    fn sweep(bencher: Bencher, size: u32) {
        let label_rates = [("A", 0.3), ("B", 0.4)].map(|(name, rate)| (name.to_owned(), rate)).to_vec();
        let config = DataConfig {
            source: Source::Letters { samples: ROWS, label_rates, image_size: size, signal: 1.0, seed: 0 },
            split: SplitConfig { train: 0.8, val: 0.1, test: 0.1, method: "random".to_owned(), seed: 0 },
        };
        let cache = tempfile::tempdir().expect("a folder");
        let facts = data::prepare(&config, cache.path(), cache.path(), &|_, _| {}).expect("letters").facts;
        let data = Dataset::open(&facts.folder, &config).expect("what was just prepared");
        let mut out = vec![0.0; 32 * data.shape().values()];
        let order = order();
        let mut batches = order.chunks_exact(32).cycle();
        bencher.counter(ItemsCount::new(32u32)).bench_local(|| data.gather(batches.next().unwrap_or_default(), None, &mut out));
    }

    #[divan::bench(args = [64, 224])]
    fn candle(bencher: Bencher, size: usize) {
        let work = || -> Result<(Tensor, Vec<Tensor>)> {
            let batch = |rows: &[u32]| Tensor::new(rows, &Device::Cpu);
            Ok((
                Tensor::zeros((ROWS, 1, size, size), DType::U8, &Device::Cpu)?,
                order().chunks_exact(32).map(batch).collect::<Result<_>>()?,
            ))
        };
        let (pixels, batches) = work().expect("the shapes fit");
        let mut batches = batches.iter().cycle();
        let mut gather =
            || pixels.index_select(batches.next().unwrap_or(&pixels), 0)?.to_dtype(DType::F32)?.affine(1.0 / 255.0, 0.0);
        bencher.counter(ItemsCount::new(32u32)).bench_local(|| gather().expect("the shapes fit"));
    }
}
