//! `POST …/token`: how the addon asks for a session, and what it takes for an answer.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::{
    access::session::{Account, CLOCK_MS, ClientKey},
    error::ApiError,
    fronts::headwater::reply::{Body, Reply},
    json::{Fields, json_text, members},
    limits,
    time::Millis,
};

/// The grant with which an app's `fetchTokens` exchanges the token of its issuer (RFC 8693, 2.1).
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const FIELDS: &[&str] = &[
    "grant_type",
    "subject_token",
    "public_key",
    "refresh_token",
    "signature",
    "signing_algorithm",
    "time_stamp",
    "demo_user",
];
const NO_SIGN_IN: ApiError = ApiError::NotFound(
    "Nobody signs in here. Give the addon `fetchTokens` that exchanges the token of your identity provider.",
);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenRequest {
    /// A session and a refresh token for a token of the issuer.
    Exchange {
        /// The issuer's token.
        token: String,
        /// The key that will ask with the refresh token.
        key: ClientKey,
    },
    /// The next session for a refresh token.
    Refresh(Signed),
    /// A session of a user who has no issuer.
    Demo {
        /// The address.
        address: String,
        /// As above.
        key: ClientKey,
    },
}

/// A refresh token with the signature that shows who asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    /// The refresh token.
    pub token: String,
    /// When the client signed, by its own clock.
    pub at: Millis,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Signed {
    /// What is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.token, self.at.0)
    }

    /// That it was signed a moment ago, as far as clocks say so.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`].
    pub fn check_time(&self, now: Millis) -> Result<(), ApiError> {
        if self.at.since(now).max(now.since(self.at)) > CLOCK_MS {
            return Err(ApiError::Forbidden("The clock of this device is more than ten minutes off."));
        }
        Ok(())
    }
}

impl TokenRequest {
    /// Out of a body. Fields that mean nothing here are the addon's business.
    ///
    /// # Errors
    /// [`ApiError::Malformed`]; [`ApiError::NotFound`] for ways to sign in that there are not.
    pub fn read(body: &[u8]) -> Result<Self, ApiError> {
        let json: Option<&RawValue> = serde_json::from_slice(body).ok();
        let fields = json.and_then(|json| Fields::of(json.get(), FIELDS));
        let fields = fields.ok_or_else(|| malformed("the body is not a JSON object"))?;
        match &*text(&fields, "grant_type")? {
            EXCHANGE => Ok(Self::Exchange {
                token: text(&fields, "subject_token")?.into_owned(),
                key: client_key(&fields)?,
            }),
            "refresh_token" => Self::read_refresh(&fields),
            "demo" => {
                let address = text(&fields, "demo_user")?;
                if address.is_empty() || address.len() > limits::SUBJECT_BYTES_MAX {
                    return Err(malformed("demo_user has 1 to 1,024 bytes"));
                }
                Ok(Self::Demo { address: address.into_owned(), key: client_key(&fields)? })
            }
            _ => Err(NO_SIGN_IN),
        }
    }

    fn read_refresh(fields: &Fields<'_>) -> Result<Self, ApiError> {
        let algorithm = fields.text("signing_algorithm")?;
        if algorithm.is_some_and(|algorithm| algorithm != "RSASSA-PKCS1-v1_5") {
            return Err(malformed("signing_algorithm is not RSASSA-PKCS1-v1_5"));
        }
        let at = fields.number("time_stamp")?.ok_or_else(|| malformed("time_stamp is missing"))?;
        let signature = ClientKey::signature(&text(fields, "signature")?);
        let signature = signature.ok_or_else(|| malformed("signature is not 256 bytes in base64"))?;
        let token = text(fields, "refresh_token")?.into_owned();
        Ok(Self::Refresh(Signed { token, at: Millis(at.get()), signature }))
    }
}

fn malformed(what: &str) -> ApiError {
    ApiError::Malformed(what.to_owned())
}

fn text<'a>(fields: &Fields<'a>, name: &str) -> Result<Cow<'a, str>, ApiError> {
    fields.text(name)?.ok_or_else(|| ApiError::Malformed(format!("{name} is missing")))
}

fn client_key(fields: &Fields<'_>) -> Result<ClientKey, ApiError> {
    let key = ClientKey::of_pem(&text(fields, "public_key")?);
    key.ok_or_else(|| malformed("public_key is not the PEM of an RSA key of 2,048 bits"))
}

/// A token, and when it ends.
pub type Ending<'a> = (&'a str, Millis);

/// What the addon takes for a sign-in.
#[must_use]
pub fn tokens(account: &Account, session: Ending<'_>, refresh: Ending<'_>) -> Reply {
    let shown = |name: &str, text: &Option<String>| {
        text.as_ref().map_or_else(String::new, |text| format!(",\"{name}\":{}", json_text(text)))
    };
    let (email, name) = (shown("email", &account.email), shown("name", &account.name));
    let body = format!(
        "{{\"type\":\"tokens\",\"claims\":{{\"sub\":{}{email}{name},\"license\":\"ok\"}},\
         \"accessToken\":\"{}\",\"accessTokenExpiration\":{},\
         \"refreshToken\":\"{}\",\"refreshTokenExpiration\":{},\"userType\":\"{}\"}}",
        json_text(&account.sub),
        session.0,
        session.1.0,
        refresh.0,
        refresh.1.0,
        if account.is_demo() { "demo" } else { "prod" },
    );
    Reply::json(200, body)
}

/// An error, as the problem that it is and, in the same object, as the addon shows it to its user.
#[must_use]
pub fn refusal(error: &ApiError, id: &str) -> Reply {
    let mut reply = Reply::problem(error, id, "");
    let problem = error.body(id);
    let mut detail = "";
    let mut fields = String::new();
    for (name, value) in members(&problem).filter(|(name, _)| *name != "\"type\"") {
        if name == "\"detail\"" {
            detail = value;
        }
        fields.push_str(&format!(",{name}:{value}"));
    }
    let message = match error {
        ApiError::Unauthenticated => "\"This server does not know the token. Sign in again.\"",
        ApiError::TokenExpired => "\"The token has ended. Sign in again.\"",
        _ => detail,
    };
    reply.body = Body::Text(format!(
        "{{\"type\":\"error\"{fields},\"messageCode\":\"GENERIC_ERROR\",\"message\":{message},\"messageParams\":{{}}}}"
    ));
    reply
}
