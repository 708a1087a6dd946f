//! Finds programs: next to a folder, next to this executable, or in `PATH`.
//!
//! Fails with the list of files that were looked for, so that the message can name them.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::StartError;
use crate::spec::{FunctionSpec, Spec};

/// File name of the sidecar.
const SIDECAR: &str = "xdt-queue-proxy";

/// The sidecar binary: the one asked for, else the one next to this executable, else the first in `PATH`.
pub(crate) fn sidecar(asked: Option<&Path>) -> Result<PathBuf, StartError> {
    let looked = match asked {
        Some(path) => vec![path.to_owned()],
        None => {
            let own = std::env::current_exe().ok();
            let beside = own.as_deref().and_then(Path::parent).map(|folder| folder.join(SIDECAR));
            beside
                .into_iter()
                .chain(in_path(SIDECAR, std::env::var_os("PATH").as_deref()))
                .collect()
        }
    };
    first_program(looked).map_err(|looked| StartError::SidecarNotFound { looked })
}

/// The program of `function`.
pub(crate) fn command(spec: &Spec, function: &FunctionSpec) -> Result<PathBuf, StartError> {
    let command = function.command.first().map(String::as_str).unwrap_or_default();
    let looked = match command.contains('/') {
        true => vec![spec.folder.join(command)],
        false => in_path(command, std::env::var_os("PATH").as_deref()),
    };
    first_program(looked).map_err(|looked| StartError::CommandNotFound {
        function: function.name.clone(),
        command: command.to_owned(),
        looked,
    })
}

fn in_path(name: &str, path: Option<&OsStr>) -> Vec<PathBuf> {
    path.map(|path| std::env::split_paths(path).map(|folder| folder.join(name)).collect())
        .unwrap_or_default()
}

/// The first of `files` that can be executed, as an absolute path: processes start in another folder.
fn first_program(files: Vec<PathBuf>) -> Result<PathBuf, Vec<PathBuf>> {
    let is_program = |file: &&PathBuf| {
        file.metadata()
            .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    match files.iter().find(is_program) {
        Some(file) => Ok(std::path::absolute(file).unwrap_or_else(|_| file.clone())),
        None => Err(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_command_begins_at_the_folder_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run");
        std::fs::write(&file, "").unwrap();
        let spec = Spec {
            folder: folder.path().to_owned(),
            ..Spec::default()
        };
        let function = FunctionSpec::new("f", ["./run"]);
        assert!(command(&spec, &function).is_err(), "not executable yet");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(command(&spec, &function).unwrap().ends_with("run"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_files_looked_for() {
        let function = FunctionSpec::new("f", ["no-such-program-anywhere"]);
        let text = command(&Spec::default(), &function).unwrap_err().to_string();
        assert!(
            text.contains("function f: command `no-such-program-anywhere` not found, or not executable; looked for /"),
            "{text}"
        );
        let text = sidecar(Some(Path::new("/no/sidecar"))).unwrap_err().to_string();
        assert!(text.contains("/no/sidecar"), "{text}");
    }
}
