//! Who sends telemetry: the resource attributes of Knative's queue-proxy (contract of the queue-proxy, section 7.2).

use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
};

use crate::config::{Knative, ambient::Ambient};

/// The semantic conventions that names and values follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.41.0";
/// The revision of the source, or the release where it is not known.
const VERSION: &str = match option_env!("XDT_COMMIT") {
    Some(commit) => commit,
    None => env!("CARGO_PKG_VERSION"),
};
/// The container's name in the pod.
pub(super) const CONTAINER: &str = "queue-proxy";

/// What every metric and span carries. `OTEL_RESOURCE_ATTRIBUTES` adds and replaces, the service's name excepted.
pub(super) fn resource(knative: &Knative, ambient: &Ambient) -> Resource {
    let mut attributes = vec![
        KeyValue::new("service.version", VERSION),
        KeyValue::new("service.instance.id", ambient.pod().to_owned()),
        KeyValue::new("k8s.pod.name", ambient.pod().to_owned()),
        KeyValue::new("k8s.namespace.name", knative.namespace.clone()),
        KeyValue::new("container.name", CONTAINER),
    ];
    let named = [
        ("kn.service.name", &knative.service),
        ("kn.configuration.name", &knative.configuration),
        ("kn.revision.name", &knative.revision),
    ];
    let named = named.into_iter().filter(|(_, value)| !value.is_empty());
    attributes.extend(named.map(|(key, value)| KeyValue::new(key, value.clone())));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_schema_url(attributes, SCHEMA)
        .with_detector(Box::new(EnvResourceDetector::new()))
        .with_service_name(service(knative, ambient))
        .build()
}

fn service(knative: &Knative, ambient: &Ambient) -> Value {
    let names = [
        ambient.get("OTEL_SERVICE_NAME").unwrap_or_default(),
        &knative.service,
        &knative.configuration,
        &knative.revision,
        ambient.pod(),
    ];
    let name = names.into_iter().find(|name| !name.is_empty());
    name.unwrap_or_default().to_owned().into()
}
