//! That every label reaches every split: the smallest change of a division that gives each part what it must have. Pure.
//!
//! Asked for, the most important first: every part has rows, and train has both classes of every label (without them nothing can be
//! trained); a label carried by as many units as there are parts is in each of them; one carried by fewer is in as many parts as it
//! has units, train among them. Known negatives of a label that some rows do not know are asked for as a label. Whether all of this
//! can be had at once is a colouring problem of hypergraphs, NP-complete in general (Lovász 1973) and sometimes impossible: seven
//! labels of three rows each, the lines of the Fano plane. Hence a local search: units of a label that misses a part are moved into
//! it, by least damage (min-conflicts: Minton et al., Artificial Intelligence 58, 1992), and a moved unit rests for a few steps
//! (tabu search: Glover 1989). A division that has all of it stays as it is, to the last row.

use std::collections::{BTreeSet, HashMap};

use super::units::{Units, portions};
use crate::rng::Rng;

/// Parts at most: train, val, test. The first one is always train.
const PARTS: usize = 3;
/// Steps without an improvement after which the search ends.
const PATIENCE: usize = 2000;
/// The same where a division that is good already is to become better, and how often that is tried in vain.
const SHORT: usize = 30;
const TRIES: usize = 200;
/// A moved unit rests for 1 to this many steps.
const REST: u64 = 8;
/// One step of so many is any.
const NOISE: u64 = 10;

/// What a missing part costs: nothing can be trained; a label that could be there is not; a label has no unit to spare. More labels
/// than are allowed of one kind cost less than one of the kind before.
const UNUSABLE: i64 = 1 << 42;
const ABSENT: i64 = 1 << 21;
const SCARCE: i64 = 1;

/// Units that must lie in several parts.
struct Class {
    units: Vec<u32>,
    /// Parts that it must reach, train first.
    parts: usize,
    /// What it costs if train is missed, and for each other part.
    train: i64,
    other: i64,
}

impl Class {
    /// The cost, given its units of each part.
    fn cost(&self, of_part: [u32; PARTS]) -> i64 {
        let others = of_part[1..].iter().filter(|units| **units > 0).count();
        let missed = self.parts.saturating_sub(1).saturating_sub(others);
        let train = if self.parts > 0 && of_part[0] == 0 { self.train } else { 0 };
        train + self.other * missed as i64
    }
}

/// `parts` (one per unit), changed where a label could reach a part and does not: moved units, then others for them until each part has
/// its share of the rows again, as nearly as the labels allow. `shares` are those of the parts, train first.
pub(super) fn cover(units: &Units, shares: &[f64], parts: Vec<usize>, rng: &mut Rng) -> Vec<usize> {
    let mut division = Division::new(units, shares, parts);
    if division.cost > 0 {
        division.search(0, PATIENCE, None, &mut Vec::new(), rng);
        division.level(rng);
        division.exchange(rng);
        division.level(rng);
    }
    division.parts
}

/// A division, with what its cost follows from.
struct Division<'a> {
    units: &'a Units,
    classes: Vec<Class>,
    /// (label, class) of the labels that more than half of the rows carry, for the rows without it.
    frequent: Vec<(usize, usize)>,
    parts: Vec<usize>,
    shares: usize,
    /// Class → its units of each part.
    of_part: Vec<[u32; PARTS]>,
    cost: i64,
    /// Classes with a cost.
    missing: BTreeSet<usize>,
    /// Rows of each part, and its share of all.
    rows: [usize; PARTS],
    wanted: Vec<f64>,
    /// Label → rows of each part that carry it, minus the part's share of them; and all of them.
    surplus: Vec<([f64; PARTS], f64)>,
}

impl<'a> Division<'a> {
    fn new(units: &'a Units, shares: &[f64], parts: Vec<usize>) -> Self {
        let labels = units.classes();
        let mut carriers = vec![Vec::new(); labels];
        let mut surplus = vec![([0.0; PARTS], 0.0); labels];
        let mut rows = [0; PARTS];
        for (unit, &part) in parts.iter().enumerate() {
            rows[part] += units.rows(unit).len();
            for &(label, count) in units.positives(unit) {
                let (of_part, all) = &mut surplus[label as usize];
                of_part[part] += f64::from(count);
                *all += f64::from(count);
                carriers[label as usize].push(unit as u32);
            }
        }
        for (of_part, all) in &mut surplus {
            of_part.iter_mut().zip(portions(*all, shares)).for_each(|(rows, share)| *rows -= share);
        }
        let total: usize = rows.iter().sum();
        let frequent = (0..units.labels()).filter(|&label| 2.0 * surplus[label].1 > total as f64).enumerate();
        let frequent: Vec<(usize, usize)> = frequent.map(|(at, label)| (label, labels + 1 + at)).collect();
        let spread =
            |units: Vec<u32>, train: i64, other: i64| Class { parts: units.len().min(shares.len()), units, train, other };
        let scarce = |units: &[u32]| if units.len() < shares.len() { SCARCE } else { ABSENT };
        let mut classes: Vec<Class> = carriers
            .into_iter()
            .map(|units| (scarce(&units), units))
            .map(|(other, units)| spread(units, UNUSABLE, other))
            .collect();
        classes.push(spread((0u32..).take(parts.len()).collect(), UNUSABLE, UNUSABLE));
        for &(label, _) in &frequent {
            let without: Vec<u32> = (0u32..).take(parts.len()).filter(|&unit| lacks(units, unit as usize, label)).collect();
            classes.push(Class { parts: without.len().min(1), units: without, train: UNUSABLE, other: 0 });
        }
        let mut of_part = vec![[0; PARTS]; classes.len()];
        for (class, of_part) in classes.iter().zip(&mut of_part) {
            class.units.iter().for_each(|&unit| of_part[parts[unit as usize]] += 1);
        }
        let costs: Vec<i64> = classes.iter().zip(&of_part).map(|(class, of_part)| class.cost(*of_part)).collect();
        let missing = (0..costs.len()).filter(|&class| costs[class] > 0).collect();
        let wanted = portions(total as f64, shares);
        let (shares, cost) = (shares.len(), costs.iter().sum());
        Self { units, classes, frequent, parts, shares, of_part, cost, missing, rows, wanted, surplus }
    }

    /// The classes that a unit belongs to.
    fn classes_of(&self, unit: usize) -> impl Iterator<Item = usize> {
        let labels = self.units.positives(unit).iter().map(|&(label, _)| label as usize);
        let without = self.frequent.iter().filter(move |(label, _)| lacks(self.units, unit, *label)).map(|&(_, class)| class);
        labels.chain([self.units.classes()]).chain(without)
    }

    /// What the cost changes by if `unit` goes to the part `to`.
    fn change(&self, unit: usize, to: usize) -> i64 {
        let from = self.parts[unit];
        let of_class = |class: usize| {
            let mut of_part = self.of_part[class];
            let before = self.classes[class].cost(of_part);
            of_part[from] -= 1;
            of_part[to] += 1;
            self.classes[class].cost(of_part) - before
        };
        self.classes_of(unit).map(of_class).sum()
    }

    /// How much further from their shares labels and rows are if `unit` goes to the part `to`: the change of the sum of squares, relative
    /// to a label's positives, and to all rows.
    fn disturbance(&self, unit: usize, to: usize) -> f64 {
        let from = self.parts[unit];
        let of_label = |&(label, count): &(u32, u32)| {
            let ((surplus, all), count) = (&self.surplus[label as usize], f64::from(count));
            2.0 * count * (count + surplus[to] - surplus[from]) / all
        };
        let rows = 2.0 * self.size(unit) * (self.size(unit) - self.slope(from, to)) / self.wanted.iter().sum::<f64>();
        self.units.positives(unit).iter().map(of_label).sum::<f64>() + rows
    }

    fn put(&mut self, unit: usize, to: usize) {
        let from = std::mem::replace(&mut self.parts[unit], to);
        for class in self.classes_of(unit).collect::<Vec<_>>() {
            let before = self.classes[class].cost(self.of_part[class]);
            self.of_part[class][from] -= 1;
            self.of_part[class][to] += 1;
            let after = self.classes[class].cost(self.of_part[class]);
            self.cost += after - before;
            if after > 0 {
                self.missing.insert(class)
            } else {
                self.missing.remove(&class)
            };
        }
        for &(label, count) in self.units.positives(unit) {
            let (surplus, _) = &mut self.surplus[label as usize];
            surplus[from] -= f64::from(count);
            surplus[to] += f64::from(count);
        }
        let rows = self.units.rows(unit).len();
        self.rows[from] -= rows;
        self.rows[to] += rows;
    }

    /// Moves units until the cost is at most `goal`, or no step has helped for `patience` steps; ends at the best division seen. What it
    /// moved is added to `undo`; units in `kept` stay where they are.
    fn search(&mut self, goal: i64, patience: usize, kept: Option<usize>, undo: &mut Vec<(usize, usize)>, rng: &mut Rng) {
        let (mut best, mut length, mut since) = (self.cost, undo.len(), 0);
        let mut rests: HashMap<usize, u64> = kept.map(|unit| (unit, u64::MAX)).into_iter().collect();
        for step in 0u64.. {
            if best <= goal || since == patience {
                break;
            }
            since += 1;
            let chosen = rng.below(self.missing.len() as u64) as usize;
            let Some(&class) = self.missing.iter().nth(chosen) else { break };
            let Some((unit, to)) = self.move_for(class, |unit| rests.get(&unit).is_some_and(|&until| until > step), rng) else {
                continue;
            };
            undo.push((unit, self.parts[unit]));
            self.put(unit, to);
            rests.insert(unit, step + 1 + rng.below(REST));
            if self.cost < best {
                (best, length, since) = (self.cost, undo.len(), 0);
            }
        }
        self.undo(undo, length);
    }

    /// Takes moves back, the last one first, until `length` are left.
    fn undo(&mut self, moves: &mut Vec<(usize, usize)>, length: usize) {
        for (unit, part) in moves.drain(length..).rev().collect::<Vec<_>>() {
            self.put(unit, part);
        }
    }

    /// A unit of the class, and a part that the class misses: the two whose union costs least, of equals those that disturb the shares
    /// least; now and then any, so that the search does not go round in circles. Units at rest do not move.
    fn move_for(&self, class: usize, rests: impl Fn(usize) -> bool, rng: &mut Rng) -> Option<(usize, usize)> {
        let of_part = self.of_part[class];
        let missed = (0..self.shares).filter(|&part| of_part[part] == 0 && (part == 0 || of_part[0] > 0));
        let missed: Vec<usize> = missed.collect();
        let units = self.classes[class].units.iter().map(|&unit| unit as usize).filter(|&unit| !rests(unit));
        let moves = units.flat_map(|unit| missed.iter().map(move |&to| (unit, to))).filter(|&(unit, to)| self.parts[unit] != to);
        if rng.below(NOISE) == 0 {
            let moves: Vec<(usize, usize)> = moves.collect();
            return (!moves.is_empty()).then(|| moves[rng.below(moves.len() as u64) as usize]);
        }
        let (mut least, mut chosen) = ((i64::MAX, f64::INFINITY), Vec::new());
        for (unit, to) in moves {
            let change = self.change(unit, to);
            if change > least.0 {
                continue;
            }
            let found = (change, self.disturbance(unit, to));
            if found < least {
                least = found;
                chosen.clear();
            }
            if found == least {
                chosen.push((unit, to));
            }
        }
        (!chosen.is_empty()).then(|| chosen[rng.below(chosen.len() as u64) as usize])
    }

    /// How much more rows the part `from` has too much than `to`. The sum of the squares of what parts have too much becomes less if
    /// fewer rows than this go from one to the other.
    fn slope(&self, from: usize, to: usize) -> f64 {
        self.surplus_rows(from) - self.surplus_rows(to)
    }

    /// Gives each part its share of the rows, by units that nobody misses and that disturb the labels' shares least.
    fn level(&mut self, rng: &mut Rng) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for (from, to) in pairs(self.shares) {
                if self.slope(from, to) <= 1.0 {
                    continue;
                }
                let mut units: Vec<(f64, usize)> = self.units_of(from).map(|unit| (self.disturbance(unit, to), unit)).collect();
                rng.shuffle(&mut units);
                units.sort_by(|one, other| one.0.total_cmp(&other.0));
                for (_, unit) in units {
                    if self.size(unit) < self.slope(from, to) && self.change(unit, to) <= 0 {
                        self.put(unit, to);
                        moved = true;
                    }
                }
            }
        }
    }

    /// Where every unit of a part that has too many rows is missed there: moves one all the same, searches for others that make up for
    /// it, and keeps what brings the parts nearer to their shares.
    fn exchange(&mut self, rng: &mut Rng) {
        let squares = |division: &Self| (0..division.shares).map(|part| division.surplus_rows(part).powi(2)).sum::<f64>();
        let mut left = TRIES;
        while left > 0 {
            left -= 1;
            let steepest = pairs(self.shares).max_by(|&(a, b), &(c, d)| self.slope(a, b).total_cmp(&self.slope(c, d)));
            let Some((from, to)) = steepest else { break };
            let units: Vec<usize> = self.units_of(from).filter(|&unit| self.size(unit) < self.slope(from, to)).collect();
            if units.is_empty() || self.slope(from, to) <= 1.0 {
                break;
            }
            let unit = units[rng.below(units.len() as u64) as usize];
            let (cost, before) = (self.cost, squares(self));
            let mut moves = vec![(unit, from)];
            self.put(unit, to);
            self.search(cost, SHORT, Some(unit), &mut moves, rng);
            if self.cost <= cost && squares(self) < before {
                left = TRIES;
            } else {
                self.undo(&mut moves, 0);
            }
        }
    }

    fn units_of(&self, part: usize) -> impl Iterator<Item = usize> {
        (0..self.parts.len()).filter(move |&unit| self.parts[unit] == part)
    }

    /// Rows of the unit.
    fn size(&self, unit: usize) -> f64 {
        self.units.rows(unit).len() as f64
    }

    /// Rows of the part, minus its share of all.
    fn surplus_rows(&self, part: usize) -> f64 {
        self.rows[part] as f64 - self.wanted[part]
    }
}

/// Every two of so many parts, in both orders.
fn pairs(parts: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..parts).flat_map(move |one| (0..parts).filter(move |&other| other != one).map(move |other| (one, other)))
}

/// Whether a row of the unit is without the label.
fn lacks(units: &Units, unit: usize, label: usize) -> bool {
    let positives = units.positives(unit);
    let at = positives.binary_search_by_key(&(label as u32), |&(label, _)| label);
    at.map_or(0, |at| positives[at].1 as usize) < units.rows(unit).len()
}
