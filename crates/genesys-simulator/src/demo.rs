//! The calls that `demo` and `simulate` start with: one of each kind that a user of the gateway
//! should know, with ids that are easy to type.

use serde::Serialize;

use super::{NO_ATTRIBUTES, SimulatedCall, Simulator};

/// A demo call, for printing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DemoCall {
    /// Its conversation id.
    pub conversation_id: String,
    /// What it shows.
    pub description: String,
    /// Whether it was live when it was added.
    pub live: bool,
    /// Who takes part, in order of joining.
    pub participants: Vec<DemoParticipant>,
}

/// A participant of a demo call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DemoParticipant {
    /// Its id.
    pub id: String,
    /// `customer`, `agent`, ...
    pub purpose: String,
}

impl Simulator {
    /// Adds the demo calls that are missing, and describes all of them.
    pub fn demo_calls(&self) -> Vec<DemoCall> {
        let calls = [
            (with_agent(), true),
            (in_the_ivr(), true),
            (two_agents(), true),
            (over().ended(), false),
        ];
        calls.into_iter().map(|(call, live)| self.demo_call(call, live)).collect()
    }

    fn demo_call(&self, call: SimulatedCall, live: bool) -> DemoCall {
        let participant = |(id, purpose): (&str, &str)| DemoParticipant {
            id: id.to_owned(),
            purpose: purpose.to_owned(),
        };
        let described = DemoCall {
            conversation_id: call.id.clone(),
            description: call.description.clone(),
            live,
            participants: call.cast().map(participant).collect(),
        };
        // The only possible error is that the call exists already, which is fine.
        let _ = self.add_call(call);
        described
    }
}

fn with_agent() -> SimulatedCall {
    SimulatedCall::new("11111111-1111-4111-8111-111111111111")
        .described("a customer talks to an agent")
        .customer(
            "c1111111-1111-4111-8111-111111111111",
            [("customer_tier", "gold"), ("Numero  VIP", "1"), ("crm_case", "")],
        )
        .ivr("f1111111-1111-4111-8111-111111111111", [("menu_choice", "2")])
        .agent("a1111111-1111-4111-8111-111111111111", NO_ATTRIBUTES)
}

fn in_the_ivr() -> SimulatedCall {
    SimulatedCall::new("22222222-2222-4222-8222-222222222222")
        .described("a caller in the IVR, still `external`, before any queue")
        .external("e2222222-2222-4222-8222-222222222222", [("language", "nl")])
        .participant("ivr", "f2222222-2222-4222-8222-222222222222", "connected", NO_ATTRIBUTES)
}

fn two_agents() -> SimulatedCall {
    SimulatedCall::new("33333333-3333-4333-8333-333333333333")
        .described("a customer in a conference with two agents")
        .customer("c3333333-3333-4333-8333-333333333333", [("customer_tier", "silver")])
        .agent("a3333333-3333-4333-8333-333333333333", [("role", "first line")])
        .agent("b3333333-3333-4333-8333-333333333333", [("role", "expert")])
}

fn over() -> SimulatedCall {
    SimulatedCall::new("44444444-4444-4444-8444-444444444444")
        .described("a call that is over")
        .customer("c4444444-4444-4444-8444-444444444444", [("customer_tier", "bronze")])
        .agent("a4444444-4444-4444-8444-444444444444", NO_ATTRIBUTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimulatorSettings;

    #[test]
    fn there_is_one_of_each_kind_and_asking_twice_is_harmless() {
        let simulator = Simulator::new(SimulatorSettings::default());
        let calls = simulator.demo_calls();
        assert_eq!(
            calls.iter().map(|call| call.live).collect::<Vec<_>>(),
            [true, true, true, false]
        );
        assert_eq!(simulator.demo_calls(), calls);
        let first = &calls[0];
        let attributes = simulator.attributes(&first.conversation_id, &first.participants[0].id);
        assert_eq!(attributes.expect("it was added")["customer_tier"], "gold");
    }
}
