//! Headwater: the sync rules, and the map of them.
//!
//! Everything in this crate is synchronous Rust without clock, randomness, I/O or JavaScript: time and chance are
//! arguments. It is tested natively, runs in the simulator, and ships in the Worker. The shell that carries it onto
//! Cloudflare is the crate in `src/worker/`; no sync rule lives there.
//!
//! # Two places
//! ```text
//!  browser ── POST /sync/push ─▶ edge ─▶ coordinator (Durable Object, SQLite) ─ ack when durable
//!     ▲                           │          │
//!     │                           │          └─ alarm: parts first, then the head ─▶ KV
//!     └── GET /sync/pull ◀────────┴─ memory ▸ the location's cache ▸ KV ─ new enough? ─ yes ▶ answer
//!                                                                          └ no ▶ coordinator
//! ```
//!
//! # A push, in the order of the code
//! 1. [`edge::visit`], one request: [`fronts::headwater::route`], [`access::token`] and [`access::target`] say what, who and
//!    where. The body is passed on when it is whole, unless [`edge::refusals`] knows that the object has had enough of its sender.
//! 2. [`coordinator::object`], a task of the object: [`coordinator::rate`] says whether the user may have more of it,
//!    [`coordinator::sharing`] whether they may write; [`call`] makes a push out of bytes, and [`mutation`] what is inside.
//! 3. It waits in a [`coordinator::push::queue`]: pushes that arrive together share a transaction.
//! 4. [`coordinator::push`]: `numbering` (new, settled or forked?), `plan/judge` (applied, parked or rejected?), for that
//!    [`coordinator::conflicts`] (does it follow what is parked, what does it resolve?) and `merge` (does it conflict, what does
//!    it make of its record? with [`value`]), `plan` (all of it in memory), then [`coordinator::ledger`], in one section.
//!    A push of the other front (`fronts/dexie`) brings transactions, which become mutations here: `plan/transactions`.
//! 5. The answer, with what the client was missing.
//! 6. Later: [`coordinator::publication`] cuts parts ([`snapshot::part`]) and the head ([`snapshot::head`]).
//!
//! # A pull
//! 1. As above; then [`fronts::headwater::pull`]. A shared space is opened by a grant ([`access::grant`]), so that the edge asks
//!    nobody.
//! 2. [`edge::pull`]: which layer the visit asks next, and whether what is known ([`edge::known`]) is an answer.
//! 3. If no layer is new enough: `coordinator/pull.rs`, an overlay for all readers, or pages for one.
//! 4. [`fronts::headwater::answer`]: bodies and headers. Published objects are streamed without entering wasm.
//!
//! # Shared spaces
//! A route below `/spaces` becomes a [`call::Administration`], which goes to the space's object: `edge/visit/spaces.rs`, then
//! [`coordinator::sharing`] (who may do what, and what is done). What a space says of a user goes to the user's directory
//! ([`coordinator::sharing::directory`]) after the answer ([`edge::directory`]).
//!
//! # Rooms, lowest first
//! Each imports only rooms above it in this list; `tests/house.rs` says so.
//!
//! [`ids`], [`role`], [`time`], [`version`], [`limits`], [`log`], [`shares`]: what is spoken of · [`json`]: the one way JSON of ours is read and
//! written · [`value`]: record values as text · [`snapshot`]: what is published · [`mutation`]: what clients ask to be done to
//! records, and what becomes of it · [`error`]: the one table from error to HTTP · [`call`]: what edge and objects say to each
//! other · [`access`]: who calls, for which space, with what right · [`fronts`]: what clients send and are answered ·
//! [`edge`]: near the user, beside [`coordinator`]: once per space, the only writer · [`config`]: what a deployment sets ·
//! `sim`: a world to test all of it in, native only.
//!
//! The invariants I1–I15, where each is asserted and which test shows it: `docs/INVARIANTS.md`.
#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]

#[macro_use]
mod planted;

pub mod access;
pub mod call;
pub mod config;
pub mod coordinator;
pub mod edge;
pub mod error;
pub mod fronts;
pub mod ids;
pub mod json;
pub mod limits;
pub mod log;
pub mod mutation;
pub mod role;
pub mod shares;
// Its worlds have clients of every front.
#[cfg(all(not(target_arch = "wasm32"), feature = "dexie"))]
pub mod sim;
pub mod snapshot;
pub mod time;
pub mod value;
pub mod version;
