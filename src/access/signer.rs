//! What is signed here to be read here again: HMAC-SHA-256 under a secret of the deployment.

use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::{
    Algorithm, AlgorithmSignature,
    alg::{Hs256, Hs256Key},
};

use crate::error::ApiError;

/// Bytes of a signature. jwt-compact panics for any other number.
const SIGNATURE_BYTES: usize = 32;

/// Signs texts of one kind, and knows its signatures again.
#[derive(Debug)]
pub(super) struct Signer {
    key: Option<Hs256Key>,
    /// Signatures under this one are good too: while a secret changes, objects and isolates that keep the old one for minutes
    /// sign with it.
    other: Option<Hs256Key>,
}

impl Signer {
    /// A signer with a secret, if there is one, that knows signatures of another one too, if there is that. `domain` stands before
    /// the secret in the key, so that no text of one kind is taken for one of another.
    pub(super) fn new(domain: &str, secret: Option<&str>, other: Option<&str>) -> Self {
        let key = |secret: &str| Hs256Key::new(format!("{domain}{secret}").as_bytes());
        Self { key: secret.map(key), other: other.map(key) }
    }

    /// Whether it can do anything.
    ///
    /// # Errors
    /// [`ApiError::Internal`] when there is no key.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        self.key.as_ref().map(drop).ok_or(ApiError::Internal)
    }

    /// The text with a dot and its signature behind it.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(super) fn sign(&self, text: &str) -> Result<String, ApiError> {
        let key = self.key.as_ref().ok_or(ApiError::Internal)?;
        let signature = Hs256.sign(key, text.as_bytes());
        Ok(format!("{text}.{}", Base64UrlUnpadded::encode_string(&AlgorithmSignature::as_bytes(&signature))))
    }

    /// What [`Self::sign`] was given; none of what was not signed here.
    pub(super) fn read<'a>(&self, signed: &'a str) -> Option<&'a str> {
        let (text, signature) = signed.rsplit_once('.')?;
        let signature = Base64UrlUnpadded::decode_vec(signature).ok()?;
        let signature = (signature.len() == SIGNATURE_BYTES).then_some(signature)?;
        let signature = AlgorithmSignature::try_from_slice(&signature).ok()?;
        let is_of = |key: &Hs256Key| Hs256.verify_signature(&signature, key, text.as_bytes());
        self.key.iter().chain(&self.other).any(is_of).then_some(text)
    }
}
