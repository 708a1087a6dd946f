//! The instruments of the XDT path (contract of XDT, section 10): transfers by direction, path and outcome, levels of
//! pools and objects, waits for buffers. Made when XDT is on and metrics are wanted; labels come from closed enums only.

use std::time::Duration;

use opentelemetry::{
    InstrumentationScope, KeyValue,
    metrics::{Counter, Histogram, Meter, MeterProvider as _},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use super::XDT_SCOPE;

/// Bounds of durations in seconds: from a small object on the same instance to a large one over a slow network.
const SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Bounds of sizes in bytes: powers of four from 1 KiB to 16 GiB, the largest object by default.
const BYTES: [f64; 13] = [
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
    17_179_869_184.0,
];

/// What is asked for at each export.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Levels {
    /// Bytes of invoke buffers in use.
    pub(crate) pool_used: u64,
    /// Bytes of all invoke buffers.
    pub(crate) pool_limit: u64,
    /// Objects held.
    pub(crate) objects: u64,
    /// Their bytes.
    pub(crate) object_bytes: u64,
    /// Bound on them.
    pub(crate) object_limit: u64,
}

/// The instruments.
pub(crate) struct Transfers {
    duration: Histogram<f64>,
    size: Histogram<u64>,
    count: Counter<u64>,
    wait: Histogram<f64>,
    spilled: Counter<u64>,
}

impl Transfers {
    /// `levels` gives `None` once there is nothing to measure any more.
    pub(super) fn new(
        provider: &SdkMeterProvider,
        levels: impl Fn() -> Option<Levels> + Clone + Send + Sync + 'static,
    ) -> Self {
        let scope = InstrumentationScope::builder(XDT_SCOPE);
        let meter = provider.meter_with_scope(scope.with_version(env!("CARGO_PKG_VERSION")).build());
        gauges(&meter, levels);
        Self {
            duration: meter
                .f64_histogram("xdt.transfer.duration")
                .with_unit("s")
                .with_description("Duration of transfers of objects, from the request for one to its last byte.")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            size: meter
                .u64_histogram("xdt.transfer.size")
                .with_unit("By")
                .with_description("Bytes that transfers of objects moved.")
                .with_boundaries(BYTES.to_vec())
                .build(),
            count: meter
                .u64_counter("xdt.transfer.count")
                .with_unit("{transfer}")
                .with_description("Transfers of objects that have ended.")
                .build(),
            wait: meter
                .f64_histogram("xdt.buffer.wait")
                .with_unit("s")
                .with_description("Time that puts, invokes and gets waited for memory.")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            spilled: meter
                .u64_counter("xdt.spill.count")
                .with_unit("{object}")
                .with_description("Objects left at shutdown, by whether they were spilled.")
                .build(),
        }
    }

    /// A transfer has ended. The three texts come from closed enums.
    pub(crate) fn ended(
        &self,
        direction: &'static str,
        path: &'static str,
        outcome: &'static str,
        took: Duration,
        bytes: u64,
    ) {
        let attributes = [
            KeyValue::new("direction", direction),
            KeyValue::new("path", path),
            KeyValue::new("outcome", outcome),
        ];
        self.duration.record(took.as_secs_f64(), &attributes);
        self.size.record(bytes, &attributes);
        self.count.add(1, &attributes);
    }

    /// Somebody waited so long for memory, with or without success.
    pub(crate) fn waited(&self, took: Duration) {
        self.wait.record(took.as_secs_f64(), &[]);
    }

    /// So many objects were left at shutdown: `outcome` says what became of them.
    pub(crate) fn spilled(&self, outcome: &'static str, objects: u64) {
        self.spilled.add(objects, &[KeyValue::new("outcome", outcome)]);
    }
}

fn gauges(meter: &Meter, levels: impl Fn() -> Option<Levels> + Clone + Send + Sync + 'static) {
    type Read = fn(&Levels) -> u64;
    let gauge = |name: &'static str, unit: &'static str, description: &'static str, read: Read| {
        let levels = levels.clone();
        let builder = meter.u64_observable_gauge(name).with_unit(unit);
        // Kept by its meter.
        let _gauge = builder
            .with_description(description)
            .with_callback(move |observer| {
                if let Some(levels) = levels() {
                    observer.observe(read(&levels), &[]);
                }
            })
            .build();
    };
    gauge(
        "xdt.pool.used",
        "By",
        "Bytes of the buffers for blocking transfers in use.",
        |levels| levels.pool_used,
    );
    gauge(
        "xdt.pool.limit",
        "By",
        "Bytes of all buffers for blocking transfers.",
        |levels| levels.pool_limit,
    );
    gauge("xdt.objects", "{object}", "Objects held.", |levels| levels.objects);
    gauge("xdt.objects.used", "By", "Bytes of the objects held.", |levels| {
        levels.object_bytes
    });
    gauge(
        "xdt.objects.limit",
        "By",
        "Bound on the bytes of the objects held.",
        |levels| levels.object_limit,
    );
}
