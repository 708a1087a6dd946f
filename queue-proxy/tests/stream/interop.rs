//! Any gRPC client with a valid ticket can pull: the data plane is ordinary gRPC, framed by hand or not (contract,
//! section 8). tonic and Python's grpcio stand for all of them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use arc_swap::ArcSwap;
use crc_fast::CrcAlgorithm;
use prost::Message as _;
use tokio::process::Command;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use xdt_proto::v1::{self, pull_request::Step, pull_response::Part};
use xdt_queue_proxy::trust::{Identity, IssuedTicket, KeyRing, Opened, TargetAddress, Trust, Verb};
use xdt_testkit::{Payload, Ring, Sidecar};

use super::sidecar;

const PULL: &str = "/xdt.v1.Transfer/Pull";

/// A holder of the key ring that is no sidecar.
fn holder_of_the_ring() -> Trust {
    let address = TargetAddress::parse("127.0.0.1:1").unwrap();
    let identity = Identity::new("default", "node", address).unwrap();
    let ring = KeyRing::parse(Ring::standard().json().as_bytes()).unwrap();
    Trust::new(identity, Arc::new(ArcSwap::from_pointee(ring)))
}

fn start(ticket: &IssuedTicket, offset: u64, length: Option<u64>) -> v1::PullRequest {
    let start = v1::Start {
        ticket: ticket.sealed.clone().into(),
        offset,
        length,
        claims: length.is_none(),
        ..v1::Start::default()
    };
    v1::PullRequest {
        step: Some(Step::Start(start)),
    }
}

async fn client(producer: &Sidecar) -> Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", producer.data())).unwrap();
    Grpc::new(endpoint.connect().await.unwrap())
}

/// Pulls, confirms if all of it came, and returns the bytes.
async fn pulled(
    client: &mut Grpc<Channel>,
    trust: &Trust,
    opened: &Opened,
    (offset, length): (u64, Option<u64>),
) -> Result<Vec<u8>, Status> {
    let ticket = trust.issue(opened, Verb::Pull).unwrap();
    let (steps, requests) = tokio::sync::mpsc::channel(2);
    steps.send(start(&ticket, offset, length)).await.unwrap();
    client.ready().await.unwrap();
    let call = client.streaming(
        Request::new(ReceiverStream::new(requests)),
        PathAndQuery::from_static(PULL),
        ProstCodec::<v1::PullRequest, v1::PullResponse>::default(),
    );
    let mut answer = call.await?.into_inner();
    let Some(Part::Opening(opening)) = answer.message().await?.and_then(|message| message.part) else {
        panic!("the first message opens the answer");
    };
    assert!(
        trust.verify(&ticket, &opening.answer, &opening.proof),
        "the producer holds the ring"
    );
    let mut bytes = Vec::new();
    while let Some(message) = answer.next().await {
        match message?.part {
            Some(Part::Chunk(chunk)) => bytes.extend_from_slice(&chunk),
            Some(Part::Closing(closing)) => {
                assert_eq!(closing.length, bytes.len() as u64);
                assert_eq!(closing.crc64_nvme, crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes));
                let confirm = Step::Confirm(v1::Confirm {});
                let _read_by_pulls_that_claim = steps.send(v1::PullRequest { step: Some(confirm) }).await;
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_tonic_client_with_a_ticket_pulls_and_confirms() {
    let producer = sidecar().start().await;
    let (trust, mut client) = (holder_of_the_ring(), client(&producer).await);
    for (seed, size) in (0..).zip([0, 1, 65_537, 3_000_001]) {
        let payload = Payload::new(seed, size).bytes();
        let reference = producer.put(payload.clone()).await;
        let opened = trust.open(&reference).unwrap();
        if size > 2 {
            let part = pulled(&mut client, &trust, &opened, (1, Some(size - 2))).await.unwrap();
            assert_eq!(part, payload[1..payload.len() - 1], "a range claims nothing");
        }
        let whole = pulled(&mut client, &trust, &opened, (0, None)).await.unwrap();
        assert!(whole == payload, "{size} bytes");
        producer.emptied().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_tonic_client_without_a_fresh_ticket_is_unauthenticated() {
    let producer = sidecar().start().await;
    let (trust, mut client) = (holder_of_the_ring(), client(&producer).await);
    let reference = producer.put("secret").await;
    let opened = trust.open(&reference).unwrap();
    let used = trust.issue(&opened, Verb::Pull).unwrap();
    let for_another_verb = trust.issue(&opened, Verb::Stat).unwrap();
    let mut ask = async |ticket: &IssuedTicket| {
        client.ready().await.unwrap();
        let requests = tokio_stream::once(start(ticket, 0, Some(1)));
        let codec = ProstCodec::<v1::PullRequest, v1::PullResponse>::default();
        let call = client.streaming(Request::new(requests), PathAndQuery::from_static(PULL), codec);
        call.await
            .map(drop)
            .map_err(|status| (status.code(), status.message().to_owned()))
    };
    assert_eq!(ask(&used).await, Ok(()));
    for ticket in [&used, &for_another_verb] {
        assert_eq!(ask(ticket).await, Err((Code::Unauthenticated, String::new())));
    }
}

fn python(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}

/// A virtual environment with grpcio and protobuf, made once in the target directory; `None` without Python.
async fn environment() -> Option<PathBuf> {
    let run = async |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("timeout");
        command.arg("240").arg(program).args(arguments).stdin(Stdio::null());
        command.output().await.unwrap()
    };
    let system = Path::new("python3");
    if !run(system, &["-c", "import venv"]).await.status.success() {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpcio-1.80");
    let done = folder.join("complete");
    if !done.exists() {
        let made = run(system, &["-m", "venv", "--clear", folder.to_str().unwrap()]).await;
        assert!(made.status.success(), "{made:?}");
        let packages = ["-m", "pip", "install", "-q", "grpcio>=1.80,<2", "protobuf>=7,<8"];
        let installed = run(&python(&folder), &packages).await;
        assert!(installed.status.success(), "{installed:?}");
        std::fs::write(done, "").unwrap();
    }
    Some(python(&folder))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_python_client_with_a_ticket_pulls_and_confirms() {
    let Some(python) = environment().await else {
        println!("skipped: no Python 3 with venv here");
        return;
    };
    let producer = sidecar().start().await;
    let trust = holder_of_the_ring();
    let payload = Payload::new(1, 1_000_003).bytes();
    let reference = producer.put(payload.clone()).await;
    let ticket = trust.issue(&trust.open(&reference).unwrap(), Verb::Pull).unwrap();
    let first = start(&ticket, 0, None).encode_to_vec();
    let hexadecimal: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = tempfile::tempdir().unwrap();
    let (descriptors, received) = (folder.path().join("transfer.binpb"), folder.path().join("object"));
    std::fs::write(&descriptors, v1::FILE_DESCRIPTOR_SET).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stream/pull.py");
    let output = Command::new("timeout")
        .arg("60")
        .arg(python)
        .arg(script)
        .arg(producer.data().to_string())
        .args([&descriptors, &received])
        .arg(hexadecimal)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read(received).unwrap() == payload);
    producer.emptied().await;
}
