//! One request of one consumer, from its reference to its end.

use xdt_objects::{Copy, Lease, LeaseId};
use xdt_proto::ObjectId;

use super::producer::{Answer, PullId};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The last byte was handed on.
    Delivered { from_copy: bool },
    /// A word, and nothing was handed on to its end.
    Failed(&'static str),
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The producer's first message.
    Pulling,
    /// Its acknowledgement.
    Confirming,
    /// The store, with a step of the copy's.
    Copy(Step),
    Over,
}

/// A step on a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Claim,
    Confirm,
    /// The client left after its claim.
    GiveBack,
}

/// What a request does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Confirm,
    ReadCopy,
    Wait,
    End(End),
}

/// A request.
pub(crate) struct Request {
    pub(crate) id: PullId,
    pub(crate) object: ObjectId,
    /// Where the reference points.
    pub(crate) producer: usize,
    pub(crate) phase: Phase,
}

impl Request {
    pub(crate) fn lease(&self) -> LeaseId {
        u128::from(self.id).to_be_bytes()
    }

    pub(crate) fn answered(&mut self, answer: Answer) -> Next {
        let (phase, next) = match (self.phase, answer) {
            (Phase::Pulling, Answer::Data) => (Phase::Confirming, Next::Confirm),
            (Phase::Pulling, Answer::Refused("object-gone")) => (Phase::Copy(Step::Claim), Next::ReadCopy),
            (Phase::Pulling, Answer::Refused(word)) => (Phase::Over, Next::End(End::Failed(word))),
            (Phase::Confirming, Answer::Confirmed) => (Phase::Over, Next::End(End::Delivered { from_copy: false })),
            (Phase::Confirming, Answer::Aborted) => (Phase::Over, Next::End(End::Failed("transfer-broken"))),
            // Too late, repeated, or overtaken.
            (phase, _) => (phase, Next::Wait),
        };
        self.phase = phase;
        next
    }

    /// Nobody has answered for long enough.
    pub(crate) fn timed_out(&mut self, connected: bool) -> Next {
        let (phase, next) = match self.phase {
            Phase::Pulling if !connected => (Phase::Copy(Step::Claim), Next::ReadCopy),
            Phase::Pulling => (Phase::Over, Next::End(End::Failed("timeout"))),
            Phase::Confirming => (Phase::Over, Next::End(End::Failed("transfer-broken"))),
            phase => (phase, Next::Wait),
        };
        self.phase = phase;
        next
    }

    /// Applies the current step to `copy`. `Err`: how the request ends if nothing is written.
    pub(crate) fn change(&self, copy: &mut Copy, now: u64, lease: u64) -> Result<(), End> {
        let Phase::Copy(step) = self.phase else { return Ok(()) };
        let id = self.lease();
        let until = now + lease;
        match step {
            Step::Claim => copy
                .claim(Lease { id, until }, now)
                .map_err(|error| End::Failed(error.kind().as_str())),
            Step::Confirm if copy.confirm(id) => Ok(()),
            Step::Confirm => Err(End::Failed("transfer-broken")),
            Step::GiveBack => {
                copy.give_back(id);
                Ok(())
            }
        }
    }

    /// The step is written.
    pub(crate) fn changed(&mut self, client_leaves: bool) -> Next {
        let (phase, next) = match self.phase {
            Phase::Copy(Step::Claim) if client_leaves => (Phase::Copy(Step::GiveBack), Next::ReadCopy),
            Phase::Copy(Step::Claim) => (Phase::Copy(Step::Confirm), Next::ReadCopy),
            Phase::Copy(Step::Confirm) => (Phase::Over, Next::End(End::Delivered { from_copy: true })),
            Phase::Copy(Step::GiveBack) => (Phase::Over, Next::End(End::Failed("abandoned"))),
            phase => (phase, Next::Wait),
        };
        self.phase = phase;
        next
    }
}
