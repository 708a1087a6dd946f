//! The local socket: objects pass between a function and its sidecar as memory files, and no descriptor is trusted
//! (contract, section 7).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    linux::net::SocketAddrExt as _,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use tokio::net::UnixStream;
use xdt_proto::{
    ByteCount,
    v1::{
        Description, LocalAnswer, LocalGet, LocalObject, LocalPut, LocalRequest, Metadata, local_answer::Outcome,
        local_request::Verb,
    },
};
use xdt_shm::{Building, Channel, Sealed, Writer};
use xdt_testkit::{Builder, Digest, Payload, Sidecar, within};

const MIB: u64 = 1 << 20;

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

fn connect(sidecar: &Sidecar) -> Channel {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(sidecar.local_socket()).unwrap();
    let socket = std::os::unix::net::UnixStream::connect_addr(&address).expect("the socket is there");
    socket.set_nonblocking(true).unwrap();
    Channel::new(UnixStream::from_std(socket).unwrap())
}

async fn ask(channel: &mut Channel, verb: Verb, file: Option<BorrowedFd<'_>>) -> (Outcome, Option<OwnedFd>) {
    let request = LocalRequest { verb: Some(verb) };
    channel.send(&request, file).await.expect("the sidecar reads");
    let answer = within("an answer on the local socket", channel.receive::<LocalAnswer>()).await;
    let (answer, file) = answer.expect("a message").expect("no end");
    (answer.outcome.expect("an outcome"), file)
}

fn put_of(size: u64) -> LocalPut {
    LocalPut {
        description: Some(Description {
            size: Some(size),
            content_type: Some("image/png".into()),
            metadata: vec![Metadata {
                name: "key".to_owned(),
                value: "value".into(),
            }],
        }),
        retrievals: 1,
        ttl_millis: None,
        inline: None,
    }
}

async fn put_file(channel: &mut Channel, file: &Sealed) -> String {
    let (outcome, _) = ask(channel, Verb::Put(put_of(file.size().get())), Some(file.as_fd())).await;
    reference(outcome)
}

fn reference(outcome: Outcome) -> String {
    match outcome {
        Outcome::Reference(reference) => reference,
        other => panic!("no reference: {other:?}"),
    }
}

async fn get(channel: &mut Channel, reference: &str) -> Result<(LocalObject, Option<OwnedFd>), String> {
    let get = LocalGet {
        reference: reference.to_owned(),
        most: None,
    };
    match ask(channel, Verb::Get(get), None).await {
        (Outcome::Object(object), file) => Ok((object, file)),
        (Outcome::Refusal(refusal), None) => Err(refusal.word),
        other => panic!("no object and no refusal: {other:?}"),
    }
}

fn size_of(object: &LocalObject) -> ByteCount {
    ByteCount::new(object.description.as_ref().unwrap().size.unwrap())
}

fn refusal(outcome: &Outcome) -> (&str, &str) {
    match outcome {
        Outcome::Refusal(refusal) => (&refusal.word, &refusal.detail),
        other => panic!("not refused: {other:?}"),
    }
}

fn building(payload: &Payload) -> Sealed {
    let bytes = payload.bytes();
    let mut building = Building::new(ByteCount::from(bytes.len())).unwrap();
    building.bytes().copy_from_slice(&bytes);
    building.seal().unwrap()
}

#[tokio::test]
async fn an_object_passes_through_its_own_sidecar_as_the_same_memory() {
    let sidecar = sidecar().start().await;
    let mut channel = connect(&sidecar);
    let payload = Payload::new(1, 3 * MIB + 7);
    let file = building(&payload);
    let reference = put_file(&mut channel, &file).await;
    let (object, passed) = get(&mut channel, &reference).await.expect("held");
    assert_eq!(object.path, "instance");
    let description = object.description.clone().unwrap();
    assert_eq!(description.content_type.as_deref(), Some(&b"image/png"[..]));
    assert_eq!(description.metadata[0].name, "key");
    let passed = Sealed::verify(passed.expect("a file"), size_of(&object)).unwrap();
    assert_eq!(Digest::of(passed.map().unwrap().as_ref()), payload.digest());
    let inode = |file: &Sealed| fstat(file).unwrap().st_ino;
    assert_eq!(inode(&passed), inode(&file), "no byte was copied");
    assert_eq!(
        get(&mut channel, &reference).await.unwrap_err(),
        "object-gone",
        "one retrieval"
    );
    sidecar.emptied().await;
}

#[tokio::test]
async fn objects_cross_two_sidecars_whichever_way_they_came_in() {
    let (producer, consumer) = tokio::join!(sidecar().start(), sidecar().start());
    let (mut producing, mut consuming) = (connect(&producer), connect(&consumer));
    for length in [0, 1, 32 * 1024, 32 * 1024 + 1, 5 * MIB + 3] {
        let payload = Payload::new(length, length);
        let reference = put_file(&mut producing, &building(&payload)).await;
        let (object, file) = get(&mut consuming, &reference).await.expect("held");
        assert_eq!(object.path, "stream");
        let bytes = match (&object.inline, file) {
            (Some(bytes), None) => bytes.clone(),
            (None, Some(file)) => {
                let file = Sealed::verify(file, size_of(&object)).unwrap();
                bytes::Bytes::from_owner(file.map().unwrap())
            }
            other => panic!("{length}: {other:?}"),
        };
        assert_eq!(bytes.len() as u64, length);
        assert_eq!(Digest::of(&bytes), payload.digest());
        // And out by HTTP, in by HTTP.
        let reference = put_file(&mut producing, &building(&payload)).await;
        assert_eq!(Digest::of(&consumer.get(&reference).await.body), payload.digest());
        let reference = producer.put(payload.bytes()).await;
        let (object, _) = get(&mut consuming, &reference).await.expect("held");
        assert_eq!(size_of(&object).get(), length);
    }
}

#[tokio::test]
async fn a_file_that_could_change_is_copied_and_stays_right() {
    let sidecar = sidecar().start().await;
    let mut channel = connect(&sidecar);
    let payload = Payload::new(3, MIB + 5);
    let file = memfd_create("mine", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::pwrite(&file, &payload.bytes(), 0).unwrap();
    let fixed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, fixed).unwrap();
    let (outcome, _) = ask(&mut channel, Verb::Put(put_of(payload.size())), Some(file.as_fd())).await;
    let reference = reference(outcome);
    rustix::io::pwrite(&file, b"changed afterwards", 0).unwrap();
    assert_eq!(Digest::of(&sidecar.get(&reference).await.body), payload.digest());
}

#[tokio::test]
async fn what_is_no_fixed_memory_file_of_the_announced_size_is_refused() {
    let sidecar = sidecar().start().await;
    let mut channel = connect(&sidecar);
    let (pipe, _other) = rustix::pipe::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let ordinary = tempfile::tempfile().unwrap();
    ordinary.set_len(8).unwrap();
    let open = memfd_create("mine", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&open, 8).unwrap();
    let mut writer = Writer::new().unwrap();
    writer.write(b"12345678").unwrap();
    let good = writer.seal().unwrap();
    let bad: [(&str, BorrowedFd<'_>, u64); 5] = [
        ("a pipe", pipe.as_fd(), 8),
        ("a socket", socket.as_fd(), 8),
        ("an ordinary file", ordinary.as_fd(), 8),
        ("a file that may shrink", open.as_fd(), 8),
        ("another size", good.as_fd(), 9),
    ];
    for (name, file, size) in bad {
        let (outcome, _) = ask(&mut channel, Verb::Put(put_of(size)), Some(file)).await;
        assert_eq!(refusal(&outcome).0, "bad-request", "{name}");
    }
    let (outcome, _) = ask(&mut channel, Verb::Put(put_of(8)), None).await;
    assert_eq!(refusal(&outcome).0, "bad-request", "no file at all");
    let reference = put_file(&mut channel, &good).await;
    assert_eq!(
        sidecar.get(&reference).await.text(),
        "12345678",
        "the connection still serves"
    );
}

#[tokio::test]
async fn limits_and_words_are_those_of_the_http_api() {
    let sidecar = sidecar()
        .env("XDT_OBJECT_MEMORY", "1MiB")
        .env("XDT_BUFFER_WAIT", "0")
        .start()
        .await;
    let mut channel = connect(&sidecar);
    let large = building(&Payload::new(4, 2 * MIB));
    let (outcome, _) = ask(&mut channel, Verb::Put(put_of(large.size().get())), Some(large.as_fd())).await;
    assert_eq!(refusal(&outcome).0, "too-large");
    let half = building(&Payload::new(5, 600 * 1024));
    let first = put_file(&mut channel, &half).await;
    let (outcome, _) = ask(&mut channel, Verb::Put(put_of(half.size().get())), Some(half.as_fd())).await;
    assert_eq!(refusal(&outcome).0, "busy");
    let tight = LocalGet {
        reference: first.clone(),
        most: Some(1000),
    };
    let (outcome, _) = ask(&mut channel, Verb::Get(tight), None).await;
    assert_eq!(refusal(&outcome).0, "too-large", "more than its reader takes");
    let (outcome, _) = ask(&mut channel, Verb::Delete(first.clone()), None).await;
    assert!(matches!(outcome, Outcome::Done(_)), "nothing was used up: {outcome:?}");
    assert_eq!(get(&mut channel, &first).await.unwrap_err(), "object-gone");
    assert_eq!(
        get(&mut channel, "xdt1.nonsense").await.unwrap_err(),
        "reference-invalid"
    );
    for (what, put) in [
        (
            "retrievals",
            LocalPut {
                retrievals: 0,
                ..put_of(1)
            },
        ),
        (
            "retrievals",
            LocalPut {
                retrievals: 65536,
                ..put_of(1)
            },
        ),
        (
            "ttl",
            LocalPut {
                ttl_millis: Some(0),
                ..put_of(1)
            },
        ),
        (
            "description",
            LocalPut {
                description: None,
                ..put_of(1)
            },
        ),
        (
            "size",
            LocalPut {
                inline: Some("two".into()),
                ..put_of(2)
            },
        ),
    ] {
        let (outcome, _) = ask(&mut channel, Verb::Put(put), None).await;
        let (word, detail) = refusal(&outcome);
        assert_eq!(word, "bad-request", "{what}");
        assert!(detail.contains(what), "{what}: {detail}");
    }
}

#[tokio::test]
async fn whoever_breaks_the_rules_loses_the_connection_and_nobody_else_does() {
    let sidecar = sidecar().start().await;
    let mut good = connect(&sidecar);
    for bytes in [&[0xff; 64][..], &[0, 0, 0, 2, 0xff, 0xff], &[0x80, 0, 0, 0]] {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(sidecar.local_socket()).unwrap();
        let mut bad = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
        std::io::Write::write_all(&mut bad, bytes).unwrap();
        bad.set_nonblocking(true).unwrap();
        let bad = UnixStream::from_std(bad).unwrap();
        within("the sidecar closes", async {
            bad.readable().await.unwrap();
            assert!(matches!(bad.try_read(&mut [0]), Ok(0) | Err(_)), "closed, not answered");
        })
        .await;
    }
    let reference = put_file(&mut good, &building(&Payload::new(6, 100))).await;
    assert_eq!(sidecar.get(&reference).await.body.len(), 100);
}

#[tokio::test]
async fn a_taken_name_is_told_and_the_rest_runs_on() {
    let first = sidecar().start().await;
    let name = format!("@{}", first.local_socket());
    let second = sidecar()
        .env("XDT_LOCAL_SOCKET", &name)
        .allow("the local socket cannot be opened")
        .start()
        .await;
    second.logged("the local socket cannot be opened").await;
    let reference = second.put("by HTTP").await;
    assert_eq!(second.get(&reference).await.text(), "by HTTP");
}
