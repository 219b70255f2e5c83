//! Clients of Dexie Cloud's protocol in spaces of a world, beside our own: `client` is the addon's model, `op` what its app does,
//! `requests` how it syncs, `sockets` what it hears.

pub mod client;
pub mod op;
mod requests;
mod sockets;

use std::collections::BTreeMap;

use super::Rng;
use client::DexieClient;
pub use sockets::Line;

/// From where on the host of an object numbers these clients.
pub const FIRST_ADDON: usize = 1_000;

/// The clients of a world. Chances are thrown for them by dice of their own, so that worlds without them are what they were.
#[derive(Debug)]
pub struct Addons {
    /// The clients.
    pub clients: Vec<DexieClient>,
    /// For what happens around them.
    pub rng: Rng,
    /// Their sockets, as far as they know.
    lines: BTreeMap<usize, Line>,
    /// How many sockets there were.
    begun: u64,
}

impl Addons {
    /// None yet.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self { clients: Vec::new(), rng, lines: BTreeMap::new(), begun: 0 }
    }

    /// Another database of `user`, whose URL names `space`.
    pub fn add(&mut self, user: usize, space: usize) {
        self.clients.push(DexieClient::new(self.clients.len(), user, space));
    }

    /// What users of a space had not sent is of a space that is no more. Whoever had something to send begins anew.
    pub fn throw_away(&mut self, space: usize) {
        for client in self.clients.iter_mut().filter(|client| client.space == space) {
            client.give_up();
            if !client.pending.is_empty() {
                client.start_over();
            }
        }
    }
}
