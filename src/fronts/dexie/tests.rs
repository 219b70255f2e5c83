//! Requests of the client, as a space takes and answers them.

mod derived;
mod members;
mod vectors;
