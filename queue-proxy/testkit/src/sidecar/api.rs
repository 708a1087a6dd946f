//! The local HTTP API as a test calls it.

use bytes::Bytes;
use serde_json::Value;

use super::Sidecar;
use crate::{
    http::{Answer, Body, Received, bytes_body, empty_body, request},
    wait::eventually,
};

/// `GET /xdt/v1/status`.
#[derive(Debug, Clone)]
pub struct Status(pub Value);

impl Status {
    /// Objects held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.0["objects"]["held"].as_u64().expect("a count")
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0["objects"]["bytes"].as_u64().expect("a count")
    }

    /// Bytes of invoke buffers in use.
    #[must_use]
    pub fn pool_used(&self) -> u64 {
        self.0["pool"]["used"].as_u64().expect("a count")
    }

    /// Transfers that ended so, over all paths.
    #[must_use]
    pub fn transfers(&self, outcome: &str) -> u64 {
        self.count(|row| row["outcome"] == outcome)
    }

    /// Transfers that took this path and ended so.
    #[must_use]
    pub fn by(&self, path: &str, outcome: &str) -> u64 {
        self.count(|row| row["path"] == path && row["outcome"] == outcome)
    }

    fn count(&self, wanted: impl Fn(&Value) -> bool) -> u64 {
        let rows = self.0["transfers"].as_array().expect("rows").iter();
        rows.filter(|row| wanted(row))
            .map(|row| row["count"].as_u64().expect("a count"))
            .sum()
    }
}

impl Sidecar {
    /// The address of one object, or of all without a reference.
    #[must_use]
    pub fn object_url(&self, reference: &str) -> String {
        let local = self.local();
        if reference.is_empty() {
            format!("http://{local}/xdt/v1/objects")
        } else {
            format!("http://{local}/xdt/v1/objects/{reference}")
        }
    }

    /// Any request about one object.
    pub async fn object(&self, method: &str, reference: &str, headers: &[(&str, &str)]) -> Answer {
        let url = self.object_url(reference);
        self.client().fetch(request(method, url, headers, empty_body())).await
    }

    /// Puts a body; any answer.
    pub async fn try_put(&self, headers: &[(&str, &str)], body: Body) -> Answer {
        self.client()
            .fetch(request("POST", self.object_url(""), headers, body))
            .await
    }

    /// Puts bytes and returns the reference.
    ///
    /// # Panics
    /// If they are not taken.
    pub async fn put(&self, bytes: impl Into<Bytes>) -> String {
        self.put_for(bytes, 1).await
    }

    /// As [`Self::put`], for so many retrievals.
    ///
    /// # Panics
    /// If they are not taken.
    pub async fn put_for(&self, bytes: impl Into<Bytes>, retrievals: u32) -> String {
        let headers = [("xdt-retrievals", retrievals.to_string())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = self.try_put(&headers, bytes_body(bytes)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.header("xdt-reference").to_owned()
    }

    /// Gets an object; any answer.
    pub async fn get(&self, reference: &str) -> Answer {
        self.object("GET", reference, &[]).await
    }

    /// Gets an object without keeping its bytes.
    pub async fn receive(&self, reference: &str) -> Received {
        let get = request("GET", self.object_url(reference), &[], empty_body());
        self.client().receive(get).await
    }

    /// The counts.
    pub async fn status(&self) -> Status {
        let url = format!("http://{}/xdt/v1/status", self.local());
        Status(self.client().fetch(request("GET", url, &[], empty_body())).await.json())
    }

    /// Waits until it holds neither objects nor buffers.
    pub async fn emptied(&self) {
        eventually("nothing is held any more", async || {
            let status = self.status().await;
            (status.held() == 0 && status.bytes() == 0 && status.pool_used() == 0).then_some(())
        })
        .await;
    }

    /// Waits until so many transfers have ended so.
    pub async fn counted(&self, outcome: &str, count: u64) {
        eventually("a counted transfer", async || {
            (self.status().await.transfers(outcome) >= count).then_some(())
        })
        .await;
    }

    /// The kubelet's readiness probe.
    pub async fn kubelet_probe(&self) -> Answer {
        self.probe(&[("user-agent", "kube-probe/1.33"), ("k-network-probe", "queue")])
            .await
    }

    /// The ingress's probe.
    pub async fn ingress_probe(&self) -> Answer {
        self.probe(&[("k-network-probe", "probe"), ("k-network-hash", "h")])
            .await
    }

    /// `GET /` on the serving port with these headers.
    pub async fn probe(&self, headers: &[(&str, &str)]) -> Answer {
        let url = format!("http://{}/", self.serving());
        self.client().fetch(request("GET", url, headers, empty_body())).await
    }

    /// `GET` of a path on the drain hook's port.
    pub async fn admin_get(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.admin());
        self.client().fetch(request("GET", url, &[], empty_body())).await
    }

    /// `GET` of a path on the statistics port.
    pub async fn stats_get(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.stats());
        self.client().fetch(request("GET", url, &[], empty_body())).await
    }

    /// Sends a control message to its serving port.
    pub async fn invoke(&self, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let url = format!("http://{}{path}", self.serving());
        self.client().fetch(request("POST", url, headers, body)).await
    }
}
