//! The call that most tests are about.

use genesys_simulator::SimulatedCall;

/// A live call.
pub const CALL: &str = "5eed0000-0000-4000-8000-000000000001";
/// Its customer.
pub const CUSTOMER: &str = "c0000000-0000-4000-8000-000000000001";
/// The IVR, which has left.
pub const IVR: &str = "f0000000-0000-4000-8000-000000000001";
/// Its agent.
pub const AGENT: &str = "a0000000-0000-4000-8000-000000000001";

/// The call: the customer holds three attributes.
pub fn customer_call() -> SimulatedCall {
    SimulatedCall::new(CALL)
        .customer(CUSTOMER, [("language", "en"), ("tier", "silver"), ("source", "web")])
        .ivr(IVR, [("menu", "2")])
        .agent(AGENT, [("desk", "7")])
}
