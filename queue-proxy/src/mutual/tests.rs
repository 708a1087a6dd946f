//! What is taken for a usable set of files, and what a start tells of one that is none.

use std::{error::Error as _, fs};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name` and its key.
    fn pair(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(certificate: &str, key: &str, authority: &str) -> Self {
        let folder = Self(tempfile::TempDir::new().expect("a folder"));
        folder.write(certificate, key, authority);
        folder
    }

    fn write(&self, certificate: &str, key: &str, authority: &str) {
        for (name, text) in [("crt", certificate), ("key", key), ("ca", authority)] {
            fs::write(self.0.path().join(name), text).expect("writable");
        }
    }

    fn files(&self) -> Files {
        let at = |name| self.0.path().join(name);
        Files {
            certificate: at("crt"),
            key: at("key"),
            authority: at("ca"),
        }
    }
}

#[test]
fn what_cannot_be_used_is_told_with_its_variable() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let ((certificate, key), (other, other_key)) = (ours.pair(NAME), theirs.pair("another"));
    let authority = ours.pem();
    let told = |certificate: &str, key: &str, authority: &str| {
        let opened = Mutual::open(&Folder::with(certificate, key, authority).files());
        let error = opened.err().expect("unusable");
        let _cause = error.source();
        error.to_string()
    };
    assert!(Mutual::open(&Folder::with(&certificate, &key, &authority).files()).is_ok());
    for (told, variable) in [
        (told("", &key, &authority), "XDT_TLS_CERT_FILE"),
        (told(&certificate, "", &authority), "XDT_TLS_KEY_FILE"),
        (told(&certificate, &key, ""), "XDT_TLS_CA_FILE"),
        (told(&certificate, &other_key, &authority), "XDT_TLS_KEY_FILE"),
        (told(&other, &other_key, &authority), NAME),
    ] {
        assert!(told.contains(variable), "{told}");
        assert!(!told.contains("PRIVATE"), "{told}");
    }
    let mut files = Folder::with(&certificate, &key, &authority).files();
    files.authority = "/nonexistent/ca".into();
    assert!(matches!(Mutual::open(&files), Err(MutualError::Read { .. })));
}

#[test]
fn a_reload_takes_what_is_good_and_keeps_the_old_otherwise() {
    let authority = Authority::new();
    let (certificate, key) = authority.pair(NAME);
    let folder = Folder::with(&certificate, &key, &authority.pem());
    let mutual = Mutual::open(&folder.files()).expect("usable");
    assert!(!mutual.reload().expect("usable"), "nothing has changed");
    let before = mutual.sides.load().hash;
    folder.write(&certificate, "broken", &authority.pem());
    assert!(mutual.reload().is_err());
    assert_eq!(mutual.sides.load().hash, before);
    let (certificate, key) = authority.pair(NAME);
    folder.write(&certificate, &key, &authority.pem());
    assert!(mutual.reload().expect("usable"));
    assert_ne!(mutual.sides.load().hash, before);
}
