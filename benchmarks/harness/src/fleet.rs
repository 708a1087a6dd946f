//! The functions of one cell behind the sidecars of one column setting: a cluster of real processes.
//!
//! Instance counts are fixed and all instances are ready before anything is measured; container concurrency is 1 (thesis,
//! 6.5.1). What is measured goes through the ingress, which picks the instance. Preparing and verifying goes straight to
//! each instance's own port.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use xdt_cluster::{Cluster, FunctionSpec, Options, Spec};
use xdt_patterns::{
    http::HttpClient,
    messages::{Info, Pattern, Prepare, Prepared, Verified},
    object::Source,
};

use crate::{
    column::Settings,
    sibling::{FUNCTIONS, SIDECAR, sibling},
    usage,
};

/// How long functions and sidecars may take to stop: several times the cluster's own grace.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How long they may take to start: a hundred processes on a small machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// A status is a few counters: without an answer in this time, the sidecar is gone.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// How many instances of each function a cell needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
    /// Whether a driver stands between the client and the rest.
    pub(crate) has_driver: bool,
}

impl Shape {
    /// The instances of a pattern.
    pub(crate) const fn of(pattern: Pattern, degree: usize) -> Self {
        let (producers, consumers) = match pattern {
            Pattern::OneToOne => (1, 1),
            Pattern::Gather => (degree, 1),
            Pattern::Scatter | Pattern::Broadcast => (1, degree),
        };
        Self {
            producers,
            consumers,
            has_driver: !matches!(pattern, Pattern::OneToOne),
        }
    }
}

/// Running functions; dropping them kills them.
#[derive(Debug)]
pub(crate) struct Fleet {
    cluster: Cluster,
    http: HttpClient,
    producers: Vec<Member>,
    consumers: Vec<Member>,
    drivers: Vec<Member>,
}

/// One instance: function and sidecar.
#[derive(Debug)]
struct Member {
    user: String,
    info: Info,
    /// `None` where XDT is off.
    sidecar: Option<xdt::Client>,
    user_pid: Option<u32>,
    sidecar_pid: Option<u32>,
}

/// Process ids, for CPU time and memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pids {
    pub(crate) users: Vec<u32>,
    pub(crate) sidecars: Vec<u32>,
}

impl Fleet {
    /// Starts all functions and waits until they are ready.
    ///
    /// # Errors
    /// A program that is missing or does not start.
    pub(crate) async fn start(
        shape: Shape,
        sidecar: Option<&Settings>,
        variables: &[(String, String)],
    ) -> Result<Self> {
        let functions = sibling(FUNCTIONS)?
            .to_str()
            .context("the path of the functions is not UTF-8")?
            .to_owned();
        let role = |role: &str, count| {
            let mut spec = FunctionSpec::new(role, [functions.as_str(), role])
                .container_concurrency(1)
                .instances(count, count);
            spec.env.extend(variables.iter().cloned());
            // The SDK decides what goes inline, and must decide as its sidecar is set.
            let limit = sidecar.and_then(|settings| settings.get("XDT_INLINE_LIMIT"));
            spec.env
                .extend(limit.map(|limit| ("XDT_INLINE_LIMIT".to_owned(), limit.clone())));
            spec
        };
        let mut spec = Spec::default()
            .function(role("producer", shape.producers))
            .function(role("consumer", shape.consumers));
        if shape.has_driver {
            spec = spec.function(role("driver", 1));
        }
        match sidecar {
            Some(settings) => spec.sidecar_env.extend(settings.clone()),
            None => drop(spec.sidecar_env.insert("XDT_KEYRING_FILE".into(), String::new())),
        }
        let options = Options {
            sidecar: Some(sibling(SIDECAR)?),
            start_timeout: START_TIMEOUT,
            ..Options::default()
        };
        let cluster = Cluster::start(spec, options)
            .await
            .context("the functions do not start")?;
        let http = HttpClient::default();
        let members = async |name: &str| members(&cluster, &http, name, sidecar.is_some()).await;
        let (producers, consumers) = (members("producer").await?, members("consumer").await?);
        let drivers = if shape.has_driver {
            members("driver").await?
        } else {
            Vec::new()
        };
        Ok(Self {
            cluster,
            http,
            producers,
            consumers,
            drivers,
        })
    }

    /// The URL of a function, through the ingress.
    ///
    /// # Errors
    /// For a function that is not part of the fleet.
    pub(crate) fn url(&self, function: &str) -> Result<String> {
        Ok(self.cluster.url(function)?)
    }

    /// A producer's own port, past ingress and sidecar.
    pub(crate) fn straight(&self) -> Option<&str> {
        self.producers.first().map(|member| member.user.as_str())
    }

    /// Where consumers listen for gRPC.
    pub(crate) fn grpc_peers(&self) -> Vec<SocketAddr> {
        self.consumers
            .iter()
            .filter_map(|member| member.info.grpc_address)
            .collect()
    }

    /// Where consumers listen for TCP.
    pub(crate) fn tcp_peers(&self) -> Vec<SocketAddr> {
        self.consumers
            .iter()
            .filter_map(|member| member.info.tcp_address)
            .collect()
    }

    /// Has the producers make what they will send: one object each if there are several, all of them if there is one.
    ///
    /// # Errors
    /// If a producer cannot.
    pub(crate) async fn prepare(&self, sources: &[Source]) -> Result<Vec<Prepared>> {
        let mut calls = JoinSet::new();
        for (index, member) in self.producers.iter().enumerate() {
            let objects = match self.producers.len() {
                1 => sources.to_vec(),
                _ => sources.get(index).cloned().into_iter().collect(),
            };
            let (http, url) = (self.http.clone(), format!("{}/prepare", member.user));
            calls.spawn(async move {
                let prepared = http.post_json(&url, &Prepare { objects, index }).await;
                prepared.map(|prepared: Vec<Prepared>| (index, prepared))
            });
        }
        let mut all: Vec<(usize, Vec<Prepared>)> = calls.join_all().await.into_iter().collect::<Result<_>>()?;
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().flat_map(|(_, prepared)| prepared).collect())
    }

    /// Has the consumers hash and free what they have.
    ///
    /// # Errors
    /// If a consumer does not answer.
    pub(crate) async fn verify(&self) -> Result<Vec<Verified>> {
        let mut calls = JoinSet::new();
        for member in &self.consumers {
            let (http, url) = (self.http.clone(), format!("{}/verify", member.user));
            calls.spawn(async move { http.post_json::<Vec<Verified>>(&url, &()).await });
        }
        let answers: Vec<Vec<Verified>> = calls.join_all().await.into_iter().collect::<Result<_>>()?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Whether a consumer is told that the object is gone.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn is_gone(&self, reference: &str) -> Result<bool> {
        let consumer = self.consumers.first().context("there is no consumer")?;
        let gone = xdt_patterns::messages::Gone {
            reference: reference.to_owned(),
        };
        self.http.post_json(&format!("{}/gone", consumer.user), &gone).await
    }

    /// The counters of all sidecars that receive.
    ///
    /// # Errors
    /// If one does not answer.
    pub(crate) async fn statuses(&self) -> Result<Vec<xdt::Status>> {
        let mut statuses = Vec::with_capacity(self.consumers.len());
        for member in &self.consumers {
            if let Some(sidecar) = &member.sidecar {
                statuses.push(sidecar.status().await.context("a sidecar does not tell its status")?);
            }
        }
        Ok(statuses)
    }

    /// Objects and bytes that all sidecars together hold.
    ///
    /// # Errors
    /// If one does not answer.
    pub(crate) async fn held(&self) -> Result<(u64, u64)> {
        let (mut objects, mut bytes) = (0, 0);
        for member in self.members() {
            if let Some(sidecar) = &member.sidecar {
                let held = sidecar
                    .status()
                    .await
                    .context("a sidecar does not tell its status")?
                    .objects;
                (objects, bytes) = (objects + held.held, bytes + held.bytes);
            }
        }
        Ok((objects, bytes))
    }

    /// The processes that take part.
    pub(crate) fn pids(&self) -> Pids {
        Pids {
            users: self.members().filter_map(|member| member.user_pid).collect(),
            sidecars: self.members().filter_map(|member| member.sidecar_pid).collect(),
        }
    }

    /// Peak memory of the fullest sidecar since [`Self::reset_peaks`], in bytes.
    pub(crate) fn peak_sidecar(&self) -> u64 {
        let peaks = self.members().filter_map(|member| member.sidecar_pid).map(usage::peak);
        peaks.max().unwrap_or_default()
    }

    /// Begins the sidecars' peaks anew.
    pub(crate) fn reset_peaks(&self) {
        self.members()
            .filter_map(|member| member.sidecar_pid)
            .for_each(usage::reset_peak);
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.producers.iter().chain(&self.consumers).chain(&self.drivers)
    }

    /// Keeps the logs of functions and sidecars, and says where.
    pub(crate) fn keep_logs(&self) -> PathBuf {
        self.cluster.keep_run_dir();
        self.cluster.run_dir().to_owned()
    }

    /// Stops everything; what does not end in time is killed.
    pub(crate) async fn stop(self) {
        if tokio::time::timeout(STOP_DEADLINE, self.cluster.stop()).await.is_err() {
            eprintln!("the functions and sidecars did not stop in time and were killed");
        }
    }
}

/// The instances of a function.
async fn members(cluster: &Cluster, http: &HttpClient, function: &str, has_xdt: bool) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for instance in cluster.instances(function)? {
        let user = format!("http://{}", instance.user());
        let info: Info = http.get(&format!("{user}/info")).await?;
        let sidecar = has_xdt.then(|| {
            let builder = xdt::Client::builder().local_address(instance.local());
            builder.timeout(STATUS_TIMEOUT).build()
        });
        members.push(Member {
            user,
            info,
            sidecar: sidecar.transpose()?,
            user_pid: instance.user_pid,
            sidecar_pid: instance.sidecar_pid,
        });
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_needs_its_instances_and_no_more() {
        let shape = |pattern, degree| {
            let shape = Shape::of(pattern, degree);
            (shape.producers, shape.consumers, shape.has_driver)
        };
        assert_eq!(shape(Pattern::OneToOne, 1), (1, 1, false));
        assert_eq!(shape(Pattern::Gather, 8), (8, 1, true));
        assert_eq!(shape(Pattern::Scatter, 8), (1, 8, true));
        assert_eq!(shape(Pattern::Broadcast, 32), (1, 32, true));
    }
}
