//! Every way in and every way out, and when another path is taken.

use std::os::{fd::AsFd as _, linux::net::SocketAddrExt as _};

use rustix::fs::fstat;
use tokio::net::UnixStream;
use xdt_proto::{
    ByteCount,
    v1::{LocalAnswer, LocalGet, LocalPut, LocalRequest, local_answer, local_request},
};
use xdt_shm::{Building, Channel, Sealed};
use xdt_testkit::{
    Collector, Digest, Http1, Node, Payload, Script, Sidecar, UserContainer, empty_body, http::request, within,
};

use crate::kit::{KIB, MIB, sdk, sidecar, strict_pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_built_in_place_is_read_in_place_and_no_sidecar_copies_a_byte() {
    let (_node, producer, consumer) = strict_pair().await;
    let payload = Payload::new(1, 20 * MIB + 3);
    let mut buffer = sdk(&producer).create(payload.size()).unwrap();
    buffer.copy_from_slice(&payload.bytes());
    let put = buffer.put().unwrap().content_type("image/png").metadata("key", "value");
    let reference = put.await.unwrap();
    let object = sdk(&consumer).get(&reference).await.unwrap();
    assert_eq!(object.path(), Some("node"));
    assert_eq!(Digest::of(&object), payload.digest());
    assert_eq!(object.content_type(), Some("image/png"));
    assert_eq!(object.metadata()["key"], "value");
    assert_eq!((producer.copied(), consumer.copied()), (Some(0), Some(0)));
    let at_consumer = consumer.status().await;
    assert_eq!(at_consumer.by("node", "ok"), 1);
    assert_eq!(at_consumer.0["peers"], 0, "no connection over the network");
    let gone = sdk(&consumer).get(&reference).await.unwrap_err();
    assert_eq!(gone.kind(), xdt::ErrorKind::ObjectGone, "one retrieval");
    producer.emptied().await;
}

/// The local socket of a sidecar, spoken to without an SDK.
async fn local(sidecar: &Sidecar, verb: local_request::Verb, file: Option<&Sealed>) -> (LocalAnswer, Option<Sealed>) {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(sidecar.local_socket()).unwrap();
    let socket = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut channel = Channel::new(UnixStream::from_std(socket).unwrap());
    let request = LocalRequest { verb: Some(verb) };
    channel.send(&request, file.map(Sealed::as_fd)).await.unwrap();
    let answer = within("an answer", channel.receive::<LocalAnswer>()).await;
    let (answer, file) = answer.unwrap().unwrap();
    (
        answer,
        file.map(|file| Sealed::verify(file, ByteCount::new(MIB)).unwrap()),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_that_comes_out_is_the_file_that_went_in() {
    let (_node, producer, consumer) = strict_pair().await;
    let mut building = Building::new(ByteCount::new(MIB)).unwrap();
    building.bytes().fill(7);
    let file = building.seal().unwrap();
    let put = LocalPut {
        description: Some(xdt_proto::v1::Description {
            size: Some(MIB),
            ..Default::default()
        }),
        retrievals: 1,
        ttl_millis: None,
        inline: None,
    };
    let (answer, _) = local(&producer, local_request::Verb::Put(put), Some(&file)).await;
    let Some(local_answer::Outcome::Reference(reference)) = answer.outcome else {
        panic!("no reference: {answer:?}");
    };
    let get = LocalGet { reference, most: None };
    let (_, received) = local(&consumer, local_request::Verb::Get(get), None).await;
    let inode = |file: &Sealed| fstat(file).unwrap().st_ino;
    assert_eq!(inode(&received.expect("a file")), inode(&file));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_comes_whole_whichever_way_it_goes_in_and_out() {
    let user = UserContainer::start(Script::Echo);
    let node = Node::new("n");
    let only = || sidecar().on(&node).env("XDT_PATHS", "node");
    let (producer, consumer) = tokio::join!(only().start(), only().user_port(user.port()).start());
    let (putting, getting) = (sdk(&producer), sdk(&consumer));
    let sizes = [0, 1, 32 * KIB, 32 * KIB + 1, 64 * KIB, 300_000, 5 * MIB + 3];
    for (seed, size) in (0..).zip(sizes) {
        let payload = Payload::new(seed, size);
        let by_sdk = putting.put(payload.bytes()).retrievals(3).await.unwrap();
        let by_http = producer.put_for(payload.bytes(), 3).await;
        let by_http: xdt::Reference = by_http.parse().unwrap();
        for reference in [by_sdk, by_http] {
            let object = getting.get(&reference).await.unwrap();
            assert_eq!(Digest::of(&object), payload.digest(), "{size}: SDK");
            assert_eq!(object.path(), Some("node"));
            let text = reference.as_str();
            assert_eq!(
                Digest::of(&consumer.get(text).await.body),
                payload.digest(),
                "{size}: HTTP"
            );
            let answer = consumer.invoke("/", &[("xdt-reference", text)], empty_body()).await;
            assert_eq!(answer.json()["digest"], payload.digest(), "{size}: delivery");
        }
    }
    let count = sizes.len() as u64 * 2 * 3;
    assert_eq!(consumer.status().await.by("node", "ok"), count);
    assert_eq!(consumer.status().await.transfers("ok"), count);
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_heads_and_deletes_take_the_same_path() {
    let (_node, producer, consumer) = strict_pair().await;
    let payload = Payload::new(5, 3 * MIB);
    let bytes = payload.bytes();
    let reference = producer.put(bytes.clone()).await;
    let head = consumer.object("HEAD", &reference, &[]).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200.try_into().unwrap(), "3145728")
    );
    for (range, expected) in [
        ("bytes=0-0", &bytes[..1]),
        ("bytes=100000-300000", &bytes[100_000..=300_000]),
        ("bytes=-5", &bytes[bytes.len() - 5..]),
    ] {
        let part = consumer.object("GET", &reference, &[("range", range)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == *expected, "{range}");
    }
    let outside = consumer.object("GET", &reference, &[("range", "bytes=3145728-")]).await;
    assert_eq!(outside.status, 416);
    let whole = [("range", "bytes=0-"), ("xdt-final", "true")];
    assert_eq!(consumer.object("GET", &reference, &whole).await.status, 206);
    assert_eq!(
        consumer.get(&reference).await.header("xdt-error"),
        "object-gone",
        "the final range counted"
    );
    let other = producer.put(bytes).await;
    assert_eq!(consumer.object("DELETE", &other, &[]).await.status, 204);
    assert_eq!(
        consumer.object("DELETE", &other, &[]).await.header("xdt-error"),
        "object-gone"
    );
    assert_eq!(
        consumer.object("HEAD", &other, &[]).await.header("xdt-error"),
        "object-gone"
    );
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_passes_through_takes_the_network() {
    let node = Node::new("n");
    let user = UserContainer::start(Script::Echo);
    let callee = sidecar().on(&node).user_port(user.port()).start().await;
    let hosts = callee.serving().ip().to_string();
    let caller = sidecar().on(&node).env("XDT_EGRESS_HOSTS", &hosts).start().await;
    let payload = Payload::new(6, 2 * MIB);
    let mut proxy = Http1::open(caller.egress()).await;
    let url = format!("http://{}/", callee.serving());
    let call = request("POST", url, &[("host", "callee")], payload.chunked());
    assert_eq!(proxy.fetch(call).await.json()["digest"], payload.digest());
    assert_eq!(callee.status().await.by("stream", "ok"), 1);
    assert_eq!(callee.status().await.by("node", "ok"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_leads_wherever_the_node_does_not() {
    let (node, elsewhere) = (Node::new("n"), Node::new("n"));
    let on = |node| sidecar().on(node);
    let (producer, other_name, other_folder, forbidden, without, unusable) = tokio::join!(
        on(&node).start(),
        on(&node).env("XDT_NODE_NAME", "other").start(),
        on(&elsewhere).start(),
        on(&node).env("XDT_PATHS", "instance,stream").start(),
        sidecar().env("XDT_NODE_NAME", "n").start(),
        on(&node)
            .env("XDT_NODE_DIR", "/nonexistent")
            .allow("XDT_NODE_DIR cannot be used")
            .start(),
    );
    unusable.logged("XDT_NODE_DIR cannot be used").await;
    let payload = Payload::new(7, 100_000);
    for (name, consumer) in [
        ("another node's name", other_name),
        ("another directory", other_folder),
        ("XDT_PATHS", forbidden),
        ("no directory", without),
        ("a directory that is not there", unusable),
    ] {
        let reference = producer.put(payload.bytes()).await.parse().unwrap();
        let object = sdk(&consumer).get(&reference).await.unwrap();
        assert_eq!(object.path(), Some("stream"), "{name}");
        assert_eq!(Digest::of(&object), payload.digest(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_of_a_transfer_are_traced_as_one() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let (node, collector) = (Node::new("n"), Collector::start().await);
    let url = collector.url();
    let tracing =
        format!(r#"{{"tracing":{{"protocol":"http/protobuf","endpoint":"{url}/v1/traces","samplingRate":1}}}}"#);
    let traced = || sidecar().on(&node).env("OBSERVABILITY_CONFIG", &tracing);
    let (producer, consumer) = tokio::join!(traced().start(), traced().start());
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let reference = producer.put(vec![7; 300_000]).await;
    let got = consumer
        .object("GET", &reference, &[("traceparent", &traceparent)])
        .await;
    assert_eq!(got.body.len(), 300_000);
    let spans = collector.spans_came(5).await; // put, get, pull, deliver, serve
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect(name);
    let (get, pull, serve) = (named("xdt.get"), named("xdt.pull"), named("xdt.serve"));
    assert_eq!((&*get.trace, &*serve.trace), (TRACE, TRACE));
    assert_eq!((&*pull.parent, &*serve.parent), (&*get.id, &*pull.id));
    for (span, direction) in [(get, "in"), (serve, "out")] {
        let shown = ["direction", "path", "outcome", "size"].map(|key| span.attributes[key].as_str());
        assert_eq!(shown, [direction, "node", "ok", "300000"]);
    }
}
