//! What can be done next with an answer: links from one operation to another.
//!
//! Generated clients and tests of sequences of requests follow them.

use utoipa::openapi::RefOr;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::Operation;

/// One link.
struct OperationLink {
    /// From this answer.
    from: (&'static str, &'static [&'static str]),
    name: &'static str,
    to: &'static str,
    with: &'static [(&'static str, &'static str)],
    why: &'static str,
}

/// There with `debug.enabled` alone.
const TRACE: &str = "getTrace";

const SAME: (&str, &str) = ("conversationId", "$request.path.conversationId");

const ALL: &[OperationLink] = &[
    OperationLink {
        from: ("getAttributes", &["200"]),
        name: "writeIfUnchanged",
        to: "putAttributes",
        with: &[SAME, ("header.If-Match", "$response.header.ETag")],
        why: "Write, provided that nothing has changed since",
    },
    OperationLink {
        from: ("putAttributes", &["200", "202"]),
        name: "readBack",
        to: "getAttributes",
        with: &[SAME],
        why: "Read what stands there now",
    },
    OperationLink {
        from: ("putAttributes", &["200", "202"]),
        name: "trace",
        to: TRACE,
        with: &[SAME],
        why: "See how it came about",
    },
];

/// Adds its links to the answers of an operation: those to operations that there are.
pub(super) fn add(operation: &mut Operation, debug: bool) {
    let name = operation.operation_id.clone().unwrap_or_default();
    let there = |next: &&OperationLink| next.from.0 == name && (debug || next.to != TRACE);
    for next in ALL.iter().filter(there) {
        for status in next.from.1 {
            if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(*status) {
                response.links.insert(next.name.to_owned(), next.link().into());
            }
        }
    }
}

impl OperationLink {
    fn link(&self) -> Link {
        let link = LinkBuilder::new().operation_id(self.to).description(self.why);
        let parameters = self.with.iter();
        parameters.fold(link, |link, (name, value)| link.parameter(*name, *value)).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_targets_an_operation_with_its_parameters() {
        let mut api = crate::http::openapi::document();
        let items = api.paths.paths.values_mut();
        let operations: Vec<_> = items.flat_map(crate::http::openapi::operations).collect();
        let find = |name: &str| {
            let found =
                operations.iter().find(|(_, one)| one.operation_id.as_deref() == Some(name));
            &found.unwrap_or_else(|| panic!("there is no {name}")).1
        };
        for next in ALL {
            for status in next.from.1 {
                let RefOr::T(answer) = &find(next.from.0).responses.responses[*status] else {
                    panic!("{} has no {status} of its own", next.from.0);
                };
                assert!(answer.links.contains_key(next.name), "{}", next.name);
            }
            let taken: Vec<_> = find(next.to).parameters.iter().flatten().collect();
            for (name, _) in next.with {
                let name = name.rsplit('.').next().expect("a name");
                let named = |one: &&&RefOr<_>| matches!(one, RefOr::T(utoipa::openapi::path::Parameter { name: own, .. }) if own == name);
                assert!(taken.iter().any(|one| named(&one)), "{} takes no {name}", next.to);
            }
        }
    }
}
