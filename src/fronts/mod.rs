//! What clients send and are answered, one front for each protocol: pure translators between bytes and what the rest of the code
//! speaks of. No decision is taken here.

pub mod headwater;
