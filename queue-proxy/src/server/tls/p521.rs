//! Key exchange on P-521, which rustls does not bring along but Go's settings name: aws-lc-rs has it, and rustls takes
//! key exchanges from outside.

use aws_lc_rs::{agreement, rand::SystemRandom};
use rustls::{
    Error, NamedGroup, PeerMisbehaved,
    crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup},
    ffdhe_groups::FfdheGroup,
};

/// Ephemeral ECDH on secp521r1.
pub static SECP521R1: &dyn SupportedKxGroup = &Secp521r1;

/// First byte of a point in uncompressed form, the only one that TLS 1.3 admits (RFC 8446, section 4.2.8.2).
const UNCOMPRESSED: u8 = 4;

#[derive(Debug)]
struct Secp521r1;

impl SupportedKxGroup for Secp521r1 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let private = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P521, &SystemRandom::new())
            .map_err(|_| GetRandomFailed)?;
        let public = private.compute_public_key().map_err(|_| GetRandomFailed)?;
        Ok(Box::new(Exchange { private, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }
}

struct Exchange {
    private: agreement::EphemeralPrivateKey,
    public: agreement::PublicKey,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = || Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
        if peer.first() != Some(&UNCOMPRESSED) {
            return Err(invalid());
        }
        let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P521, peer);
        agreement::agree_ephemeral(self.private, peer, invalid(), |secret| Ok(secret.into()))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_and_a_bad_share_is_refused() {
        let (ours, theirs) = (
            SECP521R1.start().expect("randomness"),
            SECP521R1.start().expect("randomness"),
        );
        let (our_share, their_share) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        let (a, b) = (
            ours.complete(&their_share).expect("a share"),
            theirs.complete(&our_share).expect("a share"),
        );
        assert_eq!(a.secret_bytes(), b.secret_bytes());
        let mut off_the_curve = their_share.clone();
        off_the_curve[60] ^= 1;
        for bad in [&[][..], &[2; 67], &their_share[..132], &off_the_curve] {
            assert!(SECP521R1.start().expect("randomness").complete(bad).is_err());
        }
    }
}
