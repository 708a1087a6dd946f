//! A function behind `XdtLayer`: answers every request with the size of its body, however the body travelled.
//!
//! It listens on `PORT` as Knative has it (default 8080) and finds its sidecar through `XDT_LOCAL_ADDRESS`. In the
//! cluster of `examples/cluster.yaml` it is every instance's function; by hand:
//!
//! ```text
//! PORT=8080 cargo run -p xdt --example consumer
//! curl --data-binary @somefile http://127.0.0.1:8080/
//! ```

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Response, StatusCode},
    routing::any,
};
use http_body_util::BodyExt as _;
use xdt::{Client, server::XdtLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let client = Client::connect()?;
    let app = Router::new().fallback(any(measure)).layer(XdtLayer::new(client));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on port {port}");
    axum::serve(listener, app).await?;
    Ok(())
}

/// Reads the body chunk by chunk and holds none of it.
async fn measure(request: Request) -> Response<Body> {
    let mut body = request.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        // A broken transfer is an error here and never a short body.
        let Ok(frame) = frame else {
            return answer(StatusCode::BAD_GATEWAY, "the body broke off\n".to_owned());
        };
        bytes += frame.data_ref().map_or(0, xdt::Bytes::len);
    }
    answer(StatusCode::OK, format!("{bytes} bytes\n"))
}

fn answer(status: StatusCode, text: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    answer
}
