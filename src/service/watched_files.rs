//! The files that are read again when they change, or when an operator asks for it.

use std::sync::Arc;

use super::clients_file::ClientSource;
use super::tls::ServerTls;

/// The files of a running service. Cheap to clone.
#[derive(Clone)]
pub struct WatchedFiles {
    pub(super) client_registry: ClientSource,
    pub(super) tls: Option<Arc<ServerTls>>,
}

impl WatchedFiles {
    /// Has all of them read again at once, also those that have not changed. Gives back the settings
    /// that name them.
    pub fn reload(&self) -> Vec<&'static str> {
        let client_registry = self.client_registry.reload().then_some("auth.clients_file");
        let tls = self.tls.as_ref().map(|tls| {
            tls.reload();
            "server.tls"
        });
        client_registry.into_iter().chain(tls).collect()
    }
}
