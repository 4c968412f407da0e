//! The files that the service reloads when they change or on SIGHUP.

use std::sync::Arc;

use super::clients_file::ClientSource;
use super::tls::ServerTls;

/// The watched files of a running service. Cheap to clone.
#[derive(Clone)]
pub struct WatchedFiles {
    pub(super) client_registry: ClientSource,
    pub(super) tls: Option<Arc<ServerTls>>,
}

impl WatchedFiles {
    /// Reloads all files at once, changed or not. Returns the settings that name them.
    pub fn reload(&self) -> Vec<&'static str> {
        let client_registry = self.client_registry.reload().then_some("auth.clients_file");
        let tls = self.tls.as_ref().map(|tls| {
            tls.reload();
            "server.tls"
        });
        client_registry.into_iter().chain(tls).collect()
    }
}
