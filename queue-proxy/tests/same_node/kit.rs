//! What these tests are made of: sidecars on one node, their SDKs, and a process that knows the key ring and cheats.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use tokio::net::{UnixListener, UnixStream};
use xdt_proto::v1::{NodeAnswer, NodeRequest, node_answer::Outcome, node_request::Step};
use xdt_queue_proxy::trust::{Identity, KeyRing, Opened, TargetAddress, Trust, Verb};
use xdt_shm::Channel;
use xdt_testkit::{Builder, Node, Ring, Sidecar, within};

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

/// A node with a producer and a consumer, which may take no other path.
pub(crate) async fn strict_pair() -> (Node, Sidecar, Sidecar) {
    let node = Node::new("n");
    let only = || sidecar().on(&node).env("XDT_PATHS", "instance,node").debug();
    let (producer, consumer) = tokio::join!(only().start(), only().start());
    (node, producer, consumer)
}

/// The SDK of a function behind `sidecar`.
pub(crate) fn sdk(sidecar: &Sidecar) -> xdt::Client {
    let client = xdt::Client::builder()
        .local_address(sidecar.local())
        .local_socket(format!("@{}", sidecar.local_socket()));
    client.build().unwrap()
}

/// Somebody who holds the tests' key ring and is no sidecar.
pub(crate) fn insider() -> Trust {
    let ring = KeyRing::parse(Ring::standard().json().as_bytes()).unwrap();
    let address = TargetAddress::parse("127.0.0.1:1").unwrap();
    let identity = Identity::new("default", "n", address).unwrap();
    Trust::new(identity, Arc::new(ArcSwap::from_pointee(ring)))
}

/// A ticket for one object of `reference`.
pub(crate) fn ticket(insider: &Trust, reference: &str, verb: Verb) -> bytes::Bytes {
    let opened: Opened = insider.open(reference).unwrap();
    insider.issue(&opened, verb).unwrap().sealed.into()
}

/// The only socket of a node.
pub(crate) fn only_socket(node: &Node) -> PathBuf {
    let [socket] = <[PathBuf; 1]>::try_from(node.sockets()).expect("one sidecar");
    socket
}

/// Takes the place of the only sidecar of the node.
pub(crate) fn supplant(node: &Node) -> UnixListener {
    let socket = only_socket(node);
    std::fs::remove_file(&socket).unwrap();
    UnixListener::bind(socket).unwrap()
}

/// A connection to the only sidecar of the node.
pub(crate) async fn connect(node: &Node) -> Channel {
    Channel::new(UnixStream::connect(only_socket(node)).await.unwrap())
}

pub(crate) async fn send(channel: &mut Channel, step: Step) {
    channel
        .send(
            &NodeRequest {
                step: Some(step),
                trace: Vec::new(),
            },
            None,
        )
        .await
        .unwrap();
}

/// The next answer; `None` if the connection ends.
pub(crate) async fn answer(channel: &mut Channel) -> Option<(Outcome, Option<std::os::fd::OwnedFd>)> {
    match within("an answer on the node socket", channel.receive::<NodeAnswer>()).await {
        Ok(Some((answer, file))) => Some((answer.outcome.unwrap(), file)),
        Ok(None) | Err(_) => None,
    }
}
