//! `xdt keys`: key rings, read and written by the sidecar's own code.

use anyhow::{Context as _, Result};
use serde_json::json;
use xdt_queue_proxy::trust::KeyRingFile;

use crate::{arguments::Keys, output::Output};

/// Runs one task; the error names the file.
pub(crate) fn run(task: Keys, output: &Output) -> Result<()> {
    let path = match &task {
        Keys::New { file, .. }
        | Keys::Add { file, .. }
        | Keys::Promote { file, .. }
        | Keys::Retire { file, .. }
        | Keys::List { file } => file.clone(),
    };
    done(task, output).with_context(|| path.display().to_string())
}

fn done(task: Keys, output: &Output) -> Result<()> {
    match task {
        Keys::New { file, id } => {
            let id = KeyRingFile::new(file).create(id)?;
            output.told(
                &json!({ "id": id.as_str() }),
                &format!("key ring with key {}", id.as_str()),
            );
        }
        Keys::Add { file, id, primary } => {
            let id = KeyRingFile::new(file).add(id, primary)?;
            output.told(&json!({ "id": id.as_str() }), &format!("added key {}", id.as_str()));
        }
        Keys::Promote { file, id } => {
            KeyRingFile::new(file).promote(&id)?;
            output.told(
                &json!({ "primary": id.as_str() }),
                &format!("{} is the primary", id.as_str()),
            );
        }
        Keys::Retire { file, id } => {
            KeyRingFile::new(file).retire(&id)?;
            output.told(
                &json!({ "retired": id.as_str() }),
                &format!("retired key {}", id.as_str()),
            );
        }
        Keys::List { file } => {
            let keys = KeyRingFile::new(file).list()?;
            let listed: Vec<_> = keys
                .iter()
                .map(|(id, primary)| json!({ "id": id.as_str(), "primary": primary }))
                .collect();
            let lines: Vec<_> = keys
                .iter()
                .map(|(id, primary)| format!("{}{}", id.as_str(), if *primary { "  primary" } else { "" }))
                .collect();
            output.told(&json!({ "keys": listed }), &lines.join("\n"));
        }
    }
    Ok(())
}
