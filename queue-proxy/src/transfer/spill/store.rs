//! The object store behind `XDT_SPILL_URL`: a folder, or a bucket of any store that speaks S3. Made when it is first
//! needed, so that a sidecar that never spills pays nothing for it.
//!
//! Credentials, region and endpoint of S3 come from the usual environment (`AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, web identity, …).
//! The store must honour `If-None-Match: *` and list what was just written, as S3 does.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as TcpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientConfigKey, ClientOptions, ObjectStore, RetryConfig,
    aws::AmazonS3Builder,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
    local::LocalFileSystem,
    path::Path,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider};
use tokio::sync::OnceCell;

/// How long one request may go on being tried.
const TRY_FOR: Duration = Duration::from_secs(10);
/// How often.
const TRIES: usize = 4;
/// Longest wait for a connection, and for the head of an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Idle connections are closed after this.
const IDLE: Duration = Duration::from_secs(30);

/// A checked `XDT_SPILL_URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpillUrl {
    /// `file:///folder`.
    Folder(PathBuf),
    /// `s3://bucket/prefix`; the prefix may be empty.
    Bucket {
        /// Its name.
        bucket: String,
        /// What names begin with.
        prefix: String,
    },
}

impl SpillUrl {
    /// Checks the form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(folder) = text.strip_prefix("file://") {
            return folder.starts_with('/').then(|| Self::Folder(folder.into()));
        }
        let rest = text.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
        let prefix = prefix.trim_matches('/');
        let good = (3..=63).contains(&bucket.len()) && bucket.bytes().all(plain) && Path::parse(prefix).is_ok();
        good.then(|| Self::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

/// The store, once somebody has needed it.
pub(super) struct Store {
    url: SpillUrl,
    made: OnceCell<Arc<dyn ObjectStore>>,
}

impl Store {
    pub(super) fn new(url: SpillUrl) -> Self {
        Self {
            url,
            made: OnceCell::new(),
        }
    }

    /// The store itself.
    ///
    /// # Errors
    /// Those of its settings; the next call tries again.
    pub(super) async fn get(&self) -> object_store::Result<&Arc<dyn ObjectStore>> {
        self.made.get_or_try_init(|| async { self.make() }).await
    }

    /// Where a part of a copy lies.
    pub(super) fn path(&self, copy: &str, part: &str) -> Path {
        let prefix = match &self.url {
            SpillUrl::Folder(_) => "",
            SpillUrl::Bucket { prefix, .. } => prefix,
        };
        prefix
            .split('/')
            .chain([copy, part])
            .filter(|segment| !segment.is_empty())
            .collect()
    }

    fn make(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        match &self.url {
            SpillUrl::Folder(folder) => {
                std::fs::create_dir_all(folder).map_err(|source| object_store::Error::Generic {
                    store: "file",
                    source: Box::new(source),
                })?;
                let store = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true);
                Ok(Arc::new(store))
            }
            SpillUrl::Bucket { bucket, .. } => {
                let store = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_http_connector(Connector)
                    // One object at a time is deleted, and not every store knows the other way.
                    .with_disable_bulk_delete(true)
                    .with_retry(RetryConfig {
                        max_retries: TRIES,
                        retry_timeout: TRY_FOR,
                        ..RetryConfig::default()
                    })
                    .build()?;
                Ok(Arc::new(store))
            }
        }
    }
}

/// Lends the store's client our HTTP stack, so that no second one comes along.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let mut roots = RootCertStore::empty();
        // A bundle may hold what nobody can read; what is left counts. SSL_CERT_FILE names another one.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| object_store::Error::Generic {
                store: "s3",
                source: Box::new(source),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(ANSWER_WITHIN));
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        let builder = if allow_http.as_deref() == Some("true") {
            builder.https_or_http()
        } else {
            builder.https_only()
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(builder.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(Service(client)))
    }
}

#[derive(Debug)]
struct Service(Client<HttpsConnector<TcpConnector>, HttpRequestBody>);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.0.request(request)).await;
        let response = answer
            .map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?
            .map_err(|error| {
                let kind = if error.is_connect() {
                    HttpErrorKind::Connect
                } else {
                    HttpErrorKind::Request
                };
                HttpError::new(kind, error)
            })?;
        Ok(response
            .map(|body| HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_buckets_are_taken_and_nothing_else() {
        assert_eq!(SpillUrl::parse("file:///a/b"), Some(SpillUrl::Folder("/a/b".into())));
        let bucket = |prefix: &str| {
            Some(SpillUrl::Bucket {
                bucket: "my-bucket".to_owned(),
                prefix: prefix.to_owned(),
            })
        };
        assert_eq!(SpillUrl::parse("s3://my-bucket"), bucket(""));
        assert_eq!(SpillUrl::parse("s3://my-bucket/a/b/"), bucket("a/b"));
        for text in [
            "",
            "file://a",
            "s3://",
            "s3://x",
            "http://b/c",
            "s3://my bucket",
            "/a",
            "s3://b@d:1/x",
            "s3://my-bucket/a//b",
        ] {
            assert_eq!(SpillUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn parts_lie_under_prefix_and_copy() {
        let at = |url| {
            Store::new(SpillUrl::parse(url).expect("valid"))
                .path("ab", "data")
                .to_string()
        };
        assert_eq!(at("file:///x"), "ab/data");
        assert_eq!(at("s3://my-bucket/p/q"), "p/q/ab/data");
    }

    #[tokio::test]
    async fn nothing_is_made_before_it_is_needed() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let below = folder.path().join("spill");
        let store = Store::new(SpillUrl::Folder(below.clone()));
        assert!(!below.exists());
        store.get().await.expect("a folder can be made");
        assert!(below.exists());
    }
}
