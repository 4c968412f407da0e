//! How a turn comes by the calls of its next batch: it books for those who wait, again when somebody
//! comes who pays for it or brings calls along, and tells those who cannot wait so long.

use tokio::sync::Notify;
use tokio::time::Instant;

use super::worker::{Next, Runner};
use super::{Seat, Told};
use crate::app::budget_accounts;
use crate::error::Error;
use crate::ports::{Booking, BoxFuture, Payer, Permit, Permits, Wish};

/// Ends when what was booked is granted, or never will be.
type Granted = BoxFuture<'static, Result<Permits, Error>>;

impl Runner {
    /// Gets the permits that are missing. `None` if there will be none, or nobody waits any more.
    pub(super) async fn book(&self, next: Next, changed: &Notify) -> Option<Vec<Permit>> {
        let Next { wish, mut permits, .. } = next;
        if wish.calls == 0 {
            return Some(permits);
        }
        let payers = self.payers();
        let granted = match budget_accounts::book(&*self.shared.pacing, wish, &payers) {
            Ok(Booking::Now(granted)) => Ok(each(granted, Vec::new())),
            Ok(Booking::Later { expected, granted }) => {
                self.expect(expected, wish);
                self.granted(wish, payers, (expected, granted), changed).await?
            }
            Err(refusal) => Err(refusal),
        };
        match granted {
            Ok(granted) => {
                permits.extend(granted);
                Some(permits)
            }
            Err(refusal) => {
                // Who came later with more time is booked for anew.
                self.refuse(&refusal, |seat| !seat.alone && seat.deadline() <= wish.deadline);
                None
            }
        }
    }

    /// Waits for what was booked, on the account of whoever gets it first, or for members who have booked
    /// as much already. `None` if nobody waits any more.
    async fn granted(
        &self,
        wish: Wish,
        mut payers: Vec<Payer>,
        (mut expected, mut granted): (Instant, Granted),
        changed: &Notify,
    ) -> Option<Result<Vec<Permit>, Error>> {
        let (mut brought, mut missing) = (Vec::new(), wish.calls);
        loop {
            tokio::select! {
                granted = &mut granted => return Some(granted.map(|all| each(all, brought))),
                () = changed.notified() => if self.is_deserted() { return None },
            }
            let here = self.brought(missing);
            let fewer = !here.is_empty();
            missing = missing.saturating_sub(u32::try_from(here.len()).unwrap_or(missing));
            brought.extend(here);
            if missing == 0 {
                return Some(Ok(brought));
            }
            let mut who = self.payers();
            // For fewer calls anybody may get them sooner, and else whoever was not asked yet.
            who.retain(|payer| fewer || !payers.contains(payer));
            if who.is_empty() {
                continue;
            }
            match budget_accounts::book(&*self.shared.pacing, Wish { calls: missing, ..wish }, &who)
            {
                Ok(Booking::Now(permits)) => return Some(Ok(each(permits, brought))),
                Ok(Booking::Later { expected: sooner, granted: other }) if sooner < expected => {
                    (expected, granted) = (sooner, other);
                }
                Ok(Booking::Later { .. }) | Err(_) => {}
            }
            for payer in who {
                budget_accounts::add(&mut payers, payer);
            }
            self.expect(expected, wish);
        }
    }

    /// Calls that members have booked before they came, so many at most.
    fn brought(&self, calls: u32) -> Vec<Permit> {
        let lines = self.shared.turns.lines();
        let Some(line) = lines.get(&self.place) else { return Vec::new() };
        let now = Instant::now();
        let ready = line.seats.values().filter(|seat| !seat.alone && seat.is_ready(now));
        let fares = ready.flat_map(|seat| std::iter::from_fn(|| seat.ride.fare.take()));
        fares.take(calls as usize).collect()
    }

    /// Everybody on whose account the next batch can be booked.
    fn payers(&self) -> Vec<Payer> {
        let mut lines = self.shared.turns.lines();
        let Some(line) = lines.get_mut(&self.place) else { return Vec::new() };
        for seat in line.seats.values().filter(|seat| !seat.alone) {
            budget_accounts::add(&mut line.payers, seat.ride.cycle.payer());
        }
        line.payers.clone()
    }

    /// The next batch cannot leave before `expected`: whoever must be answered by then is told now.
    fn expect(&self, expected: Instant, wish: Wish) {
        if let Some(line) = self.shared.turns.lines().get_mut(&self.place) {
            line.expected = Some(expected);
        }
        let is_late = |seat: &Seat| !seat.alone && seat.deadline() <= expected;
        let lines = self.shared.turns.lines();
        let any = lines.get(&self.place).is_some_and(|line| line.seats.values().any(is_late));
        drop(lines);
        if any {
            let refusal = self.shared.pacing.refusal(wish.payer, wish.calls);
            self.refuse(&refusal, is_late);
        }
    }

    pub(super) fn refuse(&self, refusal: &Error, which: impl Fn(&Seat) -> bool) {
        let refused = match self.shared.turns.lines().get_mut(&self.place) {
            Some(line) => line.take(which),
            None => return,
        };
        for seat in refused {
            self.shared.meter.writes_waiting(-1);
            seat.tell(Told::Refused(refusal.clone()));
        }
    }

    fn is_deserted(&self) -> bool {
        self.shared.turns.lines().get(&self.place).is_none_or(|line| line.seats.is_empty())
    }
}

/// Permits one by one, beside others.
fn each(mut permits: Permits, mut others: Vec<Permit>) -> Vec<Permit> {
    others.extend(std::iter::from_fn(|| permits.take()));
    others
}
