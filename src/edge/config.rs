//! What a deployment sets the edge to.

use crate::{
    access::{cors, token::TokenConfig},
    log::LogLevel,
};

/// The settings of an isolate.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Whose tokens are good.
    pub token: TokenConfig,
    /// What signs grants.
    pub grant_secret: Option<String>,
    /// What has signed them before, or will.
    pub other_grant_secret: Option<String>,
    /// Origins that may read answers in a browser.
    pub allowed_origins: Vec<cors::Allowed>,
    /// Headers that requests of their pages may have beside the protocol's own; absent: any.
    pub allowed_headers: Option<Vec<String>>,
    /// What `dexie-cloud-addon` is let do.
    pub dexie: DexieConfig,
    /// Whether publication keeps KV current by itself, without waiting for readers.
    pub publishes_eagerly: bool,
    /// The jurisdiction in which objects are made and live; empty for anywhere. None where the setting is not understood: then no
    /// object is reached, because one that was made elsewhere stays there.
    pub jurisdiction: Option<String>,
    /// Whether the deployment has a budget for a day's requests of objects.
    pub counts_object_requests: bool,
    /// What is logged.
    pub log_level: LogLevel,
}

/// The settings of the routes below `/dexie`.
#[derive(Debug, Clone)]
pub struct DexieConfig {
    /// Addresses of users who sign in without an issuer; `*` is everybody.
    pub demo_users: Vec<String>,
    /// For how many days the addon gets sessions after a sign-in. Without days it gets them for an hour.
    pub refresh_days: u32,
}
