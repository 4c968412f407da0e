//! What callers send: paths, query strings, headers and bodies, percent-encoded, conditional, in
//! cursors, well-formed or not.
//!
//! An input is a request, or several one after the other: `PUT /v1/…?dryRun=true`, headers, body.

use attribute_gateway::simulator::{Call, Kind, Settings, Simulator};

use super::input::{parts, written_request};
use super::service::{CALL, Fuzzed, OPEN, paused};

const CUSTOMER: &str = "5eed0000-0000-4000-8000-0000000000c1";

/// Statuses that come from what stands upstream, so that a read, at least, has been made for them.
const AFTER_SENDING: [u16; 2] = [409, 412];

/// More requests of one input are left out.
const MOST: usize = 6;

/// Sends these requests to a service over the simulator.
pub fn run(input: &[u8]) {
    let requests: Vec<_> =
        parts(input).into_iter().take(MOST).filter_map(written_request).collect();
    if requests.is_empty() {
        return;
    }
    paused(async {
        let simulator = Simulator::new(Settings::default());
        let values = [("language", "en"), ("tier", "silver"), ("source", "web")];
        simulator.add_call(Call::new(CALL).customer(CUSTOMER, values)).expect("sound");
        let fuzzed = Fuzzed::over(simulator.router(), &OPEN, "off");
        fuzzed.service.started().await;
        for request in requests {
            let before = simulator.count(Kind::Patch);
            let told = fuzzed.send(request).await;
            let refused =
                (400..500).contains(&told.status) && !AFTER_SENDING.contains(&told.status);
            let sent = simulator.count(Kind::Patch) > before;
            assert!(!refused || !sent, "refused with {}, and sent", told.status);
        }
        assert_eq!(simulator.count(Kind::Other), 0, "a path that the platform does not have");
    });
}
