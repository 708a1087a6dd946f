//! Telemetry of requests as a whole: made from the configuration, shared by all requests, flushed at the end. Where
//! nothing is configured there is no [`Telemetry`], and no thread, meter or exporter of it.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry_otlp::{ExporterBuildError, MetricExporter, Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    metrics::{MeterProviderBuilder, PeriodicReader, SdkMeterProvider},
};
use prometheus::Registry;

use super::{
    labels::Labels,
    metrics::{
        Answered, Metrics, bounded,
        legacy::{self, Legacy},
    },
    process::Process,
    push::{Carrier, SecureError},
    resource::resource,
    scrape,
    traces::Traces,
    transfers::{Levels, Transfers},
};
use crate::config::{
    Config, Knative,
    telemetry::{Collector, Metrics as Plan},
};

/// What the last export of metrics and spans may take together, at the end (as the stock proxy).
const FLUSH: Duration = Duration::from_secs(10);

/// Why telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryStartError {
    /// An exporter's own settings.
    #[error("telemetry cannot be exported")]
    Exporter(#[from] ExporterBuildError),
    /// Certificates.
    #[error("telemetry cannot be published over TLS")]
    Secure(#[from] SecureError),
    /// The metrics library's.
    #[error("metrics cannot be published")]
    Publisher(#[from] OTelSdkError),
    /// The same.
    #[error("metrics cannot be published")]
    Registry(#[from] prometheus::Error),
}

/// What requests are measured and traced with.
pub struct Telemetry {
    meters: Option<Meters>,
    transfers: OnceLock<Transfers>,
    pub(crate) traces: Option<Traces>,
    /// `USER_PORT`: the other end of client spans.
    pub(crate) user_port: u16,
}

struct Meters {
    instruments: Instruments,
    provider: SdkMeterProvider,
}

enum Instruments {
    Current(Box<Metrics>),
    Legacy(Box<Legacy>),
}

impl Telemetry {
    /// Starts what is configured; `None` where nothing is. Must be called on the runtime that shall run the exporters'
    /// requests.
    ///
    /// # Errors
    /// [`TelemetryStartError`].
    pub fn start(config: &Config) -> Result<Option<Arc<Self>>, TelemetryStartError> {
        let plan = &config.telemetry;
        if plan.metrics.is_none() && plan.traces.is_none() {
            return Ok(None);
        }
        let resource = resource(&config.knative, &plan.ambient);
        let meters = match &plan.metrics {
            Some(plan) => Some(Meters::start(
                plan,
                &config.knative,
                resource.clone(),
                config.bind_address,
            )?),
            None => None,
        };
        let traces = match &plan.traces {
            Some(plan) => Some(Traces::start(plan, &config.knative, resource)?),
            None => None,
        };
        Ok(Some(Arc::new(Self {
            meters,
            transfers: OnceLock::new(),
            traces,
            user_port: config.knative.user_port,
        })))
    }

    /// Exports what is left; gives up after `FLUSH`.
    ///
    /// # Cancel safety
    /// The export goes on in the background.
    pub async fn flush(&self) {
        let meters = self.meters.as_ref().map(|meters| meters.provider.clone());
        let traces = self.traces.as_ref().map(|traces| traces.provider.clone());
        let both = async {
            // Both block their thread until the collector has answered.
            let traces =
                tokio::task::spawn_blocking(move || traces.map(|provider| provider.shutdown_with_timeout(FLUSH)));
            let meters = tokio::task::spawn_blocking(move || meters.map(|provider| provider.shutdown()));
            (traces.await, meters.await)
        };
        // What failed has been told by the carrier.
        if tokio::time::timeout(FLUSH, both).await.is_err() {
            tracing::warn!("the last telemetry was not delivered in time");
        }
    }

    /// Begins to measure the XDT path, where metrics are wanted; `levels` gives `None` once it has ended.
    pub(crate) fn measure(&self, levels: impl Fn() -> Option<Levels> + Clone + Send + Sync + 'static) {
        if let Some(meters) = &self.meters {
            self.transfers.get_or_init(|| Transfers::new(&meters.provider, levels));
        }
    }

    /// The instruments of the XDT path, where it is measured.
    pub(crate) fn transfers(&self) -> Option<&Transfers> {
        self.transfers.get()
    }

    /// So many requests execute or wait.
    pub(crate) fn queued(&self, depth: usize) {
        match self.instruments() {
            Some(Instruments::Current(metrics)) => metrics.queued(depth),
            Some(Instruments::Legacy(metrics)) => metrics.queued(depth),
            None => {}
        }
    }

    /// The user container was done with a request after so long.
    pub(crate) fn invoked(&self, status: u16, took: Duration) {
        match self.instruments() {
            Some(Instruments::Current(metrics)) => metrics.invoked(status, took),
            Some(Instruments::Legacy(metrics)) => metrics.invoked(status, took),
            None => {}
        }
    }

    /// A request has been answered: its status, how long it took, bytes of its body and of the response's.
    pub(crate) fn served(&self, labels: &Labels, status: u16, took: Duration, read: u64, sent: u64) {
        match self.instruments() {
            Some(Instruments::Current(metrics)) => metrics.served(
                labels,
                Answered {
                    status,
                    took,
                    read,
                    sent,
                },
            ),
            Some(Instruments::Legacy(metrics)) => metrics.served(&labels.tag, status, took),
            None => {}
        }
    }

    /// The user container answered a request with a status, or there was an error of this type.
    pub(crate) fn called(
        &self,
        labels: &Labels,
        probe: bool,
        result: Result<u16, &'static str>,
        took: Duration,
        read: u64,
    ) {
        if let Some(Instruments::Current(metrics)) = self.instruments() {
            metrics.called(labels, probe, result, took, read);
        }
    }

    fn instruments(&self) -> Option<&Instruments> {
        self.meters.as_ref().map(|meters| &meters.instruments)
    }
}

impl Meters {
    fn start(
        plan: &Plan,
        knative: &Knative,
        resource: Resource,
        bind: Option<IpAddr>,
    ) -> Result<Self, TelemetryStartError> {
        let builder = SdkMeterProvider::builder().with_resource(resource).with_view(bounded);
        let (provider, is_legacy) = match plan {
            Plan::Pushed(collector, period) => (pushed(builder, collector, *period)?, false),
            Plan::Scraped(plan) => {
                let registry = Registry::new();
                let provider = scraped(builder, &registry, plan.legacy)?;
                scrape::start(registry, plan, bind)?;
                (provider, plan.legacy)
            }
        };
        let instruments = if is_legacy {
            Instruments::Legacy(Box::new(Legacy::new(&provider, knative)))
        } else {
            Instruments::Current(Box::new(Metrics::new(&provider, knative.user_port)))
        };
        Ok(Self { instruments, provider })
    }
}

fn pushed(
    builder: MeterProviderBuilder,
    collector: &Collector,
    period: Duration,
) -> Result<SdkMeterProvider, TelemetryStartError> {
    let carrier = Carrier::new("metrics", collector)?;
    let exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(carrier)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(collector.endpoint.to_string())
        .with_timeout(collector.timeout)
        .build()?;
    let reader = PeriodicReader::builder(exporter).with_interval(period).build();
    Ok(builder.with_reader(reader).build())
}

fn scraped(
    builder: MeterProviderBuilder,
    registry: &Registry,
    is_legacy: bool,
) -> Result<SdkMeterProvider, TelemetryStartError> {
    let mut exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
    if is_legacy {
        exporter = exporter
            .with_namespace(legacy::NAMESPACE)
            .without_counter_suffixes()
            .scope_info_enabled(false)
            .without_target_info()
            .without_units();
    } else {
        registry.register(Box::new(Process::new()))?;
    }
    Ok(builder.with_reader(exporter.build()?).build())
}
