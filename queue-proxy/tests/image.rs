//! What the container image relies on (contract of the queue-proxy, section 11.2): a binary that needs no libraries, no
//! files and no rights.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use object::{
    Endianness,
    elf::{DT_NEEDED, FileHeader64, PT_INTERP},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};
use xdt_testkit::{Sidecar, empty_body, http::request, skipped};

/// Libraries that the C library brings, which a static build therefore takes in.
const OF_THE_C_LIBRARY: [&str; 7] = [
    "libc.so",
    "libm.so",
    "libgcc_s.so",
    "libpthread.so",
    "libdl.so",
    "librt.so",
    "ld-linux",
];

/// Shared libraries that a binary needs, and whether it needs a loader.
fn needs(binary: &Path) -> (Vec<String>, bool) {
    let data = fs::read(binary).unwrap();
    let data = data.as_slice();
    let header = FileHeader64::<Endianness>::parse(data).unwrap();
    let endian = header.endian().unwrap();
    let segments = header.program_headers(endian, data).unwrap();
    let loader = segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP);
    let dynamic = segments
        .iter()
        .find_map(|segment| segment.dynamic(endian, data).unwrap());
    let sections = header.sections(endian, data).unwrap();
    let strings = sections
        .dynamic(endian, data)
        .unwrap()
        .map(|(_, link)| sections.strings(endian, data, link).unwrap());
    let needed = dynamic
        .unwrap_or_default()
        .iter()
        .filter(|entry| entry.tag(endian) == DT_NEEDED);
    let names =
        needed.map(|entry| String::from_utf8_lossy(entry.string(endian, strings.unwrap()).unwrap()).into_owned());
    (names.collect(), loader)
}

#[test]
fn the_binary_needs_no_library_but_the_c_library() {
    let (libraries, _) = needs(Path::new(env!("CARGO_BIN_EXE_xdt-queue-proxy")));
    for library in libraries {
        assert!(
            OF_THE_C_LIBRARY.iter().any(|known| library.starts_with(known)),
            "{library}"
        );
    }
}

#[test]
fn the_image_is_one_binary_with_a_numeric_user_and_no_shell() {
    let file = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Containerfile")).unwrap();
    let (_, last) = file.rsplit_once("\nFROM ").expect("stages");
    let mut lines = last.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("scratch"));
    let lines: Vec<&str> = lines.collect();
    assert!(lines.contains(&"USER 65532:65532"));
    assert!(lines.contains(&r#"ENTRYPOINT ["/xdt-queue-proxy"]"#));
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("RUN") || line.starts_with("CMD"))
    );
}

/// The binary of `make static`.
fn static_binary() -> PathBuf {
    std::env::var_os("XDT_STATIC_BINARY")
        .expect("make static sets XDT_STATIC_BINARY")
        .into()
}

#[test]
#[ignore = "needs the binary of make static, which runs this"]
fn the_static_binary_needs_neither_libraries_nor_a_loader() {
    assert_eq!(needs(&static_binary()), (Vec::new(), false));
}

/// Also resolves a name, which a static C library must do without its plug-ins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the binary of make static, which runs this"]
async fn the_static_binary_runs_alone_on_a_read_only_root_as_nobody() {
    let everybody = fs::Permissions::from_mode(0o755);
    let root = tempfile::Builder::new().permissions(everybody).tempdir().unwrap();
    fs::copy(static_binary(), root.path().join("xdt-queue-proxy")).unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let path = root.path().to_str().unwrap();
    let alone = format!(
        "mount --make-rprivate / && mount --bind {path} {path} && mount -o remount,bind,ro {path} && ! touch {path}/x 2>/dev/null"
    );
    let works = Command::new("unshare").args(["-m", "sh", "-c", &alone]).output();
    if !works.as_ref().is_ok_and(|output| output.status.success()) {
        skipped(format_args!("a root of its own cannot be made here: {works:?}"));
        return;
    }
    let enter = format!("{alone} && exec chroot --userspec=65532:65532 {path} /xdt-queue-proxy");
    let probed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let probe = format!(
        r#"{{"tcpSocket":{{"port":{},"host":"probed.test"}},"periodSeconds":1,"timeoutSeconds":10}}"#,
        probed.local_addr().unwrap().port()
    );
    fs::write(root.path().join("etc/hosts"), "127.0.0.1 probed.test\n").unwrap();
    let sidecar = Sidecar::builder(static_binary())
        .without_ring()
        .env("SERVING_READINESS_PROBE", &probe)
        .through(&["unshare", "-m", "sh", "-c", &enter, "sh"])
        .start()
        .await;
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.pid().as_raw_nonzero())).unwrap();
    assert!(status.contains("Uid:\t65532\t65532"), "{status}");
    let headers = [("user-agent", "kube-probe/1.30"), ("k-network-probe", "queue")];
    let check = request("GET", format!("http://{}/", sidecar.serving()), &headers, empty_body());
    assert_eq!(sidecar.client().fetch(check).await.status, 200);
}
