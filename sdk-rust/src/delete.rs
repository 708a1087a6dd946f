//! delete: an object is freed before its retrievals are used up.
//!
//! Called by whoever holds a reference and knows that nobody needs the object any more.

use xdt_proto::Reference;

use crate::{Client, Result};

impl Client {
    /// Frees the object behind `reference`. Any instance of the tenant may; running gets complete.
    ///
    /// ```no_run
    /// # async fn example(client: xdt::Client) -> xdt::Result<()> {
    /// let reference = client.put("nobody wants this").await?;
    /// client.delete(&reference).await?;
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    /// By [kind](crate::ErrorKind): `ObjectGone` if it is freed already, `ReferenceInvalid`, `WrongTenant`,
    /// `ProducerUnreachable`, `SidecarUnavailable`, `TransferBroken`, `Timeout`.
    /// # Cancel safety
    /// After dropping the future the object may be freed or not.
    pub async fn delete(&self, reference: &Reference) -> Result<()> {
        self.bounded(self.shared().transport.delete(reference)).await
    }
}
