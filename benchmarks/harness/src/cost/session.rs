//! One life of a queue-proxy: started, given every scenario, each beside direct calls, and stopped.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    load::{self, Slice},
    queue_proxy::QueueProxy,
    scenario::Scenario,
    user_container::UserContainer,
};
use crate::usage::Memory;

/// What one life showed.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Number of the target.
    pub(crate) target: usize,
    /// Number of the round.
    pub(crate) round: u32,
    /// From exec to the first served request.
    pub(crate) start: Duration,
    /// Memory after the first request.
    pub(crate) idle: Memory,
    /// One for each scenario.
    pub(crate) pairs: Vec<Pair>,
}

/// One scenario, through the queue-proxy and past it.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// Through the queue-proxy.
    pub(crate) through: Slice,
    /// To the user container itself.
    pub(crate) direct: Slice,
    /// The queue-proxy's memory afterwards.
    pub(crate) memory: Memory,
}

/// How a session is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Number of the target.
    pub(crate) target: usize,
    /// Number of the round.
    pub(crate) round: u32,
    /// Time of each slice.
    pub(crate) slice: Duration,
    /// Requests at once in loaded scenarios.
    pub(crate) connections: usize,
}

impl Session {
    /// Runs `scenarios` on `proxy`, and stops it.
    ///
    /// # Errors
    /// A failed request, or a queue-proxy that has ended.
    pub(crate) async fn run(
        proxy: QueueProxy,
        user: &UserContainer,
        scenarios: &[Scenario],
        settings: Settings,
    ) -> Result<Self> {
        let idle = proxy.memory()?;
        let mut pairs = Vec::with_capacity(scenarios.len());
        for scenario in scenarios {
            let pair = Pair::measure(&proxy, user, settings, scenario).await;
            pairs.push(pair.with_context(|| scenario.name)?);
        }
        Ok(Self {
            target: settings.target,
            round: settings.round,
            start: proxy.start,
            idle,
            pairs,
        })
    }
}

impl Pair {
    /// Direct calls first in even rounds, last in odd ones.
    async fn measure(
        proxy: &QueueProxy,
        user: &UserContainer,
        settings: Settings,
        scenario: &Scenario,
    ) -> Result<Self> {
        let (time, connections) = (settings.slice, settings.connections);
        let through = async || load::slice(proxy.address(), scenario, connections, time, || proxy.cpu()).await;
        let address = SocketAddr::from(([127, 0, 0, 1], user.port()));
        let direct = async || load::slice(address, scenario, connections, time, || Ok(Duration::ZERO)).await;
        let (through, direct) = if settings.round.is_multiple_of(2) {
            let direct = direct().await?;
            (through().await?, direct)
        } else {
            (through().await?, direct().await?)
        };
        Ok(Self {
            through,
            direct,
            memory: proxy.memory()?,
        })
    }
}
