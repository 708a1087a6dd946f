//! The same-node path at start: what keeps it from working is told once, and the rest of the proxy runs on, over the
//! network.

use std::{path::Path, sync::Arc};

use crate::{
    transfer::node::directory::{NodeDirectory, NodeListener},
    trust::InstanceId,
};

/// Opens `XDT_NODE_DIR`.
pub(super) fn open(path: &Path) -> Option<Arc<NodeDirectory>> {
    match NodeDirectory::open(path) {
        Ok(directory) => Some(Arc::new(directory)),
        Err(error) => {
            tracing::error!(%error, "XDT_NODE_DIR cannot be used: objects of this node come over the network");
            None
        }
    }
}

/// Opens this queue-proxy's own socket there. Without it others are still pulled from.
pub(super) fn listen(directory: &Arc<NodeDirectory>, instance: InstanceId) -> Option<NodeListener> {
    match directory.listen(instance) {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::error!(%error, "XDT_NODE_DIR takes no socket: others on this node use the network");
            None
        }
    }
}
