//! Tests of the key ring's form and file.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn ring(json: &str) -> Result<KeyRing, KeyRingError> {
    KeyRing::parse(json.as_bytes())
}

fn secret(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

#[test]
fn a_ring_has_a_primary_and_opens_with_all() {
    let json = format!(
        r#"{{"primary":"b","keys":[{{"id":"a","secret":"{}"}},{{"id":"b","secret":"{}"}}]}}"#,
        secret(1),
        secret(2)
    );
    let ring = ring(&json).expect("a good ring");
    assert_eq!(ring.primary().id.as_str(), "b");
    assert!(ring.find(&KeyId::parse("a").expect("id")).is_some());
    assert_eq!(format!("{ring:?}"), r#"["a", "b"]"#);
}

#[test]
fn faults_are_named_and_secrets_are_not() {
    let (one, short) = (secret(1), STANDARD.encode([9; 31]));
    let key = |id: &str, secret: &str| format!(r#"{{"id":"{id}","secret":"{secret}"}}"#);
    let long_id = "x".repeat(17);
    let cases = [
        ("{}".to_owned(), "of the form"),
        ("not json".to_owned(), "of the form"),
        (
            format!(r#"{{"primary":"a","keys":[{}],"more":1}}"#, key("a", &one)),
            "of the form",
        ),
        (
            format!(r#"{{"primary":"a","keys":[{{"id":"a","secret":"{one}","x":1}}]}}"#),
            "of the form",
        ),
        (r#"{"primary":"a","keys":[]}"#.to_owned(), "0 keys"),
        (format!(r#"{{"primary":"b","keys":[{}]}}"#, key("a", &one)), "primary"),
        (
            format!(r#"{{"primary":"a","keys":[{}]}}"#, key("a", &short)),
            "secret of key a",
        ),
        (
            format!(r#"{{"primary":"a","keys":[{}]}}"#, key("a", "!")),
            "secret of key a",
        ),
        (format!(r#"{{"primary":"a","keys":[{}]}}"#, key("a_b", &one)), "key 1"),
        (
            format!(r#"{{"primary":"a","keys":[{}]}}"#, key(&long_id, &one)),
            "key 1",
        ),
        (
            format!(r#"{{"primary":"a","keys":[{0},{0}]}}"#, key("a", &one)),
            "twice",
        ),
    ];
    for (json, expected) in cases {
        let text = ring(&json).expect_err(&json).to_string();
        assert!(text.contains(expected), "{json}: {text}");
        assert!(!text.contains(&one) && !text.contains(&short), "{text}");
    }
}

#[test]
fn new_makes_a_private_file_and_never_overwrites() {
    let folder = tempfile::tempdir().expect("folder");
    let file = KeyRingFile::new(folder.path().join("ring.json"));
    let id = file.create(None).expect("created");
    assert_eq!(id.as_str().len(), 7, "{id:?}");
    let mode = std::fs::metadata(file.path()).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(file.create(None), Err(KeyRingError::Write(_))));
    assert_eq!(file.load().expect("loads").len(), 1);
}

#[test]
fn add_keeps_the_primary_unless_told() {
    let folder = tempfile::tempdir().expect("folder");
    let file = KeyRingFile::new(folder.path().join("ring.json"));
    let first = file.create(None).expect("created");
    let second = file.add(None, false).expect("added");
    assert_eq!(second.as_str(), format!("{}-2", first.as_str()));
    assert_eq!(file.load().expect("loads").primary().id, first);
    let third = file.add(KeyId::parse("third"), true).expect("added");
    assert_eq!(file.load().expect("loads").primary().id, third);
    assert!(matches!(
        file.add(KeyId::parse("third"), false),
        Err(KeyRingError::Duplicate { .. })
    ));
    assert_eq!(file.load().expect("loads").len(), 3);
}

#[test]
fn a_key_is_retired_once_another_is_the_primary() {
    let folder = tempfile::tempdir().expect("folder");
    let file = KeyRingFile::new(folder.path().join("ring.json"));
    let old = file.create(KeyId::parse("old")).expect("created");
    let new = file.add(KeyId::parse("new"), false).expect("added");
    assert!(matches!(file.retire(&old), Err(KeyRingError::RetiresPrimary { .. })));
    file.promote(&new).expect("listed");
    assert_eq!(file.list().expect("loads"), [(old.clone(), false), (new.clone(), true)]);
    file.retire(&old).expect("not the primary any more");
    assert_eq!(file.list().expect("loads"), [(new.clone(), true)]);
    for result in [file.retire(&old), file.promote(&old)] {
        assert!(matches!(result, Err(KeyRingError::Unknown { .. })));
    }
    let mode = std::fs::metadata(file.path()).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn purposes_do_not_open_each_other() {
    let ring = ring(&format!(
        r#"{{"primary":"a","keys":[{{"id":"a","secret":"{}"}}]}}"#,
        secret(1)
    ))
    .expect("ring");
    let key = ring.primary();
    let sealed = key.seal(Purpose::Reference, b"aad", b"text").expect("sealed");
    assert_eq!(
        key.open(Purpose::Reference, b"aad", &sealed).as_deref(),
        Some(&b"text"[..])
    );
    assert!(key.open(Purpose::Ticket, b"aad", &sealed).is_none());
    assert!(key.open(Purpose::Answer, b"aad", &sealed).is_none());
    assert!(key.open(Purpose::Reference, b"other", &sealed).is_none());
}
