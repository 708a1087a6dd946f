//! Header names and their limits (contract, sections 3 and 4), in the lower case that HTTP/2 wants.

/// The reference that a control message carries instead of a body, or that an answer carries.
pub const REFERENCE: &str = "xdt-reference";
/// On a request: the caller can take a large answer as a reference. Its only value is [`ACCEPT_REFERENCE`].
pub const ACCEPT: &str = "xdt-accept";
/// The value of [`ACCEPT`].
pub const ACCEPT_REFERENCE: &str = "reference";
/// Size in bytes of the object behind the answer's reference, where it is known.
pub const OBJECT_SIZE: &str = "xdt-object-size";
/// How often the object may be retrieved: 1 to 65535, default 1.
pub const RETRIEVALS: &str = "xdt-retrievals";
/// How long the object may wait for its retrievals, as a duration.
pub const TTL: &str = "xdt-ttl";
/// `true`: this range read counts as a retrieval.
pub const FINAL: &str = "xdt-final";
/// The error word of a failed request.
pub const ERROR: &str = "xdt-error";
/// Prefix of user metadata.
pub const META_PREFIX: &str = "xdt-meta-";
/// Prefix of all XDT headers; the user container never sees one on a request.
pub const PREFIX: &str = "xdt-";

/// Most bytes of user metadata per object, names (without [`META_PREFIX`]) and values counted.
pub const META_LIMIT: usize = 8 * 1024;

/// Path of the local HTTP API's objects.
pub const OBJECTS_PATH: &str = "/xdt/v1/objects";
/// Path of the local HTTP API's status.
pub const STATUS_PATH: &str = "/xdt/v1/status";
