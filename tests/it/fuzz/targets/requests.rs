//! What clients send: paths, query strings, headers and bodies, percent-encoded, conditional, in
//! cursors, well-formed or not.
//!
//! An input is a request, or several one after the other: `PUT /v1/…?dryRun=true`, headers, body.

use genesys_simulator::{RequestKind, SimulatedCall, Simulator, SimulatorSettings};

use super::input::{parts, written_request};
use super::service::{CALL, Fuzzed, OPEN, paused};

const CUSTOMER: &str = "5eed0000-0000-4000-8000-0000000000c1";

/// Statuses that come from what stands upstream, so that a read, at least, has been made for them.
const AFTER_SENDING: [u16; 2] = [409, 412];

/// More requests of one input are left out.
const MAX_REQUESTS: usize = 6;

/// Sends these requests to a service over the simulator.
pub fn run(input: &[u8]) {
    let requests: Vec<_> =
        parts(input).into_iter().take(MAX_REQUESTS).filter_map(written_request).collect();
    if requests.is_empty() {
        return;
    }
    paused(async {
        let simulator = Simulator::new(SimulatorSettings::default());
        let values = [("language", "en"), ("tier", "silver"), ("source", "web")];
        simulator.add_call(SimulatedCall::new(CALL).customer(CUSTOMER, values)).expect("sound");
        let fuzzed = Fuzzed::over(simulator.router(), &OPEN, "off");
        fuzzed.service.started().await;
        for request in requests {
            let before = simulator.count(RequestKind::Patch);
            let answer = fuzzed.send(request).await;
            let refused =
                (400..500).contains(&answer.status) && !AFTER_SENDING.contains(&answer.status);
            let sent = simulator.count(RequestKind::Patch) > before;
            assert!(!refused || !sent, "refused with {}, and sent", answer.status);
        }
        assert_eq!(
            simulator.count(RequestKind::Other),
            0,
            "a path that the platform does not have"
        );
    });
}
