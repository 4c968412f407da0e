//! What callers send: paths, query strings, headers and bodies, percent-encoded, conditional, in
//! cursors, well-formed or not.
//!
//! An input is a request as it is written: `PUT /v1/…?dryRun=true`, a header a line, an empty line, the
//! body.

use attribute_gateway::simulator::{Call, Kind, Settings, Simulator};

use super::service::{CALL, Fuzzed, head_and_body, header, paused, request};

const CUSTOMER: &str = "5eed0000-0000-4000-8000-0000000000c1";

/// Statuses that come from what stands upstream, so that a read, at least, has been made for them.
const AFTER_SENDING: [u16; 2] = [409, 412];

/// Sends one request to a service over the simulator.
pub fn run(input: &[u8]) {
    let (head, body) = head_and_body(input);
    let Some((first, rest)) = head.split_first() else { return };
    let mut words = first.splitn(2, |byte| *byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
    let headers: Vec<_> = rest.iter().filter_map(|line| header(line)).collect();
    let Some(request) = request(method, target, &headers, body.to_vec()) else { return };
    paused(async {
        let simulator = Simulator::new(Settings::default());
        let values = [("language", "en"), ("tier", "silver"), ("source", "web")];
        simulator.add_call(Call::new(CALL).customer(CUSTOMER, values)).expect("sound");
        let fuzzed = Fuzzed::over(simulator.router(), "off");
        fuzzed.service.started().await;
        let told = fuzzed.send(request).await;
        let refused = (400..500).contains(&told.status) && !AFTER_SENDING.contains(&told.status);
        let patches = simulator.count(Kind::Patch);
        assert!(!refused || patches == 0, "refused with {}, and sent", told.status);
        assert_eq!(simulator.count(Kind::Other), 0, "a path that the platform does not have");
    });
}
