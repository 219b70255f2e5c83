//! Record values as JSON text.
