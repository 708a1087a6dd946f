//! Clauses 1, 10, 11, 12 and 18 of Knative's checklist: ports, rights and CPU of the pod. Those that need root skip, with a
//! reason, where there is none.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    net::{Shutdown, getsockname, shutdown, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use serde_json::Value;
use tempfile::TempDir;
use xdt_testkit::{Builder, Script, Sidecar, UserContainer, empty_body, eventually, skipped};

const BINARY: &str = env!("CARGO_BIN_EXE_xdt-queue-proxy");
const FAILED: &str = "Failed to bring up queue-proxy, shutting down.";

fn plain() -> Builder {
    Sidecar::builder(BINARY).without_ring()
}

/// Whether a test that needs root can run, or says why it does not.
fn root_for(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(format_args!("{what} needs root"));
    }
    root
}

/// Whether a command works here, or says why the test does not run.
fn works(what: &str, command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let works = output.as_ref().is_ok_and(|output| output.status.success());
    if !works {
        skipped(format_args!("{what} does not work here: {output:?}"));
    }
    works
}

fn errors(log: &str) -> Vec<Value> {
    let entries = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    entries.filter(|entry| entry["severity"] != "INFO").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_a_port_in_use_ends_the_start_with_one_error() {
    let first = plain().start().await;
    let ip = first.serving().ip().to_string();
    let output = plain().env("XDT_BIND_ADDRESS", &ip).run();
    assert_eq!(output.status.code(), Some(1));
    let told = errors(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["severity"], &told[0]["message"]),
        (&"ERROR".into(), &FAILED.into())
    );
    assert!(
        told[0]["error"].as_str().is_some_and(|error| error.contains("8012")),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_a_listener_that_dies_later_ends_the_process_with_one_error() {
    for port in [8012, 8022, 9090] {
        let mut sidecar = plain().allow(FAILED).start().await;
        let Some(listener) = listener_of(sidecar.pid(), (sidecar.serving().ip(), port).into()) else {
            return;
        };
        shutdown(&listener, Shutdown::Both).unwrap();
        let status = sidecar.wait_exit(Duration::from_secs(20)).await;
        assert_eq!(status.code(), Some(1));
        let told = errors(&sidecar.log());
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            (&told[0]["severity"], &told[0]["message"]),
            (&"ERROR".into(), &FAILED.into())
        );
    }
}

/// The socket with which another process listens on `address`.
fn listener_of(process: Pid, address: SocketAddr) -> Option<OwnedFd> {
    let handle = pidfd_open(process, PidfdFlags::empty()).unwrap();
    let numbers = fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero())).unwrap();
    for number in numbers {
        let number = number.unwrap().file_name().into_string().unwrap().parse().unwrap();
        let taken = match pidfd_getfd(&handle, number, PidfdGetfdFlags::empty()) {
            Ok(taken) => taken,
            Err(error) => {
                skipped(format_args!("sockets of another process cannot be had here: {error}"));
                return None;
            }
        };
        let own = getsockname(&taken).ok().and_then(|own| SocketAddr::try_from(own).ok());
        if own == Some(address) && sockopt::socket_acceptconn(&taken).is_ok_and(|listens| listens) {
            return Some(taken);
        }
    }
    panic!("nobody listens on {address}");
}

/// A copy of the binary that every user may run.
fn public_binary() -> (TempDir, PathBuf) {
    let everybody = fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new()
        .permissions(everybody.clone())
        .tempdir()
        .unwrap();
    let binary = folder.path().join("queue-proxy");
    fs::copy(BINARY, &binary).unwrap();
    fs::set_permissions(&binary, everybody).unwrap();
    (folder, binary)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c11_runs_as_any_user_on_a_read_only_root_without_capabilities() {
    let read_only = "mount --make-rprivate / && mount -o remount,bind,ro / && ! touch /writable 2>/dev/null";
    if !root_for("another user") || !works("a read-only root", &["unshare", "-m", "sh", "-c", read_only]) {
        return;
    }
    let (_folder, binary) = public_binary();
    let run = format!("{read_only} && exec \"$@\"");
    for (user, group) in [("65532", "65532"), ("1000730000", "0")] {
        let container = UserContainer::start(Script::Echo);
        let sidecar = Sidecar::builder(&binary)
            .without_ring()
            .user_port(container.port())
            .through(&[
                "unshare",
                "-m",
                "sh",
                "-c",
                &run,
                "sh",
                "setpriv",
                "--reuid",
                user,
                "--regid",
                group,
                "--clear-groups",
                "--no-new-privs",
                "--bounding-set=-all",
                "--inh-caps=-all",
            ])
            .start()
            .await;
        let status = fs::read_to_string(format!("/proc/{}/status", sidecar.pid().as_raw_nonzero())).unwrap();
        let is = |key: &str, value: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect(key);
            assert_eq!(line.split_whitespace().next(), Some(value), "{key}");
        };
        is("Uid:", user);
        is("Gid:", group);
        is("NoNewPrivs:", "1");
        for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
            is(set, "0000000000000000");
        }
        assert_eq!(sidecar.invoke("/", &[], empty_body()).await.status, 200);
    }
}

/// A process that is killed when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The smallest environment of the contract, and nothing else.
const SMALLEST: [(&str, &str); 12] = [
    ("CONTAINER_CONCURRENCY", "0"),
    ("QUEUE_SERVING_PORT", "8012"),
    ("QUEUE_SERVING_TLS_PORT", "8112"),
    ("USER_PORT", "8080"),
    ("REVISION_TIMEOUT_SECONDS", "300"),
    ("SERVING_LOGGING_CONFIG", ""),
    ("SERVING_LOGGING_LEVEL", ""),
    ("SERVING_NAMESPACE", "default"),
    ("SERVING_CONFIGURATION", "cfg"),
    ("SERVING_REVISION", "rev"),
    ("SERVING_POD", "pod"),
    ("SERVING_POD_IP", "10.0.0.1"),
];

/// Starts it without arguments in the smallest environment, in a network of its own, because all addresses are those of
/// other tests too. `None` where that does not work, which is told.
fn start_smallest() -> Option<(Killed, PathBuf)> {
    let network = ["unshare", "-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    if !root_for("a network of its own") || !works("a network of its own", &[&network[..], &["true"]].concat()) {
        return None;
    }
    let child = Command::new(network[0])
        .args(&network[1..])
        .arg(BINARY)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(SMALLEST)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let namespace = PathBuf::from(format!("/proc/{}/ns/net", child.id()));
    Some((Killed(child), namespace))
}

const PROBE: &str = "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: kube-probe/1.30\r\nK-Network-Probe: queue\r\n\r\n";

/// The clause says a second; a busy machine may take ten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c01_serves_soon_after_a_start_with_the_required_variables_and_nothing_else() {
    let begun = Instant::now();
    let Some((_killed, namespace)) = start_smallest() else {
        return;
    };
    let ready = eventually("an answer", async || {
        let namespace = namespace.clone();
        let asked = move || ask(&namespace, (Ipv4Addr::LOCALHOST, 8012).into(), PROBE);
        tokio::task::spawn_blocking(asked).await.unwrap()
    });
    assert!(ready.await.starts_with("HTTP/1.1 200"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c12_listens_on_all_addresses_of_both_families() {
    let Some((_killed, namespace)) = start_smallest() else {
        return;
    };
    let addresses: [IpAddr; 3] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::new(127, 1, 2, 3).into(),
        Ipv6Addr::LOCALHOST.into(),
    ];
    for (port, request, wanted) in [
        (9090, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"),
        (8012, PROBE, "HTTP/1.1 200"),
        (8022, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404"),
    ] {
        for ip in addresses {
            let answer = eventually("an answer", async || {
                let namespace = namespace.clone();
                let asked = tokio::task::spawn_blocking(move || ask(&namespace, (ip, port).into(), request));
                asked.await.unwrap()
            })
            .await;
            assert!(answer.starts_with(wanted), "{ip} {port}: {answer}");
        }
    }
}

/// The beginning of an answer, asked for from inside another network.
fn ask(network: &Path, address: SocketAddr, request: &str) -> Option<String> {
    let ask = || {
        let file = fs::File::open(network).ok()?;
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).ok()?;
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        socket.write_all(request.as_bytes()).ok()?;
        let mut begin = [0; 12];
        socket.read_exact(&mut begin).ok()?;
        String::from_utf8(begin.to_vec()).ok()
    };
    // A thread of its own, which ends in that network.
    std::thread::scope(|scope| scope.spawn(ask).join().expect("no panic"))
}

/// How many worker threads it has, once each thread has its name: until then it has that of the first.
async fn workers(sidecar: &Sidecar) -> usize {
    let folder = format!("/proc/{}/task", sidecar.pid().as_raw_nonzero());
    eventually("named threads", async || {
        let tasks = fs::read_dir(&folder).unwrap();
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let (workers, others): (Vec<_>, Vec<_>) = names.partition(|name| name.starts_with("worker"));
        let unnamed = others.iter().filter(|name| name.starts_with("xdt-queue-proxy")).count();
        (unnamed == 1).then_some(workers.len())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c18_gomaxprocs_sets_the_number_of_worker_threads() {
    for count in [1, 3] {
        let sidecar = plain().env("GOMAXPROCS", &count.to_string()).start().await;
        assert_eq!(workers(&sidecar).await, count);
    }
}

/// A control group with a CPU quota, removed when dropped.
struct Quota(PathBuf);

impl Quota {
    /// So many microseconds of each 100,000; `None`, with a reason, where groups cannot be made.
    fn new(microseconds: u32) -> Option<Self> {
        let name = format!("xdt-test-{}-{microseconds}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/cpu").join(&name);
        let second = Path::new("/sys/fs/cgroup").join(&name);
        let made = fs::create_dir(&first)
            .map(|()| (first, "cpu.cfs_quota_us", microseconds.to_string()))
            .or_else(|_| fs::create_dir(&second).map(|()| (second, "cpu.max", format!("{microseconds} 100000"))));
        match made {
            Ok((folder, file, value)) => {
                let quota = Self(folder);
                match fs::write(quota.0.join(file), value) {
                    Ok(()) => return Some(quota),
                    Err(error) => skipped(format_args!("a control group without a CPU quota: {error}")),
                }
            }
            Err(error) => skipped(format_args!("control groups cannot be made here: {error}")),
        }
        None
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Stays behind only where its process does.
        let _removed = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c18_the_cpu_quota_rounded_down_is_the_number_of_worker_threads() {
    for (microseconds, count) in [(50_000, 1), (100_000, 1), (199_000, 1), (200_000, 2)] {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let Some(quota) = Quota::new(microseconds) else { return };
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", quota.0.display());
        let sidecar = plain().through(&["sh", "-c", &enter, "sh"]).start().await;
        assert_eq!(workers(&sidecar).await, count.min(cores), "{microseconds} of 100000");
    }
}
