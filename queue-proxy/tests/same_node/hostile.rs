//! Whoever speaks in the node directory without being what it says gets nothing and breaks nothing.

use std::{
    os::{fd::AsFd as _, unix::fs::symlink},
    time::Duration,
};

use prost::Message as _;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};
use xdt_proto::{
    ByteCount,
    v1::{self, NodeAnswer, NodeObject, NodeRequest, node_answer::Outcome, node_request::Step},
};
use xdt_queue_proxy::trust::Verb;
use xdt_shm::{Building, Channel, Sealed};
use xdt_testkit::{Digest, Node, Payload, Sidecar, eventually};

use crate::kit::{answer, connect, insider, only_socket, sdk, send, sidecar, supplant, ticket};

/// What the log says when whoever answers has no key ring.
const NO_RING: &str = "does not hold the key ring";

/// A producer alone in its node, with one object held for `times` retrievals.
async fn producer(times: u32) -> (Node, Sidecar, Payload, String) {
    let node = Node::new("n");
    let producer = sidecar().on(&node).env("XDT_PULL_TIMEOUT", "2s").start().await;
    let payload = Payload::new(1, 300_000);
    let reference = producer.put_for(payload.bytes(), times).await;
    (node, producer, payload, reference)
}

/// A consumer that joins the node, but is not found there.
async fn consumer(node: &Node) -> Sidecar {
    sidecar().on(node).allow(NO_RING).start().await
}

/// The object comes over the network, whole.
async fn comes_by_network(consumer: &Sidecar, reference: &str, payload: &Payload, case: &str) {
    let object = sdk(consumer).get(&reference.parse().unwrap()).await;
    let object = object.unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!(object.path(), Some("stream"), "{case}");
    assert_eq!(Digest::of(&object), payload.digest(), "{case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_bears_the_producers_name_and_is_not_its_socket_is_passed_over() {
    let (node, _producer, payload, reference) = producer(4).await;
    let name = only_socket(&node);
    std::fs::remove_file(&name).unwrap();
    let beside = node.path().join("beside");
    let listener = UnixListener::bind(&beside).unwrap();
    let consumer = consumer(&node).await;
    symlink(&beside, &name).unwrap();
    comes_by_network(&consumer, &reference, &payload, "a symbolic link").await;
    std::fs::remove_file(&name).unwrap();
    std::fs::write(&name, "no socket").unwrap();
    comes_by_network(&consumer, &reference, &payload, "a file").await;
    std::fs::remove_file(&name).unwrap();
    std::fs::create_dir(&name).unwrap();
    comes_by_network(&consumer, &reference, &payload, "a directory").await;
    std::fs::remove_dir(&name).unwrap();
    drop(UnixListener::bind(&name).unwrap());
    comes_by_network(&consumer, &reference, &payload, "a socket without a listener").await;
    let connected = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(connected.is_err(), "nobody followed the link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_users_socket_is_passed_over() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can give a socket to another user");
        return;
    }
    let (node, _producer, payload, reference) = producer(1).await;
    let consumer = consumer(&node).await;
    let sockets = node.sockets();
    for socket in &sockets {
        std::os::unix::fs::chown(socket, Some(65534), None).unwrap();
    }
    comes_by_network(&consumer, &reference, &payload, "another user's socket").await;
}

/// What an impostor does with a connection.
async fn lie(case: &str, mut socket: UnixStream) {
    match case {
        "closes at once" => {}
        "junk" => {
            let _sent = socket.write_all(&[0xA5; 4096]).await;
        }
        "an endless frame" => {
            let _sent = socket.write_all(&[0x00, 0x01, 0xFF, 0xFF]).await;
            let _ended = socket.read_to_end(&mut Vec::new()).await;
        }
        "never answers" => {
            let _ended = socket.read_to_end(&mut Vec::new()).await;
        }
        _ => {
            let mut channel = Channel::new(socket);
            let Ok(Some((request, _))) = channel.receive::<NodeRequest>().await else {
                return;
            };
            let Some(Step::Pull(start)) = request.step else { return };
            let (outcome, file) = invented(case, &start.ticket);
            let outcome = NodeAnswer { outcome: Some(outcome) };
            let _sent = channel.send(&outcome, file.as_ref().map(|file| file.as_fd())).await;
            // A consumer that believes it would confirm.
            let confirm = channel.receive::<NodeRequest>().await;
            assert!(!matches!(confirm, Ok(Some(_))), "{case}: believed");
        }
    }
}

/// An answer that is wrong in one way.
fn invented(case: &str, ticket: &[u8]) -> (Outcome, Option<std::os::fd::OwnedFd>) {
    let size = 300_000;
    let proven = insider();
    let description = v1::Description {
        size: if case == "no size" { None } else { Some(size) },
        ..Default::default()
    };
    let outcome = v1::answer::Outcome::Description(description);
    let answer = v1::Answer { outcome: Some(outcome) }.encode_to_vec();
    let admitted = proven.admit(ticket, Verb::Pull).unwrap();
    let proof = match case {
        "no proof" => bytes::Bytes::new(),
        "a proof of something else" => proven.prove(&admitted, b"other").unwrap().into(),
        _ => proven.prove(&admitted, &answer).unwrap().into(),
    };
    let opening = v1::Opening {
        answer: answer.into(),
        proof,
    };
    let file = match case {
        "no file" => None,
        "an ordinary file" => {
            let file = tempfile::tempfile().unwrap();
            file.set_len(size).unwrap();
            Some(file.into())
        }
        "a pipe" => Some(rustix::pipe::pipe().unwrap().0),
        "holes" => Some(memory_file(size, SealFlags::SHRINK | SealFlags::GROW)),
        "no seals" => Some(memory_file(size, SealFlags::empty())),
        "another size" => Some(memory_file(size + 1, SealFlags::SHRINK | SealFlags::GROW)),
        _ => {
            let sealed = Building::new(ByteCount::new(size)).unwrap().seal().unwrap();
            Some(Sealed::as_fd(&sealed).try_clone_to_owned().unwrap())
        }
    };
    let inline = (case == "bytes and a file").then(|| bytes::Bytes::from(vec![0; 10]));
    match case {
        "an answer to another question" => (Outcome::Opening(opening), None),
        "confirmed" => (Outcome::Confirmed(v1::Done {}), file),
        _ => {
            let opening = Some(opening);
            (Outcome::Object(NodeObject { opening, inline }), file)
        }
    }
}

fn memory_file(size: u64, seals: SealFlags) -> std::os::fd::OwnedFd {
    let file = memfd_create("hostile", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, size).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impostor_under_the_producers_name_is_not_believed() {
    let cases = [
        "closes at once",
        "junk",
        "an endless frame",
        "never answers",
        "no proof",
        "a proof of something else",
        "no size",
        "no file",
        "an ordinary file",
        "a pipe",
        "holes",
        "no seals",
        "another size",
        "bytes and a file",
        "an answer to another question",
        "confirmed",
    ];
    let (node, _producer, payload, reference) = producer(u32::try_from(cases.len()).unwrap()).await;
    let listener = supplant(&node);
    let consumer = consumer(&node).await;
    for case in cases {
        let lying = async {
            let (socket, _) = listener.accept().await.unwrap();
            lie(case, socket).await;
        };
        tokio::join!(lying, comes_by_network(&consumer, &reference, &payload, case));
    }
    assert_eq!(consumer.status().await.by("node", "ok"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_closes_whoever_breaks_the_rules() {
    let (node, producer, _, reference) = producer(1).await;
    let insider = insider();
    let pull = |ticket| {
        Step::Pull(v1::Start {
            ticket,
            offset: 0,
            length: None,
            claims: true,
            ..v1::Start::default()
        })
    };
    let used = ticket(&insider, &reference, Verb::Stat);
    let mut channel = connect(&node).await;
    let stat = |ticket| Step::Stat(v1::StatRequest { ticket });
    send(&mut channel, stat(used.clone())).await;
    assert!(matches!(answer(&mut channel).await, Some((Outcome::Opening(_), None))));
    for (case, step) in [
        ("no ticket", pull(bytes::Bytes::new())),
        ("a ticket of nobody", pull(bytes::Bytes::from(vec![1; 150]))),
        ("a used ticket", stat(used)),
        (
            "another verb's ticket",
            pull(ticket(&insider, &reference, Verb::Delete)),
        ),
        ("a confirmation of nothing", Step::Confirm(v1::Confirm {})),
    ] {
        let mut channel = connect(&node).await;
        send(&mut channel, step).await;
        assert!(answer(&mut channel).await.is_none(), "{case}: answered");
    }
    let mut channel = connect(&node).await;
    let file = Building::new(ByteCount::new(1)).unwrap().seal().unwrap();
    let request = NodeRequest {
        step: Some(pull(ticket(&insider, &reference, Verb::Pull))),
        trace: Vec::new(),
    };
    channel.send(&request, Some(file.as_fd())).await.unwrap();
    assert!(answer(&mut channel).await.is_none(), "a request with a file");
    let mut junk = UnixStream::connect(only_socket(&node)).await.unwrap();
    junk.write_all(&[0xFF; 64]).await.unwrap();
    assert!(matches!(junk.read(&mut [0]).await, Ok(0) | Err(_)), "junk");
    // Silent for XDT_PULL_TIMEOUT (2 s).
    let mut silent = UnixStream::connect(only_socket(&node)).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(20), silent.read(&mut [0])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "silence");
    assert_eq!(producer.get(&reference).await.status, 200, "nothing was claimed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_else_than_a_confirmation_gives_the_claim_back() {
    let (node, producer, _, reference) = producer(1).await;
    let insider = insider();
    let mut channel = connect(&node).await;
    let start = v1::Start {
        ticket: ticket(&insider, &reference, Verb::Pull),
        offset: 0,
        length: None,
        claims: true,
        ..v1::Start::default()
    };
    send(&mut channel, Step::Pull(start)).await;
    let (outcome, file) = answer(&mut channel).await.expect("a valid ticket");
    assert!(matches!(outcome, Outcome::Object(_)) && file.is_some());
    assert_eq!(producer.get(&reference).await.header("xdt-error"), "busy");
    let stat = v1::StatRequest {
        ticket: ticket(&insider, &reference, Verb::Stat),
    };
    send(&mut channel, Step::Stat(stat)).await;
    assert!(
        answer(&mut channel).await.is_none(),
        "a second request before the confirmation"
    );
    eventually("the claim comes back", async || {
        (producer.get(&reference).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_leave_the_network_and_then_the_node_again() {
    let (node, producer, payload, reference) = producer(2).await;
    let socket = only_socket(&node);
    let consumer = consumer(&node).await;
    let mut crowd = Vec::new();
    // One more than it takes, all open at once: the last is closed.
    for _ in 0..=1024 {
        crowd.push(UnixStream::connect(&socket).await.unwrap());
    }
    let mut last = crowd.pop().unwrap();
    assert!(matches!(last.read(&mut [0]).await, Ok(0) | Err(_)));
    comes_by_network(&consumer, &reference, &payload, "a crowd").await;
    drop(crowd);
    eventually("the node socket serves again", async || {
        let held = producer.put(payload.bytes()).await.parse().unwrap();
        let object = sdk(&consumer).get(&held).await.unwrap();
        (object.path() == Some("node")).then_some(())
    })
    .await;
}
