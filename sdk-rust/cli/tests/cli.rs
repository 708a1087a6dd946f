//! The command `xdt` as scripts use it, beside real sidecars.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where its assumptions do"
)]

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use xdt_testkit::{Script, Sidecar, UserContainer};

const XDT: &str = env!("CARGO_BIN_EXE_xdt");

/// The sidecar's program: beside this one, built first where it is missing.
fn sidecar_binary() -> PathBuf {
    let binary = Path::new(XDT).with_file_name("xdt-queue-proxy");
    if !binary.is_file() {
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let built = build
            .args(["build", "-p", "xdt-queue-proxy", "--bins"])
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the sidecar cannot be built");
    }
    binary
}

fn command(sidecar: &Sidecar, arguments: &[&str]) -> Command {
    let mut command = Command::new(XDT);
    command
        .args(arguments)
        .env_clear()
        .env("XDT_LOCAL_SOCKET", format!("@{}", sidecar.local_socket()))
        .env("XDT_LOCAL_ADDRESS", sidecar.local().to_string())
        .env("XDT_EGRESS_ADDRESS", sidecar.egress().to_string());
    command
}

/// Runs it with `input`; nothing may be said on standard error by a command that succeeds.
fn run(sidecar: &Sidecar, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = command(sidecar, arguments);
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the command runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the command ends");
    // Fails where the command needs no input.
    drop(writing.join().expect("no panic"));
    if output.status.success() {
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "silence in a pipe");
    }
    output
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone())
        .expect("text")
        .trim()
        .to_owned()
}

fn json(bytes: &[u8]) -> Value {
    let text = std::str::from_utf8(bytes).expect("text");
    assert_eq!(text.trim().lines().count(), 1, "one line: {text}");
    serde_json::from_str(text).expect("JSON")
}

async fn sidecar() -> Sidecar {
    Sidecar::builder(sidecar_binary()).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_in_and_out_of_files_and_pipes() {
    let sidecar = sidecar().await;
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
    fs::write(&source, &data).unwrap();
    let source = source.to_str().unwrap();

    let put = [
        "put",
        source,
        "-n",
        "2",
        "--content-type",
        "a/b",
        "--meta",
        "k=v",
        "--ttl",
        "1m",
    ];
    let reference = text(&run(&sidecar, &put, b""));
    assert!(reference.starts_with("xdt1."));
    let got = run(&sidecar, &["get", &reference], b"");
    assert!(got.stdout == data);
    let saved = run(
        &sidecar,
        &["get", &reference, "-o", copy.to_str().unwrap(), "--json"],
        b"",
    );
    let told = json(&saved.stdout);
    assert_eq!(
        (told["size"].as_u64(), &told["content_type"], &told["metadata"]["k"]),
        (Some(3_000_000), &"a/b".into(), &"v".into())
    );
    assert!(fs::read(&copy).unwrap() == data);

    let told = json(&run(&sidecar, &["put", "--json"], &data).stdout);
    assert_eq!(
        (told["size"].as_u64(), told["retrievals"].as_u64()),
        (Some(3_000_000), Some(1))
    );
    let reference = told["reference"].as_str().unwrap();
    assert_eq!(text(&run(&sidecar, &["delete", reference], b"")), "");
    let status = json(&run(&sidecar, &["status", "--json"], b"").stdout);
    assert_eq!(status["objects"]["held"], 0);
    assert!(text(&run(&sidecar, &["status"], b"")).contains("objects    0 held"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_words_and_leave_no_files() {
    let sidecar = sidecar().await;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("never");
    let reference = text(&run(&sidecar, &["put"], b"x"));
    text(&run(&sidecar, &["delete", &reference], b""));
    let arguments = ["get", &reference, "-o", target.to_str().unwrap()];
    let plain = run(&sidecar, &arguments, b"");
    assert!(!plain.status.success() && plain.stdout.is_empty());
    assert!(String::from_utf8_lossy(&plain.stderr).starts_with("xdt: object-gone: "));
    let told = run(&sidecar, &[&arguments[..], &["--json"]].concat(), b"");
    let error = json(&told.stderr);
    assert_eq!(
        (&error["error"], &error["retryable"]),
        (&"object-gone".into(), &false.into())
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    for (arguments, word) in [
        (&["get", "nonsense"][..], "reference-invalid"),
        (&["get", "nonsense", "--json"], "--output"),
        (&["put", "/nowhere"], "/nowhere"),
        (&["put", "-n", "0"], "--retrievals"),
        (&["put", "--ttl", "soon"], "--ttl"),
        (&["put", "--meta", "none"], "--meta"),
        (&["invoke", "https://f/"], "scheme https"),
        (&["status", "--timeout", "0"], "timeout"),
    ] {
        let failed = run(&sidecar, arguments, b"");
        let told = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(!failed.status.success() && told.contains(word), "{arguments:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_called_with_files() {
    let container = UserContainer::start(Script::Echo);
    let front = Sidecar::builder(sidecar_binary())
        .user_port(container.port())
        .start()
        .await;
    let hosts = front.serving().ip().to_string();
    let caller = Sidecar::builder(sidecar_binary())
        .env("XDT_EGRESS_HOSTS", &hosts)
        .start()
        .await;
    let url = format!("http://{}/", front.serving());
    for size in [10, 2_000_000_u32] {
        let data = vec![7; size as usize];
        let answer = run(
            &caller,
            &["invoke", &url, "-", "--content-type", "a/b", "-H", "x-own: 1"],
            &data,
        );
        assert!(answer.status.success());
        assert_eq!(json(&answer.stdout)["bytes"], size);
    }
    assert_eq!(container.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_made_here_is_one_that_a_sidecar_takes() {
    let folder = tempfile::tempdir().unwrap();
    let ring = folder.path().join("ring.json");
    let ring = ring.to_str().unwrap();
    let keys = |arguments: &[&str]| {
        Command::new(XDT)
            .arg("keys")
            .args(arguments)
            .output()
            .expect("the command runs")
    };
    assert!(text(&keys(&["new", ring, "--id", "old"])).contains("old"));
    assert!(!keys(&["new", ring]).status.success(), "a ring is never overwritten");
    assert_eq!(json(&keys(&["add", ring, "--id", "new", "--json"]).stdout)["id"], "new");
    let refused = keys(&["retire", ring, "old"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("old is the primary"));
    text(&keys(&["promote", ring, "new"]));
    text(&keys(&["retire", ring, "old"]));
    assert_eq!(text(&keys(&["list", ring])), "new  primary");
    let listed = keys(&["list", ring, "--json"]).stdout;
    assert_eq!(json(&listed)["keys"][0]["primary"], true);
    let secret = json(fs::read_to_string(ring).unwrap().replace('\n', "").as_bytes())["keys"][0]["secret"].to_string();
    assert!(!String::from_utf8_lossy(&listed).contains(secret.trim_matches('"')));
    let sidecar = Sidecar::builder(sidecar_binary())
        .ring_text(&fs::read_to_string(ring).unwrap())
        .start()
        .await;
    assert!(text(&run(&sidecar, &["put"], b"x")).starts_with("xdt1."));
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(XDT)
            .args(["completions", shell])
            .output()
            .expect("the command runs");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("retrievals"),
            "{shell}"
        );
    }
}
