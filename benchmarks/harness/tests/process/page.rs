//! The report in a real browser: every figure has a size, nothing overflows a phone, no script fails, in light and dark.
//!
//! Needs Chromium in `PATH`, or its path in `XDT_CHROMIUM`; without one the test says so and passes.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::siblings::{self, BENCH};

/// Measures the page when it is loaded, and leaves what it found in the document. The page itself has no script.
const PROBE: &str = r#"<script>
window.failures = []; window.onerror = (message) => failures.push(String(message));
addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("svg.chart")].map((svg) => svg.getBoundingClientRect());
  const marks = [...document.querySelectorAll("svg.chart .mark:not(.hollow)")].map((mark) => getComputedStyle(mark).fill);
  document.body.setAttribute("data-probe", JSON.stringify({
    figures: boxes.length, smallest: Math.min(...boxes.map((box) => Math.min(box.width, box.height))),
    overflow: document.documentElement.scrollWidth - innerWidth, unpainted: marks.filter((fill) => fill === "none").length,
    back: getComputedStyle(document.body).backgroundColor, failures,
  }));
});
</script>"#;

fn chromium() -> Option<String> {
    let named = std::env::var("XDT_CHROMIUM").ok();
    let usual = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    named.into_iter().chain(usual).find(|program| {
        let run = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        run.is_ok_and(|status| status.success())
    })
}

fn probe(chromium: &str, page: &Path, width: u32, extra: &[&str]) -> serde_json::Value {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .arg(format!("--window-size={width},900"))
        .args(extra)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = dom
        .split("data-probe=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let found = found.unwrap_or_else(|| {
        panic!(
            "no probe in {} bytes: {}",
            dom.len(),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    serde_json::from_str(&found.replace("&quot;", "\"")).unwrap()
}

#[test]
fn every_figure_is_drawn_and_nothing_overflows_a_phone() {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: no chromium in PATH, and XDT_CHROMIUM names none");
        return;
    };
    siblings::build(&["xdt-queue-proxy", "xdt-patterns"]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = [
        "demo",
        "--sizes",
        "10KB,1MB",
        "--repetitions",
        "6",
        "--backends",
        "inline,xdt-ct,grpc-stream",
        "--out",
    ];
    let run = Command::new(BENCH).args(args).arg(&out).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    let figures = page.matches("<figure").count();
    assert!(figures >= 5, "{figures} figures");
    let probed = folder.path().join("probed.html");
    std::fs::write(&probed, page.replace("</head>", &format!("{PROBE}</head>"))).unwrap();
    for (width, extra) in [
        (1400, &[][..]),
        (500, &[]),
        (1400, &["--blink-settings=preferredColorScheme=0"]),
    ] {
        let found = probe(&chromium, &probed, width, extra);
        assert_eq!(found["figures"], figures, "{found}");
        assert!(found["smallest"].as_f64().unwrap() > 100.0, "{found}");
        assert!(found["overflow"].as_i64().unwrap() <= 0, "at {width}: {found}");
        assert_eq!(
            (&found["unpainted"], &found["failures"]),
            (&0.into(), &serde_json::json!([])),
            "{found}"
        );
    }
}
