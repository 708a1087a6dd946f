//! Tests of sealing and opening, as an attacker with a reference in hand would try them.

use proptest::prelude::*;

use super::*;

fn ring(ids: &[&str]) -> KeyRing {
    let keys: Vec<String> = ids
        .iter()
        .map(|id| {
            // One secret per name, so that two rings agree on a key of the same name.
            let secret = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, Sha256::digest(id));
            format!(r#"{{"id":"{id}","secret":"{secret}"}}"#)
        })
        .collect();
    let json = format!(r#"{{"primary":"{}","keys":[{}]}}"#, ids[0], keys.join(","));
    KeyRing::parse(json.as_bytes()).expect("a good ring")
}

fn trust(tenant: &str, ids: &[&str]) -> Trust {
    let address = TargetAddress::parse("10.1.2.3:8014").expect("an address");
    let identity = Identity::new(tenant, "node-1", address).expect("random bytes");
    Trust::new(identity, Arc::new(ArcSwap::from_pointee(ring(ids))))
}

fn object(byte: u8) -> ObjectId {
    ObjectId::from_bytes([byte; 16])
}

fn refer(trust: &Trust) -> Reference {
    trust
        .refer(object(7), Some(ByteCount::mib(1)), Retrievals::ONE)
        .expect("random bytes")
}

#[test]
fn what_is_sealed_comes_out_again() {
    let trust = trust("a", &["k1"]);
    let opened = trust.open(refer(&trust).as_str()).expect("own reference");
    assert_eq!(opened.target.object, object(7));
    assert_eq!(opened.target.size, Some(ByteCount::mib(1)));
    assert_eq!(opened.target.instance, trust.identity().instance);
    assert_eq!(opened.target.address.as_str(), "10.1.2.3:8014");
    let streamed = trust.refer(object(8), None, Retrievals::ONE).expect("random bytes");
    assert_eq!(trust.open(streamed.as_str()).expect("own reference").target.size, None);
}

#[test]
fn equal_objects_give_different_references_of_equal_length() {
    let trust = trust("a", &["k1"]);
    let (a, b) = (
        refer(&trust),
        trust.refer(object(7), None, Retrievals::ONE).expect("random bytes"),
    );
    assert_ne!(a, refer(&trust));
    assert_eq!(a.as_str().len(), b.as_str().len());
}

#[test]
fn the_longest_key_id_and_address_fit_one_header() {
    let address = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535";
    let identity = Identity::new("t", "n", TargetAddress::parse(address).expect("47 characters")).expect("random");
    let trust = Trust::new(identity, Arc::new(ArcSwap::from_pointee(ring(&["0123456789abcdef"]))));
    let reference = refer(&trust);
    assert!(
        reference.as_str().len() <= Reference::MAX_LEN,
        "{}",
        reference.as_str().len()
    );
    assert_eq!(
        trust.open(reference.as_str()).expect("opens").target.address.as_str(),
        address
    );
}

#[test]
fn another_tenant_is_told_so_and_another_ring_learns_nothing() {
    let reference = refer(&trust("a", &["k1"]));
    assert_eq!(
        trust("b", &["k1"]).open(reference.as_str()).err(),
        Some(OpenError::WrongTenant)
    );
    assert_eq!(
        trust("a", &["k2"]).open(reference.as_str()).err(),
        Some(OpenError::Invalid)
    );
}

#[test]
fn all_listed_keys_open_and_the_primary_seals() {
    let (old, both) = (trust("a", &["k1"]), trust("a", &["k2", "k1"]));
    assert!(both.open(refer(&old).as_str()).is_ok());
    assert!(old.open(refer(&both).as_str()).is_err());
}

#[test]
fn changing_the_key_id_or_splicing_two_references_is_invalid() {
    let trust = trust("a", &["k1", "k2"]);
    let (a, b) = (refer(&trust).to_sealed(), refer(&trust).to_sealed());
    let mut renamed = a.clone();
    renamed[2] = b'2'; // k1 -> k2, which the ring lists
    assert_eq!(
        trust
            .open(Reference::from_sealed(&renamed).expect("fits").as_str())
            .err(),
        Some(OpenError::Invalid)
    );
    for cut in [27, 60, a.len() - 16] {
        let spliced = [&a[..cut], &b[cut..]].concat();
        let text = Reference::from_sealed(&spliced).expect("fits");
        assert_eq!(
            trust.open(text.as_str()).err(),
            Some(OpenError::Invalid),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_ticket_is_for_one_verb_one_tenant_and_one_use() {
    let (producer, other) = (trust("a", &["k1"]), trust("b", &["k1"]));
    let opened = producer.open(refer(&producer).as_str()).expect("own reference");
    let ticket = producer.issue(&opened, Verb::Pull).expect("issued");
    assert_eq!(
        producer.admit(&ticket.sealed, Verb::Delete).err(),
        Some(TicketError::Invalid)
    );
    assert_eq!(
        other.admit(&ticket.sealed, Verb::Pull).err(),
        Some(TicketError::Invalid)
    );
    assert_eq!(
        producer.admit(&ticket.sealed, Verb::Pull).expect("fresh").object,
        Some(object(7))
    );
    assert_eq!(
        producer.admit(&ticket.sealed, Verb::Pull).err(),
        Some(TicketError::Replayed)
    );
    assert_eq!(producer.admit(&[], Verb::Pull).err(), Some(TicketError::Invalid));
}

#[test]
fn a_reference_is_no_ticket_and_a_ticket_no_reference() {
    let trust = trust("a", &["k1"]);
    let reference = refer(&trust);
    let opened = trust.open(reference.as_str()).expect("own reference");
    let ticket = trust.issue(&opened, Verb::Pull).expect("issued");
    assert_eq!(
        trust.admit(&reference.to_sealed(), Verb::Pull).err(),
        Some(TicketError::Invalid)
    );
    let text = Reference::from_sealed(&ticket.sealed).expect("fits");
    assert_eq!(trust.open(text.as_str()).err(), Some(OpenError::Invalid));
}

#[test]
fn a_restarted_producer_knows_the_ticket_is_for_its_predecessor() {
    let (before, after) = (trust("a", &["k1"]), trust("a", &["k1"]));
    let opened = after.open(refer(&before).as_str()).expect("same ring");
    let ticket = after.issue(&opened, Verb::Pull).expect("issued");
    assert_eq!(after.admit(&ticket.sealed, Verb::Pull).expect("authentic").object, None);
}

#[test]
fn only_a_holder_of_the_ring_can_answer_a_ticket() {
    let (producer, impostor) = (trust("a", &["k1"]), trust("a", &["k2"]));
    let opened = producer.open(refer(&producer).as_str()).expect("own reference");
    let issued = producer.issue(&opened, Verb::Pull).expect("issued");
    let admitted = producer.admit(&issued.sealed, Verb::Pull).expect("fresh");
    let proof = producer.prove(&admitted, b"answer").expect("proof");
    assert!(producer.verify(&issued, b"answer", &proof));
    assert!(!producer.verify(&issued, b"other answer", &proof));
    assert!(!impostor.verify(&issued, b"answer", &proof));
    let second = producer.issue(&opened, Verb::Pull).expect("issued");
    assert!(
        !producer.verify(&second, b"answer", &proof),
        "a proof is bound to its ticket"
    );
}

#[test]
fn addresses_are_host_and_port() {
    for text in [
        "",
        "host",
        ":8014",
        "host:0",
        "host:65536",
        "a b:80",
        "u@h:80",
        "h/p:80",
        &format!("{}:80", "h".repeat(45)),
    ] {
        assert!(TargetAddress::parse(text).is_none(), "{text:?}");
    }
    assert_eq!(
        format!("{:?}", TargetAddress::parse("[::1]:8014")),
        "Some(TargetAddress(…))"
    );
}

proptest! {
    #[test]
    fn flipping_any_bit_is_invalid(bit in 0usize..(180 * 8)) {
        let trust = trust("a", &["k1", "k2"]);
        let mut sealed = refer(&trust).to_sealed();
        let bit = bit % (sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        let text = Reference::from_sealed(&sealed).expect("same length");
        prop_assert_eq!(trust.open(text.as_str()).err(), Some(OpenError::Invalid));
    }

    #[test]
    fn truncated_or_extended_references_are_invalid(keep in 0usize..180, more in proptest::collection::vec(any::<u8>(), 1..8)) {
        let trust = trust("a", &["k1"]);
        let sealed = refer(&trust).to_sealed();
        let short = &sealed[..keep.min(sealed.len() - 1)];
        if let Some(text) = Reference::from_sealed(short) {
            prop_assert_eq!(trust.open(text.as_str()).err(), Some(OpenError::Invalid));
        }
        let long = [sealed.as_slice(), &more].concat();
        if let Some(text) = Reference::from_sealed(&long) {
            prop_assert_eq!(trust.open(text.as_str()).err(), Some(OpenError::Invalid));
        }
    }

    #[test]
    fn any_bytes_are_refused_as_ticket_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(trust("a", &["k1"]).admit(&bytes, Verb::Pull).is_err());
    }
}
