//! What the tests are made of: programs, a client, and looks at processes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};
use xdt_cluster::{Cluster, FunctionSpec, Options, Spec};

/// Longest wait for anything: a real sidecar's drain takes 30 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The real sidecar, of the same profile as this test.
pub(crate) fn sidecar() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let file = test.ancestors().nth(2).unwrap().join("xdt-queue-proxy");
    assert!(
        file.exists(),
        "{} is missing: cargo build -p xdt-queue-proxy",
        file.display()
    );
    file
}

/// A test function; `arguments` as its own file tells.
pub(crate) fn echo(name: &str, arguments: &[&str]) -> FunctionSpec {
    let program = example("echo-function").display().to_string();
    FunctionSpec::new(name, [program.as_str()].iter().chain(arguments).copied())
}

pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let file = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        file.exists(),
        "{} is missing: cargo build -p xdt-cluster --examples",
        file.display()
    );
    file
}

/// A short grace: what does not end on SIGTERM need not be waited for. The run folder is the test's own, and stays.
pub(crate) fn options() -> Options {
    let test = std::thread::current().name().unwrap().replace("::", "-");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let (run_dir, sidecar) = (Some(folder), Some(sidecar()));
    Options {
        sidecar,
        run_dir,
        grace: Duration::from_millis(200),
        ..Options::default()
    }
}

pub(crate) async fn start(function: FunctionSpec) -> Cluster {
    Cluster::start(Spec::default().function(function), options())
        .await
        .unwrap()
}

/// One request through the ingress.
pub(crate) async fn send(
    cluster: &Cluster,
    function: &str,
    path: &str,
    version: Version,
    body: &[u8],
) -> Response<Incoming> {
    let body = Full::new(Bytes::copy_from_slice(body));
    send_to(
        cluster.ingress(),
        &format!("{function}.default.localhost"),
        path,
        version,
        body,
    )
    .await
}

/// One request on a connection of its own, whatever the host resolves to.
pub(crate) async fn send_to<B>(to: SocketAddr, host: &str, path: &str, version: Version, body: B) -> Response<Incoming>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let socket = TokioIo::new(TcpStream::connect(to).await.unwrap());
    if version == Version::HTTP_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(format!("http://{host}{path}"))
            .version(version)
            .body(body)
            .unwrap();
        return sender.send_request(request).await.unwrap();
    }
    let (mut sender, connection) = http1::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    sender
        .send_request(Request::post(path).header("host", host).body(body).unwrap())
        .await
        .unwrap()
}

/// The text of an answer to an HTTP/1.1 request.
pub(crate) async fn ask(cluster: &Cluster, function: &str, path: &str) -> String {
    text(send(cluster, function, path, Version::HTTP_11, b"").await).await
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Whether a process runs; one that is dead and only not yet collected does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with('Z')
}

/// Waits until `condition` holds; fails at the end of the patience.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = interval(Duration::from_millis(10));
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        looks.tick().await;
    }
}

pub(crate) async fn until_gone(pids: &[u32]) {
    until(&format!("end of {pids:?}"), || !pids.iter().any(|&pid| runs(pid))).await;
}

/// Both process ids of each instance.
pub(crate) fn pids(cluster: &Cluster, function: &str) -> Vec<u32> {
    let instances = cluster.instances(function).unwrap();
    instances
        .iter()
        .flat_map(|instance| [instance.user_pid, instance.sidecar_pid])
        .flatten()
        .collect()
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
