//! Links from the response of one operation to the next operation.
//!
//! Generated clients and tests of request sequences follow them.

use utoipa::openapi::RefOr;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::Operation;

/// A link from one operation to another.
struct OperationLink {
    /// The operation, and the statuses of its responses that carry the link.
    from: (&'static str, &'static [&'static str]),
    name: &'static str,
    to: &'static str,
    with: &'static [(&'static str, &'static str)],
    why: &'static str,
}

/// Exists only with `debug.enabled`.
const TRACE: &str = "getTrace";

const SAME: (&str, &str) = ("conversationId", "$request.path.conversationId");

const ALL: &[OperationLink] = &[
    OperationLink {
        from: ("getAttributes", &["200"]),
        name: "writeIfUnchanged",
        to: "putAttributes",
        with: &[SAME, ("header.If-Match", "$response.header.ETag")],
        why: "Write, provided that the attributes are unchanged",
    },
    OperationLink {
        from: ("putAttributes", &["200", "202"]),
        name: "readBack",
        to: "getAttributes",
        with: &[SAME],
        why: "Read the current attributes",
    },
    OperationLink {
        from: ("putAttributes", &["200", "202"]),
        name: "trace",
        to: TRACE,
        with: &[SAME],
        why: "See how the gateway processed the write",
    },
];

/// Adds the links to the responses of an operation. Skips links to operations that do not exist.
pub(super) fn add(operation: &mut Operation, debug: bool) {
    let name = operation.operation_id.clone().unwrap_or_default();
    let exists = |next: &&OperationLink| next.from.0 == name && (debug || next.to != TRACE);
    for next in ALL.iter().filter(exists) {
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
