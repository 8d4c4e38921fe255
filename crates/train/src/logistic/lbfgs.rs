//! Limited-memory BFGS as a machine: it asks for value and gradient at a point, is told them, and asks again. So many problems that share
//! their data advance together, and the data is read once for all of them.
//!
//! Nocedal and Wright, Numerical Optimization (2006): the two-loop recursion (Algorithm 7.4) and its scaling (7.20). The line search
//! halves and widens an interval until a step meets the weak Wolfe conditions (3.6); for a convex function it always ends (Lewis and
//! Overton, Math. Program. 141, 2013, Algorithm 2.6).

use std::collections::VecDeque;

/// Sufficient decrease and curvature (Nocedal and Wright, section 3.1).
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;
/// A value that is higher by less than this share of it is equal up to rounding.
const ROUNDING: f64 = 1e-14;
/// Points of one line search. Halving so often leaves nothing of a step.
const MOST_POINTS: usize = 50;

/// What ends a minimisation.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pairs of steps and gradients that are remembered.
    pub memory: usize,
    /// It has converged where no derivative is larger.
    pub tolerance: f64,
    /// Evaluations at most.
    pub evaluations: usize,
}

/// How a minimisation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Converged,
    /// No step decreases the function any more: its values are exhausted in f64, or not finite.
    Exhausted,
    /// The limit of evaluations is reached.
    TooLong,
}

/// One minimisation under way.
#[derive(Debug)]
pub struct Lbfgs {
    limits: Limits,
    /// The best point so far, value and gradient there; no value before the first evaluation.
    point: Vec<f64>,
    value: Option<f64>,
    gradient: Vec<f64>,
    /// Where to go from there, the slope in that direction, and how far.
    direction: Vec<f64>,
    slope: f64,
    step: f64,
    /// The interval in which the line search looks.
    low: f64,
    high: f64,
    points: usize,
    pairs: VecDeque<Pair>,
    /// Where value and gradient are wanted.
    trial: Vec<f64>,
    evaluations: usize,
    ending: Option<Ending>,
}

/// A step, the change of the gradient over it, and their product.
#[derive(Debug)]
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    product: f64,
}

impl Lbfgs {
    /// A minimisation that begins at `start`.
    #[must_use]
    pub fn new(start: Vec<f64>, limits: Limits) -> Self {
        let zeros = vec![0.0; start.len()];
        Self {
            limits,
            trial: start.clone(),
            point: start,
            value: None,
            gradient: zeros.clone(),
            direction: zeros,
            slope: 0.0,
            step: 0.0,
            low: 0.0,
            high: f64::INFINITY,
            points: 0,
            pairs: VecDeque::with_capacity(limits.memory),
            evaluations: 0,
            ending: None,
        }
    }

    /// The point at which value and gradient are wanted.
    #[must_use]
    pub fn trial(&self) -> &[f64] {
        &self.trial
    }

    /// How it ended; `None` while an evaluation is wanted.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The best point so far.
    #[must_use]
    pub fn point(&self) -> &[f64] {
        &self.point
    }

    /// The value there, once it is known.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        self.value
    }

    /// Takes value and gradient at [`Self::trial`].
    pub fn tell(&mut self, value: f64, gradient: &[f64]) {
        self.evaluations += 1;
        let Some(start) = self.value else { return self.accept(value, gradient) };
        self.points += 1;
        let rounding = ROUNDING * start.abs();
        let slope = dot(gradient, &self.direction);
        // Also where the value is NaN or infinite.
        let falls = value <= start + DECREASE * self.step * self.slope + rounding;
        if falls && slope >= CURVATURE * self.slope {
            return self.accept(value, gradient);
        }
        if falls {
            self.low = self.step;
        } else {
            self.high = self.step;
        }
        if self.points == MOST_POINTS {
            self.ending = Some(Ending::Exhausted);
        } else if self.evaluations >= self.limits.evaluations {
            self.ending = Some(Ending::TooLong);
        }
        self.step = if self.high.is_finite() {
            f64::midpoint(self.low, self.high)
        } else {
            // Where the slope would be zero if it changed evenly.
            let even = self.step * self.slope / (self.slope - slope);
            even.max(2.0 * self.step).min(10.0 * self.step)
        };
        self.aim();
    }

    /// Moves to the trial, and looks for the next direction.
    fn accept(&mut self, value: f64, gradient: &[f64]) {
        if self.value.is_some() {
            let step: Vec<f64> = self.trial.iter().zip(&self.point).map(|(new, old)| new - old).collect();
            let change: Vec<f64> = gradient.iter().zip(&self.gradient).map(|(new, old)| new - old).collect();
            let product = dot(&step, &change);
            if product > 0.0 {
                if self.pairs.len() == self.limits.memory {
                    self.pairs.pop_front();
                }
                self.pairs.push_back(Pair { step, change, product });
            }
        }
        self.value = Some(value);
        self.point.copy_from_slice(&self.trial);
        self.gradient.copy_from_slice(gradient);
        if !value.is_finite() {
            self.ending = Some(Ending::Exhausted);
            return;
        }
        if gradient.iter().all(|derivative| derivative.abs() <= self.limits.tolerance) {
            self.ending = Some(Ending::Converged);
            return;
        }
        if self.evaluations >= self.limits.evaluations {
            self.ending = Some(Ending::TooLong);
            return;
        }
        self.direct();
        (self.low, self.high, self.points) = (0.0, f64::INFINITY, 0);
        // Without pairs nothing is known of how far the gradient holds.
        self.step = if self.pairs.is_empty() { 1.0 / dot(gradient, gradient).sqrt() } else { 1.0 };
        self.aim();
    }

    /// The direction of the two-loop recursion: minus the approximate inverse Hessian times the gradient.
    fn direct(&mut self) {
        let direction = &mut self.direction;
        direction.copy_from_slice(&self.gradient);
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = dot(&pair.step, direction) / pair.product;
            add(direction, -share, &pair.change);
            shares.push(share);
        }
        if let Some(last) = self.pairs.back() {
            let scale = last.product / dot(&last.change, &last.change);
            direction.iter_mut().for_each(|value| *value *= scale);
        }
        for (pair, share) in self.pairs.iter().zip(shares.into_iter().rev()) {
            let back = dot(&pair.change, direction) / pair.product;
            add(direction, share - back, &pair.step);
        }
        direction.iter_mut().for_each(|value| *value = -*value);
        self.slope = dot(direction, &self.gradient);
    }

    fn aim(&mut self) {
        for ((trial, point), direction) in self.trial.iter_mut().zip(&self.point).zip(&self.direction) {
            *trial = point + self.step * direction;
        }
    }
}

/// `to += factor * of`.
fn add(to: &mut [f64], factor: f64, of: &[f64]) {
    to.iter_mut().zip(of).for_each(|(to, of)| *to += factor * of);
}

/// The inner product, summed in eight lanes.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let (a, rest_a) = a.as_chunks::<LANES>();
    let (b, rest_b) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory: 10, tolerance: 1e-10, evaluations: 1000 };

    fn minimise(start: Vec<f64>, limits: Limits, function: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> Lbfgs {
        let mut lbfgs = Lbfgs::new(start, limits);
        while lbfgs.ending().is_none() {
            let (value, gradient) = function(lbfgs.trial());
            lbfgs.tell(value, &gradient);
        }
        lbfgs
    }

    /// Curvatures from 1 to 1000.
    fn quadratic(x: &[f64]) -> (f64, Vec<f64>) {
        let curvature = |at: usize| 10f64.powf(3.0 * at as f64 / 19.0);
        let off = |at: usize| x[at] - at as f64;
        let value = (0..20).map(|at| 0.5 * curvature(at) * off(at).powi(2)).sum();
        (value, (0..20).map(|at| curvature(at) * off(at)).collect())
    }

    /// Rosenbrock's valley, with its minimum at (1, 1).
    fn valley(x: &[f64]) -> (f64, Vec<f64>) {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
    }

    #[test]
    fn minima_are_found() {
        let found = minimise(vec![0.0; 20], LIMITS, quadratic);
        assert_eq!(found.ending(), Some(Ending::Converged));
        assert!(found.point().iter().enumerate().all(|(at, x)| (x - at as f64).abs() < 1e-9), "{:?}", found.point());
        let found = minimise(vec![-1.2, 1.0], LIMITS, valley);
        assert_eq!(found.ending(), Some(Ending::Converged));
        assert!(found.point().iter().all(|x| (x - 1.0).abs() < 1e-9) && found.evaluations < 70, "{found:?}");
    }

    #[test]
    fn a_minimum_is_where_it_starts() {
        let found = minimise(vec![1.0, 1.0], LIMITS, valley);
        assert_eq!((found.ending(), found.evaluations, found.value()), (Some(Ending::Converged), 1, Some(0.0)));
    }

    #[test]
    fn limits_end_it() {
        let found = minimise(vec![-1.2, 1.0], Limits { evaluations: 10, ..LIMITS }, valley);
        assert_eq!((found.ending(), found.evaluations), (Some(Ending::TooLong), 10));
        // A gradient that points the wrong way: no step decreases anything.
        let found = minimise(vec![1.0], LIMITS, |x| (x[0] * x[0], vec![-2.0 * x[0]]));
        assert_eq!((found.ending(), found.point()), (Some(Ending::Exhausted), &[1.0][..]));
        let found = minimise(vec![1.0], LIMITS, |_| (f64::NAN, vec![f64::NAN]));
        assert_eq!(found.ending(), Some(Ending::Exhausted));
    }
}
