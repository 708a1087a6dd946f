//! A Redis server through the crate `redis`: one command at a time on each connection, as many connections as commands.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use redis::{AsyncCommands as _, AsyncConnectionConfig, Client, aio::MultiplexedConnection};

use crate::http::{CALL_TIMEOUT, IDLE_CONNECTIONS};

/// How long a connection to a server on this machine may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The server, and connections that wait for a command. A large object must not make others wait behind it, hence one
/// connection for each command under way.
#[derive(Debug)]
pub(super) struct Cache {
    client: Client,
    idle: Mutex<Vec<MultiplexedConnection>>,
}

impl Cache {
    /// Opens no connection yet.
    pub(super) fn open(address: &str) -> Result<Self> {
        Ok(Self {
            client: Client::open(format!("redis://{address}/"))?,
            idle: Mutex::new(Vec::new()),
        })
    }

    pub(super) async fn set(&self, key: &str, object: &[u8]) -> Result<()> {
        let mut connection = self.connection().await?;
        let () = connection
            .set(key, object)
            .await
            .with_context(|| format!("SET {key}"))?;
        self.keep(connection);
        Ok(())
    }

    pub(super) async fn get(&self, key: &str) -> Result<Bytes> {
        let mut connection = self.connection().await?;
        let found: Option<Vec<u8>> = connection.get(key).await.with_context(|| format!("GET {key}"))?;
        self.keep(connection);
        ensure!(found.is_some(), "GET {key}: there is no such key");
        Ok(found.unwrap_or_default().into())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let mut connection = self.connection().await?;
        let () = connection.del(key).await.with_context(|| format!("DEL {key}"))?;
        self.keep(connection);
        Ok(())
    }

    async fn connection(&self) -> Result<MultiplexedConnection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CALL_TIMEOUT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config);
        connection.await.context("no Redis server")
    }

    fn keep(&self, connection: MultiplexedConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }
}
