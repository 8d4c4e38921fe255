//! Worlds: made-up strategies whose truth is known, and the scores of their runs.

use std::fmt;
use std::str::FromStr;

use imbalance::loss::sigmoid;

use super::population::{INPUTS, LABELS, Population, SLOPE, macro_ap};
use super::rows::{Rows, Stream, direction, dot};

/// A world, how many strategies and seeds a sweep of it has, and how many rows val and test have each: `luck0.5/12x9/600`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub world: String,
    pub arms: usize,
    pub seeds: usize,
    pub rows: usize,
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is not WORLD/ARMSxSEEDS/ROWS, such as luck0.5/12x9/600");
        let [world, size, rows] = text.split('/').collect::<Vec<_>>()[..] else { return Err(fault()) };
        let (arms, seeds) = size.split_once('x').ok_or_else(fault)?;
        let number = |text: &str| text.parse().map_err(|_| fault());
        let cell = Self { world: world.to_owned(), arms: number(arms)?, seeds: number(seeds)?, rows: number(rows)? };
        if (2..=super::record::LOSSES.len()).contains(&cell.arms) && cell.seeds > 0 && cell.rows >= 50 {
            Ok(cell)
        } else {
            Err(format!("`{text}`: 2 to {} strategies, a seed and 50 rows at least", super::record::LOSSES.len()))
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}x{}/{}", self.world, self.arms, self.seeds, self.rows)
    }
}

/// How the runs of a strategy come about.
#[derive(Clone, Debug)]
struct Arm {
    /// What the strategy has learnt lies this far from the truth, label by label, towards its own direction `aside`.
    angle: [f64; LABELS],
    aside: u64,
    /// A training ends at `learnt + luck e / sqrt(20)`, e ~ N(0, 1) for each run and label.
    luck: f64,
    /// Luck has the tails of Student's t with 2 degrees of freedom.
    heavy: bool,
    /// Standard deviation of what every row of every run adds to u.
    noise: f64,
    /// Probability that a run has learnt nothing: its scores are random.
    lost: f64,
}

/// A world of so many arms.
pub struct World {
    pub population: Population,
    arms: Vec<Arm>,
    /// Expected AP of each arm minus that of the first (the baseline), label by label; exactly 0 where nothing differs.
    pub effects: Vec<[f64; LABELS]>,
}

/// What exists, and what is true there.
pub const WORLDS: [(&str, &str); 16] = [
    ("random", "all scores are random"),
    ("noise", "strategies have learnt the same; each run adds noise of its own, row by row"),
    ("luckX", "strategies learn the same; each training ends at w + X e / sqrt(20)"),
    ("heavy", "as luck0.5, with the tails of Student's t (2 degrees of freedom)"),
    ("uneven", "every other strategy has three times the luck of the others, and all have the same expected AP"),
    ("odd", "the last strategy has three times the luck of the others, and all have the same expected AP"),
    ("diverge", "as luck0.25, and one run in ten has learnt nothing, whatever its strategy"),
    ("quirks", "strategies rank differently but equally well on all rows there are; hardly any luck"),
    ("crossed", "as quirks, with the luck of luck0.5"),
    ("equal", "strategies learn the same with hardly any luck"),
    ("betterN", "the last strategy has AP +0.0NN, with the luck of luck0.35"),
    ("steadyN", "the last strategy has AP +0.0NN with the luck of luck0.35, because the luck of the others is larger"),
    ("worseN", "the last strategy has AP -0.0NN, with the luck of luck0.35"),
    ("fixedN", "the last strategy has AP -0.0NN with hardly any luck"),
    ("rare", "the last strategy has AP +0.060 on the rare label A only, with the luck of luck0.25"),
    ("unstable", "as luck0.25, but one run in five of the last strategy has learnt nothing"),
];

/// Luck that hardly shows: the standard deviation of macro AP is some 0.0003.
const HARDLY: f64 = 0.05;
/// Luck where a difference is to be seen: pairs of runs differ by a standard deviation of 0.016 on 600 rows.
const USUAL: f64 = 0.35;

impl World {
    /// The world `name` with `arms` strategies.
    ///
    /// # Errors
    /// An unknown name.
    pub fn new(name: &str, arms: usize) -> Result<Self, String> {
        let population = Population::new();
        let plain = |luck: f64| Arm { angle: [0.0; LABELS], aside: 0, luck, heavy: false, noise: 0.0, lost: 0.0 };
        let last = arms - 1;
        // Every other arm as `rest`, and the last as `own`.
        let but_last = |rest: Arm, own: Arm| (0..arms).map(|at| if at == last { own.clone() } else { rest.clone() }).collect();
        let angled = |luck: f64, below: f64| Arm { angle: [population.angle(luck, below, luck); LABELS], ..plain(luck) };
        let less_lucky = || Arm { angle: [population.angle(0.25, 0.0, 0.75); LABELS], ..plain(0.25) };
        let quirks = |luck| {
            let angle = angled(luck, 0.05).angle;
            (0..arms).map(|at| Arm { angle, aside: at as u64, ..plain(luck) }).collect()
        };
        let all = |arm: Arm| vec![arm; arms];
        let number = |prefix: &str| name.strip_prefix(prefix).and_then(|number| number.parse::<f64>().ok());
        let made: Vec<Arm> = match name {
            "random" => all(Arm { lost: 1.0, ..plain(0.0) }),
            "noise" => all(Arm { noise: 1.0, ..plain(0.0) }),
            "heavy" => all(Arm { heavy: true, ..plain(0.5) }),
            "uneven" => (0..arms).map(|at| if at % 2 == 1 { plain(0.75) } else { less_lucky() }).collect(),
            "odd" => but_last(less_lucky(), plain(0.75)),
            "diverge" => all(Arm { lost: 0.1, ..plain(0.25) }),
            "quirks" => quirks(HARDLY),
            "crossed" => quirks(0.5),
            "equal" => all(plain(HARDLY)),
            "rare" => but_last(rare(&population, 0.25, 0.06), plain(0.25)),
            "unstable" => but_last(plain(0.25), Arm { lost: 0.2, ..plain(0.25) }),
            _ => match [number("luck"), number("fixed"), number("better"), number("worse")] {
                _ if number("steady").is_some() => {
                    let own = macro_ap(population.expected([0.0; LABELS], USUAL));
                    let more = number("steady").unwrap_or(0.0) / 1000.0;
                    let off = |luck: f64| own - more - macro_ap(population.expected([0.0; LABELS], luck));
                    but_last(plain(super::population::bisect(USUAL, 3.0, off)), plain(USUAL))
                }
                [Some(luck), ..] => all(plain(luck)),
                [_, Some(less), ..] => but_last(plain(HARDLY), angled(HARDLY, less / 1000.0)),
                [_, _, Some(more), _] => but_last(angled(USUAL, more / 1000.0), plain(USUAL)),
                [.., Some(less)] => but_last(plain(USUAL), angled(USUAL, less / 1000.0)),
                _ => {
                    let names: Vec<&str> = WORLDS.iter().map(|(name, _)| *name).collect();
                    return Err(format!("there is no world `{name}`; there are {}", names.join(", ")));
                }
            },
        };
        let differs = matches!(name, "rare" | "unstable")
            || ["fixed", "better", "worse", "steady"].iter().any(|kind| number(kind).is_some());
        let expected = |arm: &Arm| {
            // A run that has learnt nothing has the prevalence as its AP.
            let learnt = population.expected(arm.angle, arm.luck);
            std::array::from_fn(|label| (1.0 - arm.lost) * learnt[label] + arm.lost * super::population::RATES[label])
        };
        let effect = |at: usize| -> [f64; LABELS] {
            if !differs || at < last {
                return [0.0; LABELS];
            }
            let (own, first): ([f64; LABELS], [f64; LABELS]) = (expected(&made[at]), expected(&made[0]));
            // Labels that are the same differ by nothing, not by a rounding.
            let same = |label: usize| {
                let (own, first) = (&made[at], &made[0]);
                own.lost == first.lost && own.luck == first.luck && own.angle[label] == first.angle[label]
            };
            std::array::from_fn(|label| if same(label) { 0.0 } else { own[label] - first[label] })
        };
        let effects = (0..arms).map(effect).collect();
        Ok(Self { population, arms: made, effects })
    }

    /// Expected macro AP of arm `at` minus that of the baseline.
    pub fn effect(&self, at: usize) -> f64 {
        macro_ap(self.effects[at])
    }
}

/// An arm that is worse by `below` on the first label only.
fn rare(population: &Population, luck: f64, below: f64) -> Arm {
    let only = |angle: f64| [angle, 0.0, 0.0, 0.0];
    let best = population.expected(only(0.0), luck)[0];
    let angle = super::population::bisect(0.0, 1.5, |angle| best - below - population.expected(only(angle), luck)[0]);
    Arm { angle: only(angle), aside: 0, luck, heavy: false, noise: 0.0, lost: 0.0 }
}

impl World {
    /// New rows, which `stream` names.
    pub fn rows(&self, stream: &Stream, rows: usize) -> Rows {
        let mut rng = stream.rng("rows", &[]);
        let directions = std::array::from_fn(|_| direction(&mut rng, None));
        let inputs: Vec<[f64; INPUTS]> = (0..2 * rows).map(|_| std::array::from_fn(|_| rng.normal())).collect();
        let mut truth = Vec::with_capacity(2 * rows * LABELS);
        for x in &inputs {
            for (w, b) in directions.iter().zip(self.population.intercepts) {
                truth.push(u8::from(rng.uniform() < sigmoid(SLOPE * dot(w, x) + b)));
            }
        }
        Rows { inputs, truth, directions, rows }
    }

    /// The scores of one run on these rows, `[2 rows, LABELS]` probabilities.
    pub fn scores(&self, stream: &Stream, rows: &Rows, arm: usize, seed: usize) -> Vec<f32> {
        let mut rng = stream.rng("run", &[arm as u64, seed as u64]);
        let how = &self.arms[arm];
        if rng.uniform() < how.lost {
            return (0..2 * rows.rows * LABELS).map(|_| rng.uniform() as f32).collect();
        }
        let ended: [[f64; INPUTS]; LABELS] = std::array::from_fn(|label| {
            let w = &rows.directions[label];
            let aside = direction(&mut stream.rng("aside", &[how.aside, label as u64]), Some(w));
            let (sin, cos) = how.angle[label].sin_cos();
            // Student's t with 2 degrees of freedom: a normal over the root of half a chi-squared, which is an exponential.
            let tail = if how.heavy { 1.0 / (-(1.0 - rng.uniform()).ln()).sqrt() } else { 1.0 };
            let luck = how.luck * tail / (INPUTS as f64).sqrt();
            std::array::from_fn(|at| cos * w[at] + sin * aside[at] + luck * rng.normal())
        });
        let mut scores = Vec::with_capacity(rows.inputs.len() * LABELS);
        for x in &rows.inputs {
            for (w, b) in ended.iter().zip(self.population.intercepts) {
                let noise = if how.noise > 0.0 { how.noise * rng.normal() } else { 0.0 };
                scores.push(sigmoid(SLOPE * dot(w, x) + b + noise) as f32);
            }
        }
        scores
    }
}
