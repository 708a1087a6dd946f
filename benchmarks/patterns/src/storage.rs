//! The baselines: services that hold an object between the producer's call and the consumer's.
//!
//! Where they listen comes from the environment, as a deployment would tell its functions. Clients are tuned as hard as
//! we could: connections kept and as many as a pattern needs, one PUT per object, no signature over the payload, no
//! retries (a failed call fails the cell).

mod cache;
mod hyper_connector;
mod s3;

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::messages::Backend;
use cache::Cache;
pub use s3::{Endpoint, S3};

/// Variable with the address of the S3 server, such as `http://127.0.0.1:9000`.
pub const S3_VARIABLE: &str = "BENCH_S3";
/// Variable with the address of the second S3 server.
pub const S3_CONTROL_VARIABLE: &str = "BENCH_S3_CONTROL";
/// Variable with the address of the Redis server, such as `127.0.0.1:6379`.
pub const REDIS_VARIABLE: &str = "BENCH_REDIS";

/// The storage clients of one process, each made when it is first asked for.
#[derive(Debug)]
pub struct Storage {
    addresses: HashMap<String, String>,
    s3: OnceCell<S3>,
    s3_control: OnceCell<S3>,
    redis: OnceCell<Cache>,
}

impl Default for Storage {
    /// Stores that the environment names.
    fn default() -> Self {
        let names = [S3_VARIABLE, S3_CONTROL_VARIABLE, REDIS_VARIABLE];
        Self::at(
            names
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))),
        )
    }
}

impl Storage {
    /// Stores that these variables name.
    pub fn at(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            addresses: variables.into_iter().collect(),
            s3: OnceCell::new(),
            s3_control: OnceCell::new(),
            redis: OnceCell::new(),
        }
    }

    /// Stores `object` under `key`.
    ///
    /// # Errors
    /// If the store cannot be reached or refuses; or for a backend that stores nothing.
    pub async fn put(&self, backend: Backend, key: &str, object: Bytes) -> Result<()> {
        match backend {
            Backend::S3 | Backend::S3Control => self.bucket(backend).await?.put(key, object).await,
            Backend::Redis => self.cache().await?.set(key, &object).await,
            other => bail!("{other:?} stores nothing"),
        }
    }

    /// The whole object under `key`, in one piece.
    ///
    /// # Errors
    /// If it is not there, or as in [`Self::put`].
    pub async fn get(&self, backend: Backend, key: &str) -> Result<Bytes> {
        match backend {
            Backend::S3 | Backend::S3Control => self.bucket(backend).await?.get(key).await,
            Backend::Redis => self.cache().await?.get(key).await,
            other => bail!("{other:?} stores nothing"),
        }
    }

    /// Removes the object under `key`; it need not be there.
    ///
    /// # Errors
    /// As in [`Self::put`].
    pub async fn delete(&self, backend: Backend, key: &str) -> Result<()> {
        match backend {
            Backend::S3 | Backend::S3Control => self.bucket(backend).await?.delete(key).await,
            Backend::Redis => self.cache().await?.delete(key).await,
            other => bail!("{other:?} stores nothing"),
        }
    }

    async fn bucket(&self, backend: Backend) -> Result<&S3> {
        let (cell, variable) = match backend {
            Backend::S3Control => (&self.s3_control, S3_CONTROL_VARIABLE),
            _ => (&self.s3, S3_VARIABLE),
        };
        cell.get_or_try_init(async || S3::open(&Endpoint::local(self.address(variable)?)))
            .await
    }

    async fn cache(&self) -> Result<&Cache> {
        self.redis
            .get_or_try_init(async || Cache::open(self.address(REDIS_VARIABLE)?))
            .await
    }

    fn address(&self, variable: &str) -> Result<&str> {
        let address = self.addresses.get(variable).map(String::as_str);
        address.with_context(|| format!("{variable} does not say where the store is"))
    }
}
