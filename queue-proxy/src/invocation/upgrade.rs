//! WebSocket and other upgrades over HTTP/1.1: after a matching `101`, bytes are copied both ways.
//!
//! Contract of the queue-proxy, section 2.4. The request's place is held until the tunnel closes.

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::activity::{Activity, Noted};

use super::headers::lists;

/// An upgrade that a client asked for.
pub struct Asked {
    kind: HeaderValue,
    client: OnUpgrade,
}

/// The user container's answer does not fit what was asked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the user container switched to a protocol that was not asked for")]
pub struct Mismatch;

/// Takes the client's side of an upgrade out of a request that asks for one.
pub fn asked<B>(request: &mut Request<B>) -> Option<Asked> {
    let kind = upgrade_type(request.headers())?;
    // RFC 9113 removed the upgrade to HTTP/2: served as HTTP/1.1.
    if kind.as_bytes().eq_ignore_ascii_case(b"h2c") {
        return None;
    }
    Some(Asked {
        kind,
        client: hyper::upgrade::on(request),
    })
}

fn upgrade_type(map: &HeaderMap) -> Option<HeaderValue> {
    let mut connection = map.get_all(header::CONNECTION).iter();
    if connection.any(|value| lists(value, "upgrade")) {
        map.get(header::UPGRADE).cloned()
    } else {
        None
    }
}

impl Asked {
    /// Puts the request's upgrade headers back after the hop-by-hop ones were removed.
    pub fn renew(&self, map: &mut HeaderMap) {
        set(map, &self.kind);
    }

    /// The copying of both sides, every byte of which is noted in `activity`, if the response is a matching `101`.
    ///
    /// # Errors
    /// [`Mismatch`].
    pub fn join<B>(
        self,
        response: &mut Response<B>,
        activity: Activity,
    ) -> Result<impl Future<Output = ()> + use<B>, Mismatch> {
        let kind = upgrade_type(response.headers()).ok_or(Mismatch)?;
        if !kind.as_bytes().eq_ignore_ascii_case(self.kind.as_bytes()) {
            return Err(Mismatch);
        }
        let user = hyper::upgrade::on(response);
        let client = self.client;
        Ok(async move {
            let tunnelled = async {
                let (client, user) = tokio::try_join!(client, user).map_err(std::io::Error::other)?;
                let mut client = Noted::new(TokioIo::new(client), activity);
                tokio::io::copy_bidirectional(&mut client, &mut TokioIo::new(user)).await
            };
            if let Err(error) = tunnelled.await {
                tracing::debug!(error = %error.kind(), "an upgraded connection ended");
            }
        })
    }
}

/// The headers of the `101` that were removed as hop-by-hop.
pub fn restore(response: &mut HeaderMap, kind: &HeaderValue) {
    set(response, kind);
}

fn set(map: &mut HeaderMap, kind: &HeaderValue) {
    map.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    map.insert(header::UPGRADE, kind.clone());
}

/// Whether a response switches protocols, and to what.
pub fn switched<B>(response: &Response<B>) -> Option<HeaderValue> {
    (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| {
        response
            .headers()
            .get(header::UPGRADE)
            .cloned()
            .unwrap_or_else(|| HeaderValue::from_static(""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_upgrade_on_the_connection_counts() {
        let with = |connection: &'static str, upgrade: &'static str| {
            let mut map = HeaderMap::new();
            map.insert(header::CONNECTION, HeaderValue::from_static(connection));
            map.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
            upgrade_type(&map)
        };
        assert_eq!(
            with("keep-alive, Upgrade", "websocket"),
            Some(HeaderValue::from_static("websocket"))
        );
        assert_eq!(with("keep-alive", "websocket"), None);
        assert!(asked(&mut Request::new(())).is_none());
    }
}
