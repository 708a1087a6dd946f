//! The ways of an object's bytes to a local client, as one: each hands out chunks in order, the last only when all of it was
//! right.
//!
//! Made and driven by `get`. Bound: a chunk or two of each delivery; what a pull holds besides is its own.

use bytes::Bytes;
use xdt_shm::Sealed;

use super::{
    description::Description, get::GetError, node::NodePull, pull::Pull, source::Source, spill::retrieve::Retrieval,
};

/// One delivery's way.
pub(super) enum Via {
    /// From this instance's own memory.
    Instance(Box<Own>),
    /// The memory of a producer on this node.
    Node(Box<NodePull>),
    /// Over the network.
    Stream(Box<Pull>),
    /// A copy in the spill store.
    Spill(Box<Retrieval>),
}

impl Via {
    /// Waits until there is something to hand out, or all of it is verified.
    pub(super) async fn prepare(&mut self) -> Result<(), GetError> {
        match self {
            Self::Instance(own) => own.prepare().await,
            Self::Node(pull) => pull.prepare().await,
            Self::Stream(pull) => pull.prepare().await,
            Self::Spill(copy) => copy.prepare().await,
        }
    }

    /// The next chunk; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        match self {
            Self::Instance(own) => own.next().await,
            Self::Node(pull) => pull.next().await,
            Self::Stream(pull) => pull.next().await,
            Self::Spill(copy) => copy.next().await,
        }
    }

    /// The next chunk, unless it is the last.
    pub(super) async fn next_but_last(&mut self) -> Result<Option<Bytes>, GetError> {
        self.prepare().await?;
        Ok(match self {
            Self::Instance(own) => own.ready.take(),
            Self::Node(pull) => pull.next_but_last(),
            Self::Stream(pull) => pull.take_ready(),
            Self::Spill(copy) => copy.take_ready(),
        })
    }

    /// Bytes of the newest chunk that was not handed out.
    pub(super) fn held_back(&self) -> usize {
        match self {
            Self::Instance(own) => own.held_back.as_ref().map_or(0, Bytes::len),
            Self::Node(pull) => pull.held_back(),
            Self::Stream(pull) => pull.held_back(),
            Self::Spill(copy) => copy.held_back(),
        }
    }

    /// Bytes whose memory is accounted for already.
    pub(super) fn covered(&self) -> u64 {
        match self {
            Self::Instance(own) if own.source.is_held() => u64::MAX,
            Self::Instance(_) => 0,
            // The producer's own pages.
            Self::Node(_) => u64::MAX,
            Self::Stream(pull) => pull.window(),
            Self::Spill(copy) => copy.window(),
        }
    }

    /// Whether everything has been handed out and was right.
    pub(super) fn finished(&self) -> bool {
        match self {
            Self::Instance(own) => own.finished(),
            Self::Node(pull) => pull.finished(),
            Self::Stream(pull) => pull.finished(),
            Self::Spill(copy) => copy.finished(),
        }
    }

    /// The memory file that all of the object lies in, where it does and where nothing was handed out yet.
    pub(super) fn file(&self) -> Option<&Sealed> {
        match self {
            Self::Instance(own) => own.source.file(),
            Self::Node(pull) => pull.file(),
            Self::Stream(_) | Self::Spill(_) => None,
        }
    }
}

/// An object of this instance on its way to a client of this instance, one chunk behind like a pull.
pub(super) struct Own {
    source: Source,
    ready: Option<Bytes>,
    held_back: Option<Bytes>,
    ended: bool,
}

impl Own {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            ready: None,
            held_back: None,
            ended: false,
        }
    }

    pub(super) fn description(&self) -> &Description {
        self.source.description()
    }

    /// The client has all of it: the retrieval counts.
    pub(super) fn confirm(self) {
        let _counted = self.source.confirm();
    }

    pub(super) fn finished(&self) -> bool {
        self.ended && self.ready.is_none() && self.held_back.is_none()
    }

    async fn prepare(&mut self) -> Result<(), GetError> {
        while self.ready.is_none() && !self.ended {
            match self.source.next().await.map_err(|_| GetError::Broken)? {
                Some(chunk) => self.ready = self.held_back.replace(chunk),
                None => self.ended = true,
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        self.prepare().await?;
        Ok(self.ready.take().or_else(|| self.held_back.take()))
    }
}
