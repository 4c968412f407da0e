//! Places of which there are only so many, among several clients.
//!
//! Whoever comes first has them, up to the last eighth: that is for clients that hold less than their
//! part of all, by weight. So nobody who takes all that he can get keeps others out; what one does not
//! need others use; and as places come free, each comes to hold its part.

use std::collections::BTreeMap;

use super::call_budget::BudgetAccount;

/// One in so many places is for those that hold less than their part of all.
const KEPT_ONE_IN: usize = 8;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotsExhausted {
    /// All are taken.
    ForAll,
    /// Those that are left are for others.
    ForThisOne,
}

/// Among whom places are divided. Who is known beforehand has its part before it has come at all.
#[derive(Clone, Debug, Default)]
pub struct ClientWeights {
    weights: BTreeMap<u64, u64>,
    all: u64,
}

impl ClientWeights {
    /// These are known, and no others any more.
    pub fn set_known_clients(&mut self, payers: &[BudgetAccount]) {
        self.weights.clear();
        self.all = 0;
        for payer in payers {
            self.register(*payer);
        }
    }

    /// Takes note of somebody who comes. Weights change with the configuration.
    pub fn register(&mut self, payer: BudgetAccount) {
        let weight = u64::from(payer.weight.get());
        if self.weights.get(&payer.id) != Some(&weight) {
            self.weights.insert(payer.id, weight);
            self.all = self.weights.values().sum();
        }
    }

    fn are_several(&self) -> bool {
        self.weights.len() > 1
    }
}

/// Some places, and who holds how many of them.
#[derive(Clone, Debug, Default)]
pub struct WeightedSlots {
    taken: usize,
    /// Only while there are several clients: for one alone it need not be known.
    held: BTreeMap<u64, usize>,
}

impl WeightedSlots {
    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Whether there is one for this client, of so many at `most`.
    ///
    /// # Errors
    /// If there is none, or what is left is for others.
    pub fn admits(
        &self,
        payer: BudgetAccount,
        most: usize,
        parts: &ClientWeights,
    ) -> Result<(), SlotsExhausted> {
        if self.taken >= most {
            return Err(SlotsExhausted::ForAll);
        }
        if !parts.are_several() || self.taken < most - most / KEPT_ONE_IN {
            return Ok(());
        }
        let part = most as u128 * u128::from(payer.weight.get()) / u128::from(parts.all.max(1));
        let held = self.held.get(&payer.id).copied().unwrap_or_default();
        if (held as u128) < part.max(1) { Ok(()) } else { Err(SlotsExhausted::ForThisOne) }
    }

    /// Takes one.
    pub fn take(&mut self, payer: BudgetAccount, parts: &ClientWeights) {
        self.taken += 1;
        if parts.are_several() {
            *self.held.entry(payer.id).or_default() += 1;
        }
    }

    /// Gives one back.
    pub fn leave(&mut self, payer: BudgetAccount) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(held) = self.held.get_mut(&payer.id) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&payer.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn payer(id: u64, weight: u32) -> BudgetAccount {
        BudgetAccount { id, weight: NonZeroU32::new(weight).expect("a weight") }
    }

    fn parts(payers: &[BudgetAccount]) -> ClientWeights {
        let mut parts = ClientWeights::default();
        parts.set_known_clients(payers);
        parts
    }

    /// Takes as many of 80 places as it can get.
    fn fill(
        places: &mut WeightedSlots,
        payer: BudgetAccount,
        parts: &ClientWeights,
    ) -> (usize, SlotsExhausted) {
        for number in 0.. {
            match places.admits(payer, 80, parts) {
                Ok(()) => places.take(payer, parts),
                Err(full) => return (number, full),
            }
        }
        unreachable!("there are 80 places")
    }

    #[test]
    fn one_caller_alone_has_them_all() {
        let (alone, mut places) = (payer(1, 1), WeightedSlots::default());
        let parts = parts(&[alone]);
        assert_eq!(fill(&mut places, alone, &parts), (80, SlotsExhausted::ForAll));
        assert!(places.held.is_empty(), "nothing is kept of it");
    }

    #[test]
    fn the_last_eighth_is_for_those_who_hold_less_than_their_part() {
        let (flood, other) = (payer(1, 1), payer(2, 3));
        let (parts, mut places) = (parts(&[flood, other]), WeightedSlots::default());
        assert_eq!(fill(&mut places, flood, &parts), (70, SlotsExhausted::ForThisOne));
        assert_eq!(fill(&mut places, other, &parts), (10, SlotsExhausted::ForAll));
        // Twenty of the flood end: there is room for the other only.
        (0..20).for_each(|_| places.leave(flood));
        assert_eq!(places.admits(flood, 80, &parts), Ok(()), "60 of 80 are taken");
        assert_eq!(fill(&mut places, other, &parts), (20, SlotsExhausted::ForAll));
        (0..5).for_each(|_| places.leave(flood));
        assert_eq!(
            fill(&mut places, flood, &parts),
            (0, SlotsExhausted::ForThisOne),
            "45, and 20 are due"
        );
        assert_eq!(fill(&mut places, other, &parts), (5, SlotsExhausted::ForAll));
    }

    #[test]
    fn a_tiny_share_is_one_slot_and_tiny_limits_are_not_split() {
        let (small, large) = (payer(1, 1), payer(2, 1000));
        let (parts, mut places) = (parts(&[small, large]), WeightedSlots::default());
        assert_eq!(fill(&mut places, large, &parts).0, 79, "999 of 1000 of 80");
        assert_eq!(places.admits(small, 80, &parts), Ok(()));
        places.take(small, &parts);
        assert_eq!(places.admits(large, 80, &parts), Err(SlotsExhausted::ForAll));
        let mut tiny = WeightedSlots::default();
        for _ in 0..7 {
            assert_eq!(tiny.admits(small, 7, &parts), Ok(()));
            tiny.take(small, &parts);
        }
        assert_eq!(tiny.admits(large, 7, &parts), Err(SlotsExhausted::ForAll));
    }

    proptest! {
        #[test]
        fn there_are_never_more_taken_than_there_are_and_all_come_back(
            steps in prop::collection::vec((0_u64..4, any::<bool>()), 1..400), most in 1_usize..60,
        ) {
            let each: Vec<_> = (0..4).map(|id| payer(id, 1 + u32::try_from(id).expect("small"))).collect();
            let (parts, mut places, mut inside) = (parts(&each), WeightedSlots::default(), Vec::new());
            for (id, comes) in steps {
                let one = each[usize::try_from(id).expect("small")];
                if !comes {
                    if let Some(place) = inside.iter().position(|held: &BudgetAccount| held.id == id) {
                        places.leave(inside.swap_remove(place));
                    }
                } else if places.admits(one, most, &parts).is_ok() {
                    places.take(one, &parts);
                    inside.push(one);
                }
                prop_assert!(places.taken() == inside.len() && inside.len() <= most);
            }
            inside.drain(..).for_each(|one| places.leave(one));
            prop_assert!(places.taken() == 0 && places.held.is_empty());
        }
    }
}
