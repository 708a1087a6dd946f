//! The local HTTP API (contract, section 3): put, get, head, delete and status for any language.
//!
//! Listens on `XDT_LOCAL_ADDRESS`, which only the pod's own containers reach.

pub mod range;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use serde_json::json;
use xdt_proto::{ByteCount, Reference, Retrievals, headers, parse_duration};

use crate::{
    body::{Body, DeliveryBody, discard, empty, full},
    error::{Problem, plain},
    transfer::{
        Transfer,
        description::Description,
        put::{PutError, PutTerms},
        source::Span,
    },
};
use range::Asked;

/// Answers one request of the user container.
pub async fn answer(transfer: Arc<Transfer>, request: Request<Incoming>) -> Response<Body> {
    if transfer.telemetry().is_none() {
        return answered(transfer, request).await;
    }
    let headers = request.headers().clone();
    transfer.clone().traced(&headers, answered(transfer, request)).await
}

async fn answered(transfer: Arc<Transfer>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let result = if path == headers::STATUS_PATH {
        status(&transfer, request.method())
    } else if path == headers::OBJECTS_PATH {
        put(transfer, request).await
    } else if let Some(reference) = path
        .strip_prefix(headers::OBJECTS_PATH)
        .and_then(|rest| rest.strip_prefix('/'))
    {
        let reference = reference.to_owned();
        object(&transfer, &reference, &request).await
    } else {
        Ok(plain(
            StatusCode::NOT_FOUND,
            "no such path; see /xdt/v1/objects and /xdt/v1/status",
        ))
    };
    result.unwrap_or_else(|problem| problem.response())
}

fn status(transfer: &Transfer, method: &Method) -> Result<Response<Body>, Problem> {
    if method != Method::GET {
        return Ok(not_allowed("GET"));
    }
    Ok(json_response(StatusCode::OK, &transfer.status()))
}

async fn put(transfer: Arc<Transfer>, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    if request.method() != Method::POST {
        return Ok(not_allowed("POST"));
    }
    let (parts, mut body) = request.into_parts();
    let put = match put_terms(&transfer, &parts.headers, &body) {
        Ok(terms) => transfer
            .put(&mut body, terms)
            .await
            .map_err(|error| (Problem::from(&error), error)),
        Err(problem) => {
            transfer.spawn(discard(body));
            return Err(problem);
        }
    };
    match put {
        Ok(put) => created(&put.reference, put.size, &parts.headers),
        Err((problem, error)) => {
            if !matches!(error, PutError::BodyBroken(_) | PutError::BodyStopped) {
                transfer.spawn(discard(body));
            }
            Err(problem)
        }
    }
}

fn created(reference: &Reference, size: ByteCount, asked: &HeaderMap) -> Result<Response<Body>, Problem> {
    let retrievals = retrievals(asked)?;
    let document = json!({ "reference": reference.as_str(), "size": size.get(), "retrievals": retrievals.get() });
    let mut response = json_response(StatusCode::CREATED, &document);
    #[allow(clippy::expect_used)]
    let value = HeaderValue::from_str(reference.as_str()).expect("a reference is ASCII without controls");
    response.headers_mut().insert(headers::REFERENCE, value);
    Ok(response)
}

fn put_terms(transfer: &Transfer, map: &HeaderMap, body: &Incoming) -> Result<PutTerms, Problem> {
    let size = body.size_hint().exact().map(ByteCount::new);
    let ttl = match single(map, headers::TTL)? {
        Some(text) => Some(ttl(text, transfer.settings().object_ttl)?),
        None => None,
    };
    Ok(PutTerms {
        description: Description::from_headers(size, map)?,
        retrievals: retrievals(map)?,
        ttl,
    })
}

fn ttl(text: &str, most: Option<Duration>) -> Result<Duration, Problem> {
    let ttl = parse_duration(text).map_err(|error| Problem::bad_request(format!("Xdt-Ttl: {error}")))?;
    match (ttl.is_zero(), most) {
        (true, None) => Ok(Duration::MAX),
        (true, Some(_)) => Err(Problem::bad_request(
            "Xdt-Ttl: 0 (never) is accepted only where the sidecar's own time to live is 0",
        )),
        (false, _) => Ok(ttl),
    }
}

fn retrievals(map: &HeaderMap) -> Result<Retrievals, Problem> {
    match single(map, headers::RETRIEVALS)? {
        Some(text) => text
            .parse()
            .map_err(|error| Problem::bad_request(format!("Xdt-Retrievals: {error}"))),
        None => Ok(Retrievals::ONE),
    }
}

/// The value of a header that may stand once.
fn single<'m>(map: &'m HeaderMap, name: &'static str) -> Result<Option<&'m str>, Problem> {
    let mut values = map.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::bad_request(format!("header {name} stands more than once")));
    }
    let readable = |value: &'m HeaderValue| value.to_str().map(str::trim);
    first
        .map(readable)
        .transpose()
        .map_err(|_| Problem::bad_request(format!("header {name} is not ASCII text")))
}

async fn object(
    transfer: &Arc<Transfer>,
    reference: &str,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    match *request.method() {
        Method::GET => get(transfer, reference, request.headers()).await,
        Method::HEAD => head(transfer, reference).await,
        Method::DELETE => {
            transfer.delete(reference).await?;
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        _ => Ok(not_allowed("GET, HEAD, DELETE")),
    }
}

async fn get(transfer: &Arc<Transfer>, reference: &str, map: &HeaderMap) -> Result<Response<Body>, Problem> {
    let (tag, size) = transfer.inspect(reference)?;
    let last = is_final(map)?;
    let part = match range::asked(map, &tag)? {
        Asked::Whole => None,
        Asked::Part(part) => Some(part),
    };
    let Some(part) = part else {
        let delivery = transfer.get(reference, Span::default(), true).await?;
        let mut response = described(delivery.description(), &tag);
        *response.body_mut() = Body::new(DeliveryBody::new(delivery).0);
        return Ok(response);
    };
    let size = size.ok_or_else(|| Problem::from(crate::transfer::get::GetError::NoRanges))?;
    let Some((start, end)) = part.within(size) else {
        return Ok(not_satisfiable(size));
    };
    let span = Span {
        offset: start,
        length: Some(end - start),
    };
    let delivery = transfer.get(reference, span, last).await?;
    let mut response = described(delivery.description(), &tag);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let content_range = format!("bytes {start}-{}/{size}", end - 1);
    insert(response.headers_mut(), header::CONTENT_RANGE, &content_range);
    *response.body_mut() = Body::new(DeliveryBody::new(delivery).0);
    Ok(response)
}

fn is_final(map: &HeaderMap) -> Result<bool, Problem> {
    match single(map, headers::FINAL)? {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::bad_request("Xdt-Final: true or false is accepted")),
    }
}

async fn head(transfer: &Arc<Transfer>, reference: &str) -> Result<Response<Body>, Problem> {
    let (tag, _) = transfer.inspect(reference)?;
    let description = transfer.describe(reference).await?;
    let mut response = described(&description, &tag);
    if let Some(size) = description.size {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(size.get()));
    }
    Ok(response)
}

/// The headers of contract section 3, without a body. The length comes from the body.
fn described(description: &Description, tag: &str) -> Response<Body> {
    let mut response = Response::new(empty());
    let map = response.headers_mut();
    let octets = HeaderValue::from_static("application/octet-stream");
    map.insert(header::CONTENT_TYPE, description.content_type.clone().unwrap_or(octets));
    for (name, value) in &description.metadata {
        map.append(name.clone(), value.clone());
    }
    insert(map, header::ETAG, tag);
    map.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

fn insert(map: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        map.insert(name, value);
    }
}

fn not_satisfiable(size: u64) -> Response<Body> {
    let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, "the range lies outside the object");
    insert(
        response.headers_mut(),
        header::CONTENT_RANGE,
        &format!("bytes */{size}"),
    );
    response
}

fn not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &format!("allowed here: {allowed}"));
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn json_response(status: StatusCode, document: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(document.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
