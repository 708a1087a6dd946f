//! One request on the local socket and its answer.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use xdt_proto::{
    ByteCount, Retrievals,
    v1::{Done, LocalAnswer, LocalObject, LocalPut, LocalRequest, Refusal, local_answer::Outcome, local_request::Verb},
};
use xdt_shm::{Channel, ChannelError, Received};

use crate::{
    error::Problem,
    transfer::{
        Handover, Parcel, Transfer,
        description::Description,
        put::{Put, PutError, PutTerms},
    },
};

/// Answers `request`, which came with `file`.
///
/// # Errors
/// [`ChannelError`]: the connection is of no use any more.
pub(super) async fn answer(
    transfer: &Arc<Transfer>,
    channel: &mut Channel,
    request: LocalRequest,
    file: Option<OwnedFd>,
) -> Result<(), ChannelError> {
    let outcome = match request.verb {
        Some(Verb::Put(put)) => self::put(transfer, put, file)
            .await
            .map(|put| Outcome::Reference(put.reference.as_str().to_owned())),
        Some(Verb::Get(get)) => match transfer.get_whole(&get.reference, get.most.unwrap_or(u64::MAX)).await {
            Ok(handover) => return hand_over(channel, handover).await,
            Err(error) => Err(error.into()),
        },
        Some(Verb::Delete(reference)) => match transfer.delete(&reference).await {
            Ok(()) => Ok(Outcome::Done(Done {})),
            Err(error) => Err(error.into()),
        },
        None => Err(Problem::bad_request(
            "a request on the local socket names no verb that is known here",
        )),
    };
    let outcome = outcome.unwrap_or_else(|problem: Problem| {
        Outcome::Refusal(Refusal {
            word: problem.word.as_str().to_owned(),
            detail: problem.detail,
        })
    });
    channel.send(&LocalAnswer { outcome: Some(outcome) }, None).await
}

async fn hand_over(channel: &mut Channel, handover: Handover) -> Result<(), ChannelError> {
    let (inline, file) = match &handover.parcel {
        Parcel::Small(bytes) => (Some(bytes.clone()), None),
        Parcel::File(file) => (None, Some(file.as_fd())),
    };
    let object = LocalObject {
        description: Some(handover.description.to_wire()),
        path: handover.path.as_str().to_owned(),
        inline,
    };
    let answer = LocalAnswer {
        outcome: Some(Outcome::Object(object)),
    };
    channel.send(&answer, file).await?;
    handover.done();
    Ok(())
}

async fn put(transfer: &Arc<Transfer>, put: LocalPut, file: Option<OwnedFd>) -> Result<Put, Problem> {
    let (terms, size) = terms(&put, transfer.settings().object_ttl)?;
    let held = match (put.inline, file) {
        (Some(bytes), None) if bytes.len() as u64 == size.get() => transfer.put(Full::<Bytes>::new(bytes), terms).await,
        (Some(_), None) => return Err(Problem::bad_request("size: is not that of the bytes in the message")),
        (None, Some(file)) => match Received::accept(file, size) {
            Ok(file) => transfer.put_file(file, terms).await,
            Err(refused) => Err(PutError::BadFile(refused)),
        },
        (Some(_), Some(_)) | (None, None) => {
            return Err(Problem::bad_request(
                "a put brings its bytes in the message or in one memory file",
            ));
        }
    };
    held.map_err(|error| Problem::from(&error))
}

fn terms(put: &LocalPut, most: Option<Duration>) -> Result<(PutTerms, ByteCount), Problem> {
    let described = put.description.as_ref().and_then(Description::from_wire);
    let description =
        described.ok_or_else(|| Problem::bad_request("description: is absent or holds no legal headers"))?;
    description.check_lengths()?;
    let size = description
        .size
        .ok_or_else(|| Problem::bad_request("size: is absent"))?;
    let retrievals = u16::try_from(put.retrievals).ok().and_then(Retrievals::new);
    let ttl = match (put.ttl_millis, most) {
        (Some(0), Some(_)) => {
            let rule = "ttl: 0 (never) is accepted only where the sidecar's own time to live is 0";
            return Err(Problem::bad_request(rule));
        }
        (Some(0), None) => Some(Duration::MAX),
        (millis, _) => millis.map(Duration::from_millis),
    };
    let terms = PutTerms {
        description,
        retrievals: retrievals.ok_or_else(|| Problem::bad_request("retrievals: a whole number from 1 to 65535"))?,
        ttl,
    };
    Ok((terms, size))
}
