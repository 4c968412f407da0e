//! Maps a method and a path to an operation of the platform. It does not carry operations out.

use axum::http::Method;

use super::{faults::RequestKind, shapes::DocumentShape};

/// An operation with the ids in its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestTarget {
    Token,
    Conversation {
        shape: DocumentShape,
        conversation: String,
    },
    Attributes {
        shape: DocumentShape,
        conversation: String,
        participant: String,
    },
    VoiceParticipant {
        conversation: String,
        participant: String,
        patch: bool,
    },
    Details,
    OwnConversations(DocumentShape),
    TokenCheck,
    /// The effective limits of a namespace.
    Limits {
        namespace: String,
    },
    Unknown,
}

impl RequestTarget {
    pub(super) fn parse(method: &Method, path: &str) -> Self {
        if let (&Method::POST, "/oauth/token") = (method, path) {
            return Self::Token;
        }
        let Some(rest) = path.strip_prefix("/api/v2/") else {
            return Self::Unknown;
        };
        let parts: Vec<&str> = rest.split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("POST", ["analytics", "conversations", "details", "query"]) => Self::Details,
            ("HEAD" | "GET", ["tokens", "me"]) => Self::TokenCheck,
            ("GET", ["organizations", "limits", "namespaces", namespace]) => {
                Self::Limits { namespace: (*namespace).to_owned() }
            }
            (method, ["conversations", rest @ ..]) => Self::conversations(method, rest),
            _ => Self::Unknown,
        }
    }

    fn conversations(method: &str, parts: &[&str]) -> Self {
        let own = |id: &&str| (*id).to_owned();
        match (method, parts) {
            ("GET", []) => Self::OwnConversations(DocumentShape::Generic),
            ("GET", ["calls"]) => Self::OwnConversations(DocumentShape::Calls),
            ("GET", ["calls", id]) => {
                Self::Conversation { shape: DocumentShape::Calls, conversation: own(id) }
            }
            ("GET", [id]) => {
                Self::Conversation { shape: DocumentShape::Generic, conversation: own(id) }
            }
            ("PATCH", ["calls", c, "participants", p, "attributes"]) => Self::Attributes {
                shape: DocumentShape::Calls,
                conversation: own(c),
                participant: own(p),
            },
            ("PATCH", [c, "participants", p, "attributes"]) => Self::Attributes {
                shape: DocumentShape::Generic,
                conversation: own(c),
                participant: own(p),
            },
            ("GET" | "PATCH", ["voice", c, "participants", p]) => Self::VoiceParticipant {
                conversation: own(c),
                participant: own(p),
                patch: method == "PATCH",
            },
            _ => Self::Unknown,
        }
    }

    pub(super) fn kind(&self) -> RequestKind {
        match self {
            Self::Token => RequestKind::Token,
            Self::Conversation { .. } | Self::VoiceParticipant { patch: false, .. } => {
                RequestKind::Read
            }
            Self::Attributes { .. } | Self::VoiceParticipant { patch: true, .. } => {
                RequestKind::Patch
            }
            Self::Details => RequestKind::Analytics,
            Self::OwnConversations(_) | Self::TokenCheck | Self::Limits { .. } | Self::Unknown => {
                RequestKind::Other
            }
        }
    }

    /// The permission that the platform checks before it looks for anything.
    pub(super) fn permission(&self) -> Option<&'static str> {
        match self {
            Self::Conversation { shape: DocumentShape::Generic, .. } => {
                Some("conversation:communication:view")
            }
            Self::Details => Some("analytics:conversationDetail:view"),
            _ => None,
        }
    }

    pub(super) fn conversation(&self) -> Option<&str> {
        match self {
            Self::Conversation { conversation, .. }
            | Self::Attributes { conversation, .. }
            | Self::VoiceParticipant { conversation, .. } => Some(conversation),
            _ => None,
        }
    }

    pub(super) fn participant(&self) -> Option<&str> {
        match self {
            Self::Attributes { participant, .. } | Self::VoiceParticipant { participant, .. } => {
                Some(participant)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_operations() {
        let kind = |method: Method, path: &str| RequestTarget::parse(&method, path).kind();
        assert_eq!(kind(Method::POST, "/oauth/token"), RequestKind::Token);
        assert_eq!(kind(Method::GET, "/api/v2/conversations/c"), RequestKind::Read);
        assert_eq!(kind(Method::GET, "/api/v2/conversations/calls/c"), RequestKind::Read);
        assert_eq!(kind(Method::GET, "/api/v2/conversations/calls"), RequestKind::Other);
        let attributes = "/api/v2/conversations/c/participants/p/attributes";
        assert_eq!(kind(Method::PATCH, attributes), RequestKind::Patch);
        assert_eq!(kind(Method::PUT, attributes), RequestKind::Other);
        let target = RequestTarget::parse(
            &Method::PATCH,
            "/api/v2/conversations/calls/c/participants/p/attributes",
        );
        assert_eq!((target.conversation(), target.participant()), (Some("c"), Some("p")));
    }
}
