//! Who may open references and pull objects: key rings and their reload, tickets at the data port, impostors
//! (contract, sections 6 and 8).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Output},
};

use bytes::Bytes;
use prost::Message;
use tempfile::TempDir;
use xdt_proto::v1;
use xdt_testkit::{
    Answer, Builder, Http2, Impostor, Lie, Payload, RawConnection, Ring, Sidecar, bytes_body, empty_body, eventually,
    http::request,
};

const BINARY: &str = env!("CARGO_BIN_EXE_xdt-queue-proxy");
const RELOADED: &str = "the key ring was reloaded";

fn sidecar() -> Builder {
    Sidecar::builder(BINARY)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_added_and_replaced_without_a_restart() {
    let (one, both) = (Ring::new("one", 1), Ring::new("one", 1).and("two", 2));
    let start = || sidecar().ring(&one).start();
    let (producer, consumer, late) = tokio::join!(start(), start(), start());
    let old = producer.put_for("old", 9).await;
    for (times, ring) in [(1, both.clone()), (2, both.clone().primary("two"))] {
        for sidecar in [&producer, &consumer] {
            sidecar.write_ring(&ring.json());
            sidecar.logged_times(RELOADED, times).await;
        }
        assert_eq!(consumer.get(&old).await.text(), "old");
    }
    let new = producer.put_for("new", 9).await;
    assert_eq!(consumer.get(&new).await.text(), "new");
    assert_eq!(consumer.get(&old).await.text(), "old", "all listed keys open");
    assert_eq!(
        late.get(&new).await.problem(),
        "reference-invalid",
        "its ring lacks the key"
    );
    assert_eq!(late.get(&old).await.text(), "old");
    consumer.write_ring(&Ring::new("two", 2).json());
    consumer.logged_times(RELOADED, 3).await;
    assert_eq!(consumer.get(&old).await.problem(), "reference-invalid");
    assert_eq!(consumer.get(&new).await.text(), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_ring_file_keeps_the_old_ring_and_says_so() {
    let kept = "the old one stays";
    let producer = sidecar().allow(kept).start().await;
    let reference = producer.put_for("x", 9).await;
    let unknown_field = Ring::standard().json().replacen('{', "{\"more\":1,", 1);
    for (times, broken) in (1..).zip(["{", "", &unknown_field]) {
        producer.write_ring(broken);
        producer.logged_times(kept, times).await;
        assert_eq!(producer.get(&reference).await.text(), "x");
    }
    let line = producer
        .log()
        .lines()
        .find(|line| line.contains(kept))
        .unwrap()
        .to_owned();
    assert!(line.contains("\"severity\":\"ERROR\""), "{line}");
    producer.write_ring(&Ring::new("two", 2).json());
    producer.logged(RELOADED).await;
    assert_eq!(producer.get(&reference).await.problem(), "reference-invalid");
}

/// The kubelet replaces a mounted secret by swapping the link `..data`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_the_kubelet_replaces_is_reloaded() {
    let mounted = TempDir::new().unwrap();
    let version = |name: &str, ring: &Ring| {
        fs::create_dir(mounted.path().join(name)).unwrap();
        fs::write(mounted.path().join(name).join("ring.json"), ring.json()).unwrap();
        symlink(name, mounted.path().join("..new")).unwrap();
        fs::rename(mounted.path().join("..new"), mounted.path().join("..data")).unwrap();
    };
    version("..1", &Ring::new("one", 1));
    let file = mounted.path().join("ring.json");
    symlink("..data/ring.json", &file).unwrap();
    let producer = sidecar().env("XDT_KEYRING_FILE", file.to_str().unwrap()).start().await;
    let reference = producer.put("x").await;
    version("..2", &Ring::new("two", 2));
    producer.logged(RELOADED).await;
    assert_eq!(producer.get(&reference).await.problem(), "reference-invalid");
}

fn keyring(arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new("timeout");
    command.args(["20", BINARY, "keyring"]).args(arguments).arg(file);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyring_commands_make_rings_that_sidecars_take() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("ring.json");
    let read = || -> serde_json::Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
    assert!(keyring(&["new", "--id", "first"], &file).status.success());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let first = read();
    assert_eq!(
        (&first["primary"], first["keys"].as_array().unwrap().len()),
        (&"first".into(), 1)
    );
    assert!(
        !keyring(&["new"], &file).status.success(),
        "a ring is never overwritten"
    );
    assert_eq!(read(), first);

    let producer = sidecar().env("XDT_KEYRING_FILE", file.to_str().unwrap()).start().await;
    let reference = producer.put_for("x", 9).await;
    let added = keyring(&["add"], &file);
    let second = read();
    assert!(added.status.success());
    assert_eq!(
        (&second["primary"], second["keys"].as_array().unwrap().len()),
        (&"first".into(), 2)
    );
    assert!(keyring(&["add", "--id", "third", "--primary"], &file).status.success());
    assert_eq!(read()["primary"], "third");
    let secret = read()["keys"][1]["secret"].as_str().unwrap().to_owned();
    assert!(
        !String::from_utf8_lossy(&added.stdout).contains(&secret),
        "secrets are not printed"
    );
    producer.logged(RELOADED).await;
    let under_third = eventually("the new primary seals", async || {
        let reference = producer.put("y").await;
        let decoded = xdt_proto::Reference::to_sealed(&reference.parse().unwrap());
        decoded.windows(5).any(|part| part == b"third").then_some(reference)
    })
    .await;
    assert_eq!(producer.get(&under_third).await.text(), "y");
    assert_eq!(producer.get(&reference).await.text(), "x");
    let before = read();
    assert!(
        !keyring(&["add", "--id", "third"], &file).status.success(),
        "an id stands once"
    );
    assert!(!keyring(&["add", "--id", "no spaces"], &file).status.success());
    assert!(!keyring(&["add"], &folder.path().join("none.json")).status.success());
    assert_eq!(read(), before);
}

#[test]
fn a_start_with_a_ring_that_cannot_be_used_ends_with_the_reason() {
    let good = Ring::standard().json();
    let secret = Ring::standard().secrets().remove(0);
    for (text, reason) in [
        ("{".to_owned(), "not of the form"),
        (String::new(), "not of the form"),
        (good.replacen('{', "{\"more\":1,", 1), "not of the form"),
        (good.replace(&secret, "c2hvcnQ="), "32 bytes"),
        (
            good.replace("\"primary\":\"test-1\"", "\"primary\":\"test-2\""),
            "primary",
        ),
        (good.replace("test-1", "no good id"), "[A-Za-z0-9-]"),
        (r#"{"primary":"a","keys":[]}"#.to_owned(), "0 keys"),
    ] {
        let ended = sidecar().ring_text(&text).run();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{text}: {said}");
        assert!(said.contains(reason) && !said.contains(&secret), "{text}: {said}");
    }
    let ended = sidecar().env("XDT_KEYRING_FILE", "/nonexistent/ring.json").run();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("cannot read the key ring file"));
}

/// One gRPC message.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

fn start(ticket: impl Into<Bytes>) -> v1::PullRequest {
    let start = v1::Start {
        ticket: ticket.into(),
        offset: 0,
        length: None,
        claims: false,
        ..v1::Start::default()
    };
    v1::PullRequest {
        step: Some(v1::pull_request::Step::Start(start)),
    }
}

async fn call(producer: &Sidecar, method: &str, body: Bytes) -> Answer {
    let mut client = Http2::open(producer.data()).await;
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let url = format!("http://any/{method}");
    client.fetch(request("POST", url, &headers, bytes_body(body))).await
}

fn grpc_status(answer: &Answer) -> String {
    let trailers = answer.trailers.as_ref().unwrap_or(&answer.headers);
    trailers["grpc-status"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_valid_ticket_is_unauthenticated_and_learns_nothing() {
    let producer = sidecar().start().await;
    let reference = producer.put("secret").await;
    let sealed = xdt_proto::Reference::to_sealed(&reference.parse().unwrap());
    let tickets = [
        Vec::new(),
        vec![0; 100],
        vec![0xFF; 5000],
        sealed,
        reference.clone().into_bytes(),
    ];
    let mut answers = Vec::new();
    for ticket in tickets {
        let stat = v1::StatRequest {
            ticket: ticket.clone().into(),
        }
        .encode_to_vec();
        let delete = v1::DeleteRequest {
            ticket: ticket.clone().into(),
        }
        .encode_to_vec();
        let pull = start(ticket).encode_to_vec();
        for (method, message) in [
            ("xdt.v1.Transfer/Pull", &pull),
            ("xdt.v1.Transfer/Stat", &stat),
            ("xdt.v1.Transfer/Delete", &delete),
            ("xdt.v1.Transfer/Other", &pull),
            ("other.Service/Pull", &pull),
            ("xdt/v1/status", &pull),
        ] {
            answers.push((16, call(&producer, method, framed(message)).await));
        }
    }
    let confirm = framed(&[0x12, 0]);
    answers.push((16, call(&producer, "xdt.v1.Transfer/Pull", confirm).await));
    for garbage in [
        &b""[..],
        b"\x00",
        b"\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\x00\x00\x00\x00\x03\xFF\xFF\xFF",
        b"GET / HTTP/1.1",
    ] {
        for method in ["Pull", "Stat", "Delete"] {
            let method = format!("xdt.v1.Transfer/{method}");
            answers.push((3, call(&producer, &method, Bytes::from_static(garbage)).await));
        }
    }
    for (least, answer) in &answers {
        let status = grpc_status(answer);
        assert!(status == "16" || (*least == 3 && status == "3"), "{answer:?}");
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        let names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
        assert!(
            names
                .iter()
                .all(|name| ["content-type", "grpc-status", "content-length", "date"].contains(name))
        );
    }
    assert_eq!(
        producer.get(&reference).await.text(),
        "secret",
        "nothing was freed or used up"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_port_speaks_nothing_but_http2() {
    let producer = sidecar().start().await;
    for text in [
        "GET /xdt/v1/status HTTP/1.1\r\nhost: x\r\n\r\n",
        "\0\0\0\0",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let mut client = RawConnection::open(producer.data()).await;
        client.send(text).await;
        client.finish_sending().await;
        let said = client.rest().await.bytes;
        assert!(!String::from_utf8_lossy(&said).contains("200"), "{said:?}");
    }
    let reference = producer.put("fine").await;
    assert_eq!(producer.get(&reference).await.text(), "fine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_accepted_once_and_only_for_its_method() {
    let thief = Impostor::start(Lie::Status(503)).await;
    let advertised = sidecar().env("XDT_ADVERTISE_ADDRESS", &thief.address().to_string());
    let (producer, consumer) = tokio::join!(advertised.start(), sidecar().start());
    let other = sidecar().start().await;
    let reference = producer.put_for(Payload::new(1, 1_000).bytes(), 2).await;
    for _ in 0..2 {
        assert_eq!(consumer.get(&reference).await.problem(), "producer-unreachable");
    }
    let tickets: Vec<Bytes> = thief
        .told()
        .iter()
        .map(|(_, message)| {
            let Some(v1::pull_request::Step::Start(start)) = v1::PullRequest::decode(&message[5..]).unwrap().step
            else {
                panic!("a pull begins with a start");
            };
            start.ticket
        })
        .collect();
    let pull = |ticket: &Bytes| framed(&start(ticket.clone()).encode_to_vec());
    let stat = v1::StatRequest {
        ticket: tickets[1].clone(),
    }
    .encode_to_vec();
    let stolen = call(&producer, "xdt.v1.Transfer/Stat", framed(&stat)).await;
    assert_eq!(grpc_status(&stolen), "16", "a ticket for Pull is none for Stat");
    let first = call(&producer, "xdt.v1.Transfer/Pull", pull(&tickets[0])).await;
    assert_eq!((grpc_status(&first).as_str(), first.body.is_empty()), ("0", false));
    let second = call(&producer, "xdt.v1.Transfer/Pull", pull(&tickets[0])).await;
    assert_eq!(
        (grpc_status(&second).as_str(), second.body.is_empty()),
        ("16", true),
        "once"
    );
    let elsewhere = call(&other, "xdt.v1.Transfer/Pull", pull(&tickets[1])).await;
    assert!(
        !String::from_utf8_lossy(&elsewhere.body).contains("PAYLOAD"),
        "another instance has no such object"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impostor_at_the_producers_address_is_a_producer_that_is_unreachable() {
    let opening = |answer: v1::answer::Outcome, proof: Vec<u8>| v1::Opening {
        answer: v1::Answer { outcome: Some(answer) }.encode_to_vec().into(),
        proof: proof.into(),
    };
    let gone = || v1::answer::Outcome::Refusal("object-gone".to_owned());
    let described = v1::answer::Outcome::Description(v1::Description {
        size: Some(4),
        ..v1::Description::default()
    });
    let part = |part| v1::PullResponse { part: Some(part) }.encode_to_vec();
    let mut object = framed(&part(v1::pull_response::Part::Opening(opening(described, vec![7; 56])))).to_vec();
    object.extend_from_slice(&framed(&part(v1::pull_response::Part::Chunk("evil".into()))));
    let refusal = framed(&part(v1::pull_response::Part::Opening(opening(gone(), Vec::new()))));
    let stat = v1::StatResponse {
        opening: Some(opening(gone(), vec![1; 40])),
    }
    .encode_to_vec();
    let consumer = sidecar().allow("does not hold the key ring").start().await;
    for lie in [
        Lie::Status(200),
        Lie::Status(404),
        Lie::Bytes(Bytes::from_static(b"evil"), 0),
        Lie::Bytes(Bytes::new(), 0),
        Lie::Bytes(object.into(), 0),
        Lie::Bytes(refusal, 0),
        Lie::Bytes(framed(&stat), 0),
        Lie::Bytes(Bytes::from_static(&[0xFF; 4096]), 13),
    ] {
        let impostor = Impostor::start(lie.clone()).await;
        let advertised = sidecar().env("XDT_ADVERTISE_ADDRESS", &impostor.address().to_string());
        let producer = advertised.start().await;
        let reference = producer.put("true").await;
        assert_eq!(
            consumer.get(&reference).await.problem(),
            "producer-unreachable",
            "{lie:?}"
        );
        let delete = consumer.object("DELETE", &reference, &[]).await;
        assert_eq!(delete.problem(), "producer-unreachable", "{lie:?}");
        let head = consumer.object("HEAD", &reference, &[]).await;
        assert_eq!(head.header("xdt-error"), "producer-unreachable", "{lie:?}");
        let invoke = consumer
            .invoke("/", &[("xdt-reference", &reference)], empty_body())
            .await;
        assert_eq!(invoke.problem(), "producer-unreachable", "{lie:?}");
        let said: Vec<u8> = impostor
            .told()
            .into_iter()
            .flat_map(|(_, bytes)| bytes.to_vec())
            .collect();
        assert!(
            !String::from_utf8_lossy(&said).contains(&reference),
            "it learns no reference"
        );
    }
}
