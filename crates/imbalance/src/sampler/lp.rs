//! What LP-ROS and LP-RUS share (Charte et al., HAIS 2013; Neurocomputing 163, 2015, algorithms 1 and 2): bags of rows with the same set
//! of labels, and how a number of rows is divided among the bags that have too few or too many.

use std::collections::BTreeMap;

use crate::LabelMatrix;

/// The rows of each set of labels (known positives) that occurs, the empty one included, in the order of the sets.
pub(super) fn bags(train: &LabelMatrix) -> Vec<Vec<u32>> {
    let train = train.known_positives();
    let mut bags: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
    for row in 0..train.rows() {
        bags.entry(train.row(row)).or_default().push(row as u32);
    }
    bags.into_values().collect()
}

/// How many rows each bag gets of `total`, given how many it can take: equal shares, where what a bag cannot take goes to those
/// that can take more. The least is served first, so that one pass is enough.
pub(super) fn divide(total: usize, room: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..room.len()).filter(|&bag| room[bag] > 0).collect();
    order.sort_by_key(|&bag| room[bag]);
    let mut shares = vec![0; room.len()];
    let mut left = total;
    for (at, &bag) in order.iter().enumerate() {
        shares[bag] = room[bag].min(left / (order.len() - at));
        left -= shares[bag];
    }
    shares
}

/// How far each bag is below (`true`) or above the mean size, in whole rows.
pub(super) fn room(bags: &[Vec<u32>], below: bool) -> Vec<usize> {
    let mean = bags.iter().map(Vec::len).sum::<usize>() as f64 / bags.len().max(1) as f64;
    let gap = |bag: &Vec<u32>| if below { mean - bag.len() as f64 } else { bag.len() as f64 - mean };
    bags.iter().map(|bag| gap(bag).max(0.0).floor() as usize).collect()
}
