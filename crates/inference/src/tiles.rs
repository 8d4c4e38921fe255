//! Products in bf16 by AMX: tiles of 16 rows with 16 items each.
//!
//! Intel, "Architecture instruction set extensions programming reference", chapter 3: `tdpbf16ps` adds to 16 x 16 sums in f32 the
//! products of 16 rows of 16 pairs with 16 pairs of 16 outputs.

use std::arch::asm;
use std::sync::OnceLock;

use pulp::x86::V4;

use crate::graph::Affine;
use crate::half::pairs::{Pairs, Vector};
use crate::product::{Dot, Inputs, ROWS, UNIT};

/// Two numbers in bf16, by AMX where rows lie as tiles do, else by AVX512-BF16.
#[derive(Clone, Copy)]
pub(crate) struct Tiles;

/// Whether this CPU has AMX for bf16 and the system lets this process use it; asked once.
pub(crate) fn supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| instructions() && state() && permitted())
}

/// AMX-BF16 and AMX-TILE.
fn instructions() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const BOTH: u32 = 1 << 22 | 1 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BOTH == BOTH
}

/// Whether the system saves tiles when it changes threads.
fn state() -> bool {
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: the system has enabled `xgetbv`, or `xsave` were not detected.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    const TILES: u64 = 1 << 17 | 1 << 18;
    // SAFETY: just asked.
    std::arch::is_x86_feature_detected!("xsave") && unsafe { saved() } & TILES == TILES
}

/// Linux lets a process use tiles once it has asked: the memory in which it saves a thread grows with them.
fn permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: changes nothing but the permission.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// The shapes of all eight tiles, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_a_row: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = {
    let mut shapes = Shapes { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_a_row: [0; 16], rows: [0; 16] };
    let mut tile = 0;
    while tile < 8 {
        shapes.bytes_of_a_row[tile] = 64;
        shapes.rows[tile] = 16;
        tile += 1;
    }
    shapes
};

impl Dot<V4> for Tiles {
    const TILES: bool = true;

    #[inline(always)]
    unsafe fn add(self, simd: V4, a: Vector, b: Vector, sum: Vector) -> Vector {
        // SAFETY: the caller's.
        unsafe { Pairs.add(simd, a, b, sum) }
    }

    #[inline(always)]
    unsafe fn take(self, simd: V4, from: &[f32], before: Option<&Affine>, to: &mut [f32]) {
        // SAFETY: the caller's.
        unsafe { Pairs.take(simd, from, before, to) }
    }

    #[inline(always)]
    unsafe fn sums(
        self,
        simd: V4,
        rows: &[*const f32],
        inputs: Inputs<'_>,
        (weights, stride): (*const f32, usize),
        units: usize,
        mut each: impl FnMut(usize, usize, usize, &mut [f32]),
    ) {
        let step = rows.get(1).map_or(0, |second| second.addr().wrapping_sub(rows[0].addr()));
        let even = rows.windows(2).all(|pair| pair[1].addr().wrapping_sub(pair[0].addr()) == step);
        if !(even && rows.len().is_multiple_of(ROWS) && inputs.taps == [0] && inputs.run.is_multiple_of(UNIT)) {
            // SAFETY: the caller's.
            return unsafe { Pairs.sums(simd, rows, inputs, (weights, stride), units, each) };
        }
        // SAFETY: the CPU has tiles, and the process may use them.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) };
        for (block, rows) in rows.chunks_exact(ROWS).enumerate() {
            for unit in (0..units).step_by(2) {
                // Of a single unit both columns of tiles are the same.
                let width = (units - unit).min(2) * UNIT;
                let mut sums = [0.0; ROWS * 2 * UNIT];
                // SAFETY: `ROWS` rows, a step apart, and as many rows of weights as a row has items.
                unsafe {
                    block_of_tiles(
                        rows[0],
                        step,
                        (weights.add(unit * UNIT), 4 * stride),
                        4 * (width - UNIT),
                        inputs.run,
                        &mut sums,
                    );
                }
                if width == UNIT {
                    for row in 0..ROWS {
                        sums.copy_within(row * 2 * UNIT..row * 2 * UNIT + UNIT, row * UNIT);
                    }
                }
                each(block * ROWS, unit * UNIT, width, &mut sums[..ROWS * width]);
            }
        }
        // SAFETY: as above.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// `sums[32][32]` of 32 rows, `step` bytes apart, with two units of weights, whose rows are `stride` and which are `apart` bytes apart.
///
/// # Safety
/// Rows have `items`, which are whole tiles; there are as many rows of weights; all tiles have 16 rows of 64 bytes.
#[inline(always)]
unsafe fn block_of_tiles(
    rows: *const f32,
    step: usize,
    (weights, stride): (*const f32, usize),
    apart: usize,
    items: usize,
    sums: &mut [f32; ROWS * 2 * UNIT],
) {
    // SAFETY: the caller's; the compiler keeps nothing in tiles.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{low} + {step}]",
            "tileloadd tmm5, [{high} + {step}]",
            "tileloadd tmm6, [{first} + {stride}]",
            "tileloadd tmm7, [{second} + {stride}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {low}, 64",
            "add {high}, 64",
            "add {first}, {next}",
            "add {second}, {next}",
            "dec {count}",
            "jnz 2b",
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + 64], tmm1",
            "tilestored [{sums} + {row} + 2048], tmm2",
            "tilestored [{sums} + {row} + 2112], tmm3",
            low = inout(reg) rows => _,
            high = inout(reg) rows.byte_add(UNIT * step) => _,
            step = in(reg) step,
            first = inout(reg) weights => _,
            second = inout(reg) weights.byte_add(apart) => _,
            stride = in(reg) stride,
            next = in(reg) UNIT * stride,
            count = inout(reg) items / UNIT => _,
            sums = in(reg) sums.as_mut_ptr(),
            row = in(reg) 4 * 2 * UNIT,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// # Safety
/// The CPU has these features, and [`supported`] tiles.
#[target_feature(enable = "sse3,ssse3,sse4.1,sse4.2,popcnt,avx,avx2,bmi1,bmi2,fma,lzcnt")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
pub(crate) unsafe fn compute<C: crate::product::Compute>(computation: C) {
    // SAFETY: the caller's.
    computation.with(unsafe { V4::new_unchecked() }, Tiles);
}
