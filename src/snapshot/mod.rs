//! What is published: immutable parts of runs, and the head that names them. `kv-schema/README.md` is the grammar.

pub mod head;
pub mod keys;
pub mod lines;
pub mod part;
