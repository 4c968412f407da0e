//! Who pays for what several callers share: whoever gets the calls first.

use crate::error::Error;
use crate::policy::{self, Full};
use crate::ports::{Booking, Pacing, Payer, Wish};

/// Books `wish` on the account of that one of `payers` who gets it first.
pub fn book(pacing: &dyn Pacing, wish: Wish, payers: &[Payer]) -> Result<Booking, Error> {
    let mut best =
        pacing.book(Wish { payer: payers.first().copied().unwrap_or(wish.payer), ..wish });
    for payer in payers.iter().skip(1) {
        if matches!(best, Ok(Booking::Now(_))) {
            break;
        }
        let other = pacing.book(Wish { payer: *payer, ..wish });
        let sooner = match (&other, &best) {
            (Ok(other), Ok(best)) => other.expected() < best.expected(),
            (Ok(_), Err(_)) => true,
            (Err(_), _) => false,
        };
        if sooner {
            best = other;
        }
    }
    best
}

/// Adds a payer to those who are known.
pub fn add(payers: &mut Vec<Payer>, payer: Payer) {
    if !payers.contains(&payer) {
        payers.push(payer);
    }
}

/// A payer, as policies know it.
pub fn on_account(Payer { id, weight }: Payer) -> policy::Payer {
    policy::Payer { id, weight }
}

/// What somebody is told for whom there is no place; `which` are the places that are taken.
pub fn turned_away(full: Full, which: &'static str) -> Error {
    Error::Overloaded(match full {
        Full::ForAll => which,
        Full::ForThisOne => "for this caller",
    })
}
