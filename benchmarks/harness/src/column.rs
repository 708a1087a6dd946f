//! The backends, side by side: what moves the bytes, and how the sidecars of that column are set (contract, A.1).
//!
//! A column never mixes settings: `xdt-sf` and `xdt-ct` are the paper's, `xdt-auto` is what a user gets without setting
//! anything. Sensitivity studies make further columns of the same kind.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};
use xdt_patterns::messages::{Backend, Pattern, Variant};

/// Largest body of the `inline` backend: gRPC's default message limit, the published "under 4 MB".
pub(crate) const INLINE_BACKEND_LIMIT: u64 = 4 << 20;
/// Default of `XDT_INLINE_LIMIT`: up to this size, `invoke` sends the body inline by itself.
pub(crate) const XDT_INLINE_LIMIT: u64 = 64 << 10;

/// Variables of every sidecar of one column.
pub(crate) type Settings = BTreeMap<String, String>;

/// One column of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    /// What tables and files call it.
    pub(crate) id: String,
    /// What the functions do.
    pub(crate) backend: Backend,
    /// Settings of the sidecars; `None`: XDT is off, and they are plain queue-proxies.
    pub(crate) sidecar: Option<Settings>,
}

/// The columns that can be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standard {
    Inline,
    S3,
    S3Control,
    Redis,
    XdtSf,
    XdtCt,
    XdtAuto,
    GrpcStream,
    Tcp,
}

impl Standard {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 9] = [
        Self::Inline,
        Self::S3,
        Self::S3Control,
        Self::Redis,
        Self::XdtSf,
        Self::XdtCt,
        Self::XdtAuto,
        Self::GrpcStream,
        Self::Tcp,
    ];

    /// The name in tables and files.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::S3 => "s3",
            Self::S3Control => "s3-control",
            Self::Redis => "redis",
            Self::XdtSf => "xdt-sf",
            Self::XdtCt => "xdt-ct",
            Self::XdtAuto => "xdt-auto",
            Self::GrpcStream => "grpc-stream",
            Self::Tcp => "tcp",
        }
    }

    /// The column.
    pub(crate) fn column(self) -> Column {
        let (backend, sidecar) = match self {
            Self::Inline => (Backend::Inline, None),
            Self::S3 => (Backend::S3, None),
            Self::S3Control => (Backend::S3Control, None),
            Self::Redis => (Backend::Redis, None),
            Self::GrpcStream => (Backend::GrpcStream, None),
            Self::Tcp => (Backend::Tcp, None),
            Self::XdtSf => (Backend::Xdt, Some(paper("store-and-forward"))),
            Self::XdtCt => (Backend::Xdt, Some(paper("cut-through"))),
            Self::XdtAuto => (Backend::Xdt, Some(Settings::new())),
        };
        Column {
            id: self.id().to_owned(),
            backend,
            sidecar,
        }
    }
}

impl FromStr for Standard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|standard| standard.id() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::id).join(", ");
            format!("there is no backend {text:?}; there are {names}")
        })
    }
}

/// The paper's settings (thesis, 6.4.1.2 and 6.5.3): no inline bodies, only the stream between sidecars, 64 KiB chunks,
/// 32 buffers of 1 MiB, room for 40 objects of 5 MB and more.
pub(crate) fn paper(streaming: &str) -> Settings {
    let settings = [
        ("XDT_STREAMING", streaming),
        ("XDT_PATHS", "stream"),
        ("XDT_INLINE_LIMIT", "0"),
        ("XDT_CHUNK_SIZE", "64KiB"),
        ("XDT_INVOKE_BUFFERS", "32"),
        ("XDT_INVOKE_BUFFER_SIZE", "1MiB"),
        ("XDT_OBJECT_MEMORY", "384MiB"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

impl Column {
    /// Whether the column can take a cell; if not, its table cells say `n/a`.
    pub(crate) fn takes(&self, pattern: Pattern, size: u64, degree: usize) -> bool {
        match self.backend {
            // A gather sends all objects in one body, the others one object in each.
            Backend::Inline if pattern == Pattern::Gather => size * degree as u64 <= INLINE_BACKEND_LIMIT,
            Backend::Inline => size <= INLINE_BACKEND_LIMIT,
            // Straight from process to process, a gather would need no driver: another pattern than the others'.
            Backend::GrpcStream | Backend::Tcp => pattern != Pattern::Gather,
            _ => true,
        }
    }

    /// The paths that transfers of this column may take by its settings.
    pub(crate) fn may_take(&self, variant: Variant, pattern: Pattern, size: u64) -> &'static [&'static str] {
        match self.backend {
            Backend::Inline => &["inline"],
            Backend::S3 | Backend::S3Control => &["s3"],
            Backend::Redis => &["redis"],
            Backend::GrpcStream | Backend::Tcp => &["direct"],
            Backend::Xdt => self.xdt_paths(variant, pattern, size),
        }
    }

    fn xdt_paths(&self, variant: Variant, pattern: Pattern, size: u64) -> &'static [&'static str] {
        let Some(settings) = &self.sidecar else { return &[] };
        let by_invoke = variant == Variant::Invoke && matches!(pattern, Pattern::OneToOne | Pattern::Scatter);
        if by_invoke && size <= inline_limit(settings) {
            return &["inline"];
        }
        match settings.get("XDT_PATHS").map(String::as_str) {
            Some("stream") => &["stream"],
            Some("node") | Some("node,stream") => &["node"],
            _ => &["instance", "node", "stream"],
        }
    }
}

/// `XDT_INLINE_LIMIT` of these settings, as written by this harness: whole KiB or bytes.
fn inline_limit(settings: &Settings) -> u64 {
    let Some(text) = settings.get("XDT_INLINE_LIMIT") else {
        return XDT_INLINE_LIMIT;
    };
    let (digits, unit) = match text.strip_suffix("KiB") {
        Some(digits) => (digits, 1024),
        None => (text.as_str(), 1),
    };
    digits.parse::<u64>().map_or(XDT_INLINE_LIMIT, |number| number * unit)
}

/// The name of a pattern in tables and files; a variant other than the published one is part of it.
pub(crate) fn pattern_name(pattern: Pattern, variant: Variant) -> &'static str {
    match (pattern, variant) {
        (Pattern::OneToOne, Variant::Invoke) => "one-to-one",
        (Pattern::OneToOne, Variant::PutGet) => "one-to-one-putget",
        (Pattern::Scatter, Variant::Invoke) => "scatter",
        (Pattern::Scatter, Variant::PutGet) => "scatter-putget",
        (Pattern::Gather, _) => "gather",
        (Pattern::Broadcast, _) => "broadcast",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for standard in Standard::ALL {
            assert_eq!(standard.id().parse(), Ok(standard));
        }
        assert!("xdt".parse::<Standard>().unwrap_err().contains("xdt-auto"));
    }

    #[test]
    fn inline_ends_at_four_mebibytes_in_one_body() {
        let inline = Standard::Inline.column();
        assert!(inline.takes(Pattern::OneToOne, 4 << 20, 1) && !inline.takes(Pattern::OneToOne, (4 << 20) + 1, 1));
        assert!(inline.takes(Pattern::Scatter, 1 << 20, 32) && !inline.takes(Pattern::Gather, 1 << 20, 8));
        assert!(inline.takes(Pattern::Gather, 10 << 10, 32));
    }

    #[test]
    fn paths_follow_the_settings() {
        let path = |standard: Standard, variant, size| {
            let column = standard.column();
            column.may_take(variant, Pattern::OneToOne, size).to_vec()
        };
        assert_eq!(path(Standard::XdtCt, Variant::Invoke, 1), ["stream"]);
        assert_eq!(path(Standard::XdtAuto, Variant::Invoke, 64 << 10), ["inline"]);
        assert!(path(Standard::XdtAuto, Variant::Invoke, (64 << 10) + 1).contains(&"node"));
        assert!(!path(Standard::XdtAuto, Variant::PutGet, 1).contains(&"inline"));
        assert_eq!(path(Standard::Redis, Variant::Invoke, 1), ["redis"]);
    }
}
