//! A concurrency limit that several clients share by weight.
//!
//! Clients take slots in the order of their requests. The last eighth is reserved for clients that
//! hold less than their share. So a client may use all slots that others do not need, and still
//! cannot keep the others out.

use std::collections::BTreeMap;

use super::call_budget::BudgetAccount;

/// One slot in eight is reserved for clients that hold less than their share.
const RESERVED_ONE_IN: usize = 8;

/// Why no slot is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotsExhausted {
    /// All slots are taken.
    ForAll,
    /// The remaining slots are reserved for other clients.
    ForThisOne,
}

/// The weights of all clients. A configured client has its share even before its first request.
#[derive(Clone, Debug, Default)]
pub struct ClientWeights {
    weights: BTreeMap<u64, u64>,
    /// Sum of all weights.
    total: u64,
}

impl ClientWeights {
    /// Replaces the known clients.
    pub fn set_known_clients(&mut self, accounts: &[BudgetAccount]) {
        self.weights.clear();
        self.total = 0;
        for account in accounts {
            self.register(*account);
        }
    }

    /// Records a client with its current weight.
    pub fn register(&mut self, account: BudgetAccount) {
        let weight = u64::from(account.weight.get());
        if self.weights.get(&account.id) != Some(&weight) {
            self.weights.insert(account.id, weight);
            self.total = self.weights.values().sum();
        }
    }

    fn are_several(&self) -> bool {
        self.weights.len() > 1
    }
}

/// The slots that are taken, and how many each client holds.
#[derive(Clone, Debug, Default)]
pub struct WeightedSlots {
    taken: usize,
    /// Recorded only while there are several clients.
    held: BTreeMap<u64, usize>,
}

impl WeightedSlots {
    /// How many slots are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Whether this client may take a slot, of `most` in all.
    ///
    /// # Errors
    /// If all slots are taken, or the remaining ones are reserved for other clients.
    pub fn admits(
        &self,
        account: BudgetAccount,
        most: usize,
        weights: &ClientWeights,
    ) -> Result<(), SlotsExhausted> {
        if self.taken >= most {
            return Err(SlotsExhausted::ForAll);
        }
        if !weights.are_several() || self.taken < most - most / RESERVED_ONE_IN {
            return Ok(());
        }
        let share =
            most as u128 * u128::from(account.weight.get()) / u128::from(weights.total.max(1));
        let held = self.held.get(&account.id).copied().unwrap_or_default();
        if (held as u128) < share.max(1) { Ok(()) } else { Err(SlotsExhausted::ForThisOne) }
    }

    /// Takes a slot.
    pub fn take(&mut self, account: BudgetAccount, weights: &ClientWeights) {
        self.taken += 1;
        if weights.are_several() {
            *self.held.entry(account.id).or_default() += 1;
        }
    }

    /// Gives a slot back.
    pub fn leave(&mut self, account: BudgetAccount) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(held) = self.held.get_mut(&account.id) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&account.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn account(id: u64, weight: u32) -> BudgetAccount {
        BudgetAccount { id, weight: NonZeroU32::new(weight).expect("a weight") }
    }

    fn weights(accounts: &[BudgetAccount]) -> ClientWeights {
        let mut weights = ClientWeights::default();
        weights.set_known_clients(accounts);
        weights
    }

    /// Takes as many of 80 slots as this client can get.
    fn fill(
        slots: &mut WeightedSlots,
        account: BudgetAccount,
        weights: &ClientWeights,
    ) -> (usize, SlotsExhausted) {
        for number in 0.. {
            match slots.admits(account, 80, weights) {
                Ok(()) => slots.take(account, weights),
                Err(full) => return (number, full),
            }
        }
        unreachable!("there are 80 slots")
    }

    #[test]
    fn a_lone_client_may_take_all_slots() {
        let (alone, mut slots) = (account(1, 1), WeightedSlots::default());
        let weights = weights(&[alone]);
        assert_eq!(fill(&mut slots, alone, &weights), (80, SlotsExhausted::ForAll));
        assert!(slots.held.is_empty(), "nothing is recorded");
    }

    #[test]
    fn the_last_eighth_is_for_clients_below_their_share() {
        let (flood, other) = (account(1, 1), account(2, 3));
        let (weights, mut slots) = (weights(&[flood, other]), WeightedSlots::default());
        assert_eq!(fill(&mut slots, flood, &weights), (70, SlotsExhausted::ForThisOne));
        assert_eq!(fill(&mut slots, other, &weights), (10, SlotsExhausted::ForAll));
        // Twenty requests of the flood end: only the other client has room.
        (0..20).for_each(|_| slots.leave(flood));
        assert_eq!(slots.admits(flood, 80, &weights), Ok(()), "60 of 80 are taken");
        assert_eq!(fill(&mut slots, other, &weights), (20, SlotsExhausted::ForAll));
        (0..5).for_each(|_| slots.leave(flood));
        assert_eq!(
            fill(&mut slots, flood, &weights),
            (0, SlotsExhausted::ForThisOne),
            "45 slots, and its share is 20"
        );
        assert_eq!(fill(&mut slots, other, &weights), (5, SlotsExhausted::ForAll));
    }

    #[test]
    fn a_tiny_share_is_one_slot_and_tiny_limits_are_not_split() {
        let (small, large) = (account(1, 1), account(2, 1000));
        let (weights, mut slots) = (weights(&[small, large]), WeightedSlots::default());
        assert_eq!(fill(&mut slots, large, &weights).0, 79, "999 of 1000 of 80");
        assert_eq!(slots.admits(small, 80, &weights), Ok(()));
        slots.take(small, &weights);
        assert_eq!(slots.admits(large, 80, &weights), Err(SlotsExhausted::ForAll));
        let mut tiny = WeightedSlots::default();
        for _ in 0..7 {
            assert_eq!(tiny.admits(small, 7, &weights), Ok(()));
            tiny.take(small, &weights);
        }
        assert_eq!(tiny.admits(large, 7, &weights), Err(SlotsExhausted::ForAll));
    }

    proptest! {
        #[test]
        fn slots_never_exceed_the_limit_and_all_come_back(
            steps in prop::collection::vec((0_u64..4, any::<bool>()), 1..400), most in 1_usize..60,
        ) {
            let each: Vec<_> = (0..4).map(|id| account(id, 1 + u32::try_from(id).expect("small"))).collect();
            let (weights, mut slots, mut inside) = (weights(&each), WeightedSlots::default(), Vec::new());
            for (id, comes) in steps {
                let one = each[usize::try_from(id).expect("small")];
                if !comes {
                    if let Some(slot) = inside.iter().position(|held: &BudgetAccount| held.id == id) {
                        slots.leave(inside.swap_remove(slot));
                    }
                } else if slots.admits(one, most, &weights).is_ok() {
                    slots.take(one, &weights);
                    inside.push(one);
                }
                prop_assert!(slots.taken() == inside.len() && inside.len() <= most);
            }
            inside.drain(..).for_each(|one| slots.leave(one));
            prop_assert!(slots.taken() == 0 && slots.held.is_empty());
        }
    }
}
