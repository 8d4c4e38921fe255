//! Epochs of equal length from a sampler whose passes are longer or shorter.

use super::{Draw, Sampler};

/// The draws of a sampler, pass after pass, cut into epochs: every sampler then gets the same number of gradient steps, and none
/// seems better because its passes are longer.
#[derive(Debug)]
pub struct Stream {
    sampler: Box<dyn Sampler>,
    seed: u64,
    /// Draws of an epoch; `None`: a pass is an epoch.
    length: Option<usize>,
    /// The epoch that comes next.
    next: usize,
    /// The pass that comes next.
    pass: usize,
    /// What is left of the pass before.
    left: Vec<Draw>,
}

impl Stream {
    /// The draws of `sampler` under `seed`, in epochs of `length` draws.
    #[must_use]
    pub fn new(sampler: Box<dyn Sampler>, seed: u64, length: Option<usize>) -> Self {
        Self { sampler, seed, length, next: 0, pass: 0, left: Vec::new() }
    }

    /// The first pass: what the sampler does to the data.
    #[must_use]
    pub fn first_pass(&self) -> Vec<Draw> {
        self.sampler.draws(self.seed, 0)
    }

    /// The draws of `epoch`, in training order. They depend on the seed and the epoch only, not on the calls before; epochs are
    /// cheapest in their order.
    pub fn epoch(&mut self, epoch: usize) -> Vec<Draw> {
        let Some(length) = self.length else { return self.sampler.draws(self.seed, epoch) };
        if epoch < self.next {
            (self.next, self.pass, self.left) = (0, 0, Vec::new());
        }
        while self.next < epoch {
            self.cut(length);
        }
        self.cut(length)
    }

    fn cut(&mut self, length: usize) -> Vec<Draw> {
        self.next += 1;
        let mut draws = std::mem::take(&mut self.left);
        while draws.len() < length {
            let pass = self.sampler.draws(self.seed, self.pass);
            self.pass += 1;
            // A sampler draws at least one row; one that draws none would be asked for ever.
            if pass.is_empty() {
                return draws;
            }
            draws.extend(pass);
        }
        self.left = draws.split_off(length);
        draws
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its passes have 3, 4, 5, ... draws, numbered on.
    #[derive(Debug)]
    struct Growing;

    impl Sampler for Growing {
        fn epoch(&self, _: u64, epoch: usize) -> Vec<u32> {
            let before: u32 = (0..epoch as u32).map(|pass| pass + 3).sum();
            (before..before + 3 + epoch as u32).collect()
        }
    }

    fn rows(draws: &[Draw]) -> Vec<u32> {
        draws.iter().map(|draw| draw.row).collect()
    }

    #[test]
    fn epochs_have_one_length_and_lose_no_draw() {
        for length in 1..12 {
            let mut stream = Stream::new(Box::new(Growing), 0, Some(length));
            let all: Vec<u32> = (0..10).flat_map(|epoch| rows(&stream.epoch(epoch))).collect();
            assert_eq!(all, (0..10 * length as u32).collect::<Vec<_>>(), "{length}");
        }
    }

    #[test]
    fn an_epoch_is_the_same_in_any_order_of_calls() {
        let mut in_order = Stream::new(Box::new(Growing), 0, Some(7));
        let wanted: Vec<_> = (0..6).map(|epoch| in_order.epoch(epoch)).collect();
        let mut stream = Stream::new(Box::new(Growing), 0, Some(7));
        for epoch in [4, 1, 1, 5, 0] {
            assert_eq!(stream.epoch(epoch), wanted[epoch]);
        }
    }

    #[test]
    fn without_a_length_a_pass_is_an_epoch() {
        let mut stream = Stream::new(Box::new(Growing), 0, None);
        assert_eq!((rows(&stream.epoch(1)), rows(&stream.first_pass())), (vec![3, 4, 5, 6], vec![0, 1, 2]));
    }
}
