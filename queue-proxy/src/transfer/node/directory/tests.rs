//! What is refused in a node directory, and what is swept out of it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;

const ONE: InstanceId = InstanceId([1; 16]);
const TWO: InstanceId = InstanceId([2; 16]);

fn directory() -> (tempfile::TempDir, Arc<NodeDirectory>) {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = NodeDirectory::open(folder.path()).expect("our own folder");
    (folder, Arc::new(directory))
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("a folder");
    entries
        .map(|entry| entry.expect("readable").file_name().into_string().expect("ascii"))
        .collect()
}

#[tokio::test]
async fn a_socket_has_its_name_as_long_as_it_listens() {
    let (folder, directory) = directory();
    let listener = directory.listen(ONE).expect("a socket");
    let found = names(&folder);
    assert_eq!(found, [name(ONE)]);
    let mode = fs::metadata(folder.path().join(&found[0]))
        .expect("there")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    directory.connect(ONE).await.expect("listening");
    assert!(matches!(directory.connect(TWO).await, Err(NotThere::Absent)));
    drop(listener);
    assert!(names(&folder).is_empty());
}

#[tokio::test]
async fn what_a_crash_left_is_swept_out_and_nothing_else() {
    let (folder, directory) = directory();
    let dead = folder.path().join(name(ONE));
    drop(StdListener::bind(&dead).expect("a socket"));
    let unborn = folder.path().join(format!("{UNBORN}{}", name(ONE)));
    drop(StdListener::bind(&unborn).expect("a socket"));
    fs::write(folder.path().join("a_file_with_22_letters"), "kept").expect("writable");
    let other = InstanceId([3; 16]);
    let living = directory.listen(other).expect("a socket");
    let _own = directory.listen(TWO).expect("a socket");
    let mut left = names(&folder);
    left.sort();
    let mut expected = vec![
        name(TWO),
        name(other),
        "a_file_with_22_letters".to_owned(),
        format!("{UNBORN}{}", name(ONE)), // may be about to listen
    ];
    expected.sort();
    assert_eq!(left, expected);
    directory.connect(other).await.expect("still listening");
    drop(living);
}

#[tokio::test]
async fn only_a_socket_of_this_user_is_connected_to() {
    let (folder, directory) = directory();
    let real = directory.listen(TWO).expect("a socket");
    let path = folder.path().join(name(ONE));
    symlink(folder.path().join(name(TWO)), &path).expect("a link");
    assert!(matches!(directory.connect(ONE).await, Err(NotThere::Foreign)), "a link");
    fs::remove_file(&path).expect("ours");
    fs::write(&path, "").expect("writable");
    assert!(matches!(directory.connect(ONE).await, Err(NotThere::Foreign)), "a file");
    fs::remove_file(&path).expect("ours");
    drop(StdListener::bind(&path).expect("a socket"));
    assert!(
        matches!(directory.connect(ONE).await, Err(NotThere::Refused(_))),
        "dead"
    );
    drop(real);
}

#[tokio::test]
async fn a_socket_or_process_of_another_user_is_passed_over() {
    let (_folder, directory) = directory();
    let _listener = directory.listen(ONE).expect("a socket");
    let handle = directory.folder.try_clone().expect("a handle");
    let other = NodeDirectory {
        folder: handle,
        user: directory.user + 1,
    };
    assert!(matches!(other.connect(ONE).await, Err(NotThere::Foreign)));
    let socket = directory.connect(ONE).await.expect("listening");
    assert!(directory.is_ours(&socket) && !other.is_ours(&socket));
}

#[test]
fn a_directory_that_others_can_change_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (mode, safe) in [
        (0o700, true),
        (0o770, true),
        (0o755, true),
        (0o1777, true),
        (0o777, false),
    ] {
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).expect("ours");
        assert_eq!(NodeDirectory::open(folder.path()).is_ok(), safe, "{mode:o}");
    }
    let file = folder.path().join("file");
    fs::write(&file, "").expect("writable");
    for path in [file, folder.path().join("absent")] {
        let error = NodeDirectory::open(&path).expect_err("no directory");
        assert!(matches!(error, DirectoryError::Unopened(_)));
    }
}

#[tokio::test]
async fn a_long_path_is_no_hindrance() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = folder.path().join("x".repeat(200));
    fs::create_dir(&long).expect("writable");
    let directory = Arc::new(NodeDirectory::open(&long).expect("our own folder"));
    let _listener = directory.listen(ONE).expect("a socket");
    directory.connect(ONE).await.expect("listening");
}
